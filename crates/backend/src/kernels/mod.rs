//! Kernels for particular backends, found by type.
//!
//! A public operation asks [`run`] first. The look is a safe cast through [`Any`]: it succeeds where `B` is a backend
//! with kernels (or [`Autodiff`] of one) and hands the inputs back where it is not, so layers need no bound beyond
//! burn's `Backend`. Kernels work on slices and are shared by the CPU backends, which differ in [`Cpu`] only. The
//! backward of each is written by hand, because burn's autodiff decomposes what has no node of its own.

#![cfg_attr(
    not(any(feature = "ndarray", feature = "flex")),
    allow(dead_code, unused_imports, reason = "only the CPU backends have kernels")
)]

mod cross_entropy;
mod layer_norm;
#[cfg(any(feature = "ndarray", feature = "flex"))]
mod storage;

use std::any::Any;
use std::borrow::Cow;

use burn::backend::Autodiff;
use burn::tensor::{DType, Shape, Tensor, TensorPrimitive, backend::Backend};

pub(crate) use cross_entropy::CrossEntropy;
pub(crate) use layer_norm::LayerNorm;

/// A CPU backend whose float tensors are slices of f32 in row-major order.
pub(crate) trait Cpu: Backend {
    /// The elements in row-major order; copied only where they do not lie so. `None` for other element types.
    fn elements(tensor: &Self::FloatTensorPrimitive) -> Option<Cow<'_, [f32]>>;
    /// A tensor of these elements.
    fn from_elements(elements: Vec<f32>, shape: Shape) -> Self::FloatTensorPrimitive;
}

/// An operation with a kernel for CPU backends.
pub(crate) trait Kernel: Sized {
    /// The tensors it takes.
    type Inputs<B: Backend>: 'static;
    /// The tensor it gives.
    type Output<B: Backend>: 'static;

    /// Whether all inputs hold f32, which the type of a backend does not say: it is a property of each tensor.
    fn is_f32<B: Backend>(inputs: &Self::Inputs<B>) -> bool;
    /// Runs on a plain backend.
    fn plain<K: Cpu>(&self, inputs: Self::Inputs<K>) -> Self::Output<K>;
    /// Runs under autodiff, with its own node in the graph.
    fn tracked<K: Cpu>(&self, inputs: Self::Inputs<Autodiff<K>>) -> Self::Output<Autodiff<K>>;
}

/// Runs `op` where there is a kernel for `B`; otherwise gives the inputs back.
pub(crate) fn run<B: Backend, O: Kernel>(op: &O, inputs: O::Inputs<B>) -> Result<O::Output<B>, O::Inputs<B>> {
    if !O::is_f32(&inputs) {
        return Err(inputs);
    }
    #[cfg(feature = "ndarray")]
    let inputs = match on::<crate::device::NdArray, B, O>(op, inputs) {
        Ok(output) => return Ok(output),
        Err(inputs) => inputs,
    };
    #[cfg(feature = "flex")]
    let inputs = match on::<crate::device::Flex, B, O>(op, inputs) {
        Ok(output) => return Ok(output),
        Err(inputs) => inputs,
    };
    let _ = op;
    Err(inputs)
}

#[cfg(any(feature = "ndarray", feature = "flex"))]
fn on<K: Cpu, B: Backend, O: Kernel>(op: &O, inputs: O::Inputs<B>) -> Result<O::Output<B>, O::Inputs<B>> {
    let inputs = match cast::<_, O::Inputs<Autodiff<K>>>(inputs) {
        Ok(inputs) => return Ok(same(op.tracked::<K>(inputs))),
        Err(inputs) => inputs,
    };
    match cast::<_, O::Inputs<K>>(inputs) {
        Ok(inputs) => Ok(same(op.plain::<K>(inputs))),
        Err(inputs) => Err(inputs),
    }
}

/// The value itself where `A` is `T`, otherwise the value given back.
#[cfg(any(feature = "ndarray", feature = "flex"))]
fn cast<A: 'static, T: 'static>(value: A) -> Result<T, A> {
    let mut slot = Some(value);
    if let Some(found) = (&mut slot as &mut dyn Any).downcast_mut::<Option<T>>()
        && let Some(found) = found.take()
    {
        return Ok(found);
    }
    Err(slot.unwrap_or_else(|| unreachable!("taken only where the types agree")))
}

/// The value as a type that it is known to have.
#[cfg(any(feature = "ndarray", feature = "flex"))]
fn same<A: 'static, T: 'static>(value: A) -> T {
    cast(value).unwrap_or_else(|_| unreachable!("inputs of this backend give outputs of this backend"))
}

fn holds_f32<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> bool {
    tensor.dtype() == DType::F32
}

/// The float primitive under a tensor.
fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

fn tensor<B: Backend, const D: usize>(primitive: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The elements of a tensor that [`run`] found to hold f32.
fn elements<K: Cpu>(tensor: &K::FloatTensorPrimitive) -> Cow<'_, [f32]> {
    K::elements(tensor).unwrap_or_else(|| unreachable!("only f32 gets here"))
}
