//! Activations, element by element.

use rayon::prelude::*;

use super::{CHUNK, Cpu, Kernel, Primitive, elements, shape, simd};

/// `x · Φ(x)`.
#[derive(Debug)]
pub(crate) struct Gelu;

impl Kernel<1> for Gelu {
    type Saved<K: Cpu> = Primitive<K>;

    fn forward<K: Cpu>(&self, [x]: [Primitive<K>; 1]) -> (Primitive<K>, Primitive<K>) {
        let y = map(&elements::<K>(&x), |x| x * cdf(x));
        (K::tensor(y, &shape::<K>(&x)), x)
    }

    /// `Φ(x) + x·φ(x)`.
    fn backward<K: Cpu>(&self, x: Primitive<K>, dy: Primitive<K>, _: [bool; 1]) -> [Option<Primitive<K>>; 1] {
        const INV_SQRT_TAU: f32 = 0.398_942_3;
        let dx = map2(&elements::<K>(&x), &elements::<K>(&dy), |x, dy| {
            dy * (cdf(x) + x * INV_SQRT_TAU * simd::exp(-0.5 * x * x))
        });
        [Some(K::tensor(dx, &shape::<K>(&x)))]
    }
}

/// The distribution function of the standard normal distribution.
#[inline(always)]
fn cdf(x: f32) -> f32 {
    0.5 + 0.5 * simd::erf(x * std::f32::consts::FRAC_1_SQRT_2)
}

fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    map2(x, x, |x, _| f(x))
}

/// `f` of each pair of elements, on all threads.
fn map2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(y.par_chunks(CHUNK)).for_each(|((out, x), y)| {
        simd::dispatch(|| out.iter_mut().zip(x.iter().zip(y)).for_each(|(out, (&x, &y))| *out = f(x, y)));
    });
    out
}
