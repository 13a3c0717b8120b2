//! `probe tokens`: a prompt as the text encoder reads it.

use anyhow::Result;

use super::model_args::LoadArgs;
use super::output::{Format, FormatArgs, line};
use super::run_model::warn_of_cut;
use crate::model::checkpoint::{ModelFiles, read_tokenizer};
use crate::model::tokenizer::{LongPrompt, Tokens};
use crate::table::{self, TokenRow};

const EXAMPLES: &str = "\
Prints one JSON object: {\"ids\": […], \"pieces\": […], \"words\": […]}, three lists of equal
length; words is null at start and end tokens. Only the (first) tokenizer is opened.
Attention weights such as (word:1.2) are not interpreted: they are text like any other.

Examples:
  probe tokens --prompt \"a striped purple cone\"
  probe tokens --prompt \"a striped purple cone\" --format table";

/// Show how a prompt is tokenized.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The text to tokenize
    #[arg(long)]
    prompt: String,
    /// `shapes` (built in), a folder, a file or an id on the hub
    #[arg(long, value_name = "shapes|DIR|FILE|ID", default_value = "shapes")]
    model: String,
    /// What becomes of a prompt of more than 75 tokens
    #[arg(long, value_enum, default_value_t = LongPrompt::Truncate)]
    long_prompt: LongPrompt,
    #[command(flatten)]
    load: LoadArgs,
    /// json: the object; others: a table with a row a token
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    let files = ModelFiles::find(args.load.source(&args.model))?;
    let tokenizer = read_tokenizer(&files, "tokenizer")?;
    let tokens = tokenizer.encode_long(&args.prompt, args.long_prompt)?;
    warn_of_cut("prompt", &tokens);
    if args.format == Format::Json {
        line(&serde_json::to_string(&tokens)?)?;
    } else {
        FormatArgs { format: args.format }.print(&table::frame(rows(&tokens))?)?;
    }
    Ok(0)
}

fn rows(tokens: &Tokens) -> impl Iterator<Item = TokenRow> {
    (0..tokens.ids.len()).map(|i| TokenRow {
        position: i as u32,
        // Ids count the rows of a vocabulary: they are small and never negative.
        id: tokens.ids[i] as u32,
        piece: tokens.pieces[i].clone(),
        word: tokens.words[i].clone(),
        word_index: tokens.word_numbers[i].map(|n| n as u32),
        start: tokens.spans[i].0 as u32,
        end: tokens.spans[i].1 as u32,
    })
}
