//! AdamW (Loshchilov & Hutter 2019) over one flat tensor, with a running average of the
//! weights. One tensor instead of hundreds makes a step a dozen calls.

use std::path::Path;

use tch::{Kind, Tensor};

use super::{TrainError, TrainingPlan, device_of, load_tensors, store_tensors};
use crate::model::parameters::{Parameters, WeightsError};

/// All parameters as views of one flat tensor.
#[derive(Debug)]
pub struct FlatParameters {
    values: Tensor,
    parameters: Vec<Tensor>,
    /// Where the gradients are gathered; kept, because fresh memory of this size costs more
    /// than filling it.
    gradients: Tensor,
    /// 1 where weight decay applies (matrices and convolutions), else 0.
    decays: Tensor,
    signature: String,
}

impl FlatParameters {
    /// Moves the parameters' numbers into one tensor of which they become views.
    pub fn new(parameters: &Parameters) -> Self {
        let _no_grad = tch::no_grad_guard();
        let device = device_of(parameters);
        let mut shapes = Vec::new();
        let (mut pieces, mut decays, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
        for (name, tensor) in parameters.iter() {
            shapes.push(format!("{name}{:?}", tensor.size()));
            pieces.push(tensor.detach().flatten(0, -1));
            let decay = if tensor.dim() >= 2 { 1.0 } else { 0.0 };
            decays.push(Tensor::full([tensor.numel() as i64], decay, (Kind::Float, device)));
            tensors.push(tensor.shallow_clone());
        }
        let values = Tensor::cat(&pieces, 0);
        let flat = Self {
            gradients: values.zeros_like(),
            values,
            parameters: tensors,
            decays: Tensor::cat(&decays, 0),
            signature: shapes.join(" "),
        };
        flat.attach(&flat.values);
        flat
    }

    /// Makes the parameters views of `values`.
    fn attach(&self, values: &Tensor) {
        let mut at = 0;
        for parameter in &self.parameters {
            let (mut parameter, size) = (parameter.shallow_clone(), parameter.size());
            let numel = parameter.numel() as i64;
            parameter.set_data(&values.narrow(0, at, numel).view(size.as_slice()));
            at += numel;
        }
    }

    /// Runs `work` with other values in the parameters' place.
    pub fn with_values<T>(&self, values: &Tensor, work: impl FnOnce() -> T) -> T {
        let _no_grad = tch::no_grad_guard();
        self.attach(values);
        let result = work();
        self.attach(&self.values);
        result
    }

    /// Gathers the gradients into one tensor; parameters that had none count as zero. Clears
    /// them.
    fn gather_gradients(&mut self) {
        let pieces: Vec<Tensor> = self
            .parameters
            .iter()
            .map(|parameter| {
                let gradient = parameter.grad();
                let known = if gradient.defined() { gradient } else { parameter.zeros_like() };
                known.flatten(0, -1)
            })
            .collect();
        let _ = Tensor::cat_out(&self.gradients, &pieces, 0);
        for parameter in &mut self.parameters {
            parameter.zero_grad();
        }
    }
}

/// The optimiser's state.
#[derive(Debug)]
pub struct AdamW {
    mean: Tensor,
    variance: Tensor,
    average: Tensor,
    taken: i64,
    weight_decay: f64,
    clip_norm: f64,
    ema_decay: f64,
}

impl AdamW {
    const BETAS: [f64; 2] = [0.9, 0.99];
    const EPS: f64 = 1e-8;
    /// Numbers treated at a time: the dozen passes of a step over them stay in the cache.
    const CHUNK: i64 = 1 << 18;

    /// Starts from zero moments.
    pub fn new(flat: &FlatParameters, plan: &TrainingPlan) -> Self {
        Self {
            mean: flat.values.zeros_like(),
            variance: flat.values.zeros_like(),
            average: flat.values.copy(),
            taken: 0,
            weight_decay: plan.weight_decay,
            clip_norm: plan.clip_norm,
            ema_decay: plan.ema_decay,
        }
    }

    /// Algorithm 2 of the paper, with the gradient's norm limited first; then the average
    /// (whose decay grows towards its value, so that it forgets the start).
    pub fn step(&mut self, flat: &mut FlatParameters, learning_rate: f64) {
        let _no_grad = tch::no_grad_guard();
        self.taken += 1;
        flat.gather_gradients();
        let norm = flat.gradients.norm().double_value(&[]);
        let scale = if norm > self.clip_norm { self.clip_norm / norm } else { 1.0 };
        let count = flat.values.numel() as i64;
        for at in (0..count).step_by(Self::CHUNK as usize) {
            let chunk = |t: &Tensor| t.narrow(0, at, Self::CHUNK.min(count - at));
            self.step_chunk(flat, &chunk, scale, learning_rate);
        }
    }

    /// One step of the part of all tensors that `chunk` cuts out.
    fn step_chunk(
        &self,
        flat: &FlatParameters,
        chunk: &dyn Fn(&Tensor) -> Tensor,
        scale: f64,
        learning_rate: f64,
    ) {
        let [beta1, beta2] = Self::BETAS;
        let gradient = chunk(&flat.gradients) * scale;
        let (mut values, decays) = (chunk(&flat.values), chunk(&flat.decays));
        let (mut mean, mut variance) = (chunk(&self.mean), chunk(&self.variance));
        let _ = mean.lerp_(&gradient, 1.0 - beta1);
        let _ = variance.lerp_(&gradient.square(), 1.0 - beta2);
        let unbias = |beta: f64| 1.0 - beta.powi(self.taken.min(i64::from(i32::MAX)) as i32);
        let root = (variance / unbias(beta2)).sqrt_() + Self::EPS;
        let update = mean / unbias(beta1) / root;
        let decay = decays * &values * self.weight_decay;
        let _ = values.subtract_(&((update + decay) * learning_rate));
        let taken = self.taken as f64;
        let ema = self.ema_decay.min((1.0 + taken) / (10.0 + taken));
        let _ = chunk(&self.average).lerp_(&values, 1.0 - ema);
    }

    /// The averaged weights.
    pub fn average(&self) -> Tensor {
        self.average.shallow_clone()
    }

    /// Writes everything that changes, whole or not at all.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, flat: &FlatParameters, step: u64, path: &Path) -> Result<(), TrainError> {
        let tensors = [
            ("values", &flat.values),
            ("mean", &self.mean),
            ("variance", &self.variance),
            ("average", &self.average),
        ];
        let mut tensors: Vec<(String, Tensor)> =
            tensors.iter().map(|(name, t)| ((*name).to_owned(), t.shallow_clone())).collect();
        tensors.push(("step".into(), Tensor::from_slice(&[step as i64])));
        tensors.push(("taken".into(), Tensor::from_slice(&[self.taken])));
        let signature: Vec<i64> = flat.signature.bytes().map(i64::from).collect();
        tensors.push(("signature".into(), Tensor::from_slice(&signature)));
        store_tensors(path, &tensors)
    }

    /// Reads it back; returns the steps done.
    ///
    /// # Errors
    /// A file that is damaged or of another architecture.
    pub fn resume(&mut self, flat: &mut FlatParameters, path: &Path) -> Result<u64, TrainError> {
        let _no_grad = tch::no_grad_guard();
        let problem = |problem: &str| TrainError::Checkpoint {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let tensors = load_tensors(path).map_err(|e| match e {
            TrainError::Weights(WeightsError::Format { .. }) => {
                problem("the checkpoint is truncated or corrupted")
            }
            other => other,
        })?;
        let get = |name: &str| tensors.get(name).ok_or_else(|| problem("not a checkpoint"));
        let signature: Vec<i64> =
            Vec::try_from(get("signature")?).map_err(|_| problem("not a checkpoint"))?;
        let same = signature.iter().copied().eq(flat.signature.bytes().map(i64::from));
        if !same {
            return Err(problem("the checkpoint is of another architecture"));
        }
        for (name, target) in [
            ("values", &mut flat.values),
            ("mean", &mut self.mean),
            ("variance", &mut self.variance),
            ("average", &mut self.average),
        ] {
            let source = get(name)?;
            if source.size() != target.size() {
                return Err(problem("the checkpoint is of another architecture"));
            }
            target.copy_(source);
        }
        self.taken = get("taken")?.int64_value(&[0]);
        Ok(get("step")?.int64_value(&[0]) as u64)
    }
}
