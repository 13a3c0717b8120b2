//! Golden files, a tap that keeps everything, and the parity table.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use denoscope::model::parameters::{Store, WeightFile};
use denoscope::site::{Site, Sites};
use denoscope::tap::{Moment, Tap, TapError};
use tch::{Device, Kind, Tensor};

/// What a test returns.
pub type Outcome = Result<(), Box<dyn Error>>;

/// Greatest ‖a − b‖ / ‖b‖ of any site.
pub const TOLERANCE: f64 = 1e-4;

/// A path below `fixtures/`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// A JSON file below `fixtures/`.
pub fn json<T: serde::de::DeserializeOwned>(path: &str) -> Result<T, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(fixture(path))?)?)
}

/// Named tensors that PyTorch wrote.
pub struct Golden(BTreeMap<String, Tensor>);

impl Golden {
    /// Reads `fixtures/goldens/<file>`.
    pub fn open(file: &str) -> Result<Self, Box<dyn Error>> {
        let path = fixture("goldens").join(file);
        Ok(Self(WeightFile::open(&path)?.tensors()?))
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Result<&Tensor, Box<dyn Error>> {
        self.0.get(name).ok_or_else(|| format!("no golden tensor `{name}`").into())
    }

    /// Tensors whose name starts with `prefix`, without it, inputs left out.
    pub fn under(&self, prefix: &str) -> BTreeMap<String, &Tensor> {
        let site = |(name, x)| Some((str::strip_prefix(name, prefix)?.to_owned(), x));
        let named = self.0.iter().map(|(name, x)| (name.as_str(), x));
        named.filter_map(site).filter(|(name, _)| !name.starts_with("in.")).collect()
    }
}

/// The weights below `fixtures/`, as f32, and a place for the sites of what is built on them.
pub fn weights(path: &str) -> Result<(Store, RefCell<Sites>), Box<dyn Error>> {
    let file = WeightFile::open(&fixture(path))?;
    Ok((Store::from_file(&file, Kind::Float, Device::Cpu)?, RefCell::default()))
}

/// ‖a − b‖ / ‖b‖ in f64; infinite for tensors of different shapes, NaN for NaN.
pub fn relative_error(a: &Tensor, b: &Tensor) -> f64 {
    if a.size() != b.size() {
        return f64::INFINITY;
    }
    let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
    ((a - &b).norm() / b.norm()).double_value(&[])
}

/// Keeps every tensor it is shown, by site; where a site is passed often, all of them.
#[derive(Default)]
pub struct Everything(pub BTreeMap<String, Vec<Tensor>>);

impl Tap for Everything {
    fn selects(&self, _: &Site) -> bool {
        true
    }

    fn visit(&mut self, site: &Site, _: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        self.0.entry(site.name.clone()).or_default().push(x.copy());
        Ok(None)
    }
}

/// Errors by name, printed and judged together, so that one failure does not hide others.
pub struct Parity {
    title: String,
    rows: Vec<(String, f64)>,
}

impl Parity {
    /// An empty table.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    /// Adds a comparison.
    pub fn compare(&mut self, name: impl Into<String>, ours: &Tensor, golden: &Tensor) {
        self.record(name, relative_error(ours, golden));
    }

    /// Adds an error found elsewhere.
    pub fn record(&mut self, name: impl Into<String>, error: f64) {
        self.rows.push((name.into(), error));
    }

    /// Adds each golden tensor against what the tap saw; a site unknown to the crate fails.
    pub fn compare_sites(&mut self, seen: &Everything, golden: &BTreeMap<String, &Tensor>) {
        for (site, theirs) in golden {
            match seen.0.get(site).map(Vec::as_slice) {
                Some([ours]) => self.compare(site, ours, theirs),
                _ => self.rows.push((site.clone(), f64::INFINITY)),
            }
        }
    }

    /// Prints the table; an error that names what is over the tolerance.
    pub fn judge(self, tolerance: f64) -> Outcome {
        let worst = self.rows.iter().map(|row| row.1).fold(0.0, worse);
        println!("{}: {} comparisons, worst {worst:.1e}", self.title, self.rows.len());
        for (name, error) in &self.rows {
            println!("  {error:.1e}  {name}");
        }
        // A NaN is over every tolerance.
        let within = |error: f64| error <= tolerance;
        let failed: Vec<String> = (self.rows.iter().filter(|row| !within(row.1)))
            .map(|(name, error)| format!("{name}: {error:.1e}"))
            .collect();
        match (failed.is_empty(), self.rows.is_empty()) {
            (true, false) => Ok(()),
            (_, true) => Err(format!("{}: nothing was compared", self.title).into()),
            _ => {
                Err(format!("{}, over {tolerance:.0e}:\n{}", self.title, failed.join("\n")).into())
            }
        }
    }
}

/// The greater error, NaN above all.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}
