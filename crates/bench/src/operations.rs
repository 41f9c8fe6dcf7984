//! Single operations, forward and backward, each beside its reference body.

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::init::Init;
use locus_backend::mask::{AttentionMask, MaskSpec};
use locus_backend::ops::{self, Activation, AttentionOptions, ScoreBias, Targets};
use locus_backend::reference;
use locus_backend::rng::Key;

use crate::measure::{Row, time, wait};

/// Forward and backward of `f` applied to leaves of these shapes.
fn pass<B: AutodiffBackend, const D: usize, const E: usize>(
    repeats: usize,
    what: &str,
    leaf: &Tensor<B, D>,
    f: impl Fn(Tensor<B, D>) -> Tensor<B, E>,
) -> Row {
    let (median_ms, min_ms) = time(repeats, || {
        drop(f(leaf.clone().require_grad()).sum().backward());
        wait::<B>(&leaf.device());
    });
    let what = what.to_owned();
    Row {
        what,
        arch: None,
        size: None,
        weights: None,
        median_ms,
        min_ms,
        tokens_per_second: None,
        gflops: None,
        share_of_peak: None,
        peak_memory_bytes: None,
        losses: Vec::new(),
    }
}

/// All operations at sizes of a small model: 2048 tokens of width 256, 4 heads.
pub(crate) fn rows<B: AutodiffBackend>(repeats: usize, device: &B::Device) -> Vec<Row> {
    let mut rows = layers::<B>(repeats, device);
    for seq in [128, 512] {
        rows.extend(attention::<B>(repeats, seq, device));
    }
    rows
}

fn random<B: Backend, const D: usize>(shape: [usize; D], device: &B::Device) -> Tensor<B, D> {
    Init::Normal { std: 1.0 }.tensor(shape, Key::new(7), device)
}

fn layers<B: AutodiffBackend>(repeats: usize, device: &B::Device) -> Vec<Row> {
    let x = random::<B, 2>([2048, 256], device);
    let (weight, bias) = (random::<B, 2>([256, 1024], device), random::<B, 1>([1024], device));
    let (gamma, beta) = (random::<B, 1>([256], device), random::<B, 1>([256], device));
    let logits = random::<B, 2>([2048, 8192], device);
    let targets = Targets::new((0..2048).map(|row| row * 3).collect());
    let table = random::<B, 2>([8192, 256], device);
    let ids = Tensor::arange(0..2048, device).reshape([16, 128]);
    let key = Some(Key::new(1));
    macro_rules! both {
        ($name:literal, $leaf:expr, $fast:expr, $slow:expr) => {
            [pass(repeats, $name, $leaf, $fast), pass(repeats, concat!($name, ", reference"), $leaf, $slow)]
        };
    }
    [
        both!("linear 256 to 1024", &x, |x| ops::linear(x, weight.clone(), Some(bias.clone())), |x| {
            reference::linear(x, weight.clone(), Some(bias.clone()))
        }),
        both!("layer norm", &x, |x| ops::layer_norm(x, gamma.clone(), beta.clone(), 1e-5), |x| {
            reference::layer_norm(x, gamma.clone(), beta.clone(), 1e-5)
        }),
        both!("RMS norm", &x, |x| ops::rms_norm(x, gamma.clone(), 1e-5), |x| reference::rms_norm(
            x,
            gamma.clone(),
            1e-5
        )),
        both!("GELU", &x, |x| ops::activation(x, Activation::Gelu), reference::gelu),
        both!("dropout", &x, |x| ops::dropout(x, 0.1, key), |x| reference::dropout(x, 0.1, Key::new(1))),
        both!("cross-entropy of 8192", &logits, |x| ops::cross_entropy(x, targets.clone()), |x| {
            reference::cross_entropy(x, &targets)
        }),
        both!("embedding", &table, |table| ops::embedding(table, ids.clone()), |table| {
            burn::tensor::module::embedding(table, ids.clone())
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn attention<B: AutodiffBackend>(repeats: usize, seq: usize, device: &B::Device) -> Vec<Row> {
    let x = random::<B, 4>([2048 / seq, seq, 4, 64], device);
    let angles = random::<B, 4>([1, 1, seq, 32], device);
    let (cos, sin) = (angles.clone().cos(), angles.sin());
    let by_distance = ScoreBias::Toeplitz(random::<B, 2>([4, 2 * seq - 1], device));
    let dense = ScoreBias::Dense(random::<B, 4>([1, 4, seq, seq], device));
    let none = ScoreBias::None;
    let keep = (0..2048).map(|token| token % seq >= seq / 4).collect();
    let spec = |causal, keep| MaskSpec {
        batch: 2048 / seq,
        q_len: seq,
        k_len: seq,
        causal,
        keep,
        ..MaskSpec::default()
    };
    let open = AttentionMask::new(spec(false, None), device);
    let causal = AttentionMask::new(spec(true, None), device);
    let padded = AttentionMask::new(spec(false, Some(keep)), device);
    let of = |name: &str, bias: &ScoreBias<B>, mask: &AttentionMask<B>, dropout: f64, rotary: bool| {
        let options = AttentionOptions { scale: 0.125, dropout, key: (dropout > 0.0).then(|| Key::new(1)) };
        let run = |fast: bool| {
            let name = format!("attention {seq}, {name}{}", if fast { "" } else { ", reference" });
            pass(repeats, &name, &x, |x| {
                let x = x.swap_dims(1, 2);
                let turn = |x| match (rotary, fast) {
                    (false, _) => x,
                    (true, true) => ops::rotary(x, cos.clone(), sin.clone(), false),
                    (true, false) => reference::rotary(x, cos.clone(), sin.clone(), false),
                };
                let (q, k) = (turn(x.clone()), turn(x.clone()));
                let f = if fast { ops::attention } else { reference::attention };
                f(q, k, x, bias, mask, options)
            })
        };
        [run(true), run(false)]
    };
    [
        of("plain", &none, &open, 0.0, false),
        of("causal", &none, &causal, 0.0, false),
        of("padded", &none, &padded, 0.0, false),
        of("dropout", &none, &open, 0.1, false),
        of("rotary", &none, &open, 0.0, true),
        of("bias by distance", &by_distance, &open, 0.0, false),
        of("dense bias", &dense, &open, 0.0, false),
    ]
    .into_iter()
    .flatten()
    .collect()
}
