//! An encoder and a decoder that attends to its output.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::rng::Key;
use locus_embedding::position::{Form, Position, PositionScheme};
use locus_embedding::{EmbeddingError, TokenBatch};

use crate::{KvCache, Memory, Segments, Stack, StackConfig, StackShape};

/// Two stacks of the same configuration, but for their numbers of layers; the decoder has cross-attention (Vaswani et al. 2017, fig. 1).
#[derive(Module, Debug)]
pub struct EncoderDecoder<B: Backend, P = Position<B>> {
    /// Reads the source.
    pub encoder: Stack<B, P>,
    /// Writes the target.
    pub decoder: Stack<B, P>,
}

impl<B: Backend> EncoderDecoder<B> {
    /// Makes both stacks. Check the configuration first, for both forms.
    pub fn new(config: &StackConfig, vocab_size: usize, key: Key, device: &B::Device) -> Self {
        let encoder = StackShape { vocab_size, form: Form::Bidirectional, cross_attention: false };
        let decoder = StackShape { vocab_size, form: Form::Causal, cross_attention: true };
        Self {
            encoder: Stack::new(config, encoder, key.named("encoder"), device),
            decoder: Stack::new(&config.of_decoder(), decoder, key.named("decoder"), device),
        }
    }
}

impl<B: Backend, P: PositionScheme<B>> EncoderDecoder<B, P> {
    /// Encodes the source into the memory that the decoder attends to.
    ///
    /// # Shapes
    /// - source: `[batch, k]`; memory: `[batch, k, d_model]`
    ///
    /// # Errors
    /// As [`Stack::forward`].
    pub fn encode(&self, source: &TokenBatch<B>, key: Option<Key>) -> Result<Memory<B>, EmbeddingError> {
        let states = self.encoder.forward(source, None, None, key.map(encoder_key))?;
        Ok(self.memory(states, source))
    }

    /// What the decoder attends to, given the encoder's output.
    pub fn memory(&self, states: Tensor<B, 3>, source: &TokenBatch<B>) -> Memory<B> {
        Memory::between(&self.encoder, &self.decoder, states, source)
    }

    /// Decodes target tokens given the memory.
    ///
    /// # Shapes
    /// - target: `[batch, q]`; output: `[batch, q, d_model]`
    ///
    /// # Example
    /// ```
    /// # use locus_testkit::device::NdArray;
    /// # use locus_backend::rng::Key;
    /// use locus_embedding::{TokenBatch, Tokens};
    /// use locus_encoder::{EncoderDecoder, StackConfig};
    /// # fn main() -> Result<(), locus_embedding::EmbeddingError> {
    /// let device = Default::default();
    /// let config = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
    /// let model = EncoderDecoder::<NdArray>::new(&config, 9, Key::new(1), &device);
    /// let text = |ids: &[u32]| {
    ///     let tokens = Tokens::new([1, ids.len()], ids.to_vec(), vec![true; ids.len()], None)?;
    ///     TokenBatch::from_host(tokens, 9, &device)
    /// };
    /// let memory = model.encode(&text(&[4, 5, 6])?, None)?;
    /// assert_eq!(model.decode(&text(&[1, 7])?, &memory, None, None)?.dims(), [1, 2, 8]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Stack::forward`].
    pub fn decode(
        &self,
        target: &TokenBatch<B>,
        memory: &Memory<B>,
        cache: Option<&mut KvCache<B>>,
        key: Option<Key>,
    ) -> Result<Tensor<B, 3>, EmbeddingError> {
        self.decoder.forward(target, Some(memory), cache, key.map(decoder_key))
    }

    /// As [`EncoderDecoder::encode`], for gradient checkpointing. The decoder's [`Segments::backward`] gives the gradient
    /// of the memory, which is that of the output here.
    ///
    /// # Errors
    /// As [`Stack::forward`].
    pub fn encode_segments<'a>(
        &'a self,
        source: &'a TokenBatch<B>,
        key: Option<Key>,
    ) -> Result<Segments<'a, B, P>, EmbeddingError> {
        self.encoder.forward_segments(source, None, key.map(encoder_key))
    }

    /// As [`EncoderDecoder::decode`] without a cache, for gradient checkpointing.
    ///
    /// # Errors
    /// As [`Stack::forward`].
    pub fn decode_segments<'a>(
        &'a self,
        target: &'a TokenBatch<B>,
        memory: &Memory<B>,
        key: Option<Key>,
    ) -> Result<Segments<'a, B, P>, EmbeddingError> {
        self.decoder.forward_segments(target, Some(memory), key.map(decoder_key))
    }
}

impl<B: Backend> Memory<B> {
    /// What a decoder attends to, given an encoder's output, `[batch, k, d_model]`, with the encoder's token table where the
    /// decoder reads it too.
    pub fn between<P>(
        encoder: &Stack<B, P>,
        decoder: &Stack<B, P>,
        states: Tensor<B, 3>,
        source: &TokenBatch<B>,
    ) -> Self {
        let tokens = match decoder.embeddings.tokens {
            Some(_) => None,
            None => encoder.embeddings.tokens.as_ref().map(Param::val),
        };
        Self { states, keep: source.tokens.keep.clone(), tokens }
    }
}

fn encoder_key(key: Key) -> Key {
    key.named("encoder")
}

fn decoder_key(key: Key) -> Key {
    key.named("decoder")
}
