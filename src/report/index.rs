//! The page that lists the runs of a folder.

use maud::{DOCTYPE, PreEscaped, html};

use super::blocks;
use super::html::{policy, style};

/// A finished run in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexedRun {
    /// Name of its folder; the link goes to `/<name>/`.
    pub name: String,
    /// Which probe ran.
    pub probe: String,
    /// The prompt, or how many.
    pub prompt: String,
    /// The model; may be empty.
    pub model: String,
    /// When it began.
    pub started: String,
    /// How to run it again; may be empty.
    pub command: String,
    /// Why it cannot be opened, if it cannot.
    pub problem: Option<String>,
}

/// A run that is being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnfinishedRun {
    /// What its folder will be called.
    pub name: String,
    /// Images that are there already.
    pub images: usize,
}

/// A folder of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// The folder.
    pub folder: String,
    /// Its runs in the order of the page.
    pub runs: Vec<IndexedRun>,
    /// Runs in progress.
    pub unfinished: Vec<UnfinishedRun>,
    /// Seconds after which the page is fetched again while a run is in progress; none: never.
    pub renewed_after: Option<u32>,
}

impl Index {
    /// The page; it loads nothing and has no script.
    pub fn to_html(&self) -> String {
        let style = style();
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy(&style, None));
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { "Runs in " (self.folder) }
                    style { (PreEscaped(&style)) }
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header.top { div.top-text {
                        p.maker { "probe report" }
                        h1 { "Runs in " code { (self.folder) } }
                    } }
                    div.page { main #content tabindex="-1" {
                        @if !self.unfinished.is_empty() { (self.in_progress()) }
                        @if self.runs.is_empty() {
                            p.quiet { "No finished run is here yet. For a first one:" }
                            (blocks::command("probe attention --prompt \"red ball left of blue cube\""))
                        }
                        ul.runs { @for run in &self.runs { li { (entry(run)) } } }
                    } }
                    footer { p { "Shown to this machine alone." } }
                }
            }
        };
        page.into_string()
    }

    fn in_progress(&self) -> maud::Markup {
        html! {
            section aria-labelledby="in-progress" {
                h2 #in-progress { "In progress" }
                ul.unfinished {
                    @for run in &self.unfinished {
                        li { code { (run.name) } @if run.images > 0 { " — " (run.images) " images so far" } }
                    }
                }
                @match self.renewed_after {
                    Some(seconds) => p.quiet {
                        "This list renews itself every " (seconds) " seconds. "
                        a href="/?still" { "Keep it still" }
                    },
                    None => p.quiet { "This list keeps still. " a href="/" { "Renew it again" } },
                }
            }
        }
    }
}

fn entry(run: &IndexedRun) -> maud::Markup {
    html! {
        @match &run.problem {
            Some(problem) => {
                p.run-name { (run.name) }
                (blocks::warning(problem))
            }
            None => {
                p.run-name {
                    a href={ "/" (run.name) "/" } { (run.probe) @if !run.prompt.is_empty() { ": " (run.prompt) } }
                }
                p.quiet { (run.started) @if !run.model.is_empty() { " · " (run.model) } " · " (run.name) }
                @if !run.command.is_empty() {
                    details { summary { "Run this again" } (blocks::command(&run.command)) }
                }
            }
        }
    }
}
