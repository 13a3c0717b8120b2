//! `probe patch --heads`: a head that does nothing loses nothing, all others move the latent.

use std::path::Path;

use denoscope::model::parameters::{WeightFile, save_tensors};
use serde_json::Value;
use tempfile::TempDir;

use crate::{TINY, fails, files, json, probe_in, run_folder};

const LAYER: &str = "mid.attn.0.block.0.cross";
/// What the layer's heads are put together by.
const OUT: &str = "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.weight";
const DEAD: u64 = 1;

const HEADS: [&str; 12] = [
    "patch",
    "--heads",
    "--steps",
    "1",
    "--prompt",
    "red ball left of blue cube",
    "--count",
    "4",
    "--together",
    "1",
    "--random-sets",
    "2",
];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// The tiny model, in which nothing reads one head of the middle layer.
fn with_a_dead_head(folder: &Path, heads: u64) {
    copy(Path::new(TINY), folder);
    let file = folder.join("unet/diffusion_pytorch_model.safetensors");
    let mut tensors = WeightFile::open(&file).unwrap().tensors().unwrap();
    let weight = tensors.remove(OUT).unwrap().copy();
    let width = weight.size()[1] / heads as i64;
    let _ = weight.narrow(1, DEAD as i64 * width, width).fill_(0.0);
    tensors.insert(OUT.to_owned(), weight);
    let tensors: Vec<_> = tensors.into_iter().map(|(name, x)| (name, x.copy())).collect();
    std::fs::remove_file(&file).unwrap();
    save_tensors(&file, &tensors).unwrap();
}

fn rows(folder: &TempDir, extra: &[&str]) -> Vec<Value> {
    let words = [&HEADS[..], &["--format", "json"], extra].concat();
    json(&mut probe_in(folder, &words)).as_array().unwrap().clone()
}

#[test]
fn a_head_that_nothing_reads_moves_nothing() {
    let folder = TempDir::new().unwrap();
    let plain = rows(&folder, &["--model", TINY, "--sites", &format!("{LAYER}.*")]);
    let heads = plain.iter().filter_map(|row| row["head"].as_u64()).max().unwrap() + 1;
    assert!(heads > DEAD, "{heads} heads");
    let model = folder.path().join("dead");
    with_a_dead_head(&model, heads);
    for ablation in ["zero", "unprompted"] {
        let folder = TempDir::new().unwrap();
        let sites = format!("{LAYER}.*");
        let extra = ["--model", model.to_str().unwrap(), "--ablation", ablation, "--sites", &sites];
        let rows = rows(&folder, &extra);
        let mut seen = 0;
        for row in rows.iter().filter(|row| row["measure"] == "latent") {
            let Some(head) = row["head"].as_u64() else { continue };
            assert_eq!(row["site"], LAYER);
            let moved = row["value"].as_f64().unwrap();
            assert_eq!(moved == 0.0, head == DEAD, "{ablation}, head {head}: {moved}");
            seen += 1;
        }
        assert_eq!(seen, 2 * heads, "two of four images rank");
    }
}

#[test]
fn both_halves_have_their_runs_and_the_folder_is_whole() {
    let folder = TempDir::new().unwrap();
    let rows = rows(&folder, &["--model", TINY]);
    let has = |part: &str, control: Option<&str>| {
        let of = |row: &&Value| row["part"] == part && row["control"].as_str() == control;
        rows.iter().filter(of).count()
    };
    assert!(has("ranking", None) > 0 && has("ranking", Some("untouched")) > 0);
    assert!(has("held-out", None) > 0 && has("held-out", Some("untouched")) > 0);
    // Two images, two sets, four kinds and the latent.
    assert_eq!(has("held-out", Some("random-heads")), 2 * 2 * 5);
    for kind in ["colour", "shape", "binding", "relation"] {
        let of_kind = |row: &&Value| row["measure"] == kind;
        assert!(rows.iter().filter(of_kind).all(|row| row["value"].is_number()), "{kind}");
    }
    let run = run_folder(&folder);
    let left = files(&run);
    let expected = [
        "report.html",
        "report.md",
        "tables/head_ablation.parquet",
        "figures/heads-colour.png",
        "figures/sets-by-kind.png",
    ];
    for file in expected {
        assert!(left.iter().any(|path| path.ends_with(file)), "{file} is missing: {left:?}");
    }
    let spec = run.join("spec.toml");
    probe_in(&folder, &["validate", spec.to_str().unwrap()]).assert().success();
}

#[test]
fn what_cannot_be_ranked_says_why() {
    let tiny = |extra: &[&str], says: &[&str]| {
        fails(&[&["patch", "--model", TINY, "--heads", "--steps", "1"], extra].concat(), says);
    };
    let prompt = ["--prompt", "red ball left of blue cube"];
    tiny(&[], &["--prompt"]);
    tiny(&[&prompt[..], &["--count", "3"]].concat(), &["at least 4", "--count"]);
    tiny(&["--from-world", "2"], &["at least 4", "--from-world"]);
    tiny(&["--prompt", "a photo of a dog"], &["judge", "--from-world"]);
    tiny(&[&prompt[..], &["--together", "99"]].concat(), &["--together 99", "fewer"]);
    tiny(&[&prompt[..], &["--sites", "mid.out"]].concat(), &["no cross-attention"]);
    tiny(&[&prompt[..], &["--sites", "mid.uot"]].concat(), &["nearest: mid.out"]);
    tiny(&[&prompt[..], &["--exchange", "colours"]].concat(), &["--exchange", "--heads"]);
    tiny(&[&prompt[..], &["--guidance", "0"]].concat(), &["guidance 0"]);
    let without = ["patch", "--model", TINY, "--together", "2", "--exchange", "colours"];
    fails(&[&without[..], &prompt].concat(), &["--heads"]);
}
