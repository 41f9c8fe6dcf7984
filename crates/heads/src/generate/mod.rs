//! Text generation: greedy search, sampling and beam search with penalties, batched.
//!
//! Each step the model reads the last tokens and scores all that may follow; [`Penalties`] and
//! [`Constraints`] change the scores, and [`Sampling`] chooses, or [`Beams`] search. Texts that have ended leave the batch.

mod beam;
mod constraints;
mod decode;
mod options;
mod penalties;
mod reader;
mod sampler;

use burn::tensor::backend::Backend;
use locus_embedding::position::PositionScheme;
use locus_embedding::{EmbeddingError, Tokens};

use crate::{CausalLm, HeadError, Seq2Seq};
pub use constraints::Constraints;
use decode::{Start, decode};
pub use options::{
    Beams, Break, EarlyStopping, Finish, GenerateOptions, Generated, Listener, PromptReading, TokenLogProb,
};
pub use penalties::Penalties;
use reader::{Continuing, Reader, Translating};
pub use sampler::Sampling;

/// Continues prompts: `n_sequences` texts for each, those of the first prompt first. The listener sees each new token
/// with the number of its text and may end texts.
///
/// Prompts of different length are padded on the left.
///
/// # Errors
/// If options are out of range, a prompt holds an id out of range or is itself past the position limit.
///
/// # Example
/// ```
/// # use locus_testkit::device::NdArray;
/// # use locus_backend::rng::Key;
/// use locus_encoder::StackConfig;
/// use locus_heads::generate::{GenerateOptions, continue_prompts};
/// use locus_heads::{HeadConfig, TaskModel};
/// # fn main() -> Result<(), locus_heads::HeadError> {
/// let stack = StackConfig { d_model: 8, n_heads: 2, ..StackConfig::default() };
/// let head = HeadConfig::CausalLm { tied: true, output: Default::default() };
/// let model = TaskModel::<NdArray>::new(&head, &stack, 9, Key::new(1), &Default::default());
/// let TaskModel::CausalLm(model) = model else { unreachable!() };
/// let options = GenerateOptions { max_new_tokens: 5, ..GenerateOptions::default() };
/// let texts = continue_prompts(&model, &[vec![1, 8, 2], vec![4]], &options, &mut ())?;
/// assert_eq!((texts.len(), texts[1].ids.len()), (2, 5));
/// # Ok(()) }
/// ```
pub fn continue_prompts<B: Backend, P: PositionScheme<B>>(
    model: &CausalLm<B, P>,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    listener: &mut dyn Listener,
) -> Result<Vec<Generated>, HeadError> {
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    let mut tokens = left_padded(prompts, options.pad_id)?;
    if options.reading == PromptReading::Whole {
        let prefix = tokens.keep.clone();
        tokens = tokens.with_prefix(prefix)?;
    }
    let start = Start { tokens, texts: prompts.iter().map(Vec::as_slice).collect(), given: prompts };
    run(&mut Continuing { model, cache: model.decoder.new_cache() }, start, options, listener)
}

/// Generates `n_sequences` targets for each source, starting from the token `start`; otherwise as [`continue_prompts`].
///
/// # Errors
/// If options are out of range, a source holds an id out of range or is past the position limit.
pub fn translate<B: Backend, P: PositionScheme<B>>(
    model: &Seq2Seq<B, P>,
    sources: &[Vec<u32>],
    start: u32,
    options: &GenerateOptions,
    listener: &mut dyn Listener,
) -> Result<Vec<Generated>, HeadError> {
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let memory = model.encode(&left_padded(sources, options.pad_id)?, None)?;
    let start = [start];
    let tokens =
        Tokens::new([sources.len(), 1], vec![start[0]; sources.len()], vec![true; sources.len()], None)?;
    let start = Start { tokens, texts: vec![&start; sources.len()], given: sources };
    run(&mut Translating { model, memory, cache: model.body.decoder.new_cache() }, start, options, listener)
}

fn run(
    reader: &mut dyn Reader,
    start: Start<'_>,
    options: &GenerateOptions,
    listener: &mut dyn Listener,
) -> Result<Vec<Generated>, HeadError> {
    let problems = options.problems();
    if !problems.is_empty() {
        return Err(HeadError::Options(problems));
    }
    match &options.beams {
        Some(beams) => beam::search(reader, start, beams, options, listener),
        None => decode(reader, start, options, listener),
    }
}

/// Rows padded on the left to the longest; an empty row becomes one padding token that counts.
fn left_padded(rows: &[Vec<u32>], pad_id: u32) -> Result<Tokens, EmbeddingError> {
    let seq = rows.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let (mut ids, mut keep) = (Vec::new(), Vec::new());
    for row in rows {
        let pad = seq - row.len().max(1);
        ids.extend(std::iter::repeat_n(pad_id, seq - row.len()).chain(row.iter().copied()));
        keep.extend((0..seq).map(|column| column >= pad));
    }
    Tokens::new([rows.len(), seq], ids, keep, None)
}
