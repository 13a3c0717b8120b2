//! `probe timesteps`: every question runs, and what cannot be asked says why.

use std::path::Path;

use denoscope::table::{
    AttentionOverTimeRow, BandAgreementRow, LinearProbeRow, PromptSwitchRow, Row,
    SiteSimilarityRow, read_parquet, rows,
};
use tempfile::TempDir;

use crate::{TINY, fails, files, probe_in, run_folder};

const SMALL: [&str; 17] = [
    "timesteps",
    "--model",
    TINY,
    "--steps",
    "3",
    "--prompts",
    "3",
    "--count",
    "2",
    "--pairs",
    "1",
    "--switches",
    "1",
    "--scenes",
    "80",
    "--at-steps",
    "100,900",
];

fn table<R: Row>(run: &Path) -> Vec<R> {
    let path = run.join(format!("tables/{}.parquet", R::TABLE.name));
    rows(&read_parquet::<R>(&path).unwrap()).unwrap()
}

#[test]
fn every_question_runs_and_the_run_is_whole() {
    let folder = TempDir::new().unwrap();
    let sites = ["--sites", "mid.*out", "step.latent", "--attributes", "colour", "layout"];
    probe_in(&folder, &[&SMALL[..], &sites].concat()).assert().success();
    let run = run_folder(&folder);
    let left = files(&run);
    for file in [
        "report.html",
        "manifest.json",
        "figures/bands-sampled.png",
        "figures/attention-cosine.png",
        "figures/read-by-timestep.png",
        "figures/x0-0.png",
    ] {
        assert!(left.iter().any(|path| path.ends_with(file)), "{file} is missing: {left:?}");
    }
    // Of a sampler that draws no noise, the last prediction is the end.
    let bands = table::<BandAgreementRow>(&run);
    let last = bands.iter().filter(|row| row.source == "sampled" && row.step == 2);
    assert!(last.clone().count() > 2);
    assert!(last.into_iter().all(|row| (row.coherence - 1.0).abs() < 1e-6));
    assert!(bands.iter().any(|row| row.source == "rendered" && row.predicted.is_some()));

    let over_time = table::<AttentionOverTimeRow>(&run);
    for (measure, steps) in [("change", 2), ("entropy", 3), ("cosine", 3)] {
        let own = over_time.iter().filter(|row| row.measure == measure);
        let found: std::collections::BTreeSet<u32> = own.map(|row| row.step).collect();
        assert_eq!(found.len(), steps, "{measure}");
    }
    let read = table::<LinearProbeRow>(&run);
    assert!(read.iter().all(|row| row.site == "step.latent" || row.site.starts_with("mid.")));
    assert!(read.iter().any(|row| row.control.as_deref() == Some("untrained")));
    assert!(read.iter().any(|row| row.regression == "logistic" && row.site == "mid.out"));
    // The noised latent is the same, whatever the weights.
    let of_latent = |control: Option<&str>| -> Vec<f64> {
        let own = read.iter().filter(|row| {
            row.site == "step.latent"
                && row.regression == "ridge"
                && row.control.as_deref() == control
        });
        own.map(|row| row.score).collect()
    };
    assert_eq!(of_latent(None), of_latent(Some("untrained")));
    let same = table::<SiteSimilarityRow>(&run);
    let itself = same.iter().filter(|row| row.timestep == row.other_timestep);
    assert!(itself.into_iter().all(|row| (row.cka - 1.0).abs() < 1e-9));

    let switched = table::<PromptSwitchRow>(&run);
    let steps: Vec<u32> = switched
        .iter()
        .filter(|row| row.attribute == "colour")
        .map(|row| row.switch_step)
        .collect();
    assert_eq!(steps, [0, 2, 3]);
    let again = TempDir::new().unwrap();
    let spec = run.join("spec.toml");
    probe_in(&again, &["validate", spec.to_str().unwrap()]).assert().success();
}

#[test]
fn parts_can_be_asked_alone_and_a_prompt_can_be_given() {
    let folder = TempDir::new().unwrap();
    let words = [
        "timesteps",
        "--model",
        TINY,
        "--steps",
        "2",
        "--count",
        "2",
        "--prompt",
        "a dog on a skateboard",
        "--parts",
        "trajectory",
        "attention",
    ];
    let stderr = probe_in(&folder, &words).assert().success().get_output().stderr.clone();
    let said = String::from_utf8(stderr).unwrap();
    assert!(said.contains("were not judged"), "{said}");
    let run = run_folder(&folder);
    assert!(run.join("tables/attention_over_time.parquet").is_file());
    assert!(!run.join("tables/linear_probe.parquet").exists());
    assert!(!run.join("tables/prompt_switch.parquet").exists());
}

#[test]
fn what_cannot_be_asked_says_why() {
    let with = |extra: &[&str], says: &[&str]| fails(&[&SMALL[..], extra].concat(), says);
    with(&["--guidance", "0"], &["guidance 0", "--parts"]);
    with(&["--edit", "zero sites=mid.out"], &["--edit"]);
    with(&["--prompt", "a red ball"], &["--prompts"]);
    with(&["--sites", "mid.uot"], &["nearest: mid.out"]);
    with(&["--sites", "text.out", "time.embed"], &["places", "--sites"]);
    with(&["--attributes", "taste"], &["taste", "colour"]);
    fails(&["timesteps", "--model", TINY, "--at-steps", "99999"], &["timestep 99999"]);
    fails(&["timesteps", "--model", TINY, "--scenes", "1"], &["--scenes"]);
    fails(&["timesteps", "--model", TINY, "--steps", "0"], &["step"]);
}
