//! Reads from a shared library of Linux which other libraries it needs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};

const MAGIC: &[u8] = b"\x7fELF";
/// 64 bits, little-endian: all that PyTorch is built for on Linux.
const CLASS_AND_ORDER: &[u8] = &[2, 1];

const SEGMENT_LOAD: u64 = 1;
const SEGMENT_DYNAMIC: u64 = 2;
const DYNAMIC_NEEDED: u64 = 1;
const DYNAMIC_STRINGS: u64 = 5;
const DYNAMIC_ENTRY_BYTES: usize = 16;
const HEADER_BYTES: usize = 64;
/// Longer names of libraries are not believed.
const LONGEST_NAME: usize = 256;

struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    bytes: u64,
}

/// File names of the libraries that the one at `path` is linked to.
pub fn needed(path: &Path) -> Result<Vec<String>> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    read_needed(&mut file)
        .with_context(|| format!("{} is no proper shared library", path.display()))
}

fn read_needed(file: &mut (impl Read + Seek)) -> Result<Vec<String>> {
    let segments = segments(file)?;
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == SEGMENT_DYNAMIC) else {
        return Ok(Vec::new());
    };
    let table = bytes(file, dynamic.offset, usize::try_from(dynamic.bytes)?)?;
    let entries = table
        .chunks_exact(DYNAMIC_ENTRY_BYTES)
        .map(|entry| Ok((number(entry, 0, 8)?, number(entry, 8, 8)?)))
        .collect::<Result<Vec<_>>>()?;
    let strings = entries
        .iter()
        .find(|(tag, _)| *tag == DYNAMIC_STRINGS)
        .and_then(|(_, address)| file_offset(&segments, *address))
        .context("it has no table of strings")?;
    let needed = entries.iter().filter(|(tag, _)| *tag == DYNAMIC_NEEDED);
    needed.map(|(_, at)| string(file, strings + at)).collect()
}

fn segments(file: &mut (impl Read + Seek)) -> Result<Vec<Segment>> {
    let header = bytes(file, 0, HEADER_BYTES)?;
    if !header.starts_with(MAGIC) || header.get(4..6) != Some(CLASS_AND_ORDER) {
        bail!("it does not begin as a 64-bit ELF file does");
    }
    let offset = number(&header, 32, 8)?;
    let entry_bytes = number(&header, 54, 2)?;
    let count = number(&header, 56, 2)?;
    (0..count)
        .map(|index| {
            let entry = bytes(file, offset + index * entry_bytes, usize::try_from(entry_bytes)?)?;
            Ok(Segment {
                kind: number(&entry, 0, 4)?,
                offset: number(&entry, 8, 8)?,
                address: number(&entry, 16, 8)?,
                bytes: number(&entry, 32, 8)?,
            })
        })
        .collect()
}

/// Where in the file lies what is loaded at `address`.
fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    segments
        .iter()
        .filter(|segment| segment.kind == SEGMENT_LOAD)
        .find(|it| (it.address..it.address.saturating_add(it.bytes)).contains(&address))
        .map(|segment| address - segment.address + segment.offset)
}

fn bytes(file: &mut (impl Read + Seek), offset: u64, count: usize) -> Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut buffer = Vec::new();
    file.take(count as u64).read_to_end(&mut buffer)?;
    if buffer.len() < count {
        bail!("it ends too early");
    }
    Ok(buffer)
}

fn number(bytes: &[u8], offset: usize, width: usize) -> Result<u64> {
    let digits = bytes.get(offset..offset + width).context("it ends too early")?;
    Ok(digits.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn string(file: &mut (impl Read + Seek), offset: u64) -> Result<String> {
    file.seek(SeekFrom::Start(offset))?;
    let mut buffer = Vec::new();
    file.take(LONGEST_NAME as u64).read_to_end(&mut buffer)?;
    let name = buffer.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8(name.to_vec())?)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::io::Cursor;

    /// A library with nothing in it but the names of those it needs, loaded 0x1000 above its
    /// place in the file.
    pub fn library(needed: &[&str]) -> Vec<u8> {
        const BASE: u64 = 0x1000;
        let segments_at = HEADER_BYTES as u64;
        let dynamic_at = segments_at + 2 * 56;
        let dynamic_bytes = ((needed.len() + 1) * DYNAMIC_ENTRY_BYTES) as u64;
        let strings_at = dynamic_at + dynamic_bytes;
        let mut strings = vec![0];
        let mut dynamic = vec![[DYNAMIC_STRINGS, BASE + strings_at]];
        for name in needed {
            dynamic.push([DYNAMIC_NEEDED, strings.len() as u64]);
            strings.extend(name.bytes().chain([0]));
        }
        let total = strings_at + strings.len() as u64;

        let mut file = [MAGIC, CLASS_AND_ORDER].concat();
        file.resize(HEADER_BYTES, 0);
        file[32..40].copy_from_slice(&segments_at.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&2u16.to_le_bytes());
        let segments = [(SEGMENT_LOAD, 0, total), (SEGMENT_DYNAMIC, dynamic_at, dynamic_bytes)];
        for (kind, at, bytes) in segments {
            for value in [kind, at, BASE + at, BASE + at, bytes, bytes, 8] {
                file.extend(value.to_le_bytes());
            }
        }
        file.extend(dynamic.concat().iter().flat_map(|value| value.to_le_bytes()));
        file.extend(strings);
        file
    }

    #[test]
    fn needed_libraries_are_read() {
        let names = ["libc10.so", "libcudart.so.13", "libc.so.6"];
        assert_eq!(read_needed(&mut Cursor::new(library(&names))).unwrap(), names);
        assert!(read_needed(&mut Cursor::new(library(&[]))).unwrap().is_empty());
    }

    #[test]
    fn the_libraries_of_this_very_program_are_read() {
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            let found = needed(&std::env::current_exe().unwrap()).unwrap();
            assert!(found.iter().any(|name| name == "libc.so.6"), "{found:?}");
        }
    }

    #[test]
    fn what_is_no_library_is_refused() {
        for content in [&b"INPUT(libtorch_cpu.so)"[..], b"\x7fELF", b""] {
            assert!(read_needed(&mut Cursor::new(content)).is_err());
        }
        let whole = library(&["libc10.so"]);
        assert!(read_needed(&mut Cursor::new(&whole[..100])).is_err());
    }
}
