//! The film of a run: what the model would draw if it stopped at a step.

use std::collections::BTreeSet;

use anyhow::Result;
use tch::Tensor;

use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Request, decode};
use crate::probe::attention::FilmFrame;
use crate::tap::{Cx, RawRecorder};

/// The prediction x̂0 that is kept.
const SITE: &str = "step.x0";
/// Frames of a film, evenly over the steps.
const FRAMES: usize = 8;
/// Images whose films are kept, for images up to [`SMALL`] pixels a side, and above: there each
/// frame takes the autoencoder seconds.
const FILMED: [i64; 2] = [4, 1];
const SMALL: i64 = 128;
/// Far more than a few latents take.
const BUDGET: u64 = 1 << 32;

/// What keeps the predictions; nothing if no film is wanted.
pub(super) fn recorder(
    model: &DiffusionModel,
    request: &Request,
    wanted: bool,
) -> Result<RawRecorder> {
    let steps = request.evaluations(model)?;
    let frames = if wanted { FRAMES.min(steps) } else { 0 };
    // The first and the last step are among them.
    let at = |frame: usize| frame * steps.saturating_sub(1) / (frames - 1).max(1);
    let kept: BTreeSet<usize> = (0..frames).map(at).collect();
    Ok(RawRecorder::new([SITE.to_owned()], Some(kept), BUDGET))
}

/// The frames of the first images.
pub(super) fn frames(
    model: &DiffusionModel,
    request: &Request,
    recorder: RawRecorder,
) -> Result<Vec<FilmFrame>> {
    let filmed = FILMED[usize::from(request.height.max(request.width) > SMALL)];
    let mut frames = Vec::new();
    for (name, x0) in recorder.into_tensors() {
        let Some(step) = name.split('/').next().and_then(|step| step.parse().ok()) else {
            continue;
        };
        let first = x0.narrow(0, 0, filmed.min(x0.size()[0]));
        let images = decoded(model, &first)?;
        frames.extend(images.into_iter().enumerate().map(|(sample, image)| FilmFrame {
            sample,
            step,
            image,
        }));
    }
    frames.sort_by_key(|frame| (frame.sample, frame.step));
    Ok(frames)
}

fn decoded(model: &DiffusionModel, latents: &Tensor) -> Result<Vec<image::RgbImage>> {
    let _no_grad = tch::no_grad_guard();
    Ok(decode(model, &latents.to_device(model.placement.device), &mut Cx::silent())?)
}
