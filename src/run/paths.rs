//! Paths inside a run: relative, forward slashes, plain names.

use std::fs;
use std::path::{Path, PathBuf};

use super::RunError;

/// `relative` below `root`, if it cannot lead out of it on any system.
///
/// Backslashes and colons are refused everywhere, since a run may be opened on Windows.
pub(super) fn inside(root: &Path, relative: &str) -> Result<PathBuf, RunError> {
    let plain = |name: &str| {
        !name.is_empty() && name != "." && name != ".." && !name.contains(['\\', ':', '\0'])
    };
    if relative.split('/').all(plain) {
        Ok(relative.split('/').fold(root.to_owned(), |path, name| path.join(name)))
    } else {
        Err(RunError::Escapes { path: relative.to_owned() })
    }
}

/// All files below `root` as sorted relative paths; hidden ones at the top are left out.
pub(super) fn list_files(root: &Path) -> Result<Vec<String>, RunError> {
    let mut files = Vec::new();
    collect(root, "", &mut files)?;
    files.sort_unstable();
    Ok(files)
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<String>) -> Result<(), RunError> {
    let read = || RunError::io("list", folder);
    for entry in fs::read_dir(folder).map_err(read())? {
        let entry = entry.map_err(read())?;
        let name = entry.file_name().into_string().map_err(|name| RunError::Escapes {
            path: format!("{prefix}{}", name.to_string_lossy()),
        })?;
        if prefix.is_empty() && name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(read())?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), files)?;
        } else if kind.is_file() {
            files.push(format!("{prefix}{name}"));
        } else {
            return Err(RunError::NotPlainFile { path: entry.path() });
        }
    }
    Ok(())
}
