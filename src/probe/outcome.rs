//! How whole images of a suite were judged, as rows that runs are compared by.

use crate::judge;
use crate::run::digest_bytes;
use crate::table::OutcomeRow;
use crate::world::{self, Category, Sample, Split};

/// What a suite asks, so that runs can tell whether they asked the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuiteIdentity {
    /// Its name, such as `world/relation+count`.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// SHA-256 of what it asks, 64 hexadecimal digits.
    pub hash: String,
}

impl SuiteIdentity {
    /// The suite that prompts drawn from the world are: `samples` from a generator with `seed`,
    /// of these categories.
    ///
    /// The digest is of the world's version, its splits, the seed, and every item with its
    /// prompt; so the number of prompts counts too.
    pub fn of_world(categories: &[Category], seed: u64, samples: &[Sample]) -> Self {
        let names: Vec<&str> = categories.iter().map(|category| category.name()).collect();
        let asked = if names.len() == Category::ALL.len() { "all".into() } else { names.join("+") };
        let mut text = format!(
            "world {}\nsplits {}\nseed {seed}\ncategories {}\n",
            world::VERSION,
            world::splits::hash(),
            names.join(" ")
        );
        for sample in samples {
            text += &format!("{}\t{}\n", world_item(sample), sample.caption);
        }
        Self {
            name: format!("world/{asked}"),
            version: world::VERSION,
            hash: digest_bytes(text.as_bytes()),
        }
    }
}

/// Id of a prompt drawn from the world: its category and its place in the generator's sequence.
pub fn world_item(sample: &Sample) -> String {
    format!("{}/{:05}", sample.category.name(), sample.index)
}

/// Whether a scene of the world lies in a cell that training leaves out.
pub fn world_held_out(sample: &Sample) -> bool {
    !world::splits::cells().contain(Split::Train, &sample.scene)
}

/// One image of a suite.
#[derive(Clone, Copy, Debug)]
pub struct SuiteImage<'a> {
    /// The suite.
    pub suite: &'a SuiteIdentity,
    /// The prompt's id in it.
    pub item: &'a str,
    /// Category of the prompt.
    pub category: &'a str,
    /// The prompt.
    pub prompt: &'a str,
    /// Seed of the image's noise.
    pub seed: u64,
    /// Whether the world's training split leaves out what it asks for, where a split says.
    pub held_out: Option<bool>,
    /// The image's file in the run folder, where it is kept.
    pub file: Option<&'a str>,
    /// SHA-256 of the image's file.
    pub sha256: &'a str,
}

/// The row of one image that the exact judge looked at. The reasons of all atoms that do not
/// hold are joined with semicolons.
pub fn outcome_row(image: SuiteImage<'_>, verdict: &judge::Verdict) -> OutcomeRow {
    let reasons: Vec<&str> = verdict.failures().map(|atom| atom.reason.as_str()).collect();
    OutcomeRow {
        suite: image.suite.name.clone(),
        suite_version: image.suite.version,
        suite_hash: image.suite.hash.clone(),
        item: image.item.to_owned(),
        category: image.category.to_owned(),
        difficulty: None,
        prompt: image.prompt.to_owned(),
        seed: image.seed,
        twin: None,
        held_out: image.held_out,
        judge: judge::NAME.to_owned(),
        judge_version: judge::VERSION.to_string(),
        holds: Some(verdict.holds()),
        score: None,
        atoms: verdict.atoms.len() as u32,
        atoms_held: (verdict.atoms.len() - reasons.len()) as u32,
        reason: reasons.join("; "),
        image: image.file.map(str::to_owned),
        image_sha256: image.sha256.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::world::{Generator, Mix};

    fn samples(seed: u64, count: u64) -> Vec<Sample> {
        let generator = Generator::new(seed, Mix::only(Category::Relation), Split::Train);
        (0..count).map(|i| generator.sample(i)).collect()
    }

    fn identity(seed: u64, count: u64) -> SuiteIdentity {
        SuiteIdentity::of_world(&[Category::Relation], seed, &samples(seed, count))
    }

    #[test]
    fn a_suite_of_the_world_is_told_apart_by_all_that_it_asks() {
        assert_eq!(identity(5, 4), identity(5, 4));
        assert_eq!(identity(5, 4).name, "world/relation");
        assert_ne!(identity(5, 4).hash, identity(5, 3).hash);
        assert_ne!(identity(5, 4).hash, identity(6, 4).hash);
        let all = SuiteIdentity::of_world(Category::ALL, 5, &samples(5, 4));
        assert_eq!(all.name, "world/all");
        assert_ne!(all.hash, identity(5, 4).hash);
        assert_eq!(world_item(&samples(5, 4)[3]), "relation/00003");
    }

    #[test]
    fn what_training_leaves_out_is_marked() {
        assert!(samples(5, 20).iter().all(|sample| !world_held_out(sample)));
        let unseen = Generator::new(5, Mix::only(Category::Relation), Split::HeldOutTriples);
        assert!((0..20).all(|i| world_held_out(&unseen.sample(i))));
    }

    #[test]
    fn a_failed_image_says_why_and_a_right_one_says_nothing() {
        let sample = &samples(5, 1)[0];
        let suite = identity(5, 1);
        let image = |held_out| SuiteImage {
            suite: &suite,
            item: "relation/00000",
            category: "relation",
            prompt: &sample.caption,
            seed: 5,
            held_out,
            file: Some("images/00000.png"),
            sha256: "00",
        };
        let said = world::parse(&sample.caption).unwrap();
        let grey = image::RgbImage::from_pixel(64, 64, image::Rgb([128; 3]));
        let failed = outcome_row(image(Some(false)), &judge::judge(&grey, &said));
        assert_eq!(failed.holds, Some(false));
        assert!(failed.atoms_held < failed.atoms && !failed.reason.is_empty(), "{failed:?}");

        let drawn = world::render(&sample.scene, 64);
        let right = outcome_row(image(Some(false)), &judge::judge(&drawn, &said));
        assert_eq!((right.holds, right.atoms_held), (Some(true), right.atoms), "{}", right.reason);
        assert_eq!(right.reason, "");
    }
}
