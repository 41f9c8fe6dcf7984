//! `f(x · weight + bias)`: bias and activation in one pass over the product, and their gradients in one pass too.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::activation::Function;
use super::linear::{Linear, in_order, widened};
use super::{Cpu, Kernel, Primitive, elements, rows_per_chunk, shape, simd};
use crate::ops::Products;

/// Inputs: x `[.., d_in]`, weight `[d_in, d_out]`, bias `[d_out]`.
#[derive(Debug)]
pub(crate) struct LinearActivation<F> {
    linear: Linear,
    function: PhantomData<F>,
}

impl<F> LinearActivation<F> {
    pub(crate) fn new(products: Products) -> Self {
        Self { linear: Linear { products }, function: PhantomData }
    }
}

impl<F: Function> Kernel<3> for LinearActivation<F> {
    /// x, weight and what the function is applied to.
    type Saved<K: Cpu> = [Primitive<K>; 3];

    fn forward<K: Cpu>(&self, [x, weight, bias]: [Primitive<K>; 3]) -> (Primitive<K>, Self::Saved<K>) {
        let mut z = self.linear.product::<K>(&x, &weight);
        let bias = elements::<K>(&bias);
        assert_eq!(bias.len(), shape::<K>(&weight)[1], "the bias must be as wide as the output");
        let y = over_rows::<F>(&mut z, &bias);
        let dims = widened::<K>(&x, &weight);
        (K::tensor(y, &dims), [x, weight, K::tensor(z, &dims)])
    }

    fn backward<K: Cpu>(
        &self,
        [x, weight, z]: Self::Saved<K>,
        mut dy: Primitive<K>,
        [for_x, for_weight, _]: [bool; 3],
    ) -> [Option<Primitive<K>>; 3] {
        let d_out = shape::<K>(&weight)[1];
        let dbias = slopes::<F>(K::elements_mut(&mut dy), &elements::<K>(&z), d_out);
        drop(z);
        let [dx, dweight] = self.linear.gradients::<K>(&x, &weight, &dy, for_x, for_weight);
        [dx, dweight, Some(K::tensor(dbias, &[d_out]))]
    }
}

/// Adds the bias to z and gives the function of it.
fn over_rows<F: Function>(z: &mut [f32], bias: &[f32]) -> Vec<f32> {
    let (len, d_out) = (z.len(), bias.len());
    assert!(d_out > 0 && len.is_multiple_of(d_out), "z has whole rows");
    let chunk = rows_per_chunk(d_out) * d_out;
    let mut y = Vec::with_capacity(len);
    let outputs = y.spare_capacity_mut()[..len].par_chunks_mut(chunk);
    outputs.zip(z.par_chunks_mut(chunk)).for_each(|(y, z)| {
        simd::dispatch!({
            for (y, z) in y.chunks_exact_mut(d_out).zip(z.chunks_exact_mut(d_out)) {
                for (y, (z, bias)) in y.iter_mut().zip(z.iter_mut().zip(bias)) {
                    *z += bias;
                    y.write(F::value(*z));
                }
            }
        });
    });
    // SAFETY: all `len` elements were written: z has whole rows, so its chunks and those of y have the same lengths.
    unsafe { y.set_len(len) };
    y
}

/// Multiplies dy by the slope at z and gives the sum over rows.
fn slopes<F: Function>(dy: &mut [f32], z: &[f32], d_out: usize) -> Vec<f32> {
    let chunk = rows_per_chunk(d_out) * d_out;
    let parts = dy.par_chunks_mut(chunk).zip(z.par_chunks(chunk)).map(|(dy, z)| {
        let mut sum = vec![0.0; d_out];
        simd::dispatch!({
            for (dy, z) in dy.chunks_exact_mut(d_out).zip(z.chunks_exact(d_out)) {
                for (sum, (dy, z)) in sum.iter_mut().zip(dy.iter_mut().zip(z)) {
                    *dy *= F::slope(*z);
                    *sum += *dy;
                }
            }
        });
        sum
    });
    in_order(parts.collect(), vec![0.0; d_out])
}
