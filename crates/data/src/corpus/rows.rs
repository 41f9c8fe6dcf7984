//! The rows of a corpus in the order of an epoch.

use std::sync::Arc;

use super::reader::Corpus;
use crate::objective::packed::packed_row;
use crate::random::{Shuffle, derive};
use crate::{DataError, Item};

/// Rows of one length over a corpus, each token in one of them, shuffled anew in every epoch.
///
/// The row at a place is a function of seed, epoch and place: any step is reached at once, and nothing is held but the mapped
/// files, however large the corpus is.
#[derive(Debug, Clone)]
pub struct CorpusRows {
    corpus: Arc<Corpus>,
    seq: u64,
    seed: u64,
    n_rows: u64,
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
        Ok(Self { corpus, seq: seq as u64, seed, n_rows })
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
        assert!(number < self.n_rows, "row {number} of {}", self.n_rows);
        let start = number * self.seq;
        let range = start..(start + self.seq + 1).min(self.corpus.n_tokens());
        let ends = self.corpus.document_ends(range.clone());
        Ok(packed_row(&self.corpus.tokens(range)?, &ends))
    }

    /// The corpus.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }
}
