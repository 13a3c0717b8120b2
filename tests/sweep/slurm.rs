//! Sweeps on a real Slurm cluster, which is made for the test and badly treated.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::{folder, items, merged, only, outcomes, probe, said, scenes, succeeds};

/// Items, in shards of fifty; `SWEEP_ITEMS=2000` makes the long form.
const ITEMS: u32 = 600;

const PATIENCE: Duration = Duration::from_secs(400);

/// A call of probe that finds the cluster.
#[track_caller]
fn on(cluster: &Cluster, at: &Path, words: &[&str]) -> String {
    let mut command = probe(at, words);
    cluster.join(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn states(cluster: &Cluster, at: &Path) -> Vec<Value> {
    let text = on(cluster, at, &["sweep", "status", "sweep.toml", "--format", "json"]);
    serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
}

fn done(states: &[Value]) -> usize {
    states.iter().filter(|shard| shard["state"] == "done").count()
}

#[test]
fn a_sweep_survives_what_a_cluster_does() {
    let Some(mut cluster) = Cluster::start(2, "") else { return };
    let wanted = std::env::var("SWEEP_ITEMS").ok().and_then(|n| n.parse().ok()).unwrap_or(ITEMS);
    let spec = |slurm: &str| scenes("cluster", wanted, 50) + slurm;
    let local = folder(&spec(""));
    succeeds(local.path(), &["sweep", "sweep.toml"]);

    // Several threads would only wait for one another on this machine.
    let slurm = "[slurm]\npartition = \"main\"\ntime = \"00:10:00\"\n\
                 setup = [\"export OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1\"]\n";
    let sweep = folder(&spec(slurm));
    let at = sweep.path();
    on(&cluster, at, &["sweep", "sweep.toml", "--engine", "slurm"]);
    let place = only(&at.join("runs"), "cluster-");
    let shards = wanted.div_ceil(2).div_ceil(25) as usize;
    let job = only(&place.join("slurm"), "0000.json");
    let job: Value = serde_json::from_slice(&fs::read(job).unwrap()).unwrap();
    let job = job["job"].as_str().unwrap();

    let some = |count: usize| {
        let finished = || fs::read_dir(place.join("shards")).unwrap().count();
        let mut looks = 0;
        while finished() < count.min(shards) && looks < 600 {
            sleep(Duration::from_millis(200));
            looks += 1;
        }
    };
    some(2);
    cluster.crash(1);
    some(4);
    cluster.bring_back(1);
    for task in 4..10 {
        // Those that run are begun anew, those that are over are not.
        cluster.says("scontrol", &["requeue", &format!("{job}_{task}")]);
    }
    some(8);
    cluster.restart_controller();
    cluster.says("scontrol", &["update", "nodename=n0", "state=drain", "reason=test"]);
    some(12);
    cluster.lose_daemon(1);
    cluster.says("scontrol", &["update", "nodename=n0", "state=resume"]);
    some(14);
    cluster.bring_back(1);
    cluster.wait_for_jobs(PATIENCE);
    for _ in 0..5 {
        if done(&states(&cluster, at)) == shards {
            break;
        }
        on(&cluster, at, &["sweep", "resume", "sweep.toml"]);
        cluster.wait_for_jobs(PATIENCE);
    }
    let states = states(&cluster, at);
    assert_eq!((done(&states), states.len()), (shards, shards), "{states:#?}");
    let (local, remote) = (merged(local.path()), merged(at));
    assert_eq!(items(&remote).len(), wanted as usize);
    assert_eq!(outcomes(&remote), outcomes(&local));
    assert_eq!(items(&remote), items(&local));
}

#[test]
fn held_tasks_are_said_and_released() {
    let Some(cluster) = Cluster::start(1, "") else { return };
    cluster.says("scontrol", &["update", "nodename=n0", "state=drain", "reason=test"]);
    let sweep = folder(&(scenes("held", 8, 4) + "[slurm]\npartition = \"main\"\n"));
    let at = sweep.path();
    on(&cluster, at, &["sweep", "sweep.toml", "--engine", "slurm"]);
    let counts = |state: &str| {
        let states = states(&cluster, at);
        (states.iter().filter(|shard| shard["state"] == state).count(), states)
    };
    cluster.says("scontrol", &["hold", "1_0"]);
    let (held, all) = counts("held");
    assert_eq!(held, 1, "{all:#?}");
    let reason = all[0]["reason"].as_str().unwrap();
    assert!(reason.contains("Held") && reason.contains("probe sweep resume"), "{reason}");
    // Who asks for other shards lets nothing go.
    on(&cluster, at, &["sweep", "sweep.toml", "--engine", "slurm", "--only", "1"]);
    assert_eq!(counts("held").0, 1);
    let mut resume = probe(at, &["sweep", "resume", "sweep.toml"]);
    cluster.join(&mut resume);
    let said = said(&resume.output().unwrap());
    assert!(said.contains("shards that Slurm held, released: 1"), "{said}");
    assert_eq!(counts("held").0, 0);
    cluster.says("scontrol", &["update", "nodename=n0", "state=resume"]);
    cluster.wait_for_jobs(PATIENCE);
    assert_eq!(done(&states(&cluster, at)), all.len());
}

#[test]
fn more_shards_than_an_array_holds_are_several_arrays() {
    // Indices end at 3.
    let Some(cluster) = Cluster::start(1, "MaxArraySize=4\n") else { return };
    let sweep = folder(&(scenes("arrays", 60, 6) + "[slurm]\nconcurrent = 1\n"));
    let at = sweep.path();
    // The project's defaults are for tasks as well, which must not submit themselves.
    let defaults = "[sweep]\nengine = \"slurm\"\n[slurm]\nconcurrent = 2\npartition = \"main\"\n";
    fs::write(at.join("probe.toml"), defaults).unwrap();
    on(&cluster, at, &["sweep", "sweep.toml"]);
    let place = only(&at.join("runs"), "arrays-");
    let scripts = || -> Vec<String> {
        let files = fs::read_dir(place.join("slurm")).unwrap().map(|file| file.unwrap().path());
        let files = files.filter(|file| file.extension().is_some_and(|e| e == "sbatch"));
        files.map(|file| fs::read_to_string(file).unwrap()).collect()
    };
    assert_eq!(scripts().len(), 3, "ten shards in arrays of four");
    for script in scripts() {
        assert!(script.contains("%1\n"), "the spec wins: {script}");
        assert!(script.contains("--partition=main\n"), "what it does not say: {script}");
    }
    // What is on its way is not sent again.
    on(&cluster, at, &["sweep", "sweep.toml", "--engine", "slurm"]);
    cluster.wait_for_jobs(PATIENCE);
    assert_eq!(scripts().len(), 3);
    assert_eq!(done(&states(&cluster, at)), 10);
    assert_eq!(items(&merged(at)).len(), 60);
}

#[test]
fn what_slurm_refuses_is_said_in_its_words() {
    let Some(cluster) = Cluster::start(1, "") else { return };
    let sweep = folder(&(scenes("refused", 20, 10) + "[slurm]\npartition = \"no-such\"\n"));
    let mut command = probe(sweep.path(), &["sweep", "sweep.toml", "--engine", "slurm"]);
    cluster.join(&mut command);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = said(&output);
    for part in ["invalid partition", "[slurm]", "probe sweep resume"] {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
    // A task that fails without a word of ours: its log has the reason.
    let broken = folder(&(scenes("broken", 20, 20) + "[slurm]\nsetup = [\"no-such-command\"]\n"));
    on(&cluster, broken.path(), &["sweep", "sweep.toml", "--engine", "slurm"]);
    cluster.wait_for_jobs(PATIENCE);
    let states = states(&cluster, broken.path());
    assert_eq!(states[0]["state"], "failed");
    let reason = states[0]["reason"].as_str().unwrap();
    assert!(reason.contains("no-such-command: command not found"), "{reason}");
    assert!(states[0]["log"].as_str().unwrap().starts_with("logs/"));
}
