//! Running cargo so that it is heard only when it has something to do.

use std::io::{self, IsTerminal, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

/// First words of the lines that say that cargo is at work (or waits). `Finished` is not
/// among them, nor are old warnings, which cargo repeats.
const WORK: [&str; 7] =
    ["Compiling", "Downloading", "Updating", "Blocking", "Locking", "Adding", "error"];

/// Columns of the progress bar. Cargo does not measure the terminal through a pipe.
const COLUMNS: &str = "80";

/// Runs cargo. Its messages appear on stderr from the first that tells of work; if all is
/// built already, nothing appears. A failure shows everything.
pub fn run_silent_when_fresh(cargo: &mut Command) -> Result<ExitStatus> {
    if io::stderr().is_terminal() {
        cargo
            .env("CARGO_TERM_COLOR", "always")
            .env("CARGO_TERM_PROGRESS_WHEN", "always")
            .env("CARGO_TERM_PROGRESS_WIDTH", COLUMNS);
    }
    cargo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = cargo.spawn().context("could not start cargo")?;
    let mut gate = Gate::new(io::stderr());
    if let Some(mut messages) = child.stderr.take() {
        let mut buffer = [0; 4096];
        loop {
            match messages.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => gate.pass(buffer.get(..count).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("lost cargo's messages"),
            }
        }
    }
    let status = child.wait().context("lost sight of cargo")?;
    if !status.success() {
        gate.open()?;
    }
    Ok(status)
}

/// Holds text back until a line in it tells of work.
struct Gate<W> {
    held: Vec<u8>,
    is_open: bool,
    out: W,
}

impl<W: Write> Gate<W> {
    fn new(out: W) -> Self {
        Self { held: Vec::new(), is_open: false, out }
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_open {
            return self.write(bytes);
        }
        self.held.extend_from_slice(bytes);
        if tells_of_work(&String::from_utf8_lossy(&self.held)) {
            self.open()?;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<()> {
        self.is_open = true;
        let held = std::mem::take(&mut self.held);
        self.write(&held)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).context("stderr is closed")
    }
}

fn tells_of_work(text: &str) -> bool {
    let text = without_colours(text);
    text.split(['\n', '\r']).any(|line| WORK.iter().any(|word| line.trim_start().starts_with(word)))
}

/// The text less its terminal control sequences (`ESC [ … letter`).
fn without_colours(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| c.is_ascii_alphabetic()).map_or(piece.len(), |at| at + 1);
        plain.push_str(piece.get(end..).unwrap_or_default());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&str]) -> String {
        let mut gate = Gate::new(Vec::new());
        for piece in pieces {
            gate.pass(piece.as_bytes()).unwrap();
        }
        String::from_utf8(gate.out).unwrap()
    }

    #[test]
    fn a_fresh_build_is_not_heard() {
        assert_eq!(heard(&["    Finished `release` profile [optimized] target(s) in 0.2s\n"]), "");
        assert_eq!(heard(&["\u{1b}[1m\u{1b}[92m    Finished\u{1b}[0m `release`\n"]), "");
    }

    #[test]
    fn work_is_heard_from_its_first_line_and_nothing_is_lost() {
        let pieces = ["   \u{1b}[1m\u{1b}[92m   Comp", "iling\u{1b}[0m tch v0.24.0\n", "more"];
        assert_eq!(heard(&pieces), pieces.concat());
        assert_eq!(
            heard(&["\r\u{1b}[K", "error: no such bin\n"]),
            "\r\u{1b}[Kerror: no such bin\n"
        );
    }
}
