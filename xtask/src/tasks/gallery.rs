//! `cargo xtask gallery`: real reports of the built-in model, made anew for `reports/gallery/`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{Task, no_arguments, probe};
use crate::environment::take_option;
use crate::runs::{Probe, emptied};
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "gallery",
    arguments: "[--to DIR]",
    about: "Make reports/gallery (or DIR) anew with the built-in model; commit what changed",
    run,
};

/// Where the gallery is.
const GALLERY: &str = "reports/gallery";
/// A report that is committed may have this many bytes.
const MOST_BYTES: u64 = 3_000_000;
/// All of them together.
const MOST_BYTES_OF_ALL: u64 = 8_000_000;

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
    /// The command after `probe`, as a shell reads it.
    command: &'static str,
}

/// The reports in the order of the page: small runs, a few minutes for all on two cores.
const PIECES: &[Piece] = &[
    Piece {
        name: "attention",
        question: "Where does each word look?",
        about: "Maps of every word over the image, scored against the objects that the judge \
                finds; in the report an explorer with every layer, step and head.",
        figure: "figures/overlay-000.png",
        command: "attention --prompt 'red ball left of blue cube' --count 2 --steps 16",
    },
    Piece {
        name: "attention-scenes",
        question: "Which layers, heads and timesteps find the objects?",
        about: "Rendered scenes with exact masks, shown to the denoiser at several timesteps, \
                beside random weights.",
        figure: "figures/sites-by-timestep.png",
        command: "attention --from-world 60 --at-steps 100,300,500,700,900",
    },
    Piece {
        name: "patch",
        question: "What carries the difference between two prompts?",
        about: "Groups of sites are restored one window of steps after the other; as many random \
                sites are the control.",
        figure: "figures/latent.png",
        command: "patch --prompt 'red ball left of blue cube' --exchange colours --count 2 \
                  --steps 16 --windows 4",
    },
    Piece {
        name: "timesteps",
        question: "What is decided at which noise level?",
        about: "The judge on predicted images, spatial frequencies beside what noise alone lets \
                through, prompts exchanged on the way, linear probes.",
        figure: "figures/abstraction-by-noise.png",
        command: "timesteps --prompts 6 --count 2 --pairs 2 --switches 4 --scenes 120 --steps 16",
    },
    Piece {
        name: "guidance",
        question: "What does guidance buy, and what does it cost?",
        about: "The same prompts and noise at several scales: alignment, diversity, distance to \
                rendered scenes, looks.",
        figure: "figures/contact-sheet.png",
        command: "guidance --guidance 1,2,5,10 --from-world 5 --count 3 --steps 12",
    },
    Piece {
        name: "latent",
        question: "What does the autoencoder keep?",
        about: "Round trips of rendered scenes, also with latents quantised, blurred and noised.",
        figure: "figures/contact-sheet.png",
        command: "latent --count 40",
    },
    Piece {
        name: "clip",
        question: "What does the text encoder make of words, sums and order?",
        about: "Captions and their arithmetic, layer by layer, beside random weights; images \
                drawn along a path between two captions.",
        figure: "figures/similarity.png",
        command: "clip --captions 60 --routes 2 --images 1 --places 4 --steps 12",
    },
    Piece {
        name: "failures",
        question: "Where does it fail?",
        about: "Images of every category of the world, judged by the exact judge, with what went \
                wrong in each.",
        figure: "",
        command: "failures --count 6 --steps 16",
    },
    Piece {
        name: "compare",
        question: "Did it get better or worse?",
        about: "The baselines of earlier and of present weights: pairs of images, exact tests, \
                verdicts by category.",
        figure: "figures/difference.png",
        command: "compare shapes-earlier shapes",
    },
    Piece {
        name: "forward",
        question: "What does noise leave of an image?",
        about: "The forward process in closed form, with the schedule's signal-to-noise ratio.",
        figure: "figures/noised.png",
        command: "forward",
    },
];

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let (to, rest) = take_option("--to", arguments)?;
    no_arguments(TASK.name, &rest)?;
    let workspace = Workspace::locate()?;
    let probe = Probe { workspace: &workspace, program: probe::build(&workspace)? };
    let runs = workspace.target().join("gallery");
    emptied(&runs)?;
    let started = Instant::now();
    let made = PIECES
        .iter()
        .map(|piece| Ok((piece, made(&probe, piece, &runs)?)))
        .collect::<Result<Vec<_>>>()?;
    // The old gallery stays until all of the new one is there.
    let gallery = to.map_or_else(|| workspace.root().join(GALLERY), PathBuf::from);
    emptied(&gallery)?;
    let (mut page, mut all) = (String::from(HEAD), 0);
    for (piece, run) in &made {
        all += keep(piece, run, &gallery)?;
        page += &entry(piece);
    }
    fs::write(gallery.join("README.md"), page)?;
    let seconds = started.elapsed().as_secs();
    eprintln!("{} reports, {all} bytes, {seconds} s: {}", made.len(), gallery.display());
    if all > MOST_BYTES_OF_ALL {
        bail!("more than {MOST_BYTES_OF_ALL} bytes: make its runs smaller");
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the command of a piece.
fn made(probe: &Probe<'_>, piece: &Piece, runs: &Path) -> Result<PathBuf> {
    let words = shlex::split(piece.command).context("a command with an open quote")?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    probe.run(&words, &runs.join(piece.name))
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
    let Piece { name, question, about, figure, command } = piece;
    let mut text = format!("\n## {question}\n\n{about}\n\n```sh\nprobe {command}\n```\n\n");
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
        assert!(text.contains("probe attention --prompt 'red ball left of blue cube' --count 2"));
        assert!(text.contains("(attention.png)") && text.contains("(attention.html)"));
        let without = PIECES.iter().find(|piece| piece.figure.is_empty()).unwrap();
        assert!(!entry(without).contains(".png"), "a piece without a figure");
    }

    #[test]
    fn all_commands_are_words_of_a_shell() {
        assert!(PIECES.iter().all(|piece| shlex::split(piece.command).is_some()));
    }
}
