//! Layer normalisation and root mean square normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops;
use locus_backend::rng::Key;

use crate::{NormKind, StackConfig};

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
    pub fn new(kind: NormKind, width: usize, eps: f64, device: &B::Device) -> Self {
        Self::with_shift(kind, width, eps, true, device)
    }

    /// The norm of a stack, over this width.
    pub fn of(config: &StackConfig, width: usize, device: &B::Device) -> Self {
        Self::with_shift(config.norm, width, config.norm_eps, config.bias.norm, device)
    }

    fn with_shift(kind: NormKind, width: usize, eps: f64, shift: bool, device: &B::Device) -> Self {
        let filled = |init: Init| init.param([width], Key::new(0), device);
        match kind {
            NormKind::LayerNorm => Self::Layer(LayerNorm {
                gamma: filled(Init::Ones),
                beta: shift.then(|| filled(Init::Zeros)),
                eps,
            }),
            NormKind::RmsNorm => Self::Rms(RmsNorm { gamma: filled(Init::Ones), offset: 0.0, eps }),
            NormKind::RmsNormPlusOne => Self::Rms(RmsNorm { gamma: filled(Init::Zeros), offset: 1.0, eps }),
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
            Self::Layer(norm) => {
                let gamma = norm.gamma.val();
                let beta = norm.beta.as_ref().map_or_else(|| gamma.zeros_like(), Param::val);
                ops::layer_norm(x, gamma, beta, norm.eps)
            }
            Self::Rms(norm) if norm.offset == 0.0 => ops::rms_norm(x, norm.gamma.val(), norm.eps),
            Self::Rms(norm) => ops::rms_norm(x, norm.gamma.val() + norm.offset, norm.eps),
        }
    }
}

/// Subtracts the mean, divides by the standard deviation, scales by gamma and adds beta (arXiv:1607.06450).
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// Scale, `[d_model]`.
    pub gamma: Param<Tensor<B, 1>>,
    /// Shift, `[d_model]`, where there is one.
    pub beta: Option<Param<Tensor<B, 1>>>,
    eps: f64,
}

/// Divides by the root mean square and scales by gamma (arXiv:1910.07467), or by 1 + gamma.
#[derive(Module, Debug)]
pub struct RmsNorm<B: Backend> {
    /// Scale, `[d_model]`.
    pub gamma: Param<Tensor<B, 1>>,
    offset: f64,
    eps: f64,
}
