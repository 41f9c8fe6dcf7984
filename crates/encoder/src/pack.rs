//! Stacks with bf16 or int8 weights, for inference.

use burn::tensor::backend::Backend;
use locus_backend::packed::{PackError, Precision};

use crate::projections::projections;
use crate::{EncoderDecoder, Stack};

impl<B: Backend, P> Stack<B, P> {
    /// Rounds the weights of all projections, as [`Linear::pack`](crate::Linear::pack). Embeddings, norms and position
    /// schemes stay f32.
    ///
    /// # Errors
    /// If the backend has no kernels for such weights.
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// use locus_backend::packed::Precision;
    /// use locus_embedding::position::Form;
    /// use locus_encoder::{Stack, StackConfig, StackShape};
    /// # fn main() -> Result<(), locus_backend::packed::PackError> {
    /// let config = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let shape = StackShape { vocab_size: 11, form: Form::Causal, cross_attention: false };
    /// let key = locus_backend::rng::Key::new(1);
    /// let mut stack = Stack::<NdArray>::new(&config, shape, key, &Default::default());
    /// stack.pack(Precision::Int8)?;
    /// assert!(stack.layers[0].ffn.up_proj.packed.is_some());
    /// # Ok(()) }
    /// ```
    pub fn pack(&mut self, precision: Precision) -> Result<(), PackError> {
        self.layers.iter_mut().flat_map(projections).try_for_each(|linear| linear.pack(precision))
    }
}

impl<B: Backend, P> EncoderDecoder<B, P> {
    /// Rounds the weights of both stacks, as [`Stack::pack`].
    ///
    /// # Errors
    /// If the backend has no kernels for such weights.
    pub fn pack(&mut self, precision: Precision) -> Result<(), PackError> {
        self.encoder.pack(precision)?;
        self.decoder.pack(precision)
    }
}
