//! Several runs in one document.

use crate::report::{Block, Cell, Explorer, Report, Section, Table};

/// Bytes that the maps of all runs together may take in the page.
const EXPLORER_BYTES: usize = 2_500_000;

/// The report of a run, and what the run is called.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// Name of the run's folder.
    pub name: String,
    /// Its report.
    pub report: Report,
}

/// One document of several runs: a list of them, all their maps in one explorer, where any two
/// can be looked at side by side, then each report.
pub fn combine(runs: Vec<RunReport>) -> Report {
    let mut combined = Report::new(format!("{} runs", runs.len()));
    combined.maker = format!("probe report, denoscope {}", env!("CARGO_PKG_VERSION"));
    combined.section(Section::new("Runs").with(Block::Table(list(&runs))));
    let mut runs = runs;
    if let Some(explorer) = one_explorer(&mut runs) {
        combined.section(
            Section::new("Side by side")
                .prose(
                    "Choose an image of one run and, beside it, one of another: words, layers and \
                     steps go together, and the cursor points at the same place of both.",
                )
                .with(Block::Explorer(explorer)),
        );
    }
    combined.parts = runs.into_iter().map(|run| run.report).collect();
    combined
}

fn list(runs: &[RunReport]) -> Table {
    let mut labels: Vec<&str> = Vec::new();
    for fact in runs.iter().flat_map(|run| &run.report.facts) {
        if !labels.contains(&fact.label.as_str()) {
            labels.push(&fact.label);
        }
    }
    let row = |run: &RunReport| {
        let value = |label: &&str| {
            let fact = run.report.facts.iter().find(|fact| fact.label == **label);
            fact.map_or(Cell::Missing, |fact| Cell::Text(fact.value.clone()))
        };
        let mut cells = vec![
            Cell::Text(run.name.clone()),
            Cell::Text(run.report.title.clone()),
            Cell::Text(run.report.subtitle.clone()),
        ];
        cells.extend(labels.iter().map(value));
        cells
    };
    let columns = ["run", "question", "prompt"].into_iter().chain(labels.iter().copied());
    Table {
        name: "runs".to_owned(),
        caption: "The runs of this document, in the order in which they were named.".to_owned(),
        columns: columns.map(str::to_owned).collect(),
        rows: runs.iter().map(row).collect(),
    }
}

/// Takes the explorers of runs that show the same quantity and makes one of them; none if fewer
/// than two runs have one.
fn one_explorer(runs: &mut [RunReport]) -> Option<Explorer> {
    let quantity = runs.iter().find_map(|run| Some(explorer_of(&run.report)?.quantity.clone()))?;
    let fits = |report: &Report| explorer_of(report).is_some_and(|e| e.quantity == quantity);
    if runs.iter().filter(|run| fits(&run.report)).count() < 2 {
        return None;
    }
    let mut joined: Option<Explorer> = None;
    for run in runs.iter_mut().filter(|run| fits(&run.report)) {
        let (name, prompt) = (run.name.clone(), run.report.subtitle.clone());
        let Some(mut explorer) = take_explorer(&mut run.report) else { continue };
        for image in &mut explorer.images {
            image.title = format!("{prompt} — {} ({name})", image.title);
        }
        match &mut joined {
            Some(joined) => joined.images.extend(explorer.images),
            None => joined = Some(explorer),
        }
    }
    joined.map(|explorer| explorer.thinned(EXPLORER_BYTES))
}

fn explorer_of(report: &Report) -> Option<&Explorer> {
    let blocks = report.sections.iter().flat_map(|section| &section.blocks);
    blocks.into_iter().find_map(|block| match block {
        Block::Explorer(explorer) if !explorer.images.is_empty() => Some(explorer),
        _ => None,
    })
}

/// Takes the explorer out of a report, and the section that held nothing else.
fn take_explorer(report: &mut Report) -> Option<Explorer> {
    let holds =
        |section: &Section| section.blocks.iter().any(|block| matches!(block, Block::Explorer(_)));
    let at = report.sections.iter().position(holds)?;
    report.sections.remove(at).blocks.into_iter().find_map(|block| match block {
        Block::Explorer(explorer) => Some(explorer),
        _ => None,
    })
}
