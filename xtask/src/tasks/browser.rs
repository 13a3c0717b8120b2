//! `cargo xtask browser`: reports of every probe, opened in Chromium.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use super::{Task, no_arguments, probe};
use crate::environment::finish;
use crate::runs::{Probe, emptied};
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "browser",
    arguments: "",
    about: "Open reports of every probe in Chromium: controls, contrast, no requests, screenshots",
    run,
};

/// Programs that are Chromium, in the order in which they are looked for.
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// Names another one.
const CHROMIUM_VARIABLE: &str = "CHROMIUM";

/// What the checks are made of, below `tests/browser/`.
const FILES: [&str; 4] = ["package.json", LOCK, "check.mjs", "explorer.mjs"];
/// Names the versions of what is installed.
const LOCK: &str = "package-lock.json";

/// A model of random weights that takes any words.
const ANY_WORDS: &str = "fixtures/tiny/sd";

/// Text that a page must show as text: markup, quotes, a right-to-left word.
const HOSTILE: &str = "<script>alert(1)</script> a \"ball\" & 'cube' שלום </title>";
/// Length of a prompt that nobody writes.
const LONG: usize = 10_000;

/// The runs whose reports are opened, small ones: page and words. To try the report of a new probe,
/// add a line.
const RUNS: &[(&str, &[&str])] = &[
    (
        "attention",
        &["attention", "--prompt", "red ball left of blue cube", "--count", "2", "--steps", "8"],
    ),
    (
        "attention-other",
        &["attention", "--prompt", "green cone above yellow ring", "--count", "1", "--steps", "6"],
    ),
    ("attention-world", &["attention", "--from-world", "3", "--steps", "4"]),
    ("attention-scenes", &["attention", "--from-world", "6", "--at-steps", "300,700"]),
    (
        "patch",
        &[
            "patch",
            "--prompt",
            "red ball left of blue cube",
            "--exchange",
            "colours",
            "--count",
            "2",
            "--steps",
            "4",
            "--windows",
            "2",
        ],
    ),
    ("forward", &["forward"]),
    ("trace", &["trace", "--prompt", "a red ball", "--sites", "step.*", "--steps", "4"]),
    ("failures", &["failures", "--category", "one-object", "--count", "4", "--steps", "4"]),
    (
        "diagnosis",
        &["failures", "--category", "two-objects", "--count", "24", "--steps", "4", "--diagnose"],
    ),
    ("heads", &["patch", "--heads", "--from-world", "4", "--steps", "2", "--together", "2"]),
    ("latent", &["latent", "--count", "6"]),
    ("guidance", &["guidance", "--guidance", "1,3,8", "--from-world", "3", "--steps", "4"]),
    (
        "timesteps",
        &["timesteps", "--prompts", "2", "--pairs", "1", "--scenes", "60", "--steps", "6"],
    ),
    (
        "clip",
        &[
            "clip",
            "--captions",
            "20",
            "--routes",
            "1",
            "--images",
            "1",
            "--places",
            "3",
            "--steps",
            "4",
        ],
    ),
    ("compare", &["compare", "reports/baselines/shapes-earlier", "reports/baselines/shapes"]),
    (OF_OTHER_RUNS, &["history", "reports/baselines/shapes-earlier", "reports/baselines/shapes"]),
];

/// The run whose report is not made again of its own tables.
const OF_OTHER_RUNS: &str = "history";

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    no_arguments(TASK.name, arguments)?;
    if let Some(missing) = missing() {
        bail!(missing);
    }
    Ok(if check(&Workspace::locate()?)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the pages and opens them; whether all are as they should be. Its tools are there.
pub fn check(workspace: &Workspace) -> Result<bool> {
    let chromium = chromium().context("no Chromium")?;
    let home = workspace.target().join("browser");
    let (pages, screenshots) = (home.join("pages"), home.join("screenshots"));
    for folder in [&home.join("runs"), &pages, &screenshots] {
        emptied(folder)?;
    }
    install(workspace, &home)?;
    let probe = Probe { workspace, program: probe::build(workspace)? };
    make_pages(&probe, &home.join("runs"), &pages)?;

    let mut check = Command::new("node");
    check.current_dir(&home).arg("check.mjs").arg("--chromium").arg(&chromium);
    check.arg("--pages").arg(&pages).arg("--screenshots").arg(&screenshots);
    Ok(check.status().context("could not start node")?.success())
}

/// What is not installed and how to get it; none where all is there.
pub fn missing() -> Option<&'static str> {
    let runs = |program: &str| {
        let mut command = Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !runs("node") || !runs("npm") {
        return Some(
            "node and npm are not installed (20 or newer; Debian: apt install nodejs npm)",
        );
    }
    if chromium().is_none() {
        return Some("chromium is not installed (Debian: apt install chromium; or set CHROMIUM)");
    }
    None
}

fn chromium() -> Option<PathBuf> {
    if let Some(named) = env::var_os(CHROMIUM_VARIABLE).filter(|value| !value.is_empty()) {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let places = CHROMIUM.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// The checks and what they need, beside the pages; what is installed already is kept.
fn install(workspace: &Workspace, home: &Path) -> Result<()> {
    let lock = workspace.root().join("tests/browser").join(LOCK);
    let is_installed = fs::read(home.join(LOCK)).ok() == fs::read(lock).ok()
        && home.join("node_modules/playwright-core").is_dir();
    for file in FILES {
        let from = workspace.root().join("tests/browser").join(file);
        fs::copy(&from, home.join(file)).with_context(|| from.display().to_string())?;
    }
    if is_installed {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.current_dir(home).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    npm.stdout(std::io::stderr());
    finish(&mut npm, "npm could not install playwright-core and axe-core; it needs a network once")
}

/// The pages: of each run its own report or, where it has none, one made of its tables; awkward
/// prompts; several runs in one; the list of runs.
fn make_pages(probe: &Probe<'_>, runs: &Path, pages: &Path) -> Result<()> {
    let mut made = Vec::new();
    for (name, words) in RUNS {
        made.push((*name, probe.run(words, &runs.join(name))?));
    }
    let long = "ball ".repeat(LONG / "ball ".len());
    for (name, prompt) in [("awkward", HOSTILE), ("long", long.as_str())] {
        let words = ["attention", "--model", ANY_WORDS, "--prompt", prompt, "--steps", "3"];
        let words = [&words[..], &["--count", "1"]].concat();
        made.push((name, probe.run(&words, &runs.join(name))?));
    }
    for (name, run) in &made {
        let page = pages.join(format!("{name}.html"));
        let own = run.join("report.html");
        if own.exists() {
            fs::copy(&own, &page).with_context(|| own.display().to_string())?;
        }
        if *name == OF_OTHER_RUNS {
            continue;
        }
        let again = pages.join(format!("{name}-again.html"));
        report(probe, &[run], &again)?;
    }
    let run = |name: &str| made.iter().find(|(n, _)| *n == name).map(|(_, run)| run.as_path());
    let several = [run("attention"), run("attention-other"), run("patch")];
    let several: Vec<&Path> = several.into_iter().flatten().collect();
    report(probe, &several, &pages.join("several.html"))?;
    fs::write(pages.join("list.html"), list(probe, &runs.join("attention"))?)?;
    Ok(())
}

fn report<P: AsRef<Path>>(probe: &Probe<'_>, runs: &[P], page: &Path) -> Result<()> {
    let mut command = probe.command(&["report"]);
    command.args(runs.iter().map(|run| -> &Path { run.as_ref() })).arg("--to").arg(page);
    command.stdout(std::io::stderr());
    finish(&mut command, "probe report failed")
}

/// The list of runs as `--serve` gives it.
fn list(probe: &Probe<'_>, runs: &Path) -> Result<String> {
    let mut command = probe.command(&["report", "--serve", "--port", "0"]);
    let mut server = command.arg(runs).stdout(Stdio::piped()).spawn()?;
    let page = server.stdout.take().context("no stdout").and_then(|out| fetch(BufReader::new(out)));
    server.kill()?;
    server.wait()?;
    page
}

/// Fetches `/` from the address that the server prints.
fn fetch(mut printed: impl BufRead) -> Result<String> {
    let mut address = String::new();
    printed.read_line(&mut address)?;
    let host = address.trim().trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).with_context(|| format!("cannot reach {address}"))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("the server's answer has no body")?;
    Ok(body.to_owned())
}
