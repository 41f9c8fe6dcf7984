//! The sum of squares: the norm of a gradient.

use rayon::prelude::*;

use super::{CHUNK, Cpu, Kernel, Primitive, elements, simd};

/// Output: `[1]`.
#[derive(Debug)]
pub(crate) struct SumOfSquares;

impl Kernel<1> for SumOfSquares {
    type Saved<K: Cpu> = Primitive<K>;

    fn forward<K: Cpu>(&self, [x]: [Primitive<K>; 1]) -> (Primitive<K>, Primitive<K>) {
        let sums: Vec<f32> =
            elements::<K>(&x).par_chunks(CHUNK).map(|x| simd::dispatch!(simd::dot(x, x))).collect();
        // NUMERICS: chunks are added up in f64 and in order, so that the sum does not depend on the threads.
        let sum = sums.into_iter().map(f64::from).sum::<f64>();
        (K::tensor(vec![sum as f32], &[1]), x)
    }

    fn backward<K: Cpu>(
        &self,
        mut x: Primitive<K>,
        dy: Primitive<K>,
        _: [bool; 1],
    ) -> [Option<Primitive<K>>; 1] {
        let dy = elements::<K>(&dy)[0];
        let elements = K::elements_mut(&mut x);
        elements
            .par_chunks_mut(CHUNK)
            .for_each(|x| simd::dispatch!(x.iter_mut().for_each(|x| *x *= 2.0 * dy)));
        [Some(x)]
    }
}
