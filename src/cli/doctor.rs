//! `probe doctor`: what is needed, whether it is there, how to get it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::output::{FormatArgs, note};
use crate::figure::{self, Axis, Curve, CurveChart, CurvePoint, Figure};
use crate::suite::ocr::{REMEDY, Tesseract};
use crate::table::{self, DoctorRow};

const EXAMPLES: &str = "\
Exit code 0: all that is needed is there; 1: something is missing.

Examples:
  probe doctor
  probe doctor --out /data/runs --format json";

/// Check what denoscope needs: libtorch, devices, fonts, disk.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Folder for runs, to be checked for writing and space
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
}

/// Exit code where something needed is missing.
const SOMETHING_MISSING: u8 = 1;

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    let mut findings = vec![Finding::there("denoscope", env!("CARGO_PKG_VERSION").to_owned())];
    findings.extend(torch::findings());
    findings.extend([processor(), threads(), font(), output_folder(&args.out), space(&args.out)]);
    findings.extend([terminal(), reader_of_letters()]);
    let missing: Vec<&str> =
        findings.iter().filter(|f| f.status == Status::Missing).map(|f| f.check).collect();
    let code = if missing.is_empty() { 0 } else { SOMETHING_MISSING };
    if !missing.is_empty() {
        note(&format!("missing: {}", missing.join(", ")));
    }
    args.format.print(&table::frame(findings.into_iter().map(Finding::row))?)?;
    Ok(code)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Found,
    /// Not there, and needed.
    Missing,
    /// Not there, and not needed.
    Absent,
}

struct Finding {
    check: &'static str,
    status: Status,
    found: String,
    remedy: Option<String>,
}

impl Finding {
    fn there(check: &'static str, found: String) -> Self {
        Self { check, status: Status::Found, found, remedy: None }
    }

    fn missing(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Self { check, status: Status::Missing, found, remedy }
    }

    fn absent(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Absent, ..Self::missing(check, found, remedy) }
    }

    fn row(self) -> DoctorRow {
        let status = match self.status {
            Status::Found => "found",
            Status::Missing => "missing",
            Status::Absent => "absent",
        };
        DoctorRow {
            check: self.check.to_owned(),
            status: status.to_owned(),
            found: self.found,
            remedy: self.remedy,
        }
    }
}

/// Whether the processor multiplies bf16 in hardware.
pub(super) fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("bf16")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

fn processor() -> Finding {
    let check = "bf16 on the processor";
    if has_bf16() {
        return Finding::there(check, "products in hardware".into());
    }
    Finding::absent(check, "none in hardware", "use --dtype f32 (the default) on this processor")
}

fn reader_of_letters() -> Finding {
    let check = "tesseract, for probe failures --judge ocr";
    match Tesseract::find() {
        Ok(found) => Finding::there(check, found.version()),
        Err(error) => Finding::absent(check, error.problem, REMEDY),
    }
}

fn threads() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rayon = rayon::current_num_threads();
    Finding::there("threads", format!("{cores} processors{}; {rayon} for images", torch::threads()))
}

/// Draws a figure with text: that needs the built-in font.
fn font() -> Finding {
    let check = "figure font";
    let point = |x, y| CurvePoint { x, y, interval: None };
    let chart = CurveChart {
        title: "Text".into(),
        x: Axis::new("timestep"),
        y: Axis::new("share"),
        curves: vec![Curve {
            name: "ᾱ".into(),
            points: vec![point(0.0, 1.0), point(1.0, 0.0)],
            control: false,
        }],
        reference: None,
    };
    match chart.png(figure::NARROW) {
        Ok(png) => Finding::there(check, format!("built in; drew a PNG of {} bytes", png.len())),
        Err(error) => Finding::missing(check, error.to_string(), "rebuild denoscope"),
    }
}

/// The folder itself, or the nearest one above it that is there.
fn existing(folder: &Path) -> PathBuf {
    let here = || PathBuf::from(".");
    let there = folder.ancestors().find(|path| path.is_dir()).map_or_else(here, Path::to_owned);
    if there.as_os_str().is_empty() { here() } else { there }
}

fn output_folder(out: &Path) -> Finding {
    let check = "output folder";
    let (folder, remedy) = (existing(out), "choose a folder you may write to with --out DIR");
    match tempfile::NamedTempFile::new_in(&folder) {
        Ok(_) if out.exists() && !out.is_dir() => {
            Finding::missing(check, format!("{} is a file", out.display()), remedy)
        }
        Ok(_) => Finding::there(check, format!("{} can be written", out.display())),
        Err(error) => Finding::missing(check, error.to_string(), remedy),
    }
}

/// Below this the next runs may not fit.
const SPACE_WANTED: u64 = 100_000_000;

fn space(out: &Path) -> Finding {
    let check = "free space";
    let Some(bytes) = free_bytes(&existing(out)) else {
        return Finding::absent(check, "could not be asked (`df`)", "look yourself");
    };
    let found = format!("{} on the disk of {}", indicatif::DecimalBytes(bytes), out.display());
    if bytes < SPACE_WANTED {
        return Finding::missing(
            check,
            found,
            "free some space, or choose another disk with --out",
        );
    }
    Finding::there(check, found)
}

/// Free bytes on a folder's disk, as POSIX `df` counts them.
fn free_bytes(folder: &Path) -> Option<u64> {
    const AVAILABLE: usize = 3;
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kibibytes: u64 = text.lines().nth(1)?.split_whitespace().nth(AVAILABLE)?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn terminal() -> Finding {
    let of = |is: bool| if is { "a terminal" } else { "a file or a pipe" };
    let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
    let kind = std::env::var("TERM").unwrap_or_else(|_| "unknown".into());
    let bars = if err { "progress bars are shown" } else { "no progress bars" };
    let found = format!("TERM {kind}; stdout is {}, stderr {}: {bars}", of(out), of(err));
    Finding::there("terminal", found)
}

#[cfg(not(feature = "torch"))]
mod torch {
    use super::Finding;

    pub(super) fn findings() -> Vec<Finding> {
        let remedy = "build with the feature `torch` to run models";
        vec![Finding::absent("libtorch", "this program was built without it", remedy)]
    }

    pub(super) fn threads() -> String {
        String::new()
    }
}

#[cfg(feature = "torch")]
mod torch {
    use std::path::{Path, PathBuf};

    use indicatif::DecimalBytes;

    use super::Finding;
    use crate::cli::models::built_in_bytes;
    use crate::{LIBTORCH_VERSION, TCH_VERSION};

    pub(super) fn findings() -> Vec<Finding> {
        let tch = Finding::there("tch", TCH_VERSION.to_owned());
        vec![libtorch(), tch, cuda(), built_in_model()]
    }

    pub(super) fn threads() -> String {
        format!("; {} for tensors", tch::get_num_threads())
    }

    fn libtorch() -> Finding {
        let check = "libtorch";
        let Some(file) = loaded("libtorch_cpu") else {
            // Linked and running, or we would not be here; only where it lies is unknown.
            return Finding::there(check, format!("{LIBTORCH_VERSION} expected; loaded"));
        };
        let version = version_beside(&file);
        let at = file.display();
        match version {
            Some(version) if version.starts_with(LIBTORCH_VERSION) => {
                Finding::there(check, format!("{version} at {at}"))
            }
            Some(version) => Finding::missing(
                check,
                format!("{version} at {at}"),
                format!(
                    "this denoscope is made for {LIBTORCH_VERSION}: set LIBTORCH to that version \
                     and build again"
                ),
            ),
            None => Finding::there(check, format!("at {at}; no version file beside it")),
        }
    }

    /// The file of a loaded library whose name begins so; only Linux tells.
    fn loaded(name: &str) -> Option<PathBuf> {
        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        let paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
        let named = |path: &&Path| {
            path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
        };
        paths.into_iter().find(named).map(Path::to_owned)
    }

    /// What the folder above `lib/` says: `build-version` of a libtorch archive, or `version.py`
    /// of the Python package.
    fn version_beside(library: &Path) -> Option<String> {
        let root = library.parent()?.parent()?;
        if let Ok(text) = std::fs::read_to_string(root.join("build-version")) {
            return Some(text.trim().to_owned());
        }
        let text = std::fs::read_to_string(root.join("version.py")).ok()?;
        let line = text.lines().find(|line| line.starts_with("__version__ ="))?;
        line.split(['\'', '"']).nth(1).map(str::to_owned)
    }

    fn cuda() -> Finding {
        let check = "CUDA";
        if tch::Cuda::is_available() {
            return Finding::there(check, format!("{} devices", tch::Cuda::device_count()));
        }
        let (found, remedy) = if tch::utils::has_cuda() {
            ("in this libtorch, but no device", "check the driver with `nvidia-smi`")
        } else {
            (
                "not in this libtorch",
                "on a machine with an NVIDIA GPU: install the Python torch of this version and \
                 set up again with `--libtorch python`",
            )
        };
        Finding::absent(check, found, remedy)
    }

    fn built_in_model() -> Finding {
        let check = "built-in model";
        match built_in_bytes() {
            Ok(bytes) => Finding::there(check, format!("shapes, {}", DecimalBytes(bytes))),
            Err(error) => Finding::missing(
                check,
                error.to_string(),
                "build from a checkout that has fixtures/shapes/, or name a model with --model DIR",
            ),
        }
    }
}
