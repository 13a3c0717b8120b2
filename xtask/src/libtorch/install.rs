//! Brings a finished libtorch to its place, all at once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// Beginnings of the names of folders in the root that only live while this program runs.
const PARTIAL: &str = "libtorch.partial-";
const OLD: &str = "libtorch.old-";

/// A folder beside `libtorch/` for work in progress, removed when dropped. If the process is
/// killed it stays, under a name that nothing takes for finished, until the next [`sweep`].
pub struct Staging {
    path: PathBuf,
}

impl Staging {
    /// Makes the folder.
    pub fn new(root: &Path) -> Result<Self> {
        let path = root.join(format!("{PARTIAL}{}", process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // If this fails, the next sweep tries again and reports.
        let _ = remove(&self.path);
    }
}

/// Removes what killed processes left behind. The caller holds the lock. What cannot be
/// removed is named and does no harm.
pub fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if (name.starts_with(PARTIAL) || name.starts_with(OLD))
            && let Err(error) = remove(&entry.path())
        {
            eprintln!("note: could not remove {}: {error}", entry.path().display());
        }
    }
}

/// Makes `libtorch` a link to the folder of a Python torch.
pub fn link(workspace: &Workspace, torch: &Path) -> Result<()> {
    if fs::read_link(workspace.libtorch()).is_ok_and(|target| target == torch) {
        return Ok(());
    }
    let staging = Staging::new(workspace.root())?;
    let link = staging.path().join("libtorch");
    symlink(torch, &link).with_context(|| format!("cannot make the link {}", link.display()))?;
    put_in_place(workspace, &link)
}

/// Renames `finished` to `libtorch`, in place of what is there.
pub fn put_in_place(workspace: &Workspace, finished: &Path) -> Result<()> {
    replace(&workspace.libtorch(), finished)?;
    forget_builds(workspace)
}

fn replace(place: &Path, finished: &Path) -> Result<()> {
    let old = place.with_file_name(format!("{OLD}{}", process::id()));
    let had_one = fs::symlink_metadata(place).is_ok();
    if had_one {
        fs::rename(place, &old).with_context(|| format!("cannot move {}", place.display()))?;
    }
    if let Err(error) = fs::rename(finished, place) {
        if had_one {
            // Best effort: the first error is the one to report.
            let _ = fs::rename(&old, place);
        }
        return Err(error).with_context(|| format!("cannot put {} in place", place.display()));
    }
    if had_one {
        remove(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    Ok(())
}

/// Has torch-sys built anew. Its build script looks at the path of libtorch and not at what
/// lies there, so it would go on linking the libraries of the one before.
fn forget_builds(workspace: &Workspace) -> Result<()> {
    for profile in ["dev", "release"] {
        let mut clean = workspace.cargo();
        clean.args(["clean", "--quiet", "--package", "torch-sys", "--profile", profile]);
        clean.stdin(Stdio::null()).stdout(Stdio::null());
        clean.status().context("could not start cargo")?;
    }
    Ok(())
}

/// Removes a folder with all in it, or a link without what it leads to.
fn remove(path: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_progress_goes_when_dropped_and_leaves_the_finished() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("libtorch");
        let staging = Staging::new(root.path()).unwrap();
        let finished = staging.path().join("libtorch");
        fs::create_dir(&finished).unwrap();
        fs::write(finished.join("new"), "").unwrap();
        replace(&place, &finished).unwrap();
        let path = staging.path().to_owned();
        drop(staging);
        assert!(!path.exists());
        assert!(place.join("new").exists());
    }

    #[test]
    fn a_link_is_replaced_and_its_target_stays() {
        let root = tempfile::tempdir().unwrap();
        let (place, torch) = (root.path().join("libtorch"), root.path().join("torch"));
        fs::create_dir(&torch).unwrap();
        fs::write(torch.join("theirs"), "").unwrap();
        symlink(&torch, &place).unwrap();
        let finished = root.path().join("finished");
        fs::create_dir(&finished).unwrap();
        replace(&place, &finished).unwrap();
        assert!(!fs::symlink_metadata(&place).unwrap().is_symlink());
        assert!(torch.join("theirs").exists());
    }

    #[test]
    fn the_sweep_takes_leftovers_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let names = ["libtorch.partial-1", "libtorch.old-2", "libtorch", "libtorch-wheels", "src"];
        for name in names {
            fs::create_dir_all(root.path().join(name).join("inner")).unwrap();
        }
        sweep(root.path());
        let left = names.map(|name| root.path().join(name).exists());
        assert_eq!(left, [false, false, true, true, true]);
    }

    #[test]
    fn a_failed_replacement_keeps_the_old() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("libtorch");
        fs::create_dir(&place).unwrap();
        assert!(replace(&place, &root.path().join("nothing")).is_err());
        assert!(place.exists());
    }
}
