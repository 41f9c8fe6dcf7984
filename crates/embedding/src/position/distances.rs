//! Products by distance: what schemes share that multiply queries, keys or weights with vectors of the distance.
//!
//! The vector of each distance is multiplied once, and the products are spread to the cells of the scores: no tensor of
//! `[q, k, d]`. Where rows count in ones, a query has the distances of the one before it, moved by one, so spreading is the
//! skew of Music Transformer (Huang et al. 2018, arXiv:1809.04281, §3.4.1), here to both sides and for any number of keys: a
//! reshape, without an index for every cell. Elsewhere it is a gather.

use std::collections::HashMap;

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData, backend::Backend};

use super::relative::Relative;
use super::scheme::Pass;

/// So many queries, or a share of the distances, are taken one by one where keys are multiplied: a step that decodes is linear
/// in the number of keys.
const FEW: usize = 3;
const SHARE: usize = 32;

/// The distances of a pass, each in a column of products, and the column of each cell.
#[derive(Debug)]
pub(super) struct Distances<B: Backend> {
    /// `position of query − position of key` of each column, as the scheme counts it; columns may be alike.
    pub(super) columns: Vec<f64>,
    spread: Spread<B>,
}

#[derive(Debug)]
enum Spread<B: Backend> {
    /// Query `i` and key `j` read column `j − i + q − 1`.
    Skew,
    /// Query `i` and key `j` read this column, `[rows, 1, q, k]`, with one row where all are alike.
    Gather(Tensor<B, 4, Int>),
}

impl<B: Backend> Distances<B> {
    /// The distances of a pass; `counted` gives the one that a distance counts as, such as the clipped one.
    pub(super) fn of(pass: &Pass<'_>, counted: impl Fn(f64) -> f64, device: &B::Device) -> Self {
        let relative = Relative::of(pass);
        match relative.by_column() {
            Some(distances) => {
                let columns = distances.into_iter().rev().map(counted).collect();
                Self { columns, spread: Spread::Skew }
            }
            None => Self::gathered(&relative, counted, device),
        }
    }

    fn gathered(relative: &Relative, counted: impl Fn(f64) -> f64, device: &B::Device) -> Self {
        let ([rows, q, k], distances) = relative.dense();
        let (mut columns, mut known) = (Vec::new(), HashMap::new());
        let mut column = |distance: f64| {
            let distance = counted(distance) + 0.0; // there are two zeros, which differ in their bits
            *known.entry(distance.to_bits()).or_insert_with(|| {
                columns.push(distance);
                columns.len() as i64 - 1
            })
        };
        let cells: Vec<i64> = distances.into_iter().map(&mut column).collect();
        let cells = Tensor::from_data(TensorData::new(cells, [rows, 1, q, k]), device);
        Self { columns, spread: Spread::Gather(cells) }
    }

    /// The rows of a table that the columns read.
    pub(super) fn rows(&self, row: impl Fn(f64) -> usize, device: &B::Device) -> Tensor<B, 1, Int> {
        let rows: Vec<i64> = self.columns.iter().map(|&distance| row(distance) as i64).collect();
        Tensor::from_data(TensorData::new(rows, [self.columns.len()]), device)
    }

    /// The products of each query with the vector of its distance to each key.
    ///
    /// # Shapes
    /// - q: `[batch, heads, q, d]`; vectors: `[heads, columns, d]`, with one head where all share them; output:
    ///   `[batch, heads, q, k]`
    pub(super) fn by_query(&self, q: Tensor<B, 4>, vectors: Tensor<B, 3>) -> Tensor<B, 4> {
        let products = products(q, vectors); // [batch, heads, q, columns]
        match &self.spread {
            Spread::Skew => skew(products),
            Spread::Gather(cells) => gather(products, cells.clone()),
        }
    }

    /// The products of each key with the vector of each query's distance to it.
    ///
    /// # Shapes
    /// - k: `[batch, kv_heads, k, d]`; vectors: `[heads, columns, d]`; output: `[batch, heads, q, k]`
    pub(super) fn by_key(&self, k: Tensor<B, 4>, vectors: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, kv_heads, k_len, d] = k.dims();
        let [heads, n, _] = vectors.dims();
        let q_len = match &self.spread {
            Spread::Skew => n + 1 - k_len,
            Spread::Gather(cells) => cells.dims()[2],
        };
        if q_len <= FEW.max(n / SHARE) {
            let of_query = |i| self.by_key_of_one(i, q_len, k.clone(), vectors.clone());
            return Tensor::cat((0..q_len).map(of_query).collect(), 2);
        }
        let group = heads / kv_heads;
        let products = products(k, vectors.reshape([kv_heads, group * n, d]))
            .reshape([batch, kv_heads, k_len, group, n])
            .swap_dims(2, 3)
            .reshape([batch, heads, k_len, n]);
        let by_key = match &self.spread {
            // Seen from the keys, the columns run the other way.
            Spread::Skew => skew(products.flip([3])),
            Spread::Gather(cells) => gather(products, cells.clone().swap_dims(2, 3)),
        };
        by_key.swap_dims(2, 3)
    }

    /// As [`Self::by_key`], for one query: each key with one vector, not with those of all distances, `[batch, heads, 1, k]`.
    fn by_key_of_one(&self, i: usize, q_len: usize, k: Tensor<B, 4>, vectors: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, kv_heads, k_len, d] = k.dims();
        let [heads, ..] = vectors.dims();
        // The vectors of each key's distance, [rows, heads, k, d].
        let vectors = match &self.spread {
            Spread::Skew => vectors.narrow(1, q_len - 1 - i, k_len).unsqueeze::<4>(),
            Spread::Gather(cells) => {
                let [rows, ..] = cells.dims();
                let columns = cells.clone().narrow(2, i, 1).reshape([rows * k_len]);
                vectors.select(1, columns).reshape([heads, rows, k_len, d]).swap_dims(0, 1)
            }
        };
        let [rows, ..] = vectors.dims();
        let vectors = vectors.reshape([rows, kv_heads, heads / kv_heads, k_len, d]);
        let products = k.reshape([batch, kv_heads, 1, k_len, d]) * vectors; // [batch, kv_heads, group, k, d]
        products.sum_dim(4).reshape([batch, heads, 1, k_len])
    }

    /// The vectors of the distances, mixed by the weights.
    ///
    /// # Shapes
    /// - weights: `[batch, heads, q, k]`; vectors: `[columns, d]`; output: `[batch, heads, q, d]`
    pub(super) fn mix(&self, weights: Tensor<B, 4>, vectors: Tensor<B, 2>) -> Tensor<B, 4> {
        let [batch, heads, q_len, _] = weights.dims();
        let [n, d] = vectors.dims();
        let by_column = match &self.spread {
            Spread::Skew => unskew(weights),
            Spread::Gather(cells) => {
                let cells = cells.clone().expand(weights.shape());
                let none = Tensor::zeros([batch, heads, q_len, n], &weights.device());
                none.scatter(3, cells, weights, IndexingUpdateOp::Add)
            }
        };
        by_column.reshape([batch * heads * q_len, n]).matmul(vectors).reshape([batch, heads, q_len, d])
    }
}

/// x `[batch, heads, m, d]` with vectors `[heads or 1, n, d]` → `[batch, heads, m, n]`.
fn products<B: Backend>(x: Tensor<B, 4>, vectors: Tensor<B, 3>) -> Tensor<B, 4> {
    let [batch, heads, m, d] = x.dims();
    let [of_heads, n, _] = vectors.dims();
    let vectors = vectors.swap_dims(1, 2).unsqueeze::<4>(); // [1, heads or 1, d, n]
    if of_heads > 1 {
        return x.matmul(vectors);
    }
    // PERF: as one matrix. A batched product would also batch the gradient of the vectors and sum it afterwards.
    x.reshape([1, 1, batch * heads * m, d]).matmul(vectors).reshape([batch, heads, m, n])
}

fn gather<B: Backend>(products: Tensor<B, 4>, cells: Tensor<B, 4, Int>) -> Tensor<B, 4> {
    let [batch, heads, ..] = products.dims();
    let [_, _, m, k] = cells.dims();
    products.gather(3, cells.expand([batch, heads, m, k]))
}

/// From `[batch, heads, m, k + m − 1]` to `[batch, heads, m, k]`: row `i` reads its columns from `m − 1 − i` on.
fn skew<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, heads, m, n] = x.dims();
    if m <= 1 {
        return x;
    }
    // With one column less, each row starts one column earlier than the row before.
    let flat = x.reshape([batch, heads, m * n]).narrow(2, m - 1, m * (n - 1));
    flat.reshape([batch, heads, m, n - 1]).narrow(3, 0, n + 1 - m)
}

/// The transpose of [`skew`]: from `[batch, heads, m, k]` to `[batch, heads, m, k + m − 1]`, with zeros beside.
fn unskew<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let ([batch, heads, m, k], device) = (x.dims(), x.device());
    if m <= 1 {
        return x;
    }
    let n = k + m - 1;
    let wide = match m {
        2 => x,
        _ => Tensor::cat(vec![x, Tensor::zeros([batch, heads, m, m - 2], &device)], 3),
    };
    let zeros = |len| Tensor::zeros([batch, heads, len], &device);
    let flat = wide.reshape([batch, heads, m * (n - 1)]);
    Tensor::cat(vec![zeros(m - 1), flat, zeros(1)], 2).reshape([batch, heads, m, n])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Tensor, backend::Backend};
    use locus_backend::init::Init;
    use locus_backend::rng::Key;
    use locus_testkit::device::NdArray;
    use locus_testkit::{assert_close, on_processors};

    use super::{Distances, Relative, Spread, skew};

    fn normal<B: Backend, const D: usize>(dims: [usize; D], name: &str, device: &B::Device) -> Tensor<B, D> {
        Init::Normal { std: 1.0 }.tensor(dims, Key::new(3).named(name), device)
    }

    fn host<B: Backend, const D: usize>(x: Tensor<B, D>) -> Vec<f32> {
        x.to_data().iter::<f32>().collect()
    }

    /// Numbers of queries and keys, and the distance of the first two: whole texts, steps and chunks of decoding.
    const PASSES: [(usize, usize, i64); 6] =
        [(1, 1, 0), (1, 5, 4), (2, 2, 0), (2, 7, 5), (5, 5, 0), (4, 6, 2)];

    fn the_skew_is_the_gather<B: Backend>(device: &B::Device) {
        let counted: [fn(f64) -> f64; 2] = [|d| d, |d| d.clamp(-2.0, 2.0)];
        for ((q_len, k_len, first), counted) in PASSES.into_iter().flat_map(|p| counted.map(|c| (p, c))) {
            let relative = Relative::Contiguous { q_len, k_len, first };
            let columns: Vec<f64> = relative.by_column().into_iter().flatten().rev().map(counted).collect();
            let skewed = Distances::<B> { columns, spread: Spread::Skew };
            let gathered = Distances::<B>::gathered(&relative, counted, device);
            let what = format!("{q_len} queries, {k_len} keys");
            // Vectors of a distance: the row of a table that holds 2 · 8 + 1 of them.
            let of = |distances: &Distances<B>, heads: usize| {
                let rows = distances.rows(|d| (d + 8.0) as usize, device);
                normal::<B, 3>([heads, 17, 3], "table", device).select(1, rows)
            };
            let q = normal::<B, 4>([2, 4, q_len, 3], "q", device);
            for heads in [1, 4] {
                let [by_skew, by_gather] = [&skewed, &gathered].map(|d| d.by_query(q.clone(), of(d, heads)));
                assert_close(&format!("{what}: by query"), &by_skew, &host(by_gather), 1e-6, 1e-6);
            }
            let k = normal::<B, 4>([2, 2, k_len, 3], "k", device);
            let [by_skew, by_gather] = [&skewed, &gathered].map(|d| d.by_key(k.clone(), of(d, 4)));
            assert_close(&format!("{what}: by key"), &by_skew, &host(by_gather), 1e-6, 1e-6);
            let weights = normal::<B, 4>([2, 4, q_len, k_len], "weights", device);
            let [by_skew, by_gather] =
                [&skewed, &gathered].map(|d| d.mix(weights.clone(), of(d, 1).squeeze_dim(0)));
            assert_close(&format!("{what}: mixed"), &by_skew, &host(by_gather), 1e-5, 1e-5);
        }
    }

    /// Every cell on its own: query and key of a head, and the vector of their distance.
    fn products_are_those_of_each_cell<B: Backend>(device: &B::Device) {
        each_cell::<B>(4, 6, 2, device);
        each_cell::<B>(2, 6, 4, device);
    }

    fn each_cell<B: Backend>(q_len: usize, k_len: usize, first: i64, device: &B::Device) {
        let relative = Relative::Contiguous { q_len, k_len, first };
        let distances = Distances::<B>::gathered(&relative, |d| d, device);
        let table = normal::<B, 3>([4, 17, 3], "table", device);
        let vectors = table.clone().select(1, distances.rows(|d| (d + 8.0) as usize, device));
        let q = normal::<B, 4>([1, 4, q_len, 3], "q", device);
        let k = normal::<B, 4>([1, 2, k_len, 3], "k", device);
        let (of_table, of_q, of_k) = (host(table), host(q.clone()), host(k.clone()));
        let (mut by_query, mut by_key) = (Vec::new(), Vec::new());
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        for head in 0..4 {
            for (i, j) in (0..q_len).flat_map(|i| (0..k_len).map(move |j| (i, j))) {
                let row = head * 17 + i + first as usize + 8 - j;
                let vector = &of_table[row * 3..][..3];
                by_query.push(dot(&of_q[(head * q_len + i) * 3..][..3], vector));
                by_key.push(dot(&of_k[(head / 2 * k_len + j) * 3..][..3], vector));
            }
        }
        assert_close("by query", &distances.by_query(q, vectors.clone()), &by_query, 1e-5, 1e-5);
        assert_close("by key", &distances.by_key(k, vectors), &by_key, 1e-5, 1e-5);
    }

    on_processors!(the_skew_is_the_gather, products_are_those_of_each_cell);

    /// Music Transformer's own steps for a causal text: a column of zeros on the left, a reshape, the first row dropped.
    #[test]
    fn the_skew_is_music_transformers() {
        const L: usize = 5;
        let device = Default::default();
        // Columns of the distances L − 1 to 0, as in the paper, and here of those on the other side too.
        let relative = normal::<NdArray, 4>([1, 1, L, 2 * L - 1], "relative", &device);
        let past = host(relative.clone().narrow(3, 0, L));
        let padded: Vec<f32> =
            past.chunks(L).flat_map(|row| std::iter::once(&0.0).chain(row)).copied().collect();
        let theirs = &padded[L..];
        let ours = host(skew(relative));
        for (i, j) in (0..L).flat_map(|i| (0..=i).map(move |j| (i, j))) {
            assert_eq!(ours[i * L + j], theirs[i * L + j], "query {i}, key {j}");
        }
    }
}
