//! From a loss to the gradients of a model, with gradient checkpointing or without.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_embedding::TokenBatch;
use locus_embedding::position::PositionScheme;
use locus_encoder::{Segments, Stack, add_gradients};
use serde::{Deserialize, Serialize};

use crate::{HeadError, LossSum};

/// What a forward pass holds for the backward pass; also called activation checkpointing. Losses and gradients are the
/// same, up to the order in which gradients of parameters that layers share are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientCheckpointing {
    /// Everything.
    #[default]
    None,
    /// The input of each block; blocks run again in the backward pass (arXiv:1604.06174). Less memory for a second
    /// forward pass.
    Block,
}

/// Adds to `sums` the gradients of a loss through its whole graph; gives its value.
pub(crate) fn whole<B: AutodiffBackend, M: Module<B>>(
    model: &M,
    loss: LossSum<B>,
    sums: &mut GradientsParams,
) -> LossSum<B::InnerBackend> {
    add_gradients(sums, model, &mut loss.sum.backward());
    loss.inner()
}

/// As [`whole`], of a loss that `loss_of` computes from what a stack says of the tokens, `[batch, seq, d_model]`.
pub(crate) fn through_stack<B: AutodiffBackend, P: PositionScheme<B>, M: Module<B>>(
    model: &M,
    stack: &Stack<B, P>,
    tokens: &TokenBatch<B>,
    key: Option<Key>,
    checkpointing: GradientCheckpointing,
    sums: &mut GradientsParams,
    loss_of: impl FnOnce(Tensor<B, 3>) -> Result<LossSum<B>, HeadError>,
) -> Result<LossSum<B::InnerBackend>, HeadError> {
    match checkpointing {
        GradientCheckpointing::None => {
            Ok(whole(model, loss_of(stack.forward(tokens, None, None, key)?)?, sums))
        }
        GradientCheckpointing::Block => {
            let segments = stack.forward_segments(tokens, None, key)?;
            let loss = loss_of(segments.output())?;
            let value = loss.clone().inner();
            segments.backward(loss.sum, model, sums)?;
            Ok(value)
        }
    }
}

/// As [`through_stack`] with checkpointing, of a decoder that attends to what an encoder says.
pub(crate) fn through_both<B: AutodiffBackend, P: PositionScheme<B>, M: Module<B>>(
    model: &M,
    encoder: Segments<'_, B, P>,
    decoder: Segments<'_, B, P>,
    sums: &mut GradientsParams,
    loss_of: impl FnOnce(Tensor<B, 3>) -> Result<LossSum<B>, HeadError>,
) -> Result<LossSum<B::InnerBackend>, HeadError> {
    let loss = loss_of(decoder.output())?;
    let value = loss.clone().inner();
    if let Some(of_memory) = decoder.backward(loss.sum, model, sums)? {
        encoder.backward_from(of_memory, sums)?;
    }
    Ok(value)
}

/// That a decoder has a token table of its own: the gradients of one that two stacks read are summed in one graph.
pub(crate) fn check_own_table<B: AutodiffBackend, P>(decoder: &Stack<B, P>) -> Result<(), HeadError> {
    if decoder.embeddings.tokens.is_some() { Ok(()) } else { Err(HeadError::SharedTable) }
}
