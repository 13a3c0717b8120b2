//! Chores of the repository, run as `cargo xtask <task>`: sets libtorch up, builds and hands
//! over to `probe`, runs every check. One file per task; the table in `tasks::TASKS` lists them.

#[cfg(unix)]
mod cargo;
#[cfg(unix)]
mod environment;
#[cfg(unix)]
mod libtorch;
#[cfg(unix)]
mod python;
#[cfg(unix)]
mod runs;
#[cfg(unix)]
mod tasks;
#[cfg(unix)]
mod workspace;

use std::process::ExitCode;

/// Exit code of a wrong command line or a set-up that failed, as in `probe` itself.
const EXIT_ERROR: u8 = 2;

#[cfg(unix)]
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    tasks::dispatch(&arguments).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(EXIT_ERROR)
    })
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!(
        "error: denoscope is not supported on this operating system: it builds on Linux \
         (x86-64, aarch64) and macOS (arm64). On Windows, use it inside WSL 2, which is a \
         Linux (`wsl --install`)."
    );
    ExitCode::from(EXIT_ERROR)
}
