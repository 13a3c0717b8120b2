//! `cargo xtask test`: every check that continuous integration runs.
//!
//! All of it builds with `--release`, so that dependencies are compiled once.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Task, unknown};
use crate::libtorch::{self, Wanted};
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "test",
    arguments: "[STEP…] [--libtorch python|wheels]",
    about: "Run every check, or the named ones: fmt, clippy, docs, torchless, tests, doctests, gate, \
            browser, deny",
    run,
};

/// One check.
struct Step {
    name: &'static str,
    run: fn(&Bench) -> Result<Outcome>,
}

/// In the order in which they run: quick ones first.
const STEPS: &[Step] = &[
    Step { name: "fmt", run: fmt },
    Step { name: "clippy", run: clippy },
    Step { name: "docs", run: docs },
    Step { name: "torchless", run: torchless },
    Step { name: "tests", run: tests },
    Step { name: "doctests", run: doctests },
    Step { name: "gate", run: gate },
    Step { name: "browser", run: browser },
    Step { name: "deny", run: deny },
];

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped(&'static str),
}

/// What the steps share.
struct Bench {
    workspace: Workspace,
}

impl Bench {
    /// Runs cargo with the arguments and shows the command.
    fn cargo(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Outcome> {
        let mut command = self.command(arguments);
        let status = command.envs(environment.iter().copied()).status();
        Ok(outcome(status.context("could not start cargo")?.success()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        eprintln!("\n$ cargo {}", arguments.join(" "));
        let mut command = self.workspace.cargo();
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Whether `cargo <name>` exists on this machine.
    fn has(&self, name: &str) -> bool {
        let mut command = self.workspace.cargo();
        command.args([name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

fn outcome(is_success: bool) -> Outcome {
    if is_success { Outcome::Passed } else { Outcome::Failed }
}

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let (wanted, names) = Wanted::from_arguments(arguments)?;
    let steps = choose(&names)?;
    let workspace = Workspace::locate()?;
    libtorch::ensure(&workspace, wanted)?;
    let bench = Bench { workspace };

    let mut results = Vec::new();
    for step in steps {
        let start = Instant::now();
        let outcome = (step.run)(&bench)?;
        results.push((step.name, outcome, start.elapsed()));
    }
    report(&results);
    let is_success = results.iter().all(|(_, outcome, _)| *outcome != Outcome::Failed);
    Ok(if is_success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The named steps in their own order; all of them if none is named.
fn choose(names: &[OsString]) -> Result<Vec<&'static Step>> {
    let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    for name in &names {
        if STEPS.iter().all(|step| step.name != name) {
            bail!(unknown("step", name, STEPS.iter().map(|step| step.name)));
        }
    }
    let is_chosen = |step: &&Step| names.is_empty() || names.iter().any(|name| name == step.name);
    Ok(STEPS.iter().filter(is_chosen).collect())
}

fn report(results: &[(&str, Outcome, Duration)]) {
    eprintln!("\nChecks:");
    for (name, outcome, time) in results {
        let verdict = match outcome {
            Outcome::Passed => "ok".to_owned(),
            Outcome::Failed => "FAILED".to_owned(),
            Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        eprintln!("  {name:<10}{:>8.1} s  {verdict}", time.as_secs_f64());
    }
}

fn fmt(bench: &Bench) -> Result<Outcome> {
    if !bench.has("fmt") {
        bail!("`cargo fmt` is not installed: rustup component add rustfmt");
    }
    bench.cargo(&["fmt", "--all", "--check"], &[])
}

fn clippy(bench: &Bench) -> Result<Outcome> {
    if !bench.has("clippy") {
        bail!("`cargo clippy` is not installed: rustup component add clippy");
    }
    let arguments = ["clippy", "--release", "--locked", "--workspace", "--all-targets"];
    bench.cargo(&[&arguments[..], &["--", "-D", "warnings"]].concat(), &[])
}

fn docs(bench: &Bench) -> Result<Outcome> {
    let arguments = ["doc", "--release", "--locked", "--workspace", "--no-deps"];
    bench.cargo(&arguments, &[("RUSTDOCFLAGS", "-D warnings")])
}

/// The half without libtorch compiles and is clean. It is checked and not linked: without
/// torch some dependencies have other features, and generating the code of all that is built on
/// them once more would take longer than every other step.
fn torchless(bench: &Bench) -> Result<Outcome> {
    let arguments = ["clippy", "--release", "--locked", "--no-default-features"];
    bench.cargo(&[&arguments[..], &["--", "-D", "warnings"]].concat(), &[])
}

/// Programs that some tests run against, whose they are, and how to get them. Without them these
/// tests pass over.
const COMPONENTS: [(&str, &str, &str); 1] =
    [("sbatch", "Slurm", "apt-get install slurm-wlm munge")];

/// Says which tests will pass over because a program is not there.
fn tell_of_missing_components() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (program, whose, command) in COMPONENTS {
        if !std::env::split_paths(&path).any(|place| place.join(program).is_file()) {
            eprintln!("{whose} is not installed: tests against it are skipped ({command})");
        }
    }
}

/// Unit and integration tests.
fn tests(bench: &Bench) -> Result<Outcome> {
    tell_of_missing_components();
    if bench.has("nextest") {
        let arguments = ["nextest", "run", "--release", "--locked", "--workspace"];
        return bench
            .cargo(&[&arguments[..], &["--no-fail-fast", "--no-tests=pass"]].concat(), &[]);
    }
    let arguments = ["test", "--release", "--locked", "--workspace", "--no-fail-fast"];
    let mut command = bench.command(&[&arguments[..], &["--lib", "--bins", "--tests"]].concat());
    let mut child = command.stdout(Stdio::piped()).spawn().context("could not start cargo")?;
    let mut count = Count::default();
    if let Some(output) = child.stdout.take() {
        let mut out = std::io::stdout().lock();
        for line in BufReader::new(output).lines() {
            let line = line.context("lost the output of the tests")?;
            writeln!(out, "{line}").context("stdout is closed")?;
            count.add(&line);
        }
    }
    let status = child.wait().context("lost sight of cargo")?;
    // Cargo's own runner counts per binary; nextest gives the sum itself.
    println!("\n{} passed, {} failed", count.passed, count.failed);
    Ok(outcome(status.success()))
}

/// Examples in the documentation.
fn doctests(bench: &Bench) -> Result<Outcome> {
    bench.cargo(&["test", "--release", "--locked", "--workspace", "--doc"], &[])
}

/// The built-in model against its baseline: has a change of sampler, guidance or denoiser made it
/// worse?
fn gate(bench: &Bench) -> Result<Outcome> {
    Ok(outcome(super::gate::compare(&bench.workspace, &[])? == 0))
}

/// Reports of every probe as readers have them, where there is a browser.
fn browser(bench: &Bench) -> Result<Outcome> {
    match super::browser::missing() {
        Some(missing) => Ok(Outcome::Skipped(missing)),
        None => Ok(outcome(super::browser::check(&bench.workspace)?)),
    }
}

/// Licences and sources of the dependencies. Known weaknesses are left out: they come up
/// without a change here, and the list needs a network.
fn deny(bench: &Bench) -> Result<Outcome> {
    if !bench.has("deny") {
        return Ok(Outcome::Skipped("cargo-deny is not installed"));
    }
    bench.cargo(&["deny", "check", "bans", "licenses", "sources"], &[])
}

/// Tests counted from the output of `cargo test`.
#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
}

impl Count {
    /// Takes in one line: `test result: ok. 3 passed; 0 failed; …` counts, others do not.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let mut words = result.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let number = word.parse().unwrap_or(0);
            match words.peek() {
                Some(&"passed;") => self.passed += number,
                Some(&"failed;") => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests_of_this {
    use super::*;

    fn names(words: &[&str]) -> Result<Vec<&'static str>> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        Ok(choose(&words)?.iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_run_in_their_own_order() {
        assert_eq!(names(&["tests", "fmt"]).unwrap(), ["fmt", "tests"]);
        assert_eq!(names(&[]).unwrap().len(), STEPS.len());
        let error = names(&["clipy"]).unwrap_err().to_string();
        assert!(error.contains("Did you mean `clippy`?"), "{error}");
    }

    #[test]
    fn the_help_names_every_step() {
        for step in STEPS {
            assert!(TASK.about.contains(step.name), "{}", step.name);
        }
    }

    #[test]
    fn results_are_summed_over_binaries() {
        let mut count = Count::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: ok. 40 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out",
        ] {
            count.add(line);
        }
        assert_eq!((count.passed, count.failed), (42, 1));
    }
}
