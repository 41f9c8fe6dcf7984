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
    /// If an id is outside the vocabulary: on a GPU that would read foreign memory.
    pub fn from_host(tokens: Tokens, vocab_size: usize, device: &B::Device) -> Result<Self, EmbeddingError> {
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
