//! The shape of the code: which module may use which, who prints, how long files are.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// No file may be longer than this many lines.
const MOST_LINES: usize = 550;

/// The half that runs models; the other half builds without libtorch.
const TORCH_HALF: [&str; 5] = ["tap", "model", "sampler", "pipeline", "train"];

/// Modules of the half without libtorch.
const PLAIN_HALF: [&str; 11] = [
    "measure", "table", "figure", "world", "judge", "report", "run", "probe", "site", "suite",
    "sweep",
];

/// Each module of the torch half with those it may not use: what comes after it on the way
/// from a site to the command line.
const LATER: [(&str, &[&str]); 5] = [
    ("tap", &["model", "sampler", "pipeline", "train", "probe"]),
    ("model", &["sampler", "pipeline", "train", "probe"]),
    ("sampler", &["pipeline", "train", "probe"]),
    ("pipeline", &["train", "probe"]),
    ("train", &["probe"]),
];

struct Source {
    path: PathBuf,
    /// First folder or file below src: `tap`, `pipeline`.
    module: String,
    /// Without comments.
    lines: Vec<String>,
    length: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(source(&root, path));
            }
        }
    }
    assert!(found.len() > 50, "only {} files below {}", found.len(), root.display());
    found
}

fn source(root: &Path, path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap();
    let below = path.strip_prefix(root).unwrap();
    let module = below.iter().next().unwrap().to_str().unwrap();
    let code = |line: &&str| !line.trim_start().starts_with("//");
    Source {
        module: module.trim_end_matches(".rs").to_owned(),
        lines: text.lines().filter(code).map(str::to_owned).collect(),
        length: text.lines().count(),
        path,
    }
}

impl Source {
    /// Top-level modules of the crate that this file names, with the line.
    fn uses(&self) -> Vec<(String, &str)> {
        let mut used = Vec::new();
        for line in &self.lines {
            for after in line.split("crate::").skip(1) {
                for name in first_names(after) {
                    used.push((name, line.as_str()));
                }
            }
        }
        used
    }

    /// The first line that names the crate `name`.
    fn names_crate(&self, name: &str) -> Option<&str> {
        let path = format!("{name}::");
        let outside = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let names = |line: &&String| {
            line.match_indices(&path).any(|(at, _)| outside(&line[..at]))
                || line.trim().starts_with(&format!("use {name};"))
        };
        self.lines.iter().find(names).map(String::as_str)
    }
}

/// `tap::Cx` → tap; `{tap::Cx, site}` → tap, site.
fn first_names(after: &str) -> Vec<String> {
    let first = |text: &str| {
        text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    match after.strip_prefix('{') {
        Some(group) => group.split(',').map(first).filter(|name| !name.is_empty()).collect(),
        None => vec![first(after)],
    }
}

#[track_caller]
fn refuse(problems: Vec<String>) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_scan_sees_what_it_should() {
    let modules: BTreeSet<String> = sources().into_iter().map(|s| s.module).collect();
    for module in PLAIN_HALF.iter().chain(&TORCH_HALF).chain(&["cli"]) {
        assert!(modules.contains(*module), "no module `{module}` below src");
    }
    assert_eq!(first_names("tap::Cx;"), ["tap"]);
    assert_eq!(first_names("{site, tap::{Cx, Tap}};")[..2], ["site", "tap"]);
    let tap = sources().into_iter().find(|s| s.path.ends_with("tap/mod.rs")).unwrap();
    assert!(tap.uses().iter().any(|(name, _)| name == "site"));
    assert!(tap.names_crate("tch").is_some());
}

#[test]
fn half_of_the_modules_know_nothing_of_models() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|s| PLAIN_HALF.contains(&s.module.as_str())) {
        let uses = source.uses().into_iter();
        let wrong = uses.filter(|(name, _)| TORCH_HALF.contains(&name.as_str()));
        problems.extend(wrong.map(|(_, line)| format!("{}: {line}", source.path.display())));
        for name in ["tch", "torch_sys", "safetensors"] {
            let named = source.names_crate(name);
            problems.extend(named.map(|line| format!("{}: {line}", source.path.display())));
        }
    }
    refuse(problems);
}

#[test]
fn dependencies_point_one_way() {
    let mut problems = Vec::new();
    for source in sources() {
        for (name, line) in source.uses() {
            let later = LATER.iter().find(|(module, _)| *module == source.module);
            let is_later = later.is_some_and(|(_, later)| later.contains(&name.as_str()));
            let is_cli = name == "cli" && source.module != "cli";
            if is_later || is_cli {
                problems.push(format!("{}: {line}", source.path.display()));
            }
        }
    }
    refuse(problems);
}

#[test]
fn only_tables_and_what_shows_them_know_polars() {
    const KNOWING: [&str; 3] = ["table", "cli", "notebook"];
    let others = sources().into_iter().filter(|s| !KNOWING.contains(&s.module.as_str()));
    let named = |s: Source| {
        let at = s.path.display().to_string();
        s.names_crate("polars").map(|line| format!("{at}: {line}"))
    };
    refuse(others.filter_map(named).collect());
}

/// What may print: the command line, the program in front of it, and what shows itself in a notebook.
const PRINTING: [&str; 3] = ["cli", "main", "notebook"];

#[test]
fn only_what_faces_people_prints() {
    const PRINTERS: [&str; 5] = ["println!", "eprintln!", " print!", " eprint!", "dbg!"];
    let mut problems = Vec::new();
    for source in sources().iter().filter(|s| !PRINTING.contains(&s.module.as_str())) {
        let prints = |line: &&String| PRINTERS.iter().any(|printer| line.contains(printer));
        let found = source.lines.iter().filter(prints);
        problems.extend(found.map(|line| format!("{}: {line}", source.path.display())));
    }
    refuse(problems);
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter(|s| s.length > MOST_LINES);
    refuse(long.map(|s| format!("{}: {} lines", s.path.display(), s.length)).collect());
}

#[test]
fn the_vocabulary_on_file_is_the_worlds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/world/vocabulary.txt");
    let text = fs::read_to_string(&path).unwrap();
    let on_file: Vec<&str> = text.lines().collect();
    assert_eq!(on_file, denoscope::world::vocabulary());
}
