//! How the command line behaves: a first call, defaults of a project, pipes, manual pages.

use std::fs;

use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::{TINY, fails, json, probe, probe_in};

#[test]
fn a_call_without_words_says_what_to_try() {
    let assert = probe(&[]).assert().success().stdout(contains("To begin with"));
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let commands = text.lines().filter(|line| line.starts_with("  probe "));
    let mut tried = 0;
    for line in commands {
        // What comes after two blanks says what the command does.
        let command = line.trim().split("  ").next().unwrap();
        let words = shlex::split(command).unwrap();
        let parsed = <denoscope::cli::Cli as clap::Parser>::try_parse_from(words);
        assert!(parsed.is_ok() || command == "probe --help", "{command}");
        tried += 1;
    }
    assert!(tried >= 4, "{text}");
}

#[test]
fn defaults_of_a_project_hold_below_its_folder_and_the_command_line_wins() {
    let folder = TempDir::new().unwrap();
    let deep = folder.path().join("deep/er");
    fs::create_dir_all(&deep).unwrap();
    let defaults = format!("model = {TINY:?}\n\n[tokens]\nformat = \"csv\"\n");
    fs::write(folder.path().join("probe.toml"), defaults).unwrap();
    let tokens = |words: &[&str]| {
        let mut command = probe(&["tokens", "--prompt", "ball"]);
        command.args(words).current_dir(&deep);
        command
    };
    tokens(&[]).assert().success().stdout(contains("position,id"));
    let tiny = json(&mut tokens(&["--format", "json"]));
    let shapes = json(&mut tokens(&["--format", "json", "--model", "shapes"]));
    assert_eq!(tiny["words"], shapes["words"]);
    assert_ne!(tiny["ids"], shapes["ids"], "the default model is another");
    fs::write(folder.path().join("probe.toml"), "modle = \"x\"").unwrap();
    tokens(&[])
        .assert()
        .code(2)
        .stderr(contains("probe.toml").and(contains("did you mean `model`")));
    fs::write(folder.path().join("probe.toml"), "[tokens]\nformat = \"xml\"").unwrap();
    let says = contains("xml").and(contains("Defaults are those of")).and(contains("probe.toml"));
    tokens(&[]).assert().code(2).stderr(says);
}

#[test]
fn nothing_that_is_piped_has_colours_or_moves_a_cursor() {
    // A prompt that is too long is warned of, and sampling has a progress bar.
    let folder = TempDir::new().unwrap();
    let prompt = "ball ".repeat(100);
    let words = ["generate", "--model", TINY, "--steps", "2", "--prompt", &prompt];
    let assert = probe_in(&folder, &words).assert().success().stderr(contains("WARN"));
    let output = assert.get_output();
    for bytes in [&output.stdout, &output.stderr] {
        assert!(!bytes.contains(&0x1b) && !bytes.contains(&b'\r'));
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = TempDir::new().unwrap();
    let man = folder.path().join("man1");
    let to = man.to_str().unwrap();
    probe(&["completions", "man", "--to", to]).assert().success().stderr(contains("manual pages"));
    let command = <denoscope::cli::Cli as clap::CommandFactory>::command();
    for name in command.get_subcommands().map(clap::Command::get_name) {
        let page = fs::read_to_string(man.join(format!("probe-{name}.1"))).unwrap();
        assert!(
            page.contains(&format!(".TH probe-{name}")) && page.contains("Examples:"),
            "{name}"
        );
    }
    assert!(fs::read_to_string(man.join("probe.1")).unwrap().contains(".SH SUBCOMMANDS"));
    probe(&["completions", "man", "tokens"])
        .assert()
        .success()
        .stdout(contains(".TH probe-tokens"));
    fails(&["completions", "man", "tokenz"], &["no command `tokenz`", "did you mean `tokens`"]);
    fails(&["completions", "bash", "tokens"], &["go with `man`"]);
}
