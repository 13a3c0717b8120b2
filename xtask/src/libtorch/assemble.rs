//! Puts a slim libtorch for the CPU together from wheels.
//!
//! A wheel of torch holds the libraries for the GPU and for Python too. Taken are the ones
//! for the CPU, with everything that those need, found by following the libraries' own lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use zip::ZipArchive;

use super::folder::MARKER;
use super::platform::Platform;
use super::{VERSION, elf};

/// Beginnings of the names of libraries that the system brings.
const OF_THE_SYSTEM: [&str; 10] = [
    "libc.so.",
    "libm.so.",
    "libdl.so.",
    "librt.so.",
    "libpthread.so.",
    "libutil.so.",
    "libgcc_s.so.",
    "libstdc++.so.",
    "ld-linux",
    "linux-vdso.so.",
];

/// Stands in for the published `libtorch.so`, which would pull in the GPU's libraries
/// (0.4 GB): the linker reads this text and links the two for the CPU.
const LINKER_SCRIPT: &str = "INPUT(AS_NEEDED(libtorch_cpu.so libc10.so))\n";

/// Builds the folder `into` from the wheels of a platform.
pub fn assemble(wheels: &[PathBuf], platform: &Platform, into: &Path) -> Result<()> {
    let libraries = into.join("lib");
    fs::create_dir_all(&libraries)
        .with_context(|| format!("cannot make {}", libraries.display()))?;
    let mut archives = wheels.iter().map(|path| Archive::open(path)).collect::<Result<Vec<_>>>()?;
    for archive in &mut archives {
        archive.extract_headers(into)?;
    }
    extract_libraries(&mut archives, platform, &libraries)?;
    write(&into.join("build-version"), &format!("{VERSION}\n"))?;
    let names = wheels.iter().filter_map(|path| path.file_name());
    let origin: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    write(&into.join(MARKER), &format!("by `cargo xtask setup` from\n{}\n", origin.join("\n")))
}

/// Extracts the platform's libraries and, on Linux, whatever these need in turn.
fn extract_libraries(archives: &mut [Archive], platform: &Platform, into: &Path) -> Result<()> {
    let mut done = BTreeSet::new();
    let mut todo: Vec<_> = platform.libraries.iter().map(ToString::to_string).collect();
    while let Some(name) = todo.pop() {
        if !done.insert(name.clone()) {
            continue;
        }
        let archive = archives.iter_mut().find(|archive| archive.libraries.contains_key(&name));
        let archive = archive.with_context(|| {
            format!("no wheel holds {name}, which libtorch for {platform} needs")
        })?;
        let path = into.join(&name);
        archive.extract_library(&name, &path)?;
        if platform.os == "linux" {
            let needed = elf::needed(&path)?;
            todo.extend(needed.into_iter().filter(|name| !is_of_the_system(name)));
        }
    }
    if platform.os == "linux" {
        write(&into.join("libtorch.so"), LINKER_SCRIPT)?;
    }
    Ok(())
}

fn is_of_the_system(name: &str) -> bool {
    OF_THE_SYSTEM.iter().any(|start| name.starts_with(start))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// An open wheel.
struct Archive {
    path: PathBuf,
    zip: ZipArchive<File>,
    /// Names in the archive, by the file name of the library.
    libraries: BTreeMap<String, String>,
}

impl Archive {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let zip = ZipArchive::new(file)
            .with_context(|| format!("{} is no whole wheel", path.display()))?;
        let libraries = zip
            .file_names()
            .filter_map(|name| Some((library_name(name)?.to_owned(), name.to_owned())))
            .collect();
        Ok(Self { path: path.to_owned(), zip, libraries })
    }

    fn extract_headers(&mut self, into: &Path) -> Result<()> {
        let names: Vec<_> = self
            .zip
            .file_names()
            .filter(|name| name.starts_with("torch/include/") && !name.ends_with('/'))
            .map(str::to_owned)
            .collect();
        names.iter().try_for_each(|name| {
            let relative = name.strip_prefix("torch/").unwrap_or(name);
            self.extract(name, &into.join(relative))
        })
    }

    fn extract_library(&mut self, library: &str, to: &Path) -> Result<()> {
        let name = self.libraries.get(library).cloned().unwrap_or_default();
        self.extract(&name, to)
    }

    /// Unpacks one file. Its checksum and length are compared while it is read.
    fn extract(&mut self, name: &str, to: &Path) -> Result<()> {
        let context = || format!("cannot unpack {name} of {}", self.path.display());
        let mut entry = self.zip.by_name(name).with_context(context)?;
        if entry.enclosed_name().is_none() {
            bail!("{} holds a file that would land outside: {name}", self.path.display());
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(context)?;
        }
        let mut file = File::create(to).with_context(context)?;
        let copied = io::copy(&mut entry, &mut file).with_context(context)?;
        if copied != entry.size() {
            bail!("{}: {copied} bytes instead of {}", context(), entry.size());
        }
        Ok(())
    }
}

/// The file name, if it is a library in one of the folders where wheels keep them.
fn library_name(path: &str) -> Option<&str> {
    let (folder, name) = path.rsplit_once('/')?;
    let is_place =
        folder == "torch/lib" || folder.starts_with("nvidia/") && folder.ends_with("/lib");
    let is_library = name.contains(".so") || name.ends_with(".dylib");
    (is_place && is_library).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::elf::tests::library;
    use super::super::folder;
    use super::super::platform::PLATFORMS;
    use super::*;
    use std::io::Write;
    use zip::ZipWriter;
    use zip::write::FileOptions;

    const HEADER: (&str, &[u8]) = ("torch/include/torch/csrc/api/include/torch/torch.h", b"//");

    fn wheel(folder: &Path, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.join(name);
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, content) in files {
            zip.start_file(*name, FileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    fn linux() -> &'static Platform {
        PLATFORMS.iter().find(|platform| platform.os == "linux").unwrap()
    }

    fn torch_files() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            (HEADER.0, HEADER.1.to_vec()),
            ("torch/lib/libtorch_cpu.so", library(&["libc10.so", "libcudart.so.13", "libm.so.6"])),
            ("torch/lib/libc10.so", library(&["libgomp.so.1", "libstdc++.so.6"])),
            ("torch/lib/libgomp.so.1", library(&["libc.so.6", "ld-linux-x86-64.so.2"])),
            ("torch/lib/libtorch_cuda.so", library(&["libcudnn.so.9"])),
            ("torch/nn/functional.py", b"pass".to_vec()),
        ]
    }

    fn slices<'a>(files: &'a [(&'a str, Vec<u8>)]) -> Vec<(&'a str, &'a [u8])> {
        files.iter().map(|(name, content)| (*name, content.as_slice())).collect()
    }

    #[test]
    fn the_libraries_that_are_needed_are_taken_and_no_others() {
        let temporary = tempfile::tempdir().unwrap();
        let torch = wheel(temporary.path(), "torch.whl", &slices(&torch_files()));
        let cudart = library(&["libc.so.6"]);
        let files = [("nvidia/cu13/lib/libcudart.so.13", &cudart[..])];
        let cuda = wheel(temporary.path(), "cuda.whl", &files);
        let into = temporary.path().join("libtorch");
        assemble(&[torch, cuda], linux(), &into).unwrap();
        let found: BTreeSet<_> = fs::read_dir(into.join("lib"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected =
            ["libc10.so", "libcudart.so.13", "libgomp.so.1", "libtorch.so", "libtorch_cpu.so"];
        assert_eq!(found, expected.map(str::to_owned).into());
        assert_eq!(fs::read(into.join("lib/libcudart.so.13")).unwrap(), cudart);
        assert!(!into.join("nn").exists());
        folder::check(&into).unwrap();
    }

    #[test]
    fn a_library_that_no_wheel_holds_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let torch = wheel(temporary.path(), "torch.whl", &slices(&torch_files()));
        let into = temporary.path().join("libtorch");
        let error = assemble(&[torch], linux(), &into).unwrap_err().to_string();
        assert!(error.contains("libcudart.so.13"), "{error}");
        assert!(!into.join(MARKER).exists());
    }

    #[test]
    fn a_damaged_wheel_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let torch = wheel(temporary.path(), "torch.whl", &slices(&torch_files()));
        let whole = fs::read(&torch).unwrap();
        fs::write(&torch, &whole[..whole.len() / 2]).unwrap();
        let error = assemble(&[torch], linux(), &temporary.path().join("a")).unwrap_err();
        assert!(error.to_string().contains("no whole wheel"), "{error}");
    }

    #[test]
    fn only_the_folders_of_libraries_are_looked_at() {
        assert_eq!(library_name("torch/lib/libc10.so"), Some("libc10.so"));
        assert_eq!(library_name("nvidia/cu13/lib/libcupti.so.13"), Some("libcupti.so.13"));
        assert_eq!(library_name("torch/lib/libomp.dylib"), Some("libomp.dylib"));
        assert_eq!(library_name("torch/bin/libc10.so"), None);
        assert_eq!(library_name("torch/lib/"), None);
    }
}
