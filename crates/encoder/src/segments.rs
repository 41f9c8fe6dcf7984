//! Gradient checkpointing by block: a forward pass that holds the inputs of blocks only, and runs each block again when its
//! gradient is due.
//!
//! Chen et al. 2016, arXiv:1604.06174, §4, with one block a segment: memory for one block and one tensor
//! `[batch, seq, d_model]` per layer instead of for all blocks, for one more forward pass. Dropout is drawn from the same
//! keys, so a block that runs again computes the same bits. Why this stands outside of burn's graph:
//! `docs/adr/0010-gradient-checkpointing.md`.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::ops;
use locus_backend::rng::Key;
use locus_embedding::position::{Position, PositionScheme};
use locus_embedding::{EmbeddingError, TokenBatch};

use crate::stack::Plan;
use crate::{Memory, Stack};

/// A forward pass of a stack, in segments: the embedding, each block, the final norm.
#[derive(Debug)]
pub struct Segments<'a, B: Backend, P = Position<B>> {
    stack: &'a Stack<B, P>,
    batch: &'a TokenBatch<B>,
    memory: Option<Memory<B>>,
    plan: Plan,
    /// The input of each block, then that of the final norm; outside of any graph.
    inputs: Vec<Tensor<B, 3>>,
    output: Tensor<B, 3>,
}

impl<B: Backend, P: PositionScheme<B>> Stack<B, P> {
    /// As [`Stack::forward`] without a cache, to the same bits, but outside of the graph: what a backward pass needs is
    /// computed again by [`Segments::backward`].
    ///
    /// # Errors
    /// As [`Stack::forward`].
    ///
    /// # Panics
    /// If a stack with cross-attention gets no memory or one without gets some, or in the backward pass a stack has no token
    /// table of its own.
    ///
    /// # Example
    /// ```
    /// use burn::backend::Autodiff;
    /// use burn::optim::GradientsParams;
    /// use locus_embedding::{TokenBatch, Tokens, position::Form};
    /// use locus_encoder::{Stack, StackConfig, StackShape};
    /// # use locus_testkit::device::NdArray;
    /// # fn main() -> Result<(), locus_embedding::EmbeddingError> {
    /// let device = Default::default();
    /// let config = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let shape = StackShape { vocab_size: 11, form: Form::Causal, cross_attention: false };
    /// let key = locus_backend::rng::Key::new(1);
    /// let stack = Stack::<Autodiff<NdArray>>::new(&config, shape, key, &device);
    /// let tokens = Tokens::new([1, 3], vec![4, 7, 10], vec![true; 3], None)?;
    /// let batch = TokenBatch::from_host(tokens, 11, &device)?;
    ///
    /// let segments = stack.forward_segments(&batch, None, Some(key))?;
    /// let loss = segments.output().powf_scalar(2.0).sum();
    /// let mut sums = GradientsParams::new();
    /// segments.backward(loss, &stack, &mut sums)?;
    /// let tokens = stack.embeddings.tokens.as_ref().map(|tokens| tokens.id);
    /// assert!(tokens.is_some_and(|id| sums.get::<NdArray, 2>(id).is_some()));
    /// # Ok(()) }
    /// ```
    pub fn forward_segments<'a>(
        &'a self,
        batch: &'a TokenBatch<B>,
        memory: Option<&Memory<B>>,
        key: Option<Key>,
    ) -> Result<Segments<'a, B, P>, EmbeddingError> {
        self.check_memory(memory);
        let memory = memory.map(|memory| Memory {
            states: memory.states.clone().set_require_grad(false),
            keep: memory.keep.clone(),
            tokens: memory.tokens.clone().map(|table| table.set_require_grad(false)),
        });
        let device = batch.ids.device();
        let untracked = self.clone().no_grad();
        let plan = untracked.plan(&batch.tokens, None, key)?;
        let mut x =
            untracked.embed(batch, memory.as_ref().and_then(|memory| memory.tokens.clone()), &plan)?;
        let shared = untracked.shared(&plan, memory.as_ref(), &device);
        let prepared = untracked.prepare_all(&shared, &device);
        let mut inputs = Vec::with_capacity(self.n_layers() + 1);
        for layer in 0..self.n_layers() {
            inputs.push(x.clone());
            x = untracked.run_block(layer, x, &shared, &prepared[self.scheme_of(layer)], None);
        }
        inputs.push(x.clone());
        let output = leaf(untracked.finish(x));
        Ok(Segments { stack: self, batch, memory, plan, inputs, output })
    }
}

impl<B: Backend, P> Segments<'_, B, P> {
    /// What [`Stack::forward`] gives, `[batch, q, d_model]`; for autodiff it begins a graph.
    pub fn output(&self) -> Tensor<B, 3> {
        self.output.clone()
    }
}

impl<B: AutodiffBackend, P: PositionScheme<B>> Segments<'_, B, P> {
    /// Adds to `sums` the gradients of a loss `[1]` that was computed from [`Segments::output`]: of all parameters of
    /// `model`, which are the stack's and those of what stands on it.
    ///
    /// Gives the gradient of the memory's states, `[batch, k, d_model]`, where there is a memory.
    ///
    /// # Errors
    /// None that the forward pass would not have given.
    pub fn backward<M: Module<B>>(
        self,
        loss: Tensor<B, 1>,
        model: &M,
        sums: &mut GradientsParams,
    ) -> Result<Option<Tensor<B::InnerBackend, 3>>, EmbeddingError> {
        let mut grads = loss.backward();
        add_gradients(sums, model, &mut grads);
        match self.output.grad_remove(&mut grads) {
            Some(upstream) => self.backward_from(upstream, sums),
            // Nothing is asked of the stack, for instance where no token has a label.
            None => Ok(None),
        }
    }

    /// As [`Segments::backward`], given the gradient of the output, `[batch, q, d_model]`.
    ///
    /// # Errors
    /// As [`Segments::backward`].
    pub fn backward_from(
        self,
        mut upstream: Tensor<B::InnerBackend, 3>,
        sums: &mut GradientsParams,
    ) -> Result<Option<Tensor<B::InnerBackend, 3>>, EmbeddingError> {
        let Self { stack, batch, memory, plan, mut inputs, output } = self;
        let device = output.device();
        drop(output);
        let memory = memory.map(|memory| Memory { states: leaf(memory.states), ..memory });
        let shared = stack.shared(&plan, memory.as_ref(), &device);
        let mut of_memory = None;
        while let Some(input) = inputs.pop() {
            let (layer, x) = (inputs.len(), leaf(input));
            let y = if layer == stack.n_layers() {
                stack.finish(x.clone())
            } else {
                // Anew for each block: the graph of what a scheme prepares is used up with the block's.
                let prepared = stack.prepare(stack.scheme_of(layer), &shared, &device);
                stack.run_block(layer, x.clone(), &shared, &prepared, None)
            };
            let mut grads = pull(y, upstream);
            add_gradients(sums, stack, &mut grads);
            if let Some(more) = memory.as_ref().and_then(|memory| memory.states.grad_remove(&mut grads)) {
                of_memory = Some(match of_memory {
                    Some(sum) => ops::add(sum, more),
                    None => more,
                });
            }
            let Some(of_input) = x.grad_remove(&mut grads) else { return Ok(of_memory) };
            upstream = of_input;
        }
        add_gradients(sums, stack, &mut pull(stack.embed(batch, None, &plan)?, upstream));
        Ok(of_memory)
    }
}

/// The same values as the beginning of a new graph.
fn leaf<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    x.set_require_grad(false).require_grad()
}

/// All gradients of a segment, given that of its output.
fn pull<B: AutodiffBackend>(output: Tensor<B, 3>, upstream: Tensor<B::InnerBackend, 3>) -> B::Gradients {
    // Where all parameters of the embedding are frozen it has no graph, and this is all there is to one.
    let anchor = Tensor::<B, 1>::zeros([1], &output.device()).require_grad();
    // The gradient of Σ output · upstream is upstream, to the bit.
    ((output * Tensor::from_inner(upstream)).sum() + anchor).backward()
}

/// Takes the gradients of a module's parameters out of `grads` and adds them to `sums`.
pub fn add_gradients<B: AutodiffBackend, M: Module<B>>(
    sums: &mut GradientsParams,
    module: &M,
    grads: &mut B::Gradients,
) {
    module.visit(&mut Add::<B> { sums, grads });
}

struct Add<'a, B: AutodiffBackend> {
    sums: &'a mut GradientsParams,
    grads: &'a mut B::Gradients,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Add<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let Some(grad) = param.val().grad_remove(self.grads) else { return };
        let sum = match self.sums.remove::<B::InnerBackend, D>(param.id) {
            Some(sum) => ops::add(grad, sum),
            None => grad,
        };
        self.sums.register::<B::InnerBackend, D>(param.id, sum);
    }
}
