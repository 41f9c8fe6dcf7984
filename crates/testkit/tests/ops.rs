//! The operations of `locus_backend::ops` against JAX goldens and against their reference bodies, values and gradients.
//!
//! `oracle/ops.py` writes the goldens. Each comparison has planted errors beside it that must be seen.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{BalancedCheckpointing, CheckpointStrategy};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, ElementConversion, Tensor};
use locus_backend::init::{Init, deferred};
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::ops::{self, Activation, AttentionOptions, IGNORE, ScoreBias, Targets};
use locus_backend::reference;
use locus_backend::rng::Key;
use locus_testkit::{Golden, assert_close, on_backends, worst};

use crate::common::{ATOL, Case, RTOL, Run, assert_same, values};

fn golden() -> Golden {
    Golden::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ops.safetensors"))
}

fn seeded<B: Backend, const D: usize>(shape: [usize; D], name: &str, device: &B::Device) -> Tensor<B, D> {
    Init::Normal { std: 1.0 }.tensor(shape, Key::new(5).named(name), device)
}

// Norms.

fn norm_run<B: AutodiffBackend, const D: usize>(
    case: &Case<'_, B>,
    f: impl Fn(Tensor<B, D>, Tensor<B, 1>, Tensor<B, 1>) -> Tensor<B, D>,
) -> Run {
    let (x, gamma, beta) = (case.leaf::<D>("x"), case.leaf::<1>("gamma"), case.leaf::<1>("beta"));
    run!(case, f(x.clone(), gamma.clone(), beta.clone()), x => "grad.x", gamma => "grad.gamma", beta => "grad.beta")
}

fn layer_norm<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "layer_norm.plain", device };
    let fast = norm_run::<B, 3>(&case, |x, gamma, beta| ops::layer_norm(x, gamma, beta, 1e-5));
    let slow = norm_run::<B, 3>(&case, |x, gamma, beta| reference::layer_norm(x, gamma, beta, 1e-5));
    case.assert_golden("fast", &fast);
    case.assert_golden("reference", &slow);
    assert_same("layer_norm", &fast, &slow);

    let case = Case::<B> { golden: &golden, name: "layer_norm.large_eps", device };
    let with_eps = |eps| norm_run::<B, 2>(&case, |x, gamma, beta| ops::layer_norm(x, gamma, beta, eps));
    let slow = norm_run::<B, 2>(&case, |x, gamma, beta| reference::layer_norm(x, gamma, beta, 0.5));
    case.assert_golden("fast", &with_eps(0.5));
    case.assert_golden("reference", &slow);
    assert_same("layer_norm", &with_eps(0.5), &slow);
    case.assert_planted("eps", &with_eps(0.501));
    // √(var · 11/10 + eps) instead of √(var + eps).
    let unbiased = norm_run::<B, 2>(&case, |x, gamma, beta| {
        ops::layer_norm(x, gamma.clone() * (10.0_f64 / 11.0).sqrt(), beta, 0.5 * 10.0 / 11.0)
    });
    case.assert_planted("unbiased variance", &unbiased);
}

type View<B> = fn(Tensor<B, 2>) -> Tensor<B, 2>;

/// Inputs that are views: transposed, cut out, and both.
fn layer_norm_of_views<B: AutodiffBackend>(device: &B::Device) {
    let (gamma, beta) = (seeded::<B, 1>([7], "gamma", device), seeded::<B, 1>([7], "beta", device));
    let wide = || seeded::<B, 2>([11, 13], "wide", device).require_grad();
    let views: [(&str, View<B>); 3] = [
        ("cut", |x| x.narrow(1, 2, 7)),
        ("rows", |x| x.narrow(0, 4, 7).narrow(1, 0, 7)),
        ("transposed", |x| x.transpose().narrow(1, 3, 7)),
    ];
    for (name, view) in views {
        let run = |fast: bool| {
            let leaf = wide();
            let x = view(leaf.clone());
            let (gamma, beta) = (gamma.clone(), beta.clone());
            let y = if fast {
                ops::layer_norm(x, gamma, beta, 1e-5)
            } else {
                reference::layer_norm(x, gamma, beta, 1e-5)
            };
            let upstream = seeded::<B, 2>([13, 11], "upstream", device);
            let [rows, columns] = y.dims();
            // The gradient comes in as a view too.
            let grads = (y.clone()
                * upstream
                    .transpose()
                    .narrow(0, 0, 11)
                    .repeat_dim(0, 2)
                    .narrow(0, 1, rows)
                    .narrow(1, 3, columns))
            .sum()
            .backward();
            vec![("out", values(&y)), ("grad.x", values(&leaf.grad(&grads).unwrap()))]
        };
        assert_same(name, &run(true), &run(false));
    }
}

/// A constant row has variance 0, a far-off row loses digits: both stay finite, and gradients too.
fn layer_norm_of_constant_rows<B: AutodiffBackend>(device: &B::Device) {
    let x = Tensor::<B, 2>::from_floats([[3.0, 3.0, 3.0], [1e6, 1e6, 1e6 + 1.0], [0.0, 0.0, 0.0]], device)
        .require_grad();
    let y = ops::layer_norm(x.clone(), Tensor::ones([3], device), Tensor::zeros([3], device), 1e-5);
    assert!(values(&y).iter().all(|v| v.is_finite()), "{:?}", values(&y));
    assert_eq!(values(&y)[..3], [0.0; 3]);
    let grad = x.grad(&(y.powi_scalar(2)).sum().backward()).unwrap();
    assert!(values(&grad).iter().all(|v| v.is_finite()), "{:?}", values(&grad));
}

fn norms_refuse_a_scale_of_another_width<B: AutodiffBackend>(device: &B::Device) {
    for width in [1, 3, 12] {
        let (x, gamma) = (Tensor::<B, 2>::ones([2, 6], device), Tensor::<B, 1>::ones([width], device));
        let refused = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
        assert!(
            refused(&|| drop(ops::layer_norm(x.clone(), gamma.clone(), gamma.clone(), 1e-5))),
            "layer norm, {width}"
        );
        assert!(
            refused(&|| drop(ops::layer_norm(x.clone(), Tensor::ones([6], device), gamma.clone(), 1e-5))),
            "beta, {width}"
        );
        assert!(refused(&|| drop(ops::rms_norm(x.clone(), gamma.clone(), 1e-5))), "RMS norm, {width}");
    }
}

fn rms_norm<B: AutodiffBackend>(device: &B::Device) {
    fn of<B: AutodiffBackend, const D: usize>(
        case: &Case<'_, B>,
        f: impl Fn(Tensor<B, D>, Tensor<B, 1>) -> Tensor<B, D>,
    ) -> Run {
        let (x, gamma) = (case.leaf::<D>("x"), case.leaf::<1>("gamma"));
        run!(case, f(x.clone(), gamma.clone()), x => "grad.x", gamma => "grad.gamma")
    }
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "rms_norm.plain", device };
    let fast = of::<B, 3>(&case, |x, gamma| ops::rms_norm(x, gamma, 1e-6));
    case.assert_golden("fast", &fast);
    assert_same("rms_norm", &fast, &of::<B, 3>(&case, |x, gamma| reference::rms_norm(x, gamma, 1e-6)));

    let case = Case::<B> { golden: &golden, name: "rms_norm.large_eps", device };
    let with_eps = |eps| of::<B, 2>(&case, |x, gamma| ops::rms_norm(x, gamma, eps));
    case.assert_golden("fast", &with_eps(0.5));
    case.assert_planted("eps", &with_eps(0.501));
    let centred = of::<B, 2>(&case, |x, gamma| ops::rms_norm(x.clone() - x.mean_dim(1), gamma, 0.5));
    case.assert_planted("mean subtracted", &centred);
}

// Linear.

fn linear<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "linear.bias", device };
    let of = |f: &dyn Fn(Tensor<B, 3>, Tensor<B, 2>, Tensor<B, 1>) -> Tensor<B, 3>| {
        let (x, weight, bias) = (case.leaf::<3>("x"), case.leaf::<2>("weight"), case.leaf::<1>("bias"));
        run!(case, f(x.clone(), weight.clone(), bias.clone()), x => "grad.x", weight => "grad.weight", bias => "grad.bias")
    };
    let fast = of(&|x, weight, bias| ops::linear(x, weight, Some(bias)));
    let slow = of(&|x, weight, bias| reference::linear(x, weight, Some(bias)));
    case.assert_golden("fast", &fast);
    case.assert_golden("reference", &slow);
    assert_same("linear", &fast, &slow);
    case.assert_planted(
        "bias twice",
        &of(&|x, weight, bias| ops::linear(x, weight, Some(bias.clone())) + bias.unsqueeze()),
    );

    let case = Case::<B> { golden: &golden, name: "linear.plain", device };
    let of = |factor: f64| {
        let (x, weight) = (case.leaf::<2>("x"), case.leaf::<2>("weight"));
        run!(case, ops::linear(x.clone() * factor, weight.clone(), None), x => "grad.x", weight => "grad.weight")
    };
    case.assert_golden("fast", &of(1.0));
    case.assert_planted("scaled", &of(1.001));
}

fn gelu<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "gelu", device };
    let of = |f: fn(Tensor<B, 1>) -> Tensor<B, 1>| {
        let x = case.leaf::<1>("x");
        run!(case, f(x.clone()), x => "grad.x")
    };
    case.assert_golden("fast", &of(|x| ops::activation(x, Activation::Gelu)));
    case.assert_golden("reference", &of(reference::gelu));
    case.assert_planted("tanh", &of(burn::tensor::activation::gelu_approximate));
    let plain = ops::activation(case.leaf::<1>("x").inner(), Activation::Gelu);
    assert_close("gelu without autodiff", &plain, golden.values("gelu.out"), ATOL, RTOL);
}

// Cross-entropy.

fn targets(name: &str) -> Targets {
    let weights = Some(vec![0.5, 2.0, 1.0, 0.25, 3.0]);
    let with = |first: [i32; 8]| Vec::from_iter(first.into_iter().chain((0..15).map(|row| row % 5)));
    let some = with([3, IGNORE, 0, 4, IGNORE, 1, 3, 2]);
    match name {
        "plain" => Targets::new(with([3, 1, 0, 4, 2, 1, 3, 2])),
        "ignored" => Targets::new(some),
        "smoothed" => Targets { smoothing: 0.125, ..Targets::new(some) },
        "weighted" => Targets { class_weights: weights, ..Targets::new(some) },
        _ => Targets { smoothing: 0.25, class_weights: weights, ..Targets::new(some) },
    }
}

const CROSS_ENTROPY: [&str; 5] = ["plain", "ignored", "smoothed", "weighted", "smoothed_weighted"];

fn cross_entropy_run<B: AutodiffBackend>(
    case: &Case<'_, B>,
    targets: Targets,
    f: impl Fn(Tensor<B, 2>, Targets) -> Tensor<B, 1>,
) -> Run {
    let logits = case.leaf::<2>("logits");
    run!(case, f(logits.clone(), targets), logits => "grad.logits")
}

fn cross_entropy<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    for name in CROSS_ENTROPY {
        let full = format!("cross_entropy.{name}");
        let case = Case::<B> { golden: &golden, name: &full, device };
        let fast = cross_entropy_run(&case, targets(name), ops::cross_entropy);
        let slow = cross_entropy_run(&case, targets(name), |logits, targets| {
            reference::cross_entropy(logits, &targets)
        });
        case.assert_golden("fast", &fast);
        case.assert_golden("reference", &slow);
        assert_same(&full, &fast, &slow);

        let planted = |error: &str, change: &dyn Fn(&mut Targets)| {
            let mut targets = targets(name);
            change(&mut targets);
            case.assert_planted(error, &cross_entropy_run(&case, targets, ops::cross_entropy));
        };
        planted("smoothing", &|targets| targets.smoothing += 0.01);
        planted("class", &|targets| targets.classes[0] = 2);
        planted("row ignored", &|targets| targets.classes[2] = IGNORE);
        planted("weights", &|targets| targets.class_weights = Some(vec![1.0, 1.0, 1.0, 1.0, 1.01]));
    }
}

fn targets_weigh_what_counts<B: AutodiffBackend>(_: &B::Device) {
    assert_eq!(targets("plain").weight(), 23.0);
    assert_eq!(targets("smoothed").weight(), 21.0);
    // Classes 3, 0, 4, 1, 3, 2, and three times each.
    assert_eq!(targets("weighted").weight(), 0.25 + 0.5 + 3.0 + 2.0 + 0.25 + 1.0 + 3.0 * 6.75);
    assert_eq!(Targets::new(vec![IGNORE; 3]).weight(), 0.0);
}

type Loss<B> = fn(Tensor<B, 2>, Targets) -> Tensor<B, 1>;

fn losses<B: AutodiffBackend>() -> [(&'static str, Loss<B>); 2] {
    [
        ("fast", ops::cross_entropy),
        ("reference", |logits, targets| reference::cross_entropy(logits, &targets)),
    ]
}

fn loss_and_grad<B: AutodiffBackend>(f: Loss<B>, logits: Tensor<B, 2>, targets: Targets) -> (f32, Vec<f32>) {
    let logits = logits.require_grad();
    let loss = f(logits.clone(), targets);
    let grads = loss.clone().backward();
    (loss.into_scalar().elem(), values(&logits.grad(&grads).unwrap()))
}

/// A NaN may not be lost on the way to the loss, unless its row does not count.
fn nan_logits<B: AutodiffBackend>(device: &B::Device) {
    for (what, f) in losses::<B>() {
        for bad in [f32::NAN, f32::INFINITY] {
            for column in 0..3 {
                let mut cells = [[0.5, -1.0, 2.0], [1.0, 0.0, 3.0]];
                cells[1][column] = bad;
                let logits = Tensor::<B, 2>::from_floats(cells, device);
                let (loss, grad) = loss_and_grad(f, logits.clone(), Targets::new(vec![0, 1]));
                assert!(loss.is_nan() || loss.is_infinite(), "{what}: {bad} in column {column} gave {loss}");
                assert!(grad[..3].iter().all(|g| g.is_finite()), "{what}: {grad:?}");
                assert!(grad[3..].iter().any(|g| g.is_nan()), "{what}: {grad:?}");
                let (loss, grad) = loss_and_grad(f, logits, Targets::new(vec![0, IGNORE]));
                assert!(loss.is_finite(), "{what}: an ignored row gave {loss}");
                assert!(grad.iter().all(|g| g.is_finite()) && grad[3..] == [0.0; 3], "{what}: {grad:?}");
            }
        }
    }
}

/// Nothing counts: a loss of zero with gradients of zero, whatever the logits.
fn all_ignored<B: AutodiffBackend>(device: &B::Device) {
    for (what, f) in losses::<B>() {
        for first in [1.0, f32::NAN, f32::INFINITY] {
            let logits = Tensor::<B, 2>::from_floats([[first, -1.0, 2.0], [1.0, 0.0, 3.0]], device);
            let (loss, grad) = loss_and_grad(f, logits, Targets::new(vec![IGNORE; 2]));
            assert_eq!((loss, grad), (0.0, vec![0.0; 6]), "{what}, {first}");
        }
    }
}

/// Classes that are ruled out by −∞ cost nothing, and large logits do not overflow.
fn extreme_logits<B: AutodiffBackend>(device: &B::Device) {
    let out = f32::NEG_INFINITY;
    for (what, f) in losses::<B>() {
        let logits = Tensor::<B, 2>::from_floats([[0.0, out, 0.0], [9e4, -9e4, 0.0]], device);
        let (loss, grad) = loss_and_grad(f, logits, Targets::new(vec![0, 1]));
        assert!((loss - (1.8e5 + std::f32::consts::LN_2)).abs() < 0.02, "{what}: {loss}");
        let want = [-0.5, 0.0, 0.5, 1.0, -1.0, 0.0];
        assert!(worst(&grad, &want, ATOL, RTOL).unwrap().1 <= 0.0, "{what}: {grad:?}");
    }
}

fn targets_that_do_not_fit_are_refused<B: AutodiffBackend>(device: &B::Device) {
    let bad = [
        Targets::new(vec![0]),
        Targets::new(vec![0, 3]),
        Targets::new(vec![0, -1]),
        Targets { class_weights: Some(vec![1.0; 2]), ..Targets::new(vec![0, 1]) },
    ];
    for targets in bad {
        let logits = Tensor::<B, 2>::zeros([2, 3], device);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ops::cross_entropy(logits, targets.clone())
        }));
        assert!(panicked.is_err(), "{targets:?}");
    }
}

// Attention.

type Attention<B> = fn(
    Tensor<B, 4>,
    Tensor<B, 4>,
    Tensor<B, 4>,
    &ScoreBias<B>,
    &AttentionMask<B>,
    AttentionOptions,
) -> Tensor<B, 4>;

#[derive(Clone)]
struct AttentionCase {
    name: &'static str,
    mask: MaskSpec,
    options: AttentionOptions,
}

/// The cases of `oracle/ops.py`: 2 rows, 3 queries that are the last of 5 keys, heads of 7.
fn attention_cases() -> [AttentionCase; 6] {
    let options = AttentionOptions { scale: 1.0 / 7.0_f64.sqrt(), dropout: 0.0, key: None };
    let open = MaskSpec { batch: 2, q_len: 3, k_len: 5, ..MaskSpec::default() };
    let causal = MaskSpec { causal: true, ..open.clone() };
    let keep = Some([0, 0, 1, 1, 1, 1, 1, 1, 1, 0].map(|keep| keep == 1).to_vec());
    let near = (0..3_i32).flat_map(|q| (0..5).map(move |k| (q + 2 - k).abs() <= 1)).collect();
    let case = |name, mask, options| AttentionCase { name, mask, options };
    [
        case("attention.plain", open.clone(), options),
        case("attention.toeplitz_causal", causal.clone(), AttentionOptions { scale: 0.5, ..options }),
        case("attention.dense_padded_gqa", MaskSpec { keep: keep.clone(), ..open.clone() }, options),
        case("attention.dense_per_row_causal_padded", MaskSpec { keep, ..causal.clone() }, options),
        case("attention.visible_causal_mqa", MaskSpec { visible: Some(near), ..causal }, options),
        case(
            "attention.dropout",
            open,
            AttentionOptions { dropout: 0.3, key: Some(Key::new(11).named("weights")), ..options },
        ),
    ]
}

fn attention_run<B: AutodiffBackend>(
    golden: &Golden,
    of: &AttentionCase,
    f: Attention<B>,
    device: &B::Device,
) -> Run {
    let case = Case::<B> { golden, name: of.name, device };
    let (q, k, v) = (case.leaf::<4>("q"), case.leaf::<4>("k"), case.leaf::<4>("v"));
    let mask = AttentionMask::new(of.mask.clone(), device);
    let with = |bias| f(q.clone(), k.clone(), v.clone(), &bias, &mask, of.options);
    let key = format!("{}.bias", of.name);
    match golden.has(&key).then(|| golden.shape(&key).len()) {
        None => run!(case, with(ScoreBias::None), q => "grad.q", k => "grad.k", v => "grad.v"),
        Some(2) => {
            let bias = case.leaf::<2>("bias");
            run!(case, with(ScoreBias::Toeplitz(bias.clone())), q => "grad.q", k => "grad.k", v => "grad.v", bias => "grad.bias")
        }
        Some(_) => {
            let bias = case.leaf::<4>("bias");
            run!(case, with(ScoreBias::Dense(bias.clone())), q => "grad.q", k => "grad.k", v => "grad.v", bias => "grad.bias")
        }
    }
}

fn attention<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    for of in attention_cases() {
        let case = Case::<B> { golden: &golden, name: of.name, device };
        let fast = attention_run::<B>(&golden, &of, ops::attention, device);
        let slow = attention_run::<B>(&golden, &of, reference::attention, device);
        case.assert_golden("fast", &fast);
        case.assert_golden("reference", &slow);
        assert_same(of.name, &fast, &slow);
    }
}

fn planted_errors_in_attention<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let planted = |of: &AttentionCase, error: &str, f: Attention<B>| {
        let case = Case::<B> { golden: &golden, name: of.name, device };
        case.assert_planted(error, &attention_run::<B>(&golden, of, f, device));
    };
    for of in attention_cases() {
        planted(&of, "k and v swapped", |q, k, v, b, m, o| ops::attention(q, v, k, b, m, o));
        planted(&of, "scale", |q, k, v, b, m, mut o| {
            o.scale *= 1.01;
            ops::attention(q, k, v, b, m, o)
        });
        let other = MaskSpec { causal: !of.mask.causal, ..of.mask.clone() };
        planted(&AttentionCase { mask: other, ..of.clone() }, "causality", ops::attention);
        if let Some(keep) = &of.mask.keep {
            let keep = Some(keep.iter().map(|keep| !keep).collect());
            planted(
                &AttentionCase { mask: MaskSpec { keep, ..of.mask.clone() }, ..of.clone() },
                "polarity",
                ops::attention,
            );
        }
        if of.mask.causal {
            // As if the queries were the first positions and not the last.
            let visible = Some((0..3).flat_map(|q| (0..5).map(move |k| k <= q)).collect());
            let mask = MaskSpec { visible, ..of.mask.clone() };
            planted(&AttentionCase { mask, ..of.clone() }, "causal from the start", ops::attention);
        }
        if golden.shape(&format!("{}.k", of.name))[1] == 2 {
            planted(&of, "heads of a group apart", |q, k, v, b, m, o| {
                ops::attention(q, k.repeat_dim(1, 3), v.repeat_dim(1, 3), b, m, o)
            });
        }
        if golden.has(&format!("{}.bias", of.name)) {
            planted(&of, "sign of the bias", |q, k, v, b, m, o| {
                ops::attention(q, k, v, &map_bias(b, |b| -b, |b| -b), m, o)
            });
            planted(&of, "bias mirrored", |q, k, v, b, m, o| {
                ops::attention(q, k, v, &map_bias(b, |b| b.flip([1]), |b| b.flip([3])), m, o)
            });
        }
        if of.options.key.is_some() {
            planted(&of, "dropout key", |q, k, v, b, m, mut o| {
                o.key = o.key.map(|key| key.child(0));
                ops::attention(q, k, v, b, m, o)
            });
            planted(&of, "no dropout", |q, k, v, b, m, o| {
                ops::attention(q, k, v, b, m, AttentionOptions { key: None, ..o })
            });
        }
    }
}

fn map_bias<B: Backend>(
    bias: &ScoreBias<B>,
    toeplitz: impl Fn(Tensor<B, 2>) -> Tensor<B, 2>,
    dense: impl Fn(Tensor<B, 4>) -> Tensor<B, 4>,
) -> ScoreBias<B> {
    match bias.clone() {
        ScoreBias::None => ScoreBias::None,
        ScoreBias::Toeplitz(bias) => ScoreBias::Toeplitz(toeplitz(bias)),
        ScoreBias::Dense(bias) => ScoreBias::Dense(dense(bias)),
        ScoreBias::Keys(_) => unreachable!("no case has one"),
    }
}

/// A bias by key is a cumulative one, written out: `c_i − c_j` for every cell.
fn a_bias_by_key_is_a_cumulative_one<B: AutodiffBackend>(device: &B::Device) {
    let [q, k, v] = ["q", "k", "v"].map(|name| seeded::<B, 4>([2, 3, 5, 7], name, device));
    let options = AttentionOptions { scale: 0.5, dropout: 0.0, key: None };
    let spec = MaskSpec { batch: 2, q_len: 5, k_len: 5, causal: true, ..MaskSpec::default() };
    let mask = AttentionMask::<B>::new(spec, device);
    let sums = seeded::<B, 3>([2, 3, 5], "sums", device);
    let cells = sums.clone().unsqueeze_dim::<4>(3) - sums.clone().unsqueeze_dim::<4>(2);
    let of = |bias| ops::attention(q.clone(), k.clone(), v.clone(), &bias, &mask, options);
    let want = values(&of(ScoreBias::Dense(cells)));
    assert_close("by key", &of(ScoreBias::Keys(-sums.clone())), &want, 1e-5, 1e-5);
    let wrong = values(&of(ScoreBias::Keys(sums)));
    assert!(worst(&wrong, &want, 1e-3, 1e-3).is_some_and(|(_, excess)| excess > 0.0), "the wrong sign");
}

/// A row of nothing but padding gives finite numbers and gradients, and leaves the other rows as they are.
fn rows_without_keys_stay_finite<B: AutodiffBackend>(device: &B::Device) {
    let [q, k, v] = ["q", "k", "v"].map(|name| seeded::<B, 4>([2, 3, 5, 7], name, device).require_grad());
    let options = AttentionOptions { scale: 0.5, dropout: 0.0, key: None };
    let dense = ScoreBias::Dense(seeded::<B, 4>([1, 3, 5, 5], "bias", device) * 100.0);
    for (bias, causal) in [(ScoreBias::None, false), (ScoreBias::None, true), (dense, true)] {
        let spec = |keep| MaskSpec { batch: 2, q_len: 5, k_len: 5, causal, keep, ..MaskSpec::default() };
        let of = |spec| {
            ops::attention(q.clone(), k.clone(), v.clone(), &bias, &AttentionMask::new(spec, device), options)
        };
        let keep = (0..10).map(|cell| cell < 5).collect();
        let (masked, open) = (of(spec(Some(keep))), of(spec(None)));
        let first = values(&masked).len() / 2;
        assert!(values(&masked).iter().all(|x| x.is_finite()));
        assert_eq!(values(&masked)[..first], values(&open)[..first]);
        let grads = masked.powi_scalar(2).sum().backward();
        for leaf in [&q, &k, &v] {
            assert!(values(&leaf.grad(&grads).unwrap()).iter().all(|g| g.is_finite()));
        }
    }
}

/// Hidden keys have no influence at all, not a small one.
fn hidden_keys_have_no_influence<B: AutodiffBackend>(device: &B::Device) {
    let [q, k, v] = ["q", "k", "v"].map(|name| seeded::<B, 4>([2, 3, 5, 7], name, device));
    let keep = Some([1, 1, 0, 1, 1, 0, 1, 1, 1, 1].map(|keep| keep == 1).to_vec());
    let mask = AttentionMask::<B>::new(
        MaskSpec { batch: 2, q_len: 5, k_len: 5, keep, ..MaskSpec::default() },
        device,
    );
    let hidden = Tensor::<B, 4>::from_floats(
        [[[[0.0], [0.0], [1.0], [0.0], [0.0]]], [[[1.0], [0.0], [0.0], [0.0], [0.0]]]],
        device,
    );
    let options = AttentionOptions { scale: 0.5, dropout: 0.0, key: None };
    let of = |k, v| values(&ops::attention(q.clone(), k, v, &ScoreBias::None, &mask, options));
    let noise = seeded::<B, 4>([2, 3, 5, 7], "noise", device) * 1e3 * hidden;
    assert_eq!(of(k.clone(), v.clone()), of(k + noise.clone(), v + noise));
}

// Dropout.

fn dropout<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "dropout", device };
    let of = |p, key| {
        let x = case.leaf::<3>("x");
        run!(case, ops::dropout(x.clone(), p, Some(key)), x => "grad.x")
    };
    let key = Key::new(7).named("dropout").child(3);
    case.assert_golden("dropout", &of(0.3, key));
    case.assert_planted("rate", &of(0.31, key));
    case.assert_planted("key", &of(0.3, key.child(0)));

    let x = case.leaf::<3>("x");
    assert_eq!(values(&ops::dropout(x.clone(), 0.3, None)), values(&x), "without a key it is the identity");
    assert_eq!(values(&ops::dropout(x.clone(), 0.0, Some(key))), values(&x), "at rate 0 it is the identity");
}

/// The rate is right, the mean stays, and the gradient is the mask over 1 − p.
fn dropout_rate<B: AutodiffBackend>(device: &B::Device) {
    let n = 10_007_usize;
    for p in [0.1, 0.5, 0.9] {
        let x = Tensor::<B, 1>::ones([n], device).require_grad();
        let y = ops::dropout(x.clone(), p, Some(Key::new(3).named("rate")));
        let factors = values(&y);
        let dropped = factors.iter().filter(|y| **y == 0.0).count() as f64 / n as f64;
        assert!((dropped - p).abs() < 5.0 * (p * (1.0 - p) / n as f64).sqrt(), "{p}: {dropped}");
        let kept = (1.0 / (1.0 - p)) as f32;
        assert!(factors.iter().all(|&y| y == 0.0 || y == kept));
        assert_eq!(values(&x.grad(&y.sum().backward()).unwrap()), factors);
    }
}

/// What is made for a loader is drawn when it is read, and is the same.
fn deferred_parameters_are_drawn_when_they_are_read<B: AutodiffBackend>(device: &B::Device) {
    let make = || Init::Normal { std: 1.0 }.param::<B, 2>([3, 5], Key::new(7), device);
    let (now, later) = (make(), deferred(make));
    assert!(now.is_initialized() && !later.is_initialized());
    assert_eq!(later.lazy_shape().dims::<2>(), [3, 5]);
    assert_eq!(values(&later.val()), values(&now.val()));
    assert!(later.is_require_grad() && now.is_require_grad());
    assert!(std::panic::catch_unwind(|| deferred::<()>(|| panic!("a module that cannot be"))).is_err());
    assert!(make().is_initialized(), "what comes afterwards is drawn at once");
}

on_backends!(
    deferred_parameters_are_drawn_when_they_are_read,
    layer_norm,
    layer_norm_of_views,
    layer_norm_of_constant_rows,
    norms_refuse_a_scale_of_another_width,
    rms_norm,
    linear,
    gelu,
    cross_entropy,
    targets_weigh_what_counts,
    nan_logits,
    all_ignored,
    extreme_logits,
    targets_that_do_not_fit_are_refused,
    attention,
    planted_errors_in_attention,
    rows_without_keys_stay_finite,
    hidden_keys_have_no_influence,
    a_bias_by_key_is_a_cumulative_one,
    dropout,
    dropout_rate,
);

// Which body runs.

/// The number of operations that autodiff recorded on the longest way from a leaf: a kernel is one, its reference many.
fn depth<B: Backend, C: CheckpointStrategy, const D: usize>(tensor: Tensor<Autodiff<B, C>, D>) -> usize {
    tensor.into_primitive().tensor().node.order
}

fn depths<B: Backend, C: CheckpointStrategy>(device: &B::Device) -> [usize; 2] {
    let x = seeded::<Autodiff<B, C>, 2>([5, 7], "x", device).require_grad();
    let norm = ops::layer_norm(x.clone(), Tensor::ones([7], device), Tensor::zeros([7], device), 1e-5);
    [depth(norm), depth(ops::cross_entropy(x, Targets::new(vec![0, 1, 2, 3, 4])))]
}

/// Without autodiff the graph cannot tell, but the numbers can: a kernel gives the same bits with and without.
fn kernels_run_without_autodiff<B: Backend>(device: &B::Device) {
    let norm = |tracked: bool, fast: bool| {
        fn of<B: Backend>(fast: bool, device: &B::Device) -> Vec<f32> {
            let [x, gamma, beta] = ["x", "gamma", "beta"].map(|name| seeded::<B, 2>([31, 37], name, device));
            let [gamma, beta] = [gamma, beta].map(|x| x.narrow(0, 0, 1).squeeze_dim(0));
            values(&if fast {
                ops::layer_norm(x, gamma, beta, 1e-5)
            } else {
                reference::layer_norm(x, gamma, beta, 1e-5)
            })
        }
        if tracked { of::<Autodiff<B>>(fast, device) } else { of::<B>(fast, device) }
    };
    assert_eq!(norm(false, true), norm(true, true));
    assert_ne!(norm(false, true), norm(false, false), "the kernel rounds differently somewhere");

    // The kernel sums rows in f64: three times ln 2 is lost beside 2^24 in f32.
    let logits =
        Tensor::<B, 2>::from_floats([[16_777_216.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], device);
    let loss: f32 = ops::cross_entropy(logits, Targets::new(vec![1; 4])).into_scalar().elem();
    assert_eq!(loss, 16_777_218.0);
}

/// The goldens of the operations with kernels, on a backend that has none.
#[cfg_attr(not(any(feature = "ndarray", feature = "flex")), allow(dead_code, reason = "no CPU backend"))]
fn works_on_foreign<B: AutodiffBackend>()
where
    B::Device: Default,
{
    let device = B::Device::default();
    layer_norm::<B>(&device);
    layer_norm_of_views::<B>(&device);
    cross_entropy::<B>(&device);
    nan_logits::<B>(&device);
    all_ignored::<B>(&device);
    extreme_logits::<B>(&device);
    attention::<B>(&device);
    dropout::<B>(&device);
}

/// The element type belongs to the tensor, not to the backend: doubles are not for the kernels, which take f32.
#[cfg_attr(not(any(feature = "ndarray", feature = "flex")), allow(dead_code, reason = "no CPU backend"))]
fn doubles<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "layer_norm.large_eps", device };
    let double = DType::F64;
    let norm = norm_run::<B, 2>(&case, |x, gamma, beta| {
        let y = ops::layer_norm(x.cast(double), gamma.cast(double), beta.cast(double), 0.5);
        assert_eq!(y.dtype(), double);
        y.cast(DType::F32)
    });
    case.assert_golden("doubles", &norm);
    let name = "smoothed_weighted";
    let case = Case::<B> { golden: &golden, name: "cross_entropy.smoothed_weighted", device };
    let loss = |logits: Tensor<B, 2>, targets| {
        let loss = ops::cross_entropy(logits.cast(double), targets);
        assert_eq!(loss.dtype(), double);
        loss.cast(DType::F32)
    };
    case.assert_golden("doubles", &cross_entropy_run(&case, targets(name), loss));
    let case = Case::<B> { golden: &golden, name: "dropout", device };
    let x = case.leaf::<3>("x");
    let key = Some(Key::new(7).named("dropout").child(3));
    let run = run!(case, ops::dropout(x.clone().cast(double), 0.3, key).cast(DType::F32), x => "grad.x");
    case.assert_golden("doubles", &run);
}

macro_rules! which_body {
    ($name:ident) => {
        #[test]
        fn kernels_are_taken() {
            use locus_testkit::device::$name as Cpu;
            let device = Default::default();
            // Reshape, kernel, reshape; and the kernel alone.
            let [norm, loss] =
                super::depths::<Cpu, burn::backend::autodiff::checkpoint::strategy::NoCheckpointing>(&device);
            assert!(norm <= 3 && loss == 1, "{norm}, {loss}");
            super::kernels_run_without_autodiff::<Cpu>(&device);
            let [norm, loss] = super::depths::<Cpu, super::BalancedCheckpointing>(&device);
            assert!(norm > 5 && loss > 5, "a foreign backend runs the reference bodies: {norm}, {loss}");
        }

        #[test]
        fn foreign_backends_run_the_reference() {
            use locus_testkit::device::$name as Cpu;
            super::works_on_foreign::<super::Autodiff<Cpu, super::BalancedCheckpointing>>();
            super::works_on_foreign::<super::Autodiff<super::Autodiff<Cpu>>>();
        }

        #[test]
        fn doubles_run_the_reference() {
            super::doubles::<super::Autodiff<locus_testkit::device::$name>>(&Default::default());
        }
    };
}

locus_testkit::on_ndarray! { mod ndarray_kernels { which_body!(NdArray); } }
locus_testkit::on_flex! { mod flex_kernels { which_body!(Flex); } }

// Random numbers.

/// `oracle/ops.py` computes them with plain integers. They may never change: seeds of finished runs depend on them.
#[test]
fn random_numbers_never_change() {
    let text = include_str!("golden/rng.txt");
    let mut checked = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [seed, path, idx, bits, uniform, normal, below] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let mut key = Key::new(seed.parse().unwrap());
        for part in path.split('/').filter(|part| *part != "-") {
            key = part.parse().map_or_else(|_| key.named(part), |idx| key.child(idx));
        }
        let idx: u64 = idx.parse().unwrap();
        assert_eq!(key.bits(idx), bits.parse::<u64>().unwrap(), "{line}");
        assert_eq!(key.uniform(idx), uniform.parse::<f64>().unwrap(), "{line}");
        assert_eq!(key.below(idx, 1_000_003), below.parse::<u64>().unwrap(), "{line}");
        // The logarithm and the cosine may differ in the last digit between platforms.
        assert!((key.normal(idx) - normal.parse::<f64>().unwrap()).abs() < 1e-13, "{line}");
        checked += 1;
    }
    assert_eq!(checked, 63);
}
