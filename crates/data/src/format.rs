//! How a file is laid out: given by name, or recognised from its extension and first lines.
//!
//! Recognition never guesses between two readings: a file that fits several, or none, is an error that names the keys
//! which decide.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::did_you_mean;
use crate::read::movielens;
use crate::read::place::Place;
use crate::read::source::Source;
use crate::{DataError, Kind};
use locus_metrics::tags::{self, TagScheme};

/// A file layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One word and its tag per line, sentences separated by blank lines.
    Conll,
    /// Comma-separated values with quotes.
    Csv,
    /// Tab-separated values without quotes.
    Tsv,
    /// A JSON document that holds a list of rows.
    Json,
    /// One JSON object, or list of cells, per line.
    Jsonl,
    /// A Parquet file, with the feature `parquet`.
    Parquet,
    /// A JSON document of articles, paragraphs and questions, as SQuAD has it.
    Squad,
    /// One stream of text.
    Text,
    /// One text per line.
    Lines,
    /// A folder with `seq.in`, `seq.out` and `label`, one example per line.
    Snips,
    /// A folder with `ratings.csv` and `movies.csv`, as MovieLens has it.
    Movielens,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Conll,
        Self::Csv,
        Self::Tsv,
        Self::Json,
        Self::Jsonl,
        Self::Parquet,
        Self::Squad,
        Self::Text,
        Self::Lines,
        Self::Snips,
        Self::Movielens,
    ];

    /// Its name in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conll => "conll",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
            Self::Squad => "squad",
            Self::Text => "text",
            Self::Lines => "lines",
            Self::Snips => "snips",
            Self::Movielens => "movielens",
        }
    }

    /// The layout of a text file, from its name and first lines; an error if it fits none or several.
    pub(crate) fn recognise(source: &Source) -> Result<Self, DataError> {
        match source.place.extension().as_str() {
            "csv" => Ok(Self::Csv),
            "json" if source.place.pointer.is_none() && looks_like_squad(&source.text) => Ok(Self::Squad),
            "json" => Ok(Self::Json),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "conll" | "conllu" | "iob" | "iob2" | "bio" | "bioes" => Ok(Self::Conll),
            "md" => Ok(Self::Text),
            "tsv" => from_lines(source, Self::Tsv),
            _ => from_lines(source, Self::Text),
        }
    }

    /// The layout of a file that is no text, from its name.
    pub(crate) fn of_bytes(place: &Place) -> Option<Self> {
        (place.extension() == "parquet").then_some(Self::Parquet)
    }

    /// The layout of a folder, from the files in it.
    pub(crate) fn recognise_folder(path: &Path) -> Result<Self, DataError> {
        if SNIPS_FILES.iter().take(2).all(|name| path.join(name).is_file()) {
            return Ok(Self::Snips);
        }
        if movielens::FILES.iter().all(|name| path.join(name).is_file()) {
            return Ok(Self::Movielens);
        }
        let [snips, films] = [&SNIPS_FILES[..], &movielens::FILES[..]].map(|names| names.join(", "));
        let message = format!("expected a file, or a folder with {snips} or with {films}");
        Err(DataError::Format { path: path.to_owned(), message })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            DataError::Argument(format!(
                "unknown format `{name}`{}; expected one of {}",
                did_you_mean(name, names),
                names.join(", ")
            ))
        })
    }
}

/// A column or key: by name (needs a header, or JSON), or by place counted from 0, or from the end with -1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Column {
    /// Counted from 0; -1 is the last.
    Index(isize),
    /// The name in the header, or the JSON key.
    Name(String),
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<isize> for Column {
    fn from(at: isize) -> Self {
        Self::Index(at)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(at) => write!(f, "{at}"),
            Self::Name(name) => write!(f, "`{name}`"),
        }
    }
}

/// Where things stand in a row; what is not set is looked for under its usual names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// The word (CoNLL) or the list of words (JSONL).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word: Option<Column>,
    /// The tag (CoNLL) or the list of tags (JSONL).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Column>,
    /// The list of spans that mark a text (JSONL): start, end and label of each, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spans: Option<Column>,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Column>,
    /// The second text of a pair task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<Column>,
    /// The label, the labels, or the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Column>,
    /// The source of a sequence pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Column>,
    /// The target of a sequence pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Column>,
    /// What candidates are ranked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Column>,
    /// The text of a candidate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<Column>,
    /// What a candidate is worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<Column>,
    /// Which candidates belong together. Unset, and without a usual name: those of equal queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Column>,
    /// The numbers beside a candidate: columns of one each, or of lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Column>,
    /// All candidates of a row, of which `label` says the right one: columns of one text each, or of lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Column>,
}

/// How to read a file; everything unset is recognised. In TOML these are the keys of a manifest and of `[data]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadOptions {
    /// The layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// What is wanted from a file that could give several: a SNIPS folder gives tags or intents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// How the file is encoded, such as `latin1` or `gbk`. Unset: UTF-8, or UTF-16 with a byte order mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Where things stand.
    pub columns: Columns,
    /// Whether a table's first line names its columns. Unset: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// Whether a table's fields may be in double quotes. Unset: in CSV yes, in TSV no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotes: Option<bool>,
    /// How entities are spelled. Unset: recognised from the file's tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<TagScheme>,
    /// Names of labels that the file writes as numbers, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The label of every example in the file; it then needs no column for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What stands between several labels in one field. Unset: a comma.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_separator: Option<String>,
    /// What is taken off the ends of each line (format `lines`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strip: Vec<String>,
    /// Examples with a text or label that is exactly one of these are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip_examples: Vec<String>,
    /// How many faults of a published file are known and put up with; another number is an error. In CoNLL files: lines with
    /// a tag and no word, read as U+FFFD. Among questions: those without text, and answers that do not stand where they
    /// say; both are left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub known_faults: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

const SNIPS_FILES: [&str; 3] = ["seq.in", "seq.out", "label"];

/// Tells files apart whose extension says little: `.txt`, `.tsv`, none.
fn from_lines(source: &Source, otherwise: Format) -> Result<Format, DataError> {
    let path = source.path.as_path();
    let lines: Vec<&str> = source.lines().map(|(_, line)| line).take(200).collect();
    let full: Vec<&str> = lines.iter().copied().filter(|line| !line.trim().is_empty()).collect();
    let conll = looks_like_conll(&full);
    let jsonl = !full.is_empty() && full.iter().all(|line| line.trim_start().starts_with('{'));
    let table = full.len() > 1 && full.iter().all(|line| line.contains('\t'));
    match (otherwise, conll, jsonl, table) {
        (_, false, true, _) => Ok(Format::Jsonl),
        // Blank lines between sentences: a table has none.
        (Format::Tsv, true, ..) if full.len() < lines.len() => Ok(Format::Conll),
        (Format::Tsv, false, ..) => Ok(Format::Tsv),
        (Format::Tsv, true, ..) => Err(unclear(path, &["tsv", "conll"])),
        (_, true, ..) => Ok(Format::Conll),
        (_, false, false, true) => Err(unclear(path, &["tsv", "lines", "text"])),
        _ => Ok(otherwise),
    }
}

/// Whether a JSON document begins as SQuAD's do: articles with paragraphs with questions.
fn looks_like_squad(text: &str) -> bool {
    let head: String = text.chars().take(4096).collect();
    text.trim_start().starts_with('{') && ["\"data\"", "\"paragraphs\""].iter().all(|key| head.contains(key))
}

/// Whether nearly every line is several columns with a tag among them, and one is not plain `O`.
fn looks_like_conll(lines: &[&str]) -> bool {
    let is_tag = |field: &str| field == "O" || is_entity_tag(field);
    let rows: Vec<Vec<&str>> = lines
        .iter()
        .filter(|line| !line.starts_with("# ") && !line.starts_with("-DOCSTART-"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let tagged =
        rows.iter().filter(|row| row.len() > 1 && row[1..].iter().any(|field| is_tag(field))).count();
    let entity = rows.iter().any(|row| row.len() > 1 && row[1..].iter().any(|field| is_entity_tag(field)));
    entity && tagged * 10 >= rows.len() * 9
}

fn is_entity_tag(field: &str) -> bool {
    field != "O" && tags::problem(field).is_none()
}

fn unclear(path: &Path, fits: &[&str]) -> DataError {
    let message = format!(
        "could be read as {}; say which with `format = \"…\"` in the manifest or --format",
        fits.join(" or ")
    );
    DataError::Format { path: path.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(name: &str, text: &str) -> Result<Format, DataError> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("write");
        Format::recognise(&Source::open(&path)?)
    }

    #[test]
    fn recognises_by_extension_and_first_lines() {
        for (name, text, format) in [
            ("a.csv", "text,label\n", Format::Csv),
            ("a.jsonl", "{", Format::Jsonl),
            ("a.json", "[]", Format::Json),
            ("a.json", "{\"data\": [{\"paragraphs\": []}]}", Format::Squad),
            ("a.iob2", "a O", Format::Conll),
            ("a.txt", "Call me Ishmael.\n\nSome years ago\n", Format::Text),
            ("a.txt", "John B-PER\nis O\n\nhere O\n", Format::Conll),
            ("a.tsv", "John\tB-PER\nis\tO\n\nhere\tO\n", Format::Conll),
            ("a.tsv", "text\tlabel\nfine\tgood\n", Format::Tsv),
            ("annotated", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n", Format::Jsonl),
        ] {
            assert_eq!(recognise(name, text).expect("recognised"), format, "{name} {text}");
        }
    }

    #[test]
    fn an_ambiguous_file_says_which_key_decides() {
        let error = recognise("a.txt", "Hi.\tSalut.\nRun.\tCours.\n").expect_err("unclear").to_string();
        assert!(error.contains("tsv or lines or text") && error.contains("format = "), "{error}");
        let error = recognise("a.tsv", "John\tB-PER\nis\tO\n").expect_err("unclear").to_string();
        assert!(error.contains("tsv or conll"), "{error}");
    }

    #[test]
    fn a_folder_must_be_a_snips_folder() {
        let dir = tempfile::tempdir().expect("temp dir");
        let error = Format::recognise_folder(dir.path()).expect_err("empty folder").to_string();
        assert!(error.contains("seq.in, seq.out, label"), "{error}");
        for name in SNIPS_FILES {
            std::fs::write(dir.path().join(name), "").expect("write");
        }
        assert_eq!(Format::recognise_folder(dir.path()).expect("snips"), Format::Snips);
    }

    #[test]
    fn names_round_trip() {
        for format in Format::ALL {
            assert_eq!(format.name().parse::<Format>().expect("own name"), format);
        }
        let error = "jsnl".parse::<Format>().expect_err("misspelt").to_string();
        assert!(error.contains("did you mean `jsonl`?"), "{error}");
    }
}
