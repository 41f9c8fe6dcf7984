//! Reading: one file, or one folder, into [`Examples`].
//!
//! A file goes [`place`] (in an archive?) → `source` (unpacked) → `encoding` (text) → one file here for its layout → `rows`
//! (where the layout is one of rows) → examples. Bytes that are no text are refused with line and byte, and the problems
//! of a file are reported together.

mod cell;
mod conll;
mod encoding;
mod json;
mod keys;
pub(crate) mod movielens;
pub(crate) mod packed;
#[cfg(feature = "parquet")]
mod parquet;
pub mod place;
mod ranked;
mod rows;
mod snips;
pub(crate) mod source;
mod spans;
mod squad;
mod table;
mod tag;
mod text;

use std::path::Path;

use crate::{DataError, Examples, Format, Kind, ReadOptions};
use source::Source;

/// Reads the examples of a file.
///
/// # Errors
/// If the file is missing, unreadable, empty or wrong anywhere: up to twenty problems in one error, with their lines.
///
/// ```
/// use locus_data::{Examples, ReadOptions, read};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("train.csv");
/// std::fs::write(&path, "text,label\n\"fine, thanks\",good\n")?;
/// let Examples::Labelled(examples) = read(&path, &ReadOptions::default())? else { unreachable!() };
/// assert_eq!((examples[0].text.as_str(), examples[0].label.as_str()), ("fine, thanks", "good"));
/// # Ok(()) }
/// ```
pub fn read(path: &Path, options: &ReadOptions) -> Result<Examples, DataError> {
    if path.is_dir() {
        let format = options.format.map_or_else(|| Format::recognise_folder(path), Ok)?;
        let examples = match format {
            Format::Snips => snips::read(path, options)?,
            Format::Movielens => movielens::read(path, options.encoding.as_deref())?,
            _ => {
                let message = format!("expected a file for format `{format}`, found a folder");
                return Err(DataError::Format { path: path.to_owned(), message });
            }
        };
        return finish(path, format, options, examples);
    }
    let place = source::place_of(path)?;
    let given = options.format.or_else(|| Format::of_bytes(&place));
    if let Some(format) = given {
        refuse_pointer(path, &place, format)?;
    }
    if given == Some(Format::Parquet) {
        return finish(path, Format::Parquet, options, parquet::read(path, &place, options)?);
    }
    let source = Source::open_as(path, options.encoding.as_deref())?;
    let format = given.map_or_else(|| Format::recognise(&source), Ok)?;
    refuse_pointer(path, &source.place, format)?;
    let examples = match format {
        Format::Conll => conll::read(&source, options),
        Format::Csv => table::read(&source, options, b','),
        Format::Tsv => table::read(&source, options, b'\t'),
        Format::Json => json::read_document(&source, options),
        Format::Jsonl => json::read_lines(&source, options),
        Format::Squad => squad::read(&source, options),
        Format::Text => text::read_stream(&source),
        Format::Lines => text::read_lines(&source, options),
        Format::Snips | Format::Movielens | Format::Parquet => Err(DataError::Format {
            path: path.to_owned(),
            message: format!("expected a folder for format `{format}`, found a file of text"),
        }),
    }?;
    finish(path, format, options, examples)
}

/// A pointer leads into a JSON document and into nothing else.
fn refuse_pointer(path: &Path, place: &place::Place, format: Format) -> Result<(), DataError> {
    match &place.pointer {
        Some(pointer) if format != Format::Json => Err(DataError::Format {
            path: path.to_owned(),
            message: format!(
                "`#{pointer}` names a list in a JSON document (format `json`), but the format here is `{format}`; leave \
                 it away"
            ),
        }),
        _ => Ok(()),
    }
}

/// What a build without the feature says.
#[cfg(not(feature = "parquet"))]
mod parquet {
    use super::*;

    pub(super) fn read(path: &Path, _: &place::Place, _: &ReadOptions) -> Result<Examples, DataError> {
        let message = "this build reads no Parquet files; build one that does with `cargo build --release --package \
                       locus --features parquet`, or save the file as JSONL or CSV";
        Err(DataError::Format { path: path.to_owned(), message: message.to_owned() })
    }
}

fn finish(
    path: &Path,
    format: Format,
    options: &ReadOptions,
    examples: Examples,
) -> Result<Examples, DataError> {
    // Entities that tags spell are entities too.
    let examples = if options.kind == Some(Kind::Spans) { examples.into_spans() } else { examples };
    check_kind(path, format, options.kind, &examples)?;
    let examples = skip(examples, &options.skip_examples);
    if examples.is_empty() {
        return Err(DataError::Format { path: path.to_owned(), message: "holds no examples".into() });
    }
    Ok(examples)
}

/// A kind that was asked for and that the layout cannot give.
fn check_kind(path: &Path, format: Format, wanted: Option<Kind>, got: &Examples) -> Result<(), DataError> {
    match wanted {
        Some(kind) if kind != got.kind() => Err(DataError::Format {
            path: path.to_owned(),
            message: format!(
                "expected {kind} examples; format `{format}` gives {} examples here",
                got.kind()
            ),
        }),
        _ => Ok(()),
    }
}

/// Leaves out examples by a text or label of theirs.
fn skip(mut examples: Examples, values: &[String]) -> Examples {
    if values.is_empty() {
        return examples;
    }
    let is_kept = |text: &String| !values.contains(text);
    match &mut examples {
        Examples::Labelled(list) => list.retain(|example| {
            is_kept(&example.text) && is_kept(&example.label) && example.pair.iter().all(is_kept)
        }),
        Examples::Pairs(list) => list.retain(|example| is_kept(&example.source) && is_kept(&example.target)),
        Examples::Text(list) => list.retain(is_kept),
        Examples::MultiLabelled(list) => {
            list.retain(|row| is_kept(&row.text) && row.label.iter().all(is_kept))
        }
        Examples::Scored(list) => list.retain(|row| is_kept(&row.text) && row.pair.iter().all(is_kept)),
        Examples::Qa(_) | Examples::Tagged(_) | Examples::Spans(_) | Examples::Ranked(_) => {}
    }
    examples
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Reads `text` as a file of that name; an error's text has the folder taken out.
    pub(crate) fn read_text(
        name: &str,
        text: impl AsRef<[u8]>,
        options: &ReadOptions,
    ) -> Result<Examples, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("write");
        read(&path, options)
            .map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::read_text;
    use super::*;

    #[test]
    fn refuses_a_kind_that_the_layout_cannot_give() {
        let options = ReadOptions { kind: Some(Kind::Labelled), ..Default::default() };
        let error = read_text("a.conll", "a B-X\n", &options).expect_err("no labels");
        assert_eq!(error, "a.conll: expected labelled examples; format `conll` gives tagged examples here");
        let options = ReadOptions { kind: Some(Kind::Tagged), ..Default::default() };
        let error = read_text("a.csv", "text,label\na,b\n", &options).expect_err("no tags");
        assert!(
            error.starts_with("a.csv: a table has no tagged words; use format `conll` or `jsonl`"),
            "{error}"
        );
    }

    #[cfg(not(feature = "parquet"))]
    #[test]
    fn a_build_without_parquet_says_which_build_has_it() {
        for name in ["a.parquet", "a.PARQUET"] {
            let error = read_text(name, "PAR1", &ReadOptions::default()).expect_err("no feature");
            assert!(error.starts_with(&format!("{name}: this build reads no Parquet files")), "{error}");
            assert!(error.contains("cargo build --release --package locus --features parquet"), "{error}");
        }
    }

    #[test]
    fn leaves_examples_out() {
        let options = ReadOptions { skip_examples: vec!["NS".into()], ..Default::default() };
        let examples = read_text("a.csv", "text,label\na,b\nNS,b\nc,NS\n", &options).expect("reads");
        assert_eq!(examples.len(), 1);
        let error = read_text("a.csv", "text,label\nc,NS\n", &options).expect_err("nothing left");
        assert_eq!(error, "a.csv: holds no examples");
    }

    #[test]
    fn a_pointer_into_what_is_no_json_document_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let error_of = |name: &str, text: &str, options: &ReadOptions| {
            std::fs::write(dir.path().join(name), text).expect("write");
            read(&dir.path().join(format!("{name}#/train")), options).expect_err("no list").to_string()
        };
        for (name, text, format) in [
            ("a.csv", "text,label\na,b\n", "csv"),
            ("a.conll", "Mira B-PER\n", "conll"),
            ("a.jsonl", "{\"text\": \"a\", \"label\": \"b\"}\n", "jsonl"),
            ("a.parquet", "PAR1", "parquet"),
        ] {
            let error = error_of(name, text, &ReadOptions::default());
            let said = format!(
                "`#/train` names a list in a JSON document (format `json`), but the format here is `{format}`"
            );
            assert!(error.contains(&said), "{error}");
        }
        let options = ReadOptions { format: Some(Format::Lines), ..Default::default() };
        assert!(error_of("b.json", "a\n", &options).contains("the format here is `lines`"));
    }

    #[test]
    fn a_missing_file_names_its_neighbour() {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::write(dir.path().join("train.csv"), "text,label\n").expect("write");
        let error =
            read(&dir.path().join("train.cvs"), &ReadOptions::default()).expect_err("missing").to_string();
        assert!(error.ends_with("train.cvs: no such file; did you mean `train.csv`?"), "{error}");
    }
}
