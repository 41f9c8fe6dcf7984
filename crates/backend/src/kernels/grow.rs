//! A tensor that is written piece by piece along one axis, as a cache of keys and values. Not for autodiff, whose
//! tensors keep their values.

use std::any::TypeId;

use burn::tensor::{DType, TensorMetadata, backend::Backend};

use super::{Cpu, Primitive, elements, same, shape};

/// The buffer with `new` written at `at` along the axis, in place where nobody else holds it.
pub(crate) fn write<B: Backend>(
    buffer: Primitive<B>,
    new: Primitive<B>,
    axis: usize,
    at: usize,
) -> Result<Primitive<B>, [Primitive<B>; 2]> {
    if [&buffer, &new].iter().any(|tensor| tensor.dtype() != DType::F32) {
        return Err([buffer, new]);
    }
    #[cfg(feature = "ndarray")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::NdArray>() {
        return Ok(same(write_on::<crate::device::NdArray>(same(buffer), &same(new), axis, at)));
    }
    #[cfg(feature = "flex")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::Flex>() {
        return Ok(same(write_on::<crate::device::Flex>(same(buffer), &same(new), axis, at)));
    }
    Err([buffer, new])
}

/// The first `len` along the axis, not copied.
pub(crate) fn prefix<B: Backend>(
    tensor: Primitive<B>,
    axis: usize,
    len: usize,
) -> Result<Primitive<B>, Primitive<B>> {
    if tensor.dtype() != DType::F32 {
        return Err(tensor);
    }
    #[cfg(feature = "ndarray")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::NdArray>() {
        return Ok(same(crate::device::NdArray::prefix(same(tensor), axis, len)));
    }
    #[cfg(feature = "flex")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::Flex>() {
        return Ok(same(crate::device::Flex::prefix(same(tensor), axis, len)));
    }
    Err(tensor)
}

fn write_on<K: Cpu>(mut buffer: Primitive<K>, new: &Primitive<K>, axis: usize, at: usize) -> Primitive<K> {
    let (dims, len) = (shape::<K>(&buffer), shape::<K>(new)[axis]);
    let inner: usize = dims[axis + 1..].iter().product();
    let new = elements::<K>(new);
    let outer = K::elements_mut(&mut buffer).chunks_exact_mut((dims[axis] * inner).max(1));
    for (buffer, new) in outer.zip(new.chunks_exact((len * inner).max(1))) {
        buffer[at * inner..(at + len) * inner].copy_from_slice(new);
    }
    buffer
}
