//! Sweeps that are killed at random moments.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use denoscope::table::{OutcomeRow, SweepItemRow, read_parquet};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{folder, items, merged, only, outcomes, probe, scenes, succeeds};

/// How often the sweep is killed; `SWEEP_KILLS=200 cargo test --release --test sweep kills` is the
/// long form, a quarter of an hour.
const KILLS: usize = 12;

const ITEMS: u32 = 480;

/// Every Parquet file below a folder can be read.
fn check_files(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            check_files(&path);
        } else if name.ends_with("outcome.parquet") {
            read_parquet::<OutcomeRow>(&path).unwrap();
        } else if name.ends_with("sweep_items.parquet") {
            read_parquet::<SweepItemRow>(&path).unwrap();
        }
    }
}

#[test]
fn kills_at_random_moments_lose_nothing_and_double_nothing() {
    let kills = std::env::var("SWEEP_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let whole = folder(&scenes("whole", ITEMS, 40));
    let began = Instant::now();
    succeeds(whole.path(), &["sweep", "sweep.toml"]);
    // A kill may come at any moment of a life that would have run to its end.
    let longest = began.elapsed();
    let expected = outcomes(&merged(whole.path()));
    assert_eq!(expected.len(), ITEMS as usize);

    let mut random = ChaCha8Rng::seed_from_u64(9);
    let (mut killed, mut round) = (0, 0);
    while killed < kills {
        round += 1;
        let cut = folder(&scenes(&format!("cut-{round}"), ITEMS, 40));
        loop {
            let mut call = probe(cut.path(), &["sweep", "sweep.toml"]);
            let mut call = call.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let until = Instant::now() + longest.mul_f64(random.random_range(0.0..1.0));
            while Instant::now() < until && call.try_wait().unwrap().is_none() {
                sleep(Duration::from_millis(1));
            }
            if let Some(status) = call.try_wait().unwrap() {
                assert!(status.success());
                break;
            }
            call.kill().unwrap();
            call.wait().unwrap();
            killed += 1;
            if cut.path().join("runs").is_dir() {
                check_files(&cut.path().join("runs"));
            }
        }
        let run = merged(cut.path());
        assert_eq!(outcomes(&run), expected);
        assert_eq!(items(&run).len(), ITEMS as usize);
        let place = only(&cut.path().join("runs"), &format!("cut-{round}-"));
        assert_eq!(fs::read_dir(place.join("work")).unwrap().count(), 0);
    }
    eprintln!("killed {killed} times in {round} sweeps");
}
