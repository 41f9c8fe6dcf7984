//! Weights in fewer bits than f32, for inference on a CPU.
//!
//! A decoder that writes a token at a time reads every weight for it, so memory bandwidth is its limit: bf16 halves what is
//! read, int8 quarters it. Activations and everything between the linear layers stay f32.

use std::sync::Arc;

use burn::tensor::{DType, Tensor, backend::Backend};
use thiserror::Error;

use crate::kernels::{self, primitive};

/// How a weight is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The upper half of an f32 (8 bits of significand), rounded to nearest, ties to even. Activations and sums are f32.
    Bf16,
    /// Symmetric 8-bit integers, `w ≈ step · q` with `q` in −127..=127, one step per output, the largest weight over 127.
    /// Activations are rounded in the same way, one step per row, when the layer runs; sums are exact.
    Int8,
}

impl Precision {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// The instructions that this processor has for it, the fastest first; `plain` are those that every processor has.
    pub fn instructions(self) -> Vec<&'static str> {
        kernels::instructions(self)
    }
}

/// The weights of a linear layer, rounded and laid out for [`ops::packed_linear`](crate::ops::packed_linear). Clones share
/// them.
#[derive(Clone, Debug)]
pub struct Packed(Arc<kernels::Panels>);

/// Why weights cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PackError {
    /// The backend has no kernels for them.
    #[error(
        "bf16 and int8 weights need backend ndarray or flex and no gradients, found backend '{backend}': take one of these, or \
         leave the weights f32"
    )]
    Backend {
        /// What was found.
        backend: String,
    },
    /// The weight is empty or has too many inputs.
    #[error(
        "a weight of {d_in} inputs and {d_out} outputs cannot be packed: expected 1 to {} inputs and at least 1 output",
        Packed::MAX_INPUTS
    )]
    Size {
        /// Its inputs.
        d_in: usize,
        /// Its outputs.
        d_out: usize,
    },
}

impl Packed {
    /// The most inputs: the sum of so many products of int8 is sure to fit into 32 bits.
    pub const MAX_INPUTS: usize = 1 << 17;

    /// Rounds and lays out a weight `[d_in, d_out]`.
    ///
    /// A transposed view, such as the token table of a tied decoder, is read where it lies.
    ///
    /// # Errors
    /// If `B` is not ndarray or flex without autodiff, or the weight is empty or wider than [`Packed::MAX_INPUTS`].
    ///
    /// # Example
    /// ```
    /// # use burn::tensor::Tensor;
    /// # use locus_backend::device::NdArray;
    /// # fn main() -> Result<(), locus_backend::packed::PackError> {
    /// # let device = Default::default();
    /// use locus_backend::packed::{Packed, Precision};
    /// let weight = Tensor::<NdArray, 2>::ones([64, 128], &device);
    /// assert_eq!(Packed::new(weight.clone(), Precision::Bf16)?.bytes(), 64 * 128 * 2);
    /// assert_eq!(Packed::new(weight, Precision::Int8)?.bytes(), 64 * 128 + 128 * 4);
    /// # Ok(()) }
    /// ```
    pub fn new<B: Backend>(weight: Tensor<B, 2>, precision: Precision) -> Result<Self, PackError> {
        let ([d_in, d_out], device) = (weight.dims(), weight.device());
        if !(1..=Self::MAX_INPUTS).contains(&d_in) || d_out == 0 {
            return Err(PackError::Size { d_in, d_out });
        }
        let panels = kernels::pack::<B>(primitive(weight.cast(DType::F32)), precision);
        let panels = panels.ok_or_else(|| PackError::Backend { backend: B::name(&device) })?;
        Ok(Self(Arc::new(panels)))
    }

    /// How the weights are rounded.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    /// `[d_in, d_out]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.0.d_in, self.0.d_out]
    }

    /// The memory that the weights take. Outputs are padded to a multiple of 64, inputs to one of 2 (bf16) or 4 (int8).
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    pub(crate) fn panels(&self) -> &kernels::Panels {
        &self.0
    }
}
