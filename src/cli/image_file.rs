//! Images that users name.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use image::{ImageReader, Limits, RgbImage};

use crate::run::digest_bytes;

/// Largest file that is read.
const MOST_FILE_BYTES: u64 = 256 << 20;
/// Longest side in pixels; larger ones are of no use to any model.
const MOST_SIDE: u32 = 16_384;
/// Most memory that decoding may take.
const MOST_DECODED_BYTES: u64 = 1 << 30;

/// An image as it was read.
#[derive(Clone, Debug)]
pub(super) struct ImageFile {
    pub image: RgbImage,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// Reads a PNG, JPEG or WebP image; transparency is left out.
pub(super) fn read_image(path: &Path) -> Result<ImageFile> {
    let bytes = read_bytes(path)?;
    let unreadable =
        || format!("{}: no readable PNG, JPEG or WebP image; convert it first", path.display());
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_SIDE);
    limits.max_image_height = Some(MOST_SIDE);
    limits.max_alloc = Some(MOST_DECODED_BYTES);
    let mut reader = ImageReader::new(std::io::Cursor::new(&bytes))
        .with_guessed_format()
        .with_context(unreadable)?;
    reader.limits(limits);
    let image = reader.decode().map_err(|error| match error {
        image::ImageError::Limits(_) => anyhow::anyhow!(
            "{}: too large to decode; resize it to at most {MOST_SIDE} pixels a side first",
            path.display()
        ),
        other => anyhow::Error::new(other).context(unreadable()),
    })?;
    Ok(ImageFile { image: image.to_rgb8(), sha256: digest_bytes(&bytes) })
}

pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let cannot = || format!("{}: cannot be read; name a PNG, JPEG or WebP image", path.display());
    let file = File::open(path).with_context(cannot)?;
    let about = file.metadata().with_context(cannot)?;
    if about.is_dir() {
        bail!("{}: this is a folder; name an image in it", path.display());
    }
    if about.len() > MOST_FILE_BYTES {
        return too_large(path);
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells a pipe that is too long, whatever its size says.
    BufReader::new(file).take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.len() as u64 > MOST_FILE_BYTES {
        return too_large(path);
    }
    Ok(bytes)
}

fn too_large<T>(path: &Path) -> Result<T> {
    let most = MOST_FILE_BYTES >> 20;
    bail!(
        "{}: more than {most} MiB, which no image for a model needs; resize it first",
        path.display()
    )
}
