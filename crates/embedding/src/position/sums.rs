//! Sums over what comes later in a text: gates and counts that add up from a key to a query.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::ops::ScoreBias;

use super::scheme::LayerPass;
use crate::Tokens;

/// How many elements are summed in one product.
const BLOCK: usize = 64;

/// `y_j = Σ_{t > j} x_t` over the last axis.
// PERF: products with triangles of ones, inside blocks and over them, so that the cost of a row of n elements is n · BLOCK.
// burn's running sum goes column by column, each of them a copy.
pub(super) fn sums_after<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let (dims, device) = (x.dims(), x.device());
    let n = dims[D - 1];
    let rows = dims[..D - 1].iter().product::<usize>();
    let x = x.reshape([rows, n]);
    if n <= BLOCK {
        return x.matmul(later(n, &device)).reshape(dims);
    }
    let blocks = n.div_ceil(BLOCK);
    let missing = blocks * BLOCK - n;
    let x = if missing == 0 { x } else { Tensor::cat(vec![x, Tensor::zeros([rows, missing], &device)], 1) };
    let x = x.reshape([rows * blocks, BLOCK]);
    let inside = x.clone().matmul(later(BLOCK, &device)).reshape([rows, blocks, BLOCK]);
    let beyond = x.sum_dim(1).reshape([rows, blocks]).matmul(later(blocks, &device));
    let sums = inside + beyond.reshape([rows, blocks, 1]);
    sums.reshape([rows, blocks * BLOCK]).narrow(1, 0, n).reshape(dims)
}

/// Row `t` has ones in the columns before `t`, `[n, n]`.
fn later<B: Backend>(n: usize, device: &B::Device) -> Tensor<B, 2> {
    let ones: Vec<f32> = (0..n * n).map(|cell| if cell / n > cell % n { 1.0 } else { 0.0 }).collect();
    Tensor::from_data(TensorData::new(ones, [n, n]), device)
}

/// 1 for a real token and 0 for padding, `[batch, seq, 1]`; nothing where there is no padding.
pub(super) type Real<B> = Option<Tensor<B, 3>>;

/// Which tokens are real.
pub(super) fn real<B: Backend>(tokens: &Tokens, device: &B::Device) -> Real<B> {
    tokens.keep.contains(&false).then(|| {
        let ones: Vec<f32> = tokens.keep.iter().map(|&keep| f32::from(u8::from(keep))).collect();
        Tensor::from_data(TensorData::new(ones, [tokens.batch, tokens.seq, 1]), device)
    })
}

/// The bias `Σ_{l = j+1 … i} s_l` of what a scheme keeps per token as its state, `[batch, k, heads]`. What it prepared is
/// [`Real`] of the keys: padding adds nothing.
// NUMERICS: up to what the softmax cancels the sum from j to the last key, which is small for the keys next to it. A
// difference of two running sums would lose digits in a long text.
pub(super) fn between<B: Backend>(at: &LayerPass<'_, B>) -> ScoreBias<B> {
    let state = state_of(at);
    let state = match at.prepared.get::<Real<B>>() {
        Some(real) => state * real.clone(),
        None => state,
    };
    ScoreBias::Keys(sums_after(state.swap_dims(1, 2))) // [batch, heads, k]
}

/// What the scheme gave as the state of all keys, `[batch, k, width]`.
///
/// # Panics
/// If the scheme gives none, which is an error in the scheme.
pub(super) fn state_of<B: Backend>(at: &LayerPass<'_, B>) -> Tensor<B, 3> {
    match at.state {
        Some(state) => state.clone(),
        None => panic!("a scheme that reads its state gives one"),
    }
}

#[cfg(test)]
mod tests {
    use locus_backend::init::Init;
    use locus_backend::rng::Key;
    use locus_testkit::{assert_close, device::NdArray};

    use super::sums_after;

    #[test]
    fn sums_are_the_loop() {
        for n in [1, 2, 63, 64, 65, 150, 256] {
            let x =
                Init::Normal { std: 1.0 }.tensor::<NdArray, 3>([2, 3, n], Key::new(1), &Default::default());
            let values: Vec<f32> = x.to_data().iter::<f32>().collect();
            let rows = values.chunks(n);
            let sums = rows.flat_map(|row| {
                (0..n)
                    .map(|j| row[j + 1..].iter().map(|&x| f64::from(x)).sum::<f64>() as f32)
                    .collect::<Vec<_>>()
            });
            assert_close("sums", &sums_after(x), &sums.collect::<Vec<_>>(), 1e-5, 1e-5);
        }
    }
}
