//! The layers that every part is made of. The kind of the input decides the kind of the
//! arithmetic: parameters are cast to it (f32 masters under bf16 activations in training),
//! while norms keep f32 parameters and f32 statistics.

use tch::Tensor;

use super::parameters::{Init, Scope};

/// y = x Wᵀ + b.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Weight [out, in], bias `[out]`.
    pub fn new(scope: &Scope<'_>, inputs: i64, outputs: i64) -> Self {
        let bias = Some(scope.tensor("bias", &[outputs], Init::Zeros));
        Self { bias, ..Self::without_bias(scope, inputs, outputs) }
    }

    /// Weight [out, in].
    pub fn without_bias(scope: &Scope<'_>, inputs: i64, outputs: i64) -> Self {
        let weight = scope.tensor("weight", &[outputs, inputs], Init::FanIn(inputs));
        Self { weight, bias: None }
    }

    /// x [..., in] → [..., out].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let kind = x.kind();
        x.linear(&self.weight.to_kind(kind), self.bias.as_ref().map(|b| b.to_kind(kind)))
    }
}

/// A square two-dimensional convolution.
#[derive(Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

impl Conv2d {
    /// Weight [out, in, kernel, kernel], bias `[out]`.
    pub fn new(
        scope: &Scope<'_>,
        [inputs, outputs]: [i64; 2],
        kernel: i64,
        stride: i64,
        padding: i64,
    ) -> Self {
        let fan_in = inputs * kernel * kernel;
        let shape = [outputs, inputs, kernel, kernel];
        let weight = scope.tensor("weight", &shape, Init::FanIn(fan_in));
        let bias = scope.tensor("bias", &[outputs], Init::Zeros);
        Self { weight, bias, stride, padding }
    }

    /// A 3×3 convolution that keeps the size.
    pub fn three(scope: &Scope<'_>, channels: [i64; 2]) -> Self {
        Self::new(scope, channels, 3, 1, 1)
    }

    /// A 1×1 convolution.
    pub fn one(scope: &Scope<'_>, channels: [i64; 2]) -> Self {
        Self::new(scope, channels, 1, 1, 0)
    }

    /// x [n, in, h, w] → [n, out, h', w'].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (kind, s, p) = (x.kind(), self.stride, self.padding);
        let bias = Some(self.bias.to_kind(kind));
        x.conv2d(&self.weight.to_kind(kind), bias, [s, s], [p, p], [1, 1], 1)
    }
}

/// Group normalisation (Wu & He 2018).
#[derive(Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
    eps: f64,
}

impl GroupNorm {
    /// Weight and bias `[channels]`.
    pub fn new(scope: &Scope<'_>, groups: i64, channels: i64, eps: f64) -> Self {
        let weight = scope.tensor("weight", &[channels], Init::Ones);
        let bias = scope.tensor("bias", &[channels], Init::Zeros);
        Self { weight, bias, groups, eps }
    }

    /// x [n, channels, ...] → the same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        x.group_norm(self.groups, weight, bias, self.eps, false)
    }
}

/// Layer normalisation over the last axis (Ba et al. 2016).
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// PyTorch's default ε.
    pub const EPS: f64 = 1e-5;

    /// Weight and bias `[channels]`.
    pub fn new(scope: &Scope<'_>, channels: i64, eps: f64) -> Self {
        let weight = scope.tensor("weight", &[channels], Init::Ones);
        let bias = scope.tensor("bias", &[channels], Init::Zeros);
        Self { weight, bias, eps }
    }

    /// x [..., channels] → the same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let shape = self.weight.size();
        x.layer_norm(shape, Some(&self.weight), Some(&self.bias), self.eps, false)
    }
}

/// Rows of a table, chosen by id.
#[derive(Debug)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// Standard deviation of CLIP's initial embeddings.
    const STD: f64 = 0.02;

    /// Weight [rows, channels].
    pub fn new(scope: &Scope<'_>, rows: i64, channels: i64) -> Self {
        Self { weight: scope.tensor("weight", &[rows, channels], Init::Normal(Self::STD)) }
    }

    /// ids [...] → [..., channels].
    pub fn forward(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.weight, ids, -1, false, false)
    }

    /// The table itself, [rows, channels].
    pub fn table(&self) -> &Tensor {
        &self.weight
    }
}
