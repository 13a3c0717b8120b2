//! Scenes of the built-in world, rendered and judged: what the exact judge says where the truth is
//! known. Needs no model.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use rayon::prelude::*;

use super::{Given, Kind, Place, Work};
use crate::figure::encode_png;
use crate::judge;
use crate::probe::outcome::{SuiteIdentity, SuiteImage, outcome_row, world_held_out, world_item};
use crate::run::{Manifest, digest_bytes};
use crate::sweep::{Asks, Condition, Item, Plan, SCENE_SEQUENCE};
use crate::table::{OutcomeRow, Tables};
use crate::world::{self, Category, Generator, Mix, Split};

pub(super) const KIND: Kind = Kind {
    name: "world",
    asks: Asks::Scenes,
    one_by_one: false,
    check: |plan, condition| Scenes::new(plan, condition).map(drop),
    open: |plan, condition, _| Ok(Box::new(Scenes::new(plan, condition)?)),
};

/// Width and height of a scene in pixels, unless `size` says otherwise.
const SIZE: usize = 64;

struct Scenes {
    size: usize,
    suite: SuiteIdentity,
}

impl Scenes {
    fn new(plan: &Plan, condition: &Condition) -> Result<Self> {
        let path = plan.spec.path.display();
        let mut size = SIZE;
        for (name, value) in &condition.options {
            match (name.as_str(), value.as_integer()) {
                ("size", Some(pixels @ 16..=1024)) => size = pixels as usize,
                ("size", _) => bail!("{path}: `size` is 16 to 1024 pixels, not {value}"),
                _ => bail!("{path}: a sweep of world has the option `size` alone, not `{name}`"),
            }
        }
        let version = world::VERSION;
        let scenes: BTreeSet<_> =
            plan.items.iter().map(|item| (&item.asked.suite, item.asked.seed)).collect();
        let asked = format!("world {version}\nsequence {SCENE_SEQUENCE}\n{scenes:?}\n");
        let hash = digest_bytes(asked.as_bytes());
        Ok(Self { size, suite: SuiteIdentity { name: "world/scenes".to_owned(), version, hash } })
    }

    fn outcome(&self, item: &Item) -> Result<OutcomeRow> {
        let name = item.asked.suite.as_deref().unwrap_or_default();
        let mix = Mix::only(name.parse::<Category>()?);
        let sample = Generator::new(SCENE_SEQUENCE, mix, Split::Train).sample(item.asked.seed);
        let image = world::render(&sample.scene, self.size);
        let verdict = judge::judge(&image, &world::parse(&sample.caption)?);
        let image = SuiteImage {
            suite: &self.suite,
            item: &world_item(&sample),
            category: name,
            prompt: &sample.caption,
            seed: item.asked.seed,
            held_out: Some(world_held_out(&sample)),
            file: None,
            sha256: &digest_bytes(&encode_png(&image)?),
        };
        Ok(outcome_row(image, &verdict))
    }
}

impl Work for Scenes {
    fn check(&self, _items: &[Item]) -> Result<()> {
        Ok(())
    }

    fn run(&mut self, items: &[Item], _place: &Place<'_>) -> Result<Given> {
        let outcomes =
            items.par_iter().map(|item| self.outcome(item)).collect::<Result<Vec<_>>>()?;
        let mut tables = Tables::new();
        tables.add(outcomes)?;
        Ok(Given { tables, rows: vec![1; items.len()] })
    }

    fn manifest(&self) -> Manifest {
        let mut manifest = Manifest::new("world");
        manifest.world_version = Some(world::VERSION.to_string());
        manifest.judge_version = Some(format!("{} {}", judge::NAME, judge::VERSION));
        manifest.schemas = crate::table::versions();
        manifest
    }
}
