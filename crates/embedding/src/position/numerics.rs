//! Functions whose gradients burn computes by `recip`, which on burn-ndarray is the processor's estimate of 12 to 14 bits.
//!
//! Each is a constant plus a term that is zero and has the right gradient: `f(c) + (x − c)·f′(c)` with `c` the value of `x`.

use burn::tensor::{Tensor, activation::log_sigmoid, backend::Backend};

/// `e^x − 1`, without cancellation.
pub(super) fn exp_m1<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let c = x.clone().detach();
    let half = (c.clone() / 2.0).tanh();
    let value = half.clone() * 2.0 / (-half + 1.0);
    value + (x - c.clone()) * c.exp()
}

/// `ln(1 + x)`.
pub(super) fn ln_1p<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let c = x.clone().detach();
    c.clone().log1p() + (x - c.clone()) * (c.ones_like() / (c + 1.0))
}

/// `1 / x`.
pub(super) fn inverse<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let c = x.ones_like() / x.clone().detach();
    c.clone() * (-(x * c) + 2.0)
}

/// `x` held between bounds, as if the parameter itself were put back inside: the gradient is that of `x`.
pub(super) fn held<B: Backend, const D: usize>(x: Tensor<B, D>, least: f64, most: f64) -> Tensor<B, D> {
    let c = x.clone().detach();
    c.clone().clamp(least, most) + (x - c)
}

/// `ln(1 + e^x)`.
pub(super) fn softplus<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let c = x.clone().detach();
    let value = -log_sigmoid(-c.clone());
    value + (x - c.clone()) * (c.ones_like() / ((-c).exp() + 1.0))
}
