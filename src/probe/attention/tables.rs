//! The run's rows, as they are stored.

use super::AttentionRun;
use crate::measure::record::MapNumbers;
use crate::probe::judgement::{self, JudgedImage};
use crate::table::{AttentionRow, JudgementRow, MapOf, TokenRow};

/// One row per image, branch, step, layer, head and token; with `maps`, each map too (mean
/// over heads, on rows without a head).
pub fn attention_rows(run: &AttentionRun, maps: bool) -> Vec<AttentionRow> {
    let mut rows: Vec<AttentionRow> =
        run.record.rows.iter().map(|numbers| attention_row(run, numbers)).collect();
    if maps {
        rows.extend(map_rows(run));
    }
    rows
}

fn attention_row(run: &AttentionRun, numbers: &MapNumbers) -> AttentionRow {
    let token = &run.tokens[numbers.token];
    let layer = &run.record.layers[numbers.layer];
    let (_, _, _, height, width) = layer.per_head.dim();
    let of = MapOf {
        run: &run.run,
        site: &layer.site,
        shape: [height as u32, width as u32],
        piece: &token.piece,
        word: token.word.as_ref().map(|(text, _)| text.as_str()),
    };
    AttentionRow::of_numbers(of, numbers)
}

/// Rows of the conditional branch's maps, averaged over heads.
fn map_rows(run: &AttentionRun) -> Vec<AttentionRow> {
    use crate::measure::map::summarise;
    let mut rows = Vec::new();
    for layer in &run.record.layers {
        for (step, maps) in layer.per_step.iter().enumerate() {
            let (timestep, sigma) = run.steps[step];
            for (sample, of_sample) in maps.outer_iter().enumerate() {
                for (token, map) in of_sample.outer_iter().enumerate() {
                    let Ok(numbers) = summarise(map) else { continue };
                    let (height, width) = map.dim();
                    let word = run.tokens[token].word.as_ref().map(|(text, _)| text.clone());
                    rows.push(AttentionRow {
                        run: run.run.clone(),
                        sample: sample as u32,
                        step: step as u32,
                        timestep,
                        sigma,
                        branch: crate::site::Branch::Cond.label().to_owned(),
                        site: layer.site.clone(),
                        head: None,
                        token: token as u32,
                        piece: run.tokens[token].piece.clone(),
                        word,
                        height: height as u32,
                        width: width as u32,
                        mass: numbers.mean.clamp(0.0, 1.0),
                        entropy: Some(numbers.entropy),
                        centroid_x: Some(numbers.centroid.x),
                        centroid_y: Some(numbers.centroid.y),
                        peak_x: Some(numbers.peak.at.x),
                        peak_y: Some(numbers.peak.at.y),
                        map: Some(map.iter().copied().collect()),
                    });
                }
            }
        }
    }
    rows
}

/// The prompt's tokens.
pub fn token_rows(run: &AttentionRun) -> Vec<TokenRow> {
    let row = |(position, token): (usize, &super::PromptToken)| TokenRow {
        position: position as u32,
        id: token.id as u32,
        piece: token.piece.clone(),
        word: token.word.as_ref().map(|(text, _)| text.clone()),
        word_index: token.word.as_ref().map(|(_, number)| *number as u32),
        start: token.span.0 as u32,
        end: token.span.1 as u32,
    };
    run.tokens.iter().enumerate().map(row).collect()
}

/// What the judge says of each image.
pub fn judgement_rows(run: &AttentionRun) -> Vec<JudgementRow> {
    let rows = run.images.iter().zip(0..).flat_map(|(image, sample)| {
        let of = JudgedImage { sample, prompt: &run.prompt, seed: image.seed, category: "prompt" };
        image.verdict.iter().flat_map(|v| judgement::judgement_rows(of, v)).collect::<Vec<_>>()
    });
    rows.collect()
}
