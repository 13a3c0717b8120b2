use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::manifest::{FileRecord, MANIFEST_FILE, Manifest, SPEC_FILE, now};
use super::paths::{inside, list_files};
use super::{RunError, digest_bytes, digest_file, hash8};

/// Folders with this prefix are unfinished.
pub(super) const UNFINISHED_PREFIX: &str = ".tmp-";

/// Folders with this prefix hold what a run of a suite has done so far; the next goes on with it.
pub(crate) const INCOMPLETE_PREFIX: &str = ".incomplete-";

/// Held locked as long as the process that writes the folder lives.
const LOCK_FILE: &str = ".lock";

/// Names tried when several runs of one spec start within a second.
const NAME_ATTEMPTS: usize = 1000;

/// Written and removed at the start: a full disk shows before the long work, not after it.
const ROOM_PROBE_BYTES: usize = 1 << 20;

/// A run being written.
///
/// Files are written below [`RunFolder::path`]; [`RunFolder::finish`] lists them in the
/// manifest and renames the folder into place. Dropped before that, all of it is removed.
#[derive(Debug)]
pub struct RunFolder {
    out: PathBuf,
    name: String,
    probe: String,
    spec_sha256: String,
    started: Timestamp,
    temporary: PathBuf,
    /// Closing it lets the lock go.
    lock: Option<File>,
}

impl RunFolder {
    /// Starts a run of `probe` below `out`, which is made if it is missing, and writes `spec`
    /// as its `spec.toml`. The name is `<UTC>-<probe>-<hash8 of spec>`, with `-2`, `-3` …
    /// behind it when it is taken.
    ///
    /// Also removes what runs that were killed have left in `out`.
    ///
    /// # Errors
    /// [`RunError::Io`] when the folder cannot be made or written to, or the disk is full;
    /// [`RunError::ProbeName`].
    pub fn create(out: &Path, probe: &str, spec: &str) -> Result<Self, RunError> {
        prepare(out, probe)?;
        let started = now();
        let wanted = format!("{}-{probe}-{}", started.strftime("%Y%m%dT%H%M%SZ"), hash8(spec));
        let reserved = reserve(out, &wanted)?;
        Self::begin((out, probe, spec), started, reserved)
    }

    /// Starts the folder of a run that was begun before under this name; none where another run
    /// has taken it.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub(super) fn go_on(
        out: &Path,
        probe: &str,
        spec: &str,
        (name, started): (&str, Timestamp),
    ) -> Result<Option<Self>, RunError> {
        prepare(out, probe)?;
        let (reserved, temporary) = reserve(out, name)?;
        if reserved != name {
            fs::remove_dir(&temporary).map_err(RunError::io("remove", &temporary))?;
            return Ok(None);
        }
        Self::begin((out, probe, spec), started, (reserved, temporary)).map(Some)
    }

    fn begin(
        (out, probe, spec): (&Path, &str, &str),
        started: Timestamp,
        (name, temporary): (String, PathBuf),
    ) -> Result<Self, RunError> {
        let mut run = Self {
            out: out.to_owned(),
            name,
            probe: probe.to_owned(),
            spec_sha256: digest_bytes(spec.as_bytes()),
            started,
            temporary,
            lock: None,
        };
        // From here on a failure drops `run`, which removes the folder again.
        run.lock = Some(lock(&run.temporary).map_err(RunError::io("write into", out))?);
        check_room(&run.temporary).map_err(RunError::io("write into", out))?;
        run.write(SPEC_FILE, spec.as_bytes())?;
        Ok(run)
    }

    /// The run's name: of its folder, and in the column `run` of its tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it was started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Where a file of the run is to be written, such as `tables/attention.parquet`; makes the
    /// folders above it.
    ///
    /// # Errors
    /// [`RunError::Escapes`] for a path that is not plain and relative; [`RunError::Io`].
    pub fn path(&self, relative: &str) -> Result<PathBuf, RunError> {
        let path = inside(&self.temporary, relative)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(RunError::io("create", folder))?;
        }
        Ok(path)
    }

    /// Writes a whole file of the run.
    ///
    /// # Errors
    /// As [`RunFolder::path`].
    pub fn write(&self, relative: &str, bytes: &[u8]) -> Result<(), RunError> {
        let path = self.path(relative)?;
        fs::write(&path, bytes).map_err(RunError::io("write", &path))
    }

    /// Completes the run: fills in the manifest's name, times, spec digest and files, writes
    /// it, and renames the folder into place. Returns the folder.
    ///
    /// # Errors
    /// [`RunError::Io`], [`RunError::NotPlainFile`], [`RunError::Encode`]; then nothing is left.
    pub fn finish(mut self, mut manifest: Manifest) -> Result<PathBuf, RunError> {
        manifest.run.clone_from(&self.name);
        manifest.probe.clone_from(&self.probe);
        manifest.spec_sha256.clone_from(&self.spec_sha256);
        manifest.started = self.started;
        manifest.files = record_files(&self.temporary)?;
        manifest.finished = now();
        let json = manifest.to_json()?;
        self.write(MANIFEST_FILE, &json)?;
        let lock_file = self.temporary.join(LOCK_FILE);
        fs::remove_file(&lock_file).map_err(RunError::io("remove", &lock_file))?;
        self.move_into_place()
    }

    fn move_into_place(&mut self) -> Result<PathBuf, RunError> {
        // The name was free at the start; should somebody have taken it since, the work of the
        // whole run is worth a suffix.
        for attempt in 1..=NAME_ATTEMPTS {
            let place = self.out.join(numbered(&self.name, attempt));
            if fs::symlink_metadata(&place).is_ok() {
                continue;
            }
            match fs::rename(&self.temporary, &place) {
                Ok(()) => return Ok(place),
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(RunError::io("create", &place)(error)),
            }
        }
        Err(names_taken(&self.out, &self.name))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Windows does not remove a folder with an open file.
        self.lock = None;
        match fs::remove_dir_all(&self.temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.temporary.display(), %error, "left an unfinished run");
            }
            _ => {}
        }
    }
}

/// Checks the probe's name, makes `out`, and removes what killed runs have left in it.
fn prepare(out: &Path, probe: &str) -> Result<(), RunError> {
    if probe.is_empty() || !probe.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(RunError::ProbeName { name: probe.to_owned() });
    }
    fs::create_dir_all(out).map_err(RunError::io("create", out))?;
    remove_abandoned(out);
    Ok(())
}

/// Makes the hidden folder, which only one process can: that reserves the name too.
fn reserve(out: &Path, wanted: &str) -> Result<(String, PathBuf), RunError> {
    for attempt in 1..=NAME_ATTEMPTS {
        let name = numbered(wanted, attempt);
        if fs::symlink_metadata(out.join(&name)).is_ok() {
            continue;
        }
        let temporary = out.join(format!("{UNFINISHED_PREFIX}{name}"));
        match fs::create_dir(&temporary) {
            Ok(()) => return Ok((name, temporary)),
            Err(error) if is_taken(&error) => {}
            Err(error) => return Err(RunError::io("write into", out)(error)),
        }
    }
    Err(names_taken(out, wanted))
}

fn names_taken(out: &Path, name: &str) -> RunError {
    RunError::NamesTaken { out: out.to_owned(), name: name.to_owned(), tried: NAME_ATTEMPTS }
}

fn numbered(name: &str, attempt: usize) -> String {
    if attempt == 1 { name.to_owned() } else { format!("{name}-{attempt}") }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

/// Makes the lock file and locks it, in this order under another name, so that no other
/// process ever finds it unlocked while we live.
fn lock(folder: &Path) -> io::Result<File> {
    let unlocked = folder.join(".lock-new");
    let file = File::create(&unlocked)?;
    // A file system without locks is no reason to fail; it only loses the cleaning up.
    if let Err(error) = file.lock() {
        tracing::debug!(path = %folder.display(), %error, "cannot lock the run folder");
    }
    fs::rename(&unlocked, folder.join(LOCK_FILE))?;
    Ok(file)
}

/// Whether a process that writes into this folder lives.
pub(super) fn is_locked(folder: &Path) -> bool {
    let file = File::open(folder.join(LOCK_FILE));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn check_room(folder: &Path) -> io::Result<()> {
    let path = folder.join(".room");
    let mut file = File::create(&path)?;
    file.write_all(&vec![0x5a; ROOM_PROBE_BYTES])?;
    file.sync_all()?;
    drop(file);
    fs::remove_file(&path)
}

/// Removes unfinished folders whose process is gone: their lock can be had. Failing is fine,
/// they are hidden and the next run tries again.
fn remove_abandoned(out: &Path) {
    let Ok(entries) = fs::read_dir(out) else { return };
    for entry in entries.flatten() {
        let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !unfinished {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK_FILE)) else { continue };
        if lock.try_lock().is_ok()
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::debug!(path = %entry.path().display(), %error, "cannot remove a killed run");
        }
    }
}

fn record_files(root: &Path) -> Result<Vec<FileRecord>, RunError> {
    let record = |path: String| {
        let (sha256, bytes) = digest_file(&inside(root, &path)?)?;
        Ok(FileRecord { path, bytes, sha256 })
    };
    list_files(root)?.into_iter().map(record).collect()
}
