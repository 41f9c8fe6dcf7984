//! A model that has read a batch of texts and says what may follow.

use burn::tensor::{Tensor, backend::Backend};
use locus_embedding::position::PositionScheme;
use locus_embedding::{EmbeddingError, Tokens};
use locus_encoder::{KvCache, Memory};

use crate::{CausalLm, HeadError, Seq2Seq};

/// Reads texts further and further.
pub(super) trait Reader {
    /// Reads tokens after those before and gives the scores of what may come next.
    fn read(&mut self, tokens: &Tokens) -> Result<Scores, HeadError>;

    /// Goes on with these rows of the batch, in this order; a row may come several times.
    fn select(&mut self, rows: &[usize]);
}

/// Scores on the host, `[batch, vocab_size]`.
pub(super) struct Scores {
    values: Vec<f32>,
    vocab_size: usize,
}

impl Scores {
    fn new<B: Backend>(logits: Tensor<B, 2>) -> Self {
        let [_, vocab_size] = logits.dims();
        Self { values: logits.into_data().iter::<f32>().collect(), vocab_size }
    }

    /// The scores of a row, `[vocab_size]`.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.vocab_size..][..self.vocab_size]
    }
}

/// Whether the texts have reached the last position that the model knows.
pub(super) fn is_past_limit(error: &HeadError) -> bool {
    matches!(error, HeadError::Embedding(EmbeddingError::PastLimit { .. }))
}

/// A language model and what it has read.
pub(super) struct Continuing<'a, B: Backend, P> {
    pub(super) model: &'a CausalLm<B, P>,
    pub(super) cache: KvCache<B>,
}

impl<B: Backend, P: PositionScheme<B>> Reader for Continuing<'_, B, P> {
    fn read(&mut self, tokens: &Tokens) -> Result<Scores, HeadError> {
        Ok(Scores::new(self.model.next_logits(tokens, Some(&mut self.cache))?))
    }

    fn select(&mut self, rows: &[usize]) {
        self.cache.select(rows);
    }
}

/// An encoder–decoder, the sources, and what its decoder has read.
pub(super) struct Translating<'a, B: Backend, P> {
    pub(super) model: &'a Seq2Seq<B, P>,
    pub(super) memory: Memory<B>,
    pub(super) cache: KvCache<B>,
}

impl<B: Backend, P: PositionScheme<B>> Reader for Translating<'_, B, P> {
    fn read(&mut self, tokens: &Tokens) -> Result<Scores, HeadError> {
        Ok(Scores::new(self.model.next_logits(tokens, &self.memory, Some(&mut self.cache))?))
    }

    fn select(&mut self, rows: &[usize]) {
        self.memory = self.memory.select(rows);
        self.cache.select(rows);
    }
}
