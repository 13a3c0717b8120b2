//! A CLIP beside a diffusion model.

use std::path::Path;

use denoscope::judge::clip_score::clip_score;
use denoscope::model::checkpoint::{ModelError, ModelFiles, Placement};
use denoscope::model::clip_folder::{ClipModel, EmbedError};
use denoscope::model::parameters::WeightFile;
use denoscope::tap::Cx;
use image::{Rgb, RgbImage};
use tch::Tensor;
use tempfile::TempDir;

use super::{copy, tiny};

const TOKENIZER: &str = r#"{"model_max_length": 12}"#;

/// A folder with the CLIP that transformers wrote, and a tokenizer of 48 ids: letters a to t.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let clip = folder.path().join("clip");
    copy(&tiny().with_file_name("clip"), &clip);
    let mut vocab = serde_json::Map::new();
    for (i, letter) in ('a'..='t').enumerate() {
        vocab.insert(letter.to_string(), i.into());
        vocab.insert(format!("{letter}</w>"), (20 + i).into());
    }
    vocab.insert("<|startoftext|>".into(), 46.into());
    vocab.insert("<|endoftext|>".into(), 47.into());
    std::fs::write(clip.join("vocab.json"), serde_json::Value::Object(vocab).to_string()).unwrap();
    std::fs::write(clip.join("merges.txt"), "#version: 0.2\n").unwrap();
    std::fs::write(clip.join("tokenizer_config.json"), TOKENIZER).unwrap();
    folder
}

fn open(folder: &Path) -> Result<Option<ClipModel>, ModelError> {
    ClipModel::open(&ModelFiles::folder(folder.to_owned()), Placement::default())
}

fn goldens() -> std::collections::BTreeMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/goldens/clip.safetensors");
    WeightFile::open(&path).unwrap().tensors().unwrap().into_iter().collect()
}

fn largest_gap(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn a_clip_in_a_models_folder_gives_what_transformers_gives() {
    let folder = folder();
    let model = open(folder.path()).unwrap().unwrap();
    let golden = goldens();
    let cx = &mut Cx::silent();
    let images = model.clip.embed_images(&golden["clip/in.images"], cx).unwrap();
    assert!(largest_gap(&images, &golden["clip/image"]) < 1e-5);
    let ids = &golden["clip/in.ids"];
    let text = model.clip.embed_text(ids, cx).unwrap();
    assert!(largest_gap(&text, &golden["clip/text"]) < 1e-5);
    // CLIP score beside transformers' logits, which are cosines times the exponent of a scale.
    let cosines = images.matmul(&text.tr());
    let scale = model.clip.scale().double_value(&[]);
    let size = cosines.size();
    for (i, j) in (0..size[0]).flat_map(|i| (0..size[1]).map(move |j| (i, j))) {
        let logit = golden["clip/logits_per_image"].double_value(&[i, j]);
        let score = clip_score(cosines.double_value(&[i, j]));
        assert!((score - (100.0 * logit / scale).max(0.0)).abs() < 1e-3, "{score} {logit}");
    }
    assert_eq!([-0.2, 0.0, 0.31].map(clip_score), [0.0, 0.0, 31.0]);
    assert_eq!(model.weights.len(), 1);
    let sites: Vec<&str> = model.sites.iter().map(|(_, site)| site.name.as_str()).collect();
    assert!(sites.contains(&"text.layer.1.out"), "{sites:?}");

    // "ab" is two tokens; the rest is padding.
    let ids = model.ids(&["ab".to_owned(), "b a".to_owned()]).unwrap();
    assert_eq!(ids.size(), [2, 12]);
    let row = Vec::<i64>::try_from(ids.get(0)).unwrap();
    assert_eq!(row, [46, 0, 21, 47, 47, 47, 47, 47, 47, 47, 47, 47]);
    let embedded = model.embed_prompts(&["ab".to_owned(), "b a".to_owned()]).unwrap();
    let direct = model.clip.embed_text(&ids, &mut Cx::silent()).unwrap();
    for (i, row) in embedded.rows().into_iter().enumerate() {
        assert!((row.dot(&row) - 1.0).abs() < 1e-5, "unit vectors");
        let row = Tensor::from_slice(&row.to_vec());
        assert!(largest_gap(&row, &direct.get(i as i64)) < 1e-6);
    }
}

#[test]
fn pixels_are_scaled_as_the_folder_says() {
    let folder = folder();
    let white = RgbImage::from_pixel(32, 32, Rgb([255, 0, 51]));
    let at = |model: &ClipModel, image: &RgbImage| {
        let x = model.pixels(std::slice::from_ref(image)).unwrap();
        assert_eq!(x.size(), [1, 3, 32, 32]);
        (0..3).map(|c| x.double_value(&[0, c, 5, 7])).collect::<Vec<f64>>()
    };
    let near = |a: &[f64], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    let model = open(folder.path()).unwrap().unwrap();
    assert!(near(&at(&model, &white), [1.0, -1.0, -0.6]));
    // Another size, other proportions: the same flat colour.
    let other = RgbImage::from_pixel(50, 17, Rgb([255, 0, 51]));
    assert!(near(&at(&model, &other), [1.0, -1.0, -0.6]));

    let scale = r#"{"image_mean": [0.5, 0.25, 0.2], "image_std": [0.25, 0.5, 0.1]}"#;
    std::fs::write(folder.path().join("clip/preprocessor_config.json"), scale).unwrap();
    let model = open(folder.path()).unwrap().unwrap();
    assert!(near(&at(&model, &white), [2.0, -0.5, 0.0]));
}

#[test]
fn a_clip_that_is_a_folder_by_itself_is_the_same_one() {
    let folder = folder();
    let (inside, alone) = (open(folder.path()).unwrap().unwrap(), folder.path().join("clip"));
    let alone = ClipModel::open_folder(&alone, Placement::default()).unwrap().unwrap();
    let prompts = ["ab".to_owned()];
    assert_eq!(alone.embed_prompts(&prompts).unwrap(), inside.embed_prompts(&prompts).unwrap());
    let none = ClipModel::open_folder(folder.path(), Placement::default()).unwrap();
    assert!(none.is_none());
}

#[test]
fn a_folder_without_clip_has_none_and_a_damaged_one_says_so() {
    assert!(open(&tiny()).unwrap().is_none());
    let folder = folder();
    let model = open(folder.path()).unwrap().unwrap();
    assert!(matches!(model.embed_images(&[]), Err(EmbedError::Empty)));
    assert!(matches!(model.embed_prompts(&[]), Err(EmbedError::Empty)));
    let nothing = [RgbImage::new(32, 32), RgbImage::new(0, 3)];
    assert!(matches!(model.embed_images(&nothing), Err(EmbedError::NoPixels(1))));

    let clip = folder.path().join("clip");
    std::fs::remove_file(clip.join("model.safetensors")).unwrap();
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
    let config = std::fs::read_to_string(clip.join("config.json")).unwrap();
    let wide = config.replace("\"patch_size\": 8", "\"patch_size\": 7");
    std::fs::write(clip.join("config.json"), wide).unwrap();
    let error = format!("{:#}", open(folder.path()).unwrap_err());
    assert!(error.contains("patch_size"), "{error}");
    // The tokenizer of another model has ids that the text tower has no row for.
    std::fs::write(clip.join("config.json"), config).unwrap();
    std::fs::remove_file(clip.join("vocab.json")).unwrap();
    copy(&tiny().join("tokenizer"), &folder.path().join("tokenizer"));
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("belong to different models"), "{error}");
}
