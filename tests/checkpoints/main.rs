//! What people have on their disks: folders with shards and variants, single files, damaged
//! files, and models fetched from a hub.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used)]

mod clip_folder;
mod damage;
mod folders;
#[cfg(feature = "hub")]
mod hub;
mod single_file;

use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};

/// A whole model of random weights, 32 pixels a side.
fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny/sd")
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A tensor to be written: name, shape, kind, bytes.
type Written = (String, Vec<usize>, Dtype, Vec<u8>);

/// Writes a safetensors file.
fn write(path: &Path, tensors: &[Written]) {
    let views: Vec<(String, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, shape, dtype, bytes)| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        })
        .collect();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}
