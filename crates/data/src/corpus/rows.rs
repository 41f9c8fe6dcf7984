//! The rows of a corpus in the order of an epoch.

use std::ops::Range;
use std::sync::Arc;

use super::files::partition;
use super::reader::Corpus;
use crate::objective::packed::packed_row;
use crate::random::{Shuffle, derive};
use crate::{DataError, Item};

/// Rows of one length over a corpus, each token in one of them, shuffled anew in every epoch. With
/// [`with_start`](Self::with_start) they are those of a [`Packer`](crate::objective::packed::Packer) for the same documents.
///
/// The row at a place is a function of seed, epoch and place: any step is reached at once, and nothing is held but the mapped
/// files, however large the corpus is.
#[derive(Debug, Clone)]
pub struct CorpusRows {
    corpus: Arc<Corpus>,
    seq: u64,
    seed: u64,
    n_rows: u64,
    /// The token ahead of each document, which the files do not have.
    start: Option<u32>,
}

impl CorpusRows {
    /// Rows of `seq` tokens.
    ///
    /// # Errors
    /// If `seq` is 0, or the corpus has fewer than two tokens.
    pub fn new(corpus: Arc<Corpus>, seq: usize, seed: u64) -> Result<Self, DataError> {
        if seq == 0 || corpus.n_tokens() < 2 {
            return Err(DataError::Argument(format!(
                "rows of {seq} tokens from a corpus of {} tokens: expected rows of at least 1 from at least 2",
                corpus.n_tokens()
            )));
        }
        let n_rows = (corpus.n_tokens() - 1).div_ceil(seq as u64);
        Ok(Self { corpus, seq: seq as u64, seed, n_rows, start: None })
    }

    /// The same with a token ahead of each document, where there is one: it is put there as rows are read.
    #[must_use]
    pub fn with_start(mut self, start: Option<u32>) -> Self {
        self.start = start;
        self.n_rows = (self.n_tokens() - 1).div_ceil(self.seq);
        self
    }

    /// The tokens of all rows and the one after them.
    fn n_tokens(&self) -> u64 {
        self.corpus.n_tokens() + self.start.map_or(0, |_| self.corpus.n_documents())
    }

    /// How many rows every epoch has.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The number of the row that comes at a place of an epoch: what an objective takes as the number of its example.
    ///
    /// # Panics
    /// If `place` is not below [`CorpusRows::n_rows`].
    pub fn number(&self, epoch: u64, place: u64) -> u64 {
        Shuffle::new(derive(self.seed, epoch), self.n_rows).at(place)
    }

    /// A row by its number, in the order of the files: each token predicted from those before it in its document. The last row
    /// may be shorter.
    ///
    /// # Errors
    /// If the files are damaged.
    ///
    /// # Panics
    /// If `number` is not below [`CorpusRows::n_rows`].
    pub fn row(&self, number: u64) -> Result<Item, DataError> {
        let (tokens, ends) = self.read(number)?;
        Ok(packed_row(&tokens, &ends))
    }

    /// The tokens of a row by its number, and the one after them, which is its last label.
    ///
    /// # Errors
    /// If the files are damaged.
    ///
    /// # Panics
    /// If `number` is not below [`CorpusRows::n_rows`].
    pub fn tokens(&self, number: u64) -> Result<Vec<u32>, DataError> {
        Ok(self.read(number)?.0)
    }

    /// The tokens of a row and the one after them, and where documents end among them.
    fn read(&self, number: u64) -> Result<(Vec<u32>, Vec<usize>), DataError> {
        assert!(number < self.n_rows, "row {number} of {}", self.n_rows);
        let start = number * self.seq;
        let range = start..(start + self.seq + 1).min(self.n_tokens());
        if let Some(token) = self.start {
            return self.started(range, token);
        }
        let ends = self.corpus.document_ends(range.clone());
        Ok((self.corpus.tokens(range)?, ends))
    }

    /// The same of a row whose range counts the token ahead of each document.
    fn started(&self, range: Range<u64>, token: u32) -> Result<(Vec<u32>, Vec<usize>), DataError> {
        let corpus = &*self.corpus;
        // The document that the row starts in, and where that starts; each before it has a token more than in the files.
        let is_before = |n: usize| corpus.document_end(n as u64) + (n as u64) < range.start;
        let document = partition(corpus.n_documents() as usize, is_before) as u64;
        let is_new = corpus.document_start(document) + document == range.start;
        let from = range.start - document - u64::from(!is_new);
        let len = (range.end - range.start) as usize;
        let read = from..(from + len as u64).min(corpus.n_tokens());
        let mut starts = corpus.document_ends(read.clone()).into_iter().peekable();
        let (mut tokens, mut ends) = (Vec::with_capacity(len + 1), Vec::new());
        tokens.extend(is_new.then_some(token));
        for (at, id) in (1..).zip(corpus.tokens(read)?) {
            tokens.push(id);
            if starts.next_if_eq(&at).is_some() {
                ends.push(tokens.len());
                tokens.push(token);
            }
        }
        tokens.truncate(len);
        Ok((tokens, ends))
    }

    /// The corpus.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }
}
