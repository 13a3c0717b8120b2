//! A Slurm cluster of its own in a temporary folder: munged, slurmctld and several slurmd on this
//! machine, each standing for a node.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Most time for daemons to answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    folder: TempDir,
    munged: Child,
    controller: Child,
    nodes: Vec<Child>,
}

/// Where a program of Slurm is; daemons are often outside a user's path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(program)).find(|file| file.is_file())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn output_of(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Cluster {
    /// Starts a cluster, or says on stderr why the test is skipped.
    pub fn start(nodes: usize, settings: &str) -> Option<Self> {
        for program in ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol"] {
            if find(program).is_none() {
                eprintln!("skipped: {program} is not installed (apt-get install slurm-wlm munge)");
                return None;
            }
        }
        let folder = TempDir::new().unwrap();
        let at = folder.path();
        fs::write(at.join("munge.key"), [7_u8; 64]).unwrap();
        private(&at.join("munge.key"), 0o400);
        // munged refuses folders that others may write to.
        private(at, 0o755);
        fs::create_dir(at.join("state")).unwrap();
        let user = output_of("id", &["-un"]);
        let host = output_of("hostname", &["-s"]);
        let mut text = format!(
            "ClusterName=probe\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser={user}\n\
             SlurmdUser={user}\nSlurmctldPort={}\nAuthType=auth/munge\nAuthInfo=socket={at}/socket\n\
             CredType=cred/munge\nStateSaveLocation={at}/state\nSlurmdSpoolDir={at}/spool.%n\n\
             SlurmctldPidFile={at}/slurmctld.pid\nSlurmdPidFile={at}/slurmd.%n.pid\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nReturnToService=2\n\
             SlurmctldTimeout=10\nSlurmdTimeout=10\nKillWait=5\nMinJobAge=600\nMpiDefault=none\n\
             SchedulerParameters=sched_interval=2,batch_sched_delay=0\n\
             JobAcctGatherType=jobacct_gather/none\n\
             AccountingStorageType=accounting_storage/none\n{settings}",
            free_port(),
            at = at.display()
        );
        for node in 0..nodes {
            text += &format!(
                "NodeName=n{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={} CPUs=1\n",
                free_port()
            );
        }
        text += "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n";
        fs::write(at.join("slurm.conf"), text).unwrap();
        let file = |name: &str| at.join(name).display().to_string();
        let munged = daemon(
            at,
            "munged",
            &[
                "-F",
                "--force",
                &format!("--socket={}", file("socket")),
                &format!("--key-file={}", file("munge.key")),
                &format!("--pid-file={}", file("munged.pid")),
                &format!("--log-file={}", file("munged.log")),
                &format!("--seed-file={}", file("munge.seed")),
            ],
        );
        wait_until("munged", || at.join("socket").exists());
        let controller = controller(at);
        let mut cluster = Self { munged, controller, nodes: Vec::new(), folder };
        for node in 0..nodes {
            let child = cluster.node(node);
            cluster.nodes.push(child);
        }
        wait_until("the nodes", || {
            cluster.says("sinfo", &["--noheader", "--Node", "--format=%T"]).matches("idle").count()
                == nodes
        });
        Some(cluster)
    }

    fn node(&self, number: usize) -> Child {
        let at = self.folder.path();
        let conf = at.join("slurm.conf").display().to_string();
        daemon(at, "slurmd", &["-D", "-N", &format!("n{number}"), "-f", &conf])
    }

    /// The settings by which programs find this cluster.
    pub fn join(&self, command: &mut Command) {
        command.env("SLURM_CONF", self.folder.path().join("slurm.conf"));
    }

    /// What a program of Slurm prints; nothing where it fails, as while the controller is away.
    pub fn says(&self, program: &str, words: &[&str]) -> String {
        let mut command = Command::new(find(program).unwrap());
        self.join(command.args(words));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }

    /// As if the plug were pulled: the daemon and all that it runs are killed.
    pub fn crash(&mut self, node: usize) {
        self.nodes[node].kill().unwrap();
        self.nodes[node].wait().unwrap();
        for process in self.processes_of(node) {
            // It may have ended by itself.
            drop(Command::new("kill").args(["-9", &process]).stderr(Stdio::null()).status());
        }
    }

    /// The daemon alone dies; what it runs goes on, as orphans.
    pub fn lose_daemon(&mut self, node: usize) {
        self.nodes[node].kill().unwrap();
        self.nodes[node].wait().unwrap();
    }

    pub fn bring_back(&mut self, node: usize) {
        self.nodes[node] = self.node(node);
    }

    pub fn restart_controller(&mut self) {
        self.controller.kill().unwrap();
        self.controller.wait().unwrap();
        self.controller = controller(self.folder.path());
        wait_until("the controller", || !self.says("sinfo", &["--noheader"]).is_empty());
    }

    /// Processes of this cluster's jobs on a node, by what Slurm put into their environment.
    fn processes_of(&self, node: usize) -> Vec<String> {
        let (conf, name) =
            (format!("SLURM_CONF={}", self.conf()), format!("SLURMD_NODENAME=n{node}"));
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
            let has = |one: &str| environment.split(|b| *b == 0).any(|set| set == one.as_bytes());
            if has(&conf) && has(&name) {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        found
    }

    fn conf(&self) -> String {
        self.folder.path().join("slurm.conf").display().to_string()
    }

    /// Waits until no task is queued or runs, but for those that Slurm holds: they wait for
    /// somebody to release them.
    pub fn wait_for_jobs(&self, patience: Duration) {
        let since = Instant::now();
        loop {
            let queue = self.says("squeue", &["--noheader", "--array", "--format=%i %T %r"]);
            let waits = queue.lines().any(|task| !task.trim().is_empty() && !is_held(task));
            // A controller that does not answer prints nothing either.
            let answers = self.says("scontrol", &["ping"]).contains("UP");
            if answers && !waits {
                return;
            }
            assert!(since.elapsed() < patience, "still in the queue:\n{queue}");
            sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.says("scancel", &["--me"]));
        for node in 0..self.nodes.len() {
            for process in self.processes_of(node) {
                drop(Command::new("kill").args(["-9", &process]).stderr(Stdio::null()).status());
            }
        }
        for child in self.nodes.iter_mut().chain([&mut self.controller, &mut self.munged]) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn is_held(task: &str) -> bool {
    task.contains(" PENDING ") && task.to_ascii_lowercase().contains("held")
}

fn controller(at: &Path) -> Child {
    daemon(at, "slurmctld", &["-D", "-f", &at.join("slurm.conf").display().to_string()])
}

/// Starts a daemon in the foreground, which dies with its handle.
fn daemon(at: &Path, program: &str, words: &[&str]) -> Child {
    let log = File::options().create(true).append(true).open(at.join(format!("{program}.out")));
    let log = log.unwrap();
    let mut command = Command::new(find(program).unwrap());
    command.args(words).env("SLURM_CONF", at.join("slurm.conf"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

fn wait_until(what: &str, is_there: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_there() {
        assert!(since.elapsed() < PATIENCE, "{what} did not come up");
        sleep(Duration::from_millis(100));
    }
}

fn private(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
