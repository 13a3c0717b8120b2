//! Tables that are written while their rows come in.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;

use denoscope::table::{ChangeRow, ParquetStream, TableError, read_parquet, rows};
use polars::prelude::*;

fn row(step: u32) -> ChangeRow {
    ChangeRow {
        run: "run".into(),
        sample: 0,
        step,
        timestep: 500.0,
        sigma: 1.0,
        branch: Some("cond".into()),
        site: "mid.out".into(),
        norm: Some(f64::from(step)),
        change: Some(0.5),
        relative: None,
    }
}

#[test]
fn groups_are_written_as_they_fill_and_read_as_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("change.parquet");
    let mut stream = ParquetStream::<ChangeRow>::create(&path, 4).unwrap();
    assert!(stream.is_empty());
    for step in 0..10 {
        stream.push(row(step)).unwrap();
        assert!(!path.exists(), "it appears when it is whole");
    }
    assert_eq!(stream.len(), 10);
    stream.finish().unwrap();
    let mut reader = ParquetReader::new(File::open(&path).unwrap());
    let groups: Vec<usize> =
        reader.get_metadata().unwrap().row_groups.iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [4, 4, 2]);
    let expected: Vec<ChangeRow> = (0..10).map(row).collect();
    assert_eq!(rows::<ChangeRow>(&read_parquet::<ChangeRow>(&path).unwrap()).unwrap(), expected);
    // As another program reads it, with a filter that skips groups.
    let found = LazyFrame::scan_parquet(path.to_str().unwrap().into(), ScanArgsParquet::default())
        .unwrap()
        .filter(col("step").gt(lit(7_u32)))
        .collect()
        .unwrap();
    assert_eq!(found.column("step").unwrap().u32().unwrap().to_vec(), [Some(8), Some(9)]);
}

#[test]
fn a_table_without_rows_is_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("change.parquet");
    ParquetStream::<ChangeRow>::create(&path, 4).unwrap().finish().unwrap();
    assert_eq!(read_parquet::<ChangeRow>(&path).unwrap().height(), 0);
}

#[test]
fn what_is_broken_off_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("change.parquet");
    let mut stream = ParquetStream::<ChangeRow>::create(&path, 1).unwrap();
    stream.push(row(0)).unwrap();
    drop(stream);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_value_that_is_not_as_declared_is_named_by_its_row_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("change.parquet");
    let mut stream = ParquetStream::<ChangeRow>::create(&path, 2).unwrap();
    (0..3).try_for_each(|step| stream.push(row(step))).unwrap();
    let error = stream.push(ChangeRow { change: Some(-1.0), ..row(3) }).unwrap_err();
    assert!(matches!(error, TableError::Mismatch { .. }));
    assert!(error.to_string().contains("change is -1 in row 3"), "{error}");
    let missing = ParquetStream::<ChangeRow>::create(&folder.path().join("no/such"), 1);
    assert!(missing.is_err());
}
