//! `probe`: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use denoscope::cli::Cli;

fn main() -> ExitCode {
    ExitCode::from(Cli::parse().run())
}
