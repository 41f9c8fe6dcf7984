//! Layer normalisation: one pass for the moments, one for the output; the backward keeps mean and 1/σ per row.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::{Shape, Tensor, TensorMetadata, backend::Backend};
use rayon::prelude::*;

use super::{Cpu, Kernel, elements, holds_f32, primitive, tensor};

/// `y = (x − mean) / √(var + eps) · gamma + beta` over the last axis. Inputs: x `[rows, d]`, gamma `[d]`, beta `[d]`.
pub(crate) struct LayerNorm {
    pub(crate) eps: f32,
}

impl Kernel for LayerNorm {
    type Inputs<B: Backend> = (Tensor<B, 2>, Tensor<B, 1>, Tensor<B, 1>);
    type Output<B: Backend> = Tensor<B, 2>;

    fn is_f32<B: Backend>((x, gamma, beta): &Self::Inputs<B>) -> bool {
        holds_f32(x) && holds_f32(gamma) && holds_f32(beta)
    }

    fn plain<K: Cpu>(&self, (x, gamma, beta): Self::Inputs<K>) -> Tensor<K, 2> {
        let (x, gamma, beta) = (primitive(x), primitive(gamma), primitive(beta));
        tensor(forward::<K>(&x, &gamma, &beta, self.eps).0)
    }

    fn tracked<K: Cpu>(&self, (x, gamma, beta): Self::Inputs<Autodiff<K>>) -> Tensor<Autodiff<K>, 2> {
        let (x, gamma, beta) = (primitive(x), primitive(gamma), primitive(beta));
        let (y, moments) = forward::<K>(&x.primitive, &gamma.primitive, &beta.primitive, self.eps);
        let nodes = [x.node, gamma.node, beta.node];
        let tracked = match Step.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x.primitive, gamma.primitive, moments), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        };
        tensor(tracked)
    }
}

#[derive(Debug)]
struct Step;

impl<K: Cpu> Backward<K, 3> for Step {
    type State = (K::FloatTensorPrimitive, K::FloatTensorPrimitive, Vec<(f32, f32)>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, gamma, moments) = ops.state;
        let dy = grads.consume::<K>(&ops.node);
        let shape = x.shape();
        let d = shape[1];
        let (dx, dgamma, dbeta) =
            backward(&elements::<K>(&x), &elements::<K>(&gamma), &elements::<K>(&dy), &moments);
        let [x, gamma, beta] = ops.parents;
        for (parent, grad, shape) in [(x, dx, shape), (gamma, dgamma, [d].into()), (beta, dbeta, [d].into())]
        {
            if let Some(parent) = parent {
                grads.register::<K>(parent.id, K::from_elements(grad, shape));
            }
        }
    }
}

fn forward<K: Cpu>(
    x: &K::FloatTensorPrimitive,
    gamma: &K::FloatTensorPrimitive,
    beta: &K::FloatTensorPrimitive,
    eps: f32,
) -> (K::FloatTensorPrimitive, Vec<(f32, f32)>) {
    let shape: Shape = x.shape();
    let (x, gamma, beta) = (elements::<K>(x), elements::<K>(gamma), elements::<K>(beta));
    let d = gamma.len();
    let mut y = vec![0.0; x.len()];
    let moments = y
        .par_chunks_mut(d)
        .zip(x.par_chunks(d))
        .map(|(y, x)| {
            let mean = x.iter().sum::<f32>() / d as f32;
            let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / d as f32;
            let rstd = 1.0 / (var + eps).sqrt();
            for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma.iter()).zip(beta.iter()) {
                *y = (x - mean) * rstd * gamma + beta;
            }
            (mean, rstd)
        })
        .collect();
    (K::from_elements(y, shape), moments)
}

/// With `x̂ = (x − mean)·rstd` and `g = dy·gamma`: `dx = rstd·(g − mean(g) − x̂·mean(g·x̂))`.
fn backward(x: &[f32], gamma: &[f32], dy: &[f32], moments: &[(f32, f32)]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let d = gamma.len();
    let mut dx = vec![0.0; x.len()];
    dx.par_chunks_mut(d).zip(x.par_chunks(d)).zip(dy.par_chunks(d)).zip(moments).for_each(
        |(((dx, x), dy), &(mean, rstd))| {
            let (mut g_mean, mut gx_mean) = (0.0, 0.0);
            for ((x, dy), gamma) in x.iter().zip(dy).zip(gamma) {
                let g = dy * gamma;
                g_mean += g;
                gx_mean += g * (x - mean) * rstd;
            }
            (g_mean, gx_mean) = (g_mean / d as f32, gx_mean / d as f32);
            for (((dx, x), dy), gamma) in dx.iter_mut().zip(x).zip(dy).zip(gamma) {
                *dx = rstd * (dy * gamma - g_mean - (x - mean) * rstd * gx_mean);
            }
        },
    );
    // One thread, in row order: the sums come out the same whatever the number of threads.
    let (mut dgamma, mut dbeta) = (vec![0.0; d], vec![0.0; d]);
    for ((x, dy), &(mean, rstd)) in x.chunks(d).zip(dy.chunks(d)).zip(moments) {
        for (((x, dy), dgamma), dbeta) in x.iter().zip(dy).zip(&mut dgamma).zip(&mut dbeta) {
            *dgamma += dy * (x - mean) * rstd;
            *dbeta += dy;
        }
    }
    (dx, dgamma, dbeta)
}
