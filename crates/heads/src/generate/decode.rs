//! Token by token: greedy search and sampling.

use std::ops::ControlFlow;

use locus_backend::rng::Key;
use locus_embedding::Tokens;

use super::constraints::ban;
use super::reader::{Reader, is_past_limit};
use super::{Break, Finish, GenerateOptions, Generated, Listener, TokenLogProb};
use crate::HeadError;

/// What generation starts from.
pub(super) struct Start<'a> {
    /// What the model reads first, padded on the left.
    pub(super) tokens: Tokens,
    /// The same without padding.
    pub(super) texts: Vec<&'a [u32]>,
    /// What was given for each text: the prompt, or the source.
    pub(super) given: &'a [Vec<u32>],
}

/// A text that grows.
struct Text {
    /// What was read first, and the new tokens.
    ids: Vec<u32>,
    n_prompt: usize,
    key: Key,
    generated: Generated,
}

/// Texts for each prompt, those of the first prompt first.
pub(super) fn decode(
    reader: &mut dyn Reader,
    start: Start<'_>,
    options: &GenerateOptions,
    listener: &mut dyn Listener,
) -> Result<Vec<Generated>, HeadError> {
    let n = options.n_sequences;
    let mut texts: Vec<Text> = (0..n * start.texts.len()).map(|row| text(&start, row, options)).collect();
    let mut tokens = start.tokens;
    // The texts that go on, and the row of the batch that each reads.
    let mut live: Vec<(usize, usize)> = (0..texts.len()).map(|row| (row, row / n)).collect();
    for step in 0..options.max_new_tokens {
        let scores = loop {
            match reader.read(&tokens) {
                // The texts so far are whole; a prompt that is too long by itself is the caller's error.
                Err(error) if step > 0 && is_past_limit(&error) => {
                    end_longest(&mut texts, &mut live);
                    if live.is_empty() {
                        return Ok(generated(texts));
                    }
                    tokens = tokens.rows(&go_on(reader, &mut live, tokens.batch));
                }
                scores => break scores?,
            }
        };
        let mut next = Vec::new();
        for (idx, &(row, slot)) in live.iter().enumerate() {
            let scores = scores.row(slot);
            check(scores, row / n, step)?;
            let text = &mut texts[row];
            let at = text.key.uniform(step as u64);
            let chosen = options.sampling.choose(&processed(scores, &text.ids, text.n_prompt, options), at);
            let Some(id) = chosen.filter(|id| !options.stop.contains(id)) else {
                text.generated.finish = if chosen.is_none() { Finish::NoChoice } else { Finish::Stop };
                continue;
            };
            text.ids.push(id);
            text.generated.ids.push(id);
            text.generated.log_probs.extend(options.log_probs.map(|n| TokenLogProb::new(scores, id, n)));
            match listener.on_token(row, id) {
                ControlFlow::Continue(()) => next.push((row, slot)),
                ControlFlow::Break(Break::Row) => text.generated.finish = Finish::Stop,
                ControlFlow::Break(Break::All) => {
                    let open = next.iter().chain(&live[idx..]);
                    open.for_each(|&(row, _)| texts[row].generated.finish = Finish::Interrupted);
                    return Ok(generated(texts));
                }
            }
        }
        live = next;
        if live.is_empty() || step + 1 == options.max_new_tokens {
            break;
        }
        go_on(reader, &mut live, tokens.batch);
        let ids: Vec<u32> = live.iter().filter_map(|&(row, _)| texts[row].ids.last().copied()).collect();
        tokens = Tokens::new([ids.len(), 1], ids, vec![true; live.len()], None)?;
    }
    Ok(generated(texts))
}

fn text(start: &Start<'_>, row: usize, options: &GenerateOptions) -> Text {
    let (prompt, sequence) = (row / options.n_sequences, row % options.n_sequences);
    let key = Key::new(options.seed).named("sampling");
    let key = start.given[prompt].iter().fold(key, |key, &id| key.child(u64::from(id)));
    Text {
        ids: start.texts[prompt].to_vec(),
        n_prompt: start.texts[prompt].len(),
        key: key.named("sequence").child(sequence as u64),
        generated: Generated::default(),
    }
}

fn generated(texts: Vec<Text>) -> Vec<Generated> {
    texts.into_iter().map(|text| text.generated).collect()
}

/// All texts grow alike, so those of the longest prompts reach the last position first.
fn end_longest(texts: &mut [Text], live: &mut Vec<(usize, usize)>) {
    // An empty prompt is read as one token.
    let n_prompt = |texts: &[Text], row: usize| texts[row].n_prompt.max(1);
    let longest = live.iter().map(|&(row, _)| n_prompt(texts, row)).max();
    live.retain(|&(row, _)| {
        let ends = Some(n_prompt(texts, row)) == longest;
        if ends {
            texts[row].generated.finish = Finish::PositionLimit;
        }
        !ends
    });
}

/// Makes the live texts the rows of the batch; gives which rows of the batch before they were.
fn go_on(reader: &mut dyn Reader, live: &mut [(usize, usize)], batch: usize) -> Vec<usize> {
    let slots: Vec<usize> = live.iter().map(|&(_, slot)| slot).collect();
    // Mostly all go on as they are.
    if !slots.iter().copied().eq(0..batch) {
        reader.select(&slots);
    }
    live.iter_mut().enumerate().for_each(|(slot, text)| text.1 = slot);
    slots
}

/// # Errors
/// If scores are not numbers.
pub(super) fn check(scores: &[f32], row: usize, step: usize) -> Result<(), HeadError> {
    let sound = |score: &f32| score.is_finite() || *score == f32::NEG_INFINITY;
    if scores.iter().all(sound) { Ok(()) } else { Err(HeadError::NonFiniteScores { row, step }) }
}

/// Scores after penalties and constraints, without the tokens that may not come yet.
pub(super) fn processed(
    scores: &[f32],
    text: &[u32],
    n_prompt: usize,
    options: &GenerateOptions,
) -> Vec<f32> {
    let mut scores = scores.to_vec();
    options.penalties.apply(&mut scores, text, n_prompt);
    let n_new = text.len() - n_prompt;
    if n_new < options.min_new_tokens {
        ban(&mut scores, &options.stop);
    }
    options.constraints.apply(&mut scores, n_prompt, n_new, options.max_new_tokens);
    scores
}

/// The logarithm of `Σ exp(score)`.
pub(super) fn log_sum_exp(scores: &[f32]) -> f64 {
    let best = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    best + scores.iter().map(|&score| (f64::from(score) - best).exp()).sum::<f64>().ln()
}

impl TokenLogProb {
    /// The log-probability of a token and those of the best `n_top`, from the scores of all.
    pub(super) fn new(scores: &[f32], id: u32, n_top: usize) -> Self {
        let total = log_sum_exp(scores);
        let log_prob = |id: u32| f64::from(scores[id as usize]) - total;
        let mut ids: Vec<u32> = (0..scores.len() as u32).collect();
        let order = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
        if n_top < ids.len() {
            ids.select_nth_unstable_by(n_top, order);
            ids.truncate(n_top);
        }
        ids.sort_unstable_by(order);
        Self { log_prob: log_prob(id), top: ids.into_iter().map(|id| (id, log_prob(id))).collect() }
    }
}
