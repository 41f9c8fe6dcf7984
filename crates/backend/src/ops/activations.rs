//! Activations and residual connections.

use burn::tensor::activation::{gelu_approximate, relu, silu};
use burn::tensor::{Tensor, backend::Backend};

use crate::kernels::{self, primitive, tensor};
use crate::reference;

/// A function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The Gaussian error linear unit, exact: `x · Φ(x)` (arXiv:1606.08415).
    Gelu,
    /// Its approximation `½x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, as in GPT-2.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x · σ(x)`, also called swish (arXiv:1702.03118).
    Silu,
}

/// The activation of every element.
///
/// # Shapes
/// - x: any; output as x
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// use locus_backend::ops::Activation;
/// let x = Tensor::<NdArray, 1>::from([-1.0, 0.0, 2.0]);
/// let y = ops::activation(x, Activation::Relu).to_data().to_vec::<f32>()?;
/// assert_eq!(y, [0.0, 0.0, 2.0]);
/// # Ok::<(), burn::tensor::DataError>(())
/// ```
pub fn activation<B: Backend, const D: usize>(x: Tensor<B, D>, f: Activation) -> Tensor<B, D> {
    let x = [primitive(x)];
    let done = match f {
        Activation::Gelu => one::<B, kernels::Gelu>(x),
        Activation::GeluTanh => one::<B, kernels::GeluTanh>(x),
        Activation::Relu => one::<B, kernels::Relu>(x),
        Activation::Silu => one::<B, kernels::Silu>(x),
    };
    match done {
        Ok(y) => tensor(y),
        Err([x]) => reference_of(tensor(x), f),
    }
}

/// `f(gate) · up`: the gated linear units of arXiv:2002.05202.
///
/// # Shapes
/// - gate, up: any, the same; output as they
///
/// # Panics
/// If the shapes differ.
pub fn gated<B: Backend, const D: usize>(
    gate: Tensor<B, D>,
    up: Tensor<B, D>,
    f: Activation,
) -> Tensor<B, D> {
    assert_eq!(gate.dims(), up.dims(), "a gate is as large as what it gates");
    let inputs = [primitive(gate), primitive(up)];
    let done = match f {
        Activation::Gelu => two::<B, kernels::Gelu>(inputs),
        Activation::GeluTanh => two::<B, kernels::GeluTanh>(inputs),
        Activation::Relu => two::<B, kernels::Relu>(inputs),
        Activation::Silu => two::<B, kernels::Silu>(inputs),
    };
    match done {
        Ok(y) => tensor(y),
        Err([gate, up]) => reference_of::<B, D>(tensor(gate), f) * tensor(up),
    }
}

/// `x + made`, written over `made` where nobody else holds it.
///
/// # Shapes
/// - x, made: any, the same; output as they
///
/// # Panics
/// If the shapes differ.
pub fn add<B: Backend, const D: usize>(x: Tensor<B, D>, made: Tensor<B, D>) -> Tensor<B, D> {
    assert_eq!(x.dims(), made.dims(), "a residual is as large as what it is added to");
    match kernels::run::<B, _, 2>(kernels::Add, [primitive(x), primitive(made)]) {
        Ok(y) => tensor(y),
        Err((_, [x, made])) => tensor::<B, D>(x) + tensor(made),
    }
}

fn one<B: Backend, F: kernels::Function>(
    x: [kernels::Primitive<B>; 1],
) -> Result<kernels::Primitive<B>, [kernels::Primitive<B>; 1]> {
    kernels::run::<B, _, 1>(kernels::Activation::<F>::default(), x).map_err(|(_, x)| x)
}

fn two<B: Backend, F: kernels::Function>(
    inputs: [kernels::Primitive<B>; 2],
) -> Result<kernels::Primitive<B>, [kernels::Primitive<B>; 2]> {
    kernels::run::<B, _, 2>(kernels::Gated::<F>::default(), inputs).map_err(|(_, inputs)| inputs)
}

fn reference_of<B: Backend, const D: usize>(x: Tensor<B, D>, f: Activation) -> Tensor<B, D> {
    match f {
        Activation::Gelu => reference::gelu(x),
        Activation::GeluTanh => gelu_approximate(x),
        Activation::Relu => relu(x),
        Activation::Silu => silu(x),
    }
}
