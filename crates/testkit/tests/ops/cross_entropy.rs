//! Cross-entropy.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{ElementConversion, Tensor};
use locus_backend::ops::{self, IGNORE, Targets};
use locus_backend::reference;
use locus_testkit::{on_backends, worst};

use super::golden;
use crate::common::{ATOL, Case, RTOL, Run, assert_same, values};

pub(super) fn targets(name: &str) -> Targets {
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

pub(super) fn cross_entropy_run<B: AutodiffBackend>(
    case: &Case<'_, B>,
    targets: Targets,
    f: impl Fn(Tensor<B, 2>, Targets) -> Tensor<B, 1>,
) -> Run {
    let logits = case.leaf::<2>("logits");
    run!(case, f(logits.clone(), targets), logits => "grad.logits")
}

pub(super) fn cross_entropy<B: AutodiffBackend>(device: &B::Device) {
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
pub(super) fn nan_logits<B: AutodiffBackend>(device: &B::Device) {
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
pub(super) fn all_ignored<B: AutodiffBackend>(device: &B::Device) {
    for (what, f) in losses::<B>() {
        for first in [1.0, f32::NAN, f32::INFINITY] {
            let logits = Tensor::<B, 2>::from_floats([[first, -1.0, 2.0], [1.0, 0.0, 3.0]], device);
            let (loss, grad) = loss_and_grad(f, logits, Targets::new(vec![IGNORE; 2]));
            assert_eq!((loss, grad), (0.0, vec![0.0; 6]), "{what}, {first}");
        }
    }
}

/// Classes that are ruled out by −∞ cost nothing, and large logits do not overflow.
pub(super) fn extreme_logits<B: AutodiffBackend>(device: &B::Device) {
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

on_backends!(
    cross_entropy,
    targets_weigh_what_counts,
    nan_logits,
    all_ignored,
    extreme_logits,
    targets_that_do_not_fit_are_refused,
);
