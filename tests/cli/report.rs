//! `probe report`: reports made again of stored runs, combined, and shown in a browser.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use denoscope::run::StoredRun;
use denoscope::table::{ImageRow, Row, read_parquet};
use polars::prelude::{KeyValueMetadata, ParquetWriter};
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::{TINY, fails, json, probe, probe_in, run_folder};

const PROMPT: &str = "red ball left of blue cube";

/// Makes a run and returns its folder's only run.
fn made(folder: &TempDir, words: &[&str]) -> PathBuf {
    probe_in(folder, words).assert().success();
    run_folder(folder)
}

fn attention(folder: &TempDir, prompt: &str) -> PathBuf {
    made(folder, &["attention", "--prompt", prompt, "--count", "2", "--steps", "3"])
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// A page up to the section that says how to run it again: the run itself spells its command in
/// another order than its spec.
fn until_run_again(page: &str) -> &str {
    page.split_once("<section id=\"run-this-again\"").unwrap().0
}

/// The same report with nothing but the run's own folder.
#[track_caller]
fn assert_made_again(run: &Path) {
    let before = text(&run.join("report.html"));
    fs::remove_file(run.join("report.html")).unwrap();
    probe(&["report"]).arg(run).assert().success().stderr(contains("report: "));
    let after = text(&run.join("report.html"));
    assert!(until_run_again(&before) == until_run_again(&after), "{} differs", run.display());
    let own = before.contains("--prompt") == after.contains("--prompt");
    assert!(own && after.contains("This command makes the same run"));
    // The manifest knows the new files.
    assert!(StoredRun::open(run).unwrap().verify().unwrap().is_empty());
}

#[test]
fn a_report_made_again_is_that_of_the_run() {
    let folder = TempDir::new().unwrap();
    let run = attention(&folder, PROMPT);
    assert!(text(&run.join("report.html")).contains("data-role=\"data\""), "it has an explorer");
    assert_made_again(&run);

    let folder = TempDir::new().unwrap();
    let words = ["attention", "--from-world", "6", "--at-steps", "300,700"];
    assert_made_again(&made(&folder, &words));

    let folder = TempDir::new().unwrap();
    let words = ["attention", "--from-world", "3", "--steps", "2"];
    assert_made_again(&made(&folder, &words));

    let folder = TempDir::new().unwrap();
    let words = ["patch", "--prompt", PROMPT, "--exchange", "colours", "--count", "2"];
    let few = ["--steps", "2", "--windows", "1", "--sites", "mid.*.cross.out"];
    assert_made_again(&made(&folder, &[&words[..], &few].concat()));
}

#[test]
fn a_run_without_a_report_of_its_own_gets_one_of_its_tables() {
    let folder = TempDir::new().unwrap();
    let run =
        made(&folder, &["generate", "--model", TINY, "--prompt", "a <b>ball</b>", "--steps", "2"]);
    let page = folder.path().join("page.html");
    probe(&["report"]).arg(&run).arg("--to").arg(&page).assert().success();
    let html = text(&page);
    assert!(
        html.contains("Table images")
            && html.contains("&lt;b&gt;ball")
            && !html.contains("<b>ball")
    );
    assert!(html.contains("probe generate"), "it says how to run it again");
    let report = json(probe(&["report", "--format", "json"]).arg(&run));
    assert_eq!(report["title"], "What generate recorded");
    probe(&["report", "--format", "md"])
        .arg(&run)
        .assert()
        .success()
        .stdout(contains("# What generate"));
}

#[test]
fn several_runs_become_one_document_with_one_explorer() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let runs = [attention(&one, PROMPT), attention(&other, "green cone above yellow ring")];
    let page = one.path().join("both.html");
    probe(&["report"]).args(&runs).arg("--to").arg(&page).assert().success();
    let html = text(&page);
    assert_eq!(html.matches("data-role=\"data\"").count(), 1);
    let data = html.split_once("data-role=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let titles: Vec<&str> =
        data["images"].as_array().unwrap().iter().map(|i| i["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), 4);
    for (prompt, run) in [(PROMPT, &runs[0]), ("green cone above yellow ring", &runs[1])] {
        let name = run.file_name().unwrap().to_str().unwrap();
        let of_run = titles.iter().filter(|t| t.contains(prompt) && t.contains(name)).count();
        assert_eq!(of_run, 2, "{titles:?}");
    }
    assert_eq!(html.matches("<article class=\"part\"").count(), 2);
}

#[test]
fn what_is_not_a_whole_run_is_refused_with_a_remedy() {
    fails(&["report"], &["<RUN>"]);
    fails(&["report", "runs/none"], &["no such folder", "check the spelling"]);
    fails(&["report", "--serve", "nowhere"], &["no such folder of runs", "--out"]);
    fails(&["report", "a", "b", "--serve"], &["one folder"]);
    fails(&["report", "a", "--port", "9000"], &["--serve"]);

    let folder = TempDir::new().unwrap();
    let run = attention(&folder, PROMPT);
    let name = run.file_name().unwrap().to_str().unwrap().to_owned();
    let fails = |path: &str, says: &[&str]| {
        let assert = probe_in(&folder, &["report", path]).assert().code(2).stdout("");
        let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        for part in says {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    };
    fails("runs", &["it is a folder of runs", &name]);
    let slip = format!("runs/{}", name.replace("attention", "attentoin"));
    fails(&slip, &["did you mean", &name]);

    // Another version of a table, as a later denoscope would write it.
    let table = run.join("tables/images.parquet");
    let kept = fs::read(&table).unwrap();
    let mut frame = read_parquet::<ImageRow>(&table).unwrap();
    let pairs = [("denoscope.table", ImageRow::TABLE.name), ("denoscope.version", "99")];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    ParquetWriter::new(fs::File::create(&table).unwrap())
        .with_key_value_metadata(Some(KeyValueMetadata::from_static(pairs)))
        .finish(&mut frame)
        .unwrap();
    fails(&format!("runs/{name}"), &["version 99 of table images", "repeat the run"]);

    // A table that somebody renamed a column of.
    let mut frame = read_parquet::<ImageRow>(&{
        fs::write(&table, &kept).unwrap();
        table.clone()
    })
    .unwrap();
    frame.rename("seed", "sead".into()).unwrap();
    ParquetWriter::new(fs::File::create(&table).unwrap()).finish(&mut frame).unwrap();
    fails(&format!("runs/{name}"), &["\"sead\"", "changed since the run", "run it again"]);

    fs::remove_file(&table).unwrap();
    fails(&format!("runs/{name}"), &["is not whole", "images.parquet", "run it again"]);
}

#[test]
fn a_file_that_was_changed_is_named_on_the_page() {
    let folder = TempDir::new().unwrap();
    let run = attention(&folder, PROMPT);
    let image = run.join("images/000.png");
    let other = image::open(run.join("images/001.png")).unwrap();
    image::DynamicImage::from(other.to_rgb8()).fliph().save(&image).unwrap();
    probe(&["report"]).arg(&run).assert().success().stderr(contains("images/000.png"));
    let page = text(&run.join("report.html"));
    assert!(
        page.contains("Some files are not what the run wrote") && page.contains("images/000.png")
    );
}

/// A served folder; it ends with this value.
struct Served {
    child: Child,
    host: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Served {
    fn of(folder: &Path) -> Self {
        let program = assert_cmd::cargo::cargo_bin!("probe");
        let mut command = Command::new(program);
        command.args(["report", "--serve", "--port", "0"]).arg(folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let host = line.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { child, host }
    }

    fn get(&self, path: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[test]
fn a_folder_of_runs_is_shown_to_this_machine_alone() {
    let folder = TempDir::new().unwrap();
    let run = made(&folder, &["generate", "--model", TINY, "--prompt", "a ball", "--steps", "2"]);
    let name = run.file_name().unwrap().to_str().unwrap();
    let runs = folder.path().join("runs");
    let served = Served::of(&runs);
    assert!(served.host.starts_with("127.0.0.1:"), "{}", served.host);
    let get = |path: &str| served.get(path, &served.host);

    let list = get("/");
    assert!(
        list.starts_with("HTTP/1.1 200") && list.contains(&format!("href=\"/{name}/\"")),
        "{list}"
    );
    assert!(!list.contains("Refresh:") && !list.contains("<script"));
    assert!(get(&format!("/{name}/")).contains("What generate recorded"));
    assert!(get(&format!("/{name}/manifest.json")).contains("500"), "not a listed file");
    assert!(get(&format!("/{name}/spec.toml")).contains("kind = \"generate\""));
    for path in ["/nothing/", "/../Cargo.toml", &format!("/{name}/../../secret")] {
        assert!(!get(path).starts_with("HTTP/1.1 200"), "{path}");
    }
    // A page elsewhere that has its name point here is not answered.
    assert!(served.get("/", "evil.example").starts_with("HTTP/1.1 403"));

    // A run in progress: its folder is locked by the process that writes it.
    let writing =
        denoscope::run::RunFolder::create(&runs, "generate", "kind = \"generate\"").unwrap();
    let list = get("/");
    assert!(list.contains("Refresh: 3") && list.contains(writing.name()), "{list}");
    assert!(!get("/?still").contains("Refresh:"));
    drop(writing);
    assert!(!get("/").contains("In progress"));
}

#[test]
fn a_port_in_use_is_said_with_a_way_out() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("runs")).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let says = contains("is in use").and(contains("--port"));
    probe_in(&folder, &["report", "--serve", "--port", &port]).assert().code(2).stderr(says);
}
