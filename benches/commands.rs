//! Time from the shell and peak memory of the commands that people wait for, beside what they
//! may take: `cargo bench --bench commands`. Meant for an idle machine.

#![allow(missing_docs)]

use std::error::Error;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const BYTES_IN_KIBIBYTE: f64 = 1024.0;
const BYTES_IN_GIGABYTE: f64 = 1e9;

/// A command, and what it may take.
struct Case {
    words: &'static [&'static str],
    repeats: usize,
    most_seconds: f64,
    most_gigabytes: f64,
}

const CASES: [Case; 3] = [
    Case { words: &["--help"], repeats: 20, most_seconds: 0.05, most_gigabytes: 0.05 },
    Case {
        words: &["attention", "--prompt", "red ball left of blue cube"],
        repeats: 5,
        most_seconds: 5.0,
        most_gigabytes: 1.5,
    },
    Case {
        words: &["generate", "--prompt", "a red ball", "--count", "1"],
        repeats: 5,
        most_seconds: 1.5,
        most_gigabytes: 1.5,
    },
];

/// What one run took.
struct Taken {
    seconds: f64,
    /// The most memory it held, where the system tells.
    kibibytes: Option<u64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("| command | median | slowest | at most | memory | at most |");
    println!("|---|---:|---:|---:|---:|---:|");
    for case in CASES {
        let mut seconds = Vec::new();
        let mut most_kibibytes = None;
        for _ in 0..case.repeats {
            let taken = run(case.words)?;
            seconds.push(taken.seconds);
            most_kibibytes = most_kibibytes.max(taken.kibibytes);
        }
        seconds.sort_by(f64::total_cmp);
        let memory = most_kibibytes.map_or("?".to_owned(), |kibibytes| {
            format!("{:.2} GB", kibibytes as f64 * BYTES_IN_KIBIBYTE / BYTES_IN_GIGABYTE)
        });
        println!(
            "| probe {} | {:.3} s | {:.3} s | {} s | {memory} | {} GB |",
            case.words.join(" "),
            seconds[seconds.len() / 2],
            seconds[seconds.len() - 1],
            case.most_seconds,
            case.most_gigabytes,
        );
    }
    Ok(())
}

/// Runs the command once in an empty folder.
fn run(words: &[&str]) -> Result<Taken, Box<dyn Error>> {
    const LOOK_EVERY: Duration = Duration::from_millis(2);
    let folder = tempfile::tempdir()?;
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_probe"))
        .args(words)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut kibibytes = None;
    let status = loop {
        kibibytes = kibibytes.max(peak_memory(child.id()));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(LOOK_EVERY);
    };
    if !status.success() {
        return Err(format!("probe {}: {status}", words.join(" ")).into());
    }
    Ok(Taken { seconds: start.elapsed().as_secs_f64(), kibibytes })
}

/// The most memory a process has held so far, where the system tells (Linux).
fn peak_memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
