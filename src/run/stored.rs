use std::fs;
use std::path::{Path, PathBuf};

use super::folder::{INCOMPLETE_PREFIX, UNFINISHED_PREFIX, is_locked};
use super::manifest::{FileRecord, MANIFEST_FILE, MANIFEST_VERSION, Manifest};
use super::paths::inside;
use super::{AtomicFile, RunError, digest_bytes, digest_file};
use crate::suggest::nearest;

/// A finished run, opened for reading.
#[derive(Debug, Clone)]
pub struct StoredRun {
    root: PathBuf,
    manifest: Manifest,
}

/// How a file of a run differs from its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileProblem {
    /// It is not there.
    Missing {
        /// Its path in the run.
        path: String,
    },
    /// It is something else than a file, such as a link.
    NotPlainFile {
        /// Its path in the run.
        path: String,
    },
    /// Its content is not what was written.
    Changed {
        /// Its path in the run.
        path: String,
    },
}

impl StoredRun {
    /// Opens a run folder (or its `manifest.json`) and checks that every path in the manifest
    /// stays inside it. Files are not read yet: see [`StoredRun::verify`].
    ///
    /// # Errors
    /// [`RunError::NotARun`], [`RunError::Manifest`], [`RunError::ManifestVersion`],
    /// [`RunError::Escapes`], [`RunError::Io`].
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let root = folder_of(path)?;
        let file = root.join(MANIFEST_FILE);
        let text = fs::read(&file).map_err(RunError::io("read", &file))?;
        let manifest = decode(&file, &text)?;
        for record in &manifest.files {
            inside(&root, &record.path)?;
        }
        Ok(Self { root, manifest })
    }

    /// The run's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The run's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where a listed file is.
    ///
    /// # Errors
    /// [`RunError::Escapes`]; [`RunError::NoSuchFile`] when the manifest does not list it or it
    /// is gone; [`RunError::NotPlainFile`] when it is a link.
    pub fn file(&self, relative: &str) -> Result<PathBuf, RunError> {
        let path = inside(&self.root, relative)?;
        if !self.manifest.files.iter().any(|record| record.path == relative) {
            return Err(self.no_such_file(relative));
        }
        match plain_file(&self.root, relative) {
            Presence::Plain => Ok(path),
            Presence::Other => Err(RunError::NotPlainFile { path }),
            Presence::Missing => Err(self.no_such_file(relative)),
        }
    }

    /// Where a table is: `tables/<name>.parquet`.
    ///
    /// # Errors
    /// As [`StoredRun::file`].
    pub fn table(&self, name: &str) -> Result<PathBuf, RunError> {
        self.file(&format!("tables/{name}.parquet"))
    }

    /// Reads every file and compares it with the manifest. Files that are not listed are
    /// nobody's business.
    ///
    /// # Errors
    /// [`RunError::Io`] when a file that is there cannot be read.
    pub fn verify(&self) -> Result<Vec<FileProblem>, RunError> {
        let mut problems = Vec::new();
        for FileRecord { path, bytes, sha256 } in &self.manifest.files {
            let path = path.clone();
            match plain_file(&self.root, &path) {
                Presence::Missing => problems.push(FileProblem::Missing { path }),
                Presence::Other => problems.push(FileProblem::NotPlainFile { path }),
                Presence::Plain => {
                    let (digest, size) = digest_file(&inside(&self.root, &path)?)?;
                    if (&digest, size) != (sha256, *bytes) {
                        problems.push(FileProblem::Changed { path });
                    }
                }
            }
        }
        Ok(problems)
    }

    /// Replaces or adds a file, such as a report that was made again, and updates the manifest.
    /// Each of the two files is replaced as a whole.
    ///
    /// # Errors
    /// [`RunError::Escapes`], [`RunError::NotPlainFile`], [`RunError::Io`],
    /// [`RunError::Encode`].
    pub fn replace(&mut self, relative: &str, bytes: &[u8]) -> Result<(), RunError> {
        let path = inside(&self.root, relative)?;
        if relative == MANIFEST_FILE {
            return Err(RunError::Escapes { path: relative.to_owned() });
        }
        if matches!(plain_file(&self.root, relative), Presence::Other) {
            return Err(RunError::NotPlainFile { path });
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(RunError::io("create", folder))?;
        }
        AtomicFile::write(&path, bytes)?;
        let files = &mut self.manifest.files;
        files.retain(|record| record.path != relative);
        let (bytes, sha256) = (bytes.len() as u64, digest_bytes(bytes));
        files.push(FileRecord { path: relative.to_owned(), bytes, sha256 });
        files.sort_by(|a, b| a.path.cmp(&b.path));
        AtomicFile::write(&self.root.join(MANIFEST_FILE), &self.manifest.to_json()?)
    }

    fn no_such_file(&self, relative: &str) -> RunError {
        let others = self.manifest.files.iter().map(|record| record.path.as_str());
        let nearest = nearest(relative, others.filter(|path| *path != relative));
        RunError::NoSuchFile { run: self.manifest.run.clone(), path: relative.to_owned(), nearest }
    }
}

/// Names of the finished runs in a folder, oldest first.
///
/// # Errors
/// [`RunError::Io`] when the folder cannot be listed.
pub fn list_runs(out: &Path) -> Result<Vec<String>, RunError> {
    let list = || RunError::io("list", out);
    let mut names = Vec::new();
    for entry in fs::read_dir(out).map_err(list())? {
        let entry = entry.map_err(list())?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && entry.path().join(MANIFEST_FILE).is_file()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A run that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InProgress {
    /// What its folder is called, less the mark of unfinished ones.
    pub name: String,
    /// Images that are there already.
    pub images: usize,
}

/// The runs in a folder that a living process writes, by name.
///
/// # Errors
/// [`RunError::Io`] when the folder cannot be listed.
pub fn unfinished_runs(out: &Path) -> Result<Vec<InProgress>, RunError> {
    let list = || RunError::io("list", out);
    let mut found = Vec::new();
    for entry in fs::read_dir(out).map_err(list())? {
        let entry = entry.map_err(list())?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let marks = [UNFINISHED_PREFIX, INCOMPLETE_PREFIX];
        let Some(name) = marks.iter().find_map(|mark| name.strip_prefix(mark)) else { continue };
        if is_locked(&entry.path()) {
            let images = fs::read_dir(entry.path().join("images")).map_or(0, Iterator::count);
            found.push(InProgress { name: name.to_owned(), images });
        }
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn folder_of(path: &Path) -> Result<PathBuf, RunError> {
    let not = |reason: &str| RunError::NotARun { path: path.to_owned(), reason: reason.to_owned() };
    if path.file_name().is_some_and(|name| name == MANIFEST_FILE) && path.is_file() {
        return Ok(path.parent().unwrap_or(Path::new("")).to_owned());
    }
    if !path.exists() {
        return Err(not("there is no such folder; check the spelling"));
    }
    if !path.is_dir() {
        return Err(not("it is a file; give the folder that holds manifest.json"));
    }
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(UNFINISHED_PREFIX);
    if path.file_name().is_some_and(hidden) {
        return Err(not("it was interrupted, or is still being written; run it again"));
    }
    if path.join(MANIFEST_FILE).is_file() {
        return Ok(path.to_owned());
    }
    match list_runs(path)?.last() {
        Some(run) => Err(not(&format!("it is a folder of runs; its latest is {run}"))),
        None => Err(not("it has no manifest.json; give a folder that probe has written")),
    }
}

/// Reads the version before the rest, so that a later form is named as such and not as an error.
fn decode(file: &Path, text: &[u8]) -> Result<Manifest, RunError> {
    let wrong = |source| RunError::Manifest { path: file.to_owned(), source };
    #[derive(serde::Deserialize)]
    struct Version {
        manifest_version: u64,
    }
    let found = serde_json::from_slice::<Version>(text).map_err(wrong)?.manifest_version;
    if found > u64::from(MANIFEST_VERSION) {
        let path = file.to_owned();
        return Err(RunError::ManifestVersion { path, found, known: MANIFEST_VERSION });
    }
    serde_json::from_slice(text).map_err(wrong)
}

enum Presence {
    Plain,
    Missing,
    Other,
}

/// Whether `relative` is a file that no link on the way leads elsewhere.
fn plain_file(root: &Path, relative: &str) -> Presence {
    let names: Vec<&str> = relative.split('/').collect();
    let mut path = root.to_owned();
    for (i, name) in names.iter().enumerate() {
        path.push(name);
        let Ok(metadata) = fs::symlink_metadata(&path) else { return Presence::Missing };
        let fits = if i + 1 == names.len() { metadata.is_file() } else { metadata.is_dir() };
        if !fits {
            return Presence::Other;
        }
    }
    Presence::Plain
}
