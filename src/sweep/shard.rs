//! A shard from its beginning to its place: what is done of it is kept, and once all is, it appears
//! as a whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::folder::write_json;
use super::{Folder, Item, Plan, Shard, ShardManifest, SweepError};
use crate::run::{
    FileRecord, MANIFEST_FILE, Manifest, RunError, Unfinished, UnfinishedError, digest_file,
    link_or_copy, make_readable,
};
use crate::table::{Row, SweepItemRow, Tables};

/// Share of the items' own time that keeping what is done may take: rows are written once so much
/// time has passed that the last writing was less than this share of it.
const KEEPING_SHARE: f64 = 0.005;

/// Folder of images in a shard.
const IMAGES: &str = "images";

/// What comes of beginning a shard.
#[derive(Debug)]
pub enum Begun {
    /// It is finished already.
    Done,
    /// Another process is at it.
    Busy,
    /// It can be worked at.
    Work(Box<ShardWork>),
}

/// A shard in progress, which this process alone works at.
#[derive(Debug)]
pub struct ShardWork {
    work: Unfinished,
    folder: Folder,
    shard: Shard,
    /// Numbers of the items whose rows are in parts.
    done: BTreeSet<u32>,
    /// What is done and not yet in a part, with the numbers of its items.
    pending: Tables,
    pending_items: Vec<u32>,
    kept_at: Instant,
    /// What the last writing of a part took.
    keeping: Duration,
}

/// What was written at once: the rows of items that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// Number of the first item.
    first: u32,
    /// How many there are.
    count: u32,
}

impl Part {
    /// The part that a file is of, if it is the file of this table.
    fn named(file: &str, table: &str) -> Option<Self> {
        let numbers = file.strip_suffix(".parquet")?.strip_suffix(table)?.strip_suffix('.')?;
        let (first, count) = numbers.split_once('.')?;
        Some(Self { first: first.parse().ok()?, count: count.parse().ok()? })
    }

    fn file(&self, work: &Unfinished, table: &str) -> PathBuf {
        work.part(self.first as usize, &format!("{}.{table}.parquet", self.count))
    }
}

impl Folder {
    /// Begins a shard, or goes on with it where it was cut short.
    ///
    /// # Errors
    /// [`SweepError::Version`], [`SweepError::Part`], or a file system that refuses.
    pub fn begin(&self, plan: &Plan, shard: &Shard) -> Result<Begun, SweepError> {
        let question = format!("sweep = {:?}\nshard = {}\n", plan.hash, shard.number);
        if self.finished(shard)?.is_some() {
            // Killed between moving it into its place and cleaning up.
            if self.work_of(shard).exists()
                && let Ok(left) = Unfinished::open(&self.work_of(shard), &question, |_| false)
            {
                left.remove()?;
            }
            return Ok(Begun::Done);
        }
        let work = match Unfinished::open(&self.work_of(shard), &question, |_| false) {
            Err(UnfinishedError::Busy { .. }) => return Ok(Begun::Busy),
            other => other?,
        };
        // Another process may have finished it before the lock was ours.
        if self.finished(shard)?.is_some() {
            work.remove()?;
            return Ok(Begun::Done);
        }
        let mut work = ShardWork {
            work,
            folder: self.clone(),
            shard: shard.clone(),
            done: BTreeSet::new(),
            pending: Tables::new(),
            pending_items: Vec::new(),
            kept_at: Instant::now(),
            keeping: Duration::ZERO,
        };
        for part in work.parts()? {
            let items = work.read(&part, [SweepItemRow::TABLE.name])?;
            let rows = items.rows_of::<SweepItemRow>()?;
            work.done.extend(rows.iter().map(|row| row.sample));
        }
        Ok(Begun::Work(Box::new(work)))
    }
}

impl ShardWork {
    /// Whether the rows of these items are there.
    pub fn has(&self, items: &[Item]) -> bool {
        items.iter().all(|item| self.done.contains(&item.number))
    }

    /// How many items are done.
    pub fn done(&self) -> usize {
        self.done.len() + self.pending_items.len()
    }

    /// Where a file of the shard is to be written, such as an image; makes the folders above it.
    ///
    /// # Errors
    /// [`SweepError::Run`].
    pub fn path(&self, relative: &str) -> Result<PathBuf, SweepError> {
        Ok(self.work.path(relative)?)
    }

    /// The folder that holds such files until the shard is finished.
    pub fn root(&self) -> &Path {
        self.work.root()
    }

    /// Adds what some items gave, with the table of the items themselves among it, and writes it
    /// down if that is worth its time.
    ///
    /// # Errors
    /// A full disk.
    pub fn add(&mut self, items: &[Item], tables: Tables) -> Result<(), SweepError> {
        // The items of a part follow one another.
        let next = self.pending_items.last().map(|last| last + 1);
        if next.is_some() && next != items.first().map(|item| item.number) {
            self.keep()?;
        }
        self.pending.append(tables)?;
        self.pending_items.extend(items.iter().map(|item| item.number));
        let waits = self.kept_at.elapsed().as_secs_f64();
        if self.keeping.as_secs_f64() < KEEPING_SHARE * waits { self.keep() } else { Ok(()) }
    }

    /// Writes down all that is done.
    ///
    /// # Errors
    /// A full disk; then what is not written is made again.
    pub fn keep(&mut self) -> Result<(), SweepError> {
        let Some(&first) = self.pending_items.first() else { return Ok(()) };
        let began = Instant::now();
        let mut tables = std::mem::take(&mut self.pending);
        let items = std::mem::take(&mut self.pending_items);
        let part = Part { first, count: items.len() as u32 };
        let place = |name: &str| part.file(&self.work, name);
        // The items last: they say that the part is whole.
        let mut last = tables.take(SweepItemRow::TABLE.name);
        tables.write(place)?;
        last.write(place)?;
        self.done.extend(items);
        (self.kept_at, self.keeping) = (Instant::now(), began.elapsed());
        Ok(())
    }

    /// The parts that are whole. Where two have the same items, which takes two processes on a
    /// file system without locks, the longer one counts.
    fn parts(&self) -> Result<Vec<Part>, SweepError> {
        let names = self.work.part_files()?;
        let mut parts: Vec<Part> =
            names.iter().filter_map(|name| Part::named(name, SweepItemRow::TABLE.name)).collect();
        parts.sort_unstable_by_key(|part| (part.first, std::cmp::Reverse(part.count)));
        let mut next = 0;
        parts.retain(|part| {
            let is_new = part.first >= next;
            next = if is_new { part.first + part.count } else { next };
            is_new
        });
        Ok(parts)
    }

    /// Tables of a part.
    fn read<'a>(
        &self,
        part: &Part,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Tables, SweepError> {
        let mut tables = Tables::new();
        for name in names {
            let read = tables.read(name, &part.file(&self.work, name));
            // Without its items a part counts as not there.
            let path = part.file(&self.work, SweepItemRow::TABLE.name);
            read.map_err(|source| SweepError::Part { path, source })?;
        }
        Ok(tables)
    }

    fn read_whole(&self, part: &Part) -> Result<Tables, SweepError> {
        let files = self.work.part_files()?;
        let of_part = |file: &String| {
            let table = file.strip_suffix(".parquet")?.rsplit('.').next()?.to_owned();
            (Part::named(file, &table).as_ref() == Some(part)).then_some(table)
        };
        let names: Vec<String> = files.iter().filter_map(of_part).collect();
        self.read(part, names.iter().map(String::as_str))
    }

    /// Puts the shard together, checks that every item is there once, and moves it into its place.
    ///
    /// # Errors
    /// [`SweepError::Rows`], or a file system that refuses. Then what is done is kept, if it lets it.
    pub fn finish(mut self, manifest: Manifest) -> Result<(), SweepError> {
        let finished = self.put_together().and_then(|(tables, items)| {
            self.check(&items)?;
            self.move_into_place(tables, &items, manifest)
        });
        match finished {
            Ok(()) => Ok(self.work.remove()?),
            Err(error) => {
                // The disk that refused the shard may refuse this too, and said why already.
                drop(self.keep());
                Err(error)
            }
        }
    }

    /// All rows, in the order of the items, and those of the items themselves.
    fn put_together(&self) -> Result<(Tables, Vec<SweepItemRow>), SweepError> {
        let mut pieces = Vec::new();
        for part in self.parts()? {
            pieces.push((part.first, self.read_whole(&part)?));
        }
        if let Some(&first) = self.pending_items.first() {
            pieces.push((first, self.pending.clone()));
        }
        // Items that were made again after a part was lost stand behind later ones.
        pieces.sort_by_key(|(first, _)| *first);
        let mut tables = Tables::new();
        pieces.into_iter().try_for_each(|(_, piece)| tables.append(piece))?;
        let items = tables.rows_of::<SweepItemRow>()?;
        Ok((tables, items))
    }

    fn check(&self, items: &[SweepItemRow]) -> Result<(), SweepError> {
        let expected = self.shard.items.clone();
        if items.iter().map(|row| row.sample).eq(expected.clone()) {
            return Ok(());
        }
        let problem = format!("{} items are there, of {} each once", items.len(), expected.len());
        let path = self.work.root().to_owned();
        Err(SweepError::Rows { shard: self.shard.number, problem, path })
    }

    fn move_into_place(
        &self,
        mut tables: Tables,
        items: &[SweepItemRow],
        mut manifest: Manifest,
    ) -> Result<(), SweepError> {
        let place = self.folder.place_of(&self.shard);
        // In the work's own folder, so that what a killed process leaves goes with that.
        let staged = tempfile::Builder::new()
            .prefix(".tmp-")
            .tempdir_in(self.work.root())
            .map_err(RunError::io("write into", self.work.root()))?;
        let root = staged.path();
        tables.write(|name| root.join(format!("{name}.parquet")))?;
        link_all(&self.work.root().join(IMAGES), &root.join(IMAGES))?;
        manifest.files = records(root, "")?;
        let shard = ShardManifest {
            sweep: self.folder.hash().to_owned(),
            shard: self.shard.number,
            condition: self.shard.condition,
            items: items.len() as u32,
            rows: tables.heights(),
            seconds: items.iter().map(|row| row.seconds).sum(),
            manifest,
        };
        write_json(&root.join(MANIFEST_FILE), &shard)?;
        make_readable(root)?;
        self.rename(root, &place)?;
        self.folder.forget_failure(&self.shard);
        Ok(())
    }

    /// Moves a folder to its place. What is in the way is either the same shard from a process that
    /// was as far, or damaged.
    fn rename(&self, from: &Path, place: &Path) -> Result<(), SweepError> {
        if place.exists() {
            if self.folder.finished(&self.shard)?.is_some() {
                return Ok(());
            }
            fs::remove_dir_all(place).map_err(RunError::io("replace", place))?;
        }
        match fs::rename(from, place) {
            Err(_) if self.folder.finished(&self.shard)?.is_some() => Ok(()),
            other => other.map_err(|source| SweepError::Rename { path: place.to_owned(), source }),
        }
    }
}

/// A second name for every file below a folder, if it is there.
fn link_all(from: &Path, to: &Path) -> Result<(), SweepError> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to).map_err(RunError::io("create", to))?;
    for entry in fs::read_dir(from).map_err(RunError::io("list", from))?.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            link_all(&path, &target)?;
        } else if !entry.file_name().to_string_lossy().starts_with(".tmp-") {
            link_or_copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Every file below a folder.
fn records(folder: &Path, prefix: &str) -> Result<Vec<FileRecord>, SweepError> {
    let mut records = Vec::new();
    for entry in fs::read_dir(folder).map_err(RunError::io("list", folder))?.flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            records.extend(self::records(&entry.path(), &format!("{name}/"))?);
        } else {
            let (sha256, bytes) = digest_file(&entry.path())?;
            records.push(FileRecord { path: name, bytes, sha256 });
        }
    }
    records.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(records)
}
