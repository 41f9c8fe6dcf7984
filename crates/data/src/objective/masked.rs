//! Masked language modelling: some tokens are hidden, and predicted from both sides.
//!
//! Of the hidden tokens 80 % become the mask, 10 % a random token, 10 % stay as they are. References: Devlin et al., "BERT",
//! NAACL 2019, section 3.1 and `create_pretraining_data.py`; Joshi et al., "SpanBERT", TACL 2020, section 3.1.
//!
//! The number of hidden tokens is exact: the rate times the tokens of text, rounded, at least one. Special tokens are never
//! hidden and never put at random. *Differs*: BERT counts the frame's tokens too; SpanBERT may draw a span over tokens that
//! are hidden already, here a span ends ahead of them.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::spans::runs;
use super::{ExampleKey, MaskVocab, checked, label, purpose, share};
use crate::random::Draws;
use crate::{DataError, IGNORE, Item, ItemLabels};

/// The most words that a span may be asked to have.
const LONGEST_SPAN: usize = 1000;

/// What is hidden together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum MaskUnit {
    /// Each token for itself.
    Token,
    /// All tokens of a word. A word that would exceed the number of hidden tokens is passed over, unless it is the first.
    Word,
    /// Spans of whole words (of tokens, where no words are given), of a geometric length that is cut at `max`; the last span
    /// ends where enough is hidden. What becomes of a span is drawn once for all of it.
    Span {
        /// The probability that a span ends with each word: 0.2 in SpanBERT, a mean of 3.8 words.
        end: f64,
        /// The longest span in words, at most 1000: 10 in SpanBERT.
        max: usize,
    },
}

impl MaskUnit {
    /// The spans of SpanBERT.
    pub const SPANBERT: Self = Self::Span { end: 0.2, max: 10 };
}

/// How tokens are hidden.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedLm {
    /// The share of tokens that are hidden.
    pub rate: f64,
    /// The share of hidden tokens that become the mask.
    pub mask_share: f64,
    /// The share of hidden tokens that become a random token; the rest stays.
    pub random_share: f64,
    /// What is hidden together.
    pub unit: MaskUnit,
}

impl Default for MaskedLm {
    fn default() -> Self {
        Self { rate: 0.15, mask_share: 0.8, random_share: 0.1, unit: MaskUnit::Token }
    }
}

impl MaskedLm {
    /// Checks the shares.
    ///
    /// # Errors
    /// All that is out of range, in one error.
    pub fn check(&self) -> Result<(), DataError> {
        let mut problems = Vec::new();
        share(&mut problems, "rate", self.rate);
        share(&mut problems, "mask_share", self.mask_share);
        share(&mut problems, "random_share", self.random_share);
        if self.mask_share + self.random_share > 1.0 + 1e-12 {
            let sum = self.mask_share + self.random_share;
            problems.push(format!("mask_share and random_share are {sum} together: expected at most 1"));
        }
        if let MaskUnit::Span { end, max } = self.unit {
            share(&mut problems, "unit.span.end", end);
            if !(1..=LONGEST_SPAN).contains(&max) {
                problems.push(format!("unit.span.max = {max}: expected 1 to {LONGEST_SPAN}"));
            }
        }
        checked(problems)
    }

    /// Hides tokens of an item. The labels are the hidden tokens where they stood, [`IGNORE`] elsewhere.
    ///
    /// `words` gives the word of each token ([`framed_words`](super::words::framed_words)).
    ///
    /// # Errors
    /// If the shares are out of range, words are needed and missing, or there is not one for each token.
    ///
    /// ```
    /// use locus_data::objective::masked::MaskedLm;
    /// use locus_data::objective::{ExampleKey, MaskVocab};
    /// use locus_data::{IGNORE, Item, ItemLabels};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let vocab = MaskVocab::new(4, (5..50).collect())?;
    /// let item = Item { ids: vec![2, 30, 31, 32, 33, 34, 35, 36, 3], ..Default::default() };
    /// let key = ExampleKey { seed: 1, epoch: 0, example: 0 };
    /// let hidden = MaskedLm::default().apply(&item, None, &vocab, key)?;
    /// let ItemLabels::PerToken(labels) = &hidden.labels else { unreachable!() };
    /// assert_eq!(labels.iter().filter(|&&label| label != IGNORE).count(), 1); // 15 % of 7
    /// assert_eq!(hidden, MaskedLm::default().apply(&item, None, &vocab, key)?);
    /// # Ok(()) }
    /// ```
    pub fn apply(
        &self,
        item: &Item,
        words: Option<&[Option<usize>]>,
        vocab: &MaskVocab,
        key: ExampleKey,
    ) -> Result<Item, DataError> {
        self.check()?;
        let words = self.eligible(&item.ids, words, vocab)?;
        let hidden = self.choose(&words, &mut key.draws(purpose::HIDE));
        let mut draws = key.draws(purpose::SHOW);
        let mut out = Item { labels: ItemLabels::None, ..item.clone() };
        let mut labels = vec![IGNORE; item.ids.len()];
        let by_span = matches!(self.unit, MaskUnit::Span { .. });
        for unit in hidden {
            let mut fate = draws.uniform();
            for at in unit.clone() {
                if !by_span && at > unit.start {
                    fate = draws.uniform();
                }
                labels[at] = label(item.ids[at]);
                if fate < self.mask_share {
                    out.ids[at] = vocab.mask_id;
                } else if fate < self.mask_share + self.random_share {
                    out.ids[at] = vocab.random(&mut draws);
                }
            }
        }
        out.labels = ItemLabels::PerToken(labels);
        Ok(out)
    }

    /// The word of each token that may be hidden.
    fn eligible(
        &self,
        ids: &[u32],
        words: Option<&[Option<usize>]>,
        vocab: &MaskVocab,
    ) -> Result<Vec<Option<usize>>, DataError> {
        let each: Vec<Option<usize>> = (0..ids.len()).map(Some).collect();
        let words = match (self.unit, words) {
            (MaskUnit::Token, _) | (MaskUnit::Span { .. }, None) => &each[..],
            (_, Some(words)) if words.len() == ids.len() => words,
            (_, words) => {
                return Err(DataError::Argument(format!(
                    "hiding whole words needs the word of each of {} tokens, found {}",
                    ids.len(),
                    words.map_or("none".to_owned(), |words| words.len().to_string())
                )));
            }
        };
        Ok(ids.iter().zip(words).map(|(&id, word)| word.filter(|_| vocab.is_ordinary(id))).collect())
    }

    /// The tokens to hide, as runs in their order.
    fn choose(&self, words: &[Option<usize>], draws: &mut Draws) -> Vec<Range<usize>> {
        let n_tokens = words.iter().flatten().count();
        let budget = ((n_tokens as f64 * self.rate).round() as usize).max(1).min(n_tokens);
        let units = runs(words);
        if self.rate == 0.0 || units.is_empty() {
            return Vec::new();
        }
        let mut hidden = match self.unit {
            MaskUnit::Span { end, max } => choose_spans(&units, budget, &lengths(end, max), draws),
            MaskUnit::Token | MaskUnit::Word => choose_units(units, budget, draws),
        };
        hidden.sort_unstable_by_key(|unit| unit.start);
        hidden
    }
}

/// Units in a random order, those that still fit.
fn choose_units(mut units: Vec<Range<usize>>, budget: usize, draws: &mut Draws) -> Vec<Range<usize>> {
    draws.shuffle(&mut units);
    let (mut hidden, mut n_hidden) = (Vec::new(), 0);
    let first_fit = units.iter().position(|unit| unit.len() <= budget);
    // Where every word is longer than the budget, one is hidden all the same.
    for unit in units.into_iter().skip(first_fit.unwrap_or(0)) {
        if n_hidden == 0 || n_hidden + unit.len() <= budget {
            n_hidden += unit.len();
            hidden.push(unit);
        }
        if n_hidden >= budget {
            break;
        }
    }
    hidden
}

/// Spans of words from random tokens on, until `budget` tokens are hidden.
fn choose_spans(
    words: &[Range<usize>],
    budget: usize,
    lengths: &[f64],
    draws: &mut Draws,
) -> Vec<Range<usize>> {
    let mut is_free = vec![true; words.len()];
    let (mut hidden, mut left) = (Vec::new(), budget);
    while left > 0 {
        let free: Vec<usize> = (0..words.len()).filter(|&word| is_free[word]).collect();
        if free.is_empty() {
            break;
        }
        let sizes: Vec<f64> = free.iter().map(|&word| words[word].len() as f64).collect();
        let n_words = 1 + draws.weighted(lengths);
        let first = free[draws.weighted(&sizes)];
        let start = words[first].start;
        let mut end = start;
        for word in first..(first + n_words).min(words.len()) {
            // What follows may be hidden already, or part of the frame.
            if !is_free[word] || words[word].start != end || left == 0 {
                break;
            }
            is_free[word] = false;
            let n_tokens = words[word].len().min(left);
            end += n_tokens;
            left -= n_tokens;
        }
        hidden.push(start..end);
    }
    hidden
}

/// The probabilities of lengths 1 to `max`, up to a factor.
fn lengths(end: f64, max: usize) -> Vec<f64> {
    (0..max).map(|longer| end * (1.0 - end).powi(longer as i32)).collect()
}

/// The item as it was before tokens were hidden: the labels put back where there are any.
pub fn unmask(item: &Item) -> Vec<u32> {
    let ItemLabels::PerToken(labels) = &item.labels else { return item.ids.clone() };
    let original = |(&id, &label): (&u32, &i32)| u32::try_from(label).unwrap_or(id);
    item.ids.iter().zip(labels).map(original).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{is_binomial, key, vocab};
    use super::*;

    fn item(n: usize) -> Item {
        let ids = [2].into_iter().chain((0..n).map(|at| 5 + (at as u32 * 7) % 92)).chain([3]).collect();
        Item { ids, ..Item::default() }
    }

    fn labels(item: &Item) -> &[i32] {
        let ItemLabels::PerToken(labels) = &item.labels else { panic!("labels of tokens") };
        labels
    }

    /// Words of one to three tokens.
    fn words(n: usize) -> Vec<Option<usize>> {
        let mut words = vec![None];
        let inner = (0..).flat_map(|word| std::iter::repeat_n(Some(word), 1 + word % 3)).take(n);
        words.extend(inner);
        words.push(None);
        words
    }

    const UNITS: [MaskUnit; 3] = [MaskUnit::Token, MaskUnit::Word, MaskUnit::SPANBERT];

    #[test]
    fn what_is_hidden_can_be_put_back_and_specials_stay() {
        let item = item(101);
        for unit in UNITS {
            for example in 0..50 {
                let config = MaskedLm { unit, ..MaskedLm::default() };
                let hidden = config.apply(&item, Some(&words(101)), &vocab(), key(example)).expect("hides");
                assert_eq!(unmask(&hidden), item.ids);
                let labels = labels(&hidden);
                assert_eq!((labels[0], labels[102]), (IGNORE, IGNORE));
                assert_eq!((hidden.ids[0], hidden.ids[102]), (2, 3));
                let n_hidden = labels.iter().filter(|&&label| label != IGNORE).count();
                // 15 % of 101 are 15; words of two or three may not fit the last place.
                assert!(
                    n_hidden == 15 || unit == MaskUnit::Word && (13..=15).contains(&n_hidden),
                    "{n_hidden}"
                );
                let changed =
                    (0..103).filter(|&at| hidden.ids[at] != item.ids[at] && labels[at] == IGNORE).count();
                assert_eq!(changed, 0);
            }
        }
    }

    #[test]
    fn four_fifths_become_the_mask_and_a_tenth_is_random() {
        let item = item(97);
        for unit in UNITS {
            let config = MaskedLm { unit, ..MaskedLm::default() };
            let (mut masked, mut kept, mut n) = (0, 0, 0);
            for example in 0..400 {
                let hidden = config.apply(&item, Some(&words(97)), &vocab(), key(example)).expect("hides");
                for (at, _) in labels(&hidden).iter().enumerate().filter(|(_, label)| **label != IGNORE) {
                    n += 1;
                    masked += usize::from(hidden.ids[at] == 4);
                    kept += usize::from(hidden.ids[at] == item.ids[at]);
                }
            }
            // A random token is the same one time in 92. Tokens of a span share their fate: wider bounds.
            let sigmas = if matches!(unit, MaskUnit::Span { .. }) { 4.0 * 2.5 } else { 4.0 };
            assert!(is_binomial(masked, n, 0.8, sigmas), "{unit:?} {masked} of {n}");
            assert!(is_binomial(kept, n, 0.1 + 0.1 / 92.0, sigmas), "{unit:?} {kept} of {n}");
        }
    }

    #[test]
    fn every_token_is_hidden_as_often_and_every_epoch_hides_others() {
        let item = item(20);
        let config = MaskedLm::default();
        let mut counts = [0_usize; 22];
        for example in 0..4000 {
            let hidden = config.apply(&item, None, &vocab(), key(example)).expect("hides");
            labels(&hidden)
                .iter()
                .zip(&mut counts)
                .for_each(|(l, count)| *count += usize::from(*l != IGNORE));
        }
        assert!(counts[1..21].iter().all(|&count| is_binomial(count, 4000, 0.15, 4.5)), "{counts:?}");
        let at_epoch =
            |epoch| config.apply(&item, None, &vocab(), ExampleKey { epoch, ..key(7) }).expect("hides");
        assert_eq!(at_epoch(0), at_epoch(0));
        assert!((1..9).any(|epoch| at_epoch(epoch).labels != at_epoch(0).labels));
    }

    #[test]
    fn words_are_hidden_whole() {
        let words = words(101);
        for example in 0..100 {
            let config = MaskedLm { unit: MaskUnit::Word, ..MaskedLm::default() };
            let hidden = config.apply(&item(101), Some(&words), &vocab(), key(example)).expect("hides");
            for (pair, word) in labels(&hidden).windows(2).zip(words.windows(2)) {
                if word[0] == word[1] {
                    assert_eq!(pair[0] == IGNORE, pair[1] == IGNORE);
                }
            }
        }
        // A text of one long word is hidden, though it is more than its share.
        let one = [None, Some(0), Some(0), Some(0), None];
        let config = MaskedLm { unit: MaskUnit::Word, ..MaskedLm::default() };
        let hidden = config.apply(&item(3), Some(&one), &vocab(), key(0)).expect("hides");
        assert_eq!(labels(&hidden).iter().filter(|&&label| label != IGNORE).count(), 3);
    }

    #[test]
    fn spans_have_the_lengths_of_a_cut_geometric_distribution() {
        // One span in a long text: its length is not cut by the budget or by others.
        let (p, max) = (0.2, 10);
        let weights = lengths(p, max);
        let total: f64 = weights.iter().sum();
        let mut counts = [0_usize; 10];
        let words: Vec<Range<usize>> = (0..4001).map(|at| at..at + 1).collect();
        let mut draws = Draws::new(3);
        let mut n = 0;
        for _ in 0..300 {
            let spans = choose_spans(&words, 40, &weights, &mut draws);
            // The last is cut where enough is hidden; that two of about ten touch is rare among 4001 words.
            for span in &spans[..spans.len() - 1] {
                counts[span.len() - 1] += 1;
                n += 1;
            }
        }
        // A span that would exceed the budget is the last one: short ones are seen a little too often, by less than 6 sigmas.
        for (count, weight) in counts.iter().zip(&weights).take(6) {
            assert!(is_binomial(*count, n, weight / total, 6.0), "{counts:?} of {n}");
        }
        let mean = counts.iter().zip(1..).map(|(count, len)| count * len).sum::<usize>() as f64 / n as f64;
        // SpanBERT states a mean of 3.8.
        assert!((3.2..4.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_span_has_one_fate() {
        let config = MaskedLm {
            unit: MaskUnit::Span { end: 0.01, max: 40 },
            random_share: 0.0,
            ..MaskedLm::default()
        };
        let item = item(101);
        let words = config.eligible(&item.ids, None, &vocab()).expect("no words are needed");
        let (mut n_masked, mut n_kept) = (0, 0);
        for example in 0..100 {
            let hidden = config.apply(&item, None, &vocab(), key(example)).expect("hides");
            // The same draws give the same spans.
            for span in config.choose(&words, &mut key(example).draws(purpose::HIDE)) {
                assert!(labels(&hidden)[span.clone()].iter().all(|&label| label != IGNORE));
                let masked = span.clone().filter(|&at| hidden.ids[at] == 4).count();
                assert!(masked == 0 || masked == span.len(), "{masked} of {span:?}");
                // A span of one token has one fate whatever is drawn.
                n_masked += usize::from(masked > 1);
                n_kept += usize::from(masked == 0 && span.len() > 1);
            }
        }
        assert!(n_masked > 50 && n_kept > 5, "{n_masked} {n_kept}");
    }

    #[test]
    fn impossible_shares_and_missing_words_are_errors() {
        let bad = MaskedLm {
            rate: f64::NAN,
            mask_share: 0.9,
            random_share: 0.2,
            unit: MaskUnit::Span { end: 2.0, max: 0 },
        };
        let error = bad.check().expect_err("four problems").to_string();
        for part in ["rate = NaN", "1.1", "unit.span.end = 2", "unit.span.max = 0"] {
            assert!(error.contains(part), "{part} not in {error}");
        }
        let span = |max| MaskedLm { unit: MaskUnit::Span { end: 0.2, max }, ..MaskedLm::default() };
        let error = span(usize::MAX).check().expect_err("too long").to_string();
        assert!(error.contains("expected 1 to 1000"), "{error}");
        assert!(span(1000).apply(&item(23), None, &vocab(), key(0)).is_ok());
        let config = MaskedLm { unit: MaskUnit::Word, ..MaskedLm::default() };
        assert!(config.apply(&item(3), None, &vocab(), key(0)).is_err());
        assert!(config.apply(&item(3), Some(&[None; 3]), &vocab(), key(0)).is_err());
        let specials = Item { ids: vec![2, 3], ..Item::default() };
        let nothing = MaskedLm::default().apply(&specials, None, &vocab(), key(0)).expect("nothing to hide");
        assert_eq!(labels(&nothing), [IGNORE, IGNORE]);
    }
}
