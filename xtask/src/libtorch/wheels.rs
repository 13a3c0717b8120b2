//! Gathers the wheels: files placed by hand first, the rest through pip.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Error, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use super::platform::{PYTHON_TAG, PYTHON_VERSION, Platform, Wheel};
use crate::python::Python;

/// Folder in the repository's root for wheels brought by hand.
pub const BY_HAND: &str = "libtorch-wheels";

const MEBIBYTE: u64 = 1 << 20;

/// Paths of all wheels of the platform, in its order, each checked. Downloads go to a folder
/// in `staging`.
pub fn gather(root: &Path, staging: &Path, platform: &Platform) -> Result<Vec<PathBuf>> {
    let by_hand = root.join(BY_HAND);
    let downloads = staging.join("wheels");
    let missing: Vec<_> =
        platform.wheels.iter().filter(|wheel| find(&by_hand, platform, wheel).is_none()).collect();
    if !missing.is_empty() {
        download(&missing, platform, staging, &downloads)
            .map_err(|why| unfetched(&why, &by_hand, &missing, platform))?;
    }
    let mut paths = Vec::new();
    for wheel in platform.wheels {
        let path = find(&by_hand, platform, wheel)
            .or_else(|| find(&downloads, platform, wheel))
            .with_context(|| format!("pip delivered no {}", wheel.file))
            .map_err(|why| unfetched(&why, &by_hand, &[wheel], platform))?;
        verify(wheel, &path)?;
        paths.push(path);
    }
    Ok(paths)
}

/// A file in `folder` that serves as the wheel, the pinned one before its variants.
fn find(folder: &Path, platform: &Platform, wheel: &Wheel) -> Option<PathBuf> {
    let pinned = folder.join(wheel.file);
    if pinned.is_file() {
        return Some(pinned);
    }
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut fitting: Vec<_> = entries
        .filter(|entry| platform.accepts(wheel, &entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    fitting.sort();
    fitting.pop()
}

fn download(missing: &[&Wheel], platform: &Platform, staging: &Path, into: &Path) -> Result<()> {
    let python = Python::find()?;
    let mut pip = python.pip()?;
    let bytes: u64 = missing.iter().map(|wheel| wheel.bytes).sum();
    eprintln!("downloading libtorch for {platform} ({} MiB) …", bytes.div_ceil(MEBIBYTE));
    // pip downloads into the temporary folder first; the system's may be too small for this.
    pip.args(pip_arguments(missing, platform)).arg("--dest").arg(into).env("TMPDIR", staging);
    let status = run(&mut pip)?;
    if !status {
        bail!("pip could not download it (pip's own message is above)");
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<bool> {
    Ok(command.status().context("could not start pip")?.success())
}

/// Arguments that make pip fetch just these files, whatever Python and machine it runs on.
fn pip_arguments(wheels: &[&Wheel], platform: &Platform) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["download", "--no-deps", "--only-binary=:all:", "--implementation", "cp"]
            .map(Into::into)
            .into();
    arguments.extend(["--python-version".into(), PYTHON_VERSION.into()]);
    for abi in [PYTHON_TAG, "none"] {
        arguments.extend(["--abi".into(), abi.into()]);
    }
    for name in platform.pip_platforms {
        arguments.extend(["--platform".into(), (*name).into()]);
    }
    arguments.extend(wheels.iter().map(|wheel| format!("{}=={}", wheel.project, wheel.version)));
    arguments
}

/// What went wrong, and what to do without a network.
fn unfetched(why: &Error, by_hand: &Path, missing: &[&Wheel], platform: &Platform) -> Error {
    let files: Vec<_> = missing
        .iter()
        .map(|wheel| format!("  {} ({} MiB)", wheel.file, wheel.bytes.div_ceil(MEBIBYTE)))
        .collect();
    anyhow!(
        "libtorch is not there and could not be fetched: {why:#}.\n\
         Without a network, place these files in {folder} and run the same command again:\n\
         {files}\n\
         Where there is a network, this fetches them into the current folder:\n  \
         python3 -m pip {arguments}\n\
         (a browser finds them among the files of torch {version} at the Python Package Index).\n\
         Or set LIBTORCH to an unpacked libtorch {version}; or, where Python has \
         torch {version}, run `cargo xtask setup --libtorch python`.",
        folder = by_hand.display(),
        files = files.join("\n"),
        arguments = pip_arguments(missing, platform).join(" "),
        version = super::VERSION,
    )
}

/// Checks the digest. A variant of the pinned file has none to compare; the assembly still
/// checks the sum of every file inside.
fn verify(wheel: &Wheel, path: &Path) -> Result<()> {
    if path.file_name().is_none_or(|name| name != wheel.file) {
        return Ok(());
    }
    let found = sha256(path).with_context(|| format!("cannot read {}", path.display()))?;
    if found != wheel.sha256 {
        bail!(
            "{} is damaged or not the published file: its SHA-256 is {found}, expected {}. \
             Remove it and run the command again.",
            path.display(),
            wheel.sha256
        );
    }
    Ok(())
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(path)?, &mut digest)?;
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::platform::PLATFORMS;

    #[test]
    fn a_digest_is_that_of_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        // The first example of FIPS 180-4.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), expected);
    }

    #[test]
    fn a_truncated_wheel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = &PLATFORMS[0].wheels[0];
        let path = folder.path().join(wheel.file);
        fs::write(&path, "PK").unwrap();
        let error = verify(wheel, &path).unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains(wheel.sha256), "{error}");
    }

    #[test]
    fn the_pinned_file_is_preferred_to_its_variants() {
        let folder = tempfile::tempdir().unwrap();
        let (platform, wheel) = (&PLATFORMS[0], &PLATFORMS[0].wheels[0]);
        assert_eq!(find(folder.path(), platform, wheel), None);
        let variant = folder.path().join("torch-2.11.0+cpu-cp314-cp314-manylinux_2_28_x86_64.whl");
        fs::write(&variant, "").unwrap();
        assert_eq!(find(folder.path(), platform, wheel), Some(variant));
        let pinned = folder.path().join(wheel.file);
        fs::write(&pinned, "").unwrap();
        assert_eq!(find(folder.path(), platform, wheel), Some(pinned));
    }

    #[test]
    fn the_advice_names_every_missing_file_and_the_place() {
        for platform in PLATFORMS {
            let missing: Vec<_> = platform.wheels.iter().collect();
            let folder = Path::new("/checkout/libtorch-wheels");
            let text = unfetched(&anyhow!("no route"), folder, &missing, platform).to_string();
            assert!(text.contains("could not be fetched: no route."), "{text}");
            assert!(text.contains("/checkout/libtorch-wheels"), "{text}");
            for wheel in platform.wheels {
                assert!(text.contains(wheel.file), "{text}");
                assert!(text.contains(&format!("{}=={}", wheel.project, wheel.version)), "{text}");
            }
        }
    }
}
