//! Token and segment embedding (Devlin et al. 2018, arXiv:1810.04805, fig. 2, without the position part, which is the
//! scheme's).

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::embedding;
use locus_backend::rng::Key;

use crate::{EmbeddingError, TokenBatch};

/// The sizes of [`Embeddings`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbeddingsConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub width: usize,
    /// Number of segments; 0 for a model without segment embedding.
    pub n_segments: usize,
    /// What the token vectors are multiplied by: 1, or √d_model as in Vaswani et al. 2017, §3.4.
    pub scale: f64,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl EmbeddingsConfig {
    /// Makes the tables.
    pub fn init<B: Backend>(&self, key: Key, device: &B::Device) -> Embeddings<B> {
        let init = Init::Normal { std: self.init_std };
        Embeddings {
            tokens: Some(init.param([self.vocab_size, self.width], key.named("tokens"), device)),
            segments: (self.n_segments > 0)
                .then(|| init.param([self.n_segments, self.width], key.named("segments"), device)),
            scale: self.scale,
        }
    }
}

/// The token table and, where the model has one, the segment table.
#[derive(Module, Debug)]
pub struct Embeddings<B: Backend> {
    /// Token vectors, `[vocab_size, width]`; absent where another module's are read.
    pub tokens: Option<Param<Tensor<B, 2>>>,
    /// Segment vectors, `[n_segments, width]`.
    pub segments: Option<Param<Tensor<B, 2>>>,
    scale: f64,
}

impl<B: Backend> Embeddings<B> {
    /// The vector of each token, plus its segment's.
    ///
    /// A batch without segment ids lies in segment 0.
    ///
    /// # Shapes
    /// - batch: `[batch, seq]`; output: `[batch, seq, width]`
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_embedding::{EmbeddingsConfig, TokenBatch, Tokens};
    /// # fn main() -> Result<(), locus_embedding::EmbeddingError> {
    /// let device = Default::default();
    /// let config = EmbeddingsConfig { vocab_size: 9, width: 4, n_segments: 2, scale: 1.0, init_std: 0.02 };
    /// let embeddings = config.init::<NdArray>(Key::new(1), &device);
    /// let tokens = Tokens::new([1, 3], vec![1, 8, 2], vec![true; 3], Some(vec![0, 0, 1]))?;
    /// let x = embeddings.forward(&TokenBatch::from_host(tokens, 9, &device)?)?;
    /// assert_eq!(x.dims(), [1, 3, 4]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If a segment id is outside the table.
    ///
    /// # Panics
    /// If there is no token table.
    pub fn forward(&self, batch: &TokenBatch<B>) -> Result<Tensor<B, 3>, EmbeddingError> {
        self.look_up(batch, None)
    }

    /// As [`Embeddings::forward`], with the token table of another module where this one has none.
    ///
    /// # Errors
    /// If a segment id is outside the table.
    ///
    /// # Panics
    /// If there is no token table, or there are two.
    pub fn look_up(
        &self,
        batch: &TokenBatch<B>,
        table: Option<Tensor<B, 2>>,
    ) -> Result<Tensor<B, 3>, EmbeddingError> {
        let table = match (&self.tokens, table) {
            (Some(own), None) => own.val(),
            (None, Some(table)) => table,
            (own, _) => {
                panic!("expected one token table, found {}", if own.is_some() { "two" } else { "none" })
            }
        };
        let mut x = embedding(table, batch.ids.clone()); // [batch, seq, width]
        if self.scale != 1.0 {
            x = x * self.scale;
        }
        let Some(table) = &self.segments else { return Ok(x) };
        self.check_segments(batch)?;
        let ids = batch.segments.clone().unwrap_or_else(|| batch.ids.zeros_like());
        Ok(x + embedding(table.val(), ids))
    }

    fn check_segments(&self, batch: &TokenBatch<B>) -> Result<(), EmbeddingError> {
        let (Some(table), Some(ids)) = (&self.segments, &batch.tokens.segments) else { return Ok(()) };
        let [n_segments, _] = table.dims();
        match ids.iter().position(|&id| id as usize >= n_segments) {
            None => Ok(()),
            Some(idx) => Err(EmbeddingError::SegmentOutOfRange {
                id: ids[idx],
                row: idx / batch.tokens.seq,
                column: idx % batch.tokens.seq,
                n_segments,
            }),
        }
    }
}
