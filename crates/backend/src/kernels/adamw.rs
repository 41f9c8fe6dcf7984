//! One step of AdamW, every buffer read and written once.

use std::any::TypeId;

use burn::tensor::{DType, TensorMetadata, backend::Backend};
use rayon::prelude::*;

use super::{CHUNK, Cpu, Primitive, elements, same, simd};
use crate::ops::AdamWStep;

/// Parameter, first and second moment after the step, from those and the gradient; where there is no kernel for `B`, all
/// four come back.
pub(crate) fn adamw_step<B: Backend>(
    step: &AdamWStep,
    tensors: [Primitive<B>; 4],
) -> Result<[Primitive<B>; 3], [Primitive<B>; 4]> {
    if tensors.iter().any(|tensor| tensor.dtype() != DType::F32) {
        return Err(tensors);
    }
    #[cfg(feature = "ndarray")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::NdArray>() {
        return Ok(same(update::<crate::device::NdArray>(step, same(tensors))));
    }
    #[cfg(feature = "flex")]
    if TypeId::of::<B>() == TypeId::of::<crate::device::Flex>() {
        return Ok(same(update::<crate::device::Flex>(step, same(tensors))));
    }
    Err(tensors)
}

fn update<K: Cpu>(step: &AdamWStep, [mut p, mut m, mut v, grad]: [Primitive<K>; 4]) -> [Primitive<K>; 3] {
    let g = elements::<K>(&grad);
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
            simd::dispatch!({
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
