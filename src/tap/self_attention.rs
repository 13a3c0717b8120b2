//! Self-attention reduced to a few numbers while it streams by, from queries and keys: the model
//! goes on with its fused kernel, and no map of all heads is ever held.

use std::collections::{BTreeSet, HashMap, HashSet};

use tch::{Device, Kind, Tensor};

use super::channels::skips;
use super::recorder::Recorder;
use super::{Moment, Tap, TapError};
use crate::site::{Branch, Site};
use crate::table::SelfAttentionRow;

/// Most numbers of a chunk of probabilities: it stays in a processor's cache.
const CHUNK: i64 = 1 << 19;
/// Principal components that are kept.
const COMPONENTS: i64 = 3;
/// Directions that are followed to find them: more than are kept, so that these are exact.
const DIRECTIONS: i64 = 12;
/// How often the map is applied to the directions.
const ITERATIONS: usize = 6;
/// libtorch's name for distances by their definition: by products of matrices a place would be
/// 3e-4 away from itself.
const WITHOUT_PRODUCTS: i64 = 2;
/// Share of a map's size below which its variance is rounding.
const ROUNDING: f64 = 1e-10;

/// Watches the queries and keys of self-attention layers.
#[derive(Debug)]
pub struct SelfAttentionRecorder {
    /// Layers: names up to `.self`.
    layers: HashSet<String>,
    steps: Option<BTreeSet<usize>>,
    /// Rows and columns of the latent grid.
    grid: [i64; 2],
    queries: HashMap<(String, Option<Branch>), Tensor>,
    rows: Vec<SelfAttentionRow>,
}

/// A map's numbers, of one image: per head, and of the mean over heads.
struct Reduced {
    distance: Vec<f64>,
    diagonality: Vec<f64>,
    /// Mean over heads, [positions, positions].
    mean: Tensor,
}

impl SelfAttentionRecorder {
    /// Looks at the layers of which a site is named (`….self.probs`, say), at the given steps (all
    /// if `None`), for latents of `grid` rows and columns.
    pub fn new(
        sites: impl IntoIterator<Item = String>,
        steps: Option<BTreeSet<usize>>,
        grid: [i64; 2],
    ) -> Self {
        let layer = |name: String| layer_of(&name).map(str::to_owned);
        let layers = sites.into_iter().filter_map(layer).collect();
        Self { layers, steps, grid, queries: HashMap::new(), rows: Vec::new() }
    }

    /// Whether this is a site of self-attention.
    pub fn suits(site: &Site) -> bool {
        layer_of(&site.name).is_some()
    }

    fn reduce(&mut self, q: &Tensor, k: &Tensor, site: &Site, at: Moment) -> Result<(), TapError> {
        let unusable = |error: tch::TchError| TapError::Unusable {
            site: site.name.clone(),
            problem: error.to_string(),
        };
        let by = site.divisor();
        let [height, width] = self.grid.map(|side| (side + by - 1) / by);
        let places = places([height, width], k.device());
        for sample in 0..q.size()[0] {
            let reduced = reduced(&q.get(sample), &k.get(sample), &places).map_err(unusable)?;
            let components = principal_components(&reduced.mean).map_err(unusable)?;
            let row = |head: Option<u32>, distance: f64, diagonality: f64| SelfAttentionRow {
                run: String::new(),
                sample: sample as u32,
                step: at.step as u32,
                timestep: at.timestep,
                sigma: at.sigma,
                branch: at.branch.map(|branch| branch.label().to_owned()).unwrap_or_default(),
                site: format!("{}.probs", layer_of(&site.name).unwrap_or_default()),
                head,
                height: height as u32,
                width: width as u32,
                distance: distance.max(0.0),
                diagonality: diagonality.clamp(0.0, 1.0),
                explained: None,
                components: None,
            };
            let heads = reduced.distance.len() as f64;
            let mean = |of: &[f64]| of.iter().sum::<f64>() / heads;
            let pairs = reduced.distance.iter().zip(&reduced.diagonality);
            self.rows.extend(pairs.zip(0..).map(|((&far, &own), head)| row(Some(head), far, own)));
            let whole = row(None, mean(&reduced.distance), mean(&reduced.diagonality));
            let (explained, components) = components.unzip();
            self.rows.push(SelfAttentionRow { explained, components, ..whole });
        }
        Ok(())
    }
}

/// `up.1.attn.0.block.0.self` of `up.1.attn.0.block.0.self.q`.
fn layer_of(site: &str) -> Option<&str> {
    let (layer, _) = site.rsplit_once('.')?;
    layer.ends_with(".self").then_some(layer)
}

/// Centres of cells, [positions, 2], both sides of length 1; row by row.
fn places([height, width]: [i64; 2], device: Device) -> Tensor {
    let centres = |cells: i64| (Tensor::arange(cells, (Kind::Float, device)) + 0.5) / cells as f64;
    let x = centres(width).repeat([height]);
    let y = centres(height).repeat_interleave_self_int(width, None, None);
    Tensor::stack(&[x, y], 1)
}

/// Reduces the map of one image, q and k [heads, positions, width of a head], a few queries of one
/// head at a time.
fn reduced(q: &Tensor, k: &Tensor, places: &Tensor) -> Result<Reduced, tch::TchError> {
    let (q, k) = (q.to_kind(Kind::Float), k.to_kind(Kind::Float).transpose(-2, -1));
    let [heads, positions, width] = [q.size()[0], q.size()[1], q.size()[2]];
    let q = q / (width as f64).sqrt();
    let mut mean = Tensor::zeros([positions, positions], (Kind::Float, q.device()));
    let (mut distance, mut diagonality) = (vec![0.0; heads as usize], vec![0.0; heads as usize]);
    let rows = (CHUNK / positions).clamp(1, positions);
    for start in (0..positions).step_by(rows as usize) {
        let count = rows.min(positions - start);
        let apart =
            Tensor::f_cdist(&places.narrow(0, start, count), places, 2.0, WITHOUT_PRODUCTS)?;
        let apart = apart.reshape([-1]);
        let mut of_rows = mean.narrow(0, start, count);
        for head in 0..heads {
            // [count, positions]
            let scores = q.get(head).narrow(0, start, count).f_matmul(&k.get(head))?;
            let probs = scores.f_softmax(-1, Kind::Float)?;
            let far = probs.reshape([-1]).f_dot(&apart)?.double_value(&[]);
            let itself = probs.narrow(1, start, count).diagonal(0, 0, 1).sum(Kind::Double);
            distance[head as usize] += far / positions as f64;
            diagonality[head as usize] += itself.double_value(&[]) / positions as f64;
            of_rows += &probs;
        }
    }
    mean /= heads as f64;
    Ok(Reduced { distance, diagonality, mean })
}

/// Explained shares, and components one after the other.
type Components = (Vec<f32>, Vec<f32>);

/// Explained shares and components of a map [positions, positions] whose rows are observations:
/// the left singular vectors of the centred map, found by applying it to a few directions again
/// and again (Halko, Martinsson & Tropp 2011, algorithm 4.4). `None` where all rows are alike.
fn principal_components(map: &Tensor) -> Result<Option<Components>, tch::TchError> {
    let size = map.square().sum(Kind::Double).double_value(&[]);
    let map = map - map.mean_dim([0_i64].as_slice(), true, Kind::Float);
    let variance = map.square().sum(Kind::Double).double_value(&[]);
    // A NaN is no variance either.
    if variance.is_nan() || variance <= size * ROUNDING {
        return Ok(None);
    }
    let positions = map.size()[0];
    let directions = DIRECTIONS.min(positions);
    let basis = |x: &Tensor| Ok::<_, tch::TchError>(Tensor::f_linalg_qr(x, "reduced")?.0);
    let transposed = map.transpose(0, 1);
    let mut found = basis(&map.f_matmul(&start(positions, directions, map.device()))?)?;
    for _ in 0..ITERATIONS {
        let across = basis(&transposed.f_matmul(&found)?)?;
        found = basis(&map.f_matmul(&across)?)?;
    }
    let small = found.transpose(0, 1).f_matmul(&map)?;
    let (left, singular, _) = small.f_svd(true, true)?;
    let kept = COMPONENTS.min(directions);
    let explained = singular.narrow(0, 0, kept).to_kind(Kind::Double).square() / variance;
    let components = found.f_matmul(&left.narrow(1, 0, kept))?;
    // The sign of a component is free: its largest number is made 1.
    let at = components.abs().argmax(0, true);
    let components = &components / components.f_gather(0, &at, false)?;
    let numbers = |x: &Tensor| Vec::<f32>::try_from(x.contiguous().view([-1]).to_kind(Kind::Float));
    let (explained, components) = (explained.to_device(Device::Cpu), components.transpose(0, 1));
    Ok(Some((numbers(&explained)?, numbers(&components.to_device(Device::Cpu))?)))
}

/// Directions to begin with, the same every time and for every map: waves of different lengths.
fn start(positions: i64, directions: i64, device: Device) -> Tensor {
    let options = (Kind::Float, device);
    let at = (Tensor::arange(positions, options) + 0.5).unsqueeze(1);
    let wave = Tensor::arange(directions, options).unsqueeze(0) + 1.0;
    (at.square() * (wave * std::f64::consts::SQRT_2)).sin()
}

impl Tap for SelfAttentionRecorder {
    fn selects(&self, site: &Site) -> bool {
        let reads = site.name.ends_with(".q") || site.name.ends_with(".k");
        reads && layer_of(&site.name).is_some_and(|layer| self.layers.contains(layer))
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let Some(layer) = layer_of(&site.name) else { return Ok(None) };
        if skips(self.steps.as_ref(), site, at) {
            return Ok(None);
        }
        let key = (layer.to_owned(), at.branch);
        if site.name.ends_with(".q") {
            self.queries.insert(key, x.shallow_clone());
            return Ok(None);
        }
        let Some(queries) = self.queries.remove(&key) else {
            let problem = "keys came before their queries".to_owned();
            return Err(TapError::Unusable { site: site.name.clone(), problem });
        };
        self.reduce(&queries, x, site, at)?;
        Ok(None)
    }
}

impl Recorder for SelfAttentionRecorder {
    type Row = SelfAttentionRow;

    fn take(&mut self, run: &str) -> Vec<SelfAttentionRow> {
        let named = |row| SelfAttentionRow { run: run.to_owned(), ..row };
        std::mem::take(&mut self.rows).into_iter().map(named).collect()
    }
}
