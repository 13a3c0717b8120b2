//! Tables of what a model decides at which noise level.

use super::{ANY, COSINE, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// What the judge sees in the clean image that is predicted at one step, beside the last one.
    X0AnswerRow, "x0_answer", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// Which denoising step, from 0, the noisiest.
    step: u32, "", ANY;
    /// Where the step lies in the training schedule; large is noisy.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// Noise over signal at this step, √((1 − ᾱ) / ᾱ).
    sigma: f64, "", NOT_NEGATIVE;
    /// What is looked at: `layout`, `count`, `shape`, `colour`, `size`, `finish`, `background`,
    /// `light` or `word`. An attribute that the last image does not have has no rows.
    attribute: String, "", ANY;
    /// What is seen: of objects, at the place of each object of the last image, from left to right;
    /// null where nothing is.
    answer: Option<String>, "", ANY;
    /// Whether it is what is seen in the last image.
    agrees: bool, "", ANY;
}

table! {
    /// From when on what the judge sees of one attribute never changes again in one image.
    CommitmentRow, "commitment", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// The prompt; its images are one cluster when intervals are made.
    prompt: String, "", ANY;
    /// Seed of the image.
    seed: u64, "", ANY;
    /// What is looked at, as in `x0_answer`.
    attribute: String, "", ANY;
    /// What is seen in the last image.
    answer: Option<String>, "", ANY;
    /// Whether that is what the prompt asks for; null where the prompt does not say.
    right: Option<bool>, "", ANY;
    /// The first step from which on the answer is that of the end.
    step: u32, "", ANY;
    /// Timestep of that step.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// Noise over signal at that step.
    sigma: f64, "", NOT_NEGATIVE;
}

table! {
    /// How the predicted clean latent agrees with the end in one band of spatial frequencies at one
    /// noise level, beside what noise alone lets through.
    BandAgreementRow, "band_agreement", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// `sampled`: predictions while an image is drawn, beside its last latent. `rendered`:
    /// predictions from noised latents of rendered scenes, beside those latents.
    source: String, "", ANY;
    /// The band, in cycles over the smaller side of the latent, such as `3–4`.
    band: String, "", ANY;
    /// Lowest frequency of the band.
    low_cycles: u32, "cycle", ANY;
    /// Highest frequency of the band.
    high_cycles: u32, "cycle", ANY;
    /// Which denoising step or look, from 0, the noisiest.
    step: u32, "", ANY;
    /// Where it lies in the training schedule; large is noisy.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// Noise over signal there.
    sigma: f64, "", NOT_NEGATIVE;
    /// Coherence with the end, mean over images: Re Σ X Ȳ / √(Σ|X|² Σ|Y|²) of the deviations from
    /// the mean rendered latent.
    coherence: f64, "", COSINE;
    /// Lower end of its 95 % interval over prompts or scenes; null with fewer than two.
    coherence_low: Option<f64>, "", ANY;
    /// Upper end of its interval.
    coherence_high: Option<f64>, "", ANY;
    /// How much of the end's pattern the prediction has, Re Σ X Ȳ / Σ|Y|², mean over images.
    share: f64, "share", ANY;
    /// The null model: √(Σ S²/(S + σ²) / Σ S) with the power S of rendered latents; null where they
    /// have none in this band.
    predicted: Option<f64>, "", UNIT;
    /// Images or scenes.
    images: u32, "", FROM_ONE;
}

table! {
    /// Which of two prompts an image follows that was begun with the one and ended with the other.
    PromptSwitchRow, "prompt_switch", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// What the two prompts differ in.
    attribute: String, "", ANY;
    /// Number of the pair of prompts among those of its attribute.
    pair: u32, "", ANY;
    /// The prompt of the steps before.
    prompt_a: String, "", ANY;
    /// The prompt from that step on.
    prompt_b: String, "", ANY;
    /// Seed of the image.
    seed: u64, "", ANY;
    /// The first step with the second prompt: 0 is the second prompt throughout, the number of
    /// steps the first one throughout.
    switch_step: u32, "", ANY;
    /// Timestep of that step; null where there is none.
    timestep: Option<f64>, "training step", NOT_NEGATIVE;
    /// Noise over signal at that step; null where there is none.
    sigma: Option<f64>, "", NOT_NEGATIVE;
    /// `a` or `b`: the prompt whose attribute the judge finds; `neither` where it finds none of
    /// them.
    follows: String, "", ANY;
    /// Whether the pair counts: without a switch, each prompt is followed.
    counts: bool, "", ANY;
}

table! {
    /// How attention changes over time: one measure at one step, mean over images.
    AttentionOverTimeRow, "attention_over_time", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// `change`: ‖difference to the step before‖ over the norm there, of the output of
    /// cross-attention or self-attention, with the prompt. `entropy`: of cross-attention over
    /// tokens over ln of their number, mean over heads and places. `cosine`: of the predictions
    /// with and without the prompt.
    measure: String, "", ANY;
    /// Name of the site; null for `cosine`.
    site: Option<String>, "", ANY;
    /// Which denoising step, from 0, the noisiest.
    step: u32, "", ANY;
    /// Where the step lies in the training schedule; large is noisy.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// Noise over signal at this step.
    sigma: f64, "", NOT_NEGATIVE;
    /// The mean.
    value: f64, "", ANY;
    /// Lower end of its 95 % interval over prompts; null with fewer than two.
    low: Option<f64>, "", ANY;
    /// Upper end of its interval.
    high: Option<f64>, "", ANY;
    /// Images.
    images: u32, "", FROM_ONE;
}

table! {
    /// How alike the activations of one site are at two timesteps, over the same scenes.
    SiteSimilarityRow, "site_similarity", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Name of the site.
    site: String, "", ANY;
    /// The noisier timestep.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// The other timestep.
    other_timestep: f64, "training step", NOT_NEGATIVE;
    /// Linear centred kernel alignment of the pooled activations: 1 where they are the same up to
    /// rotation and scale.
    cka: f64, "", UNIT;
    /// The same with the scenes of the second in another order: what so few scenes give anything.
    shuffled: f64, "", UNIT;
    /// Scenes.
    scenes: u32, "", FROM_ONE;
}

table! {
    /// What a linear regression reads of one attribute out of one site at one timestep, in scenes
    /// it has not seen.
    LinearProbeRow, "linear_probe", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Name of the site; its activations are averaged over places, plain and weighted by x and y.
    site: String, "", ANY;
    /// Timestep of training at which the noised scenes were shown.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// Noise over signal there.
    sigma: f64, "", NOT_NEGATIVE;
    /// What is read: `shape`, `colour`, `size`, `finish`, `background`, `light`, `count`, the place
    /// `x`, `y` of the object, the number of `letters` and the `first letter` of a written word; or, out of each place by itself, `mask`,
    /// the share of it that objects cover.
    attribute: String, "", ANY;
    /// `ridge` or `logistic`.
    regression: String, "", ANY;
    /// `accuracy` of classes, or `r2` of numbers.
    measure: String, "", ANY;
    /// Its value in held-out scenes.
    score: f64, "", ANY;
    /// Lower end of its 95 % interval over scenes; of `mask`, over ten parts of them.
    score_low: f64, "", ANY;
    /// Upper end of its interval.
    score_high: f64, "", ANY;
    /// The same on shuffled labels, mean over shuffles; of `mask`, on masks of other scenes.
    shuffled: f64, "", ANY;
    /// The difference.
    selectivity: f64, "", ANY;
    /// Lower end of its 95 % interval over scenes.
    selectivity_low: f64, "", ANY;
    /// Upper end of its interval.
    selectivity_high: f64, "", ANY;
    /// Scenes.
    scenes: u32, "", FROM_ONE;
    /// Numbers that are read of each scene; of `mask`, of each place.
    features: u32, "", FROM_ONE;
    /// Scenes left out, because an activation was not a finite number.
    left_out: u32, "", ANY;
    /// Null for the model itself; `untrained` for the same model with random weights.
    control: Option<String>, "", ANY;
}

table! {
    /// At which noise level one thing is decided, by one way of asking.
    NoiseLevelRow, "noise_level", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// What is decided: an attribute, or a band of spatial frequencies such as `band 3–4`.
    aspect: String, "", ANY;
    /// `x0`: from then on the judge's answer on the predicted image never changes (median).
    /// `switch`: from then on half of the images no longer follow a new prompt. `band`: from then on
    /// the band coheres with the end (median). `noise`: from then on noise alone lets the band
    /// through. `probe`: half of the selectivity that a linear probe reaches at most.
    method: String, "", ANY;
    /// The step of this run's sampler, between steps where an interval or a curve says so; null
    /// where no step comes to that noise level.
    step: Option<f64>, "", NOT_NEGATIVE;
    /// Timestep.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// The end of its 95 % interval with less noise; null where there is no interval.
    timestep_low: Option<f64>, "training step", NOT_NEGATIVE;
    /// The end with more noise.
    timestep_high: Option<f64>, "training step", NOT_NEGATIVE;
    /// Noise over signal.
    sigma: f64, "", NOT_NEGATIVE;
    /// Independent units: prompts, pairs of prompts, or scenes.
    units: u32, "", ANY;
    /// Units or images that could not be counted.
    left_out: u32, "", ANY;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] = &[
    NoiseLevelRow::TABLE,
    X0AnswerRow::TABLE,
    CommitmentRow::TABLE,
    BandAgreementRow::TABLE,
    PromptSwitchRow::TABLE,
    AttentionOverTimeRow::TABLE,
    SiteSimilarityRow::TABLE,
    LinearProbeRow::TABLE,
];
