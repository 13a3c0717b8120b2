//! The command line itself: parse, dispatch, exit code. Users call it `probe`, which starts it.

use std::process::ExitCode;

use clap::Parser;
use denoscope::cli::Cli;

fn main() -> ExitCode {
    ExitCode::from(Cli::parse().run())
}
