//! Gradient checkpointing by block: for every scheme, shared by the layers or one for each, the gradients of a stack whose
//! blocks run again are those of the whole graph.

use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use locus_backend::rng::Key;
use locus_embedding::TokenBatch;
use locus_embedding::position::Form;
use locus_encoder::{PositionSharing, Residual, Stack, StackConfig, add_gradients};
use locus_testkit::{Gradients, gradients, on_processors, relative_error};

use crate::rows_and_forms;
use crate::run::{VOCAB_SIZE, shape, text, two_layers};

/// Of gradients of parameters that layers share, which are added in another order; the others agree to the bit.
const RTOL: f64 = 1e-5;

/// A loss that sees every element of the output, `[batch, seq, d_model]`, with a sign and a size of its own.
fn loss<B: AutodiffBackend>(x: Tensor<B, 3>) -> Tensor<B, 1> {
    let key = Key::new(17).named("upstream");
    let weights: Vec<f32> =
        (0..x.dims().iter().product::<usize>() as u64).map(|i| key.normal(i) as f32).collect();
    let weights = Tensor::from_data(TensorData::new(weights, x.dims()), &x.device());
    (x * weights).sum()
}

struct Case<'a, B: AutodiffBackend> {
    stack: &'a Stack<B>,
    batch: TokenBatch<B>,
}

impl<'a, B: AutodiffBackend> Case<'a, B> {
    fn new(stack: &'a Stack<B>, device: &B::Device) -> Self {
        let tokens = text(&["..#####", "#######"]);
        Self { stack, batch: TokenBatch::from_host(tokens, VOCAB_SIZE, device).unwrap() }
    }

    /// Output and gradients through the whole graph.
    fn whole(&self, key: Key) -> (Vec<f32>, Gradients) {
        let x = self.stack.forward(&self.batch, None, None, Some(key)).unwrap();
        let mut sums = GradientsParams::new();
        add_gradients(&mut sums, self.stack, &mut loss(x.clone()).backward());
        (values(x), gradients(self.stack, &sums))
    }

    /// The same in segments.
    fn segments(&self, key: Key) -> (Vec<f32>, Gradients) {
        let segments = self.stack.forward_segments(&self.batch, None, Some(key)).unwrap();
        let x = segments.output();
        let mut sums = GradientsParams::new();
        assert!(segments.backward(loss(x.clone()), self.stack, &mut sums).unwrap().is_none());
        (values(x), gradients(self.stack, &sums))
    }
}

fn values<B: AutodiffBackend>(x: Tensor<B, 3>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

fn dropping(config: StackConfig) -> StackConfig {
    StackConfig { dropout: 0.2, attention_dropout: 0.3, ..two_layers(config) }
}

fn gradients_are_those_of_the_whole_graph<B: AutodiffBackend>(device: &B::Device) {
    for (row, form) in rows_and_forms::<B>(device) {
        for position_sharing in [PositionSharing::AcrossLayers, PositionSharing::PerLayer] {
            let config = StackConfig { position_sharing, ..dropping(row.config()) };
            let stack = Stack::<B>::new(&config, shape(form), Key::new(12), device);
            let case = Case::new(&stack, device);
            let ((x, want), (y, got)) = (case.whole(Key::new(3)), case.segments(Key::new(3)));
            let what = format!("{} {form:?} {position_sharing:?}", row.name);
            let error = relative_error(&got, &want);
            assert!(error <= RTOL, "{what}: {error:e}");
            assert_eq!(x, y, "{what}");
            assert!(error == 0.0 || position_sharing == PositionSharing::AcrossLayers, "{what}: {error:e}");
        }
    }
}

fn every_residual_and_frozen_tables<B: AutodiffBackend>(device: &B::Device) {
    for residual in [Residual::Pre, Residual::Post, Residual::Parallel, Residual::PreNormed] {
        for (frozen, embedding_norm) in [(false, true), (true, true), (true, false)] {
            let config =
                StackConfig { residual, embedding_norm, n_heads: 3, d_model: 12, ..StackConfig::default() };
            let mut stack = Stack::<B>::new(&dropping(config), shape(Form::Causal), Key::new(5), device);
            if frozen {
                stack.embeddings.tokens =
                    stack.embeddings.tokens.map(|tokens| tokens.set_require_grad(false));
            }
            let case = Case::new(&stack, device);
            let ((_, want), (_, got)) = (case.whole(Key::new(4)), case.segments(Key::new(4)));
            let error = relative_error(&got, &want);
            assert!(error <= RTOL, "{residual:?}, frozen {frozen}: {error:e}");
            assert_eq!(got.iter().any(|(path, grad)| path == "embeddings.tokens" && grad.is_some()), !frozen);
        }
    }
}

/// The comparison sees what could go wrong, and the forward pass holds nothing for a backward pass of its own.
fn other_dropout_is_seen_and_there_is_no_graph<B: AutodiffBackend>(device: &B::Device) {
    let config = StackConfig { n_heads: 3, d_model: 12, ..StackConfig::default() };
    let stack = Stack::<B>::new(&dropping(config), shape(Form::Causal), Key::new(5), device);
    let case = Case::new(&stack, device);
    let error = relative_error(&case.segments(Key::new(1)).1, &case.whole(Key::new(2)).1);
    assert!(error > 1e-2, "{error:e}");

    let segments = stack.forward_segments(&case.batch, None, None).unwrap();
    let mut sums = GradientsParams::new();
    let mut grads = loss(segments.output()).backward();
    assert!(segments.output().grad(&grads).is_some());
    add_gradients(&mut sums, &stack, &mut grads);
    assert!(sums.is_empty(), "the blocks are in the graph");
}

on_processors!(
    gradients_are_those_of_the_whole_graph,
    every_residual_and_frozen_tables,
    other_dropout_is_seen_and_there_is_no_graph,
);
