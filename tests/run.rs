//! Run folders: whole or absent, and read back with every doubt named.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use denoscope::run::{
    AtomicFile, FileProblem, Guidance, ImageRecord, Manifest, ModelRecord, RunError, RunFolder,
    RuntimeRecord, SamplingRecord, StoredRun, digest_bytes, digest_file, digest_prompts, hash8,
    list_runs,
};
use tempfile::TempDir;

/// Set in a child process that is to die in the middle of a run.
const DIE_IN: &str = "DENOSCOPE_TEST_DIE_IN";

fn manifest() -> Manifest {
    let mut manifest = Manifest::new("attention");
    manifest.set_prompts(vec!["red ball left of blue cube".to_owned()]);
    manifest.schemas.insert("attention".to_owned(), 1);
    manifest.model =
        Some(ModelRecord { name: "shapes".to_owned(), parameters: None, weights: Vec::new() });
    manifest.runtime = Some(RuntimeRecord {
        libtorch: "2.11.0".to_owned(),
        tch: "0.24.0".to_owned(),
        device: "cpu".to_owned(),
        dtype: "f32".to_owned(),
        threads: 2,
        attention_kernel: "explicit".to_owned(),
    });
    manifest.sampling = Some(SamplingRecord {
        sampler: "ddim".to_owned(),
        guidance: Guidance::from_scale(5.0),
        guidance_rescale: 0.7,
        eta: 0.0,
        steps: 25,
        seeds: vec![0, u64::MAX],
        width: 64,
        height: 64,
        negative: String::new(),
        image: Some(ImageRecord {
            path: "photo.png".to_owned(),
            sha256: digest_bytes(b"pixels"),
            purpose: "start".to_owned(),
            strength: Some(0.6),
            timesteps: Vec::new(),
        }),
    });
    manifest
}

fn finished(out: &Path) -> PathBuf {
    let run = RunFolder::create(out, "attention", "prompt = \"a\"\n").unwrap();
    run.write("images/0.png", b"pixels").unwrap();
    fs::write(run.path("tables/attention.parquet").unwrap(), b"rows").unwrap();
    run.finish(manifest()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_finished_run_reads_back_as_it_was_written() {
    let out = TempDir::new().unwrap();
    let place = finished(&out.path().join("new/runs"));
    let name = place.file_name().unwrap().to_str().unwrap().to_owned();
    let parts: Vec<&str> = name.split('-').collect();
    assert_eq!(parts[1..], ["attention", &hash8("prompt = \"a\"\n")]);
    assert_eq!(parts[0].len(), "20260131T093000Z".len(), "{name}");
    assert_eq!(names(&place), ["images", "manifest.json", "spec.toml", "tables"]);

    let run = StoredRun::open(&place).unwrap();
    let read = run.manifest();
    assert_eq!(read.run, name);
    assert_eq!(read.spec_sha256, digest_bytes(b"prompt = \"a\"\n"));
    assert!(read.started <= read.finished);
    let files: Vec<&str> = read.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["images/0.png", "spec.toml", "tables/attention.parquet"]);
    assert_eq!(read.files[0].bytes, 6);
    assert_eq!(read.files[0].sha256, digest_bytes(b"pixels"));
    let sampling = read.sampling.as_ref().unwrap();
    assert_eq!((sampling.guidance.scale, sampling.guidance.gamma), (5.0, 4.0));
    assert_eq!(sampling.seeds, [0, u64::MAX]);
    assert_eq!(run.verify().unwrap(), []);
    assert_eq!(fs::read(run.table("attention").unwrap()).unwrap(), b"rows");
    assert!(StoredRun::open(&place.join("manifest.json")).is_ok());
}

#[test]
fn a_run_that_ends_early_leaves_nothing() {
    let out = TempDir::new().unwrap();
    let run = RunFolder::create(out.path(), "attention", "").unwrap();
    run.write("tables/attention.parquet", b"rows").unwrap();
    assert_eq!(names(out.path()), [format!(".tmp-{}", run.name())]);
    assert_eq!(list_runs(out.path()).unwrap(), [""; 0]);
    drop(run);
    assert_eq!(names(out.path()), [""; 0]);
}

#[test]
fn runs_of_one_second_get_names_of_their_own() {
    let out = TempDir::new().unwrap();
    let runs: Vec<RunFolder> =
        (0..3).map(|_| RunFolder::create(out.path(), "attention", "same").unwrap()).collect();
    let mut expected: Vec<String> = runs.iter().map(|run| run.name().to_owned()).collect();
    for run in runs {
        let name = run.name().to_owned();
        let place = run.finish(manifest()).unwrap();
        assert_eq!(place, out.path().join(name));
    }
    expected.sort();
    expected.dedup();
    assert_eq!(expected.len(), 3);
    assert_eq!(list_runs(out.path()).unwrap(), expected);
}

#[test]
fn a_name_taken_during_the_run_costs_a_suffix_and_not_the_work() {
    let out = TempDir::new().unwrap();
    let run = RunFolder::create(out.path(), "attention", "").unwrap();
    let squatter = out.path().join(run.name());
    fs::create_dir(&squatter).unwrap();
    let expected = out.path().join(format!("{}-2", run.name()));
    assert_eq!(run.finish(manifest()).unwrap(), expected);
    assert_eq!(names(&squatter), [""; 0]);
}

/// Not a test of its own: the process that `a_killed_run_is_removed_by_the_next` starts.
#[test]
fn dies_in_the_middle_of_a_run() {
    if let Some(out) = std::env::var_os(DIE_IN) {
        let run = RunFolder::create(Path::new(&out), "attention", "").unwrap();
        run.write("tables/attention.parquet", b"rows").unwrap();
        std::process::abort();
    }
}

#[test]
fn a_killed_run_is_removed_by_the_next() {
    let out = TempDir::new().unwrap();
    let alive = RunFolder::create(out.path(), "attention", "alive").unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dies_in_the_middle_of_a_run"])
        .env(DIE_IN, out.path())
        .output()
        .unwrap()
        .status;
    assert!(!status.success());
    assert_eq!(names(out.path()).len(), 2, "the killed run is still there");
    assert_eq!(list_runs(out.path()).unwrap(), [""; 0], "but does not look finished");
    let next = RunFolder::create(out.path(), "attention", "next").unwrap();
    let mut expected = [format!(".tmp-{}", alive.name()), format!(".tmp-{}", next.name())];
    expected.sort();
    assert_eq!(names(out.path()), expected);
    alive.finish(manifest()).unwrap();
}

#[test]
fn folders_that_cannot_be_written_are_refused_at_once_with_a_remedy() {
    let out = TempDir::new().unwrap();
    let file = out.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [file.clone(), file.join("below")] {
        let error = RunFolder::create(&place, "attention", "").unwrap_err().to_string();
        assert!(error.contains("a file is in the way"), "{error}");
        assert!(error.contains(place.to_str().unwrap()), "{error}");
    }
    let full = RunError::Io {
        action: "write",
        path: file,
        source: std::io::ErrorKind::StorageFull.into(),
    };
    assert!(full.to_string().contains("free some space"), "{full}");
    let error = RunFolder::create(out.path(), "../attention", "").unwrap_err();
    assert!(matches!(error, RunError::ProbeName { .. }));
}

/// Linux has a device that is always full.
#[cfg(target_os = "linux")]
#[test]
fn a_write_to_a_full_device_names_the_remedy() {
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let source = full.write_all(b"x").unwrap_err();
    let error = RunError::Io { action: "write", path: "/dev/full".into(), source };
    assert!(error.to_string().contains("choose another disk with --out"), "{error}");
}

#[test]
fn paths_that_lead_out_of_a_run_are_refused() {
    let out = TempDir::new().unwrap();
    let run = RunFolder::create(out.path(), "attention", "").unwrap();
    let bad = [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        "./a",
        "C:/x",
        "a\\..\\..\\x",
        "a\0",
    ];
    for path in bad {
        assert!(matches!(run.path(path), Err(RunError::Escapes { .. })), "{path:?}");
    }
    let place = run.finish(manifest()).unwrap();
    let stored = StoredRun::open(&place).unwrap();
    for path in bad {
        assert!(matches!(stored.file(path), Err(RunError::Escapes { .. })), "{path:?}");
    }
    let file = place.join("manifest.json");
    let text = fs::read_to_string(&file).unwrap().replace("spec.toml", "../spec.toml");
    fs::write(&file, text).unwrap();
    assert!(matches!(StoredRun::open(&place), Err(RunError::Escapes { .. })));
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let out = TempDir::new().unwrap();
    let run = RunFolder::create(out.path(), "attention", "").unwrap();
    let link = run.path("images/0.png").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", link).unwrap();
    assert!(matches!(run.finish(manifest()), Err(RunError::NotPlainFile { .. })));
    assert_eq!(names(out.path()), [""; 0]);

    let place = finished(out.path());
    fs::rename(place.join("images"), out.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(out.path().join("elsewhere"), place.join("images")).unwrap();
    let mut stored = StoredRun::open(&place).unwrap();
    assert!(matches!(stored.file("images/0.png"), Err(RunError::NotPlainFile { .. })));
    assert!(matches!(stored.replace("images/0.png", b""), Err(RunError::NotPlainFile { .. })));
    let path = "images/0.png".to_owned();
    assert_eq!(stored.verify().unwrap(), [FileProblem::NotPlainFile { path }]);
}

#[test]
fn what_is_no_run_is_told_apart() {
    let out = TempDir::new().unwrap();
    let message = |path: &Path| StoredRun::open(path).unwrap_err().to_string();
    assert!(message(&out.path().join("nowhere")).contains("no such folder"));
    assert!(message(out.path()).contains("no manifest.json"));
    let open = RunFolder::create(out.path(), "attention", "").unwrap();
    let unfinished = out.path().join(format!(".tmp-{}", open.name()));
    assert!(message(&unfinished).contains("interrupted"));
    drop(open);
    let place = finished(out.path());
    let name = place.file_name().unwrap().to_str().unwrap();
    assert!(message(out.path()).contains(&format!("its latest is {name}")));
    assert!(message(&place.join("spec.toml")).contains("it is a file"));
}

#[test]
fn broken_manifests_are_named_with_what_is_wrong() {
    let out = TempDir::new().unwrap();
    let place = finished(out.path());
    let file = place.join("manifest.json");
    let text = fs::read_to_string(&file).unwrap();
    let with = |text: &str| {
        fs::write(&file, text).unwrap();
        StoredRun::open(&place).unwrap_err()
    };
    assert!(with(&text[..text.len() / 2]).to_string().contains("cut off"));
    assert!(matches!(with(""), RunError::Manifest { .. }));
    assert!(matches!(with("[]"), RunError::Manifest { .. }));
    let newer = text.replace("\"manifest_version\": 1", "\"manifest_version\": 2");
    let newer = newer.replace("\"argv\"", "\"arguments\"");
    assert!(matches!(with(&newer), RunError::ManifestVersion { found: 2, known: 1, .. }));
    let started = text.find("\"started\": \"").unwrap() + 12;
    let bad_time = format!("{}yesterday{}", &text[..started], &text[started + 20..]);
    assert!(with(&bad_time).to_string().contains("\"yesterday\" is no time"));
}

#[test]
fn changed_and_missing_files_are_found() {
    let out = TempDir::new().unwrap();
    let place = finished(out.path());
    fs::write(place.join("images/0.png"), b"pixel!").unwrap();
    fs::remove_file(place.join("tables/attention.parquet")).unwrap();
    let run = StoredRun::open(&place).unwrap();
    let expected = [
        FileProblem::Changed { path: "images/0.png".to_owned() },
        FileProblem::Missing { path: "tables/attention.parquet".to_owned() },
    ];
    assert_eq!(run.verify().unwrap(), expected);
    assert!(matches!(run.table("attention"), Err(RunError::NoSuchFile { nearest: None, .. })));
    let error = run.file("image/0.png").unwrap_err().to_string();
    assert!(error.contains("did you mean \"images/0.png\"?"), "{error}");
    assert!(!run.file("report.html").unwrap_err().to_string().contains("did you mean"));
}

#[test]
fn a_report_made_again_is_listed_again() {
    let out = TempDir::new().unwrap();
    let place = finished(out.path());
    let mut run = StoredRun::open(&place).unwrap();
    run.replace("report.html", b"<p>").unwrap();
    run.replace("images/0.png", b"other").unwrap();
    assert!(run.replace("manifest.json", b"{}").is_err());
    let run = StoredRun::open(&place).unwrap();
    assert_eq!(run.verify().unwrap(), []);
    let files: Vec<&str> = run.manifest().files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["images/0.png", "report.html", "spec.toml", "tables/attention.parquet"]);
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let out = TempDir::new().unwrap();
    let target = out.path().join("table");
    let mut file = AtomicFile::create(&target).unwrap();
    file.write_all(b"half").unwrap();
    assert!(!target.exists());
    drop(file);
    assert_eq!(names(out.path()), [""; 0]);
    AtomicFile::write(&target, b"first").unwrap();
    let mut file = AtomicFile::create(&target).unwrap();
    file.write_all(b"second").unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"first");
    file.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"second");
    assert_eq!(names(out.path()), ["table"]);
    assert!(AtomicFile::create(&out.path().join("no/table")).is_err());
    assert!(AtomicFile::write(out.path(), b"").is_err(), "a folder is in the way");
}

#[test]
fn digests_are_those_of_the_standard() {
    // FIPS 180-4's example.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(digest_bytes(b"abc"), abc);
    let out = TempDir::new().unwrap();
    let file = out.path().join("abc");
    fs::write(&file, b"abc").unwrap();
    assert_eq!(digest_file(&file).unwrap(), (abc.to_owned(), 3));
    assert_eq!(hash8("abc"), abc[..8]);
    assert_ne!(digest_prompts(&["ab", "c"]), digest_prompts(&["a", "bc"]));
    assert_ne!(digest_prompts(&["a", "b"]), digest_prompts(&["b", "a"]));
}
