//! Rotary position embedding.

use burn::tensor::{Tensor, backend::Backend};

use crate::kernels::{self, primitive, tensor};
use crate::reference;

/// Turns pairs of dimensions: `(a, b) → (a·cos − b·sin, b·cos + a·sin)` (arXiv:2104.09864, eq. 34).
///
/// A pair is the dimensions `n` and `n + r/2`, or, interleaved, `2n` and `2n + 1`; dimensions from `r` on stay as they are.
/// Cosines and sines are constants and get no gradient.
///
/// # Shapes
/// - x: `[batch, heads, seq, d_head]`; cos and sin: `[batch or 1, 1, seq, r / 2]`; output as x
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// let x = Tensor::<NdArray, 4>::ones([1, 2, 5, 4], &device);
/// let quarter = Tensor::<NdArray, 4>::ones([1, 1, 5, 2], &device);
/// let y = ops::rotary(x, quarter.zeros_like(), quarter, false); // by 90°
/// assert_eq!(y.slice([0..1, 0..1, 0..1, 0..4]).into_data().iter::<f32>().collect::<Vec<_>>(), [-1.0, -1.0, 1.0, 1.0]);
/// ```
pub fn rotary<B: Backend>(
    x: Tensor<B, 4>,
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
    interleaved: bool,
) -> Tensor<B, 4> {
    match kernels::run::<B, _, 3>(kernels::Rotary { interleaved }, [x, cos, sin].map(primitive)) {
        Ok(y) => tensor(y),
        Err((_, inputs)) => {
            let [x, cos, sin] = inputs.map(tensor);
            reference::rotary(x, cos, sin, interleaved)
        }
    }
}
