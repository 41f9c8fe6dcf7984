//! Kernels for particular backends, found by type.
//!
//! A public operation asks [`run`] first. It compares types: where `B` is a backend with kernels, or [`Autodiff`] of
//! one, the kernel runs, and otherwise the inputs come back, so layers need no bound beyond burn's `Backend`. Kernels
//! work on arrays and are shared by the CPU backends, which differ in [`Cpu`] only. The backward of each is written by
//! hand, because burn's autodiff decomposes what has no node of its own.
//!
//! Results do not depend on the number of threads: work is cut by fixed sizes, and sums across cuts go in order.

#![cfg_attr(
    not(any(feature = "ndarray", feature = "flex")),
    allow(dead_code, unused_imports, reason = "only the CPU backends have kernels")
)]

mod activation;
mod adamw;
mod add;
mod attention;
pub(crate) mod bf16;
mod cross_entropy;
mod dropout;
mod embedding;
mod few_rows;
mod grow;
mod linear;
mod linear_activation;
mod linear_cross_entropy;
mod matmul;
mod norm;
mod packed;
mod reshape;
mod rotary;
mod simd;
mod squares;
mod storage;
#[cfg(target_arch = "x86_64")]
mod tiles;

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::{DType, Tensor, TensorMetadata, TensorPrimitive, backend::Backend};
use ndarray::{ArrayViewD, CowArray, IxDyn};
use rayon::prelude::*;

pub(crate) use activation::{Activation, Function, Gated, Gelu, GeluTanh, Relu, Silu};
pub(crate) use adamw::adamw_step;
pub(crate) use add::Add;
pub(crate) use attention::Attention;
pub(crate) use cross_entropy::CrossEntropy;
pub(crate) use dropout::Dropout;
pub(crate) use embedding::Embedding;
pub(crate) use grow::{prefix, write};
pub(crate) use linear::Linear;
pub(crate) use linear_activation::LinearActivation;
pub(crate) use linear_cross_entropy::LinearCrossEntropy;
pub(crate) use norm::{LayerNorm, RmsNorm};
pub(crate) use packed::{Panels, instructions, pack, packed_linear};
pub(crate) use reshape::Reshape;
pub(crate) use rotary::Rotary;
pub(crate) use squares::SumOfSquares;

/// A tensor of a backend, of any rank.
pub(crate) type Primitive<B> = burn::tensor::ops::FloatTensor<B>;

/// A CPU backend. The tensors given to its functions hold f32.
pub(crate) trait Cpu: Backend {
    /// The elements where they lie. `None` where an axis runs backwards.
    fn view(tensor: &Primitive<Self>) -> Option<ArrayViewD<'_, f32>>;
    /// The elements to be written, in row-major order; copied first where the tensor shares them or they lie otherwise.
    fn elements_mut(tensor: &mut Primitive<Self>) -> &mut [f32];
    /// The same elements in one piece, in row-major order.
    fn contiguous(tensor: Primitive<Self>) -> Primitive<Self>;
    /// The elements of a contiguous tensor under another shape, not copied.
    fn with_shape(tensor: Primitive<Self>, shape: &[usize]) -> Primitive<Self>;
    /// The first `len` along an axis, not copied.
    fn prefix(tensor: Primitive<Self>, axis: usize, len: usize) -> Primitive<Self>;
    /// A tensor of these elements in row-major order.
    fn tensor(elements: Vec<f32>, shape: &[usize]) -> Primitive<Self>;
}

/// An operation of `N` tensors with a kernel for CPU backends.
pub(crate) trait Kernel<const N: usize>: Debug + Send + 'static {
    /// What the backward pass needs.
    type Saved<K: Cpu>: Clone + Debug + Send + 'static;

    /// The output.
    fn forward<K: Cpu>(&self, inputs: [Primitive<K>; N]) -> (Primitive<K>, Self::Saved<K>);

    /// The gradients of the inputs; of those that are not wanted, any or none.
    fn backward<K: Cpu>(
        &self,
        saved: Self::Saved<K>,
        upstream: Primitive<K>,
        wanted: [bool; N],
    ) -> [Option<Primitive<K>>; N];
}

/// Whether [`run`] would run a kernel, where all tensors hold f32.
pub(crate) fn exist<B: Backend>() -> bool {
    let is = |id| TypeId::of::<B>() == id;
    let mut found = false;
    #[cfg(feature = "ndarray")]
    {
        use crate::device::NdArray;
        found = found || is(TypeId::of::<NdArray>()) || is(TypeId::of::<Autodiff<NdArray>>());
    }
    #[cfg(feature = "flex")]
    {
        use crate::device::Flex;
        found = found || is(TypeId::of::<Flex>()) || is(TypeId::of::<Autodiff<Flex>>());
    }
    let _ = is;
    found
}

/// Runs `op` where there is a kernel for `B`; otherwise gives it back with the inputs.
pub(crate) fn run<B: Backend, O: Kernel<N>, const N: usize>(
    op: O,
    inputs: [Primitive<B>; N],
) -> Result<Primitive<B>, (O, [Primitive<B>; N])> {
    if inputs.iter().any(|input| input.dtype() != DType::F32) {
        return Err((op, inputs));
    }
    #[cfg(feature = "ndarray")]
    let (op, inputs) = match on::<crate::device::NdArray, B, O, N>(op, inputs) {
        Ok(output) => return Ok(output),
        Err(back) => back,
    };
    #[cfg(feature = "flex")]
    let (op, inputs) = match on::<crate::device::Flex, B, O, N>(op, inputs) {
        Ok(output) => return Ok(output),
        Err(back) => back,
    };
    Err((op, inputs))
}

fn on<K: Cpu, B: Backend, O: Kernel<N>, const N: usize>(
    op: O,
    inputs: [Primitive<B>; N],
) -> Result<Primitive<B>, (O, [Primitive<B>; N])> {
    if TypeId::of::<B>() == TypeId::of::<K>() {
        let (output, _) = op.forward::<K>(same(inputs));
        Ok(same(output))
    } else if TypeId::of::<B>() == TypeId::of::<Autodiff<K>>() {
        Ok(same::<Primitive<Autodiff<K>>, _>(tracked::<K, O, N>(op, same(inputs))))
    } else {
        Err((op, inputs))
    }
}

/// Runs under autodiff, as one node of the graph.
fn tracked<K: Cpu, O: Kernel<N>, const N: usize>(
    op: O,
    inputs: [Primitive<Autodiff<K>>; N],
) -> Primitive<Autodiff<K>> {
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    let held = inputs.each_ref().map(|input| input.rc.clone());
    let (output, saved) = op.forward::<K>(inputs.map(|input| input.primitive));
    let output = match Step(op).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(saved, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    };
    // Until here: a node that no tensor holds and no step needs is taken out of the graph by any other thread's backward.
    drop(held);
    output
}

#[derive(Debug)]
struct Step<O>(O);

impl<K: Cpu, O: Kernel<N>, const N: usize> Backward<K, N> for Step<O> {
    type State = O::Saved<K>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<K>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let computed = self.0.backward::<K>(ops.state, upstream, wanted);
        for (parent, grad) in ops.parents.into_iter().zip(computed) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                // PERF: added here, because burn adds on one thread and into a new buffer.
                let (id, rc) = (parent.id, Arc::new(parent.id));
                let before = grads.remove::<K>(&Tracked::<K> { primitive: grad.clone(), node: parent, rc });
                grads.register::<K>(id, added::<K>(grad, before));
            }
        }
    }
}

/// The tensor type of autodiff.
type Tracked<K> = Primitive<Autodiff<K>>;

fn added<K: Cpu>(mut grad: Primitive<K>, before: Option<Primitive<K>>) -> Primitive<K> {
    if let Some(before) = before {
        update(K::elements_mut(&mut grad), &elements::<K>(&before), |sum, before| sum + before);
    }
    grad
}

/// The value as a type that it is known to have.
fn same<A: 'static, T: 'static>(value: A) -> T {
    let mut slot = Some(value);
    let found = (&mut slot as &mut dyn Any).downcast_mut::<Option<T>>().and_then(Option::take);
    found.unwrap_or_else(|| unreachable!("the types were compared"))
}

/// The float primitive under a tensor.
pub(crate) fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Primitive<B> {
    tensor.into_primitive().tensor()
}

/// The tensor over a primitive.
pub(crate) fn tensor<B: Backend, const D: usize>(primitive: Primitive<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The elements, in row-major order; copied only where they do not lie so.
fn elements<K: Cpu>(tensor: &Primitive<K>) -> Cow<'_, [f32]> {
    match K::view(tensor) {
        Some(view) => match view.to_slice() {
            Some(slice) => Cow::Borrowed(slice),
            None => Cow::Owned(view.iter().copied().collect()),
        },
        None => {
            let copied = K::contiguous(tensor.clone());
            Cow::Owned(elements::<K>(&copied).into_owned())
        }
    }
}

/// The elements as an array with whatever strides they have.
fn array<K: Cpu>(tensor: &Primitive<K>) -> CowArray<'_, f32, IxDyn> {
    match K::view(tensor) {
        Some(view) => view.into(),
        None => {
            let copied = K::contiguous(tensor.clone());
            match K::view(&copied) {
                Some(view) => view.into_owned().into(),
                None => unreachable!("contiguous elements run forwards"),
            }
        }
    }
}

/// The shape.
fn shape<K: Cpu>(tensor: &Primitive<K>) -> Vec<usize> {
    tensor.shape().to_vec()
}

/// How many elements a thread takes at a time: long enough to be worth a task, and the same on every machine.
const CHUNK: usize = 1 << 14;

/// `f` of each pair of elements, on all threads.
fn map2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let len = x.len().min(y.len());
    let mut out = Vec::with_capacity(len);
    let chunks = out.spare_capacity_mut()[..len].par_chunks_mut(CHUNK);
    chunks.zip(x.par_chunks(CHUNK)).zip(y.par_chunks(CHUNK)).for_each(|((out, x), y)| {
        simd::dispatch!({
            for (out, (&x, &y)) in out.iter_mut().zip(x.iter().zip(y)) {
                out.write(f(x, y));
            }
        });
    });
    // SAFETY: all `len` elements were written: the chunks of the three slices have the same lengths up to there.
    unsafe { out.set_len(len) };
    out
}

/// `y ← f(y, x)`, on all threads.
#[allow(clippy::redundant_closure, reason = "`&f` would be called for every element, not inlined")]
fn update(y: &mut [f32], x: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        simd::dispatch!(simd::update(
            y,
            x,
            #[inline(always)]
            |y, x| f(y, x)
        ))
    });
}

/// `y ← factor · y`, on all threads.
fn scale(y: &mut [f32], factor: f32) {
    if factor != 1.0 {
        y.par_chunks_mut(CHUNK).for_each(|y| simd::dispatch!(y.iter_mut().for_each(|y| *y *= factor)));
    }
}

/// How many rows of a matrix a thread takes at a time.
fn rows_per_chunk(width: usize) -> usize {
    (CHUNK / width.max(1)).clamp(1, 64)
}
