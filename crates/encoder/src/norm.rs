//! Layer normalisation and root mean square normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops;
use locus_backend::rng::Key;

use crate::NormKind;

/// Either norm.
#[derive(Module, Debug)]
pub enum Norm<B: Backend> {
    /// Layer normalisation.
    Layer(LayerNorm<B>),
    /// Root mean square normalisation.
    Rms(RmsNorm<B>),
}

impl<B: Backend> Norm<B> {
    /// Makes a norm that starts as the plain normalisation.
    pub fn new(kind: NormKind, d_model: usize, eps: f64, device: &B::Device) -> Self {
        let ones = || Init::Ones.param([d_model], Key::new(0), device);
        match kind {
            NormKind::LayerNorm => Self::Layer(LayerNorm {
                gamma: ones(),
                beta: Init::Zeros.param([d_model], Key::new(0), device),
                eps,
            }),
            NormKind::RmsNorm => Self::Rms(RmsNorm { gamma: ones(), eps }),
        }
    }

    /// Normalises the last axis.
    ///
    /// # Shapes
    /// - x: `[.., d_model]`; output as x
    ///
    /// # Example
    /// ```
    /// # use burn::tensor::Tensor;
    /// # use locus_testkit::device::NdArray;
    /// use locus_encoder::{Norm, NormKind};
    /// let device = Default::default();
    /// let norm = Norm::<NdArray>::new(NormKind::RmsNorm, 3, 1e-6, &device);
    /// let y = norm.forward(Tensor::<NdArray, 2>::from_floats([[2.0, -2.0, 2.0]], &device));
    /// assert!((y.sum().into_scalar() - 1.0).abs() < 1e-4);
    /// ```
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Layer(norm) => ops::layer_norm(x, norm.gamma.val(), norm.beta.val(), norm.eps),
            Self::Rms(norm) => ops::rms_norm(x, norm.gamma.val(), norm.eps),
        }
    }
}

/// Subtracts the mean, divides by the standard deviation, scales by gamma and adds beta (arXiv:1607.06450).
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// Scale, `[d_model]`.
    pub gamma: Param<Tensor<B, 1>>,
    /// Shift, `[d_model]`.
    pub beta: Param<Tensor<B, 1>>,
    eps: f64,
}

/// Divides by the root mean square and scales by gamma (arXiv:1910.07467).
#[derive(Module, Debug)]
pub struct RmsNorm<B: Backend> {
    /// Scale, `[d_model]`.
    pub gamma: Param<Tensor<B, 1>>,
    eps: f64,
}
