//! What the items of a sweep ask: prompts, suites, pairs of prompts, scenes.

use std::collections::BTreeSet;

use toml::Value;

use super::{Asked, Spec, SweepError};
use crate::suite;
use crate::world::{Category, Exchange};

/// What items ask for, and so which lists of the grid make items: all others make conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Each `prompt` with each `seed`.
    Prompts,
    /// The same; where no `prompt` is listed, each `seed`.
    PromptsIfAny,
    /// Each `prompt` and the one it is compared with: `pair`, or what `exchange` makes of `prompt`.
    Pairs,
    /// Each prompt of each `suite` with each of its seeds, or with each `seed` instead.
    Suites,
    /// Each `seed` of each `category` of the world's scenes.
    Scenes,
}

/// What a grid asks.
pub(super) struct Expanded {
    pub asked: Vec<Asked>,
    /// What the hash of the sweep depends on beside that.
    pub identities: BTreeSet<String>,
}

/// Seed of the world's sequence that scenes are taken from.
pub const SCENE_SEQUENCE: u64 = 0;

impl Asks {
    /// The lists of the grid that make items.
    pub fn axes(self) -> &'static [&'static str] {
        match self {
            Asks::Prompts | Asks::PromptsIfAny => &["prompt", "seed"],
            Asks::Pairs => &["prompt", "exchange", "pair", "seed"],
            Asks::Suites => &["suite", "seed"],
            Asks::Scenes => &["category", "seed"],
        }
    }

    /// How many items the lists of a grid make at least, in all conditions together.
    pub(super) fn at_least(self, spec: &Spec) -> usize {
        let listed = spec.grid.values().fold(1_usize, |all, list| all.saturating_mul(list.len()));
        match self {
            Asks::Scenes if !spec.grid.contains_key("category") => {
                listed.saturating_mul(Category::ALL.len())
            }
            _ => listed,
        }
    }

    pub(super) fn expand(self, spec: &Spec) -> Result<Expanded, SweepError> {
        if let Some(name) = self.axes().iter().find(|name| spec.options.contains_key(**name)) {
            let problem = format!("`{name}` makes items: list it in [grid], not in [options]");
            return Err(SweepError::grid(&spec.path, problem));
        }
        let none = BTreeSet::new;
        match self {
            Asks::Prompts => Ok(Expanded { asked: prompts(spec)?, identities: none() }),
            Asks::PromptsIfAny if spec.grid.contains_key("prompt") => Asks::Prompts.expand(spec),
            Asks::PromptsIfAny => {
                let asked = needed_seeds(spec)?.into_iter().map(|seed| asked(None, seed));
                Ok(Expanded { asked: asked.collect(), identities: none() })
            }
            Asks::Pairs => Ok(Expanded { asked: pairs(spec)?, identities: none() }),
            Asks::Suites => suites(spec),
            Asks::Scenes => Ok(Expanded { asked: scenes(spec)?, identities: none() }),
        }
    }
}

fn asked(prompt: Option<String>, seed: u64) -> Asked {
    Asked { suite: None, suite_item: None, prompt, corrupted: None, seed }
}

fn prompts(spec: &Spec) -> Result<Vec<Asked>, SweepError> {
    let seeds = needed_seeds(spec)?;
    let prompts = texts(spec, "prompt")?;
    if prompts.is_empty() {
        return Err(missing(spec, "prompt", "[\"a red ball\", \"a blue cube\"]"));
    }
    let of = |prompt: String| seeds.iter().map(move |&seed| asked(Some(prompt.clone()), seed));
    Ok(prompts.into_iter().flat_map(of).collect())
}

fn pairs(spec: &Spec) -> Result<Vec<Asked>, SweepError> {
    let seeds = needed_seeds(spec)?;
    let (given, prompts) = (spec.grid.get("pair"), texts(spec, "prompt")?);
    let exchanges = texts(spec, "exchange")?;
    let pairs: Vec<(String, String)> = match (given, prompts.is_empty(), exchanges.is_empty()) {
        (Some(pairs), true, true) => {
            pairs.iter().map(|pair| pair_of(spec, pair)).collect::<Result<_, _>>()?
        }
        (None, false, false) => {
            let exchanged = |prompt: &String| {
                let with = |name: &String| exchanged(spec, prompt, name);
                exchanges.iter().map(with).collect::<Result<Vec<_>, _>>()
            };
            let all = prompts.iter().map(exchanged).collect::<Result<Vec<_>, _>>()?;
            all.into_iter().flatten().collect()
        }
        (Some(_), ..) => {
            let problem = "`pair` in [grid] has both prompts already: leave out `prompt` and \
                           `exchange`, or leave out `pair`";
            return Err(SweepError::grid(&spec.path, problem));
        }
        _ => return Err(missing(spec, "pair", "[[\"a red ball\", \"a green ball\"]]")),
    };
    let of = |(prompt, corrupted): (String, String)| {
        let one = asked(Some(prompt), 0);
        let one = Asked { corrupted: Some(corrupted), ..one };
        seeds.iter().map(move |&seed| Asked { seed, ..one.clone() })
    };
    Ok(pairs.into_iter().flat_map(of).collect())
}

fn pair_of(spec: &Spec, pair: &Value) -> Result<(String, String), SweepError> {
    match pair.as_array().map(Vec::as_slice) {
        Some([Value::String(clean), Value::String(corrupted)]) if clean != corrupted => {
            Ok((clean.clone(), corrupted.clone()))
        }
        _ => {
            let problem = format!("`pair` in [grid]: {pair} is not two different prompts");
            Err(SweepError::grid(&spec.path, problem))
        }
    }
}

fn exchanged(spec: &Spec, prompt: &str, name: &str) -> Result<(String, String), SweepError> {
    let exchange = match name {
        "colours" => Exchange::Colours,
        "shapes" => Exchange::Shapes,
        "roles" => Exchange::Roles,
        other => {
            let problem = format!("`exchange` {other:?}: choose colours, shapes or roles");
            return Err(SweepError::grid(&spec.path, problem));
        }
    };
    match exchange.apply(prompt) {
        Some(corrupted) => Ok((prompt.to_owned(), corrupted)),
        None => {
            let problem = format!(
                "`{prompt}` has no two objects that could exchange their {name}; leave it out, or \
                 name both prompts with `pair`"
            );
            Err(SweepError::grid(&spec.path, problem))
        }
    }
}

fn suites(spec: &Spec) -> Result<Expanded, SweepError> {
    let names = texts(spec, "suite")?;
    if names.is_empty() {
        return Err(missing(spec, "suite", "[\"counting\"]"));
    }
    let seeds = seeds(spec)?;
    let mut expanded = Expanded { asked: Vec::new(), identities: BTreeSet::new() };
    let mut known = BTreeSet::new();
    for name in names {
        let suite = suite::open(&name)?;
        if !known.insert(suite.name.clone()) {
            let problem = format!("suite {:?} is in [grid] twice; leave one out", suite.name);
            return Err(SweepError::grid(&spec.path, problem));
        }
        expanded.identities.insert(format!("suite {} {}", suite.name, suite.hash()));
        for item in &suite.items {
            let of_item = if seeds.is_empty() { suite.seeds_of(item) } else { &seeds };
            expanded.asked.extend(of_item.iter().map(|&seed| Asked {
                suite: Some(name.clone()),
                suite_item: Some(item.id.clone()),
                ..asked(Some(item.prompt.clone()), seed)
            }));
        }
    }
    Ok(expanded)
}

fn scenes(spec: &Spec) -> Result<Vec<Asked>, SweepError> {
    let seeds = needed_seeds(spec)?;
    let names = texts(spec, "category")?;
    let categories = match names.is_empty() {
        true => Category::ALL.to_vec(),
        false => names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
    };
    let of = |category: Category| {
        let scene = move |&seed: &u64| Asked {
            suite: Some(category.name().to_owned()),
            ..asked(None, seed)
        };
        seeds.iter().map(scene)
    };
    Ok(categories.into_iter().flat_map(of).collect())
}

/// The texts of a list; none where it is not in the grid.
fn texts(spec: &Spec, axis: &str) -> Result<Vec<String>, SweepError> {
    let values = spec.grid.get(axis).into_iter().flatten();
    let text = |value: &Value| match value.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => Err(SweepError::grid(&spec.path, format!("`{axis}` in [grid]: {value} is no text"))),
    };
    values.map(text).collect()
}

/// The seeds; none where they are not in the grid.
fn seeds(spec: &Spec) -> Result<Vec<u64>, SweepError> {
    let values = spec.grid.get("seed").into_iter().flatten();
    let number = |value: &Value| {
        // TOML's numbers end at 2⁶³: larger seeds are text.
        let number = value.as_integer().and_then(|seed| u64::try_from(seed).ok());
        let seed = number.or_else(|| value.as_str()?.parse().ok());
        seed.ok_or_else(|| {
            SweepError::grid(&spec.path, format!("`seed` in [grid]: {value} is no seed"))
        })
    };
    values.map(number).collect()
}

fn needed_seeds(spec: &Spec) -> Result<Vec<u64>, SweepError> {
    let seeds = seeds(spec)?;
    if seeds.is_empty() {
        return Err(missing(spec, "seed", "[0, 1, 2]"));
    }
    Ok(seeds)
}

fn missing(spec: &Spec, axis: &str, example: &str) -> SweepError {
    let problem =
        format!("`{axis}` is missing in [grid]: a sweep of {} needs {axis} = {example}", spec.of);
    SweepError::grid(&spec.path, problem)
}
