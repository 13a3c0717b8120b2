//! Suites of published prompts, made from the files that their authors publish.
//!
//! The prompts themselves are not part of this program; their licences allow to use them, and
//! what is made of a file says whose they are.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Expect, FORM, Item, Suite};
use crate::judge::imported::geneval::Metadata;
use crate::judge::imported::visor::sr2d;

/// Images of each prompt in GenEval and VISOR.
const SEEDS: [u64; 4] = [0, 1, 2, 3];

/// Why a file cannot be made a suite.
#[derive(Debug, thiserror::Error)]
pub enum ImportSuiteError {
    /// It cannot be read.
    #[error("{}: cannot be read: {source}; check the path", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line that is not as it should be.
    #[error("{}, line {line}: {reason}; give {wanted}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
        /// The file that is wanted.
        wanted: &'static str,
    },
}

fn read(path: &Path) -> Result<String, ImportSuiteError> {
    fs::read_to_string(path)
        .map_err(|source| ImportSuiteError::Io { path: path.to_owned(), source })
}

fn item(id: String, prompt: String, category: String, expect: Option<Expect>) -> Item {
    Item {
        id,
        prompt,
        category,
        difficulty: None,
        twin: None,
        held_out: None,
        seeds: Vec::new(),
        expect,
    }
}

/// GenEval's 553 prompts, from `prompts/evaluation_metadata.jsonl`. Items are named `00000`,
/// `00001` … as the folders of its images.
///
/// # Errors
/// [`ImportSuiteError`].
pub fn geneval(path: &Path) -> Result<Suite, ImportSuiteError> {
    const WANTED: &str = "GenEval's prompts/evaluation_metadata.jsonl";
    let text = read(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let items = lines.map(|(at, line)| {
        let wrong = |reason: String| ImportSuiteError::Line {
            path: path.to_owned(),
            line: at + 1,
            reason,
            wanted: WANTED,
        };
        let metadata: Metadata = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
        metadata.check().map_err(|e| wrong(e.to_string()))?;
        let difficulty = metadata.include.iter().map(|wanted| wanted.count).sum::<usize>();
        Ok(Item {
            difficulty: u32::try_from(difficulty).ok(),
            ..item(
                format!("{at:05}"),
                metadata.prompt.clone(),
                metadata.tag.clone(),
                Some(Expect::Geneval(Metadata { prompt: String::new(), ..metadata })),
            )
        })
    });
    Ok(Suite {
        form: FORM,
        name: "geneval".to_owned(),
        version: 1,
        description:
            "GenEval: single objects, two objects, counts, colours, positions, two colours"
                .to_owned(),
        source: "Ghosh, Hajishirzi & Schmidt 2023, github.com/djghosh13/geneval".to_owned(),
        licence: "MIT".to_owned(),
        seeds: SEEDS.to_vec(),
        items: items.collect::<Result<_, ImportSuiteError>>()?,
    })
}

/// PartiPrompts, from `PartiPrompts.tsv`: prompt, category, challenge, note. They come without
/// expectations that rules could decide, so a program has to judge.
///
/// # Errors
/// [`ImportSuiteError`].
pub fn parti(path: &Path) -> Result<Suite, ImportSuiteError> {
    const WANTED: &str = "PartiPrompts.tsv with the columns Prompt, Category, Challenge, Note";
    let text = read(path)?;
    let mut items = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |reason: &str| ImportSuiteError::Line {
            path: path.to_owned(),
            line: at + 1,
            reason: reason.to_owned(),
            wanted: WANTED,
        };
        let mut fields = line.split('\t').map(str::trim);
        let (Some(prompt), Some(category)) = (fields.next(), fields.next()) else {
            return Err(wrong("it has fewer than two columns"));
        };
        if at == 0 {
            if !(prompt.eq_ignore_ascii_case("prompt") && category.eq_ignore_ascii_case("category"))
            {
                return Err(wrong("its first line is not the column names"));
            }
            continue;
        }
        let asks = Some(Expect::Words(prompt.to_owned()));
        items.push(item(format!("{:04}", at - 1), prompt.to_owned(), category.to_owned(), asks));
    }
    Ok(Suite {
        form: FORM,
        name: "parti-prompts".to_owned(),
        version: 1,
        description: "PartiPrompts: broad prompts by category, to be judged by a program"
            .to_owned(),
        source: "Yu et al. 2022, github.com/google-research/parti".to_owned(),
        licence: "Apache-2.0".to_owned(),
        seeds: vec![0],
        items,
    })
}

/// The 25,280 relational prompts of SR2D, which are generated and need no file. Items are named
/// by their number in the published list.
pub fn visor() -> Suite {
    let items = sr2d().map(|prompt| {
        let category = prompt.asked.relation.name().to_owned();
        item(prompt.id.to_string(), prompt.text, category, Some(Expect::Visor(prompt.asked)))
    });
    Suite {
        form: FORM,
        name: "visor".to_owned(),
        version: 1,
        description: "SR2D: two COCO objects in a relation, in both orders".to_owned(),
        source: "Gokhale et al. 2022, github.com/microsoft/VISOR (generated anew)".to_owned(),
        licence: "MIT".to_owned(),
        seeds: SEEDS.to_vec(),
        items: items.collect(),
    }
}
