//! Text generation: the decoding loop and its sampler.

mod sampler;

use std::ops::ControlFlow;

use burn::tensor::{Tensor, backend::Backend};
use locus_backend::rng::Key;
use locus_embedding::position::PositionScheme;
use locus_embedding::{EmbeddingError, Tokens};

use crate::{CausalLm, HeadError, Seq2Seq};
pub use sampler::{Sampler, Sampling};

/// How to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens to generate per row.
    pub max_new_tokens: usize,
    /// Tokens that end a row.
    pub stop: Vec<u32>,
    /// What padding is written with.
    pub pad_id: u32,
    /// How a token is chosen.
    pub sampling: Sampling,
    /// Where random choices come from.
    pub seed: u64,
}

/// A generated row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens, without the one that ended them.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Why a row ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// `max_new_tokens` were generated.
    #[default]
    Length,
    /// A stop token was generated.
    Stop,
    /// The position scheme knows no further position.
    PositionLimit,
    /// The caller broke off.
    Interrupted,
}

/// Continues prompts. `on_token` sees each new token with its row and may break off.
///
/// Prompts of different length are padded on the left.
///
/// # Errors
/// If a prompt holds an id out of range or is itself past the position limit.
pub fn continue_prompts<B: Backend, P: PositionScheme<B>>(
    model: &CausalLm<B, P>,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generated>, HeadError> {
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    let mut cache = model.decoder.new_cache();
    decode(left_padded(prompts, options.pad_id)?, options, on_token, |tokens| {
        model.next_logits(tokens, Some(&mut cache))
    })
}

/// Generates a target for each source, starting from the token `start`.
///
/// # Errors
/// If a source holds an id out of range or is past the position limit.
pub fn translate<B: Backend, P: PositionScheme<B>>(
    model: &Seq2Seq<B, P>,
    sources: &[Vec<u32>],
    start: u32,
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generated>, HeadError> {
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let memory = model.encode(&left_padded(sources, options.pad_id)?, None)?;
    let mut cache = model.body.decoder.new_cache();
    let starts = vec![vec![start]; sources.len()];
    decode(left_padded(&starts, options.pad_id)?, options, on_token, |tokens| {
        model.next_logits(tokens, &memory, Some(&mut cache))
    })
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

fn decode<B: Backend>(
    prompt: Tokens,
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    mut next_logits: impl FnMut(&Tokens) -> Result<Tensor<B, 2>, HeadError>,
) -> Result<Vec<Generated>, HeadError> {
    if let Some(problem) = options.sampling.problem() {
        return Err(HeadError::Sampling(problem));
    }
    let batch = prompt.batch;
    let sampler = Sampler::new(options.sampling, Key::new(options.seed).named("sampling"));
    let mut rows = vec![Generated::default(); batch];
    let mut done = vec![false; batch];
    let lengths = prompt.next_positions();
    let mut tokens = prompt;
    for step in 0..options.max_new_tokens {
        let logits = loop {
            match next_logits(&tokens) {
                Ok(logits) => break logits, // [batch, vocab_size]
                // The rows so far are whole; a prompt that is too long by itself is the caller's error.
                Err(HeadError::Embedding(EmbeddingError::PastLimit { .. })) if step > 0 => {
                    // All rows grow alike, so the longest prompts are past the limit, and the others may go on.
                    let active = || (0..batch).filter(|&row| !done[row]);
                    let longest = active().map(|row| lengths[row]).fold(0.0, f64::max);
                    for row in active().filter(|&row| lengths[row] == longest).collect::<Vec<_>>() {
                        rows[row].finish = Finish::PositionLimit;
                        (done[row], tokens.keep[row]) = (true, false);
                    }
                    if done.iter().all(|done| *done) {
                        return Ok(rows);
                    }
                }
                Err(error) => return Err(error),
            }
        };
        let [_, vocab_size] = logits.dims();
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        let mut next = vec![options.pad_id; batch];
        for (row, logits) in logits.chunks(vocab_size).enumerate() {
            if done[row] {
                continue;
            }
            if logits.iter().any(|score| score.is_nan()) {
                return Err(HeadError::NonFiniteScores { row, step });
            }
            let id = sampler.choose(logits, step, row);
            if options.stop.contains(&id) {
                rows[row].finish = Finish::Stop;
                done[row] = true;
                continue;
            }
            next[row] = id;
            rows[row].ids.push(id);
            if on_token(row, id).is_break() {
                finish(&mut rows, &done, Finish::Interrupted);
                return Ok(rows);
            }
        }
        if done.iter().all(|done| *done) {
            break;
        }
        // A finished row goes on with padding, which nobody reads and which takes no position.
        tokens = Tokens::new([batch, 1], next, done.iter().map(|done| !done).collect(), None)?;
    }
    Ok(rows)
}

fn finish(rows: &mut [Generated], done: &[bool], why: Finish) {
    rows.iter_mut().zip(done).filter(|(_, done)| !**done).for_each(|(row, _)| row.finish = why);
}
