//! The command line itself: parse, dispatch, exit code. Users call it `probe`, which starts it.

use std::process::ExitCode;

use denoscope::cli::Cli;

fn main() -> ExitCode {
    ExitCode::from(Cli::from_process().run())
}
