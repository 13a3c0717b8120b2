//! What sweeps cost: `cargo bench --bench sweep`. Meant for an idle machine.
//!
//! - merging 10,000 shards of 1,000 rows: time and peak memory;
//! - a sweep of the built-in model: time beyond that of the items and of opening the model.

#![allow(missing_docs)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use denoscope::run::Manifest;
use denoscope::sweep::{Asks, Begun, Folder, Item, Plan, Shard, Spec};
use denoscope::table::{Tables, TraceStatisticsRow};

const SHARDS: u64 = 10_000;
const ITEMS_OF_SHARD: u64 = 10;
const ROWS_OF_ITEM: u32 = 100;

const MOST_SECONDS: f64 = 10.0;
const MOST_GIGABYTES: f64 = 1.0;
/// Per cent.
const MOST_OVERHEAD: f64 = 2.0;

/// Items of the sweep of the built-in model.
const DRAWN: u32 = 96;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    println!("| what | took | at most |");
    println!("|---|---:|---:|");
    let measured = [merge()?, overhead()?].concat();
    let beyond = measured.iter().filter(|one| one.value > one.most).count();
    if beyond > 0 {
        return Err(format!("{beyond} of these are beyond their limits").into());
    }
    Ok(())
}

/// Something measured, beside what it may come to.
#[derive(Clone)]
struct Measured {
    value: f64,
    most: f64,
}

impl Measured {
    /// Prints it.
    fn new(what: &str, value: f64, most: f64, unit: &str) -> Self {
        println!("| {what} | {value:.2} {unit} | {most} {unit} |");
        Self { value, most }
    }
}

/// Merges shards that are made here.
fn merge() -> Outcome<Vec<Measured>> {
    let folder = tempfile::tempdir()?;
    let text = format!(
        "kind = \"sweep\"\nversion = 1\nname = \"many\"\nof = \"world\"\nshard = {ITEMS_OF_SHARD}\n\
         [grid]\ncategory = [\"relation\"]\nseed = {{ from = 0, count = {} }}\n",
        SHARDS * ITEMS_OF_SHARD
    );
    let path = folder.path().join("sweep.toml");
    fs::write(&path, &text)?;
    let plan = Plan::new(Spec::read(&path)?, Asks::Scenes)?;
    let sweep = Folder::create(&folder.path().join("runs").join(plan.folder_name()), &plan)?;
    fill_all(&plan, &sweep)?;
    let (seconds, gigabytes) = run(folder.path(), &["sweep", "merge", "sweep.toml"])?.0;
    let rows = SHARDS * ITEMS_OF_SHARD * u64::from(ROWS_OF_ITEM);
    let what = format!("merge {SHARDS} shards, {rows} rows");
    Ok(vec![
        Measured::new(&what, seconds, MOST_SECONDS, "s"),
        Measured::new("its memory", gigabytes, MOST_GIGABYTES, "GB"),
    ])
}

/// Fills every shard. The threads are not rayon's: one that waits for polars' pool takes up the
/// next shard meanwhile, and the next within it, until its stack is full.
fn fill_all(plan: &Plan, sweep: &Folder) -> Outcome<()> {
    let threads = thread::available_parallelism()?.get();
    let parts = plan.shards.chunks(plan.shards.len().div_ceil(threads));
    thread::scope(|scope| {
        let fill_part = |part: &[Shard]| part.iter().try_for_each(|shard| fill(plan, sweep, shard));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || fill_part(part))).collect();
        running.into_iter().try_for_each(|one| one.join().map_err(|_| "a thread panicked")?)
    })
}

/// A finished shard with rows as `probe trace` makes them.
fn fill(plan: &Plan, sweep: &Folder, shard: &Shard) -> Outcome<()> {
    let Begun::Work(mut work) = sweep.begin(plan, shard)? else {
        return Err("a shard is there already".into());
    };
    let items = plan.items_of(shard);
    let mut tables = Tables::new();
    tables.add(items.iter().flat_map(|item| (0..ROWS_OF_ITEM).map(|i| row(item, i))))?;
    tables.add(items.iter().map(|item| plan.item_row(shard, item, ROWS_OF_ITEM, 1.0)))?;
    work.add(items, tables)?;
    Ok(work.finish(Manifest::new("trace"))?)
}

/// A row whose numbers are as hard to compress as those of a run.
fn row(item: &Item, i: u32) -> TraceStatisticsRow {
    let x = f64::from(item.number).mul_add(0.37, f64::from(i)).sin();
    TraceStatisticsRow {
        run: "many".to_owned(),
        sample: item.number,
        step: Some(i / 4),
        timestep: Some(f64::from(999 - i)),
        sigma: Some(f64::from(i) / 7.0),
        branch: Some(if i.is_multiple_of(2) { "cond" } else { "uncond" }.to_owned()),
        site: format!("up.{}.attn.0.out", i % 4),
        mean: Some(x),
        std: Some(x.abs()),
        min: Some(x - 1.0),
        max: Some(x + 1.0),
        norm: Some(x * x),
        kurtosis: Some(x * 3.0),
        zeros: 0.0,
    }
}

/// Runs a sweep of the built-in model and takes apart where its time went.
fn overhead() -> Outcome<Vec<Measured>> {
    let folder = tempfile::tempdir()?;
    let text = format!(
        "kind = \"sweep\"\nversion = 1\nname = \"drawn\"\nof = \"trace\"\nshard = 24\nbatch = 4\n\
         [grid]\nprompt = [\"red ball left of blue cube\"]\n\
         seed = {{ from = 0, count = {DRAWN} }}\n[options]\nsites = [\"up.*.out\"]\n"
    );
    fs::write(folder.path().join("sweep.toml"), text)?;
    let (_, said) = run(folder.path(), &["sweep", "sweep.toml", "-v"])?;
    let line = said.lines().find(|line| line.contains("items took")).ok_or("no word of time")?;
    let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [items, opening, all] = numbers.as_slice() else {
        return Err(format!("not three times: {line}").into());
    };
    let share = 100.0 * (all - items - opening) / items;
    let what = format!("beyond {items:.1} s of {DRAWN} items");
    Ok(vec![Measured::new(&what, share, MOST_OVERHEAD, "%")])
}

/// Seconds and gigabytes of a call, and what it said.
fn run(folder: &Path, words: &[&str]) -> Outcome<((f64, f64), String)> {
    const LOOK_EVERY: Duration = Duration::from_millis(2);
    const KIBIBYTES_IN_GIGABYTE: f64 = 1e9 / 1024.0;
    let said = folder.join("said");
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_probe"))
        .args(words)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&said)?)
        .spawn()?;
    let mut kibibytes = 0_u64;
    let status = loop {
        kibibytes = kibibytes.max(peak_memory(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(LOOK_EVERY);
    };
    let seconds = start.elapsed().as_secs_f64();
    let said = fs::read_to_string(said)?;
    if !status.success() {
        return Err(format!("probe {}: {status}: {said}", words.join(" ")).into());
    }
    Ok(((seconds, kibibytes as f64 / KIBIBYTES_IN_GIGABYTE), said))
}

/// The most memory a process has held so far, where the system tells (Linux).
fn peak_memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
