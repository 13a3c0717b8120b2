//! Shards as job arrays of Slurm: one task a shard.
//!
//! A job array is a script and a file with the numbers of its shards, task by task; both stay in
//! the sweep's folder (`slurm/`), with the number that Slurm gave the job.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::folder::{read_json, write_json};
use super::{Folder, SweepError};
use crate::run::{AtomicFile, RunError};

/// Largest index of a job array plus one, where neither the spec nor Slurm says otherwise; Slurm's
/// own default.
const MOST_TASKS: usize = 1000;

/// Seconds before the time limit at which a task is told to stop.
const WARNING_SECONDS: u32 = 120;

/// How a sweep runs on a cluster: the table `[slurm]` of its spec, and of a project's `probe.toml`
/// where the spec says nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `--partition`.
    pub partition: Option<String>,
    /// `--account`.
    pub account: Option<String>,
    /// `--qos`.
    pub qos: Option<String>,
    /// `--time` of a task, such as `02:00:00`.
    pub time: Option<String>,
    /// `--mem` of a task, such as `16G`.
    pub memory: Option<String>,
    /// `--cpus-per-task`.
    pub cpus: Option<u32>,
    /// `--gpus` of a task: a number, or a kind and a number such as `a100:1`.
    pub gpus: Option<String>,
    /// `--constraint`.
    pub constraint: Option<String>,
    /// Most tasks that run at once.
    pub concurrent: Option<u32>,
    /// Most tasks of one array; more shards are divided into several.
    pub array: Option<usize>,
    /// Seconds before the time limit at which a task is told to stop.
    pub warning: Option<u32>,
    /// Modules to load.
    pub modules: Option<Vec<String>>,
    /// Lines of shell that run before the shard.
    pub setup: Option<Vec<String>>,
    /// Further options of `sbatch`, such as `--exclude=node7`.
    pub options: Option<Vec<String>>,
}

impl Settings {
    /// These, and others where these say nothing; a list stands for itself and is not added to.
    #[must_use]
    pub fn or(self, others: Settings) -> Settings {
        Settings {
            partition: self.partition.or(others.partition),
            account: self.account.or(others.account),
            qos: self.qos.or(others.qos),
            time: self.time.or(others.time),
            memory: self.memory.or(others.memory),
            cpus: self.cpus.or(others.cpus),
            gpus: self.gpus.or(others.gpus),
            constraint: self.constraint.or(others.constraint),
            concurrent: self.concurrent.or(others.concurrent),
            array: self.array.or(others.array),
            warning: self.warning.or(others.warning),
            modules: self.modules.or(others.modules),
            setup: self.setup.or(others.setup),
            options: self.options.or(others.options),
        }
    }
}

/// One job array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Slurm's number of it.
    pub job: String,
    /// Numbers of its shards, task by task from 0.
    pub shards: Vec<u32>,
}

impl Submitted {
    /// The log of one of its tasks, below the sweep's folder.
    fn log(&self, task: usize) -> String {
        format!("logs/{}_{task}.log", self.job)
    }
}

/// What a task runs: the program, and where.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program `probe`.
    pub program: PathBuf,
    /// The folder in which the paths of the spec are to be read.
    pub directory: PathBuf,
}

/// Submits shards, in as many arrays as the cluster's limit asks for; returns these. Each is
/// written down before the next is submitted, so that a refusal leaves what was accepted.
///
/// # Errors
/// [`SweepError::Slurm`] with the words of `sbatch`; [`SweepError::Run`].
pub fn submit(
    folder: &Folder,
    settings: &Settings,
    shards: &[u32],
    launch: &Launch,
) -> Result<Vec<Submitted>, SweepError> {
    let most = settings.array.or_else(limit_of_cluster).unwrap_or(MOST_TASKS).max(1);
    let mut submitted = Vec::new();
    let before = recorded(folder)?.len();
    for (i, shards) in shards.chunks(most).enumerate() {
        let number = before + i;
        let place = |ending: &str| folder.root().join(format!("slurm/{number:04}.{ending}"));
        let lines: String = shards.iter().map(|shard| format!("{shard}\n")).collect();
        AtomicFile::write(&place("shards"), lines.as_bytes())?;
        let text = script(folder, settings, shards.len(), launch, &absolute(&place("shards"))?)?;
        AtomicFile::write(&place("sbatch"), text.as_bytes())?;
        let mut sbatch = Command::new("sbatch");
        sbatch.arg("--parsable").arg(place("sbatch"));
        let says = output(
            sbatch,
            "the shards submitted so far stay; correct [slurm] in the spec and \
                                   run `probe sweep resume`",
        )?;
        // `job` or `job;cluster`.
        let job = says.trim().split(';').next().unwrap_or_default().to_owned();
        let array = Submitted { job, shards: shards.to_vec() };
        write_json(&place("json"), &array)?;
        submitted.push(array);
    }
    Ok(submitted)
}

/// The script of one array.
fn script(
    folder: &Folder,
    settings: &Settings,
    tasks: usize,
    launch: &Launch,
    list: &Path,
) -> Result<String, SweepError> {
    let root = absolute(folder.root())?;
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut lines = vec!["#!/bin/bash".to_owned()];
    let mut option = |text: String| lines.push(format!("#SBATCH {text}"));
    let most = settings.concurrent.map(|most| format!("%{most}")).unwrap_or_default();
    option(format!("--job-name={}", name.unwrap_or_default()));
    option(format!("--array=0-{}{most}", tasks.saturating_sub(1)));
    option(format!("--chdir={}", quoted_option(&launch.directory)));
    option(format!("--output={}", quoted_option(&root.join("logs/%A_%a.log"))));
    option("--open-mode=append".to_owned());
    option("--requeue".to_owned());
    option(format!("--signal=B:TERM@{}", settings.warning.unwrap_or(WARNING_SECONDS)));
    let named = [
        ("partition", &settings.partition),
        ("account", &settings.account),
        ("qos", &settings.qos),
        ("time", &settings.time),
        ("mem", &settings.memory),
        ("gpus", &settings.gpus),
        ("constraint", &settings.constraint),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            option(format!("--{name}={value}"));
        }
    }
    if let Some(cpus) = settings.cpus {
        option(format!("--cpus-per-task={cpus}"));
    }
    settings.options.iter().flatten().for_each(|text| option(text.clone()));
    lines.push("set -euo pipefail".to_owned());
    let modules = settings.modules.iter().flatten();
    lines.extend(modules.map(|module| format!("module load {}", shell(module))));
    lines.extend(settings.setup.iter().flatten().cloned());
    lines.push(format!(
        "shard=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" {})",
        shell(&list.display().to_string())
    ));
    // The task's own process, so that Slurm's signals reach it. It names its engine: a project's
    // defaults may say slurm, and then it would submit itself.
    lines.push(format!(
        "exec {} sweep {} --engine local --only \"$shard\"",
        shell(&launch.program.display().to_string()),
        shell(&root.display().to_string())
    ));
    Ok(lines.join("\n") + "\n")
}

/// Every array that was submitted, oldest first.
///
/// # Errors
/// [`SweepError::Record`], [`SweepError::Run`].
pub fn recorded(folder: &Folder) -> Result<Vec<Submitted>, SweepError> {
    let place = folder.root().join("slurm");
    let Ok(entries) = fs::read_dir(&place) else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort_unstable();
    files.iter().map(|file| read_json(file)).collect()
}

/// A task in Slurm's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Job and index: `12_3`.
    pub task: String,
    /// `PENDING`, `RUNNING` …
    pub state: String,
    /// Why it waits, in Slurm's words.
    pub reason: String,
}

impl Queued {
    /// Whether it waits for somebody to release it: Slurm holds tasks whose start failed, as when a
    /// node is lost in that moment, and users and administrators hold theirs.
    pub fn is_held(&self) -> bool {
        self.state == "PENDING" && self.reason.to_ascii_lowercase().contains("held")
    }
}

/// What Slurm says of the shards that are in its queue.
///
/// # Errors
/// [`SweepError::Slurm`] where `squeue` is not there or the controller does not answer.
pub fn queue(arrays: &[Submitted]) -> Result<BTreeMap<u32, Queued>, SweepError> {
    let mut queued = BTreeMap::new();
    if arrays.is_empty() {
        return Ok(queued);
    }
    let mut squeue = Command::new("squeue");
    // All jobs of the user: one that Slurm has forgotten would be an error if it were named.
    squeue.args(["--noheader", "--array", "--me", "--format=%F|%K|%T|%r"]);
    let says =
        output(squeue, "what is queued is not known; try again when the controller answers")?;
    for line in says.lines() {
        let words: Vec<&str> = line.split('|').map(str::trim).collect();
        let [job, index, state, reason] = words[..] else { continue };
        let Some(array) = arrays.iter().find(|array| array.job == job) else { continue };
        let shard = index.parse::<usize>().ok().and_then(|index| array.shards.get(index));
        if let Some(shard) = shard {
            let task = format!("{job}_{index}");
            let (state, reason) = (state.to_owned(), reason.to_owned());
            queued.insert(*shard, Queued { task, state, reason });
        }
    }
    Ok(queued)
}

/// Lets held tasks go, of which there is at least one.
///
/// # Errors
/// [`SweepError::Slurm`] where Slurm's programs are not there or refuse.
pub fn release(held: &[Queued]) -> Result<(), SweepError> {
    let tasks: Vec<&str> = held.iter().map(|queued| queued.task.as_str()).collect();
    let mut scontrol = Command::new("scontrol");
    scontrol.arg("release").arg(tasks.join(","));
    output(scontrol, "ask who runs the cluster why these tasks are held").map(drop)
}

/// The newest log of each shard, where there is one, below the sweep's folder.
pub fn logs(folder: &Folder, arrays: &[Submitted]) -> BTreeMap<u32, String> {
    let mut logs = BTreeMap::new();
    for array in arrays {
        for (task, shard) in array.shards.iter().enumerate() {
            let log = array.log(task);
            if folder.root().join(&log).is_file() {
                logs.insert(*shard, log);
            }
        }
    }
    logs
}

/// Tasks of an array that the cluster takes: indices are below its `MaxArraySize`.
fn limit_of_cluster() -> Option<usize> {
    let mut scontrol = Command::new("scontrol");
    scontrol.args(["show", "config"]);
    let text = output(scontrol, "").ok()?;
    let line = text.lines().find(|line| line.trim_start().starts_with("MaxArraySize"))?;
    line.split('=').nth(1)?.trim().parse::<usize>().ok().filter(|limit| *limit > 0)
}

/// What a program of Slurm prints, or its complaint.
fn output(mut command: Command, remedy: &str) -> Result<String, SweepError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let refused = |says: String, remedy: &str| SweepError::Slurm {
        program: program.clone(),
        says,
        remedy: remedy.to_owned(),
    };
    let made = command.stdin(Stdio::null()).output().map_err(|error| {
        let remedy = "run this where Slurm is installed, on a login node for example, or give \
                      --engine local or --shard";
        refused(error.to_string(), remedy)
    })?;
    if made.status.success() {
        return Ok(String::from_utf8_lossy(&made.stdout).into_owned());
    }
    let says = String::from_utf8_lossy(&made.stderr);
    let lines: Vec<&str> = says.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(refused(lines.join("; "), remedy))
}

fn absolute(path: &Path) -> Result<PathBuf, SweepError> {
    Ok(std::path::absolute(path).map_err(RunError::io("read", path))?)
}

/// A value of an `#SBATCH` line, which is split at spaces.
fn quoted_option(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains(' ') { format!("\"{text}\"") } else { text }
}

/// A word of the script.
fn shell(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), |quoted| quoted.into_owned())
}
