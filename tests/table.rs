//! Tables: declared once, built, checked, stored, read back and printed.

#![allow(clippy::unwrap_used)]

use std::fs;

use denoscope::table::{
    AttentionRow, Format, ImageRow, Kind, Problem, Row, ScheduleRow, TableBuilder, TableError,
    TokenRow, ValueRange, check, declaration, declarations, documentation, frame, read_parquet,
    render, rows, schema, versions, write_parquet,
};
use polars::prelude::*;
use tempfile::TempDir;

fn attention(step: u32, token: u32) -> AttentionRow {
    AttentionRow {
        run: "20260131T093000Z-attention-0a1b2c3d".to_owned(),
        sample: 0,
        step,
        timestep: 960.0,
        sigma: 11.5,
        branch: "cond".to_owned(),
        site: "mid.attn.0.block.0.cross.probs".to_owned(),
        head: step.is_multiple_of(2).then_some(3),
        token,
        piece: "ball</w>".to_owned(),
        word: (token > 0).then(|| "ball".to_owned()),
        height: 2,
        width: 2,
        mass: 0.125,
        entropy: Some(1.25),
        centroid_x: Some(0.5),
        centroid_y: Some(0.25),
        peak_x: Some(0.75),
        peak_y: Some(0.25),
        map: (step == 0).then(|| vec![0.1, 0.2, 0.3, 0.4]),
    }
}

fn token(position: u32, piece: &str) -> TokenRow {
    let piece = piece.to_owned();
    let (id, word, word_index) = (100 + position, None, None);
    TokenRow { position, id, piece, word, word_index, start: 0, end: 0 }
}

fn image(seed: u64, prompt: &str) -> ImageRow {
    let file = "images/000.png".to_owned();
    ImageRow { sample: 0, prompt: prompt.to_owned(), seed, file, sha256: "00".repeat(32) }
}

fn text(frame: &DataFrame, format: Format) -> String {
    let mut bytes = Vec::new();
    render(frame, format, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn problems(error: TableError) -> Vec<Problem> {
    match error {
        TableError::Mismatch { problems, .. } => problems,
        other => unreachable!("expected a mismatch, got {other}"),
    }
}

// --- declarations ------------------------------------------------------------------------

#[test]
fn the_declared_tables_are_these() {
    insta::assert_snapshot!(documentation());
}

#[test]
fn the_attention_table_has_its_fixed_columns() {
    let names: Vec<&str> = AttentionRow::TABLE.columns.iter().map(|column| column.name).collect();
    let fixed = "run, sample, step, timestep, sigma, branch, site, head, token, piece, word, \
                 height, width, mass, entropy, centroid_x, centroid_y, peak_x, peak_y, map";
    assert_eq!(names.join(", "), fixed);
}

#[test]
fn declarations_are_complete_and_unique() {
    let mut names: Vec<&str> = declarations().iter().map(|table| table.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), declarations().len());
    assert_eq!(versions().len(), declarations().len());
    for table in declarations() {
        assert!(table.meaning.ends_with('.') && table.version >= 1, "{}", table.name);
        for column in table.columns {
            assert!(column.meaning.ends_with(['.', '…']), "{}.{}", table.name, column.name);
            assert_eq!(table.column(column.name), Some(column), "unique name");
            assert!(column.range.low < column.range.high);
        }
    }
}

#[test]
fn unknown_tables_are_answered_with_the_nearest() {
    let error = declaration("atention").unwrap_err().to_string();
    assert!(error.contains("did you mean \"attention\"?"), "{error}");
    assert!(error.contains("trace_statistics"), "{error}");
    assert!(schema(Some("nothing like it")).is_err());
}

#[test]
fn the_schema_is_a_table_itself() {
    let all = schema(None).unwrap();
    assert_eq!(all.height(), declarations().iter().map(|table| table.columns.len()).sum::<usize>());
    let one = schema(Some("attention")).unwrap();
    assert_eq!(one.height(), AttentionRow::TABLE.columns.len());
    insta::assert_snapshot!(text(&schema(Some("schedule")).unwrap(), Format::Table));
}

// --- building and checking ---------------------------------------------------------------

#[test]
fn rows_become_a_frame_of_the_declared_schema_and_come_back() {
    let given: Vec<AttentionRow> = (0..4).map(|i| attention(i / 2, i % 2)).collect();
    let table = frame(given.clone()).unwrap();
    assert_eq!(**table.schema(), AttentionRow::TABLE.schema());
    assert_eq!(table.height(), 4);
    assert_eq!(rows::<AttentionRow>(&table).unwrap(), given);
    let empty = frame(Vec::<AttentionRow>::new()).unwrap();
    assert_eq!(**empty.schema(), AttentionRow::TABLE.schema());
    assert_eq!(rows::<AttentionRow>(&empty).unwrap(), []);
}

#[test]
fn long_tables_are_built_in_chunks_and_count_rows_from_the_start() {
    let mut builder = TableBuilder::new();
    for i in 0..150_000 {
        builder.push(token(i, "x")).unwrap();
    }
    assert_eq!(builder.len(), 150_000);
    let table = builder.finish().unwrap();
    let positions = table.column("position").unwrap().u32().unwrap();
    assert!(positions.iter().enumerate().all(|(i, position)| position == Some(i as u32)));

    let good = attention(0, 1);
    let rows = (0..70_000).map(|i| {
        let mass = if i == 69_000 { 1.5 } else { 0.5 };
        AttentionRow { mass, map: None, ..good.clone() }
    });
    let expected =
        Problem::Value { column: "mass", row: 69_000, value: 1.5, range: ValueRange::UNIT };
    assert_eq!(problems(frame(rows).unwrap_err()), [expected]);
}

#[test]
fn values_out_of_range_and_nan_are_refused() {
    let bad = AttentionRow {
        timestep: -1.0,
        mass: f64::NAN,
        centroid_x: Some(1.01),
        height: 0,
        map: Some(vec![0.0, f32::NAN]),
        ..attention(0, 0)
    };
    let found = problems(frame([attention(1, 0), bad]).unwrap_err());
    let columns: Vec<&str> = found
        .iter()
        .map(|problem| match problem {
            Problem::Value { column, row: 1, .. } => *column,
            other => unreachable!("{other}"),
        })
        .collect();
    assert_eq!(columns, ["timestep", "height", "mass", "centroid_x", "map"]);
    assert_eq!(found[1].to_string(), "column height is 0 in row 1; allowed: ≥ 1");
    assert!(found[2].to_string().ends_with("null for what does not exist"));
}

#[test]
fn infinity_is_a_value_where_no_end_is_declared() {
    let row = ScheduleRow {
        timestep: 999,
        beta: 1.0,
        alpha_bar: 0.0,
        sigma: f64::INFINITY,
        snr: 0.0,
        log_snr: f64::NEG_INFINITY,
    };
    assert_eq!(rows::<ScheduleRow>(&frame([row.clone()]).unwrap()).unwrap(), [row]);
}

#[test]
fn every_problem_of_the_columns_is_named_at_once() {
    let mut table = frame([token(0, "<|startoftext|>"), token(1, "ball</w>")]).unwrap();
    table.rename("piece", "peice".into()).unwrap();
    table.with_column(Column::new("id".into(), [1_i64, 2])).unwrap();
    table.with_column(Column::new("position".into(), [Some(1_u32), None])).unwrap();
    table.with_column(Column::new("loss".into(), [1.0, 2.0])).unwrap();
    let error = check(&table, &TokenRow::TABLE).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("is \"peice\" meant to be it?"), "{message}");
    let expected = [
        Problem::Null { column: "position", row: 1 },
        Problem::Kind { column: "id", expected: Kind::U32, got: "i64".to_owned() },
        Problem::Missing { column: "piece", kind: Kind::Text, nearest: Some("peice".to_owned()) },
        Problem::Extra { column: "peice".to_owned(), nearest: Some("piece".to_owned()) },
        Problem::Extra { column: "loss".to_owned(), nearest: None },
    ];
    assert_eq!(problems(error), expected);
}

// --- Parquet -----------------------------------------------------------------------------

#[test]
fn a_table_survives_parquet() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("attention.parquet");
    let given: Vec<AttentionRow> = (0..6).map(|i| attention(i / 2, i % 2)).collect();
    let mut table = frame(given.clone()).unwrap();
    write_parquet::<AttentionRow>(&mut table, &path).unwrap();
    let read = read_parquet::<AttentionRow>(&path).unwrap();
    assert_eq!(rows::<AttentionRow>(&read).unwrap(), given);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    let seeds = folder.path().join("images.parquet");
    write_parquet::<ImageRow>(&mut frame([image(u64::MAX, "ü 球 🎈")]).unwrap(), &seeds).unwrap();
    let read = rows::<ImageRow>(&read_parquet::<ImageRow>(&seeds).unwrap()).unwrap();
    assert_eq!((read[0].seed, read[0].prompt.as_str()), (u64::MAX, "ü 球 🎈"));
}

#[test]
fn nothing_is_written_of_a_table_that_is_not_as_declared() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokens.parquet");
    let mut table = frame([token(0, "a")]).unwrap().drop("piece").unwrap();
    assert!(write_parquet::<TokenRow>(&mut table, &path).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let mut table = frame([token(0, "a")]).unwrap();
    let error = write_parquet::<TokenRow>(&mut table, &folder.path().join("no/t.parquet"));
    assert!(error.unwrap_err().to_string().contains("check the spelling"));
}

/// A file as another program would write it, with metadata of choice.
fn write_raw(table: &mut DataFrame, path: &std::path::Path, metadata: &[(&str, &str)]) {
    let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ParquetWriter::new(fs::File::create(path).unwrap())
        .with_key_value_metadata(Some(KeyValueMetadata::from_static(pairs.collect())))
        .finish(table)
        .unwrap();
}

#[test]
fn files_of_another_table_version_or_program_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokens.parquet");
    let mut table = frame([token(0, "a")]).unwrap();
    let read = || read_parquet::<TokenRow>(&path);
    write_raw(&mut table, &path, &[("denoscope.table", "images"), ("denoscope.version", "1")]);
    assert!(matches!(read(), Err(TableError::OtherTable { expected: "tokens", .. })));
    write_raw(&mut table, &path, &[("denoscope.table", "tokens"), ("denoscope.version", "7")]);
    let known = TokenRow::TABLE.version;
    assert!(matches!(read(), Err(TableError::Version { known: k, .. }) if k == known));
    // Another program keeps the columns, perhaps in another order, and drops the metadata.
    let backwards = TokenRow::TABLE.columns.iter().rev().map(|column| column.name);
    let mut shuffled = table.select(backwards).unwrap();
    write_raw(&mut shuffled, &path, &[]);
    assert_eq!(**read().unwrap().schema(), TokenRow::TABLE.schema());
    write_raw(&mut table.drop("id").unwrap(), &path, &[]);
    assert!(matches!(read(), Err(TableError::Mismatch { .. })));
}

#[test]
fn damaged_files_are_errors_that_name_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokens.parquet");
    let mut table = frame((0..100).map(|i| token(i, "ball</w>"))).unwrap();
    write_parquet::<TokenRow>(&mut table, &path).unwrap();
    let whole = fs::read(&path).unwrap();
    for keep in [0, 3, 10, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..keep]).unwrap();
        let error = read_parquet::<TokenRow>(&path).unwrap_err();
        assert!(matches!(error, TableError::Unreadable { .. }), "{keep}: {error}");
        assert!(error.to_string().contains("tokens.parquet"), "{error}");
    }
    fs::write(&path, "position,id\n0,1\n").unwrap();
    assert!(matches!(read_parquet::<TokenRow>(&path), Err(TableError::Unreadable { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(read_parquet::<TokenRow>(&path), Err(TableError::Open { .. })));
    assert!(read_parquet::<TokenRow>(folder.path()).is_err(), "a folder is no table");
}

// --- printing ----------------------------------------------------------------------------

/// Names, numbers of every size, nulls, lists, and text that could do harm.
fn awkward() -> DataFrame {
    let mut table =
        frame([image(7, "red ball"), image(u64::MAX, "a, \"b\" | <i>*c*</i>\n\u{1b}[31m")])
            .unwrap()
            .select(["seed", "prompt"])
            .unwrap();
    let numbers = [Some(0.1_f32), None];
    table.with_column(Column::new("f32".into(), numbers)).unwrap();
    table.with_column(Column::new("f64".into(), [-1.0e-9, f64::INFINITY])).unwrap();
    table.with_column(Column::new("ok".into(), [true, false])).unwrap();
    let maps = frame([attention(0, 0), attention(1, 0)]).unwrap();
    table.with_column(maps.column("map").unwrap().clone()).unwrap();
    table
}

#[test]
fn a_table_prints_for_terminals_and_documents() {
    insta::assert_snapshot!("awkward_table", text(&awkward(), Format::Table));
    insta::assert_snapshot!("awkward_markdown", text(&awkward(), Format::Markdown));
    let shown = text(&awkward(), Format::Table);
    assert!(!shown.contains('\u{1b}'), "no prompt reaches the terminal's controls");
    assert_eq!(shown.lines().count(), 4, "nor breaks a line");
}

#[test]
fn json_is_json_and_keeps_every_digit() {
    let parsed: serde_json::Value = serde_json::from_str(&text(&awkward(), Format::Json)).unwrap();
    let expected = serde_json::json!([
        {"seed": 7, "prompt": "red ball", "f32": 0.1, "f64": -1.0e-9, "ok": true,
         "map": [0.1, 0.2, 0.3, 0.4]},
        {"seed": u64::MAX, "prompt": "a, \"b\" | <i>*c*</i>\n\u{1b}[31m", "f32": null,
         "f64": null, "ok": false, "map": null},
    ]);
    assert_eq!(parsed, expected);
    let empty: serde_json::Value =
        serde_json::from_str(&text(&frame(Vec::<TokenRow>::new()).unwrap(), Format::Json)).unwrap();
    assert_eq!(empty, serde_json::json!([]));
}

#[test]
fn csv_quotes_what_needs_it() {
    let expected = "seed,prompt,f32,f64,ok,map\r\n\
                    7,red ball,0.1,-1e-9,true,0.1 0.2 0.3 0.4\r\n\
                    18446744073709551615,\"a, \"\"b\"\" | <i>*c*</i>\n\u{1b}[31m\",,inf,false,\r\n";
    assert_eq!(text(&awkward(), Format::Csv), expected);
}

#[test]
fn numbers_are_short_for_people() {
    let numbers = [0.0, 1.0, -0.5, 0.123_456, 12_345.678, 0.000_123_456, 0.000_012_3, 1.5e9];
    let table = DataFrame::new_infer_height(vec![Column::new("x".into(), numbers)]).unwrap();
    let shown = text(&table, Format::Table);
    let cells: Vec<&str> = shown.lines().skip(2).map(str::trim).collect();
    assert_eq!(cells, ["0", "1", "-0.5", "0.1235", "12346", "0.0001235", "1.230e-5", "1.500e9"]);
}

#[test]
fn formats_have_names() {
    for (name, format) in Format::ALL {
        assert_eq!(name.parse(), Ok(format));
        assert_eq!(format.to_string(), name);
    }
    let error = "yaml".parse::<Format>().unwrap_err().to_string();
    assert_eq!(error, "there is no format \"yaml\"; use table, json, csv or md");
}
