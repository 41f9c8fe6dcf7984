//! `locus data`.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use locus_data::corpus::{CorpusBuilder, Documents, Progress, Reading};
use locus_data::{
    LengthLimit, Manifest, Part, Place, ReadOptions, Splits, Tokenizer, check, read, stats, verify,
};

use super::{fetch, say};
use crate::UsageError;
use crate::args::{DataArgs, DataFiles, DataVerb, PackArgs, PackDocuments, ReadArgs};
use crate::run_file::read_options;
use crate::samples;

pub(crate) fn run(args: &DataArgs) -> anyhow::Result<()> {
    match &args.verb {
        DataVerb::List { data_dir } => list(data_dir.as_deref()),
        DataVerb::Fetch(args) => fetch::run(args),
        DataVerb::Check(args) => {
            if let Some(manifest) = unread(&args.files)? {
                return say(verified(&manifest, args.files.data_dir.as_deref())?);
            }
            let splits = splits(&args.files)?;
            let model = args.files.model.as_deref().map(model).transpose()?;
            let tokens = model
                .as_ref()
                .map(|(tokenizer, max_len)| LengthLimit::Tokens { tokenizer, max_len: *max_len });
            let report = check(&splits, tokens.or(args.max_chars.map(LengthLimit::Chars)))?;
            print(args.files.json, &report)?;
            if report.is_clean() { Ok(()) } else { anyhow::bail!("the data has the problems listed above") }
        }
        DataVerb::Stats(files) => {
            let model = files.model.as_deref().map(model).transpose()?;
            print(files.json, &stats(&splits(files)?, model.as_ref().map(|(tokenizer, _)| tokenizer))?)
        }
        DataVerb::Pack(args) => pack(args),
    }
}

/// How often the user is told how far it has come.
const TELL_EVERY: Duration = Duration::from_secs(10);

fn pack(args: &PackArgs) -> anyhow::Result<()> {
    let tokenizer = Tokenizer::from_file(&args.tokenizer)?;
    let documents = match args.documents {
        PackDocuments::File => Documents::File,
        PackDocuments::Line => Documents::Line,
        PackDocuments::Paragraph => Documents::Paragraph,
    };
    let builder =
        CorpusBuilder::new(&tokenizer, &args.out).reading(Reading { documents, column: args.column.clone() });
    let start = Instant::now();
    let mut told = start;
    let built = builder.build(&args.files, &mut |progress: &Progress| {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let (mib, secs) = (progress.text_bytes >> 20, start.elapsed().as_secs_f64());
            let (source, speed) = (progress.source.display(), progress.n_tokens as f64 / secs);
            tell!("{source}: {mib} MiB of text so far, {speed:.0} tokens/s");
        }
    })?;
    for reason in &built.stale {
        tell!("made again: {reason}");
    }
    let corpus = &built.corpus;
    if args.verify {
        corpus.verify()?;
    }
    say(format_args!(
        "{}: {} tokens in {} documents from {} MiB of text; {} shards made, {} kept",
        args.out.display(),
        corpus.n_tokens(),
        corpus.n_documents(),
        corpus.text_bytes() >> 20,
        built.n_made,
        built.n_kept
    ))
}

/// The options of the command line.
pub(crate) fn options(args: &ReadArgs) -> anyhow::Result<ReadOptions> {
    let mut options = read_options(&args.reads)?;
    if let Some(name) = &args.format {
        options.format =
            Some(name.parse().map_err(|error: locus_data::DataError| UsageError(error.to_string()))?);
    }
    Ok(options)
}

fn print(json: bool, report: &(impl serde::Serialize + std::fmt::Display)) -> anyhow::Result<()> {
    if json { say(serde_json::to_string_pretty(report)?) } else { say(report) }
}

/// A model's tokenizer and the tokens it takes.
fn model(dir: &Path) -> anyhow::Result<(Tokenizer, usize)> {
    let config = locus_model::load_config(dir)?;
    let tokenizer = Tokenizer::from_file(&dir.join(locus_model::TOKENIZER_FILE))?;
    Ok((tokenizer, config.stack.max_seq_len))
}

fn list(data_dir: Option<&Path>) -> anyhow::Result<()> {
    let manifests = samples::manifests()?;
    let width = manifests.iter().map(|manifest| manifest.name.len()).max().unwrap_or(0);
    for manifest in &manifests {
        let lookup = samples::lookup(data_dir, &manifest.name)?;
        let found =
            manifest.public_files().iter().all(|file| lookup.find(&manifest.name, &file.path).is_ok());
        let there = if found { "found" } else { "not here" };
        let (name, task) = (&manifest.name, manifest.task.name());
        say(format_args!(
            "{name:<width$}  {task:<10}  {:<5}  {there:<8}  {}",
            manifest.language.join(","),
            manifest.licence
        ))?;
    }
    for name in ["copy", "reverse"] {
        say(format_args!("{name:<width$}  seq2seq            made up on the spot"))?;
    }
    say(
        "\nWhat is not here is fetched with `locus data fetch NAME`, or lies in another --data-dir or $LOCUS_DATA.",
    )
}

/// The manifest of a known set whose kind of examples nothing here reads.
fn unread(files: &DataFiles) -> anyhow::Result<Option<Manifest>> {
    match &files.what[..] {
        [name] if !is_path(name) && !samples::is_synthetic(name) => {
            Ok(Some(samples::manifest(name)?).filter(|manifest| manifest.task.kind().is_none()))
        }
        _ => Ok(None),
    }
}

/// Compares the files of a set with its manifest, and says so.
fn verified(manifest: &Manifest, data_dir: Option<&Path>) -> anyhow::Result<String> {
    let lookup = samples::lookup(data_dir, &manifest.name)?;
    for file in &manifest.files {
        let path = lookup.find(&manifest.name, &file.path)?;
        if let Some(sum) = &file.sha256 {
            verify(&path, sum)?;
        }
    }
    Ok(format!(
        "{}: {} files are there and right; nothing here reads this kind of examples yet",
        manifest.name,
        manifest.files.len()
    ))
}

fn is_path(name: &str) -> bool {
    let place = Place::of(Path::new(name));
    let is_letters = |ending: &OsStr| ending.to_string_lossy().chars().all(|c| c.is_ascii_alphabetic());
    // No known set is named like a file or with a folder.
    let looks_like_one = name.contains('/') || Path::new(name).extension().is_some_and(is_letters);
    looks_like_one || place.file.exists() || place.member.is_some() || place.pointer.is_some()
}

/// A known set, or files in the order train, dev, test.
fn splits(files: &DataFiles) -> anyhow::Result<Splits> {
    if let [name] = &files.what[..]
        && !is_path(name)
    {
        return samples::read_set(name, files.data_dir.as_deref());
    }
    if files.what.len() > Part::ALL.len() {
        let n = files.what.len();
        return Err(UsageError(format!("expected at most three files (train, dev, test), found {n}")).into());
    }
    let options = options(&files.read)?;
    let mut splits = Splits::new();
    for (part, path) in Part::ALL.into_iter().zip(&files.what) {
        splits.insert(part, read(Path::new(path), &options)?);
    }
    Ok(splits)
}
