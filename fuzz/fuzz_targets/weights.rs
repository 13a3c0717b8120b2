//! Any bytes as a safetensors file.
#![no_main]

use denoscope::model::weights::{WeightFile, Weights};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).expect("room in it");
    let Ok(file) = WeightFile::open(&path) else { return };
    if let Ok(weights) = Weights::of(file) {
        for (_, stored) in weights.iter() {
            drop(weights.read(stored));
        }
    }
});
