//! Residual blocks, resampling and what the blocks are shifted by.

use tch::{Kind, Tensor};

use super::layers::{Conv2d, GroupNorm, Linear};
use super::parameters::Scope;
use crate::site::{Axis, SiteId};
use crate::tap::{Cx, TapError};

/// Axes of a feature map at a divisor of the latent grid.
pub fn map_axes(channels: i64, divisor: i64) -> [Axis; 4] {
    [Axis::Image, Axis::Channel(channels), Axis::Row(divisor), Axis::Column(divisor)]
}

/// Axes of a feature map with this many rows and columns for each of the latent grid.
pub fn fine_axes(channels: i64, times: i64) -> [Axis; 4] {
    [Axis::Image, Axis::Channel(channels), Axis::FineRow(times), Axis::FineColumn(times)]
}

/// The sizes of a residual block.
#[derive(Clone, Copy, Debug)]
pub struct ResnetShape {
    /// Channels in and out.
    pub channels: [i64; 2],
    /// Channels of the timestep embedding, if the block takes one.
    pub time: Option<i64>,
    /// Groups of its norms.
    pub groups: i64,
    /// ε of its norms.
    pub eps: f64,
    /// Axes of its map.
    pub axes: [Axis; 4],
}

/// Two convolutions around which the input is kept, shifted by the timestep.
#[derive(Debug)]
pub struct Resnet {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
    at: SiteId,
}

impl Resnet {
    /// Takes its parameters from `scope`.
    pub fn new(scope: &Scope<'_>, shape: &ResnetShape) -> Self {
        let [inputs, outputs] = shape.channels;
        let norm = |name, c| GroupNorm::new(&scope.below(name), shape.groups, c, shape.eps);
        let time = |c| Linear::new(&scope.below("time_emb_proj"), c, outputs);
        let shortcut = || Conv2d::one(&scope.below("conv_shortcut"), shape.channels);
        Self {
            norm1: norm("norm1", inputs),
            conv1: Conv2d::three(&scope.below("conv1"), shape.channels),
            time_emb_proj: shape.time.map(time),
            norm2: norm("norm2", outputs),
            conv2: Conv2d::three(&scope.below("conv2"), [outputs, outputs]),
            shortcut: (inputs != outputs).then(shortcut),
            at: scope.site("out", &shape.axes),
        }
    }

    /// x [n, in, h, w], time [n, channels] → [n, out, h, w].
    ///
    /// # Errors
    /// The tap's own.
    pub fn forward(
        &self,
        x: &Tensor,
        time: Option<&Tensor>,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, TapError> {
        // In place where nothing else has seen the map: at the size of images, maps are what a run
        // holds most memory for.
        let mut h = self.conv1.forward(&self.norm1.forward(x).silu_());
        if let (Some(proj), Some(time)) = (&self.time_emb_proj, time) {
            h += proj.forward(&time.silu()).unsqueeze(-1).unsqueeze(-1);
        }
        h = self.norm2.forward(&h).silu_();
        h = self.conv2.forward(&h);
        match &self.shortcut {
            Some(shortcut) => h += shortcut.forward(x),
            None => h += x,
        }
        cx.tap(self.at, h)
    }
}

/// Halves height and width.
#[derive(Debug)]
pub struct Downsample {
    conv: Conv2d,
    pad_right_and_bottom: bool,
}

impl Downsample {
    /// As the U-Net does it: `padding` on all sides. As the autoencoder does it
    /// (`padding` 0): one column at the right and one row at the bottom.
    pub fn new(scope: &Scope<'_>, channels: i64, padding: i64) -> Self {
        let conv = Conv2d::new(&scope.below("conv"), [channels, channels], 3, 2, padding);
        Self { conv, pad_right_and_bottom: padding == 0 }
    }

    /// x [n, c, h, w] → [n, c, h/2, w/2].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        if self.pad_right_and_bottom {
            self.conv.forward(&x.constant_pad_nd([0, 1, 0, 1]))
        } else {
            self.conv.forward(x)
        }
    }
}

/// Doubles height and width (or brings them to a given size).
#[derive(Debug)]
pub struct Upsample {
    conv: Conv2d,
}

impl Upsample {
    /// Takes its parameters from `scope`.
    pub fn new(scope: &Scope<'_>, channels: i64) -> Self {
        Self { conv: Conv2d::three(&scope.below("conv"), [channels, channels]) }
    }

    /// x [n, c, h, w] → [n, c, height, width].
    pub fn forward(&self, x: &Tensor, [height, width]: [i64; 2]) -> Tensor {
        self.conv.forward(&x.upsample_nearest2d([height, width], None, None))
    }
}

/// Turns numbers into sinusoids of many frequencies (Vaswani et al. 2017, section 3.5).
#[derive(Clone, Copy, Debug)]
pub struct Sinusoids {
    /// How many a number becomes.
    pub count: i64,
    /// Cosine before sine.
    pub flip_sin_to_cos: bool,
    /// Shift of the frequencies.
    pub freq_shift: f64,
}

impl Sinusoids {
    /// The longest wavelength is 2π times this.
    const MAX_PERIOD: f64 = 10_000.0;

    /// `[n]` → [n, count], in f32.
    pub fn of(&self, numbers: &Tensor) -> Tensor {
        let half = self.count / 2;
        let places = Tensor::arange(half, (Kind::Float, numbers.device()));
        let rate = -Self::MAX_PERIOD.ln() / (half as f64 - self.freq_shift);
        let angles = numbers.to_kind(Kind::Float).unsqueeze(1) * (places * rate).exp();
        let parts = if self.flip_sin_to_cos {
            [angles.cos(), angles.sin()]
        } else {
            [angles.sin(), angles.cos()]
        };
        Tensor::cat(&parts, -1)
    }
}

/// Two linear layers on the way to the vector that every residual block is shifted by.
#[derive(Debug)]
pub struct VectorEmbedding {
    linear_1: Linear,
    linear_2: Linear,
    at: SiteId,
}

impl VectorEmbedding {
    /// Takes its parameters from `scope`; what it puts out is the site `name`.
    pub fn new(scope: &Scope<'_>, name: &str, [inputs, outputs]: [i64; 2]) -> Self {
        Self {
            linear_1: Linear::new(&scope.below("linear_1"), inputs, outputs),
            linear_2: Linear::new(&scope.below("linear_2"), outputs, outputs),
            at: scope.site(name, &[Axis::Image, Axis::Channel(outputs)]),
        }
    }

    /// x [n, in] → [n, out].
    ///
    /// # Errors
    /// The tap's own.
    pub fn forward(&self, x: &Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        cx.tap(self.at, self.linear_2.forward(&self.linear_1.forward(x).silu()))
    }
}
