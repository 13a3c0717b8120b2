//! `probe`: shows help pages and the version itself, and becomes `probe-engine` for all else.
//!
//! A program that links libtorch needs a quarter of a second before its first line, since
//! libtorch registers its operators first. That is too long for a page of text, so this one
//! does not link it, nor the library: the pages in `docs/help` are what the engine printed, and a
//! test compares them.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, ExitCode};

use include_dir::{Dir, include_dir};

static PAGES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/docs/help");

/// The widest line of a page; a narrower terminal gets the page from the engine, which wraps.
const WIDTH: u16 = 100;

/// What a first call is answered with.
const WELCOME: &str = "\
A scope on text-to-image diffusion models. To begin with, the model that comes with it:

  probe attention --prompt \"red ball left of blue cube\"   where each word looks, and a report
  probe generate --prompt \"a large striped green cone\"    an image
  probe report runs --serve                                what was run so far, in a browser
  probe doctor                                             is all here that is needed?
  probe --help                                             all commands
";

/// How glibc hands out the memory of tensors: in large pages, and keeping what is freed, up to a
/// gibibyte at a time, for the next tensor. Else every tensor of some size is fresh memory, which
/// the system clears page by page: that took half of the time in which a checkpoint is loaded.
const ALLOCATOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:\
     glibc.malloc.trim_threshold=1073741824",
);

/// Exit code of a run-time error, as in the engine.
const EXIT_ERROR: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match text_for(&words) {
        Some(text) => show(&text),
        None => become_engine(&words),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("error: {message}");
        ExitCode::from(EXIT_ERROR)
    })
}

/// The text that answers the words alone, if there is one.
fn text_for(words: &[OsString]) -> Option<String> {
    let words: Vec<&str> = words.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
    if words.is_empty() {
        return Some(WELCOME.to_owned());
    }
    let command = match words.as_slice() {
        ["--version" | "-V"] => return Some(format!("probe {}\n", env!("CARGO_PKG_VERSION"))),
        ["--help" | "help"] => "probe",
        [command, "--help"] | ["help", command] => command,
        _ => return None,
    };
    // The pages have the commands of a whole build.
    if cfg!(not(feature = "torch")) || terminal_columns().is_some_and(|columns| columns < WIDTH) {
        return None;
    }
    Some(PAGES.get_file(format!("{command}.ansi"))?.contents_utf8()?.to_owned())
}

fn terminal_columns() -> Option<u16> {
    terminal_size::terminal_size().map(|(width, _)| width.0)
}

/// Prints a text; its colours are left out where nobody sees them.
fn show(text: &str) -> Result<ExitCode, String> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to stdout: {error}"))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Leaves the process to the engine beside this program: streams, signals and exit code are
/// the engine's. Returns where a process cannot be left to another.
fn become_engine(words: &[OsString]) -> Result<ExitCode, String> {
    let here = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let engine = here.with_file_name(format!("probe-engine{}", std::env::consts::EXE_SUFFIX));
    let mut command = Command::new(&engine);
    command.args(words);
    if cfg!(target_os = "linux") && std::env::var_os(ALLOCATOR.0).is_none() {
        command.env(ALLOCATOR.0, ALLOCATOR.1);
    }
    let failed = |error: io::Error| {
        format!("{}: {error}; install probe and probe-engine into one folder", engine.display())
    };
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        Err(failed(command.arg0("probe").exec()))
    }
    #[cfg(not(unix))]
    {
        let status = command.status().map_err(failed)?;
        Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(EXIT_ERROR)))
    }
}
