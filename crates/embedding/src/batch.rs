//! The one door from host data to tensors.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::{EmbeddingError, Tokens};

/// Tokens as tensors, with the host data that positions and masks are made from.
#[derive(Clone, Debug)]
pub struct TokenBatch<B: Backend> {
    /// The tokens on the host.
    pub tokens: Tokens,
    /// Token ids, `[batch, seq]`.
    pub ids: Tensor<B, 2, Int>,
    /// Segment ids, `[batch, seq]`.
    pub segments: Option<Tensor<B, 2, Int>>,
}

impl<B: Backend> TokenBatch<B> {
    /// Checks the ids on the host and moves them to the device.
    ///
    /// # Errors
    /// If the batch is empty, or an id is outside the vocabulary: on a GPU that would read foreign memory.
    ///
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// use locus_embedding::{TokenBatch, Tokens};
    /// # fn main() -> Result<(), locus_embedding::EmbeddingError> {
    /// let tokens = Tokens::new([1, 3], vec![5, 2, 0], vec![true, true, false], None)?;
    /// let batch = TokenBatch::<NdArray>::from_host(tokens.clone(), 6, &Default::default())?;
    /// assert_eq!(batch.ids.dims(), [1, 3]);
    /// assert!(TokenBatch::<NdArray>::from_host(tokens, 5, &Default::default()).is_err());
    /// # Ok(()) }
    /// ```
    pub fn from_host(tokens: Tokens, vocab_size: usize, device: &B::Device) -> Result<Self, EmbeddingError> {
        let (batch, seq) = (tokens.batch, tokens.seq);
        if batch * seq == 0 {
            return Err(EmbeddingError::Empty { batch, seq });
        }
        if let Some(idx) = tokens.ids.iter().position(|&id| id as usize >= vocab_size) {
            let (row, column) = (idx / tokens.seq, idx % tokens.seq);
            return Err(EmbeddingError::TokenOutOfRange { id: tokens.ids[idx], row, column, vocab_size });
        }
        let ids = int_tensor(&tokens.ids, &tokens, device);
        let segments = tokens.segments.as_ref().map(|segments| int_tensor(segments, &tokens, device));
        Ok(Self { tokens, ids, segments })
    }
}

fn int_tensor<B: Backend>(ids: &[u32], tokens: &Tokens, device: &B::Device) -> Tensor<B, 2, Int> {
    let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    Tensor::from_data(TensorData::new(ids, [tokens.batch, tokens.seq]), device) // [batch, seq]
}
