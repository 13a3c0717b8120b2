//! Records cross-attention while it streams by: a row of numbers per head and token, and
//! two kinds of maps: summed over steps per head (what DAAM starts from), and averaged over
//! heads per step (what the explorer plays). Nothing of the size of a step's probabilities is
//! kept, and the per-head maps do not grow with the number of steps.

use std::collections::{BTreeMap, HashSet};

use ndarray::{Array4, Array5};
use tch::{Device, Kind, Tensor};

use super::{Moment, Tap, TapError};
use crate::measure::record::{AttentionRecord, LayerMaps, MapNumbers};
use crate::site::{Branch, Site};

/// Watches `*.cross.probs`.
#[derive(Debug)]
pub struct AttentionRecorder {
    tokens: i64,
    sites: HashSet<String>,
    /// Rows and columns of the latent grid.
    grid: [i64; 2],
    layers: Vec<Running>,
    by_site: BTreeMap<String, usize>,
    rows: Vec<MapNumbers>,
    steps: usize,
    keeps_steps: bool,
}

#[derive(Debug)]
struct Running {
    site: String,
    shape: [i64; 2],
    sum: Tensor,
    per_step: Vec<Tensor>,
}

impl AttentionRecorder {
    /// Watches the first `tokens` tokens (start token, prompt, end token; padding is left
    /// out) at the given sites, for latents of `grid` rows and columns.
    pub fn new(tokens: usize, sites: impl IntoIterator<Item = String>, grid: [i64; 2]) -> Self {
        Self {
            tokens: tokens as i64,
            sites: sites.into_iter().collect(),
            grid,
            layers: Vec::new(),
            by_site: BTreeMap::new(),
            rows: Vec::new(),
            steps: 0,
            keeps_steps: true,
        }
    }

    /// Keeps no map of single steps: memory does not grow with their number.
    #[must_use]
    pub fn without_step_maps(self) -> Self {
        Self { keeps_steps: false, ..self }
    }

    /// The numbers of maps seen since the last time.
    pub(super) fn take_numbers(&mut self) -> Vec<MapNumbers> {
        std::mem::take(&mut self.rows)
    }

    /// Name and shape (rows, columns) of a layer.
    pub(super) fn layer_of(&self, numbers: &MapNumbers) -> (&str, [i64; 2]) {
        let layer = &self.layers[numbers.layer];
        (&layer.site, layer.shape)
    }

    /// Hands over what was recorded.
    ///
    /// # Errors
    /// Maps that libtorch cannot hand over (never seen in practice).
    pub fn finish(self) -> Result<AttentionRecord, TapError> {
        let layers = self.layers.into_iter().map(Running::finish).collect::<Result<_, _>>()?;
        Ok(AttentionRecord { layers, rows: self.rows, steps: self.steps })
    }

    fn layer(&mut self, site: &Site, x: &Tensor) -> usize {
        if let Some(&at) = self.by_site.get(&site.name) {
            return at;
        }
        let by = site.divisor();
        let shape = self.grid.map(|side| (side + by - 1) / by);
        let [n, heads] = [x.size()[0], x.size()[1]];
        let sum =
            Tensor::zeros([n, heads, self.tokens, shape[0], shape[1]], (Kind::Float, Device::Cpu));
        let site = site.name.clone();
        self.by_site.insert(site.clone(), self.layers.len());
        self.layers.push(Running { site, shape, sum, per_step: Vec::new() });
        self.layers.len() - 1
    }

    /// Numbers of the maps [n, heads, tokens, rows × columns] of one layer.
    fn summarise(
        &mut self,
        maps: &Tensor,
        (layer, branch): (usize, Branch),
        at: Moment,
    ) -> Result<(), TapError> {
        let [rows, columns] = self.layers[layer].shape;
        let sum = maps.sum_dim_intlist([-1_i64].as_slice(), true, Kind::Float);
        let mass = maps.mean_dim([-1_i64].as_slice(), false, Kind::Float);
        let p = maps / &sum;
        let entropy = -p.xlogy(&p).sum_dim_intlist([-1_i64].as_slice(), false, Kind::Float);
        let x = cell_centres(columns).repeat([rows]);
        let y = cell_centres(rows).repeat_interleave_self_int(columns, None, None);
        let centroid_x = p.matmul(&x);
        let centroid_y = p.matmul(&y);
        let peak = maps.argmax(-1, false);
        let numbers = |t: &Tensor| -> Result<Vec<f64>, TapError> {
            Vec::try_from(t.to_kind(Kind::Double).contiguous().view([-1])).map_err(
                |e: tch::TchError| TapError::Unusable {
                    site: self.layers[layer].site.clone(),
                    problem: e.to_string(),
                },
            )
        };
        let size = mass.size();
        let (mass, entropy, peak) = (numbers(&mass)?, numbers(&entropy)?, numbers(&peak)?);
        let (xs, ys) = (numbers(&centroid_x)?, numbers(&centroid_y)?);
        let (heads, tokens) = (size[1] as usize, size[2] as usize);
        for i in 0..mass.len() {
            let place = peak[i] as i64;
            // A map of zeros has no largest value.
            let known = if mass[i] > 0.0 { 1.0 } else { f64::NAN };
            let centre = |at: i64, of: i64| known * (at as f64 + 0.5) / of as f64;
            self.rows.push(MapNumbers {
                sample: i / (heads * tokens),
                step: at.step,
                timestep: at.timestep,
                sigma: at.sigma,
                branch,
                layer,
                head: i / tokens % heads,
                token: i % tokens,
                mass: mass[i],
                entropy: entropy[i],
                centroid: [xs[i], ys[i]],
                peak: [centre(place % columns, columns), centre(place / columns, rows)],
            });
        }
        Ok(())
    }
}

fn cell_centres(cells: i64) -> Tensor {
    (Tensor::arange(cells, (Kind::Float, Device::Cpu)) + 0.5) / cells as f64
}

impl Tap for AttentionRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let Some(branch) = at.branch else { return Ok(None) };
        let layer = self.layer(site, x);
        // [n, heads, positions, tokens] → [n, heads, tokens, positions]
        let maps = x.narrow(3, 0, self.tokens).transpose(2, 3);
        let maps = maps.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        self.summarise(&maps, (layer, branch), at)?;
        if branch == Branch::Cond {
            self.steps = self.steps.max(at.step + 1);
            let running = &mut self.layers[layer];
            let [rows, columns] = running.shape;
            let maps = maps.unflatten(3, [rows, columns]);
            running.sum += &maps;
            if self.keeps_steps {
                running.per_step.push(maps.mean_dim([1_i64].as_slice(), false, Kind::Float));
            }
        }
        Ok(None)
    }
}

impl Running {
    fn finish(self) -> Result<LayerMaps, TapError> {
        let site = self.site;
        let unusable = |problem: String| TapError::Unusable { site: site.clone(), problem };
        let values = |t: &Tensor| {
            Vec::<f32>::try_from(t.contiguous().view([-1]))
                .map_err(|e: tch::TchError| unusable(e.to_string()))
        };
        let s: Vec<usize> = self.sum.size().iter().map(|&n| n as usize).collect();
        let shape = (s[0], s[1], s[2], s[3], s[4]);
        let per_head = Array5::from_shape_vec(shape, values(&self.sum)?)
            .map_err(|e| unusable(e.to_string()))?;
        let per_step = self
            .per_step
            .iter()
            .map(|t| {
                Array4::from_shape_vec((s[0], s[2], s[3], s[4]), values(t)?)
                    .map_err(|e| unusable(e.to_string()))
            })
            .collect::<Result<_, _>>()?;
        Ok(LayerMaps { site, per_head, per_step })
    }
}
