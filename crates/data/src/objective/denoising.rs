//! Denoising: a text is damaged, and the decoder gives it back whole.
//!
//! Reference: Lewis et al., "BART", ACL 2020, section 2.2. The damages, in the order in which they are done:
//!
//! - sentence permutation: a share of the sentences change places among each other;
//! - text infilling: spans of a length drawn from a Poisson distribution become one mask each; a span of no token puts a mask
//!   between two tokens, so the model has to tell how many are missing;
//! - token deletion: single tokens go, without a trace;
//! - document rotation: the text starts at a random token and goes on at its start.
//!
//! *Differs*: spans are of tokens, and never touch; the authors' program starts them at words.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{ExampleKey, checked, label, purpose, share};
use crate::random::Draws;
use crate::{DataError, Item, ItemLabels, Tokenizer};

/// How a text is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Denoising {
    /// The share of sentences that change places.
    pub permute_sentences: f64,
    /// The share of tokens that lie in masked spans.
    pub infill: f64,
    /// The mean length of a span, λ.
    pub mean_span: f64,
    /// The share of tokens that are deleted: each for itself, with this probability.
    pub delete: f64,
    /// The probability that the text is rotated.
    pub rotate: f64,
}

impl Default for Denoising {
    /// What BART was trained with: all sentences permuted, 30 % of the tokens masked, λ = 3.
    fn default() -> Self {
        Self { permute_sentences: 1.0, infill: 0.3, mean_span: 3.0, delete: 0.0, rotate: 0.0 }
    }
}

/// The tokens around a damaged text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenoisingVocab {
    /// What stands for a span.
    pub mask: u32,
    /// Ahead of the source, and of the whole text.
    pub before: Vec<u32>,
    /// After them.
    pub after: Vec<u32>,
    /// What the decoder starts with; BART's is the end token.
    pub start: u32,
}

impl DenoisingVocab {
    /// Those of a tokenizer: its mask, its frame of a single text, and as `start` its end or separator.
    ///
    /// # Errors
    /// If it has no mask, or neither end nor separator.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let specials = tokenizer.specials();
        let Some((mask, start)) = specials.mask.zip(specials.eos.or(specials.sep)) else {
            let message = "denoising needs a mask token and an end token; the tokenizer lacks one of them";
            return Err(DataError::Argument(message.to_owned()));
        };
        let frame = tokenizer.frame();
        // A tokenizer without a frame still has to end a target.
        let after = if frame.after.is_empty() { vec![start] } else { frame.after.clone() };
        Ok(Self { mask, before: frame.before.clone(), after, start })
    }
}

impl Denoising {
    /// Checks the numbers.
    ///
    /// # Errors
    /// All that is out of range, in one error.
    pub fn check(&self) -> Result<(), DataError> {
        let mut problems = Vec::new();
        share(&mut problems, "permute_sentences", self.permute_sentences);
        share(&mut problems, "infill", self.infill);
        share(&mut problems, "delete", self.delete);
        share(&mut problems, "rotate", self.rotate);
        if !(0.0..=100.0).contains(&self.mean_span) {
            problems.push(format!("mean_span = {}: expected 0 to 100", self.mean_span));
        }
        if self.infill > 0.0 && (0.0..0.1).contains(&self.mean_span) {
            let mean = self.mean_span;
            problems.push(format!(
                "mean_span = {mean}: nearly empty spans never reach `infill`; expected 0.1 or more"
            ));
        }
        checked(problems)
    }

    /// Damages a text. `sentences` are the tokens of each sentence, one after the other
    /// ([`token_sentences`](super::sentences::token_sentences)); without any the text is one.
    ///
    /// # Errors
    /// If the numbers are out of range, or the sentences do not make up the text.
    ///
    /// ```
    /// use locus_data::ItemLabels;
    /// use locus_data::objective::ExampleKey;
    /// use locus_data::objective::denoising::{Denoising, DenoisingVocab};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let vocab = DenoisingVocab { mask: 4, before: vec![0], after: vec![2], start: 2 };
    /// let config = Denoising { infill: 0.0, ..Denoising::default() };
    /// let key = ExampleKey { seed: 1, epoch: 0, example: 1 };
    /// let item = config.apply(&[10, 11, 12], &[0..2, 2..3], &vocab, key)?;
    /// assert!(item.ids == [0, 10, 11, 12, 2] || item.ids == [0, 12, 10, 11, 2]);
    /// let ItemLabels::Target { ids, labels } = &item.labels else { unreachable!() };
    /// assert_eq!((&ids[..], &labels[..]), (&[2, 0, 10, 11, 12][..], &[0, 10, 11, 12, 2][..]));
    /// # Ok(()) }
    /// ```
    pub fn apply(
        &self,
        text: &[u32],
        sentences: &[Range<usize>],
        vocab: &DenoisingVocab,
        key: ExampleKey,
    ) -> Result<Item, DataError> {
        self.check()?;
        let is_whole = sentences.first().is_none_or(|first| first.start == 0)
            && sentences.windows(2).all(|pair| pair[0].end == pair[1].start)
            && sentences.last().is_none_or(|last| last.end == text.len());
        if !is_whole || sentences.iter().any(|sentence| sentence.start > sentence.end) {
            let message = format!("sentences must follow each other and make up {} tokens", text.len());
            return Err(DataError::Argument(message));
        }
        let mut damaged = self.permute(text, sentences, &mut key.draws(purpose::SENTENCES));
        damaged = self.fill(&damaged, vocab.mask, &mut key.draws(purpose::INFILL));
        if self.delete > 0.0 {
            let mut draws = key.draws(purpose::DELETE);
            damaged.retain(|_| !draws.chance(self.delete));
        }
        let mut draws = key.draws(purpose::ROTATE);
        if !damaged.is_empty() && draws.chance(self.rotate) {
            let by = draws.below(damaged.len());
            damaged.rotate_left(by);
        }
        let framed = |text: &[u32]| [&vocab.before, text, &vocab.after].concat();
        let whole = framed(text);
        let target = [vocab.start].into_iter().chain(whole[..whole.len().saturating_sub(1)].iter().copied());
        let labels =
            ItemLabels::Target { ids: target.collect(), labels: whole.iter().copied().map(label).collect() };
        Ok(Item { ids: framed(&damaged), labels, ..Item::default() })
    }

    fn permute(&self, text: &[u32], sentences: &[Range<usize>], draws: &mut Draws) -> Vec<u32> {
        let n_moved = (sentences.len() as f64 * self.permute_sentences).ceil() as usize;
        if n_moved < 2 {
            return text.to_vec();
        }
        let places = draws.sample(n_moved, sentences.len());
        let mut moved = places.clone();
        draws.shuffle(&mut moved);
        let mut order: Vec<usize> = (0..sentences.len()).collect();
        places.iter().zip(moved).for_each(|(&place, sentence)| order[place] = sentence);
        order.into_iter().flat_map(|sentence| text[sentences[sentence].clone()].iter().copied()).collect()
    }

    /// Spans lie at different ones of the places between the tokens that stay, so they never touch and every arrangement is
    /// equally likely.
    fn fill(&self, text: &[u32], mask: u32, draws: &mut Draws) -> Vec<u32> {
        let mut left = (text.len() as f64 * self.infill).ceil() as usize;
        let mut lens = Vec::new();
        while left > 0 {
            let len = draws.poisson(self.mean_span).min(left);
            left -= len;
            lens.push(len);
        }
        let n_shown = text.len() - lens.iter().sum::<usize>();
        if lens.len() > n_shown + 1 {
            // More spans than places for them: the last are one.
            let rest: usize = lens.drain(n_shown + 1..).sum();
            lens[n_shown] += rest;
        }
        let places = draws.sample(lens.len(), n_shown + 1);
        let (mut out, mut at, mut shown) = (Vec::with_capacity(text.len()), 0, 0);
        for (place, len) in places.into_iter().zip(lens) {
            out.extend_from_slice(&text[at..at + place - shown]);
            out.push(mask);
            at += place - shown + len;
            shown = place;
        }
        out.extend_from_slice(&text[at..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{is_binomial, key};
    use super::*;

    const NOTHING: Denoising =
        Denoising { permute_sentences: 0.0, infill: 0.0, mean_span: 3.0, delete: 0.0, rotate: 0.0 };

    fn vocab() -> DenoisingVocab {
        DenoisingVocab { mask: 4, before: vec![0], after: vec![2], start: 2 }
    }

    fn text() -> Vec<u32> {
        (10..111).collect()
    }

    fn damaged(config: Denoising, sentences: &[Range<usize>], example: u64) -> Vec<u32> {
        let item = config.apply(&text(), sentences, &vocab(), key(example)).expect("valid");
        let ItemLabels::Target { ids, labels } = &item.labels else { panic!("a target") };
        // The target is always the whole text.
        assert_eq!((ids[0], ids[1], labels[0], labels[102]), (2, 0, 0, 2));
        assert!(labels[1..102].iter().copied().eq(10..111));
        let len = item.ids.len();
        assert_eq!((item.ids[0], item.ids[len - 1]), (0, 2));
        item.ids[1..len - 1].to_vec()
    }

    #[test]
    fn nothing_is_damaged_where_nothing_is_asked_for() {
        assert_eq!(damaged(NOTHING, &[], 0), text());
    }

    #[test]
    fn infilling_hides_its_share_in_spans_of_the_poisson_distribution() {
        let config = Denoising { infill: 0.3, ..NOTHING };
        let (mut spans, mut empty, mut hidden) = (0, 0, 0);
        for example in 0..400 {
            let out = damaged(config, &[], example);
            let mut expected = 10;
            let mut shown = 0;
            for (at, &id) in out.iter().enumerate() {
                if id == 4 {
                    spans += 1;
                    assert_ne!(out.get(at + 1), Some(&4), "spans never touch");
                    empty += usize::from(out.get(at + 1).copied().unwrap_or(111) == expected);
                    continue;
                }
                assert!(id >= expected, "the order stays");
                shown += 1;
                expected = id + 1;
            }
            hidden += 101 - shown;
            // 30 % of 101, rounded up.
            assert_eq!(shown, 101 - 31);
        }
        let mean = hidden as f64 / spans as f64;
        // λ = 3, less what the last span of each text is cut: half a span in about eleven, and it is never empty.
        assert!((2.6..3.05).contains(&mean), "{mean}");
        // exp(-3) = 0.0498 of the spans are empty, of those but the last.
        assert!(is_binomial(empty, spans - 400, (-3.0_f64).exp(), 5.0), "{empty} of {spans}");
    }

    #[test]
    fn everything_can_be_hidden() {
        let out = damaged(Denoising { infill: 1.0, mean_span: 100.0, ..NOTHING }, &[], 0);
        assert_eq!(out, [4]);
    }

    #[test]
    fn sentences_change_places_whole() {
        let sentences = [0..30, 30..37, 37..80, 80..101];
        let config = Denoising { permute_sentences: 1.0, ..NOTHING };
        let mut orders = std::collections::BTreeSet::new();
        for example in 0..400 {
            let out = damaged(config, &sentences, example);
            let mut at = 0;
            let mut order = Vec::new();
            while at < out.len() {
                let start = out[at] as usize - 10;
                let sentence = sentences.iter().position(|s| s.start == start).expect("a sentence's start");
                let len = sentences[sentence].len();
                assert!(out[at..at + len].windows(2).all(|pair| pair[1] == pair[0] + 1));
                order.push(sentence);
                at += len;
            }
            orders.insert(order);
        }
        assert_eq!(orders.len(), 24);
        let half = Denoising { permute_sentences: 0.5, ..NOTHING };
        let moved = |example| {
            let out = damaged(half, &sentences, example);
            usize::from(out[0] != 10)
        };
        // Two of four sentences change places or stay: the first is not first with probability 1/4.
        let n_moved = (0..2000).map(moved).sum();
        assert!(is_binomial(n_moved, 2000, 0.25, 4.5), "{n_moved}");
    }

    #[test]
    fn tokens_are_deleted_and_texts_rotated() {
        let config = Denoising { delete: 0.2, ..NOTHING };
        let n_left: usize = (0..200).map(|example| damaged(config, &[], example).len()).sum();
        assert!(is_binomial(n_left, 200 * 101, 0.8, 4.5), "{n_left}");
        let config = Denoising { rotate: 0.5, ..NOTHING };
        let mut n_rotated = 0;
        for example in 0..1000 {
            let mut out = damaged(config, &[], example);
            n_rotated += usize::from(out != text());
            let by = out.iter().position(|&id| id == 10).expect("the first token");
            out.rotate_left(by);
            assert_eq!(out, text());
        }
        // One rotation in 101 is none.
        assert!(is_binomial(n_rotated, 1000, 0.5 * 100.0 / 101.0, 4.5), "{n_rotated}");
    }

    #[test]
    fn what_cannot_be_done_is_an_error() {
        let bad = Denoising {
            permute_sentences: 2.0,
            infill: f64::NAN,
            mean_span: -1.0,
            delete: -0.1,
            rotate: 1.5,
        };
        let error = bad.check().expect_err("five problems").to_string();
        assert_eq!(error.matches(": expected").count(), 5, "{error}");
        assert!(Denoising { mean_span: 0.0, ..Denoising::default() }.check().is_err());
        for sentences in [vec![0..3, 4..101], vec![0..50, 50..100], vec![1..50, 50..101]] {
            assert!(NOTHING.apply(&text(), &sentences, &vocab(), key(0)).is_err());
        }
    }
}
