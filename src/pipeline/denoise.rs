//! The denoiser in its place: asked for both halves of guidance, watched, its output guided.

use std::sync::atomic::Ordering;

use tch::{Kind, Tensor};

use super::{Outputs, PipelineError, Progress, Request};
use crate::INTERRUPTED;
use crate::model::checkpoint::DiffusionModel;
use crate::model::conditioning::Conditioning;
use crate::sampler::{
    Course, Denoised, Evaluation, NoiseSource, Prediction, Sampler, SchedulerConfig,
    ddim_inversion, guided, rescaled_guidance,
};
use crate::tap::{BatchLayout, Cx, Moment, TapError};

/// What decides the course of sampling; all else at a step is a by-product.
const STEPS_GO_BY: &str = "change `step.eps` or `step.latent`";

/// A model with all that it is told in one run.
pub(super) struct Denoiser<'a> {
    pub model: &'a DiffusionModel,
    pub request: &'a Request,
    pub conditioning: &'a Conditioning,
    pub progress: Progress<'a>,
    pub outputs: Outputs<'a>,
    /// How often it was asked, and how often it will be.
    pub done: usize,
    pub all: usize,
}

/// What the denoiser was shown, and how its output is to be read.
pub(super) struct Noisy<'a> {
    pub x: &'a Tensor,
    pub evaluation: Evaluation,
    pub prediction: Prediction,
}

impl Noisy<'_> {
    /// ε as an output of the denoiser says it.
    fn eps_of(&self, output: &Tensor) -> Tensor {
        Denoised::new(self.prediction, output, self.x, self.evaluation.alpha_bar).eps
    }

    /// The output that stands for ε.
    fn output_of(&self, eps: &Tensor) -> Tensor {
        let alpha_bar = self.evaluation.alpha_bar;
        let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        let x0 = (self.x - eps * noise) / signal;
        match self.prediction {
            Prediction::Epsilon => eps.shallow_clone(),
            Prediction::Sample => x0,
            Prediction::V => eps * signal - x0 * noise,
        }
    }
}

impl Denoiser<'_> {
    /// Samples from the latent `x`, in the sampler's scale, at evaluation `first` on.
    pub fn sample(
        &mut self,
        (sampler, first): (&mut dyn Sampler, usize),
        mut x: Tensor,
        noise: &mut NoiseSource,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, PipelineError> {
        let sites = self.model.step_sites;
        for i in first..sampler.course().evaluations().len() {
            let evaluation = sampler.course().evaluations()[i];
            let step = i - first;
            cx.now(moment(step, evaluation), BatchLayout::Shared);
            x = cx.tap(sites.latent, x)?;
            let seen = sampler.course().input(i, &x);
            let noisy = Noisy { x: &seen, evaluation, prediction: sampler.course().prediction() };
            let output = self.output(step, &noisy, cx)?;
            let stepped = sampler.step(i, &output, &x, noise);
            cx.show(sites.x0, &stepped.x0, STEPS_GO_BY)?;
            x = stepped.previous;
            check_finite(step, &x)?;
        }
        Ok(x)
    }

    /// Shows the denoiser a clean latent with noise added, once at each evaluation of the course.
    pub fn look(
        &mut self,
        course: &Course,
        (latents, unit_noise): (&Tensor, &Tensor),
        cx: &mut Cx<'_>,
    ) -> Result<(), PipelineError> {
        let sites = self.model.step_sites;
        for (step, &evaluation) in course.evaluations().iter().enumerate() {
            cx.now(moment(step, evaluation), BatchLayout::Shared);
            let x = cx.tap(sites.latent, course.noised(step, latents, unit_noise))?;
            let noisy = Noisy { x: &x, evaluation, prediction: course.prediction() };
            let output = self.ask(step, &noisy, cx)?;
            let x0 = Denoised::new(noisy.prediction, &output, &x, evaluation.alpha_bar).x0;
            cx.show(sites.x0, &x0, "nothing follows from it here")?;
            check_finite(step, &x0)?;
        }
        Ok(())
    }

    /// The noise that DDIM draws a clean latent from. Nobody watches: what is to be watched is
    /// the way back.
    pub fn invert(
        &mut self,
        config: &SchedulerConfig,
        latents: &Tensor,
    ) -> Result<Tensor, PipelineError> {
        let prediction = config.prediction_type;
        let mut step = 0;
        let noise = ddim_inversion(config, self.request.steps, latents, |x, evaluation| {
            let noisy = Noisy { x, evaluation, prediction };
            let output = self.ask(step, &noisy, &mut Cx::silent());
            step += 1;
            output
        })?;
        check_finite(step, &noise)?;
        // Strides decide which kernel libtorch takes: with those of saved noise, the way back is
        // bit by bit that of a run from a file.
        Ok(noise.contiguous())
    }

    /// The denoiser's guided output at a step of sampling: the known one where there is one.
    fn output(
        &mut self,
        step: usize,
        noisy: &Noisy<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, PipelineError> {
        if let Outputs::Known(known) = &self.outputs
            && let Some(output) = known.get(step)
        {
            self.done += 1;
            return Ok(output.shallow_clone());
        }
        let output = self.ask(step, noisy, cx)?;
        if let Outputs::Kept(kept) = &mut self.outputs {
            kept.push(output.copy());
        }
        Ok(output)
    }

    /// The denoiser's output, guided.
    fn ask(
        &mut self,
        step: usize,
        noisy: &Noisy<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, PipelineError> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(PipelineError::Interrupted);
        }
        let (layout, at) = (self.request.layout(), moment(step, noisy.evaluation));
        let input = noisy.x.to_kind(self.model.placement.kind);
        let input = match layout {
            BatchLayout::UncondThenCond => Tensor::cat(&[&input, &input], 0),
            _ => input,
        };
        let rows = [input.size()[0]];
        let timesteps = Tensor::full(rows, at.timestep, (Kind::Float, input.device()));
        cx.now(at, layout);
        let output = self.model.unet.forward(&input, &timesteps, self.conditioning, cx)?;
        cx.now(at, BatchLayout::Shared);
        let guided = self.guide(noisy, &output.to_kind(Kind::Float), cx)?;
        self.done += 1;
        tracing::debug!("step {} of {} done", self.done, self.all);
        (self.progress)(self.done, self.all);
        Ok(guided)
    }

    /// Classifier-free guidance on the denoiser's raw output. Shows ε to the tap, which may
    /// replace it.
    fn guide(
        &self,
        noisy: &Noisy<'_>,
        output: &Tensor,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, TapError> {
        let sites = self.model.step_sites;
        let guided = if self.request.layout() == BatchLayout::UncondThenCond {
            let parts = output.chunk(2, 0);
            for (site, part) in [sites.eps_uncond, sites.eps_cond].into_iter().zip(&parts) {
                if cx.wants(site) {
                    cx.show(site, &noisy.eps_of(part), STEPS_GO_BY)?;
                }
            }
            let guided = guided(&parts[0], &parts[1], self.request.guidance);
            match self.request.guidance_rescale {
                0.0 => guided,
                share => rescaled_guidance(&guided, &parts[1], share),
            }
        } else {
            output.shallow_clone()
        };
        if !cx.wants(sites.eps) {
            return Ok(guided);
        }
        let eps = noisy.eps_of(&guided);
        let seen = cx.tap(sites.eps, eps.shallow_clone())?;
        // There and back again rounds, where the model predicts something else than ε: a
        // replacement with the same numbers must change no bit.
        if seen.equal(&eps) {
            return Ok(guided);
        }
        Ok(noisy.output_of(&seen))
    }
}

fn moment(step: usize, Evaluation { timestep, sigma, .. }: Evaluation) -> Moment {
    Moment { step, timestep, sigma, branch: None }
}

fn check_finite(step: usize, x: &Tensor) -> Result<(), PipelineError> {
    if x.sum(Kind::Float).double_value(&[]).is_finite() {
        return Ok(());
    }
    Err(PipelineError::NotFinite { step })
}
