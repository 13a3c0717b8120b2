//! Whether a folder is a whole libtorch of the right version.

use std::fs;
use std::path::Path;

use super::{VERSION, version};

/// Written last into a folder that this program assembled. A folder without it was made by
/// somebody else.
pub const MARKER: &str = "ASSEMBLED";

/// A header that only a libtorch with the C++ interface has.
const HEADER: &str = "include/torch/csrc/api/include/torch/torch.h";

/// How the libraries' file names end.
pub const LIBRARY_ENDING: &str = if cfg!(target_os = "macos") { "dylib" } else { "so" };

/// Libraries that the linker is told to link.
const LIBRARIES: [&str; 3] = ["libtorch", "libtorch_cpu", "libc10"];

/// What lies at the place of `libtorch/`.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Absent,
    /// A whole libtorch of the right version.
    Usable { is_link: bool, is_ours: bool },
    /// Something else.
    Unusable { is_link: bool, is_ours: bool, why: String },
}

impl State {
    /// Looks at the folder.
    pub fn of(folder: &Path) -> Self {
        let Ok(metadata) = fs::symlink_metadata(folder) else { return Self::Absent };
        let is_link = metadata.is_symlink();
        let is_ours = is_link || folder.join(MARKER).exists();
        match check(folder) {
            Ok(()) => Self::Usable { is_link, is_ours },
            Err(why) => Self::Unusable { is_link, is_ours, why },
        }
    }
}

/// Checks that the folder holds a whole libtorch of the right version, or says why not.
pub fn check(folder: &Path) -> Result<(), String> {
    if !folder.is_dir() {
        return Err("there is no such folder".into());
    }
    match version::of(folder) {
        Some(found) if found == VERSION => {}
        Some(found) => return Err(format!("it holds PyTorch {found}, and {VERSION} is needed")),
        None => return Err("no file in it tells its version, so it is no whole libtorch".into()),
    }
    let libraries = LIBRARIES.iter().map(|name| format!("lib/{name}.{LIBRARY_ENDING}"));
    for file in libraries.chain([HEADER.to_owned()]) {
        if fs::metadata(folder.join(&file)).map_or(0, |file| file.len()) == 0 {
            return Err(format!("its file {file} is missing or empty"));
        }
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Fills the folder with what a check looks for.
    pub fn make_whole(folder: &Path) {
        let libraries = LIBRARIES.map(|name| format!("lib/{name}.{LIBRARY_ENDING}"));
        for file in libraries.iter().map(String::as_str).chain([HEADER]) {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "content").unwrap();
        }
        fs::write(folder.join("build-version"), VERSION).unwrap();
    }

    #[test]
    fn a_whole_folder_is_usable_and_its_maker_is_known() {
        let folder = tempfile::tempdir().unwrap();
        make_whole(folder.path());
        assert_eq!(State::of(folder.path()), State::Usable { is_link: false, is_ours: false });
        fs::write(folder.path().join(MARKER), "").unwrap();
        assert_eq!(State::of(folder.path()), State::Usable { is_link: false, is_ours: true });
        assert_eq!(State::of(&folder.path().join("nothing")), State::Absent);
    }

    #[test]
    fn half_a_folder_is_not_usable() {
        for file in ["lib/libtorch_cpu", "lib/libc10", "lib/libtorch"] {
            let folder = tempfile::tempdir().unwrap();
            make_whole(folder.path());
            let path = folder.path().join(format!("{file}.{LIBRARY_ENDING}"));
            fs::write(&path, "").unwrap();
            assert!(check(folder.path()).unwrap_err().contains(file), "emptied {file}");
            fs::remove_file(&path).unwrap();
            assert!(check(folder.path()).unwrap_err().contains(file), "removed {file}");
        }
    }

    #[test]
    fn a_dangling_link_is_ours_and_unusable() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("libtorch");
        std::os::unix::fs::symlink(folder.path().join("gone"), &link).unwrap();
        let state = State::of(&link);
        assert!(matches!(state, State::Unusable { is_link: true, is_ours: true, .. }), "{state:?}");
    }

    #[test]
    fn another_version_is_named_with_the_right_one() {
        let folder = tempfile::tempdir().unwrap();
        make_whole(folder.path());
        fs::write(folder.path().join("build-version"), "2.10.0").unwrap();
        let why = check(folder.path()).unwrap_err();
        assert!(why.contains("2.10.0") && why.contains(VERSION), "{why}");
    }
}
