//! The operations as plain tensor operations: what runs where there is no kernel, and the oracle of every kernel.

use burn::tensor::activation;
use burn::tensor::{Bool, Int, Tensor, TensorData, backend::Backend};
use rayon::prelude::*;

use crate::mask::AttentionMask;
use crate::ops::{AdamWStep, AttentionOptions, BinaryTargets, ScoreBias, Targets};
use crate::rng::Key;

/// See [`ops::attention`](crate::ops::attention).
pub fn attention<B: Backend>(
    q: Tensor<B, 4>,
    k: Tensor<B, 4>,
    v: Tensor<B, 4>,
    bias: &ScoreBias<B>,
    mask: &AttentionMask<B>,
    options: AttentionOptions,
) -> Tensor<B, 4> {
    let scores = add_bias(scores(q, k, options.scale), bias); // [batch, heads, q, k]
    let weights = softmax(mask.apply(scores));
    mix(crate::ops::dropout(weights, options.dropout, options.key), v)
}

/// `exp(x) / Σ exp(x)` over the last axis.
pub fn softmax<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    if !B::ad_enabled(&x.device()) {
        return activation::softmax(x, D - 1);
    }
    let max = x.clone().detach().max_dim(D - 1);
    let exp = (x - max).exp();
    exp.clone() * inverse(exp.sum_dim(D - 1))
}

/// `x − ln Σ exp(x)` over the last axis.
pub fn log_softmax<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let max = x.clone().detach().max_dim(D - 1);
    let shifted = x - max;
    shifted.clone() - ln(shifted.exp().sum_dim(D - 1))
}

/// `1 / x`.
// NUMERICS: the gradients of burn's division and logarithm multiply by `recip`, and burn-ndarray's is the processor's
// estimate: 12 to 14 bits, other ones on other processors. Here `c` is a constant to autodiff, made by a division, which
// is exact; the value is that of a Newton step from it, and the gradient is `−c²`.
fn inverse<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let c = x.ones_like() / x.clone().detach();
    c.clone() * (-(x * c) + 2.0)
}

/// `ln x`, for the same reason with a gradient of `1 / x` that no `recip` is in.
fn ln<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let constant = x.clone().detach();
    let c = constant.ones_like() / constant.clone();
    constant.log() + (x * c - 1.0)
}

/// The scaled dot products of queries and keys, `[batch, heads, q, k]`.
pub fn scores<B: Backend>(q: Tensor<B, 4>, k: Tensor<B, 4>, scale: f64) -> Tensor<B, 4> {
    let [batch, heads, q_len, d_head] = q.dims();
    let [_, kv_heads, k_len, _] = k.dims();
    assert!(heads % kv_heads == 0, "{kv_heads} key heads do not divide {heads} query heads");
    // The query heads of a group lie side by side, so a group's queries are one longer matrix.
    let q = (q * scale).reshape([batch, kv_heads, heads / kv_heads * q_len, d_head]);
    q.matmul(k.swap_dims(2, 3)).reshape([batch, heads, q_len, k_len])
}

/// The weighted sums of the values: weights `[batch, heads, q, k]`, v `[batch, kv_heads, k, d]` → `[batch, heads, q, d]`.
pub fn mix<B: Backend>(weights: Tensor<B, 4>, v: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, heads, q_len, k_len] = weights.dims();
    let [_, kv_heads, _, d_head] = v.dims();
    let weights = weights.reshape([batch, kv_heads, heads / kv_heads * q_len, k_len]);
    weights.matmul(v).reshape([batch, heads, q_len, d_head])
}

/// Scores `[batch, heads, q, k]` plus the bias.
pub fn add_bias<B: Backend>(scores: Tensor<B, 4>, bias: &ScoreBias<B>) -> Tensor<B, 4> {
    let [_, _, q_len, k_len] = scores.dims();
    match bias {
        ScoreBias::None => scores,
        ScoreBias::Toeplitz(by_distance) => scores + toeplitz(by_distance.clone(), q_len, k_len),
        ScoreBias::Keys(by_key) => scores + by_key.clone().unsqueeze_dim::<4>(2),
        ScoreBias::Dense(dense) => scores + dense.clone(),
    }
}

/// Spreads `[heads, q + k − 1]` to `[1, heads, q, k]`: query `i` and key `j` read column `i − j + k − 1`.
pub fn toeplitz<B: Backend>(by_distance: Tensor<B, 2>, q_len: usize, k_len: usize) -> Tensor<B, 4> {
    let [heads, _] = by_distance.dims();
    let columns: Vec<i64> =
        (0..q_len).flat_map(|i| (0..k_len).map(move |j| (i + k_len - 1 - j) as i64)).collect();
    let columns =
        Tensor::<B, 1, Int>::from_data(TensorData::new(columns, [q_len * k_len]), &by_distance.device());
    by_distance.select(1, columns).reshape([1, heads, q_len, k_len])
}

/// See [`ops::linear`](crate::ops::linear).
pub fn linear<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    // PERF: as one matrix. A batched product would also batch the gradient of the weight and sum it afterwards.
    let mut dims = x.dims();
    let d_in = dims[D - 1];
    let rows: usize = dims[..D - 1].iter().product();
    let [_, d_out] = weight.dims();
    let y = x.reshape([rows, d_in]).matmul(weight); // [rows, d_out]
    dims[D - 1] = d_out;
    match bias {
        Some(bias) => (y + bias.unsqueeze()).reshape(dims),
        None => y.reshape(dims),
    }
}

/// See [`ops::layer_norm`](crate::ops::layer_norm).
pub fn layer_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    gamma: Tensor<B, 1>,
    beta: Tensor<B, 1>,
    eps: f64,
) -> Tensor<B, D> {
    let centred = x.clone() - x.mean_dim(D - 1); // [.., d_model]
    let var = (centred.clone() * centred.clone()).mean_dim(D - 1); // [.., 1]
    centred * inverse((var + eps).sqrt()) * gamma.unsqueeze() + beta.unsqueeze()
}

/// See [`ops::rotary`](crate::ops::rotary).
pub fn rotary<B: Backend>(
    x: Tensor<B, 4>,
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
    interleaved: bool,
) -> Tensor<B, 4> {
    let [batch, heads, seq, d_head] = x.dims();
    let [_, _, _, half] = cos.dims();
    let r = 2 * half;
    let rest = (r < d_head).then(|| x.clone().narrow(3, r, d_head - r));
    let x = x.narrow(3, 0, r);
    // Each [batch, heads, seq, r / 2].
    let turn = |a: Tensor<B, 4>, b: Tensor<B, 4>| {
        let (cos, sin) = (cos.clone(), sin.clone());
        (a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin)
    };
    let turned = if interleaved {
        let pairs = x.reshape([batch * heads, seq, half, 2]);
        let part = |idx| pairs.clone().narrow(3, idx, 1).reshape([batch, heads, seq, half]);
        let (a, b) = turn(part(0), part(1));
        Tensor::stack::<5>(vec![a, b], 4).reshape([batch, heads, seq, r])
    } else {
        let (a, b) = turn(x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        Tensor::cat(vec![a, b], 3)
    };
    match rest {
        Some(rest) => Tensor::cat(vec![turned, rest], 3),
        None => turned,
    }
}

/// See [`ops::adamw_step`](crate::ops::adamw_step).
pub fn adamw_step<B: Backend, const D: usize>(
    step: &AdamWStep,
    [p, m, v]: [Tensor<B, D>; 3],
    grad: Tensor<B, D>,
) -> [Tensor<B, D>; 3] {
    let AdamWStep { lr, beta1, beta2, eps, weight_decay, grad_scale, updates } = *step;
    // t as f64: powi takes an i32, which a long run could exceed.
    let bias = |beta: f64| 1.0 - beta.powf(updates as f64);
    let g = grad.mul_scalar(grad_scale);
    let m = m.mul_scalar(beta1) + g.clone().mul_scalar(1.0 - beta1);
    let v = v.mul_scalar(beta2) + g.square().mul_scalar(1.0 - beta2);
    let denominator = v.clone().sqrt().mul_scalar(1.0 / bias(beta2).sqrt()).add_scalar(eps);
    let delta = (m.clone() / denominator).mul_scalar(lr / bias(beta1));
    [p.mul_scalar(1.0 - lr * weight_decay) - delta, m, v]
}

/// See [`ops::rms_norm`](crate::ops::rms_norm).
pub fn rms_norm<B: Backend, const D: usize>(x: Tensor<B, D>, gamma: Tensor<B, 1>, eps: f64) -> Tensor<B, D> {
    let mean_square = (x.clone() * x.clone()).mean_dim(D - 1); // [.., 1]
    x * inverse((mean_square + eps).sqrt()) * gamma.unsqueeze()
}

/// See [`ops::Activation::Gelu`](crate::ops::Activation::Gelu).
pub fn gelu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    if !B::ad_enabled(&x.device()) {
        return activation::gelu(x);
    }
    // NUMERICS: burn's gelu is exact, but its gradient is that of the tanh approximation, up to 10⁻³ off.
    (x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0) * x * 0.5
}

/// See [`ops::dropout`](crate::ops::dropout). The factors are made on the host, so that all backends drop the same.
pub fn dropout<B: Backend, const D: usize>(x: Tensor<B, D>, p: f64, key: Key) -> Tensor<B, D> {
    let shape = x.shape();
    let kept = (1.0 / (1.0 - p)) as f32;
    let factors: Vec<f32> = (0..shape.num_elements() as u64)
        .into_par_iter()
        .map(|idx| if key.uniform(idx) < p { 0.0 } else { kept })
        .collect();
    let like_x = (&x.device(), x.dtype());
    x * Tensor::from_data(TensorData::new(factors, shape), like_x)
}

/// See [`ops::cross_entropy`](crate::ops::cross_entropy).
pub fn cross_entropy<B: Backend>(logits: Tensor<B, 2>, targets: &Targets) -> Tensor<B, 1> {
    let [rows, classes] = logits.dims();
    let counted: Vec<(usize, usize, f32)> =
        (0..rows).filter_map(|row| targets.row(row).map(|(class, weight)| (row, class, weight))).collect();
    let (n, device) = (counted.len(), logits.device());
    if n == 0 {
        // Zero with a gradient of zero. A product with 0 would let NaN and ∞ of the ignored rows through.
        let all = logits.zeros_like().equal_elem(0.0);
        return logits.mask_fill(all, 0.0).sum();
    }
    let ints = |f: &dyn Fn(&(usize, usize, f32)) -> usize| {
        let values: Vec<i64> = counted.iter().map(|cell| f(cell) as i64).collect();
        Tensor::<B, 1, Int>::from_data(TensorData::new(values, [n]), &device)
    };
    let floats = |values: Vec<f32>, shape: [usize; 2]| {
        Tensor::<B, 2>::from_data(TensorData::new(values, shape), (&device, logits.dtype()))
    };
    let weights = floats(counted.iter().map(|cell| cell.2).collect(), [n, 1]);
    let log_probs = log_softmax(logits.clone().select(0, ints(&|cell| cell.0))); // [n, classes]
    let on_target = log_probs.clone().gather(1, ints(&|cell| cell.1).reshape([n, 1])); // [n, 1]
    let smoothing = f64::from(targets.smoothing);
    let mut expected = on_target * weights * (1.0 - smoothing); // [n, 1]
    if smoothing > 0.0 {
        // NUMERICS: no `0 · spread`, because a class ruled out by −∞ would make it NaN.
        let weights = targets.class_weights.clone().unwrap_or_else(|| vec![1.0; classes]);
        let spread = log_probs.clone() * floats(weights, [1, classes]);
        expected = expected + spread.sum_dim(1) * (smoothing / classes as f64);
    }
    if targets.focal_gamma > 0.0 {
        let other =
            |cell: &(usize, usize, f32)| (0..classes).map(|c| f32::from(c != cell.1)).collect::<Vec<_>>();
        let others = floats(counted.iter().flat_map(other).collect(), [n, classes]);
        // NUMERICS: `1 − p_target` as the sum of the others keeps its digits; above 0, where a power below 1 has no slope.
        let missed = (log_probs.exp() * others).sum_dim(1).clamp_min(1e-30); // [n, 1]
        expected = expected * missed.powf_scalar(targets.focal_gamma);
    }
    -expected.sum()
}

/// See [`ops::binary_cross_entropy`](crate::ops::binary_cross_entropy).
///
/// With `softplus(z) = ln(1 + eᶻ)`, `σ(z)^γ` is `exp(−γ·softplus(−z))`: no logarithm of a rounded probability.
pub fn binary_cross_entropy<B: Backend>(logits: Tensor<B, 2>, targets: &BinaryTargets) -> Tensor<B, 1> {
    let shape = logits.shape();
    let like = (&logits.device(), logits.dtype());
    let [yes, no] = targets
        .coefficients()
        .map(|cells| Tensor::<B, 2>::from_data(TensorData::new(cells, shape.clone()), like));
    let logits = match targets.ignored() {
        Some(ignored) => {
            let ignored = Tensor::<B, 2, Bool>::from_data(TensorData::new(ignored, shape), like.0);
            // A product with 0 would let NaN and ∞ through.
            logits.mask_fill(ignored, 0.0)
        }
        None => logits,
    };
    let [missed, false_alarm] = [softplus(-logits.clone()), softplus(logits)];
    let gamma = f64::from(targets.focal_gamma);
    let focus = |x: &Tensor<B, 2>| (x.clone() * -gamma).exp();
    let loss = match gamma {
        0.0 => yes * missed + no * false_alarm,
        _ => yes * missed.clone() * focus(&false_alarm) + no * false_alarm * focus(&missed),
    };
    loss.sum()
}

/// See [`ops::squared_error`](crate::ops::squared_error).
pub fn squared_error<B: Backend>(predictions: Tensor<B, 1>, targets: &[f32]) -> Tensor<B, 1> {
    let like = (&predictions.device(), predictions.dtype());
    let error = predictions - Tensor::from_data(TensorData::new(targets.to_vec(), [targets.len()]), like);
    (error.clone() * error).sum()
}

/// `ln(1 + eˣ)`, without overflow and with the slope 1/2 at 0.
fn softplus<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let max = x.clone().detach().clamp_min(0.0);
    ln((x - max.clone()).exp() + (-max.clone()).exp()) + max
}
