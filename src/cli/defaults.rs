//! `probe.toml`: a project's own defaults for options of commands.
//!
//! It is looked for in the working folder and upwards. Its keys are options, with `_` or `-`: at the
//! top for every command that has them, in a section named after a command for that one alone. What
//! is given on the command line wins, and specs are run as they are written. The section `[slurm]` is
//! that of sweeps' specs, for what these do not say: where a run takes place is no part of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{ArgAction, Command};

use crate::suggest::nearest;
use crate::sweep::Settings;

/// Name of the file.
const FILE: &str = "probe.toml";

/// The section of how sweeps run on a cluster.
const SLURM: &str = "slurm";

/// Options that a file of defaults cannot set: they are of one call.
const NOT_DEFAULTS: [&str; 2] = ["help", "version"];

/// The file that holds here: in `folder` or the nearest folder above it.
pub(super) fn find(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().map(|folder| folder.join(FILE)).find(|file| file.is_file())
}

/// The command line with the defaults of a file in place of its own.
///
/// # Errors
/// The file cannot be read, is no TOML, or names a command or an option that is not there; the
/// message says which was perhaps meant.
pub(super) fn apply(cli: Command, file: &Path) -> Result<Command> {
    let at = file.display();
    let mut table = read(file)?;
    slurm_of(file, table.remove(SLURM))?;
    let (sections, general): (Vec<_>, Vec<_>) =
        table.iter().partition(|(_, value)| value.is_table());
    let names: Vec<String> = cli.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let mut cli = cli;
    for (key, value) in general {
        let having: Vec<&String> =
            names.iter().filter(|name| option(&cli, name, key).is_some()).collect();
        if having.is_empty() {
            let all = cli.get_subcommands().flat_map(Command::get_arguments);
            bail!("{at}: no command has an option `{key}`{}", meant(key, options(all)));
        }
        for name in having {
            cli = with_default(cli, name, key, value).with_context(|| at.to_string())?;
        }
    }
    for (name, section) in sections {
        let Some(command) = cli.find_subcommand(name) else {
            bail!("{at}: there is no command `{name}`{}", meant(name, names));
        };
        let known = options(command.get_arguments());
        for (key, value) in section.as_table().into_iter().flatten() {
            if option(&cli, name, key).is_none() {
                bail!("{at}: probe {name} has no option `{key}`{}", meant(key, known));
            }
            cli = with_default(cli, name, key, value).with_context(|| at.to_string())?;
        }
    }
    Ok(cli)
}

fn read(file: &Path) -> Result<toml::Table> {
    let at = file.display();
    let text = std::fs::read_to_string(file).with_context(|| at.to_string())?;
    text.parse().with_context(|| format!("{at}: not TOML"))
}

/// How sweeps run on a cluster, as the file says that holds in a folder.
///
/// # Errors
/// The file cannot be read, or its section has a key that is none.
pub(super) fn slurm(folder: &Path) -> Result<Settings> {
    match find(folder) {
        Some(file) => slurm_of(&file, read(&file)?.remove(SLURM)),
        None => Ok(Settings::default()),
    }
}

fn slurm_of(file: &Path, section: Option<toml::Value>) -> Result<Settings> {
    let Some(section) = section else { return Ok(Settings::default()) };
    section.try_into().with_context(|| format!("{}: [{SLURM}]", file.display()))
}

/// Names of options as users write them.
fn options<'a>(arguments: impl Iterator<Item = &'a clap::Arg>) -> Vec<String> {
    arguments.filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

fn meant(name: &str, known: Vec<String>) -> String {
    let found = nearest(&name.replace('_', "-"), known.iter().map(String::as_str));
    found.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// The id of a command's option.
fn option(cli: &Command, command: &str, key: &str) -> Option<String> {
    let long = key.replace('_', "-");
    let mut arguments = cli.find_subcommand(command)?.get_arguments();
    let found = arguments.find(|argument| argument.get_long() == Some(&long))?;
    let id = found.get_id().as_str();
    (!NOT_DEFAULTS.contains(&id)).then(|| id.to_owned())
}

fn with_default(cli: Command, command: &str, key: &str, value: &toml::Value) -> Result<Command> {
    let Some(id) = option(&cli, command, key) else { return Ok(cli) };
    let values = match value {
        toml::Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    let words = values.iter().map(|value| word(key, value)).collect::<Result<Vec<_>>>()?;
    Ok(cli.mut_subcommand(command, |command| {
        command.mut_arg(id, |argument| match argument.get_action() {
            // A flag that is off by default stays so, if the file says so.
            ArgAction::SetTrue if words.iter().all(|word| word == "false") => argument,
            _ => argument.default_values(words),
        })
    }))
}

fn word(key: &str, value: &toml::Value) -> Result<String> {
    Ok(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(n) => n.to_string(),
        toml::Value::Float(x) => x.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        other => bail!("`{key}` cannot be {other}: give text, a number, true, false, or a list"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli() -> Command {
        let steps = || clap::Arg::new("steps").long("steps").default_value("25");
        let flag = clap::Arg::new("maps").long("maps").action(ArgAction::SetTrue);
        let edits = clap::Arg::new("edit").long("edit").action(ArgAction::Append);
        let draw = Command::new("draw").arg(steps());
        Command::new("probe")
            .subcommand(draw)
            .subcommand(Command::new("look").arg(steps()).arg(flag).arg(edits))
    }

    fn applied(text: &str) -> Result<Command> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        std::fs::write(&file, text).unwrap();
        assert_eq!(find(&folder.path().join("deep/er")).as_deref(), Some(file.as_path()));
        apply(cli(), &file)
    }

    fn steps(cli: &Command, words: &[&str]) -> String {
        let found = cli.clone().try_get_matches_from(words).unwrap();
        let (_, of_command) = found.subcommand().unwrap();
        of_command.get_one::<String>("steps").unwrap().clone()
    }

    #[test]
    fn a_section_wins_over_the_top_and_the_command_line_over_both() {
        let cli =
            applied("steps = 30\n[look]\nsteps = 40\nmaps = true\nedit = [\"a\", \"b\"]").unwrap();
        assert_eq!(steps(&cli, &["probe", "draw"]), "30");
        assert_eq!(steps(&cli, &["probe", "look"]), "40");
        assert_eq!(steps(&cli, &["probe", "look", "--steps", "7"]), "7");
        let found = cli.try_get_matches_from(["probe", "look"]).unwrap();
        let (_, look) = found.subcommand().unwrap();
        assert!(look.get_flag("maps"));
        let edits: Vec<_> = look.get_many::<String>("edit").unwrap().collect();
        assert_eq!(edits, ["a", "b"]);
    }

    #[test]
    fn unknown_names_are_refused_with_what_was_meant() {
        let says = |text: &str| format!("{:#}", applied(text).unwrap_err());
        assert!(
            says("stepz = 3").contains("no command has an option `stepz`; did you mean `steps`?")
        );
        assert!(says("[lok]\nsteps = 3").contains("no command `lok`; did you mean `look`?"));
        assert!(says("[look]\nmap = true").contains("no option `map`; did you mean `maps`?"));
        assert!(says("[draw]\nmaps = true").contains("probe draw has no option `maps`"));
        assert!(says("steps = 1979-05-27").contains("`steps` cannot be"));
        assert!(says("steps =").contains("not TOML"));
        assert!(says("help = true").contains("no command has an option `help`"));
        let typo = says("[slurm]\npartitoin = \"gpu\"");
        assert!(typo.contains("partitoin") && typo.contains("`partition`"), "{typo}");
    }

    #[test]
    fn a_spec_wins_over_the_cluster_of_the_project() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[slurm]\npartition = \"gpu\"\ntime = \"01:00:00\"\nmodules = [\"cuda\"]\n\
                    setup = [\"a\", \"b\"]\n";
        std::fs::write(folder.path().join(FILE), text).unwrap();
        assert!(applied(text).is_ok());
        let of_spec = Settings {
            time: Some("02:00:00".to_owned()),
            setup: Some(Vec::new()),
            ..Settings::default()
        };
        let both = of_spec.or(slurm(folder.path()).unwrap());
        assert_eq!(both.partition.as_deref(), Some("gpu"));
        assert_eq!(both.time.as_deref(), Some("02:00:00"));
        assert_eq!(both.modules.as_deref(), Some(["cuda".to_owned()].as_slice()));
        assert_eq!(both.setup.as_deref(), Some([].as_slice()), "an empty list is an answer");
    }
}
