//! `y = x · weight + bias`, over the last axis of x.

use ndarray::{CowArray, Ix2, IxDyn};
use rayon::prelude::*;

use super::matmul::matmul;
use super::{Cpu, Kernel, Primitive, array, elements, rows_per_chunk, shape, simd};
use crate::ops::Products;

/// Inputs: x `[.., d_in]`, weight `[d_in, d_out]` and, of three, bias `[d_out]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    pub(crate) products: Products,
}

impl Kernel<2> for Linear {
    type Saved<K: Cpu> = [Primitive<K>; 2];

    fn forward<K: Cpu>(&self, [x, weight]: [Primitive<K>; 2]) -> (Primitive<K>, [Primitive<K>; 2]) {
        (self.output::<K>(&x, &weight, None), [x, weight])
    }

    fn backward<K: Cpu>(
        &self,
        [x, weight]: [Primitive<K>; 2],
        upstream: Primitive<K>,
        [for_x, for_weight]: [bool; 2],
    ) -> [Option<Primitive<K>>; 2] {
        self.gradients::<K>(&x, &weight, &upstream, for_x, for_weight)
    }
}

impl Kernel<3> for Linear {
    type Saved<K: Cpu> = [Primitive<K>; 2];

    fn forward<K: Cpu>(&self, [x, weight, bias]: [Primitive<K>; 3]) -> (Primitive<K>, [Primitive<K>; 2]) {
        (self.output::<K>(&x, &weight, Some(&bias)), [x, weight])
    }

    fn backward<K: Cpu>(
        &self,
        [x, weight]: [Primitive<K>; 2],
        upstream: Primitive<K>,
        [for_x, for_weight, for_bias]: [bool; 3],
    ) -> [Option<Primitive<K>>; 3] {
        let [dx, dweight] = self.gradients::<K>(&x, &weight, &upstream, for_x, for_weight);
        let dbias = for_bias.then(|| {
            let d_out = shape::<K>(&weight)[1];
            K::tensor(sum_of_rows(&elements::<K>(&upstream), d_out), &[d_out])
        });
        [dx, dweight, dbias]
    }
}

impl Linear {
    fn output<K: Cpu>(
        &self,
        x: &Primitive<K>,
        weight: &Primitive<K>,
        bias: Option<&Primitive<K>>,
    ) -> Primitive<K> {
        let mut y = self.product::<K>(x, weight);
        if let Some(bias) = bias {
            add_bias(&mut y, &elements::<K>(bias));
        }
        K::tensor(y, &widened::<K>(x, weight))
    }

    /// `x · weight`.
    pub(super) fn product<K: Cpu>(&self, x: &Primitive<K>, weight: &Primitive<K>) -> Vec<f32> {
        let (x, weight) = (array::<K>(x), array::<K>(weight));
        matmul(rows_of(&x).view(), rows_of(&weight).view(), self.products)
    }

    /// `dx = dy · weightᵀ`, `dweight = xᵀ · dy`.
    pub(super) fn gradients<K: Cpu>(
        &self,
        x: &Primitive<K>,
        weight: &Primitive<K>,
        dy: &Primitive<K>,
        for_x: bool,
        for_weight: bool,
    ) -> [Option<Primitive<K>>; 2] {
        let dims = shape::<K>(x);
        let (x, weight, dy) = (array::<K>(x), array::<K>(weight), array::<K>(dy));
        let (x, weight, dy) = (rows_of(&x), rows_of(&weight), rows_of(&dy));
        let dx = for_x.then(|| K::tensor(matmul(dy.view(), weight.t(), self.products), &dims));
        let dweight =
            for_weight.then(|| K::tensor(matmul(x.t(), dy.view(), self.products), &[x.ncols(), dy.ncols()]));
        [dx, dweight]
    }
}

/// The shape of `x · weight`.
pub(super) fn widened<K: Cpu>(x: &Primitive<K>, weight: &Primitive<K>) -> Vec<usize> {
    let mut dims = shape::<K>(x);
    if let Some(last) = dims.last_mut() {
        *last = shape::<K>(weight)[1];
    }
    dims
}

/// Adds the bias to every row.
pub(super) fn add_bias(y: &mut [f32], bias: &[f32]) {
    let d_out = bias.len();
    y.par_chunks_mut(rows_per_chunk(d_out) * d_out).for_each(|rows| {
        simd::dispatch!({
            rows.chunks_exact_mut(d_out).for_each(|row| simd::update(row, bias, |y, bias| y + bias))
        });
    });
}

/// All axes but the last as one.
pub(super) fn rows_of<'a>(array: &'a CowArray<'_, f32, IxDyn>) -> CowArray<'a, f32, Ix2> {
    let width = array.shape().last().copied().unwrap_or(1);
    let rows = array.shape().iter().rev().skip(1).product::<usize>();
    match array.to_shape((rows, width)) {
        Ok(matrix) => matrix,
        Err(error) => unreachable!("as many elements: {error}"),
    }
}

/// The sum over all rows.
pub(super) fn sum_of_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let chunk = rows_per_chunk(width) * width;
    let parts: Vec<Vec<f32>> = rows
        .par_chunks(chunk.max(1))
        .map(|rows| {
            let mut sum = vec![0.0; width];
            simd::dispatch!({
                rows.chunks_exact(width).for_each(|row| simd::update(&mut sum, row, |s, x| s + x))
            });
            sum
        })
        .collect();
    in_order(parts, vec![0.0; width])
}

/// Adds parts, the first to the last, to what there is.
pub(super) fn in_order(parts: Vec<Vec<f32>>, start: Vec<f32>) -> Vec<f32> {
    parts.into_iter().fold(start, |mut sum, part| {
        simd::update(&mut sum, &part, |s, x| s + x);
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_over_all_chunks() {
        let rows: Vec<f32> = (0..1000 * 3).map(|i| (i % 7) as f32).collect();
        let want: Vec<f32> = (0..3).map(|c| rows.iter().skip(c).step_by(3).sum()).collect();
        assert_eq!(sum_of_rows(&rows, 3), want);
    }
}
