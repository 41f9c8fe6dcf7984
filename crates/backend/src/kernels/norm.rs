//! Layer normalisation and root mean square normalisation: the backward keeps the moments of every row.

use rayon::prelude::*;

use super::linear::in_order;
use super::{Cpu, Kernel, Primitive, elements, rows_per_chunk, shape, simd};

/// `y = (x − mean) / √(var + eps) · gamma + beta` over the last axis. Inputs: x `[.., d]`, gamma `[d]`, beta `[d]`.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub(crate) eps: f32,
}

/// `y = x / √(mean(x²) + eps) · gamma` over the last axis. Inputs: x `[.., d]`, gamma `[d]`.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    pub(crate) eps: f32,
}

/// What is subtracted from a row's elements and what they are multiplied by then.
type Moments = Vec<(f32, f32)>;

impl Kernel<3> for LayerNorm {
    type Saved<K: Cpu> = (Primitive<K>, Primitive<K>, Moments);

    fn forward<K: Cpu>(&self, [x, gamma, beta]: [Primitive<K>; 3]) -> (Primitive<K>, Self::Saved<K>) {
        let (y, moments) = {
            let (x, gamma, beta) = (elements::<K>(&x), elements::<K>(&gamma), elements::<K>(&beta));
            forward(
                &x,
                &gamma,
                #[inline(always)]
                |x| {
                    let mean = simd::sum(x) / x.len() as f32;
                    let var = simd::fold(x, x, |x, _| (x - mean) * (x - mean)) / x.len() as f32;
                    (mean, 1.0 / (var + self.eps).sqrt())
                },
                #[inline(always)]
                |y| simd::update(y, &beta, |y, beta| y + beta),
            )
        };
        (K::tensor(y, &shape::<K>(&x)), (x, gamma, moments))
    }

    fn backward<K: Cpu>(
        &self,
        (x, gamma, moments): Self::Saved<K>,
        mut dy: Primitive<K>,
        _: [bool; 3],
    ) -> [Option<Primitive<K>>; 3] {
        let [dgamma, dbeta] = backward::<K, true>(&x, &gamma, &mut dy, &moments);
        [Some(dy), Some(dgamma), Some(dbeta)]
    }
}

impl Kernel<2> for RmsNorm {
    type Saved<K: Cpu> = (Primitive<K>, Primitive<K>, Moments);

    fn forward<K: Cpu>(&self, [x, gamma]: [Primitive<K>; 2]) -> (Primitive<K>, Self::Saved<K>) {
        let (y, moments) = forward(
            &elements::<K>(&x),
            &elements::<K>(&gamma),
            #[inline(always)]
            |x| (0.0, 1.0 / (simd::dot(x, x) / x.len() as f32 + self.eps).sqrt()),
            |_| (),
        );
        (K::tensor(y, &shape::<K>(&x)), (x, gamma, moments))
    }

    fn backward<K: Cpu>(
        &self,
        (x, gamma, moments): Self::Saved<K>,
        mut dy: Primitive<K>,
        _: [bool; 2],
    ) -> [Option<Primitive<K>>; 2] {
        let [dgamma, _] = backward::<K, false>(&x, &gamma, &mut dy, &moments);
        [Some(dy), Some(dgamma)]
    }
}

fn forward(
    x: &[f32],
    gamma: &[f32],
    moments: impl Fn(&[f32]) -> (f32, f32) + Sync,
    shift: impl Fn(&mut [f32]) + Sync,
) -> (Vec<f32>, Moments) {
    let d = gamma.len();
    let rows = rows_per_chunk(d);
    let mut y = vec![0.0; x.len()];
    let mut all = vec![(0.0, 0.0); x.len() / d];
    let chunks = y.par_chunks_mut(rows * d).zip(x.par_chunks(rows * d)).zip(all.par_chunks_mut(rows));
    chunks.for_each(|((y, x), all)| {
        simd::dispatch!({
            for ((y, x), row) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(all) {
                let (mean, rstd) = moments(x);
                for ((y, x), gamma) in y.iter_mut().zip(x).zip(gamma) {
                    *y = (x - mean) * rstd * gamma;
                }
                shift(y);
                *row = (mean, rstd);
            }
        });
    });
    (y, all)
}

/// With `x̂ = (x − mean)·rstd` and `g = dy·gamma`: `dx = rstd·(g − mean(g) − x̂·mean(g·x̂))`, without `mean(g)` where
/// rows were not centred. `dx` takes the place of `dy`; the results are `dgamma = Σ dy·x̂` and `dbeta = Σ dy`.
fn backward<K: Cpu, const CENTRED: bool>(
    x: &Primitive<K>,
    gamma: &Primitive<K>,
    dy: &mut Primitive<K>,
    moments: &[(f32, f32)],
) -> [Primitive<K>; 2] {
    let (x, gamma) = (elements::<K>(x), elements::<K>(gamma));
    let sums = backward_in_place::<CENTRED>(&x, &gamma, K::elements_mut(dy), moments);
    let (dgamma, dbeta) = sums.split_at(gamma.len());
    [dgamma, dbeta].map(|sums| K::tensor(sums.to_vec(), &[gamma.len()]))
}

fn backward_in_place<const CENTRED: bool>(
    x: &[f32],
    gamma: &[f32],
    dy: &mut [f32],
    moments: &[(f32, f32)],
) -> Vec<f32> {
    let d = gamma.len();
    let rows = rows_per_chunk(d);
    let chunks = dy.par_chunks_mut(rows * d).zip(x.par_chunks(rows * d)).zip(moments.par_chunks(rows));
    let parts = chunks
        .map(|((dy, x), moments)| {
            let mut sums = vec![0.0; 2 * d];
            let (dgamma, dbeta) = sums.split_at_mut(d);
            simd::dispatch!({
                for ((dy, x), &(mean, rstd)) in dy.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(moments) {
                    for (((dgamma, dbeta), dy), x) in dgamma.iter_mut().zip(&mut *dbeta).zip(&*dy).zip(x) {
                        *dgamma += dy * (x - mean) * rstd;
                        *dbeta += dy;
                    }
                    let dx = dy;
                    simd::update(dx, gamma, |dy, gamma| dy * gamma);
                    let g_mean = if CENTRED { simd::sum(dx) / d as f32 } else { 0.0 };
                    let gx_mean = simd::fold(dx, x, |g, x| g * (x - mean) * rstd) / d as f32;
                    simd::update(dx, x, |g, x| rstd * (g - g_mean - (x - mean) * rstd * gx_mean));
                }
            });
            sums
        })
        .collect();
    in_order(parts, vec![0.0; 2 * d])
}
