//! The gradient of one optimizer step: of a window of batches, exact per token.
//!
//! Losses and gradients are summed over the window and divided once, by the sum of the weights. A mean of means would
//! weigh the tokens of a short batch, and those of the last window of an epoch, more than others. A loss of several means
//! learns from [`Trainable::join`] what they are over.

use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_heads::{GradientCheckpointing, HeadError, Trainable};

use crate::ClipNorm;

/// Added to the norm that clipping divides by, as in PyTorch's `clip_grad_norm_`.
const CLIP_EPS: f64 = 1e-6;

/// Summed gradients of a window and what the host needs to know of them.
pub(crate) struct Gradients {
    /// The sums.
    pub(crate) sums: GradientsParams,
    /// What they are to be divided by.
    pub(crate) weight: f64,
    /// The mean loss.
    pub(crate) loss: f64,
    /// The global norm of the mean gradient.
    pub(crate) norm: f64,
    /// Tokens without padding.
    pub(crate) tokens: usize,
}

/// The gradients of a window; batch `i` draws its dropout from `key.child(i)`.
///
/// Loss and norm are read from the device once, together.
///
/// # Errors
/// The index of a batch that does not fit the model, and why.
pub(crate) fn gradients<B, M>(
    model: &M,
    window: &mut [M::Batch],
    key: Key,
    checkpointing: GradientCheckpointing,
) -> Result<Gradients, (usize, HeadError)>
where
    B: AutodiffBackend,
    M: Trainable<B> + AutodiffModule<B>,
{
    M::join(window);
    let mut sums = GradientsParams::new();
    let mut sum: Option<Tensor<B::InnerBackend, 1>> = None;
    let (mut weight, mut tokens) = (0.0, 0);
    for (i, batch) in window.iter().enumerate() {
        let key = Some(key.child(i as u64));
        let loss = model.backward(batch, key, checkpointing, &mut sums).map_err(|error| (i, error))?;
        weight += loss.weight;
        tokens += M::n_tokens(batch);
        sum = Some(match sum {
            Some(sum) => sum + loss.sum,
            None => loss.sum,
        });
    }
    let mut squares = Squares { grads: &sums, sum: None };
    model.visit(&mut squares);
    let values: Vec<Tensor<B::InnerBackend, 1>> = sum.into_iter().chain(squares.sum).collect();
    let values: Vec<f64> =
        if values.is_empty() { vec![] } else { Tensor::cat(values, 0).into_data().iter::<f64>().collect() };
    let value = |at: usize| values.get(at).copied().unwrap_or(0.0);
    let (loss, norm) = (value(0) / weight, value(1).sqrt() / weight);
    Ok(Gradients { sums, weight, loss, norm, tokens })
}

impl Gradients {
    /// What the summed gradients are multiplied by: the mean, clipped.
    pub(crate) fn scale(&self, clip: ClipNorm) -> f64 {
        let clip = match clip {
            ClipNorm::Off => 1.0,
            ClipNorm::Max(max) => (max / (self.norm + CLIP_EPS)).min(1.0),
        };
        clip / self.weight
    }
}

/// The sum of the squares of all gradients, on the device.
struct Squares<'a, IB: Backend> {
    grads: &'a GradientsParams,
    sum: Option<Tensor<IB, 1>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Squares<'_, B::InnerBackend> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.get::<B::InnerBackend, D>(param.id) {
            let square = ops::sum_of_squares(grad);
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}
