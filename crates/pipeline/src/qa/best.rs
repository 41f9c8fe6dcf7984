//! The best part of a context over all windows, as `postprocess_qa_predictions` of `transformers` chooses it.
//!
//! The score of a part is that of its start and that of its end, summed. Differs: all parts of at most `max_answer_tokens`
//! compete, not only those whose start and end are among the `n_best` of a window, and a part that two windows hold counts
//! once, with its higher score.

use std::ops::Range;

use locus_model::QuestionConfig;

use super::QuestionWindow;

/// The margin where a context has no part to choose: beyond every difference of scores that a model gives.
const NO_PART: f64 = 1e9;

/// What was chosen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Best {
    /// Bytes of the context; none where there is no answer.
    pub(super) bytes: Option<Range<usize>>,
    /// Its share of the probability of all candidates.
    pub(super) probability: f64,
    /// By how much the score of no answer exceeds that of the best part.
    pub(super) margin: f64,
}

/// A part of the context with its score.
struct Candidate {
    bytes: Range<usize>,
    score: f64,
}

pub(super) fn best(windows: &[(QuestionWindow, [Vec<f32>; 2])], config: &QuestionConfig) -> Best {
    let mut candidates = Candidates { list: Vec::new(), n_best: config.n_best };
    let mut no_answer = f64::INFINITY;
    for (window, [start, end]) in windows {
        let score = |first: usize, last: usize| f64::from(start[first]) + f64::from(end[last]);
        no_answer = no_answer.min(score(window.no_answer, window.no_answer));
        for first in 0..window.bytes.len() {
            let last = window.bytes.len().min(first + config.max_answer_tokens);
            for last in first..last {
                let score = score(window.first_column + first, window.first_column + last);
                let bytes = window.bytes[first].start..window.bytes[last].end;
                candidates.offer(Candidate { bytes, score });
            }
        }
    }
    candidates.choose(no_answer, config.no_answer_threshold)
}

/// The best candidates, the best first.
struct Candidates {
    list: Vec<Candidate>,
    n_best: usize,
}

impl Candidates {
    fn offer(&mut self, new: Candidate) {
        let is_full = self.list.len() >= self.n_best;
        let is_worse = self.list.last().is_some_and(|worst| is_full && new.score <= worst.score);
        if is_worse || new.score.is_nan() {
            return;
        }
        if let Some(at) = self.list.iter().position(|known| known.bytes == new.bytes) {
            if self.list[at].score >= new.score {
                return;
            }
            self.list.remove(at);
        }
        let at = self.list.partition_point(|known| known.score >= new.score);
        self.list.insert(at, new);
        self.list.truncate(self.n_best);
    }

    /// The best one; with a threshold perhaps none.
    fn choose(mut self, no_answer: f64, threshold: Option<f64>) -> Best {
        let mut scores: Vec<f64> = self.list.iter().map(|candidate| candidate.score).collect();
        if threshold.is_some() {
            // It is one of the `n_best`.
            if scores.len() == self.n_best && scores.last().is_some_and(|&worst| no_answer > worst) {
                scores.pop();
            }
            scores.push(no_answer);
        }
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - max).exp()).sum();
        let probability = |score: f64| (score - max).exp() / total;
        if self.list.is_empty() {
            let probability = if threshold.is_some() { 1.0 } else { 0.0 };
            // Scores that are no numbers have no margin; a context without a part to choose has a finite one, so that a
            // threshold can still be sought among those of all questions.
            let margin = if no_answer.is_finite() { NO_PART } else { f64::INFINITY };
            return Best { bytes: None, probability, margin };
        }
        let first = self.list.swap_remove(0);
        let margin = no_answer - first.score;
        match threshold {
            Some(threshold) if margin > threshold => {
                Best { bytes: None, probability: probability(no_answer), margin }
            }
            _ => Best { probability: probability(first.score), bytes: Some(first.bytes), margin },
        }
    }
}
