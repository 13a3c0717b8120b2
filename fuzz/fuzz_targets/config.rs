//! Any bytes as the configs of a folder.
#![no_main]

use denoscope::model::config::{ClipTextConfig, UnetConfig, VaeConfig};
use denoscope::model::files::ModelFiles;
use denoscope::sampler::{Schedule, SchedulerConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scheduler = folder.path().join("scheduler");
    std::fs::create_dir(&scheduler).expect("a folder in it");
    for file in ["config.json", "scheduler/scheduler_config.json"] {
        std::fs::write(folder.path().join(file), bytes).expect("room in it");
    }
    let files = ModelFiles::folder(folder.path().to_owned());
    if let Ok(config) = files.json::<UnetConfig>("config.json") {
        drop(config.check());
    }
    if let Ok(config) = files.json::<VaeConfig>("config.json") {
        drop(config.check());
    }
    if let Ok(config) = files.json::<ClipTextConfig>("config.json") {
        drop(config.check());
    }
    if let Ok(json) = files.scheduler()
        && let Ok(config) = SchedulerConfig::read(&json)
    {
        drop(Schedule::new(&config));
    }
});
