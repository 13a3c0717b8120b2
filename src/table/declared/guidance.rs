//! Tables of a sweep over guidance scales.

use super::{ANY, COSINE, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// One image of a guidance sweep, and what is measured of it alone. `sample` is that of the
    /// tables `images` and `guidance`.
    GuidanceImageRow, "guidance_image", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0; null for rendered scenes.
    sample: Option<u32>, "", ANY;
    /// Guidance scale s of ε = ε_u + s(ε_c − ε_u); null for rendered scenes.
    scale: Option<f64>, "", ANY;
    /// γ = s − 1 of the form (1+γ)ε_c − γε_u; null for rendered scenes.
    gamma: Option<f64>, "", ANY;
    /// The prompt; its images are one unit when intervals are made.
    prompt: String, "", ANY;
    /// Seed of its noise, or of the rendered scene. Every scale has the same seeds.
    seed: u64, "", ANY;
    /// Null for the model's images; `renders`: a scene of the prompt, drawn by the world's renderer.
    control: Option<String>, "", ANY;
    /// What the prompt asks for, in parts that the judge decides; null where the world does not
    /// understand the prompt.
    atoms: Option<u32>, "", FROM_ONE;
    /// How many of them hold.
    atoms_held: Option<u32>, "", ANY;
    /// How many hold of what the sweep's next prompt asks for, over all that it asks for: what a
    /// prompt gets by chance; null with one prompt.
    atoms_of_other: Option<f64>, "share", UNIT;
    /// Cosine of image and prompt in the CLIP of the model's folder; null without one.
    clip_cosine: Option<f64>, "", COSINE;
    /// The same with the sweep's next prompt.
    clip_cosine_of_other: Option<f64>, "", COSINE;
    /// Mean saturation over pixels, (max − min)/max of the channels.
    saturation: f64, "share", UNIT;
    /// RMS contrast: standard deviation of the luma, which goes from 0 to 1.
    contrast: f64, "", UNIT;
    /// Share of pixels with a channel at 0 or 255.
    clipped: f64, "share", UNIT;
    /// Mean square of the luma's Laplacian: how much fine detail there is.
    laplacian: f64, "", NOT_NEGATIVE;
}

table! {
    /// What one guidance scale gives: one row per measure and scale, with its control.
    GuidanceSweepRow, "guidance_sweep", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Guidance scale s of ε = ε_u + s(ε_c − ε_u); null for rendered scenes.
    scale: Option<f64>, "", ANY;
    /// γ = s − 1 of the form (1+γ)ε_c − γε_u; null for rendered scenes.
    gamma: Option<f64>, "", ANY;
    /// `right`: share of images that have all that the prompt says; `atoms`: share of its parts;
    /// `clip_cosine`; `frechet_clip`, `kernel_clip`, `precision_clip`, `recall_clip`: distance of
    /// all images to rendered scenes of the same prompts, in the features of the folder's CLIP;
    /// `vendi_share`, `pairwise`: how different the images of a prompt are; `saturation`,
    /// `contrast`, `clipped`, `laplacian`: of each image.
    measure: String, "", ANY;
    /// Its value.
    value: f64, "", ANY;
    /// Lower end of its 95 % interval over prompts; null for too few prompts.
    low: Option<f64>, "", ANY;
    /// Upper end of the interval.
    high: Option<f64>, "", ANY;
    /// How the interval is made: `bootstrap` over prompts; `jackknife` over prompts, for measures of
    /// whole sets; `wilson`, where all images agree.
    interval: Option<String>, "", ANY;
    /// Prompts it rests on.
    prompts: u32, "", FROM_ONE;
    /// Images it rests on.
    images: u32, "", FROM_ONE;
    /// Null for the measurement; `renders`: rendered scenes of the same prompts in place of the
    /// model's images; `other-prompts`: the same images held against other prompts.
    control: Option<String>, "", ANY;
}

table! {
    /// What a measure gains or loses from the lowest scale of a sweep to another, prompt by prompt.
    GuidanceChangeRow, "guidance_change", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// The measure, as in `guidance_sweep`.
    measure: String, "", ANY;
    /// The lower scale s.
    from_scale: f64, "", ANY;
    /// The higher scale s.
    to_scale: f64, "", ANY;
    /// Value at the higher less value at the lower.
    difference: f64, "", ANY;
    /// Lower end of its 95 % interval over prompts; null for too few prompts.
    low: Option<f64>, "", ANY;
    /// Upper end of the interval.
    high: Option<f64>, "", ANY;
    /// Prompts it rests on.
    prompts: u32, "", FROM_ONE;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] =
    &[GuidanceImageRow::TABLE, GuidanceSweepRow::TABLE, GuidanceChangeRow::TABLE];
