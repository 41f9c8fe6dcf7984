//! Generated text, token by token.

use std::ops::ControlFlow;

use burn::tensor::backend::Backend;
use locus_embedding::position::PositionScheme;
use locus_heads::generate::{GenerateOptions, Generated, Sampling, continue_prompts, translate};
use locus_heads::{CausalLm, Seq2Seq};

use crate::{Codec, PipelineError};

/// How to generate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WriteOptions {
    /// The most tokens to generate.
    pub max_new_tokens: usize,
    /// How a token is chosen.
    pub sampling: Sampling,
    /// Where random choices come from.
    pub seed: u64,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { max_new_tokens: 128, sampling: Sampling::GREEDY, seed: 0 }
    }
}

/// Turns tokens into text as they come: a piece is given as soon as no later token can change it.
#[derive(Debug)]
pub struct StreamDecoder<'a> {
    codec: &'a Codec,
    ids: Vec<u32>,
    given: usize,
}

impl<'a> StreamDecoder<'a> {
    /// A decoder that goes on from these tokens, which are not given again.
    ///
    /// # Errors
    /// If an id is not in the vocabulary.
    pub fn after(codec: &'a Codec, ids: Vec<u32>) -> Result<Self, PipelineError> {
        let given = codec.tokenizer.decode(&ids)?.len();
        Ok(Self { codec, ids, given })
    }

    /// The text that this token completes.
    ///
    /// # Errors
    /// If the id is not in the vocabulary.
    pub fn push(&mut self, id: u32) -> Result<String, PipelineError> {
        self.ids.push(id);
        self.piece(false)
    }

    /// The text that was held back.
    ///
    /// # Errors
    /// Never after a successful [`StreamDecoder::push`].
    pub fn finish(mut self) -> Result<String, PipelineError> {
        self.piece(true)
    }

    fn piece(&mut self, last: bool) -> Result<String, PipelineError> {
        let text = self.codec.tokenizer.decode(&self.ids)?;
        // A character of several bytes whose tokens have not all come ends in the replacement character.
        let whole = if last { &text[..] } else { text.trim_end_matches('\u{FFFD}') };
        let piece = whole.get(self.given..).unwrap_or_default().to_owned();
        self.given = self.given.max(whole.len());
        Ok(piece)
    }
}

/// Continues prompts and gives only what is new.
pub(crate) fn continue_texts<B: Backend, P: PositionScheme<B>>(
    model: &CausalLm<B, P>,
    codec: &Codec,
    prompts: &[Vec<u32>],
    options: WriteOptions,
    on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generated>, PipelineError> {
    let stop = codec.tokenizer.specials().eos.into_iter().collect();
    Ok(continue_prompts(model, prompts, &generate_options(codec, stop, options)?, on_token)?)
}

/// Generates the target of each source.
pub(crate) fn translate_texts<B: Backend, P: PositionScheme<B>>(
    model: &Seq2Seq<B, P>,
    codec: &Codec,
    sources: &[Vec<u32>],
    options: WriteOptions,
    on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generated>, PipelineError> {
    let options = generate_options(codec, vec![codec.end_id()?], options)?;
    Ok(translate(model, sources, codec.start_id()?, &options, on_token)?)
}

fn generate_options(
    codec: &Codec,
    stop: Vec<u32>,
    options: WriteOptions,
) -> Result<GenerateOptions, PipelineError> {
    if let Some(problem) = options.sampling.problem() {
        return Err(PipelineError::Options(problem));
    }
    let WriteOptions { max_new_tokens, sampling, seed } = options;
    Ok(GenerateOptions { max_new_tokens, stop, pad_id: codec.pad_id(), sampling, seed })
}
