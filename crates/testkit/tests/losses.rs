//! The losses of `locus_backend::ops` against PyTorch's and against their reference bodies, values and gradients.
//!
//! `oracle/losses.py` writes the goldens. Each comparison has planted errors beside it that must be seen.

use crate::common::{Case, Run, assert_same};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{ElementConversion, Tensor};
use locus_backend::ops::{self, BinaryTargets, IGNORE, Targets};
use locus_backend::reference;
use locus_testkit::{Golden, on_backends};

fn golden() -> Golden {
    Golden::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/losses.safetensors"))
}

// Classes.

fn targets(name: &str) -> Targets {
    let classes = [3, IGNORE, 0, 4, IGNORE, 1, 3, 2].into_iter().chain((0..15).map(|row| row % 5));
    let plain = Targets::new(classes.collect());
    let weighted = Targets { class_weights: Some(vec![0.5, 2.0, 1.0, 0.25, 3.0]), ..plain.clone() };
    match name {
        "weighted" => weighted,
        "smoothed_weighted" => Targets { smoothing: 0.25, ..weighted },
        "focal" => Targets { focal_gamma: 2.0, ..plain },
        "focal_weighted" => Targets { focal_gamma: 0.5, ..weighted },
        _ => Targets { focal_gamma: 3.7, ..weighted },
    }
}

fn cross_entropy<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    for name in ["weighted", "smoothed_weighted", "focal", "focal_weighted", "focal_odd"] {
        let full = format!("cross_entropy.{name}");
        let case = Case::<B> { golden: &golden, name: &full, device };
        let run = |f: &dyn Fn(Tensor<B, 2>) -> Tensor<B, 1>| -> Run {
            let logits = case.leaf::<2>("logits");
            run!(case, f(logits.clone()), logits => "grad.logits")
        };
        let fast = run(&|logits| ops::cross_entropy(logits, targets(name)));
        let slow = run(&|logits| reference::cross_entropy(logits, &targets(name)));
        case.assert_golden("fast", &fast);
        case.assert_golden("reference", &slow);
        assert_same(&full, &fast, &slow);

        let planted = |error: &str, change: &dyn Fn(&mut Targets)| {
            let mut targets = targets(name);
            change(&mut targets);
            case.assert_planted(error, &run(&|logits| ops::cross_entropy(logits, targets.clone())));
        };
        match targets(name).focal_gamma {
            0.0 => planted("smoothing", &|targets| targets.smoothing += 0.01),
            _ => planted("focusing", &|targets| targets.focal_gamma += 0.01),
        }
        planted("class", &|targets| targets.classes[0] = 2);
        planted("weights", &|targets| targets.class_weights = Some(vec![1.0, 1.0, 1.0, 1.0, 1.01]));
    }
}

/// A class that is certain costs nothing and pulls nowhere, whatever the exponent; a wrong one pulls with all it has.
fn focal_of_certain_rows<B: AutodiffBackend>(device: &B::Device) {
    for gamma in [0.5, 1.0, 2.0] {
        let targets = Targets { focal_gamma: gamma, ..Targets::new(vec![0, 1]) };
        let of = |f: &dyn Fn(Tensor<B, 2>) -> Tensor<B, 1>| {
            let logits =
                Tensor::<B, 2>::from_floats([[200.0, 0.0, -3.0], [200.0, 0.0, 0.0]], device).require_grad();
            let loss = f(logits.clone());
            let grad = crate::common::values(&logits.grad(&loss.backward()).unwrap());
            (loss.into_scalar().elem::<f32>(), grad)
        };
        let fast = of(&|logits| ops::cross_entropy(logits, targets.clone()));
        let slow = of(&|logits| reference::cross_entropy(logits, &targets));
        for (what, (loss, grad)) in [("fast", fast), ("reference", slow)] {
            assert!((loss - 200.0).abs() < 1e-3, "{what}, {gamma}: {loss}");
            assert!(grad[..3].iter().all(|g| g.abs() < 1e-6), "{what}, {gamma}: {grad:?}");
            assert!(
                (grad[3] - 1.0).abs() < 1e-5 && (grad[4] + 1.0).abs() < 1e-5,
                "{what}, {gamma}: {grad:?}"
            );
        }
    }
}

// Yes or no.

fn binary_targets(name: &str) -> BinaryTargets {
    let cells = [0, 1, 1, IGNORE, 0, 1, 1, 1, 1, 0, 0, 0, 0, IGNORE, 0, 1, 0, 0, 0, 1, 0];
    let plain = BinaryTargets::new(cells.to_vec(), 3);
    let weighted = BinaryTargets { pos_weight: Some(vec![0.5, 7.0, 1.5]), ..plain.clone() };
    match name {
        "plain" => plain,
        "smoothed" => BinaryTargets { smoothing: 0.25, ..plain },
        "pos_weight" => weighted,
        "smoothed_pos_weight" => BinaryTargets { smoothing: 0.125, ..weighted },
        "focal" => BinaryTargets { focal_gamma: 2.0, ..plain },
        _ => BinaryTargets { focal_gamma: 0.5, ..weighted },
    }
}

fn binary_cross_entropy<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    for name in ["plain", "smoothed", "pos_weight", "smoothed_pos_weight", "focal", "focal_pos_weight"] {
        let full = format!("binary_cross_entropy.{name}");
        let case = Case::<B> { golden: &golden, name: &full, device };
        let run = |targets: &BinaryTargets| -> Run {
            let logits = case.leaf::<2>("logits");
            run!(case, ops::binary_cross_entropy(logits.clone(), targets), logits => "grad.logits")
        };
        case.assert_golden("binary", &run(&binary_targets(name)));
        let planted = |error: &str, change: &dyn Fn(&mut BinaryTargets)| {
            let mut targets = binary_targets(name);
            change(&mut targets);
            case.assert_planted(error, &run(&targets));
        };
        planted("smoothing", &|targets| targets.smoothing += 0.01);
        planted("focusing", &|targets| targets.focal_gamma += 0.01);
        planted("cell", &|targets| targets.cells[4] = 1);
        planted("cell ignored", &|targets| targets.cells[2] = IGNORE);
        planted("weight", &|targets| targets.pos_weight = Some(vec![1.0, 1.0, 1.01]));
    }
}

fn cells_that_do_not_count_have_no_influence<B: AutodiffBackend>(device: &B::Device) {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let of = |targets: &BinaryTargets| {
            let logits = Tensor::<B, 2>::from_floats([[bad, 0.0], [1e4, -1e4]], device).require_grad();
            let loss = ops::binary_cross_entropy(logits.clone(), targets);
            let grad = crate::common::values(&logits.grad(&loss.backward()).unwrap());
            (loss.into_scalar().elem::<f32>(), grad)
        };
        // The large ones are right (and cost nothing), or wrong and cost what they are.
        let (loss, grad) = of(&BinaryTargets::new(vec![IGNORE, 1, 1, 0], 2));
        assert!((loss - std::f32::consts::LN_2).abs() < 1e-6, "{bad}: {loss}");
        assert_eq!(grad, [0.0, -0.5, 0.0, 0.0]);
        let (loss, grad) = of(&BinaryTargets::new(vec![IGNORE, IGNORE, 0, 1], 2));
        assert_eq!((loss, grad), (2e4, vec![0.0, 0.0, 1.0, -1.0]));
    }
    let logits = Tensor::<B, 2>::from_floats([[f32::NAN, 0.0]], device);
    let loss: f32 =
        ops::binary_cross_entropy(logits, &BinaryTargets::new(vec![1, 1], 2)).into_scalar().elem();
    assert!(loss.is_nan(), "a NaN that counts may not be lost");
}

fn targets_that_do_not_fit_are_refused<B: AutodiffBackend>(device: &B::Device) {
    let bad = [
        BinaryTargets::new(vec![0, 1, 0], 2),
        BinaryTargets::new(vec![0, 1, 0, 1], 4),
        BinaryTargets::new(vec![0, 1, 2, 1], 2),
        BinaryTargets { pos_weight: Some(vec![1.0; 3]), ..BinaryTargets::new(vec![0; 4], 2) },
        BinaryTargets { focal_gamma: -1.0, ..BinaryTargets::new(vec![0; 4], 2) },
    ];
    let refused = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    for targets in &bad {
        let logits = || Tensor::<B, 2>::zeros([2, 2], device);
        assert!(
            refused(&|| {
                ops::binary_cross_entropy(logits(), targets);
            }),
            "{targets:?}"
        );
    }
    let focused = Targets { focal_gamma: 2.0, smoothing: 0.1, ..Targets::new(vec![0, 1]) };
    assert!(refused(&|| {
        ops::cross_entropy(Tensor::<B, 2>::zeros([2, 3], device), focused.clone());
    }));
}

// Numbers.

fn squared_error<B: AutodiffBackend>(device: &B::Device) {
    let golden = golden();
    let case = Case::<B> { golden: &golden, name: "squared_error", device };
    let run = |scale: f32| -> Run {
        let targets: Vec<f32> = golden.values("squared_error.targets").iter().map(|y| y * scale).collect();
        let predictions = case.leaf::<1>("predictions");
        run!(case, ops::squared_error(predictions.clone(), &targets), predictions => "grad.predictions")
    };
    case.assert_golden("squared error", &run(1.0));
    case.assert_planted("scaled", &run(1.01));
}

on_backends!(
    cross_entropy,
    focal_of_certain_rows,
    binary_cross_entropy,
    cells_that_do_not_count_have_no_influence,
    targets_that_do_not_fit_are_refused,
    squared_error,
);
