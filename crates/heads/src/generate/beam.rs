//! Beam search: the most probable texts that a search of limited width finds.
//!
//! Per prompt, `width` open texts go on. Each step scores every continuation of each by the summed log-probability; the
//! best open ones go on, those that end compete by `sum / length^length_penalty` for `width` places. Log-probabilities
//! are penalised after the softmax, as in transformers, whose texts these are.

use std::ops::ControlFlow;

use locus_embedding::Tokens;

use super::decode::{Start, check, log_sum_exp, processed};
use super::reader::{Reader, Scores, is_past_limit};
use super::{Beams, Break, EarlyStopping, Finish, GenerateOptions, Generated, Listener, TokenLogProb};
use crate::HeadError;

/// A text of the search.
#[derive(Clone)]
struct Hypothesis {
    /// What was read first, and the new tokens.
    ids: Vec<u32>,
    log_probs: Vec<TokenLogProb>,
    /// Of its log-probabilities, the token that ends it included.
    sum: f64,
    /// The row of the batch that has read it.
    slot: usize,
}

/// The search of one prompt.
struct Search {
    prompt: usize,
    n_prompt: usize,
    /// Texts that go on, best first.
    open: Vec<Hypothesis>,
    /// Texts that have ended, best first.
    ended: Vec<Generated>,
}

/// A way to go on.
struct Candidate {
    sum: f64,
    parent: usize,
    id: u32,
}

/// The best `n_sequences` texts for each prompt, best first. The listener hears of tokens when all is done: before that
/// no text is certain.
pub(super) fn search(
    reader: &mut dyn Reader,
    start: Start<'_>,
    beams: &Beams,
    options: &GenerateOptions,
    listener: &mut dyn Listener,
) -> Result<Vec<Generated>, HeadError> {
    let mut searches: Vec<Search> =
        start.texts.iter().enumerate().map(|(prompt, ids)| Search::new(prompt, ids)).collect();
    let mut live: Vec<usize> = (0..searches.len()).collect();
    let mut tokens = start.tokens;
    for step in 0..options.max_new_tokens {
        let scores = loop {
            match reader.read(&tokens) {
                Err(error) if step > 0 && is_past_limit(&error) => {
                    end_longest(&mut searches, &mut live, step, beams);
                    if live.is_empty() {
                        return Ok(told(searches, options, listener));
                    }
                    tokens = tokens.rows(&go_on(reader, &mut searches, &live, tokens.batch));
                }
                scores => break scores?,
            }
        };
        for &prompt in &live {
            searches[prompt].step(&scores, step, beams, options, listener)?;
        }
        live.retain(|&prompt| !searches[prompt].is_done(step + 1, beams, options));
        if live.is_empty() || step + 1 == options.max_new_tokens {
            break;
        }
        go_on(reader, &mut searches, &live, tokens.batch);
        let open = live.iter().flat_map(|&prompt| &searches[prompt].open);
        let ids: Vec<u32> = open.filter_map(|text| text.ids.last().copied()).collect();
        let keep = vec![true; ids.len()];
        tokens = Tokens::new([ids.len(), 1], ids, keep, None)?;
    }
    Ok(told(searches, options, listener))
}

impl Search {
    fn new(prompt: usize, ids: &[u32]) -> Self {
        let first = Hypothesis { ids: ids.to_vec(), log_probs: Vec::new(), sum: 0.0, slot: prompt };
        Self { prompt, n_prompt: ids.len(), open: vec![first], ended: Vec::new() }
    }

    /// Replaces the open texts by their best continuations.
    fn step(
        &mut self,
        scores: &Scores,
        step: usize,
        beams: &Beams,
        options: &GenerateOptions,
        listener: &mut dyn Listener,
    ) -> Result<(), HeadError> {
        // So many, that enough remain when each text ends with each stop token.
        let n = beams.width * (1 + options.stop.len()).max(2);
        let candidates = self.candidates(scores, step, n, options)?;
        let last = step + 1 == options.max_new_tokens;
        let parents = std::mem::take(&mut self.open);
        for (rank, candidate) in candidates.into_iter().enumerate() {
            let parent = &parents[candidate.parent];
            let mut text = Hypothesis { sum: candidate.sum, ..parent.clone() };
            let is_stop = options.stop.contains(&candidate.id);
            if !is_stop {
                text.ids.push(candidate.id);
                let scores = scores.row(parent.slot);
                text.log_probs.extend(options.log_probs.map(|n| TokenLogProb::new(scores, candidate.id, n)));
            }
            let is_whole = is_stop || listener.is_whole(&text.ids[self.n_prompt..]);
            match (is_whole, last) {
                (false, false) if self.open.len() < beams.width => self.open.push(text),
                (false, false) => {}
                // What ends must be among the best, or a text would end for want of better.
                _ if rank >= beams.width => {}
                (true, _) => self.end(text, Finish::Stop, step + 1, beams),
                (false, true) => self.end(text, Finish::Length, step + 1, beams),
            }
        }
        Ok(())
    }

    /// The best continuations, best first.
    fn candidates(
        &self,
        scores: &Scores,
        step: usize,
        n: usize,
        options: &GenerateOptions,
    ) -> Result<Vec<Candidate>, HeadError> {
        let mut candidates = Vec::new();
        for (parent, text) in self.open.iter().enumerate() {
            let scores = scores.row(text.slot);
            check(scores, self.prompt, step)?;
            let total = log_sum_exp(scores);
            let log_probs: Vec<f32> = scores.iter().map(|&score| (f64::from(score) - total) as f32).collect();
            let penalised = processed(&log_probs, &text.ids, self.n_prompt, options);
            let possible = (0..).zip(penalised).filter(|(_, log_prob)| *log_prob > f32::NEG_INFINITY);
            candidates.extend(possible.map(|(id, log_prob)| Candidate {
                sum: text.sum + f64::from(log_prob),
                parent,
                id,
            }));
        }
        let order = |a: &Candidate, b: &Candidate| {
            b.sum.total_cmp(&a.sum).then((a.parent, a.id).cmp(&(b.parent, b.id)))
        };
        if n < candidates.len() {
            candidates.select_nth_unstable_by(n, order);
            candidates.truncate(n);
        }
        candidates.sort_unstable_by(order);
        Ok(candidates)
    }

    /// A text has ended after so many tokens, and takes its place if it is good enough.
    fn end(&mut self, text: Hypothesis, finish: Finish, n_tokens: usize, beams: &Beams) {
        let score = beams.score(text.sum, n_tokens);
        let mut ids = text.ids;
        let ids = ids.split_off(self.n_prompt);
        let place = self.ended.partition_point(|other| other.score >= Some(score));
        self.ended.insert(place, Generated { ids, log_probs: text.log_probs, score: Some(score), finish });
        self.ended.truncate(beams.width);
    }

    /// Whether no open text is expected to take a place.
    fn is_done(&self, n_tokens: usize, beams: &Beams, options: &GenerateOptions) -> bool {
        let (Some(best), Some(worst)) = (self.open.first(), self.ended.last()) else {
            return self.open.is_empty();
        };
        let n_tokens = match beams.early_stopping {
            EarlyStopping::Never if beams.length_penalty > 0.0 => options.max_new_tokens,
            _ => n_tokens,
        };
        let hopeless = || Some(beams.score(best.sum, n_tokens)) <= worst.score;
        self.ended.len() == beams.width && (beams.early_stopping == EarlyStopping::Full || hopeless())
    }
}

impl Beams {
    fn score(&self, sum: f64, n_tokens: usize) -> f64 {
        sum / (n_tokens as f64).powf(self.length_penalty)
    }
}

/// The open texts of the longest prompts end where the positions do, as they would at `max_new_tokens`.
fn end_longest(searches: &mut [Search], live: &mut Vec<usize>, n_tokens: usize, beams: &Beams) {
    let n_prompt = |search: &Search| search.n_prompt.max(1);
    let longest = live.iter().map(|&prompt| n_prompt(&searches[prompt])).max();
    live.retain(|&prompt| {
        let search = &mut searches[prompt];
        let ends = Some(n_prompt(search)) == longest;
        if ends {
            for text in std::mem::take(&mut search.open) {
                search.end(text, Finish::PositionLimit, n_tokens, beams);
            }
        }
        !ends
    });
}

/// Makes the open texts the rows of the batch; gives which rows of the batch before they were.
fn go_on(reader: &mut dyn Reader, searches: &mut [Search], live: &[usize], batch: usize) -> Vec<usize> {
    let mut slots = Vec::new();
    for &prompt in live {
        for text in &mut searches[prompt].open {
            slots.push(std::mem::replace(&mut text.slot, slots.len()));
        }
    }
    if !slots.iter().copied().eq(0..batch) {
        reader.select(&slots);
    }
    slots
}

/// The best texts, after the listener has heard them.
fn told(searches: Vec<Search>, options: &GenerateOptions, listener: &mut dyn Listener) -> Vec<Generated> {
    let mut texts = Vec::new();
    for search in searches {
        let mut best = search.ended;
        // A vocabulary of few tokens has fewer texts than asked for; a number of tokens of 0 has none that ended.
        let finish = if options.max_new_tokens == 0 { Finish::Length } else { Finish::NoChoice };
        best.resize(options.n_sequences, Generated { finish, ..Generated::default() });
        texts.extend(best);
    }
    for (row, text) in texts.iter().enumerate() {
        for &id in &text.ids {
            match listener.on_token(row, id) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Break::Row) => break,
                ControlFlow::Break(Break::All) => return texts,
            }
        }
    }
    texts
}
