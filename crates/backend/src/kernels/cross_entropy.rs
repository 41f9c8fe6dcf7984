//! Softmax cross-entropy: the row's log-sum-exp forward, `softmax − target` backward, no one-hot and no gather.

use std::sync::Arc;

use rayon::prelude::*;

use super::simd::{dispatch, exp, fold, log_sum_exp};
use super::{Cpu, Kernel, Primitive, elements, shape};
use crate::ops::Targets;

/// The summed loss `[1]` of logits `[rows, classes]`.
#[derive(Debug)]
pub(crate) struct CrossEntropy {
    pub(crate) targets: Arc<Targets>,
}

impl Kernel<1> for CrossEntropy {
    /// The logits, and the logarithm of the sum of exponentials of each row that counts.
    type Saved<K: Cpu> = (Primitive<K>, Vec<f32>);

    fn forward<K: Cpu>(&self, [logits]: [Primitive<K>; 1]) -> (Primitive<K>, Self::Saved<K>) {
        let (loss, lses) = forward(&elements::<K>(&logits), shape::<K>(&logits)[1], &self.targets);
        (K::tensor(vec![loss], &[1]), (logits, lses))
    }

    fn backward<K: Cpu>(
        &self,
        (mut logits, lses): Self::Saved<K>,
        upstream: Primitive<K>,
        _: [bool; 1],
    ) -> [Option<Primitive<K>>; 1] {
        let targets = &*self.targets;
        let upstream = elements::<K>(&upstream).first().copied().unwrap_or(0.0);
        let classes = shape::<K>(&logits)[1];
        // PERF: the gradient is written over the logits, which nobody else needs.
        let rows = K::elements_mut(&mut logits).par_chunks_mut(classes).zip(lses).enumerate();
        rows.for_each(|(idx, (grad, lse))| match Row::of(idx, targets) {
            Some(row) => dispatch!(gradient_over(grad, lse, &row, upstream, targets)),
            None => grad.fill(0.0),
        });
        [Some(logits)]
    }
}

fn forward(logits: &[f32], classes: usize, targets: &Targets) -> (f32, Vec<f32>) {
    let rows = logits.par_chunks(classes).enumerate().map(|(idx, logits)| {
        Row::of(idx, targets).map_or((0.0, 0.0), |row| dispatch!(loss_of(logits, &row, targets)))
    });
    let (losses, lses): (Vec<f32>, Vec<f32>) = rows.unzip();
    // NUMERICS: summed in f64 and in row order, so that the loss does not depend on the threads.
    (losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() as f32, lses)
}

/// A row that counts.
pub(super) struct Row {
    pub(super) idx: usize,
    class: usize,
    weight: f32,
}

impl Row {
    pub(super) fn of(idx: usize, targets: &Targets) -> Option<Self> {
        targets.row(idx).map(|(class, weight)| Self { idx, class, weight })
    }
}

/// The loss of a row, and the logarithm of the sum of exponentials.
#[inline(always)]
pub(super) fn loss_of(logits: &[f32], row: &Row, targets: &Targets) -> (f32, f32) {
    let lse = log_sum_exp(logits);
    let on_target = row.weight * focal(lse - logits[row.class], targets.focal_gamma).0;
    if targets.smoothing == 0.0 {
        // NUMERICS: no `0 · spread`, because a class ruled out by −∞ would make it NaN.
        return (on_target, lse);
    }
    let spread = match &targets.class_weights {
        Some(weights) => fold(logits, weights, |z, weight| weight * (lse - z)),
        None => fold(logits, logits, |z, _| lse - z),
    };
    ((1.0 - targets.smoothing) * on_target + targets.smoothing * spread / logits.len() as f32, lse)
}

/// Writes the gradient of a row over its logits.
#[inline(always)]
pub(super) fn gradient_over(logits: &mut [f32], lse: f32, row: &Row, upstream: f32, targets: &Targets) {
    let classes = logits.len() as f32;
    let slope = focal(lse - logits[row.class], targets.focal_gamma).1;
    let on_target = upstream * row.weight * (1.0 - targets.smoothing) * slope;
    let spread = upstream * targets.smoothing / classes;
    match &targets.class_weights {
        Some(weights) => {
            let scale = on_target + spread * weights.iter().sum::<f32>();
            for (z, weight) in logits.iter_mut().zip(weights) {
                *z = scale * exp(*z - lse) - spread * weight;
            }
        }
        None => {
            let scale = on_target + spread * classes;
            for z in logits.iter_mut() {
                *z = scale * exp(*z - lse) - spread;
            }
        }
    }
    logits[row.class] -= on_target;
}

/// `(1 − p)^γ · loss` where `loss = −ln p`, and its slope.
fn focal(loss: f32, gamma: f32) -> (f32, f32) {
    if gamma == 0.0 {
        return (loss, 1.0);
    }
    let missed = -(-loss).exp_m1(); // 1 − p
    if missed == 0.0 {
        // The limit, where a power below 1 has no slope.
        return (0.0, 0.0);
    }
    let factor = missed.powf(gamma);
    (factor * loss, factor * (1.0 + gamma * (-loss).exp() * loss / missed))
}
