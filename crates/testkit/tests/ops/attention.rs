//! Attention.

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::ops::{self, AttentionOptions, ScoreBias};
use locus_backend::reference;
use locus_backend::rng::Key;
use locus_testkit::{Golden, assert_close, on_backends, worst};

use super::{golden, seeded};
use crate::common::{Case, Run, assert_same, values};

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

pub(super) fn attention<B: AutodiffBackend>(device: &B::Device) {
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

on_backends!(
    attention,
    planted_errors_in_attention,
    rows_without_keys_stay_finite,
    hidden_keys_have_no_influence,
    a_bias_by_key_is_a_cumulative_one,
);
