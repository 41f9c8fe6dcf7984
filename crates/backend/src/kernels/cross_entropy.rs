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
        let all_weights = targets.class_weights.as_ref().map_or(classes as f32, |w| w.iter().sum());
        // PERF: the gradient is written over the logits, which nobody else needs.
        let rows = K::elements_mut(&mut logits).par_chunks_mut(classes).zip(lses).enumerate();
        rows.for_each(|(row, (grad, lse))| {
            let Some((class, weight)) = targets.row(row) else { return grad.fill(0.0) };
            dispatch(|| {
                let slope = focal(lse - grad[class], targets.focal_gamma).1;
                let on_target = upstream * weight * (1.0 - targets.smoothing) * slope;
                let spread = upstream * targets.smoothing / classes as f32;
                let scale = on_target + spread * all_weights;
                match &targets.class_weights {
                    Some(weights) => grad
                        .iter_mut()
                        .zip(weights)
                        .for_each(|(g, weight)| *g = scale * exp(*g - lse) - spread * weight),
                    None => grad.iter_mut().for_each(|g| *g = scale * exp(*g - lse) - spread),
                }
                grad[class] -= on_target;
            });
        });
        [Some(logits)]
    }
}

fn forward(logits: &[f32], classes: usize, targets: &Targets) -> (f32, Vec<f32>) {
    let rows = logits.par_chunks(classes).enumerate().map(|(row, logits)| {
        let Some((class, weight)) = targets.row(row) else { return (0.0, 0.0) };
        dispatch(|| {
            let lse = log_sum_exp(logits);
            let on_target = weight * focal(lse - logits[class], targets.focal_gamma).0;
            if targets.smoothing == 0.0 {
                // NUMERICS: no `0 · spread`, because a class ruled out by −∞ would make it NaN.
                return (on_target, lse);
            }
            let spread = match &targets.class_weights {
                Some(weights) => fold(logits, weights, |z, weight| weight * (lse - z)),
                None => fold(logits, logits, |z, _| lse - z),
            };
            ((1.0 - targets.smoothing) * on_target + targets.smoothing * spread / classes as f32, lse)
        })
    });
    let (losses, lses): (Vec<f32>, Vec<f32>) = rows.unzip();
    // NUMERICS: summed in f64 and in row order, so that the loss does not depend on the threads.
    (losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() as f32, lses)
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
