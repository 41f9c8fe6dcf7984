//! One step of AdamW, every buffer read and written once.

use rayon::prelude::*;

use super::{CHUNK, Cpu, Primitive, elements, same, simd};
use crate::ops::AdamWStep;

/// Parameter, first and second moment after the step, where there is a kernel for `B`; otherwise all come back.
pub(crate) fn adamw_step<B: burn::tensor::backend::Backend>(
    step: &AdamWStep,
    tensors: [Primitive<B>; 3],
    grad: Primitive<B>,
) -> Result<[Primitive<B>; 3], ([Primitive<B>; 3], Primitive<B>)> {
    use burn::tensor::{DType, TensorMetadata};
    use std::any::TypeId;
    if tensors.iter().chain([&grad]).any(|tensor| tensor.dtype() != DType::F32) {
        return Err((tensors, grad));
    }
    #[cfg(feature = "ndarray")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::NdArray>() {
        return Ok(same(update::<crate::device::NdArray>(step, same(tensors), &same(grad))));
    }
    #[cfg(feature = "flex")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::Flex>() {
        return Ok(same(update::<crate::device::Flex>(step, same(tensors), &same(grad))));
    }
    Err((tensors, grad))
}

fn update<K: Cpu>(step: &AdamWStep, tensors: [Primitive<K>; 3], grad: &Primitive<K>) -> [Primitive<K>; 3] {
    let [mut p, mut m, mut v] = tensors;
    let g = elements::<K>(grad);
    let AdamWStep { lr, beta1, beta2, eps, weight_decay, grad_scale, updates } = *step;
    // t as f64: powi takes an i32, which a long run could exceed.
    let bias = |beta: f64| 1.0 - beta.powf(updates as f64);
    let [keep, lr, root2] =
        [1.0 - lr * weight_decay, lr / bias(beta1), 1.0 / bias(beta2).sqrt()].map(|x| x as f32);
    let [rest1, rest2] = [1.0 - beta1, 1.0 - beta2].map(|x| x as f32);
    let [scale, beta1, beta2, eps] = [grad_scale, beta1, beta2, eps].map(|x| x as f32);
    K::elements_mut(&mut p)
        .par_chunks_mut(CHUNK)
        .zip(K::elements_mut(&mut m).par_chunks_mut(CHUNK))
        .zip(K::elements_mut(&mut v).par_chunks_mut(CHUNK))
        .zip(g.par_chunks(CHUNK))
        .for_each(|(((p, m), v), g)| {
            simd::dispatch(|| {
                for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                    let g = g * scale;
                    *m = *m * beta1 + g * rest1;
                    *v = *v * beta2 + g * g * rest2;
                    *p = *p * keep - lr * *m / (v.sqrt() * root2 + eps);
                }
            });
        });
    [p, m, v]
}
