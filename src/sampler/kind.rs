//! Which samplers there are, and which one a checkpoint asks for.

use serde::{Deserialize, Serialize};

use super::{
    Ddim, Ddpm, DpmSolver, Euler, EulerAncestral, Heun, Lcm, Pndm, Sampler, ScheduleError,
    SchedulerConfig, UniPc,
};

/// Which sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// Deterministic (Song et al. 2021).
    #[default]
    Ddim,
    /// Ancestral (Ho et al. 2020).
    Ddpm,
    /// Pseudo linear multistep (Liu et al. 2022); asks the denoiser a few times more.
    Pndm,
    /// Euler's method (Karras et al. 2022).
    Euler,
    /// Euler's method with fresh noise at each step.
    EulerAncestral,
    /// Heun's method (Karras et al. 2022); asks the denoiser twice a step.
    Heun,
    /// DPM-Solver++ of second order, multistep (Lu et al. 2022).
    #[serde(rename = "dpm++2m")]
    #[value(name = "dpm++2m", alias = "dpmpp-2m")]
    DpmSolver,
    /// Unified predictor-corrector (Zhao et al. 2023).
    #[serde(rename = "unipc")]
    #[value(name = "unipc")]
    UniPc,
    /// For latent consistency models (Luo et al. 2023), which need few steps.
    Lcm,
}

/// The classes of diffusers and the sampler each stands for.
const CLASSES: [(&str, SamplerKind); 9] = [
    ("DDIMScheduler", SamplerKind::Ddim),
    ("DDPMScheduler", SamplerKind::Ddpm),
    ("PNDMScheduler", SamplerKind::Pndm),
    ("EulerDiscreteScheduler", SamplerKind::Euler),
    ("EulerAncestralDiscreteScheduler", SamplerKind::EulerAncestral),
    ("HeunDiscreteScheduler", SamplerKind::Heun),
    ("DPMSolverMultistepScheduler", SamplerKind::DpmSolver),
    ("UniPCMultistepScheduler", SamplerKind::UniPc),
    ("LCMScheduler", SamplerKind::Lcm),
];

/// Classes whose step is not here, but whose config describes a schedule all the same.
const SCHEDULE_ONLY: [&str; 8] = [
    "DDIMInverseScheduler",
    "DEISMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "TCDScheduler",
];

impl SamplerKind {
    /// The name on the command line, such as `dpm++2m`.
    pub fn label(self) -> &'static str {
        match self {
            SamplerKind::Ddim => "ddim",
            SamplerKind::Ddpm => "ddpm",
            SamplerKind::Pndm => "pndm",
            SamplerKind::Euler => "euler",
            SamplerKind::EulerAncestral => "euler-ancestral",
            SamplerKind::Heun => "heun",
            SamplerKind::DpmSolver => "dpm++2m",
            SamplerKind::UniPc => "unipc",
            SamplerKind::Lcm => "lcm",
        }
    }

    /// The sampler that a checkpoint was published with.
    ///
    /// # Errors
    /// [`ScheduleError::Class`]: its `_class_name` is none of those that are here.
    pub fn of_config(config: &SchedulerConfig) -> Result<Self, ScheduleError> {
        let named = CLASSES.iter().find(|(class, _)| *class == config.class_name);
        named.map(|&(_, kind)| kind).ok_or_else(|| ScheduleError::Class {
            class: config.class_name.clone(),
            remedy: if SCHEDULE_ONLY.contains(&config.class_name.as_str()) {
                let labels = CLASSES.map(|(_, kind)| kind.label());
                format!("choose a sampler, one of {}", labels.join(", "))
            } else {
                let classes = CLASSES.map(|(class, _)| class);
                format!("models of these classes can be sampled: {}", classes.join(", "))
            },
        })
    }

    /// Prepares one run of `steps` steps.
    ///
    /// # Errors
    /// No steps, more than the schedule allows, or a config that makes no schedule or asks for
    /// what this sampler cannot do.
    pub fn prepare(
        self,
        config: &SchedulerConfig,
        steps: usize,
    ) -> Result<Box<dyn Sampler>, ScheduleError> {
        Ok(match self {
            SamplerKind::Ddim => Box::new(Ddim::new(config, steps, 0.0)?),
            SamplerKind::Ddpm => Box::new(Ddpm::new(config, steps)?),
            SamplerKind::Pndm => Box::new(Pndm::new(config, steps)?),
            SamplerKind::Euler => Box::new(Euler::new(config, steps)?),
            SamplerKind::EulerAncestral => Box::new(EulerAncestral::new(config, steps)?),
            SamplerKind::Heun => Box::new(Heun::new(config, steps)?),
            SamplerKind::DpmSolver => Box::new(DpmSolver::new(config, steps)?),
            SamplerKind::UniPc => Box::new(UniPc::new(config, steps)?),
            SamplerKind::Lcm => Box::new(Lcm::new(config, steps)?),
        })
    }

    /// Refuses a config that describes no noise schedule of this kind, as that of a flow.
    pub(super) fn check_schedule(self, config: &SchedulerConfig) -> Result<(), ScheduleError> {
        if !SCHEDULE_ONLY.contains(&config.class_name.as_str()) {
            Self::of_config(config)?;
        }
        config.require(self, "use_flow_sigmas", false)?;
        config.require(self, "use_dynamic_shifting", false)
    }
}
