//! How specs expand.

use std::collections::BTreeSet;
use std::path::Path;

use denoscope::sweep::{Asks, Plan, Spec};

fn plan(text: &str) -> Plan {
    Plan::new(Spec::parse(Path::new("s.toml"), text).unwrap(), Asks::Prompts).unwrap()
}

const HEAD: &str = "kind = \"sweep\"\nversion = 1\nname = \"n\"\nof = \"trace\"\nshard = 4\n";

fn grid(rest: &str) -> Plan {
    plan(&format!("{HEAD}[grid]\n{rest}"))
}

#[test]
fn every_combination_is_there_once() {
    let plan = grid(
        "prompt = [\"a\", \"b\", \"c\"]\nseed = [1, 2, 3]\nsteps = [2, 3]\n\
                     guidance = [1.0, 2.0]\n",
    );
    assert_eq!((plan.conditions.len(), plan.items.len()), (4, 36));
    // Nine items in shards of four, of each of four conditions.
    let sizes: Vec<usize> = plan.shards.iter().map(|shard| shard.items.len()).collect();
    assert_eq!(sizes, [4, 4, 1].repeat(4));
    let numbers: Vec<u32> = plan.items.iter().map(|item| item.number).collect();
    assert_eq!(numbers, (0..36).collect::<Vec<_>>());
    let keys: BTreeSet<&str> = plan.items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys.len(), 36);
    for condition in 0..4 {
        let of = plan.shards.iter().filter(|shard| shard.condition == condition);
        let asked: BTreeSet<_> =
            of.flat_map(|shard| plan.items_of(shard)).map(|item| item.asked.as_ref()).collect();
        assert_eq!(asked.len(), 9, "each prompt with each seed under condition {condition}");
    }
}

#[test]
fn numbers_do_not_depend_on_the_order_of_lists() {
    let one = grid("prompt = [\"a\", \"b\", \"c\"]\nseed = [1, 2, 3]\n");
    let other = grid("seed = [3, 1, 2]\nprompt = [\"c\", \"a\", \"b\"]\n");
    assert_eq!(one.hash, other.hash);
    assert_eq!(one.shards, other.shards);
    let asked = |plan: &Plan| plan.items.iter().map(|item| item.asked.clone()).collect::<Vec<_>>();
    assert_eq!(asked(&one), asked(&other));
    let ranged = grid("prompt = [\"a\", \"b\", \"c\"]\nseed = { from = 1, count = 3 }\n");
    assert_eq!(one.hash, ranged.hash);
}

#[test]
fn the_hash_is_of_what_is_run_and_of_nothing_else() {
    let rest = "[grid]\nprompt = [\"a\"]\nseed = [1]\n";
    let of = |head: &str, more: &str| plan(&format!("{head}{rest}{more}")).hash;
    let hash = of(HEAD, "");
    assert_eq!(hash.len(), 64);
    let asked = format!("{HEAD}question = \"Why?\"\n");
    assert_eq!(of(&asked, "[slurm]\nmemory = \"4G\"\n"), hash, "memory changes no result");
    assert_ne!(of(HEAD, "[options]\nsteps = 3\n"), hash);
    assert_ne!(of(&HEAD.replace("shard = 4", "shard = 5"), ""), hash);
    assert_ne!(of(&HEAD.replace("\"n\"", "\"m\""), ""), hash);
    let seeds = format!("{HEAD}[grid]\nprompt = [\"a\"]\nseed = [1, 2]\n");
    assert_ne!(plan(&seeds).hash, hash);
}

#[test]
fn the_sweeps_of_the_repository_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(root.join("probes/sweeps")).unwrap();
    let names: Vec<String> = files.map(|file| file.unwrap().path().display().to_string()).collect();
    assert!(names.len() >= 3, "{names:?}");
    let mut words = vec!["validate"];
    words.extend(names.iter().map(String::as_str));
    crate::succeeds(root, &words);
}
