//! PaTH: between a key and a query lies a product of reflections that the tokens in between decide.
//!
//! Formula: `q_iᵀ·H_i·…·H_{j+1}·k_j / √d_head`, `H_l = I − β_l·w_l·w_lᵀ`, with `w_l` from a low-rank projection of the input of the
//! layer's attention, brought to length 1, and `β_l = 2σ(w_β·x_l + b_β)` in `(0, 2)`. Yang et al. 2025, arXiv:2505.16381, and
//! flash-linear-attention's `PaTHAttention`.
//! Convention: `w` and `β` belong to key heads, whose query heads share them, as there. The projection has rank `rank` for any
//! number of key heads (there it is a full matrix where these are fewer than query heads). Padding turns nothing.
//! Not here: the short convolution over `w`, because what is cached for a token is made from that token alone; the forget
//! gate of PaTH-FoX.
//! Decoders only: the path leads from a token to what came before.
//! Parameters: `rank·(d_model + n_kv_heads·d_head) + n_kv_heads·(d_model + 1)`, of each layer in the paper (`position_sharing =
//! "per_layer"`). Limit: none. Cache: the raw key, `w` and `β`.
//!
//! Cost: by chunks of C tokens. Inside a chunk the product is `I − Wᵀ·M·W`, `M = (I + tril(D·W·Wᵀ, −1))⁻¹·D`, `D = diag(β)` (the UT
//! transform of the paper); from chunk to chunk, last to first, queries go on by one such product. That is about three times the
//! products of plain attention, a few operations per chunk, and besides the score matrix the queries at every chunk's edge, `L²·d/2C`
//! numbers per head. Attention keeps the score matrix. A decoding step computes the chunks of all past keys anew: linear in the
//! text like plain attention's step, but with some tens of times its products.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, activation::sigmoid, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::numerics::inverse;
use super::scheme::{CachePolicy, LayerPass, Pass, Prepared, Scheme};
use super::sums::{Real, real, state_of};
use super::{PositionProblem, PositionShape};

/// Why a query may see no later keys.
const ONLY_EARLIER: &str = "the path leads to what came before";

/// Configuration of [`Path`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathConfig {
    /// The rank of the projection that makes `w`.
    pub rank: usize,
    /// How many tokens are taken together. Changes time and memory, not what is computed.
    pub chunk: usize,
}

impl Default for PathConfig {
    fn default() -> Self {
        Self { rank: 32, chunk: 32 }
    }
}

impl SchemeConfig for PathConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Contextual,
            does: "reflections by the tokens in between",
            parameters: "rank·(d_model + n_kv_heads·d_head) + n_kv_heads·(d_model + 1)",
            longer_texts: "to some degree",
            paper: "arXiv:2505.16381",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::unless(self.rank > 0, problems, "rank", self.rank, "at least 1");
        PositionProblem::unless(self.chunk > 0, problems, "chunk", self.chunk, "at least 1");
        PositionProblem::causal(shape, ONLY_EARLIER, problems);
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }
}

impl PathConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Path<B> {
        let linear = |[fan_in, fan_out]: [usize; 2], name: &str| {
            Init::of_fan_in(fan_in).param([fan_in, fan_out], key.named(name), device)
        };
        let (d_model, kv_heads) = (shape.d_model, shape.n_kv_heads);
        Path {
            down: linear([d_model, self.rank], "down"),
            up: linear([self.rank, kv_heads * shape.d_head], "up"),
            beta_weight: linear([d_model, kv_heads], "beta_weight"),
            beta_bias: Init::Zeros.param([kv_heads], key.named("beta_bias"), device),
            chunk: self.chunk,
        }
    }
}

/// Reflects queries along the tokens between them and a key.
#[derive(Module, Debug)]
pub struct Path<B: Backend> {
    /// `[d_model, rank]`.
    pub down: Param<Tensor<B, 2>>,
    /// `[rank, n_kv_heads · d_head]`.
    pub up: Param<Tensor<B, 2>>,
    /// `w_β`, `[d_model, n_kv_heads]`.
    pub beta_weight: Param<Tensor<B, 2>>,
    /// `b_β`, `[n_kv_heads]`.
    pub beta_bias: Param<Tensor<B, 1>>,
    chunk: usize,
}

/// Keeps `w / ‖w‖` finite.
const EPS: f64 = 1e-6;

impl<B: Backend> Scheme<B> for Path<B> {
    fn name(&self) -> &'static str {
        "path"
    }

    fn only_earlier(&self) -> Option<&'static str> {
        Some(ONLY_EARLIER)
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn cache(&self) -> CachePolicy {
        CachePolicy::RawKey
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        Prepared::new(real::<B>(pass.keys, device))
    }

    /// `w` and `β` of all key heads, `[batch, seq, kv_heads · d_head + kv_heads]`.
    fn state(&self, hidden: &Tensor<B, 3>) -> Option<Tensor<B, 3>> {
        let ([batch, seq, _], [kv_heads]) = (hidden.dims(), self.beta_bias.dims());
        let w = ops::linear(ops::linear(hidden.clone(), self.down.val(), None), self.up.val(), None);
        let [_, _, width] = w.dims();
        let w = w.reshape([batch, seq, kv_heads, width / kv_heads]);
        let length = ((w.clone() * w.clone()).sum_dim(3) + EPS).sqrt();
        let w = (w * inverse(length)).reshape([batch, seq, width]);
        let beta = ops::linear(hidden.clone(), self.beta_weight.val(), Some(self.beta_bias.val()));
        Some(Tensor::cat(vec![w, sigmoid(beta) * 2.0], 2))
    }

    fn sees_scores(&self) -> bool {
        true
    }

    fn scores(&self, q: &Tensor<B, 4>, k: &Tensor<B, 4>, at: &LayerPass<'_, B>) -> Option<Tensor<B, 4>> {
        let ([batch, kv_heads, k_len, d_head], state) = (k.dims(), state_of(at));
        let by_head = |x: Tensor<B, 3>, width: usize| {
            x.reshape([batch, k_len, kv_heads, width]).swap_dims(1, 2) // [batch, kv_heads, k, width]
        };
        let w = by_head(state.clone().narrow(2, 0, kv_heads * d_head), d_head);
        let beta = state.narrow(2, kv_heads * d_head, kv_heads); // [batch, k, kv_heads]
        let beta = match at.prepared.get::<Real<B>>() {
            Some(real) => beta * real.clone(),
            None => beta,
        };
        Some(path_scores(q.clone() * at.scale, k.clone(), w, by_head(beta, 1), self.chunk))
    }
}

/// `q_iᵀ·H_i·…·H_{j+1}·k_j`; any number where key `j` comes after query `i`. The queries are the last of the tokens.
///
/// # Shapes
/// - q: `[batch, heads, q, d]`; k, w: `[batch, kv_heads, k, d]`; beta: `[batch, kv_heads, k, 1]`; output: `[batch, heads, q, k]`
fn path_scores<B: Backend>(
    q: Tensor<B, 4>,
    k: Tensor<B, 4>,
    w: Tensor<B, 4>,
    beta: Tensor<B, 4>,
    chunk: usize,
) -> Tensor<B, 4> {
    let ([batch, heads, q_len, d], [_, kv_heads, k_len, _], device) = (q.dims(), k.dims(), q.device());
    let (rows, group, chunk) = (batch * kv_heads, heads / kv_heads, chunk.min(k_len));
    let n = k_len.div_ceil(chunk);
    let to_end = n * chunk - k_len;
    let in_chunks = |x: Tensor<B, 4>| {
        let [_, _, _, width] = x.dims();
        let x = padded(x.reshape([rows, 1, k_len, width]), 0, to_end);
        x.reshape([rows, n, chunk, width])
    };
    let (k, w, beta) = (in_chunks(k), in_chunks(w), in_chunks(beta));
    // Queries from the chunk of the first one on; the query heads of a key head lie side by side in a chunk.
    let first = (k_len - q_len) / chunk;
    let (before, n_q) = (k_len - q_len - first * chunk, n - first);
    let q = padded(q.reshape([rows, group, q_len, d]), before, to_end);
    let q = q.reshape([rows, group, n_q, chunk, d]).swap_dims(1, 2).reshape([rows, n_q, group * chunk, d]);

    // Inside the chunks. `u`: what the tokens after a key, in its chunk, take from it.
    let earlier = triangle::<B>(chunk, chunk, -1, &device);
    let to_itself = triangle::<B>(group * chunk, chunk, 0, &device);
    let of = |x: &Tensor<B, 4>| x.clone().narrow(1, first, n_q);
    let overlaps = w.clone().matmul(w.clone().swap_dims(2, 3)) * beta.clone() * earlier.clone();
    let m = inverse_of_unit_triangle(overlaps) * beta.swap_dims(2, 3); // [rows, n, chunk, chunk]
    let u = m.clone().matmul(w.clone().matmul(k.clone().swap_dims(2, 3)) * earlier);
    let mw = m.matmul(w.clone()); // [rows, n, chunk, d]
    let k_at_end = k.clone() - u.clone().swap_dims(2, 3).matmul(w.clone());
    let qw = q.clone().matmul(of(&w).swap_dims(2, 3)) * to_itself; // [rows, n_q, group · chunk, chunk]
    let inside = q.clone().matmul(of(&k).swap_dims(2, 3)) - qw.clone().matmul(of(&u));
    let q_at_start = q - qw.matmul(of(&mw));

    // From chunk to chunk, the last first: `far` holds the queries of all later chunks, gone back to the end of this one.
    let at = |x: &Tensor<B, 4>, idx: usize| x.clone().narrow(1, idx, 1).squeeze_dim::<3>(1);
    let mut columns = Vec::with_capacity(n);
    let mut far: Option<Tensor<B, 3>> = None; // [rows, later chunks · group · chunk, d]
    for idx in (0..n).rev() {
        let mut column = Vec::new();
        if idx > first {
            column.push(Tensor::zeros([rows, (idx - first) * group * chunk, chunk], &device));
        }
        let (mut back, here) = (Vec::new(), idx.checked_sub(first));
        if let Some(here) = here {
            column.push(at(&inside, here));
            back.push(at(&q_at_start, here));
        }
        if let Some(far) = far {
            column.push(far.clone().matmul(at(&k_at_end, idx).swap_dims(1, 2)));
            let overlaps = far.clone().matmul(at(&w, idx).swap_dims(1, 2));
            back.push(far - overlaps.matmul(at(&mw, idx)));
        }
        columns.push(Tensor::cat(column, 1)); // [rows, n_q · group · chunk, chunk]
        far = Some(Tensor::cat(back, 1));
    }
    columns.reverse();
    let scores = Tensor::cat(columns, 2).reshape([rows, n_q, group, chunk, n * chunk]).swap_dims(1, 2);
    let scores = scores.reshape([rows, group, n_q * chunk, n * chunk]);
    scores.narrow(2, before, q_len).narrow(3, 0, k_len).reshape([batch, heads, q_len, k_len])
}

/// Zeros before and after on the third axis.
fn padded<B: Backend>(x: Tensor<B, 4>, before: usize, after: usize) -> Tensor<B, 4> {
    let ([a, b, _, d], device) = (x.dims(), x.device());
    let zeros = |len: usize| (len > 0).then(|| Tensor::zeros([a, b, len, d], &device));
    let parts: Vec<_> = [zeros(before), Some(x), zeros(after)].into_iter().flatten().collect();
    Tensor::cat(parts, 2)
}

/// Ones where `column ≤ row mod width + diagonal`, zeros elsewhere, `[1, 1, height, width]`.
fn triangle<B: Backend>(height: usize, width: usize, diagonal: i64, device: &B::Device) -> Tensor<B, 4> {
    cells(height, width, |row, column| column as i64 <= (row % width) as i64 + diagonal, device)
}

/// Ones in these cells, `[1, 1, height, width]`.
fn cells<B: Backend>(
    height: usize,
    width: usize,
    which: impl Fn(usize, usize) -> bool,
    device: &B::Device,
) -> Tensor<B, 4> {
    let ones = (0..height * width).map(|cell| f32::from(u8::from(which(cell / width, cell % width))));
    Tensor::from_data(TensorData::new(ones.collect::<Vec<f32>>(), [1, 1, height, width]), device)
}

/// `(I + N)⁻¹` of a strictly lower triangular `N`, `[.., n, n]`.
// NUMERICS: by blocks that double: ((A, 0), (B, D))⁻¹ = ((A⁻¹, 0), (−D⁻¹·B·A⁻¹, D⁻¹)). Every intermediate is the inverse of a
// part, as in forward substitution; a series in powers of N would cancel.
fn inverse_of_unit_triangle<B: Backend>(n: Tensor<B, 4>) -> Tensor<B, 4> {
    let ([_, _, _, len], device) = (n.dims(), n.device());
    let below = |size: usize| {
        let odd = |idx: usize| idx / size % 2 == 1;
        let of_pair = |row: usize, column: usize| row / (2 * size) == column / (2 * size);
        cells::<B>(len, len, |row, column| of_pair(row, column) && odd(row) && !odd(column), &device)
    };
    let mut whole = -(n.clone() * below(1)) + cells::<B>(len, len, |row, column| row == column, &device);
    let mut size = 2;
    while size < len {
        let off = whole.clone().matmul(n.clone() * below(size)).matmul(whole.clone());
        whole = whole - off;
        size *= 2;
    }
    whole
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Tensor, activation::sigmoid};
    use locus_backend::init::Init;
    use locus_backend::rng::Key;
    use locus_testkit::{assert_close, device::NdArray};

    use super::path_scores;

    const D: usize = 3;

    /// Against the recurrence, one reflection after another, for every length of chunk and any number of queries.
    #[test]
    fn chunks_are_the_recurrence() {
        let (device, heads, kv_heads, k_len) = (Default::default(), 4, 2, 11);
        let draw = |shape: [usize; 4], seed| {
            Init::Normal { std: 1.0 }.tensor::<NdArray, 4>(shape, Key::new(seed), &device)
        };
        let w = draw([2, kv_heads, k_len, D], 1);
        let w = w.clone() / (w.clone() * w).sum_dim(3).sqrt();
        let (k, beta) = (draw([2, kv_heads, k_len, D], 2), sigmoid(draw([2, kv_heads, k_len, 1], 3)) * 2.0);
        let host = |x: &Tensor<NdArray, 4>| x.to_data().iter::<f64>().collect::<Vec<_>>();
        let (keys, ws, betas) = (host(&k), host(&w), host(&beta));
        for q_len in [11, 6, 1] {
            let q = draw([2, heads, q_len, D], 4);
            let queries = host(&q);
            let mut want = Vec::new();
            for (head, i) in (0..2 * heads).flat_map(|head| (0..q_len).map(move |i| (head, i))) {
                let mut query = queries[(head * q_len + i) * D..][..D].to_vec();
                let of = |values: &[f64], j: usize| values[(head / 2 * k_len + j) * D..][..D].to_vec();
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let mut row = vec![0.0; k_len];
                for j in (0..=i + k_len - q_len).rev() {
                    row[j] = dot(&query, &of(&keys, j)) as f32;
                    let w = of(&ws, j);
                    let taken = betas[head / 2 * k_len + j] * dot(&query, &w);
                    query.iter_mut().zip(&w).for_each(|(q, w)| *q -= taken * w);
                }
                want.extend(row);
            }
            for chunk in [1, 2, 3, 4, 5, 11, 32] {
                let got = path_scores(q.clone(), k.clone(), w.clone(), beta.clone(), chunk);
                let seen: Vec<f32> = (0..2 * heads * q_len * k_len)
                    .map(|cell| f32::from(u8::from(cell % k_len + q_len <= cell / k_len % q_len + k_len)))
                    .collect();
                let seen = Tensor::<NdArray, 1>::from_floats(seen.as_slice(), &device);
                let got = got * seen.reshape([2, heads, q_len, k_len]);
                assert_close(&format!("{q_len} queries in chunks of {chunk}"), &got, &want, 2e-5, 2e-5);
            }
        }
    }

    /// Tokens that all reflect alike, as strongly as they can: nothing grows.
    #[test]
    fn equal_reflections_stay_finite() {
        let device = Default::default();
        let ones = |len| Tensor::<NdArray, 4>::ones([1, 1, 200, len], &device);
        let w = ones(4) * 0.5;
        let scores = path_scores(ones(4), ones(4), w, ones(1) * 1.999, 64);
        let largest = scores.tril(0).abs().max().into_scalar();
        assert!((largest - 4.0).abs() < 1e-2, "{largest}");
    }
}
