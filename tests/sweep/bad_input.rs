//! What is refused, with what to do about it.

use std::fs;
use std::path::Path;

use denoscope::run::Manifest;
use denoscope::sweep::{Asks, Begun, Folder, Plan, Spec, SweepError};
use denoscope::table::Tables;

use crate::{folder, items, merged, only, probe, refused, said, scenes, succeeds};

const HEAD: &str = "kind = \"sweep\"\nversion = 1\nname = \"bad\"\n";

/// The spec is refused before anything is written, with all of this.
#[track_caller]
fn bad(spec: &str, says: &[&str]) {
    let sweep = folder(&format!("{HEAD}{spec}"));
    refused(sweep.path(), &["sweep", "sweep.toml"], says);
    assert!(!sweep.path().join("runs").exists(), "{spec} left something");
}

#[test]
fn grids_that_cannot_be() {
    let scenes = "of = \"world\"\n[grid]\n";
    bad(&format!("{scenes}seed = []\n"), &["`seed`", "no value"]);
    bad(scenes, &["`seed` is missing", "seed = [0, 1, 2]"]);
    bad(&format!("{scenes}seed = [1, 2, 1]\n"), &["1 twice"]);
    bad(&format!("{scenes}seed = [1]\nsize = [64, 64.0]\n"), &["64.0 twice"]);
    bad(&format!("{scenes}seed = {{ from = 0, count = 0 }}\n"), &["{ from = 0, count = 100 }"]);
    bad(&format!("{scenes}seed = [-1]\n"), &["-1 is no seed"]);
    bad(&format!("{scenes}seed = [1]\ncategory = [\"dogs\"]\n"), &["dogs", "one-object"]);
    bad(&format!("{scenes}seed = [1]\nsize = [8]\n"), &["16 to 1024"]);
    bad(&format!("{scenes}seed = [1]\nsteps = [3]\n"), &["`size` alone", "`steps`"]);
    bad(&format!("{scenes}seed = [1]\nsize = [64]\n[options]\nsize = 64\n"), &["in [grid] and in"]);
    bad(
        &format!("{scenes}seed = {{ from = 0, count = 9000000 }}\n"),
        &["54000000", "divide the grid"],
    );
    bad("of = \"world\"\nshard = 0\n[grid]\nseed = [1]\n", &["from 1"]);
    bad("of = \"dreams\"\n[grid]\nseed = [1]\n", &["dreams", "world", "trace"]);
    bad("of = \"world\"\ntypo = 1\n[grid]\nseed = [1]\n", &["typo", "line"]);
    let named =
        "kind = \"sweep\"\nversion = 1\nname = \"../up\"\nof = \"world\"\n[grid]\nseed = [1]\n";
    refused(folder(named).path(), &["sweep", "sweep.toml"], &["../up", "lower-case"]);
    refused(folder(named).path(), &["sweep", "none.toml"], &["none.toml", "its folder"]);
}

#[test]
fn options_of_commands_are_checked_before_a_model_is_opened() {
    let trace = |grid: &str, options: &str| {
        format!("of = \"trace\"\n[grid]\nprompt = [\"a\"]\nseed = [0]\n{grid}[options]\n{options}")
    };
    bad(&trace("", "sites = [\"mid.out\"]\ncount = 3\n"), &["`count`", "list seeds"]);
    bad(&trace("", "sites = [\"mid.out\"]\nraw = \"t\"\n"), &["`raw`"]);
    bad(&trace("sampler = [\"ddim\", \"dream\"]\n", "sites = [\"mid.out\"]\n"), &["dream"]);
    bad(&trace("", "sights = [\"mid.out\"]\n"), &["sights"]);
    bad(&trace("", "prompt = \"b\"\n"), &["`prompt` is in [grid] and in"]);
    bad("of = \"failures\"\n[grid]\nsuite = [\"countng\"]\n", &["did you mean \"counting\""]);
    bad(
        "of = \"failures\"\n[grid]\nsuite = [\"counting\"]\nsampler = [\"eulre\"]\n",
        &["eulre", "euler"],
    );
    let pair = "of = \"patch\"\n[grid]\nseed = [0]\n";
    bad(&format!("{pair}pair = [[\"a\", \"a\"]]\n"), &["two different prompts"]);
    bad(
        &format!("{pair}prompt = [\"a red ball\"]\nexchange = [\"colours\"]\n"),
        &["no two objects"],
    );
    bad(&format!("{pair}pair = [[\"a\", \"b\"]]\nprompt = [\"a\"]\n"), &["leave out"]);
    let timesteps = |grid: &str| format!("of = \"timesteps\"\n[grid]\n{grid}");
    bad(&timesteps("prompt = [\"a\"]\n"), &["`seed` is missing"]);
    bad(&timesteps("seed = [0]\nprompts = [3]\n"), &["`prompts`", "list `prompt`"]);
    bad(
        &timesteps("seed = [0]\nparts = [\"switch\", \"spectrum\"]\n"),
        &["spectrum", "list `prompt`"],
    );
    bad(
        &timesteps("prompt = [\"a\"]\nseed = [0]\nparts = [\"probes\"]\n"),
        &["probes", "leave `prompt` out"],
    );
    bad(&timesteps("seed = [0]\nedit = [\"zero sites=mid.out\"]\n"), &["--edit"]);
}

#[test]
fn shards_of_another_version_never_mix() {
    let sweep = folder(&scenes("mixed", 20, 10));
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let place = only(&at.join("runs"), "mixed-");
    let manifest = place.join("shards/00001/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let hash = serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let hash = hash["sweep"].as_str().unwrap().to_owned();
    fs::write(&manifest, text.replace(&hash, &"0".repeat(64))).unwrap();
    for words in [["sweep", "merge", "sweep.toml"], ["sweep", "status", "sweep.toml"]] {
        refused(at, &words, &["another version", "move the shard's folder away"]);
    }
    fs::write(&manifest, text).unwrap();
    // The folder's own record is of another denoscope.
    let record = place.join("sweep.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace(&hash, &"1".repeat(64))).unwrap();
    refused(at, &["sweep", "sweep.toml"], &["another version", "change the sweep's name"]);
    fs::write(&record, text).unwrap();
    assert_eq!(items(&merged(at)).len(), 20);
    // The folder's spec was changed by hand.
    let copy = place.join("spec.toml");
    let text = fs::read_to_string(&copy).unwrap();
    fs::write(&copy, scenes("mixed", 24, 10)).unwrap();
    for words in [["sweep", place.to_str().unwrap()], ["sweep", "runs/../runs"]] {
        let output = probe(at, &words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    }
    fs::write(&copy, text).unwrap();
    // Another spec of the same name has a folder of its own.
    fs::write(at.join("sweep.toml"), scenes("mixed", 22, 10)).unwrap();
    refused(at, &["sweep", "merge", "sweep.toml"], &["nothing of this sweep is there"]);
}

#[test]
fn damage_is_made_again() {
    let sweep = folder(&scenes("damaged", 30, 10));
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let before = merged(at);
    let place = only(&at.join("runs"), "damaged-");
    // A file system that renames half: the manifest is there, a table is not whole.
    fs::write(place.join("shards/00000/outcome.parquet"), b"PAR1").unwrap();
    fs::remove_file(place.join("shards/00001/manifest.json")).unwrap();
    fs::remove_dir_all(place.join("shards/00002")).unwrap();
    let text = succeeds(at, &["sweep", "status", "sweep.toml", "--format", "csv"]);
    assert_eq!(text.matches("damaged").count(), 2, "{text}");
    assert_eq!(text.matches("missing").count(), 1, "{text}");
    refused(at, &["sweep", "merge", "sweep.toml"], &["3 of 3 shards", "probe sweep resume"]);
    succeeds(at, &["sweep", "resume", "sweep.toml"]);
    fs::rename(&before, at.join("before")).unwrap();
    assert_eq!(crate::outcomes(&at.join("before")), crate::outcomes(&merged(at)));
}

#[test]
fn clusters_and_launchers_that_are_not_there() {
    let sweep = folder(&scenes("alone", 20, 10));
    let at = sweep.path();
    let mut command = probe(at, &["sweep", "sweep.toml", "--engine", "slurm"]);
    let output = command.env("PATH", "/nowhere").output().unwrap();
    let message = said(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in ["sbatch", "No such file", "login node"] {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    // What could not be submitted can be run here.
    succeeds(at, &["sweep", "resume", "sweep.toml", "--engine", "local"]);
    assert_eq!(items(&merged(at)).len(), 20);
    let words = |part: &'static str| ["sweep", "sweep.toml", "--shard", part];
    refused(at, &words("array/2"), &["JOB_COMPLETION_INDEX", "--shard 1/8"]);
    refused(at, &words("3/2"), &["1/2 to 2/2"]);
    refused(at, &["sweep", "sweep.toml", "--only", "7"], &["shard 7 does not exist"]);
    let mut command = probe(at, &words("array/2"));
    let output = command.env("JOB_COMPLETION_INDEX", "5").output().unwrap();
    assert!(said(&output).contains("beyond the 2"), "{}", said(&output));
}

#[test]
fn a_full_disk_stops_the_sweep_and_it_goes_on_later() {
    let sweep = folder(&scenes("full", 40, 10));
    let at = sweep.path();
    // No file may be larger than this: what a full disk says, without filling one.
    let limited = |blocks: &str| {
        let call = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" sweep sweep.toml");
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &call]).arg(crate::engine()).current_dir(at);
        command.env("RAYON_NUM_THREADS", "1").output().unwrap()
    };
    let output = limited("2");
    let message = said(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in ["the sweep stopped", "what is done is kept", "goes on"] {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    assert_shards_whole(&at.join("runs"));
    succeeds(at, &["sweep", "sweep.toml"]);
    assert_eq!(items(&merged(at)).len(), 40);
}

/// A folder on another disk than `folder`, where this machine has one.
fn on_another_disk(folder: &Path) -> Option<tempfile::TempDir> {
    use std::os::unix::fs::MetadataExt;
    let other = tempfile::tempdir_in("/dev/shm").ok()?;
    let disk = |path: &Path| fs::metadata(path).unwrap().dev();
    if disk(other.path()) == disk(folder) {
        eprintln!("skipped: /dev/shm is no disk of its own");
        return None;
    }
    Some(other)
}

#[test]
fn a_place_on_another_disk_is_found_out_before_anything_runs() {
    let sweep = folder(&scenes("moved", 20, 10));
    let at = sweep.path();
    let Some(other) = on_another_disk(at) else { return };
    succeeds(at, &["sweep", "sweep.toml", "--only", "0"]);
    // Somebody moves the finished shards where there is more room.
    let shards = only(&at.join("runs"), "moved-").join("shards");
    let kept = at.join("kept");
    fs::rename(&shards, &kept).unwrap();
    std::os::unix::fs::symlink(other.path(), &shards).unwrap();
    refused(at, &["sweep", "sweep.toml"], &["shards", "cannot be renamed", "--out DIR"]);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
    fs::remove_file(&shards).unwrap();
    fs::rename(&kept, &shards).unwrap();
    succeeds(at, &["sweep", "sweep.toml"]);
    assert_eq!(items(&merged(at)).len(), 20);
}

#[test]
fn a_shard_that_cannot_be_moved_into_its_place_is_kept() {
    let sweep = folder(&scenes("stuck", 4, 4));
    let Some(other) = on_another_disk(sweep.path()) else { return };
    let plan = Plan::new(Spec::read(&sweep.path().join("sweep.toml")).unwrap(), Asks::Scenes);
    let plan = plan.unwrap();
    let place = Folder::create(&sweep.path().join("stuck"), &plan).unwrap();
    let shard = &plan.shards[0];
    let begin = || match place.begin(&plan, shard).unwrap() {
        Begun::Work(work) => work,
        other => panic!("{other:?}"),
    };
    let mut work = begin();
    for item in plan.items_of(shard) {
        let mut tables = Tables::new();
        tables.add([plan.item_row(shard, item, 0, 0.0)]).unwrap();
        work.add(std::slice::from_ref(item), tables).unwrap();
    }
    let shards = place.root().join("shards");
    fs::remove_dir(&shards).unwrap();
    std::os::unix::fs::symlink(other.path(), &shards).unwrap();
    let error = work.finish(Manifest::new("world")).unwrap_err();
    assert!(matches!(error, SweepError::Rename { .. }), "{error}");
    assert!(SweepError::is_of_the_disk(&error), "the next shard would fail as well");
    assert_eq!(begin().done(), 4, "nothing is made again");
}

/// No shard that looks whole lacks a file.
fn assert_shards_whole(runs: &Path) {
    let Ok(entries) = fs::read_dir(only(runs, "full-").join("shards")) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with('.') {
            assert!(entry.path().join("manifest.json").is_file(), "{entry:?}");
        }
    }
}
