//! Reading a corpus: shards mapped into memory, opened only if they are whole.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::files::{cells, check_shard, end_at, forget, map, partition};
use super::layout::{
    HEADER, INDEX, INDEX_MAGIC, Index, ShardFacts, SourceFile, VERSION, fingerprint, hex, is_shard_name,
    shard_files,
};
use crate::error::io;
use crate::{DataError, Tokenizer};

/// After so many bytes have been touched, the pages of the files are given back to the system, so that a pass over a large
/// corpus does not fill the memory of the process.
const FORGET_AFTER: u64 = 128 << 20;
/// What the system reads around a page that is asked for.
const READ_AROUND: u64 = 64 << 10;

/// A tokenised corpus.
#[derive(Debug)]
pub struct Corpus {
    dir: PathBuf,
    index: Index,
    shards: Vec<Shard>,
    n_tokens: u64,
    n_documents: u64,
    touched: AtomicU64,
}

#[derive(Debug)]
struct Shard {
    tokens: Mmap,
    documents: Mmap,
    /// How many tokens and documents lie in the shards before it.
    first_token: u64,
    first_document: u64,
}

impl Corpus {
    /// Maps the files of a folder and checks their headers and sizes.
    ///
    /// # Errors
    /// If it is no corpus, of another version, or a shard is missing or not whole; all problems at once.
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join(INDEX);
        let wrong = |message: String| DataError::Format { path: path.clone(), message };
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(wrong(
                    "no such file: the folder is no corpus, or one whose making was broken off; make it with \
                     `locus data pack`, which goes on where it stopped"
                        .to_owned(),
                ));
            }
            read => read.map_err(|error| io("read", &path, error))?,
        };
        let index: Index = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("is no index of a corpus: {error}; make it again")))?;
        if index.magic != INDEX_MAGIC || index.settings.version != VERSION {
            let (magic, version) = (&index.magic, index.settings.version);
            return Err(wrong(format!(
                "expected `{INDEX_MAGIC}` of version {VERSION}, found `{magic}` of version {version}; make it again with \
                 `locus data pack`"
            )));
        }
        let width = index.settings.token_bytes();
        let check = |shard: &ShardFacts| {
            if is_shard_name(&shard.name) {
                check_shard(dir, shard, width)
            } else {
                vec![format!("expected a shard named like 00000-00000, found `{}`", shard.name)]
            }
        };
        let problems: Vec<String> = index.shards.iter().flat_map(check).collect();
        if !problems.is_empty() {
            return Err(wrong(format!("{}; make it again with `locus data pack`", problems.join("; "))));
        }
        let mut corpus = Self {
            dir: dir.to_owned(),
            index,
            shards: Vec::new(),
            n_tokens: 0,
            n_documents: 0,
            touched: AtomicU64::new(0),
        };
        for facts in &corpus.index.shards {
            let [tokens, documents, _] = shard_files(dir, &facts.name);
            let (first_token, first_document) = (corpus.n_tokens, corpus.n_documents);
            let (tokens, documents) = (map(&tokens)?, map(&documents)?);
            corpus.shards.push(Shard { tokens, documents, first_token, first_document });
            corpus.n_tokens += facts.n_tokens;
            corpus.n_documents += facts.n_documents;
        }
        Ok(corpus)
    }

    /// How many tokens it has, those after documents included.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// How many documents it has.
    pub fn n_documents(&self) -> u64 {
        self.n_documents
    }

    /// How many bytes of text it was made from.
    pub fn text_bytes(&self) -> u64 {
        self.index.shards.iter().map(|shard| shard.text_bytes).sum()
    }

    /// The size of the vocabulary, above every token.
    pub fn vocab_size(&self) -> usize {
        self.index.settings.vocab_size
    }

    /// The files it was made from.
    pub fn sources(&self) -> &[SourceFile] {
        &self.index.sources
    }

    /// What identifies the tokens: the sum of all sums.
    pub fn fingerprint(&self) -> String {
        let sums = self.index.shards.iter().fold(Sha256::new(), |sum, shard| {
            sum.chain_update(&shard.tokens_sha256).chain_update(&shard.documents_sha256)
        });
        hex(&sums.finalize())
    }

    /// Checks that it was made with this tokenizer.
    ///
    /// # Errors
    /// If it was not.
    pub fn check_tokenizer(&self, tokenizer: &Tokenizer) -> Result<(), DataError> {
        let found = fingerprint(tokenizer)?;
        let (made, end) = (&self.index.settings.tokenizer, tokenizer.specials().eos);
        let difference = if found != *made {
            format!("another tokenizer (sha256 {made:.12}…, the one given has {found:.12}…)")
        } else if end != self.index.settings.end {
            // Which token ends a text may stand beside the tokenizer's own file.
            let token = |id: Option<u32>| id.map_or_else(|| "none".to_owned(), |id| format!("token {id}"));
            let (made, found) = (token(self.index.settings.end), token(end));
            format!("another end of documents ({made}, the tokenizer given has {found})")
        } else {
            return Ok(());
        };
        Err(DataError::Format {
            path: self.dir.clone(),
            message: format!(
                "was made with {difference}; make it again with `locus data pack --tokenizer`, or give that tokenizer"
            ),
        })
    }

    /// The sources that are not as they were when the corpus was made, in words; those that are gone are not looked for.
    pub fn changed_sources(&self) -> Vec<String> {
        let changed = |source: &&SourceFile| SourceFile::of(&source.path).is_ok_and(|now| now != **source);
        let sources = self.index.sources.iter().filter(changed);
        sources.map(|source| format!("{} has changed since", source.path.display())).collect()
    }

    /// Compares every byte with the sums; takes as long as reading it all.
    ///
    /// # Errors
    /// If a shard is damaged; all of them at once.
    pub fn verify(&self) -> Result<(), DataError> {
        let mut problems = Vec::new();
        for (shard, facts) in self.shards.iter().zip(&self.index.shards) {
            let files = [
                (&shard.tokens, &facts.tokens_sha256, "tokens"),
                (&shard.documents, &facts.documents_sha256, "documents"),
            ];
            for (file, expected, what) in files {
                let mut sum = Sha256::new();
                for piece in file[HEADER..].chunks(1 << 20) {
                    sum.update(piece);
                    self.touch(piece.len() as u64);
                }
                if hex(&sum.finalize()) != *expected {
                    problems.push(format!("{}.{what} is damaged", facts.name));
                }
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        let message = format!("{}; make it again with `locus data pack`", problems.join("; "));
        Err(DataError::Format { path: self.dir.clone(), message })
    }

    /// The tokens of a range.
    ///
    /// # Errors
    /// If the range ends past the corpus, or a token is not in the vocabulary.
    pub fn tokens(&self, range: Range<u64>) -> Result<Vec<u32>, DataError> {
        if range.start > range.end || range.end > self.n_tokens {
            let (start, end, n_tokens) = (range.start, range.end, self.n_tokens);
            return Err(DataError::Argument(format!("tokens {start} to {end} of a corpus of {n_tokens}")));
        }
        let mut out = Vec::with_capacity((range.end - range.start) as usize);
        let first = self.shards.partition_point(|shard| shard.first_token <= range.start).saturating_sub(1);
        for (shard, facts) in self.shards.iter().zip(&self.index.shards).skip(first) {
            let within = |at: u64| at.saturating_sub(shard.first_token).min(facts.n_tokens) as usize;
            if shard.first_token >= range.end {
                break;
            }
            let (start, end) = (within(range.start), within(range.end));
            match self.index.settings.token_bytes() {
                2 => out
                    .extend(cells::<2>(&shard.tokens, start..end).map(|c| u32::from(u16::from_le_bytes(c)))),
                _ => out.extend(cells::<4>(&shard.tokens, start..end).map(u32::from_le_bytes)),
            }
        }
        self.touch(out.len() as u64 * 4 + READ_AROUND);
        let vocab_size = self.vocab_size();
        match out.iter().position(|&id| id as usize >= vocab_size) {
            None => Ok(out),
            Some(at) => Err(DataError::Format {
                path: self.dir.clone(),
                message: format!(
                    "token {} is {}, outside the vocabulary of {vocab_size}: the files are damaged; make the corpus again",
                    range.start + at as u64,
                    out[at]
                ),
            }),
        }
    }

    /// Where documents end within a range, past its start, in tokens from there.
    pub fn document_ends(&self, range: Range<u64>) -> Vec<usize> {
        let mut out = Vec::new();
        // An end may be the first token of the next shard, so it is looked for by the shard it is written in.
        let first = self.shards.partition_point(|shard| shard.first_token < range.start).saturating_sub(1);
        for (shard, facts) in self.shards.iter().zip(&self.index.shards).skip(first) {
            if shard.first_token >= range.end {
                break;
            }
            let end_of = |at: usize| shard.first_token + u64::from(end_at(&shard.documents, at));
            let n = facts.n_documents as usize;
            let start = partition(n, |at| end_of(at) <= range.start);
            let ends = (start..n).map(end_of).take_while(|&end| end <= range.end);
            out.extend(ends.map(|end| (end - range.start) as usize));
        }
        self.touch(READ_AROUND);
        out
    }

    /// The tokens of a document, the one after it included.
    ///
    /// # Errors
    /// If there is no such document, or a token is not in the vocabulary.
    pub fn document(&self, number: u64) -> Result<Vec<u32>, DataError> {
        if number >= self.n_documents {
            let n = self.n_documents;
            return Err(DataError::Argument(format!("document {number} of a corpus of {n}")));
        }
        self.tokens(self.document_start(number)..self.document_end(number))
    }

    /// Where a document starts; past the last one, where that ends.
    pub(super) fn document_start(&self, number: u64) -> u64 {
        number.checked_sub(1).map_or(0, |before| self.document_end(before))
    }

    /// Where a document ends, by its number.
    pub(super) fn document_end(&self, number: u64) -> u64 {
        let shard = self.shards.partition_point(|shard| shard.first_document <= number).saturating_sub(1);
        // Of shards without documents the last is found, which is the one that has it.
        let shard = &self.shards[shard];
        shard.first_token + u64::from(end_at(&shard.documents, (number - shard.first_document) as usize))
    }

    fn touch(&self, bytes: u64) {
        if self.touched.fetch_add(bytes, Ordering::Relaxed) + bytes >= FORGET_AFTER {
            self.touched.store(0, Ordering::Relaxed);
            self.shards.iter().for_each(|shard| {
                forget(&shard.tokens);
                forget(&shard.documents);
            });
        }
    }
}
