//! Which PyTorch a folder holds.

use std::fs;
use std::path::Path;

/// The version of the libtorch in `folder`, without its local part (`+cu130`), or none if no
/// file tells. A downloaded libtorch has `build-version`, a Python torch `version.py`, and
/// either has the header.
pub fn of(folder: &Path) -> Option<String> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    read("build-version")
        .and_then(|text| public_part(&text))
        .or_else(|| read("version.py").and_then(|text| from_python(&text)))
        .or_else(|| read("include/torch/headeronly/version.h").and_then(|text| from_header(&text)))
}

/// `2.11.0` of `2.11.0+cu130`.
fn public_part(version: &str) -> Option<String> {
    let version = version.trim().split('+').next()?;
    let is_number = version.starts_with(|c: char| c.is_ascii_digit());
    is_number.then(|| version.to_owned())
}

/// From `__version__ = '2.11.0+cu130'`.
fn from_python(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("__version__"))?;
    let value = line.split('=').nth(1)?.trim();
    public_part(value.trim_matches(['\'', '"']))
}

/// From `#define TORCH_VERSION_MAJOR 2` and kin.
fn from_header(text: &str) -> Option<String> {
    let number = |name: &str| {
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let is_it = words.next() == Some("#define") && words.next() == Some(name);
            is_it.then(|| words.next()).flatten()?.parse::<u32>().ok()
        })
    };
    let major = number("TORCH_VERSION_MAJOR")?;
    let minor = number("TORCH_VERSION_MINOR")?;
    let patch = number("TORCH_VERSION_PATCH")?;
    Some(format!("{major}.{minor}.{patch}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "\
#pragma once
/// Indicates the major version of LibTorch.
#define TORCH_VERSION_MAJOR 2
#define TORCH_VERSION_MINOR 11
#define TORCH_VERSION_PATCH 0
#define TORCH_VERSION_ABI_TAG 0
";
    const PYTHON: &str = "\
from typing import Optional
__all__ = ['__version__', 'debug', 'cuda']
__version__ = '2.11.0+cu130'
debug = False
";

    #[test]
    fn each_kind_of_file_is_read() {
        let cases = [
            ("build-version", "2.11.0+cpu\n"),
            ("version.py", PYTHON),
            ("include/torch/headeronly/version.h", HEADER),
        ];
        for (name, text) in cases {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            assert_eq!(of(folder.path()).as_deref(), Some("2.11.0"), "{name}");
        }
    }

    #[test]
    fn a_file_that_tells_nothing_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of(folder.path()), None);
        fs::write(folder.path().join("build-version"), "").unwrap();
        fs::write(folder.path().join("version.py"), "__version__ = '2.9.1'\n").unwrap();
        assert_eq!(of(folder.path()).as_deref(), Some("2.9.1"));
        assert_eq!(from_header("#define TORCH_VERSION_MAJOR 2\n"), None);
        assert_eq!(from_python("debug = False\n"), None);
    }
}
