//! The losses of candidates in groups against PyTorch: values and gradients.
//!
//! `oracle/ranking.py` writes the golden. Planted errors beside it must be seen.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use locus_heads::{Candidates, RankingLoss};
use locus_testkit::{Golden, on_backends, worst};

const ATOL: f64 = 1e-5;
const RTOL: f64 = 1e-5;
const SIZES: [usize; 4] = [5, 3, 2, 1];
const LOSSES: [(&str, RankingLoss); 4] = [
    ("softmax", RankingLoss::Softmax),
    ("listnet", RankingLoss::Listnet),
    ("pairwise", RankingLoss::Pairwise),
    ("pointwise", RankingLoss::Pointwise),
];

fn golden() -> Golden {
    Golden::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ranking.safetensors"))
}

fn candidates(sizes: &[usize]) -> Candidates {
    Candidates { sizes: sizes.to_vec(), gains: golden().values("gains").to_vec(), features: Vec::new() }
}

fn values<B: AutodiffBackend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// By how much the loss and the gradient of `loss · upstream` are off what the golden says of the loss `name`.
fn excess<B: AutodiffBackend>(
    name: &str,
    loss: RankingLoss,
    candidates: &Candidates,
    device: &B::Device,
) -> f64 {
    let golden = golden();
    let scores = golden.values("scores");
    let rows = scores.len();
    let scores = Tensor::<B, 1>::from_floats(scores, device).reshape([rows, 1]).detach().require_grad();
    let loss = loss.of(scores.clone(), candidates).unwrap();
    let upstream = Tensor::<B, 1>::from_floats(golden.values(&format!("{name}.upstream")), device);
    let grads = (loss.sum.clone() * upstream).backward();
    let grad: Vec<f32> = scores.grad(&grads).unwrap().into_data().iter::<f32>().collect();
    let off =
        |got: &[f32], key: &str| worst(got, golden.values(&format!("{name}.{key}")), ATOL, RTOL).unwrap().1;
    off(&values(loss.sum), "out").max(off(&grad, "grad"))
}

fn losses_and_gradients<B: AutodiffBackend>(device: &B::Device) {
    for (name, loss) in LOSSES {
        let right = excess::<B>(name, loss, &candidates(&SIZES), device);
        assert!(right <= 0.0, "{name}: {right:e}");
        for (_, other) in LOSSES.into_iter().filter(|(other, _)| *other != name) {
            assert!(excess::<B>(name, other, &candidates(&SIZES), device) > 1e-3, "{name} as {other:?}");
        }
        if loss != RankingLoss::Pointwise {
            let mixed = excess::<B>(name, loss, &candidates(&[5, 5, 1]), device);
            assert!(mixed > 1e-3, "{name} over the border of two groups");
        }
    }
}

fn weights_count_what_is_compared<B: AutodiffBackend>(device: &B::Device) {
    let weight = |loss: RankingLoss| {
        loss.of(Tensor::<B, 2>::zeros([11, 1], device), &candidates(&SIZES)).unwrap().weight
    };
    let expected = [3.0, 3.0, 10.0, 11.0];
    assert_eq!(LOSSES.map(|(_, loss)| weight(loss)), expected);
}

fn extreme_scores_stay_finite<B: AutodiffBackend>(device: &B::Device) {
    let two = |gains: [f32; 2]| Candidates { sizes: vec![2], gains: gains.to_vec(), features: Vec::new() };
    for (_, loss) in LOSSES {
        let of = |gains: [f32; 2]| {
            let scores = Tensor::<B, 2>::from_floats([[1e4_f32], [-1e4]], device);
            values(loss.of(scores, &two(gains)).unwrap().sum)[0]
        };
        let (right, wrong) = (of([50.0, 0.0]), of([0.0, 50.0]));
        assert!(right.abs() < 1e-3 && wrong > 9e3 && wrong.is_finite(), "{loss:?}: {right} {wrong}");
        let nothing = of([0.0, 0.0]);
        assert!(nothing.is_finite(), "{loss:?}: {nothing}");
    }
}

on_backends!(losses_and_gradients, weights_count_what_is_compared, extreme_scores_stay_finite);
