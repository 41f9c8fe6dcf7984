//! Kernels against the reference bodies at sizes that take several blocks, chunks and threads, on views, with every mask
//! and bias. The goldens of `ops.rs` are small; these sizes are odd or prime and longer than a block of queries.
#![cfg_attr(
    not(any(feature = "ndarray", feature = "flex")),
    allow(dead_code, unused_macros, reason = "no CPU backend")
)]

use burn::tensor::activation::relu;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};
use locus_backend::init::Init;
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::ops::{
    self, Activation, AdamWStep, AttentionOptions, IGNORE, Products, ScoreBias, Targets,
};
use locus_backend::reference;
use locus_backend::rng::Key;
use locus_testkit::worst;

fn seeded<B: Backend, const D: usize>(shape: [usize; D], name: &str, device: &B::Device) -> Tensor<B, D> {
    Init::Normal { std: 1.0 }.tensor(shape, Key::new(5).named(name), device)
}

fn values<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

/// The output and the gradients of `sum(out · upstream)`.
type Run = Vec<Vec<f32>>;

/// The gradient of some leaf.
type GradOf<'a, B> = dyn Fn(&<B as AutodiffBackend>::Gradients) -> Option<Vec<f32>> + 'a;

fn run<B: AutodiffBackend, const D: usize>(
    out: Tensor<B, D>,
    grads_of: &[&GradOf<'_, B>],
    device: &B::Device,
) -> Run {
    let upstream = seeded::<B, D>(out.dims(), "upstream", device);
    let grads = (out.clone() * upstream).sum().backward();
    std::iter::once(values(&out)).chain(grads_of.iter().map(|of| of(&grads).unwrap())).collect()
}

fn grad<B: AutodiffBackend, const D: usize>(
    leaf: &Tensor<B, D>,
) -> impl Fn(&B::Gradients) -> Option<Vec<f32>> {
    let leaf = leaf.clone();
    move |grads| leaf.grad(grads).map(|grad| values(&grad))
}

#[track_caller]
fn assert_same(what: &str, fast: &Run, slow: &Run) {
    for (part, (fast, slow)) in fast.iter().zip(slow).enumerate() {
        // Sums of hundreds of terms in another order.
        let scale = slow.iter().fold(1.0_f32, |max, x| max.max(x.abs()));
        let (idx, excess) = worst(fast, slow, 2e-6 * f64::from(scale), 2e-5).unwrap();
        assert!(excess <= 0.0, "{what}, part {part} [{idx}]: {} fast, {} reference", fast[idx], slow[idx]);
    }
}

// Attention.

const BATCH: usize = 2;
const HEADS: usize = 6;
const QUERIES: usize = 67;
const KEYS: usize = 131;
const D_HEAD: usize = 5;

fn masks() -> [(&'static str, MaskSpec); 7] {
    let open = MaskSpec { batch: BATCH, q_len: QUERIES, k_len: KEYS, ..MaskSpec::default() };
    let causal = MaskSpec { causal: true, ..open.clone() };
    let left = (0..BATCH * KEYS).map(|cell| cell % KEYS >= 70 * (cell / KEYS)).collect();
    // The second row of the batch has no key at all.
    let none = (0..BATCH * KEYS).map(|cell| cell < KEYS - 9).collect();
    // Query i is key i + 64, and sees the last 4 of every 9 keys up to 20 before it: the window moves from block to block.
    let window = (0..QUERIES)
        .flat_map(|q| (0..KEYS).map(move |k| k % 9 > 4 && (k..k + 20).contains(&(q + KEYS - QUERIES))))
        .collect();
    // Documents, the first with a prefix that it sees whole.
    let spans = (0..BATCH * QUERIES).map(|cell| match (cell % QUERIES) as u32 {
        q @ 0..40 => [0, q.max(29 + (cell / QUERIES) as u32) + 1],
        q => [71, q + 64],
    });
    let spans = Some(spans.collect());
    [
        ("spans", MaskSpec { spans, ..causal.clone() }),
        ("open", open.clone()),
        ("causal", causal.clone()),
        ("left padding", MaskSpec { keep: Some(left), ..causal.clone() }),
        ("a row of padding", MaskSpec { keep: Some(none), ..open.clone() }),
        ("window", MaskSpec { visible: Some(window), ..causal }),
        ("nothing", MaskSpec { visible: Some(vec![false; QUERIES * KEYS]), ..open }),
    ]
}

fn attention<B: AutodiffBackend>(device: &B::Device) {
    for (mask_idx, (mask_name, spec)) in masks().into_iter().enumerate() {
        let mask = AttentionMask::<B>::new(spec, device);
        let biases = ["none", "by distance", "dense", "dense by row", "by key"];
        for (bias_idx, bias_name) in biases.into_iter().enumerate() {
            let kv_heads = [6, 3, 1][(mask_idx + bias_idx) % 3];
            let key = ((mask_idx + bias_idx) % 2 == 0).then(|| Key::new(3));
            let options = AttentionOptions { scale: 0.4, dropout: 0.2, key };
            // By token, as projections give them: the heads are views.
            let leaf =
                |heads, len, name| seeded::<B, 4>([BATCH, len, heads, D_HEAD], name, device).require_grad();
            let of = |fast: bool| {
                let leaves =
                    [leaf(HEADS, QUERIES, "q"), leaf(kv_heads, KEYS, "k"), leaf(kv_heads, KEYS, "v")];
                let [q, k, v] = leaves.clone().map(|x| x.swap_dims(1, 2));
                let toeplitz = seeded::<B, 2>([HEADS, QUERIES + KEYS - 1], "bias", device).require_grad();
                let rows = if bias_name == "dense" { 1 } else { BATCH };
                let dense = seeded::<B, 4>([rows, HEADS, QUERIES, KEYS], "bias", device).require_grad();
                let keys = seeded::<B, 3>([BATCH, HEADS, KEYS], "bias", device).require_grad();
                let bias = match bias_name {
                    "none" => ScoreBias::None,
                    "by distance" => ScoreBias::Toeplitz(toeplitz.clone()),
                    "by key" => ScoreBias::Keys(keys.clone()),
                    _ => ScoreBias::Dense(dense.clone()),
                };
                let f = if fast { ops::attention } else { reference::attention };
                let out = f(q, k, v, &bias, &mask, options);
                let [q, k, v] = leaves.each_ref().map(grad);
                let (toeplitz, dense, keys) = (grad(&toeplitz), grad(&dense), grad(&keys));
                match bias_name {
                    "none" => run(out, &[&q, &k, &v], device),
                    "by distance" => run(out, &[&q, &k, &v, &toeplitz], device),
                    "by key" => run(out, &[&q, &k, &v, &keys], device),
                    _ => run(out, &[&q, &k, &v, &dense], device),
                }
            };
            assert_same(
                &format!("{mask_name}, bias {bias_name}, {kv_heads} key heads"),
                &of(true),
                &of(false),
            );
        }
    }
}

/// A bias without gradient, as ALiBi's, gets none, and the others stay as they are.
fn a_constant_bias_has_no_gradient<B: AutodiffBackend>(device: &B::Device) {
    let mask =
        AttentionMask::<B>::new(MaskSpec { batch: 1, q_len: 3, k_len: 3, ..MaskSpec::default() }, device);
    let options = AttentionOptions { scale: 1.0, dropout: 0.0, key: None };
    let of = |fast: bool| {
        let x = seeded::<B, 4>([1, 2, 3, 5], "x", device).require_grad();
        let bias = ScoreBias::Toeplitz(seeded::<B, 2>([2, 5], "bias", device));
        let f = if fast { ops::attention } else { reference::attention };
        run(f(x.clone(), x.clone(), x.clone(), &bias, &mask, options), &[&grad(&x)], device)
    };
    assert_same("constant bias", &of(true), &of(false));
}

/// One query, as in decoding, and one key.
fn attention_of_length_one<B: AutodiffBackend>(device: &B::Device) {
    for k_len in [1, 129] {
        let spec = MaskSpec { batch: 1, q_len: 1, k_len, causal: true, ..MaskSpec::default() };
        let mask = AttentionMask::<B>::new(spec, device);
        let options = AttentionOptions { scale: 1.0, dropout: 0.0, key: None };
        let of = |fast: bool| {
            let q = seeded::<B, 4>([1, 4, 1, 3], "q", device).require_grad();
            let [k, v] = ["k", "v"].map(|name| seeded::<B, 4>([1, 2, k_len, 3], name, device));
            let f = if fast { ops::attention } else { reference::attention };
            run(f(q.clone(), k, v, &ScoreBias::None, &mask, options), &[&grad(&q)], device)
        };
        assert_same("one query", &of(true), &of(false));
    }
}

fn rotary<B: AutodiffBackend>(device: &B::Device) {
    for (interleaved, half, rows) in [(false, 4, 1), (true, 4, 2), (false, 3, 2), (true, 1, 1)] {
        let angles = seeded::<B, 4>([rows, 1, 67, half], "angles", device);
        let of = |fast: bool| {
            let leaf = seeded::<B, 4>([2, 67, 3, 8], "x", device).require_grad();
            let f = if fast { ops::rotary } else { reference::rotary };
            let y = f(leaf.clone().swap_dims(1, 2), angles.clone().cos(), angles.clone().sin(), interleaved);
            run(y, &[&grad(&leaf)], device)
        };
        assert_same("rotary", &of(true), &of(false));
    }
}

// Layers.

fn linear<B: AutodiffBackend>(device: &B::Device) {
    for with_bias in [true, false] {
        let of = |fast: bool| {
            let x = seeded::<B, 3>([13, 7, 29], "x", device).require_grad();
            let weight = seeded::<B, 2>([211, 13], "weight", device).require_grad();
            let bias = seeded::<B, 1>([211], "bias", device).require_grad();
            let f = if fast { ops::linear::<B, 3> } else { reference::linear::<B, 3> };
            // Both are views.
            let y = f(x.clone().swap_dims(0, 2), weight.clone().transpose(), with_bias.then(|| bias.clone()));
            if with_bias {
                run(y, &[&grad(&x), &grad(&weight), &grad(&bias)], device)
            } else {
                run(y, &[&grad(&x), &grad(&weight)], device)
            }
        };
        assert_same("linear", &of(true), &of(false));
    }
}

fn linear_activation<B: AutodiffBackend>(device: &B::Device) {
    for f in [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu] {
        let of = |fast: bool| {
            let x = seeded::<B, 3>([13, 7, 29], "x", device).require_grad();
            let weight = seeded::<B, 2>([211, 13], "weight", device).require_grad();
            let bias = seeded::<B, 1>([211], "bias", device).require_grad();
            let (view, turned) = (x.clone().swap_dims(0, 2), weight.clone().transpose());
            let y = if fast {
                ops::linear_activation(view, turned, Some(bias.clone()), f, Products::F32)
            } else {
                let z = reference::linear(view, turned, Some(bias.clone()));
                match f {
                    Activation::Gelu => reference::gelu(z),
                    Activation::GeluTanh => by_tanh(z),
                    Activation::Relu => relu(z),
                    Activation::Silu => by_sigmoid(z),
                }
            };
            run(y, &[&grad(&x), &grad(&weight), &grad(&bias)], device)
        };
        assert_same(&format!("linear, {f:?}"), &of(true), &of(false));
    }
}

/// Rows of many chunks.
fn rows<B: AutodiffBackend>(device: &B::Device) {
    type Op<B> = fn(Tensor<B, 3>, Tensor<B, 1>, Tensor<B, 1>) -> Tensor<B, 3>;
    let of = |f: Op<B>| {
        let x = seeded::<B, 3>([7, 43, 67], "x", device).require_grad();
        let [gamma, beta] = ["gamma", "beta"].map(|name| seeded::<B, 1>([67], name, device).require_grad());
        // Every operation gets a gradient for each of the three.
        let all = (gamma.clone() * beta.clone()).unsqueeze();
        let y = f(x.clone().swap_dims(0, 1), gamma.clone(), beta.clone()) + all;
        run(y, &[&grad(&x), &grad(&gamma), &grad(&beta)], device)
    };
    let both: [(&str, Op<B>, Op<B>); 11] = [
        (
            "layer norm",
            |x, gamma, beta| ops::layer_norm(x, gamma, beta, 1e-5),
            |x, gamma, beta| reference::layer_norm(x, gamma, beta, 1e-5),
        ),
        (
            "RMS norm",
            |x, gamma, _| ops::rms_norm(x, gamma, 1e-5),
            |x, gamma, _| reference::rms_norm(x, gamma, 1e-5),
        ),
        ("gelu", |x, _, _| ops::activation(x * 2.0, Activation::Gelu), |x, _, _| reference::gelu(x * 2.0)),
        (
            "gelu by tanh",
            |x, _, _| ops::activation(x * 2.0, Activation::GeluTanh),
            |x, _, _| by_tanh(x * 2.0),
        ),
        ("relu", |x, _, _| ops::activation(x, Activation::Relu), |x, _, _| relu(x)),
        ("silu", |x, _, _| ops::activation(x * 4.0, Activation::Silu), |x, _, _| by_sigmoid(x * 4.0)),
        (
            "gated by gelu",
            |x, gamma, _| ops::gated(x.clone() + gamma.unsqueeze(), x * 3.0, Activation::Gelu),
            |x, gamma, _| reference::gelu(x.clone() + gamma.unsqueeze()) * x * 3.0,
        ),
        (
            "gated by silu",
            |x, gamma, _| ops::gated(x.clone() * 3.0, x + gamma.unsqueeze(), Activation::Silu),
            |x, gamma, _| by_sigmoid(x.clone() * 3.0) * (x + gamma.unsqueeze()),
        ),
        (
            "sum of squares",
            |x, _, _| ops::sum_of_squares(x.clone()).unsqueeze() * x,
            |x, _, _| (x.clone() * x.clone()).sum().unsqueeze() * x,
        ),
        // The same tensor twice, and once more after it.
        ("add", |x, _, _| ops::add(x.clone(), x.clone()) * x, |x, _, _| (x.clone() + x.clone()) * x),
        (
            "dropout",
            |x, _, _| ops::dropout(x, 0.3, Some(Key::new(4))),
            |x, _, _| reference::dropout(x, 0.3, Key::new(4)),
        ),
    ];
    for (what, fast, slow) in both {
        assert_same(what, &of(fast), &of(slow));
    }
}

/// burn's own division and tanh have gradients of 12 bits on ndarray: written without them.
fn by_sigmoid<B: AutodiffBackend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let both = Tensor::stack::<4>(vec![x.clone(), x.zeros_like()], 3);
    let sigmoid = reference::softmax(both).narrow(3, 0, 1).squeeze_dim(3); // eˣ / (eˣ + e⁰)
    x * sigmoid
}

fn by_tanh<B: AutodiffBackend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let u = (x.clone() + x.clone().powi_scalar(3) * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
    // ½(1 + tanh u) = σ(2u), and x·σ(2u) = x/2u · 2u·σ(2u).
    let both = Tensor::stack::<4>(vec![u.clone() * 2.0, u.zeros_like()], 3);
    x * reference::softmax(both).narrow(3, 0, 1).squeeze_dim(3)
}

/// As decoding multiplies: a few rows, which have a product of their own, and one row more.
fn few_rows<B: AutodiffBackend>(device: &B::Device) {
    for rows in 1..=5 {
        for transposed in [false, true] {
            let of = |fast: bool| {
                let x = seeded::<B, 2>([rows, 259], "x", device).require_grad();
                let dims = if transposed { [2053, 259] } else { [259, 2053] };
                let weight = seeded::<B, 2>(dims, "weight", device).require_grad();
                let bias = seeded::<B, 1>([2053], "bias", device).require_grad();
                let view = if transposed { weight.clone().transpose() } else { weight.clone() };
                let f = if fast { ops::linear } else { reference::linear };
                let y = f(x.clone(), view, Some(bias.clone()));
                run(y, &[&grad(&x), &grad(&weight), &grad(&bias)], device)
            };
            assert_same(&format!("{rows} rows"), &of(true), &of(false));
        }
    }
}

/// On factors that bf16 can hold, products in bf16 are those in f32, forward and backward; on others they are not.
fn bf16_products<B: AutodiffBackend>(device: &B::Device) {
    if !Products::Bf16.are_available::<B>() {
        return;
    }
    let half = |x: f32| f32::from_bits((x.to_bits() + 0x7FFF + (x.to_bits() >> 16 & 1)) & 0xFFFF_0000);
    let of = |products: Products, rounded: bool| {
        let factor = |shape: [usize; 2], name: &str| {
            let x: Vec<f32> = values(&seeded::<B, 2>(shape, name, device));
            let x: Vec<f32> = x.into_iter().map(|x| if rounded { half(x) } else { x }).collect();
            Tensor::<B, 2>::from_data(TensorData::new(x, shape), device)
        };
        let x = factor([67, 131], "x").require_grad();
        let weight = factor([131, 41], "weight").require_grad();
        let y = ops::linear_in(x.clone(), weight.clone(), None, products);
        let grads = (y.clone() * factor([67, 41], "upstream")).sum().backward();
        [y.inner(), x.grad(&grads).unwrap(), weight.grad(&grads).unwrap()].iter().map(values).collect::<Run>()
    };
    assert_same("bf16", &of(Products::Bf16, true), &of(Products::F32, true));
    for (bf16, f32) in of(Products::Bf16, false).iter().zip(&of(Products::F32, false)) {
        let worst = bf16.iter().zip(f32).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!((0.003..0.3).contains(&worst), "{worst} from f32");
    }
}

/// A growing tensor is what its pieces are together, also while others hold what it was before.
fn growing<B: AutodiffBackend>(device: &B::Device) {
    fn grow<B: Backend>(device: &B::Device) {
        let piece = |n: usize, seq: usize| seeded::<B, 4>([2, 3, seq, 5], &n.to_string(), device);
        for hold in [false, true] {
            let mut all = ops::Growing::new(2, piece(0, 1));
            let (mut whole, mut held) = (piece(0, 1), Vec::new());
            for (n, seq) in [1, 1, 3, 1, 20, 1, 1].into_iter().enumerate() {
                let next = piece(n + 1, seq).swap_dims(0, 0);
                let grown = all.push(next.clone());
                whole = Tensor::cat(vec![whole, next], 2);
                assert_eq!(values(&grown), values(&whole));
                held.extend(hold.then_some((grown, whole.clone())));
            }
            for (grown, whole) in held {
                assert_eq!(values(&grown), values(&whole), "what was given stays as it was");
            }
            let all = all.map(|x| x.narrow(2, 3, 4));
            assert_eq!(values(&all.get()), values(&whole.narrow(2, 3, 4)));
        }
    }
    grow::<B>(device);
    grow::<B::InnerBackend>(device);
}

fn embedding<B: AutodiffBackend>(device: &B::Device) {
    // Many of the same, and one that is never used.
    let ids: Vec<i64> = (0..5 * 31).map(|i| i * i % 17 + i64::from(i % 3 == 0)).collect();
    let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [5, 31]), device);
    let of = |fast: bool| {
        let table = seeded::<B, 2>([7, 19], "table", device).require_grad();
        let rows = table.clone().transpose();
        let y = if fast {
            ops::embedding(rows, ids.clone())
        } else {
            burn::tensor::module::embedding(rows, ids.clone())
        };
        run(y, &[&grad(&table)], device)
    };
    assert_same("embedding", &of(true), &of(false));
}

fn cross_entropy<B: AutodiffBackend>(device: &B::Device) {
    let classes = (0..301).map(|row| if row % 7 == 0 { IGNORE } else { row * 37 % 517 }).collect();
    let weights = (0..517).map(|class| 0.25 + (class % 5) as f32).collect();
    for (smoothing, class_weights, focal_gamma) in
        [(0.0, None, 0.0), (0.1, None, 0.0), (0.1, Some(weights), 0.0), (0.0, None, 1.5)]
    {
        let targets = Targets { smoothing, class_weights, focal_gamma, ..Targets::new(Vec::clone(&classes)) };
        let of = |fast: bool| {
            let logits = seeded::<B, 2>([517, 301], "logits", device).require_grad();
            let view = logits.clone().transpose();
            let loss = match fast {
                true => ops::cross_entropy(view, targets.clone()),
                false => reference::cross_entropy(view, &targets),
            };
            run(loss, &[&grad(&logits)], device)
        };
        assert_same("cross-entropy", &of(true), &of(false));
    }
}

fn linear_cross_entropy<B: AutodiffBackend>(device: &B::Device) {
    let some = (0..301).map(|row| if row % 7 == 0 { IGNORE } else { row * 37 % 517 }).collect();
    let weights = (0..517).map(|class| 0.25 + (class % 5) as f32).collect();
    let plain = || Targets::new(Vec::clone(&some));
    let all = [
        plain(),
        Targets { smoothing: 0.1, class_weights: Some(weights), ..plain() },
        Targets { focal_gamma: 1.5, ..plain() },
        Targets::new(vec![IGNORE; 301]),
    ];
    for (targets, with_bias) in all.iter().flat_map(|targets| [(targets, true), (targets, false)]) {
        let of = |fast: bool| {
            let x = seeded::<B, 2>([13, 301], "x", device).require_grad();
            let weight = seeded::<B, 2>([517, 13], "weight", device).require_grad();
            let bias = seeded::<B, 1>([517], "bias", device).require_grad();
            let (view, turned) = (x.clone().transpose(), weight.clone().transpose());
            let given = with_bias.then(|| bias.clone());
            let loss = if fast {
                ops::linear_cross_entropy(view, turned, given, targets.clone(), Products::F32)
            } else {
                reference::cross_entropy(reference::linear(view, turned, given), targets)
            };
            let grads: [&GradOf<'_, B>; 3] = [&grad(&x), &grad(&weight), &grad(&bias)];
            run(loss, &grads[..2 + usize::from(with_bias)], device)
        };
        assert_same("linear and cross-entropy", &of(true), &of(false));
    }
}

fn reshape<B: AutodiffBackend>(device: &B::Device) {
    let of = |fast: bool| {
        let x = seeded::<B, 3>([3, 5, 14], "x", device).require_grad();
        let view = x.clone().swap_dims(0, 1);
        let y = if fast { ops::reshape(view, [5, 21, 2]) } else { view.reshape([5, 21, 2]) };
        run(y.swap_dims(0, 2), &[&grad(&x)], device)
    };
    assert_eq!(of(true), of(false));
}

// The optimizer.

fn adamw<B: AutodiffBackend>(device: &B::Device) {
    let start = || seeded::<B::InnerBackend, 2>([131, 211], "p", device);
    let train = |fast: bool, keep: &mut Vec<Tensor<B::InnerBackend, 2>>| {
        let mut tensors = [start(), start().zeros_like(), start().zeros_like()];
        for updates in 1..=5 {
            let grad = seeded::<B::InnerBackend, 2>([211, 131], &updates.to_string(), device).transpose();
            let step = AdamWStep {
                lr: 0.1,
                beta1: 0.9,
                beta2: 0.99,
                eps: 1e-3,
                weight_decay: 0.1,
                grad_scale: 0.5,
                updates,
            };
            // A copy that is held elsewhere.
            keep.push(tensors[0].clone());
            tensors = if fast {
                ops::adamw_step(&step, tensors, grad)
            } else {
                reference::adamw_step(&step, tensors, grad)
            };
        }
        keep.extend(tensors);
        keep.iter().map(values).collect::<Run>()
    };
    assert_same("AdamW", &train(true, &mut vec![]), &train(false, &mut vec![]));
    let mut kept = vec![];
    train(true, &mut kept);
    assert_eq!(values(&kept[0]), values(&start()), "a tensor that someone else holds is not written to");
}

/// Emits the tests for a backend that has kernels.
macro_rules! tests_on {
    ($device:ident: $($name:ident),+ $(,)?) => { $(
        #[test]
        fn $name() {
            super::$name::<burn::backend::Autodiff<locus_testkit::device::$device>>(&Default::default());
        }
    )+ };
    ($device:ident) => {
        tests_on!(
            $device: attention, a_constant_bias_has_no_gradient, attention_of_length_one, rotary, linear, linear_activation, rows, embedding, few_rows, bf16_products, growing,
            cross_entropy, linear_cross_entropy, reshape, adamw,
        );
    };
}

locus_testkit::on_ndarray! { mod ndarray { tests_on!(NdArray); } }
locus_testkit::on_flex! { mod flex { tests_on!(Flex); } }
