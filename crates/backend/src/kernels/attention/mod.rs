//! Attention by blocks of queries: the scores of one block of one head exist at a time, never `[heads, q, k]`.
//!
//! The backward makes them again from queries and keys and from the maximum and the sum of each row, as in FlashAttention
//! (arXiv:2205.14135); a block holds whole rows, so no running maximum is needed. Keys that no query of a block sees
//! are left out at both ends.

mod bias;
mod tile;

use std::sync::Arc;

use ndarray::{Array3, Array4, ArrayView2, ArrayViewMut, ArrayViewMut2, Axis, RemoveAxis, s};
use rayon::prelude::*;

use bias::Bias;
use tile::{QUERIES, Tile};

use super::dropout::Dropout;
use super::matmul::{matmul_here, matrix, matrix_mut};
use super::rotary::four_axes;
use super::{Cpu, Kernel, Primitive, array, elements, shape, simd};
use crate::mask::MaskSpec;

/// Inputs: q `[batch, heads, q, d]`, k and v `[batch, kv_heads, k, d]` and, of four, the bias: `[heads, q + k − 1]` by
/// distance, `[batch or 1, heads, k]` by key, or `[batch or 1, heads, q, k]`.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) spec: Arc<MaskSpec>,
    pub(crate) scale: f32,
    pub(crate) dropout: Option<Dropout>,
}

/// Queries, keys, values and bias, and each query's softmax.
type Saved<P> = ([P; 3], Option<P>, Arc<Softmaxes>);

/// `[batch, q, heads]`.
type Softmaxes = Array3<Softmax>;

/// What makes weights of a query's scores: `exp(score − max) · factor`.
// NUMERICS: not their log-sum-exp alone: of large scores it has too few digits for weights that sum to 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Softmax {
    max: f32,
    factor: f32,
}

impl Kernel<3> for Attention {
    type Saved<K: Cpu> = Saved<Primitive<K>>;

    fn forward<K: Cpu>(&self, inputs: [Primitive<K>; 3]) -> (Primitive<K>, Self::Saved<K>) {
        let (output, softmaxes) = self.output::<K>(&inputs, None);
        (output, (inputs, None, Arc::new(softmaxes)))
    }

    fn backward<K: Cpu>(
        &self,
        (inputs, _, softmaxes): Self::Saved<K>,
        upstream: Primitive<K>,
        _: [bool; 3],
    ) -> [Option<Primitive<K>>; 3] {
        let [dq, dk, dv, _] = self.gradients::<K>(&inputs, None, &softmaxes, &upstream, false);
        [dq, dk, dv]
    }
}

impl Kernel<4> for Attention {
    type Saved<K: Cpu> = Saved<Primitive<K>>;

    fn forward<K: Cpu>(&self, [q, k, v, bias]: [Primitive<K>; 4]) -> (Primitive<K>, Self::Saved<K>) {
        let inputs = [q, k, v];
        let (output, softmaxes) = self.output::<K>(&inputs, Some(&bias));
        (output, (inputs, Some(bias), Arc::new(softmaxes)))
    }

    fn backward<K: Cpu>(
        &self,
        (inputs, bias, softmaxes): Self::Saved<K>,
        upstream: Primitive<K>,
        [.., for_bias]: [bool; 4],
    ) -> [Option<Primitive<K>>; 4] {
        self.gradients::<K>(&inputs, bias.as_ref(), &softmaxes, &upstream, for_bias)
    }
}

impl Attention {
    fn bias<'a, K: Cpu>(&self, bias: Option<&'a Primitive<K>>) -> Bias<'a> {
        let MaskSpec { q_len, k_len, .. } = *self.spec;
        let Some(bias) = bias else { return Bias::None };
        let (cells, shape) = (elements::<K>(bias), shape::<K>(bias));
        match shape.len() {
            2 => Bias::toeplitz(&cells, q_len, k_len),
            3 => Bias::keys(cells, shape[0], k_len),
            _ => Bias::dense(cells, shape[0], q_len, k_len),
        }
    }

    fn output<K: Cpu>(
        &self,
        [q, k, v]: &[Primitive<K>; 3],
        bias: Option<&Primitive<K>>,
    ) -> (Primitive<K>, Softmaxes) {
        let bias = self.bias::<K>(bias);
        let (q, k, v) = (array::<K>(q), array::<K>(k), array::<K>(v));
        let (q, k, v) = (four_axes(&q), four_axes(&k), four_axes(&v));
        let (batch, heads, q_len, d_head) = q.dim();
        let group = heads / k.dim().1;
        // PERF: laid out by token, as the projection after it reads.
        let mut out = Array4::<f32>::zeros((batch, q_len, heads, d_head));
        let mut softmaxes = Array3::<Softmax>::default((batch, q_len, heads));
        let rows = cut(out.view_mut(), 0, 1).into_iter().zip(cut(softmaxes.view_mut(), 0, 1)).enumerate();
        let blocks: Vec<_> = rows
            .flat_map(|(row, (out, softmaxes))| {
                let blocks = cut(out, 1, QUERIES).into_iter().zip(cut(softmaxes, 1, QUERIES)).enumerate();
                blocks.map(move |(idx, block)| (row, idx * QUERIES, block))
            })
            .collect();
        blocks.into_par_iter().for_each(|(row, first, (mut out, mut softmaxes))| {
            let tile = Tile::new(&self.spec, row, first..first + out.len_of(Axis(1)));
            let mut weights = vec![0.0; tile.queries.len() * tile.keys.len()];
            for head in 0..heads {
                let q = q.slice(s![row, head, tile.queries.clone(), ..]);
                let k = k.slice(s![row, head / group, tile.keys.clone(), ..]);
                let v = v.slice(s![row, head / group, tile.keys.clone(), ..]);
                self.scores(&tile, q, k, &bias, [heads, head], &mut weights);
                simd::dispatch!({
                    for (idx, weights) in weights.chunks_exact_mut(tile.keys.len()).enumerate() {
                        softmaxes[[0, idx, head]] = self.weigh(&tile, idx, weights, None);
                        self.drop(&tile, [heads, head], idx, weights);
                    }
                });
                matmul_here(1.0, block(&weights, &tile), v, 0.0, out.slice_mut(s![0, .., head, ..]));
            }
        });
        let (elements, _) = out.into_raw_vec_and_offset();
        (K::float_swap_dims(K::tensor(elements, &[batch, q_len, heads, d_head]), 1, 2), softmaxes)
    }

    /// With `P` the weights, `P̃` those left by dropout and `∘` element by element: `dV = P̃ᵀ·dO`, `dP̃ = dO·Vᵀ`,
    /// `dS = P ∘ (dP − rowsum(P ∘ dP))`, `dQ = scale·dS·K`, `dK = scale·dSᵀ·Q`, and the bias gets `dS`.
    fn gradients<K: Cpu>(
        &self,
        [q, k, v]: &[Primitive<K>; 3],
        bias_tensor: Option<&Primitive<K>>,
        softmaxes: &Softmaxes,
        upstream: &Primitive<K>,
        for_bias: bool,
    ) -> [Option<Primitive<K>>; 4] {
        let bias = self.bias::<K>(bias_tensor);
        let (q, k, v, dout) = (array::<K>(q), array::<K>(k), array::<K>(v), array::<K>(upstream));
        let (q, k, v, dout) = (four_axes(&q), four_axes(&k), four_axes(&v), four_axes(&dout));
        let (batch, heads, q_len, d_head) = q.dim();
        let (_, kv_heads, k_len, _) = k.dim();
        let group = heads / kv_heads;
        let cells = if for_bias { bias.cells_per_head() } else { 0 };
        let mut dq = Array4::<f32>::zeros((batch, q_len, heads, d_head));
        let mut dk = Array4::<f32>::zeros((batch, k_len, kv_heads, d_head));
        let mut dv = Array4::<f32>::zeros((batch, k_len, kv_heads, d_head));
        let mut dbias = Array3::<f32>::zeros((batch, heads, cells));
        let by_head = |view, len| cut(view, 0, 1).into_iter().flat_map(move |row| cut(row, 2, len));
        let groups: Vec<_> = by_head(dq.view_mut(), group)
            .zip(by_head(dk.view_mut(), 1))
            .zip(by_head(dv.view_mut(), 1))
            .zip(cut(dbias.view_mut(), 0, 1).into_iter().flat_map(|row| cut(row, 1, group)))
            .collect();
        groups.into_par_iter().enumerate().for_each(|(idx, (((mut dq, mut dk), mut dv), mut dbias))| {
            let (row, kv_head) = (idx / kv_heads, idx % kv_heads);
            for tile in Tile::of_row(&self.spec, row) {
                let n_cells = tile.queries.len() * tile.keys.len();
                let (mut weights, mut dscores) = (vec![0.0; n_cells], vec![0.0; n_cells]);
                let k = k.slice(s![row, kv_head, tile.keys.clone(), ..]);
                let v = v.slice(s![row, kv_head, tile.keys.clone(), ..]);
                let mut dk = dk.slice_mut(s![0, tile.keys.clone(), 0, ..]);
                let mut dv = dv.slice_mut(s![0, tile.keys.clone(), 0, ..]);
                for (in_group, head) in (kv_head * group..(kv_head + 1) * group).enumerate() {
                    let q = q.slice(s![row, head, tile.queries.clone(), ..]);
                    let dout = dout.slice(s![row, head, tile.queries.clone(), ..]);
                    self.scores(&tile, q, k, &bias, [heads, head], &mut weights);
                    simd::dispatch!({
                        for (idx, weights) in weights.chunks_exact_mut(tile.keys.len()).enumerate() {
                            let softmax = softmaxes[[row, tile.queries.start + idx, head]];
                            self.weigh(&tile, idx, weights, Some(softmax));
                        }
                    });
                    matmul_here(1.0, dout, v.t(), 0.0, block_mut(&mut dscores, &tile));
                    if self.dropout.is_some() {
                        let mut left = weights.clone();
                        simd::dispatch!({
                            let rows = left.chunks_exact_mut(tile.keys.len());
                            for (idx, (left, dscores)) in
                                rows.zip(dscores.chunks_exact_mut(tile.keys.len())).enumerate()
                            {
                                self.drop(&tile, [heads, head], idx, left);
                                self.drop(&tile, [heads, head], idx, dscores);
                            }
                        });
                        matmul_here(1.0, block(&left, &tile).t(), dout, 1.0, dv.view_mut());
                    } else {
                        matmul_here(1.0, block(&weights, &tile).t(), dout, 1.0, dv.view_mut());
                    }
                    simd::dispatch!({
                        let rows = weights.chunks_exact(tile.keys.len());
                        for (idx, (weights, dscores)) in
                            rows.zip(dscores.chunks_exact_mut(tile.keys.len())).enumerate()
                        {
                            if tile.is_blind(idx) {
                                dscores.fill(0.0);
                                continue;
                            }
                            let mean = simd::dot(weights, dscores);
                            simd::update(dscores, weights, |d, weight| weight * (d - mean));
                            if for_bias {
                                let window = bias.window(tile.queries.start + idx, &tile.keys);
                                let mut cells = dbias.slice_mut(s![0, in_group, window]);
                                if let Some(cells) = cells.as_slice_mut() {
                                    simd::update(cells, dscores, |sum, d| sum + d);
                                }
                            }
                        }
                    });
                    let dscores = block(&dscores, &tile);
                    let dq = dq.slice_mut(s![0, tile.queries.clone(), in_group, ..]);
                    matmul_here(self.scale, dscores, k, 0.0, dq);
                    matmul_here(self.scale, dscores.t(), q, 1.0, dk.view_mut());
                }
            }
        });
        let by_token = |grad: Array4<f32>| {
            let (batch, len, heads, d_head) = grad.dim();
            let (elements, _) = grad.into_raw_vec_and_offset();
            Some(K::float_swap_dims(K::tensor(elements, &[batch, len, heads, d_head]), 1, 2))
        };
        let dbias = bias_tensor.filter(|_| for_bias).map(|tensor| {
            let shape = shape::<K>(tensor);
            K::tensor(bias.gradient(&dbias.into_raw_vec_and_offset().0, &shape), &shape)
        });
        [by_token(dq), by_token(dk), by_token(dv), dbias]
    }

    /// The scores of a block: `scale · q·kᵀ` and the bias, −∞ where hidden.
    fn scores(
        &self,
        tile: &Tile<'_>,
        q: ArrayView2<'_, f32>,
        k: ArrayView2<'_, f32>,
        bias: &Bias<'_>,
        [heads, head]: [usize; 2],
        scores: &mut [f32],
    ) {
        matmul_here(self.scale, q, k.t(), 0.0, block_mut(scores, tile));
        simd::dispatch!({
            for (idx, scores) in scores.chunks_exact_mut(tile.keys.len()).enumerate() {
                let bias = bias.row(tile.row, heads, head, tile.queries.start + idx, &tile.keys);
                simd::update(scores, bias, |score, bias| score + bias);
                tile.hide(idx, scores);
            }
        });
    }

    /// Makes a query's scores its weights, by its softmax where that is known already.
    #[inline(always)]
    fn weigh(&self, tile: &Tile<'_>, idx: usize, scores: &mut [f32], known: Option<Softmax>) -> Softmax {
        if tile.is_blind(idx) {
            scores.fill(1.0 / scores.len() as f32);
            return Softmax::default();
        }
        let max = known.map_or_else(|| simd::max(scores), |known| known.max);
        for score in &mut *scores {
            let below = *score - max;
            // PERF: below e⁻⁶⁰ products with weights leave the normal numbers, which takes the processor a hundred times as long.
            *score = if below < -60.0 { 0.0 } else { simd::exp(below) };
        }
        let factor = known.map_or_else(|| 1.0 / simd::sum(scores), |known| known.factor);
        scores.iter_mut().for_each(|weight| *weight *= factor);
        Softmax { max, factor }
    }

    /// Drops from a query's weights, or from their gradient.
    #[inline(always)]
    fn drop(&self, tile: &Tile<'_>, [heads, head]: [usize; 2], idx: usize, weights: &mut [f32]) {
        if let Some(dropout) = &self.dropout {
            let MaskSpec { q_len, k_len, .. } = *self.spec;
            let query = (tile.row * heads + head) * q_len + tile.queries.start + idx;
            dropout.apply(weights, (query * k_len + tile.keys.start) as u64);
        }
    }
}

/// Cuts a view along an axis into pieces of `len`.
fn cut<'a, T, D: RemoveAxis>(
    mut view: ArrayViewMut<'a, T, D>,
    axis: usize,
    len: usize,
) -> Vec<ArrayViewMut<'a, T, D>> {
    let mut pieces = Vec::new();
    while view.len_of(Axis(axis)) > len {
        let (piece, rest) = view.split_at(Axis(axis), len);
        pieces.push(piece);
        view = rest;
    }
    pieces.push(view);
    pieces
}

/// `[queries, keys]`.
fn block<'a>(cells: &'a [f32], tile: &Tile<'_>) -> ArrayView2<'a, f32> {
    matrix(cells, tile.queries.len(), tile.keys.len())
}

fn block_mut<'a>(cells: &'a mut [f32], tile: &Tile<'_>) -> ArrayViewMut2<'a, f32> {
    matrix_mut(cells, tile.queries.len(), tile.keys.len())
}
