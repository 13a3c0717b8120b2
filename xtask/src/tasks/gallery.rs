//! `cargo xtask gallery`: real reports of the built-in model, made anew for `reports/gallery/`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::{Task, no_arguments, probe};
use crate::runs::{Probe, emptied};
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "gallery",
    arguments: "",
    about: "Make reports/gallery anew with the built-in model; commit what changed",
    run,
};

/// Where the gallery is.
const GALLERY: &str = "reports/gallery";
/// A report that is committed may have this many bytes.
const MOST_BYTES: u64 = 1_200_000;
/// All of them together.
const MOST_BYTES_OF_ALL: u64 = 6_000_000;

/// A report of the gallery.
struct Piece {
    /// Name of its files.
    name: &'static str,
    /// What it answers.
    question: &'static str,
    /// What to look at.
    about: &'static str,
    /// The figure that stands for it, in the run's folder.
    figure: &'static str,
    /// The command.
    words: &'static [&'static str],
}

/// The reports in the order of the page.
const PIECES: &[Piece] = &[
    Piece {
        name: "attention",
        question: "Where does each word look?",
        about: "Maps of every word over the image, scored against the objects that the judge \
                finds; in the report an explorer with every layer, step and head.",
        figure: "figures/overlay-000.png",
        words: &[
            "attention",
            "--prompt",
            "red ball left of blue cube",
            "--count",
            "2",
            "--steps",
            "16",
        ],
    },
    Piece {
        name: "attention-scenes",
        question: "Which layers, heads and timesteps find the objects?",
        about: "Rendered scenes with exact masks, shown to the denoiser at several timesteps, \
                beside random weights.",
        figure: "figures/sites-by-timestep.png",
        words: &["attention", "--from-world", "100", "--at-steps", "100,300,500,700,900"],
    },
    Piece {
        name: "patch",
        question: "What carries the difference between two prompts?",
        about: "Groups of sites are restored one window of steps after the other; as many random \
                sites are the control.",
        figure: "figures/latent.png",
        words: &[
            "patch",
            "--prompt",
            "red ball left of blue cube",
            "--exchange",
            "colours",
            "--count",
            "4",
            "--steps",
            "20",
            "--windows",
            "4",
        ],
    },
    Piece {
        name: "forward",
        question: "What does noise leave of an image?",
        about: "The forward process in closed form, with the schedule's signal-to-noise ratio.",
        figure: "",
        words: &["forward"],
    },
];

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    no_arguments(TASK.name, arguments)?;
    let workspace = Workspace::locate()?;
    let probe = Probe { workspace: &workspace, program: probe::build(&workspace)? };
    let runs = workspace.target().join("gallery");
    let gallery = workspace.root().join(GALLERY);
    emptied(&runs)?;
    emptied(&gallery)?;
    let mut page = String::from(HEAD);
    let mut all = 0;
    for piece in PIECES {
        let run = probe.run(piece.words, &runs.join(piece.name))?;
        all += keep(piece, &run, &gallery)?;
        page += &entry(piece);
    }
    if all > MOST_BYTES_OF_ALL {
        bail!("the gallery has {all} bytes, more than {MOST_BYTES_OF_ALL}: make its runs smaller");
    }
    fs::write(gallery.join("README.md"), page)?;
    eprintln!("{} reports, {all} bytes: {}", PIECES.len(), gallery.display());
    Ok(ExitCode::SUCCESS)
}

const HEAD: &str = "\
# Gallery

Reports of the built-in model, as `probe` writes them: each is one file that opens without a
network. `cargo xtask gallery` makes them all anew.
";

/// Copies a run's report and figure; their bytes.
fn keep(piece: &Piece, run: &Path, gallery: &Path) -> Result<u64> {
    let copy = |from: &str, ending: &str| -> Result<u64> {
        let (from, to) = (run.join(from), gallery.join(format!("{}.{ending}", piece.name)));
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))
    };
    let bytes = copy("report.html", "html")?;
    if bytes > MOST_BYTES {
        bail!("the report {} has {bytes} bytes, more than {MOST_BYTES}", piece.name);
    }
    let figure = if piece.figure.is_empty() { 0 } else { copy(piece.figure, "png")? };
    Ok(bytes + figure)
}

fn entry(piece: &Piece) -> String {
    let Piece { name, question, about, figure, words } = piece;
    let mut text = format!("\n## {question}\n\n{about}\n\n");
    let quoted: Vec<String> = words
        .iter()
        .map(|word| if word.contains(' ') { format!("\"{word}\"") } else { (*word).to_owned() })
        .collect();
    let _ = write!(text, "```sh\nprobe {}\n```\n\n", quoted.join(" "));
    if !figure.is_empty() {
        let _ = write!(text, "![{question}]({name}.png)\n\n");
    }
    let _ = writeln!(text, "[The report]({name}.html)");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_command_as_a_shell_reads_it_and_links_to_its_files() {
        let text = entry(&PIECES[0]);
        assert!(text.contains("probe attention --prompt \"red ball left of blue cube\" --count 2"));
        assert!(text.contains("(attention.png)") && text.contains("(attention.html)"));
        assert!(!entry(PIECES.last().unwrap()).contains(".png"), "a piece without a figure");
    }
}
