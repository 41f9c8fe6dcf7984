//! Making a corpus: read, tokenise, write, one chunk after the other.
//!
//! While one chunk is tokenised on all threads, this thread reads the next. No more than two chunks of text and the tokens of
//! one are held, however large the files are. The bytes that are written do not depend on the number of threads.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::files::check_shard;
use super::layout::{
    INDEX, INDEX_MAGIC, Index, Position, Reading, Settings, ShardFacts, ShardRecord, SourceFile, read_json,
    shard_files, shard_name, shard_of, write_json,
};
use super::pieces::pieces;
use super::reader::Corpus;
use super::shard::ShardWriter;
use super::source::{Record, Records, json_text};
use crate::error::{Problems, io};
use crate::{DataError, Tokenizer};

/// How much text is read at once.
const CHUNK: usize = 8 << 20;
/// The longest text that is tokenised in one go; what is longer is cut at line ends, or else at blanks.
const MAX_TEXT: usize = 256 << 10;

/// Makes a [`Corpus`].
#[derive(Debug, Clone)]
pub struct CorpusBuilder<'a> {
    tokenizer: &'a Tokenizer,
    dir: PathBuf,
    reading: Reading,
    shard_bytes: u64,
    chunk_bytes: usize,
}

/// How far a build has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The file that is read.
    pub source: PathBuf,
    /// Bytes of text tokenised in this build.
    pub text_bytes: u64,
    /// Tokens made in this build.
    pub n_tokens: u64,
}

/// What a build did.
#[derive(Debug)]
pub struct Built {
    /// The corpus.
    pub corpus: Corpus,
    /// Shards that were there and right.
    pub n_kept: usize,
    /// Shards that were made.
    pub n_made: usize,
    /// Why what was there could not be kept, in words; empty where all could, or nothing was there.
    pub stale: Vec<String>,
}

impl<'a> CorpusBuilder<'a> {
    /// A corpus of this tokenizer in the folder `dir`, which is made where it is not there.
    ///
    /// ```
    /// use locus_data::corpus::CorpusBuilder;
    /// use locus_data::{Tokenizer, TokenizerKind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let text = dir.path().join("a.txt");
    /// std::fs::write(&text, "to be or not to be")?;
    /// let tokenizer = Tokenizer::train(TokenizerKind::Word, 100, true, ["to be or not"])?;
    /// let built = CorpusBuilder::new(&tokenizer, &dir.path().join("corpus")).build(&[text], &mut |_| ())?;
    /// assert_eq!((built.corpus.n_tokens(), built.corpus.n_documents()), (7, 1)); // with [EOS]
    /// # Ok(()) }
    /// ```
    pub fn new(tokenizer: &'a Tokenizer, dir: &Path) -> Self {
        Self {
            tokenizer,
            dir: dir.to_owned(),
            reading: Reading::default(),
            shard_bytes: 128 << 20,
            chunk_bytes: CHUNK,
        }
    }

    /// How sources are read.
    #[must_use]
    pub fn reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    /// How many bytes of text make a shard; 128 MiB. After a break no more than this is tokenised again.
    #[must_use]
    pub fn shard_bytes(mut self, bytes: u64) -> Self {
        self.shard_bytes = bytes.max(1);
        self
    }

    /// Tokenises the files, in this order. Whole shards that are there from before are kept, if neither tokenizer nor file nor
    /// the way of reading has changed since; where all is there, nothing is done.
    ///
    /// # Errors
    /// If a file is missing or wrong, with its line; if the tokenizer cannot encode a text, or the folder cannot be written.
    pub fn build(
        &self,
        sources: &[PathBuf],
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Built, DataError> {
        if sources.is_empty() {
            return Err(DataError::Argument("a corpus needs at least one file".to_owned()));
        }
        let settings = Settings::of(self.tokenizer, &self.reading)?;
        let sources: Vec<SourceFile> =
            sources.iter().map(|path| SourceFile::of(path)).collect::<Result<_, _>>()?;
        fs::create_dir_all(&self.dir).map_err(|error| io("create", &self.dir, error))?;
        let before: Option<Index> = read_json(&self.dir.join(INDEX));
        let stale = before.as_ref().map(|before| changes(before, &settings, &sources)).unwrap_or_default();
        if !stale.is_empty() {
            // From here on its shards are written over.
            let path = self.dir.join(INDEX);
            fs::remove_file(&path).map_err(|error| io("remove", &path, error))?;
        }
        let mut run =
            Run { builder: self, settings, shards: Vec::new(), n_kept: 0, text_bytes: 0, n_tokens: 0 };
        for (number, source) in sources.iter().enumerate() {
            run.source(number, source, progress)?;
        }
        let n_made = run.shards.len() - run.n_kept;
        let n_kept = run.n_kept;
        let index =
            Index { magic: INDEX_MAGIC.to_owned(), settings: run.settings, sources, shards: run.shards };
        if before.as_ref() != Some(&index) {
            write_json(&self.dir.join(INDEX), &index)?;
        }
        remove_others(&self.dir, &index);
        Ok(Built { corpus: Corpus::open(&self.dir)?, n_kept, n_made, stale })
    }
}

/// The tokens of each record of a chunk.
type TokenResult = Result<Vec<Vec<u32>>, DataError>;

/// A build under way.
struct Run<'a> {
    builder: &'a CorpusBuilder<'a>,
    settings: Settings,
    shards: Vec<ShardFacts>,
    n_kept: usize,
    text_bytes: u64,
    n_tokens: u64,
}

impl Run<'_> {
    fn source(
        &mut self,
        number: usize,
        source: &SourceFile,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), DataError> {
        let name = |part: usize| shard_name(number, part);
        let (mut at, mut part) = (Position::default(), 0);
        // The source where the next shard starts, and that shard's first chunk.
        let mut open: Option<(Records, Vec<Record>)> = None;
        loop {
            let record = if let Some(record) = self.kept(&name(part), source, at) {
                open = None;
                self.n_kept += 1;
                record
            } else {
                let (mut records, chunk) = match open.take() {
                    Some(open) => open,
                    None => self.open(source, at)?,
                };
                let (record, next) = self.shard(name(part), source, at, &mut records, chunk, progress)?;
                let [_, _, path] = shard_files(&self.builder.dir, &record.shard.name);
                write_json(&path, &record)?;
                open = Some((records, next));
                record
            };
            self.shards.push(record.shard);
            if record.is_last {
                break;
            }
            (at, part) = (record.end, part + 1);
        }
        if SourceFile::of(&source.path)? != *source {
            let message = "the file changed while it was read; run the command again".to_owned();
            return Err(DataError::Format { path: source.path.clone(), message });
        }
        Ok(())
    }

    fn open(&self, source: &SourceFile, at: Position) -> Result<(Records, Vec<Record>), DataError> {
        let mut records = Records::open(&source.path, &self.builder.reading, at)?;
        let chunk = records.chunk(self.builder.chunk_bytes)?;
        Ok((records, chunk))
    }

    /// The record of a shard that is there and starts where it should.
    fn kept(&self, name: &str, source: &SourceFile, at: Position) -> Option<ShardRecord> {
        let [_, _, path] = shard_files(&self.builder.dir, name);
        let record: ShardRecord = read_json(&path)?;
        let is_right = record.settings == self.settings
            && record.source == *source
            && record.start == at
            && record.shard.name == name
            && check_shard(&self.builder.dir, &record.shard, self.settings.token_bytes()).is_empty();
        is_right.then_some(record)
    }

    /// Makes one shard, starting with `chunk`; gives the chunk that the next one starts with.
    fn shard(
        &mut self,
        name: String,
        source: &SourceFile,
        start: Position,
        records: &mut Records,
        mut chunk: Vec<Record>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(ShardRecord, Vec<Record>), DataError> {
        let mut writer = ShardWriter::create(&self.builder.dir, name, self.settings.token_bytes())?;
        let (mut in_document, mut shard_bytes) = (start.in_document, 0);
        loop {
            let end = records.position();
            let is_last = records.is_done();
            let text_bytes: u64 = chunk.iter().map(|record| record.text.len() as u64).sum();
            let (tokens, next) = self.tokenise(&chunk, source, records);
            for (record, ids) in chunk.iter().zip(tokens?) {
                writer.push(&ids)?;
                self.n_tokens += ids.len() as u64;
                in_document |= !ids.is_empty();
                if record.ends && in_document {
                    let end = self.settings.end.as_slice();
                    writer.push(end)?;
                    self.n_tokens += end.len() as u64;
                    writer.end_document()?;
                    in_document = false;
                }
            }
            shard_bytes += text_bytes;
            self.text_bytes += text_bytes;
            let (source_path, text_bytes, n_tokens) = (source.path.clone(), self.text_bytes, self.n_tokens);
            progress(&Progress { source: source_path, text_bytes, n_tokens });
            if is_last || shard_bytes >= self.builder.shard_bytes {
                let shard = writer.finish(shard_bytes)?;
                let (settings, source) = (self.settings.clone(), source.clone());
                let end = Position { in_document, ..end };
                return Ok((ShardRecord { settings, source, start, end, is_last, shard }, next?));
            }
            chunk = next?;
        }
    }

    /// The tokens of each record, and the next chunk, read meanwhile.
    fn tokenise(
        &self,
        chunk: &[Record],
        source: &SourceFile,
        records: &mut Records,
    ) -> (TokenResult, Result<Vec<Record>, DataError>) {
        let reading = &self.builder.reading;
        let column = records.json_column(reading);
        let tokenizer = self.builder.tokenizer;
        let mut tokens: Vec<Result<Vec<u32>, String>> = Vec::new();
        let tokens_out = &mut tokens;
        let mut next = Ok(Vec::new());
        rayon::in_place_scope(|scope| {
            scope.spawn(move |_| {
                chunk
                    .par_iter()
                    .map(|record| record_ids(tokenizer, record, column))
                    .collect_into_vec(tokens_out);
            });
            next = records.chunk(self.builder.chunk_bytes);
        });
        let mut problems = Problems::new(&source.path);
        let mut out = Vec::with_capacity(tokens.len());
        for (record, ids) in chunk.iter().zip(tokens) {
            match ids {
                Ok(ids) => out.push(ids),
                Err(message) => problems.at(usize::try_from(record.line).unwrap_or(0), message),
            }
        }
        (problems.finish(out), next)
    }
}

fn record_ids(tokenizer: &Tokenizer, record: &Record, column: Option<&str>) -> Result<Vec<u32>, String> {
    let json;
    let text = match column {
        Some(column) => {
            json = json_text(&record.text, column)?;
            &json
        }
        None => &record.text,
    };
    let mut ids = Vec::new();
    for piece in pieces(text, MAX_TEXT) {
        let found = tokenizer.encode_ids(piece).map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })?;
        ids.extend(found);
    }
    Ok(ids)
}

/// Why a corpus cannot stay as it is.
fn changes(before: &Index, settings: &Settings, sources: &[SourceFile]) -> Vec<String> {
    let mut changes = settings.changes(&before.settings);
    for source in sources {
        match before.sources.iter().find(|old| old.path == source.path) {
            None => changes.push(format!("{} is new", source.path.display())),
            Some(old) if old != source => changes.push(format!("{} has changed", source.path.display())),
            Some(_) => {}
        }
    }
    for old in &before.sources {
        if !sources.iter().any(|source| source.path == old.path) {
            changes.push(format!("{} is no longer among the files", old.path.display()));
        }
    }
    if changes.is_empty() && before.sources.as_slice() != sources {
        changes.push("the files come in another order".to_owned());
    }
    changes
}

/// Removes shards that are not in the index, and what a break left half written.
fn remove_others(dir: &Path, index: &Index) {
    let kept: HashSet<&str> = index.shards.iter().map(|shard| shard.name.as_str()).collect();
    // What cannot be listed or removed stays, and is not read by anyone.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let shard = file.to_str().and_then(shard_of);
        if shard.is_some_and(|(name, is_whole)| !is_whole || !kept.contains(name)) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests;
