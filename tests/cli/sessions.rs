//! Recorded sessions in the README and the book are what the program prints.
//!
//! A session is a block of the kind `console`: lines that begin with `$ ` are commands, what follows
//! is what they print on stdout. `UPDATE_SESSIONS=1` records them anew.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::probe_in;

const FENCE: &str = "```console";
const UPDATE: &str = "UPDATE_SESSIONS";

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(pages(&path)),
            false => {
                found.extend((path.extension().is_some_and(|kind| kind == "md")).then_some(path))
            }
        }
    }
    found
}

/// The block with what its commands print now. All of them run in one folder, one after the other.
fn recorded(block: &str) -> String {
    let folder = TempDir::new().unwrap();
    let mut lines = block.lines().peekable();
    let mut text = String::new();
    while let Some(line) = lines.next() {
        let Some(mut command) = line.strip_prefix("$ ").map(str::to_owned) else { continue };
        text += &format!("{line}\n");
        while command.ends_with('\\') {
            let more = lines.next().unwrap();
            text += &format!("{more}\n");
            command = format!("{} {}", command.trim_end_matches('\\').trim(), more.trim());
        }
        let words = shlex::split(&command).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = words.strip_prefix(&["probe"]).unwrap();
        let assert = probe_in(&folder, words).assert().success();
        text += &String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    }
    text
}

#[test]
fn recorded_sessions_are_what_the_program_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = pages(&root.join("docs/guide"));
    pages.push(root.join("README.md"));
    let mut sessions = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let mut now = text.clone();
        for (_, rest) in
            text.match_indices(FENCE).map(|(at, fence)| text.split_at(at + fence.len() + 1))
        {
            let block = rest.split("```").next().unwrap();
            let prints = recorded(block);
            sessions += 1;
            if std::env::var_os(UPDATE).is_some() {
                now = now.replace(block, &prints);
            } else {
                assert!(block == prints, "{}: run with {UPDATE}=1; now:\n{prints}", page.display());
            }
        }
        if now != text {
            fs::write(&page, now).unwrap();
        }
    }
    assert!(sessions > 0, "no page has a session");
}
