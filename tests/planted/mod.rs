//! Planted outcomes, and runs of `probe failures` that hold them.
#![allow(dead_code, reason = "every test uses a part of it")]

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use denoscope::run::{Guidance, Manifest, RunFolder, SamplingRecord};
use denoscope::table::{OutcomeRow, Row, frame, write_parquet};

/// An image that holds all it is asked for.
pub fn outcome() -> OutcomeRow {
    OutcomeRow {
        suite: "planted".to_owned(),
        suite_version: 1,
        suite_hash: "ab".repeat(32),
        item: "item".to_owned(),
        category: "category".to_owned(),
        difficulty: None,
        prompt: "prompt".to_owned(),
        seed: 0,
        twin: None,
        held_out: None,
        judge: "exact".to_owned(),
        judge_version: "2".to_owned(),
        holds: Some(true),
        score: None,
        atoms: 1,
        atoms_held: 1,
        reason: String::new(),
        image: None,
        image_sha256: "00".repeat(32),
    }
}

pub fn sampling() -> SamplingRecord {
    SamplingRecord {
        sampler: "ddim".to_owned(),
        guidance: Guidance::from_scale(5.0),
        guidance_rescale: 0.0,
        eta: 0.0,
        steps: 25,
        seeds: Vec::new(),
        width: 64,
        height: 64,
        negative: String::new(),
        image: None,
    }
}

/// A folder to put outcomes and more into.
pub fn begun(out: &Path, outcomes: Vec<OutcomeRow>) -> RunFolder {
    let folder = RunFolder::create(out, "failures", "kind = \"failures\"\nversion = 1\n").unwrap();
    let path = folder.path("tables/outcome.parquet").unwrap();
    write_parquet::<OutcomeRow>(&mut frame(outcomes).unwrap(), &path).unwrap();
    folder
}

/// The finished run, drawn so.
pub fn finished(folder: RunFolder, sampling: SamplingRecord) -> PathBuf {
    let mut manifest = Manifest::new("failures");
    manifest.sampling = Some(sampling);
    folder.finish(manifest).unwrap()
}

pub fn probe(folder: &Path, words: &[&str]) -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("probe");
    command.args(words).env_remove("PROBE_LOG").current_dir(folder);
    command
}

/// Makes a Parquet file of outcomes one of a newer version: the digit of its table's version in the
/// footer becomes 9.
pub fn raise_version(path: &Path) {
    const KEY: &[u8] = b"denoscope.version";
    let mut bytes = std::fs::read(path).unwrap();
    let version = OutcomeRow::TABLE.version.to_string().into_bytes()[0];
    let key = bytes.windows(KEY.len()).position(|window| window == KEY).unwrap();
    let value = &mut bytes[key + KEY.len()..];
    let digit = value.iter().position(|byte| *byte == version).unwrap();
    assert!(digit < 4, "the value follows its key");
    value[digit] = b'9';
    std::fs::write(path, bytes).unwrap();
}
