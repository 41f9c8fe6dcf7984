//! The records of a corpus and the headers of its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::io;
use crate::{DataError, Tokenizer};

/// Raised whenever a file means something else than before.
pub(super) const VERSION: u32 = 1;
pub(super) const INDEX: &str = "corpus.json";
pub(super) const HEADER: usize = 64;
pub(super) const TOKENS_MAGIC: &[u8; 8] = b"LOCUSTOK";
pub(super) const DOCUMENTS_MAGIC: &[u8; 8] = b"LOCUSDOC";
/// The bytes of a document's end.
pub(super) const END_BYTES: usize = 4;

/// What one document of a text file is. A row of JSONL or Parquet always is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Documents {
    /// The whole file.
    #[default]
    File,
    /// Each line; lines of blanks are none.
    Line,
    /// What stands between blank lines.
    Paragraph,
}

/// How sources are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reading {
    /// What one document of a text file is.
    pub documents: Documents,
    /// The key or column that has the text, in JSONL and Parquet.
    pub column: String,
}

impl Default for Reading {
    fn default() -> Self {
        Self { documents: Documents::default(), column: "text".to_owned() }
    }
}

/// What decides the tokens of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) version: u32,
    /// The sha256 of the tokenizer's `tokenizer.json`.
    pub(super) tokenizer: String,
    pub(super) vocab_size: usize,
    /// The token after each document.
    pub(super) end: Option<u32>,
    pub(super) reading: Reading,
}

impl Settings {
    pub(super) fn of(tokenizer: &Tokenizer, reading: &Reading) -> Result<Self, DataError> {
        Ok(Self {
            version: VERSION,
            tokenizer: fingerprint(tokenizer)?,
            vocab_size: tokenizer.vocab_size(),
            end: tokenizer.specials().eos,
            reading: reading.clone(),
        })
    }

    /// The bytes of a token.
    pub(super) fn token_bytes(&self) -> usize {
        if self.vocab_size <= 1 << 16 { 2 } else { 4 }
    }

    /// What is not as it was, in words.
    pub(super) fn changes(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.version != before.version {
            changes.push(format!("layout {} became {}", before.version, self.version));
        }
        if self.tokenizer != before.tokenizer || self.end != before.end {
            changes.push("the tokenizer is another".to_owned());
        }
        if self.reading != before.reading {
            changes.push("files are read in another way".to_owned());
        }
        changes
    }
}

/// A file that a corpus was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it was.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written, in nanoseconds since 1970; 0 where the system does not say.
    pub modified_ns: u64,
}

impl SourceFile {
    /// The file as it is now.
    ///
    /// # Errors
    /// If it is not there.
    pub fn of(path: &Path) -> Result<Self, DataError> {
        let facts = fs::metadata(path).map_err(|error| io("read", path, error))?;
        if !facts.is_file() {
            let message = "expected a file of text, JSONL or Parquet, found a folder".to_owned();
            return Err(DataError::Format { path: path.to_owned(), message });
        }
        let since = facts.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
        Ok(Self { path: path.to_owned(), bytes: facts.len(), modified_ns })
    }
}

/// A place between two records of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Position {
    /// Bytes of the unpacked stream, or rows of Parquet, that lie before it.
    pub(super) offset: u64,
    /// Lines that lie before it.
    pub(super) line: u64,
    /// Whether it lies inside a document of which tokens have been written.
    pub(super) in_document: bool,
}

/// A finished shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardRecord {
    pub(super) settings: Settings,
    pub(super) source: SourceFile,
    /// Where it starts and ends in its source.
    pub(super) start: Position,
    pub(super) end: Position,
    /// Whether the source ends with it.
    pub(super) is_last: bool,
    pub(super) shard: ShardFacts,
}

/// What a shard holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardFacts {
    /// The name of its files.
    pub(super) name: String,
    pub(super) n_tokens: u64,
    pub(super) n_documents: u64,
    /// Bytes of text it was made from.
    pub(super) text_bytes: u64,
    /// The sums of its files.
    pub(super) tokens_sha256: String,
    pub(super) documents_sha256: String,
}

/// A whole corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    /// Always `locus-corpus`.
    pub(super) magic: String,
    pub(super) settings: Settings,
    pub(super) sources: Vec<SourceFile>,
    pub(super) shards: Vec<ShardFacts>,
}

pub(super) const INDEX_MAGIC: &str = "locus-corpus";

/// The endings of a shard's files: tokens, documents, record.
const ENDINGS: [&str; 3] = ["tokens", "documents", "json"];

/// The name of a shard: the numbers of its source and of its part.
pub(super) fn shard_name(source: usize, part: usize) -> String {
    format!("{source:05}-{part:05}")
}

/// Whether it is one that [`shard_name`] gives: what a record says is a part of paths.
pub(super) fn is_shard_name(name: &str) -> bool {
    let is_number = |digits: &str| digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once('-').is_some_and(|(source, part)| is_number(source) && is_number(part))
}

/// The files of a shard: tokens, documents, record.
pub(super) fn shard_files(dir: &Path, name: &str) -> [PathBuf; 3] {
    ENDINGS.map(|ending| dir.join(format!("{name}.{ending}")))
}

/// The shard that a file belongs to, by its name, and whether it is whole: half-written files end in a number and `tmp`.
pub(super) fn shard_of(file: &str) -> Option<(&str, bool)> {
    let (name, ending) = file.split_once('.')?;
    let (ending, beside) =
        ending.split_once('.').map_or((ending, None), |(ending, rest)| (ending, Some(rest)));
    let is_beside = |rest: &str| {
        let number = rest.strip_suffix(".tmp");
        number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_ours = is_shard_name(name) && ENDINGS.contains(&ending) && beside.is_none_or(is_beside);
    is_ours.then_some((name, beside.is_none()))
}

pub(super) fn header(magic: &[u8; 8], width: usize, len: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(magic);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&(width as u32).to_le_bytes());
    header[16..24].copy_from_slice(&len.to_le_bytes());
    header
}

/// Reads a record; none where there is no such file, or it is not one.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a record, whole or not at all.
pub(super) fn write_json(path: &Path, record: &impl Serialize) -> Result<(), DataError> {
    let text = serde_json::to_string_pretty(record).map_err(|error| DataError::Format {
        path: path.to_owned(),
        message: format!("cannot be written as JSON: {error}"),
    })?;
    crate::tokenizer::write_atomic(path, (text + "\n").as_bytes())
}

/// The sha256 of a tokenizer, in hexadecimal digits.
pub(super) fn fingerprint(tokenizer: &Tokenizer) -> Result<String, DataError> {
    Ok(hex(&Sha256::digest(tokenizer.to_json()?.as_bytes())))
}

pub(super) fn hex(sum: &[u8]) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}
