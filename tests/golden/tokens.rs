//! Token ids against transformers' CLIPTokenizer.

use std::collections::BTreeMap;

use denoscope::model::tokenizer::Tokenizer;
use serde::Deserialize;

use crate::support::{Outcome, fixture, json};

#[derive(Deserialize)]
struct Goldens {
    texts: Vec<String>,
    ids: BTreeMap<String, Vec<Vec<i64>>>,
    padded: BTreeMap<String, Vec<Vec<i64>>>,
}

/// The ids as a tokenizer cuts them that takes at most `length` of them.
fn cut(ids: &[i64], length: usize) -> Vec<i64> {
    let (Some(end), true) = (ids.last(), ids.len() > length) else { return ids.to_vec() };
    ids[..length - 1].iter().chain([end]).copied().collect()
}

fn ids_agree(name: &str, folder: &str) -> Outcome {
    let read = |file: &str| std::fs::read(fixture(folder).join(file));
    let tokenizer = Tokenizer::new(
        &read("vocab.json")?,
        &read("merges.txt")?,
        &read("tokenizer_config.json")?,
    )?
    .with_special_tokens(&read("special_tokens_map.json")?)?;
    let goldens: Goldens = json("goldens/tokens.json")?;
    let (all, padded) = (&goldens.ids[name], &goldens.padded[name]);
    assert_eq!(all.len(), goldens.texts.len());
    let mut wrong = Vec::new();
    for (i, (text, golden)) in goldens.texts.iter().zip(all).enumerate() {
        let tokens = tokenizer.encode(text)?;
        if tokens.ids != cut(golden, tokenizer.max_length()) {
            wrong.push(format!("{text:?}: {:?}, not {golden:?}", tokens.ids));
        }
        if let Some(golden) = padded.get(i) {
            assert_eq!(&tokenizer.padded(&tokens), golden, "{text:?}");
        }
    }
    println!("{name}: {} of {} strings agree", all.len() - wrong.len(), all.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn ids_of_the_tiny_tokenizer() -> Outcome {
    ids_agree("sd", "tiny/sd/tokenizer")
}

/// As the second tokenizer of SDXL and that of Stable Diffusion 2.
#[test]
fn ids_of_a_tokenizer_that_pads_with_an_exclamation_mark() -> Outcome {
    ids_agree("xl2", "tiny/xl/tokenizer_2")
}

#[test]
fn ids_of_the_built_in_tokenizer() -> Outcome {
    ids_agree("shapes", "shapes/tokenizer")
}
