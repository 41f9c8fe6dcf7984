//! Softmax cross-entropy: the row's log-sum-exp forward, `softmax − target` backward, no one-hot and no gather.

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::{Tensor, TensorMetadata, backend::Backend};
use rayon::prelude::*;

use super::{Cpu, Kernel, elements, holds_f32, primitive, tensor};
use crate::ops::Targets;

/// The summed loss `[1]` of logits `[rows, classes]`.
pub(crate) struct CrossEntropy {
    pub(crate) targets: Arc<Targets>,
}

impl Kernel for CrossEntropy {
    type Inputs<B: Backend> = (Tensor<B, 2>,);
    type Output<B: Backend> = Tensor<B, 1>;

    fn is_f32<B: Backend>((logits,): &Self::Inputs<B>) -> bool {
        holds_f32(logits)
    }

    fn plain<K: Cpu>(&self, (logits,): Self::Inputs<K>) -> Tensor<K, 1> {
        tensor(forward::<K>(&primitive(logits), &self.targets))
    }

    fn tracked<K: Cpu>(&self, (logits,): Self::Inputs<Autodiff<K>>) -> Tensor<Autodiff<K>, 1> {
        let logits = primitive(logits);
        let loss = forward::<K>(&logits.primitive, &self.targets);
        let tracked = match Step.prepare::<NoCheckpointing>([logits.node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((logits.primitive, self.targets.clone()), loss),
            OpsKind::UnTracked(prep) => prep.finish(loss),
        };
        tensor(tracked)
    }
}

#[derive(Debug)]
struct Step;

impl<K: Cpu> Backward<K, 1> for Step {
    type State = (K::FloatTensorPrimitive, Arc<Targets>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (logits, targets) = ops.state;
        let upstream = elements::<K>(&grads.consume::<K>(&ops.node)).first().copied().unwrap_or(0.0);
        let [parent] = ops.parents;
        let Some(parent) = parent else { return };
        let shape = logits.shape();
        let classes = shape[1];
        let all_weights = targets.class_weights.as_ref().map_or(classes as f32, |w| w.iter().sum());
        let mut grad = elements::<K>(&logits).into_owned();
        grad.par_chunks_mut(classes).enumerate().for_each(|(row, grad)| {
            let Some((class, weight)) = targets.row(row) else { return grad.fill(0.0) };
            let lse = log_sum_exp(grad);
            let slope = focal(lse - grad[class], targets.focal_gamma).1;
            let on_target = upstream * weight * (1.0 - targets.smoothing) * slope;
            let spread = upstream * targets.smoothing / classes as f32;
            for (idx, g) in grad.iter_mut().enumerate() {
                let weight = targets.class_weights.as_ref().map_or(1.0, |weights| weights[idx]);
                *g = (on_target + spread * all_weights) * (*g - lse).exp() - spread * weight;
            }
            grad[class] -= on_target;
        });
        grads.register::<K>(parent.id, K::from_elements(grad, shape));
    }
}

fn forward<K: Cpu>(logits: &K::FloatTensorPrimitive, targets: &Targets) -> K::FloatTensorPrimitive {
    let classes = logits.shape()[1];
    let losses: Vec<f64> = elements::<K>(logits)
        .par_chunks(classes)
        .enumerate()
        .map(|(row, logits)| {
            let Some((class, weight)) = targets.row(row) else { return 0.0 };
            let lse = log_sum_exp(logits);
            let on_target = weight * focal(lse - logits[class], targets.focal_gamma).0;
            // NUMERICS: no `0 · spread` without smoothing, because a class ruled out by −∞ would make it NaN.
            f64::from(match targets.smoothing {
                0.0 => on_target,
                s => {
                    let weight = |idx| targets.class_weights.as_ref().map_or(1.0, |weights| weights[idx]);
                    let spread: f32 = logits.iter().enumerate().map(|(idx, z)| weight(idx) * (lse - z)).sum();
                    (1.0 - s) * on_target + s * spread / classes as f32
                }
            })
        })
        .collect();
    // NUMERICS: summed in f64 and in row order, so that the loss does not depend on the threads.
    K::from_elements(vec![losses.iter().sum::<f64>() as f32], [1].into())
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

fn log_sum_exp(row: &[f32]) -> f32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // A NaN is skipped by `max` but not by the sum, so it reaches the loss, as it must.
    max + row.iter().map(|x| (x - max).exp()).sum::<f32>().ln()
}
