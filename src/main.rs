//! `probe`: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use denoscope::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
