//! `probe completions`: shell completions and manual pages.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::note;
use crate::run::AtomicFile;
use crate::suggest::nearest;

const EXAMPLES: &str = "\
Examples:
  probe completions bash > ~/.local/share/bash-completion/completions/probe
  probe completions zsh > ~/.zfunc/_probe
  probe completions fish > ~/.config/fish/completions/probe.fish
  probe completions man | man -l -                     # the manual page of probe
  probe completions man attention | man -l -           # of one command
  probe completions man --to ~/.local/share/man/man1   # all pages, as files";

/// Print shell completions or manual pages.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The shell that is to complete `probe`, or `man`
    #[arg(value_enum)]
    reader: Reader,
    /// The command whose manual page is printed [default: that of probe itself]
    command: Option<String>,
    /// Folder for the manual pages of all commands
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    to: Option<PathBuf>,
}

/// Who reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Shell(Shell),
    Man,
}

impl ValueEnum for Reader {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Reader; 6] = [
            Reader::Shell(Shell::Bash),
            Reader::Shell(Shell::Elvish),
            Reader::Shell(Shell::Fish),
            Reader::Shell(Shell::PowerShell),
            Reader::Shell(Shell::Zsh),
            Reader::Man,
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        match self {
            Self::Shell(shell) => shell.to_possible_value(),
            Self::Man => Some(clap::builder::PossibleValue::new("man").help("Manual pages")),
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    let mut cli = super::Cli::command();
    let shell = match (args.reader, &args.command, &args.to) {
        (Reader::Man, _, Some(folder)) => return write_pages(cli, folder),
        (Reader::Man, command, None) => {
            let page = page(&mut cli, command.as_deref())?;
            return print(&page);
        }
        (Reader::Shell(_), Some(_), _) | (Reader::Shell(_), _, Some(_)) => {
            bail!("a command and --to go with `man`; completions are of all commands, on stdout")
        }
        (Reader::Shell(shell), None, None) => shell,
    };
    // Into memory first: the generator panics where its output is a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli, "probe", &mut script);
    print(&script)
}

fn print(bytes: &[u8]) -> Result<u8> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(0)
}

/// The manual page of a command, or of `probe` itself.
fn page(cli: &mut clap::Command, name: Option<&str>) -> Result<Vec<u8>> {
    cli.build();
    let command = match name {
        None => cli.clone(),
        Some(name) => match cli.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                let names = cli.get_subcommands().map(clap::Command::get_name);
                let meant = nearest(name, names).map(|name| format!("; did you mean `{name}`?"));
                bail!("there is no command `{name}`{}", meant.unwrap_or_default())
            }
        },
    };
    let title = name.map_or_else(|| "probe".to_owned(), |name| format!("probe-{name}"));
    let mut bytes = Vec::new();
    Man::new(command.display_name(title.clone())).title(title).render(&mut bytes)?;
    Ok(bytes)
}

/// Writes `probe.1` and `probe-COMMAND.1` for each command.
fn write_pages(mut cli: clap::Command, folder: &Path) -> Result<u8> {
    std::fs::create_dir_all(folder)
        .map_err(|error| anyhow::anyhow!("cannot create {}: {error}", folder.display()))?;
    cli.build();
    let commands = cli.get_subcommands().filter(|command| command.get_name() != "help");
    let names: Vec<String> = commands.map(|command| command.get_name().to_owned()).collect();
    AtomicFile::write(&folder.join("probe.1"), &page(&mut cli, None)?)?;
    for name in &names {
        let bytes = page(&mut cli, Some(name))?;
        AtomicFile::write(&folder.join(format!("probe-{name}.1")), &bytes)?;
    }
    note(&format!("{} manual pages: {}", names.len() + 1, folder.display()));
    Ok(0)
}
