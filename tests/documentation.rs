//! What the book and the README say is what the program does: commands in them parse, links lead
//! somewhere, and the reference pages are made from the program.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use denoscope::cli::Cli;
use denoscope::model::checkpoint::{DiffusionModel, Placement};

/// Set to write the reference pages anew.
const UPDATE: &str = "UPDATE_REFERENCE";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README and every page of the book.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// The lines of shell blocks, those that end in a backslash joined with the next.
fn shell_lines(page: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let (mut inside, mut goes_on) = (false, false);
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```sh" && !inside;
        } else if inside {
            let part = line.trim_end_matches('\\').trim();
            match lines.last_mut() {
                Some(last) if goes_on => write!(last, " {part}").unwrap(),
                _ => lines.push(part.to_owned()),
            }
            goes_on = line.ends_with('\\');
        }
    }
    lines
}

#[test]
fn every_command_in_the_documentation_parses() {
    let mut commands = 0;
    for page in pages() {
        for line in shell_lines(&fs::read_to_string(&page).unwrap()) {
            // What comes after a comment or a redirection is the shell's.
            let words = shlex::split(&line).unwrap_or_else(|| panic!("{}: {line}", page.display()));
            let words = words.split(|word| word == ">" || word == "|").next().unwrap_or_default();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let words = words.strip_prefix(&["cargo"]).unwrap_or(&words);
            if words.first() != Some(&"probe") {
                continue;
            }
            commands += 1;
            let parsed = Cli::try_parse_from(words);
            if let Err(error) = parsed {
                assert!(!error.use_stderr(), "{}: {line}\n{error}", page.display());
            }
        }
    }
    assert!(commands > 40, "only {commands} commands were found");
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (_, rest) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let target = rest.split(')').next().unwrap();
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(there.exists(), "{}: {target} is not there", page.display());
            let known = || anchors(&fs::read_to_string(&there).unwrap());
            let is_there = anchor.is_empty() || known().iter().any(|a| a == anchor);
            assert!(is_there, "{}: {target} leads to no heading", page.display());
        }
    }
}

/// The anchors of a page's headings, as mdbook and GitHub make them.
fn anchors(page: &str) -> Vec<String> {
    let heading = |line: &str| {
        let text = line.strip_prefix('#')?.trim_start_matches('#').trim();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        Some(kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect())
    };
    page.lines().filter_map(heading).collect()
}

#[test]
fn every_page_is_in_the_summary() {
    let guide = root().join("docs/guide");
    let summary = fs::read_to_string(guide.join("SUMMARY.md")).unwrap();
    for page in pages().iter().filter_map(|page| page.strip_prefix(&guide).ok()) {
        let name = page.to_str().unwrap();
        assert!(name == "SUMMARY.md" || summary.contains(&format!("({name})")), "{name}");
    }
}

/// Compares a page with what it should be, or writes it.
fn assert_page(name: &str, text: &str) {
    let path = root().join("docs/guide/reference").join(name);
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, text).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "{name} is not up to date: run this test with {UPDATE}=1");
}

#[test]
fn the_page_of_commands_is_that_of_the_program() {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    let mut text = String::from("# Commands\n\nAs `probe COMMAND --help` prints them.\n");
    for command in cli.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let (name, help) = (command.get_name().to_owned(), command.render_long_help().to_string());
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(text, "\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end()).unwrap();
    }
    assert_page("commands.md", &text);
}

#[test]
fn the_page_of_tables_is_that_of_the_declarations() {
    assert_page("tables.md", &denoscope::table::documentation());
}

#[test]
fn the_page_of_sites_is_that_of_the_built_in_model() {
    let model = DiffusionModel::open("shapes", Placement::default()).unwrap();
    let mut text = String::from(
        "# Sites\n\nThose of the built-in model, in the order of a run; `probe sites --model …` lists \
         those of another.\nPaths are those of the modules in a diffusers checkpoint.\n\n\
         | site | axes | path |\n|---|---|---|\n",
    );
    for (_, site) in model.sites.iter() {
        let axes: Vec<&str> = site.axes.iter().map(|axis| axis.label()).collect();
        let path = if site.path.is_empty() { String::new() } else { format!("`{}`", site.path) };
        writeln!(text, "| `{}` | {} | {path} |", site.name, axes.join(" × ")).unwrap();
    }
    assert_page("sites.md", &text);
}
