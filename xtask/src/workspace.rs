//! Where things are in this repository, and how cargo is called from inside cargo.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Variables that `cargo run` sets for this process alone. Handed on, they would describe the
/// wrong package.
const OF_THIS_PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// This checkout.
pub struct Workspace {
    root: PathBuf,
    release: PathBuf,
}

impl Workspace {
    /// Finds the checkout that cargo runs this program for.
    pub fn locate() -> Result<Self> {
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().context("the xtask package lies in no folder")?;
        let program = env::current_exe().context("cannot tell where xtask itself lies")?;
        // Two up from target/<profile>/xtask; this respects every way to move `target`.
        let target = program.ancestors().nth(2).context("xtask lies in no target folder")?;
        Ok(Self { root: root.to_owned(), release: target.join("release") })
    }

    /// The repository's root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where release builds land.
    pub fn release(&self) -> &Path {
        &self.release
    }

    /// A folder for what can be made again at any time; `cargo clean` empties it.
    pub fn target(&self) -> &Path {
        self.release.parent().unwrap_or(&self.root)
    }

    /// The libtorch of this checkout, there or not.
    pub fn libtorch(&self) -> PathBuf {
        self.root.join("libtorch")
    }

    /// LIBTORCH as the user set it, made absolute; none if it only comes from
    /// `.cargo/config.toml`.
    pub fn libtorch_of_user(&self) -> Option<PathBuf> {
        set_by_user(env::var_os("LIBTORCH"), &self.libtorch())
    }

    /// A cargo command that behaves as if typed in the root folder.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        self.forget_cargo(&mut command);
        match self.libtorch_of_user() {
            Some(folder) => command.env("LIBTORCH", folder),
            // The configuration sets it again. Build scripts must see the same from here as
            // from a plain `cargo build`, or each would undo the other's work.
            None => command.env_remove("LIBTORCH"),
        };
        command
    }

    /// Takes away from a command what `cargo run` told this process about the xtask package.
    pub fn forget_cargo(&self, command: &mut Command) {
        for (name, _) in env::vars_os() {
            if OF_THIS_PACKAGE.iter().any(|start| name.to_string_lossy().starts_with(start)) {
                command.env_remove(name);
            }
        }
    }
}

/// The folder that `value` names, unless it is empty or the default one.
fn set_by_user(value: Option<OsString>, default: &Path) -> Option<PathBuf> {
    let value = PathBuf::from(value.filter(|value| !value.is_empty())?);
    let value = std::path::absolute(&value).unwrap_or(value);
    (without_links(&value) != without_links(default)).then_some(value)
}

/// The path with its parent resolved. The folder itself may be a link, or not exist.
fn without_links(path: &Path) -> PathBuf {
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_from_the_configuration_is_not_the_users() {
        let root = tempfile::tempdir().unwrap();
        let default = root.path().join("libtorch");
        assert_eq!(set_by_user(None, &default), None);
        assert_eq!(set_by_user(Some("".into()), &default), None);
        assert_eq!(set_by_user(Some(default.clone().into()), &default), None);
        let detour = root.path().join(".").join("libtorch");
        assert_eq!(set_by_user(Some(detour.into()), &default), None);
        let other = PathBuf::from("/opt/libtorch");
        assert_eq!(set_by_user(Some(other.clone().into()), &default), Some(other));
    }

    #[test]
    fn a_relative_libtorch_counts_from_the_callers_folder() {
        let here = env::current_dir().unwrap();
        let found = set_by_user(Some("torch".into()), Path::new("/elsewhere/libtorch"));
        assert_eq!(found, Some(here.join("torch")));
    }
}
