//! The tasks: what they are called, what they do, and which one a command line means.

mod benchmark;
mod browser;
mod gallery;
mod gate;
mod goldens;
mod help;
mod notebooks;
mod overhead;
mod parity;
mod probe;
mod setup;
mod sweeps;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

/// One chore. To add one: a file with a `TASK` in this folder, and a line in [`TASKS`].
pub struct Task {
    /// What is typed after `cargo xtask`.
    pub name: &'static str,
    /// Its arguments, as the help shows them.
    pub arguments: &'static str,
    /// One line on what it does.
    pub about: &'static str,
    /// Does it. The arguments are those after the name.
    pub run: fn(&[OsString]) -> Result<ExitCode>,
}

/// Every task, in the order of the help.
pub const TASKS: &[Task] = &[
    setup::TASK,
    probe::TASK,
    test::TASK,
    goldens::TASK,
    parity::TASK,
    benchmark::TASK,
    overhead::TASK,
    notebooks::TASK,
    gate::TASK,
    browser::TASK,
    gallery::TASK,
    sweeps::TASK,
    help::TASK,
];

/// Edits (of letters) up to which a wrong word is taken for a slip of the known one.
const FORGIVEN_EDITS: usize = 2;

/// Runs the task that the first argument names.
pub fn dispatch(arguments: &[OsString]) -> Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        return help::run(&[]);
    };
    let name = match name.to_string_lossy() {
        flag if flag == "--help" || flag == "-h" => "help".into(),
        name => name,
    };
    match TASKS.iter().find(|task| task.name == name) {
        Some(task) => (task.run)(rest),
        None => bail!(unknown("task", &name, TASKS.iter().map(|task| task.name))),
    }
}

/// Says that `word` is no `kind`, which one was perhaps meant, and which there are.
pub fn unknown<'a>(kind: &str, word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), *name))
        .min()
        .filter(|(edits, name)| *edits <= FORGIVEN_EDITS && *edits < name.len());
    let guess = nearest.map(|(_, name)| format!(" Did you mean `{name}`?")).unwrap_or_default();
    format!("there is no {kind} `{word}`.{guess} There are: {}", known.join(", "))
}

/// Refuses arguments where a task takes none.
pub fn no_arguments(task: &str, arguments: &[OsString]) -> Result<()> {
    match arguments.first() {
        Some(first) => bail!("`cargo xtask {task}` takes no argument `{}`", first.display()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn a_slip_is_answered_with_the_task_that_was_meant() {
        let error = dispatch(&words("stup")).unwrap_err().to_string();
        assert!(error.contains("no task `stup`. Did you mean `setup`?"), "{error}");
        let error = dispatch(&words("tset --x")).unwrap_err().to_string();
        assert!(error.contains("Did you mean `test`?"), "{error}");
    }

    #[test]
    fn a_word_like_no_task_is_answered_with_the_list_alone() {
        let error = dispatch(&words("harvest")).unwrap_err().to_string();
        assert!(!error.contains("Did you mean"), "{error}");
        for task in TASKS {
            assert!(error.contains(task.name), "{error}");
        }
    }
}
