//! Any bytes as a checkpoint in one file.
#![no_main]

use denoscope::model::single_file::SingleFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).expect("room in it");
    if let Ok(single) = SingleFile::open(&path) {
        for part in single.family().parts() {
            let weights = single.weights(part).expect("a part of its family");
            for (_, stored) in weights.iter() {
                drop(weights.read(stored));
            }
        }
    }
});
