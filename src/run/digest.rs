//! SHA-256 as lower-case hexadecimal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::RunError;

/// Read this much at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Hexadecimal digits of a digest that go into a folder's name.
const SHORT_DIGITS: usize = 8;

/// SHA-256 of bytes in memory, 64 hexadecimal digits.
pub fn digest_bytes(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes).as_slice())
}

/// SHA-256 and size of a file, read in pieces.
///
/// # Errors
/// [`RunError::Io`] when it cannot be read.
pub fn digest_file(path: &Path) -> Result<(String, u64), RunError> {
    digest_reader(path).map_err(RunError::io("read", path))
}

fn digest_reader(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hexadecimal(digest.finalize().as_slice()), size)),
            read => {
                digest.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}

/// SHA-256 of a list of prompts in order: of each its length in bytes (64 bits, little endian)
/// and its UTF-8. Two lists agree only if every prompt does.
pub fn digest_prompts<S: AsRef<str>>(prompts: &[S]) -> String {
    let mut digest = Sha256::new();
    for prompt in prompts {
        let text = prompt.as_ref();
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    hexadecimal(digest.finalize().as_slice())
}

/// The first eight hexadecimal digits of the SHA-256 of a spec: the same question, the same
/// eight digits.
pub fn hash8(spec: &str) -> String {
    let mut digits = digest_bytes(spec.as_bytes());
    digits.truncate(SHORT_DIGITS);
    digits
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
