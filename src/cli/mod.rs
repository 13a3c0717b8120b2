//! The command line: one file a subcommand. The only code that prints.

mod train;

use clap::{Parser, Subcommand};

/// A scope on text-to-image diffusion models.
#[derive(Debug, Parser)]
#[command(name = "probe", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a part of the built-in model
    Train(train::Args),
}

impl Cli {
    /// Runs the command; the result is the exit code.
    ///
    /// # Errors
    /// Whatever stopped it.
    pub fn run(self) -> anyhow::Result<u8> {
        match self.command {
            Command::Train(args) => train::run(args),
        }
    }
}

/// The device a name stands for.
fn device(name: &str) -> anyhow::Result<tch::Device> {
    use tch::{Cuda, Device};
    let best = if Cuda::is_available() { Device::Cuda(0) } else { Device::Cpu };
    match name {
        "auto" => Ok(best),
        "cpu" => Ok(Device::Cpu),
        "cuda" if Cuda::is_available() => Ok(best),
        other => {
            let available = if Cuda::is_available() { "auto, cpu, cuda" } else { "auto, cpu" };
            anyhow::bail!("device `{other}` is not available here; available: {available}")
        }
    }
}
