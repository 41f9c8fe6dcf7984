//! The update of AdamW.

use burn::tensor::{Tensor, backend::Backend};

use crate::kernels::{self, primitive, tensor};
use crate::reference;

/// The numbers of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay rate of the first moment.
    pub beta1: f64,
    /// Decay rate of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled decay: a parameter loses `lr · weight_decay` of itself.
    pub weight_decay: f64,
    /// What the gradient is multiplied by: the reciprocal weight of the losses, and clipping.
    pub grad_scale: f64,
    /// The number of this update, from 1: it takes the bias out of the moments.
    pub updates: u64,
}

/// One step of AdamW (arXiv:1711.05101, algorithm 2): parameter, first and second moment after it.
///
/// With `g` the scaled gradient: `m ← β₁m + (1 − β₁)g`, `v ← β₂v + (1 − β₂)g²` and
/// `p ← (1 − lr·λ)p − lr · m̂ / (√v̂ + ε)` with the moments' bias taken out. Where there is a kernel, tensors that nobody
/// else holds are updated where they are.
///
/// # Shapes
/// - parameter, moments and gradient: all the same
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// use locus_backend::ops::AdamWStep;
/// let step = AdamWStep { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, grad_scale: 1.0, updates: 1 };
/// let zeros = || Tensor::<NdArray, 2>::zeros([2, 3], &device);
/// let [p, ..] = ops::adamw_step(&step, [zeros(), zeros(), zeros()], zeros() + 5.0);
/// assert!((p.mean().into_scalar() + 0.1).abs() < 1e-6); // the first step has the length lr
/// ```
pub fn adamw_step<B: Backend, const D: usize>(
    step: &AdamWStep,
    tensors: [Tensor<B, D>; 3],
    grad: Tensor<B, D>,
) -> [Tensor<B, D>; 3] {
    let [p, m, v] = tensors.map(primitive);
    match kernels::adamw_step::<B>(step, [p, m, v, primitive(grad)]) {
        Ok(tensors) => tensors.map(tensor),
        Err([p, m, v, grad]) => reference::adamw_step(step, [p, m, v].map(tensor::<B, D>), tensor(grad)),
    }
}
