//! `probe latent`: an autoencoder with random weights, of scenes and of given images.

use std::fs;

use denoscope::table::{LatentBandRow, LatentImpulseRow};
use serde_json::Value;
use tempfile::TempDir;

use super::{TINY, fails, files, json, probe_in, run_folder, table};

const RUN: [&str; 14] = [
    "latent",
    "--model",
    TINY,
    "--bits",
    "8,1",
    "--blur",
    "1",
    "--noise",
    "0.5",
    "--impulses",
    "2",
    "--format",
    "json",
    "--seed=4",
];

fn found(rows: &[Value], change: &str, measure: &str, control: Option<&str>) -> Vec<f64> {
    let wanted = |row: &&Value| {
        row["change"] == change && row["measure"] == measure && row["control"].as_str() == control
    };
    rows.iter().filter(wanted).map(|row| row["value"].as_f64().unwrap()).collect()
}

#[test]
fn scenes_come_back_as_the_weights_let_them() {
    let folder = TempDir::new().unwrap();
    let words = [&RUN[..], &["--count", "6"]].concat();
    let survival = json(&mut probe_in(&folder, &words)).as_array().unwrap().clone();
    assert_eq!(found(&survival, "none", "everything", Some("rendered")).len(), 1);
    let psnr = |change| found(&survival, change, "psnr", None);
    assert_eq!((psnr("none").len(), psnr("quantised").len(), psnr("blurred").len()), (1, 2, 1));
    // Random weights against other random weights: neither draws a scene.
    assert_eq!(found(&survival, "none", "everything", None), [0.0]);
    assert_eq!(found(&survival, "none", "everything", Some("untrained")), [0.0]);

    let run = run_folder(&folder);
    let bands: Vec<LatentBandRow> = table(&run);
    // 32 pixels: the mean, 1, 2, 3–4, 5–8, 9–16.
    let own = bands.iter().filter(|row| row.change == "none" && row.control.is_none());
    assert_eq!(own.map(|row| row.to_frequency).collect::<Vec<_>>(), [0, 1, 2, 4, 8, 16]);
    assert!(bands.iter().any(|row| row.control.as_deref() == Some("other-image")));
    let impulses: Vec<LatentImpulseRow> = table(&run);
    let radii = |name: &str| -> Vec<f64> {
        impulses.iter().filter(|row| row.measure == name).map(|row| row.value).collect()
    };
    assert_eq!(radii("radius_50").len(), 4, "channels");
    let pairs = radii("radius_50").into_iter().zip(radii("radius_90"));
    assert!(pairs.into_iter().all(|(half, most)| half > 0.0 && half <= most));
    assert_eq!(impulses[0].cells, 9);

    let left = files(&run);
    for file in [
        "report.html",
        "figures/contact-sheet.png",
        "figures/bands.png",
        "figures/attributes.png",
        "figures/quantised-psnr.png",
    ] {
        assert!(left.iter().any(|path| path.ends_with(file)), "{file} is missing: {left:?}");
    }
    // The spec asks the same question, and the same numbers come out.
    let again = TempDir::new().unwrap();
    probe_in(&again, &["run", run.join("spec.toml").to_str().unwrap()]).assert().success();
    let repeated: Vec<LatentBandRow> = table(&run_folder(&again));
    let errors = |rows: &[LatentBandRow]| rows.iter().map(|row| row.error).collect::<Vec<_>>();
    assert_eq!(errors(&repeated), errors(&bands));
}

#[test]
fn given_images_are_not_judged() {
    let folder = TempDir::new().unwrap();
    let picture = folder.path().join("grey.png");
    image::RgbImage::from_fn(40, 24, |x, y| image::Rgb([(x * 6) as u8, (y * 9) as u8, 90]))
        .save(&picture)
        .unwrap();
    let words = [&RUN[..], &["--image", picture.to_str().unwrap()]].concat();
    let survival = json(&mut probe_in(&folder, &words)).as_array().unwrap().clone();
    assert!(survival.iter().all(|row| row["measure"] == "psnr"), "{survival:?}");
    assert!(survival.iter().all(|row| row["low"].is_null()), "one image has no interval");
    let report = fs::read_to_string(run_folder(&folder).join("report.html")).unwrap();
    assert!(report.contains("What does the autoencoder keep?"));
}

#[test]
fn what_cannot_be_changed_says_why() {
    let refused = |extra: &[&str], says: &[&str]| {
        fails(&[&["latent", "--model", TINY], extra].concat(), says);
    };
    refused(&["--blur", "0.5,-1"], &["--blur -1", "above 0"]);
    refused(&["--noise", "inf"], &["--noise inf", "above 0"]);
    refused(&["--bits", "0"], &["1..=16"]);
    refused(&["--image", "nowhere.png"], &["nowhere.png", "cannot be read"]);
}
