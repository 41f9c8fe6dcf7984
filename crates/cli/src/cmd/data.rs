//! `locus data`.

use std::path::{Path, PathBuf};

use locus_data::{Part, ReadOptions, Splits, check, read, stats};

use super::say;
use crate::UsageError;
use crate::args::{DataArgs, DataFiles, DataVerb};
use crate::samples;

pub(crate) fn run(args: &DataArgs) -> anyhow::Result<()> {
    match &args.verb {
        DataVerb::List { data_dir } => list(data_dir.as_deref()),
        DataVerb::Check(files) => {
            let report = check(&splits(files)?, None)?;
            print(files.json, &report)?;
            if report.is_clean() { Ok(()) } else { anyhow::bail!("the data has the problems listed above") }
        }
        DataVerb::Stats(files) => print(files.json, &stats(&splits(files)?, None)?),
    }
}

fn print(json: bool, report: &(impl serde::Serialize + std::fmt::Display)) -> anyhow::Result<()> {
    if json { say(serde_json::to_string_pretty(report)?) } else { say(report) }
}

fn list(data_dir: Option<&Path>) -> anyhow::Result<()> {
    for manifest in samples::manifests()? {
        let lookup = samples::lookup(data_dir, &manifest.name)?;
        let found = manifest.splits.values().all(|split| lookup.find(&manifest.name, &split.path).is_ok());
        let there = if found { "found" } else { "not here; see --data-dir" };
        let task = format!("{:?}", manifest.task).to_lowercase();
        say(format_args!(
            "{:<14} {task:<9} {:<6} {there:<25} {}",
            manifest.name,
            manifest.language.join(","),
            manifest.licence
        ))?;
    }
    say(format_args!("{:<14} seq2seq   made up on the spot; also `reverse`", "copy"))
}

/// A known set, or files in the order train, dev, test.
fn splits(files: &DataFiles) -> anyhow::Result<Splits> {
    if let [name] = &files.what[..]
        && !Path::new(name).exists()
    {
        return samples::read_set(name, files.data_dir.as_deref());
    }
    if files.what.len() > Part::ALL.len() {
        let n = files.what.len();
        return Err(UsageError(format!("expected at most three files (train, dev, test), found {n}")).into());
    }
    let format = files.format.as_deref().map(str::parse).transpose();
    let format = format.map_err(|error: locus_data::DataError| UsageError(error.to_string()))?;
    let options = ReadOptions { format, ..ReadOptions::default() };
    let mut splits = Splits::new();
    for (part, path) in Part::ALL.into_iter().zip(&files.what) {
        splits.insert(part, read(&PathBuf::from(path), &options)?);
    }
    Ok(splits)
}
