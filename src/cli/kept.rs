//! Long commands go on where they were stopped: what they have finished is kept, piece by piece,
//! until their run is whole.

use anyhow::{Result, bail};
use image::RgbImage;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::interrupted;
use super::output::{OutputArgs, note};
use crate::run::{ModelRecord, Pieces, RunFolder};

/// Whether to go on with what is kept.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct KeepArgs {
    /// Begin anew, whatever a stopped run of the same question has left; without it the same
    /// command goes on where it was stopped
    #[arg(long)]
    pub fresh: bool,
}

/// What a run asks, down to the bytes of the weights.
pub fn question(spec: &str, model: &ModelRecord) -> String {
    let mut question = spec.to_owned();
    for file in &model.weights {
        question += &format!("# weights {} {}\n", file.path, file.sha256);
    }
    question + &format!("# denoscope {}\n", env!("CARGO_PKG_VERSION"))
}

/// What is finished of a run.
#[derive(Debug)]
pub struct Kept {
    /// None once the run is whole.
    pieces: Option<Pieces>,
}

impl Kept {
    /// Begins a run below the output folder, or goes on with it; and the run's folder.
    pub fn open(
        args: KeepArgs,
        output: &OutputArgs,
        (probe, spec): (&str, &str),
        model: &ModelRecord,
    ) -> Result<(Self, RunFolder)> {
        let mut pieces = Pieces::open(&output.out, probe, &question(spec, model))?;
        if args.fresh {
            pieces.begin_anew()?;
        }
        if pieces.found() > 0 {
            note(&format!(
                "going on with a run that was stopped: {} of its pieces are there (--fresh begins \
                 anew)",
                pieces.found()
            ));
        }
        let folder = pieces.run_folder(&output.out, probe, spec)?;
        Ok((Self { pieces: Some(pieces) }, folder))
    }

    /// For work that somebody else keeps, such as an item of a sweep: no piece of it is.
    pub fn nothing() -> Self {
        Self { pieces: None }
    }

    /// A piece: read where it is kept, else made, and kept.
    pub fn piece<T>(&self, name: &str, make: impl FnOnce() -> Result<T>) -> Result<T>
    where
        T: Serialize + for<'de> Deserialize<'de>,
    {
        if interrupted() {
            bail!("interrupted");
        }
        match &self.pieces {
            Some(pieces) => pieces.piece(name, make),
            None => make(),
        }
    }

    /// The run is whole: nothing of it needs to be kept.
    pub fn finish(mut self) -> Result<()> {
        Ok(self.pieces.take().map_or(Ok(()), Pieces::remove)?)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.pieces.is_some() && interrupted() {
            note("what is finished is kept: the same command goes on from there");
        }
    }
}

/// An image in a piece.
#[derive(Clone, Debug)]
pub struct KeptImage(pub RgbImage);

impl Serialize for KeptImage {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (width, height) = self.0.dimensions();
        (width, height, self.0.as_raw()).serialize(to)
    }
}

impl<'de> Deserialize<'de> for KeptImage {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (width, height, pixels) = <(u32, u32, Vec<u8>)>::deserialize(from)?;
        let image = RgbImage::from_raw(width, height, pixels);
        let image = image.ok_or_else(|| serde::de::Error::custom("fewer pixels than its size"))?;
        Ok(Self(image))
    }
}
