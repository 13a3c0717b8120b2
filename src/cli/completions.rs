//! `probe completions`: shell completions.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  probe completions bash > ~/.local/share/bash-completion/completions/probe
  probe completions zsh > ~/.zfunc/_probe
  probe completions fish > ~/.config/fish/completions/probe.fish";

/// Print shell completions.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The shell that is to complete `probe`
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    // Into memory first: the generator panics where its output is a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "probe", &mut script);
    let mut out = std::io::stdout().lock();
    out.write_all(&script)?;
    out.flush()?;
    Ok(0)
}
