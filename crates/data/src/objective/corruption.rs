//! Span corruption: spans of a text become sentinels, and the target is each sentinel with the tokens it stands for.
//!
//! ```text
//! text    thank you for inviting me to your party last week
//! source  thank you <extra_id_0> me to your party <extra_id_1> week </s>
//! target  <extra_id_0> for inviting <extra_id_1> last </s>
//! ```
//!
//! Reference: Raffel et al., "Exploring the limits of transfer learning", JMLR 2020, section 3.1.4, and
//! `random_spans_noise_mask` of their program: the number of hidden tokens and of spans is exact, lengths of spans and of
//! what lies between are random compositions, a text starts with shown tokens and ends with hidden ones.
//! *Differs*: no more spans than shown tokens, where a high density would ask for them; a density of at most 0.9.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::spans::true_runs;
use super::{ExampleKey, checked, label, purpose};
use crate::{DataError, Item, ItemLabels, Tokenizer};

/// How spans are hidden.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpanCorruption {
    /// The share of tokens that are hidden.
    pub density: f64,
    /// The mean number of tokens of a hidden span.
    pub mean_span: f64,
}

impl Default for SpanCorruption {
    fn default() -> Self {
        Self { density: 0.15, mean_span: 3.0 }
    }
}

/// The tokens around a corrupted text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptionVocab {
    /// What stands for the first span, the second …
    pub sentinels: Vec<u32>,
    /// What the decoder starts with: padding in T5.
    pub start: u32,
    /// The end of source and target.
    pub end: u32,
}

impl CorruptionVocab {
    /// The tokens of T5's tokenizers: `<extra_id_0>` and so on, `<pad>`, `</s>`.
    ///
    /// # Errors
    /// If there is no `<extra_id_0>`, no end or no padding.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let sentinels: Vec<u32> = (0..).map_while(|n| tokenizer.id(&format!("<extra_id_{n}>"))).collect();
        let specials = tokenizer.specials();
        let ends = specials.pad.zip(specials.eos);
        let (Some((start, end)), false) = (ends, sentinels.is_empty()) else {
            return Err(DataError::Argument(
                "span corruption needs sentinel tokens <extra_id_0>, <extra_id_1> …, padding and an end token; the \
                 tokenizer lacks some of them"
                    .to_owned(),
            ));
        };
        Ok(Self { sentinels, start, end })
    }
}

impl SpanCorruption {
    /// Checks the numbers.
    ///
    /// # Errors
    /// All that is out of range, in one error.
    pub fn check(&self) -> Result<(), DataError> {
        let mut problems = Vec::new();
        if !(self.density > 0.0 && self.density <= 0.9) {
            problems.push(format!("density = {}: expected more than 0, at most 0.9", self.density));
        }
        if !(self.mean_span >= 1.0 && self.mean_span.is_finite()) {
            problems.push(format!("mean_span = {}: expected at least 1", self.mean_span));
        }
        checked(problems)
    }

    /// How many tokens are hidden, and in how many spans, of a text of so many.
    fn counts(&self, n_tokens: usize) -> (usize, usize) {
        let n_tokens = n_tokens.max(2);
        // Halves go to the even number, as in NumPy.
        let n_hidden = (n_tokens as f64 * self.density).round_ties_even() as usize;
        let n_hidden = n_hidden.clamp(1, n_tokens - 1);
        let n_spans = (n_hidden as f64 / self.mean_span).round_ties_even() as usize;
        (n_hidden, n_spans.clamp(1, n_tokens - n_hidden))
    }

    /// The longest text whose source and target, sentinels and end token included, have at most `source_len` and
    /// `target_len` tokens, with no more than `n_sentinels` spans; and how many tokens its target has. A batch of such
    /// texts needs no padding. None where no text fits, or the numbers are out of range.
    ///
    /// ```
    /// use locus_data::objective::corruption::SpanCorruption;
    /// assert_eq!(SpanCorruption::default().text_len(512, 512, 100), Some((568, 114)));
    /// ```
    pub fn text_len(
        &self,
        source_len: usize,
        target_len: usize,
        n_sentinels: usize,
    ) -> Option<(usize, usize)> {
        self.check().ok()?;
        let mut longest = None;
        // As the text gets longer by a token, source, target and spans never get fewer.
        for n_tokens in 2.. {
            let (n_hidden, n_spans) = self.counts(n_tokens);
            let (source, target) = (n_tokens - n_hidden + n_spans + 1, n_hidden + n_spans + 1);
            if source > source_len || target > target_len || n_spans > n_sentinels {
                break;
            }
            longest = Some((n_tokens, target));
        }
        longest
    }

    /// Hides spans of a text's tokens. The target starts with the vocabulary's `start` on the decoder's side.
    ///
    /// # Errors
    /// If the numbers are out of range, the text is empty, or has more spans than there are sentinels.
    ///
    /// ```
    /// use locus_data::ItemLabels;
    /// use locus_data::objective::ExampleKey;
    /// use locus_data::objective::corruption::{CorruptionVocab, SpanCorruption};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let vocab = CorruptionVocab { sentinels: vec![99, 98], start: 0, end: 1 };
    /// let key = ExampleKey { seed: 1, epoch: 0, example: 0 };
    /// let item = SpanCorruption::default().apply(&[10, 11, 12, 13, 14], &vocab, key)?;
    /// let ItemLabels::Target { ids, labels } = &item.labels else { unreachable!() };
    /// assert_eq!(item.ids, [10, 11, 12, 13, 99, 1]);
    /// assert_eq!((&ids[..], &labels[..]), (&[0, 99, 14][..], &[99, 14, 1][..]));
    /// # Ok(()) }
    /// ```
    pub fn apply(&self, text: &[u32], vocab: &CorruptionVocab, key: ExampleKey) -> Result<Item, DataError> {
        self.check()?;
        if text.is_empty() {
            return Err(DataError::Argument("span corruption of a text without tokens".to_owned()));
        }
        let mut draws = key.draws(purpose::CORRUPT);
        let hidden = noise_mask(self.counts(text.len()), text.len(), &mut |cells| draws.shuffle(cells));
        let spans = true_runs(&hidden);
        if spans.len() > vocab.sentinels.len() {
            return Err(DataError::Argument(format!(
                "a text of {} tokens has {} hidden spans, but the tokenizer has {} sentinels; cut shorter texts",
                text.len(),
                spans.len(),
                vocab.sentinels.len()
            )));
        }
        let shown = between(&spans, text.len());
        let (mut ids, mut target) = (Vec::new(), vec![vocab.start]);
        for ((shown, span), &sentinel) in shown.iter().zip(&spans).zip(&vocab.sentinels) {
            ids.extend_from_slice(&text[shown.clone()]);
            ids.push(sentinel);
            target.push(sentinel);
            target.extend_from_slice(&text[span.clone()]);
        }
        ids.extend_from_slice(&text[spans.last().map_or(0, |span| span.end)..]);
        ids.push(vocab.end);
        let labels = target[1..].iter().copied().chain([vocab.end]).map(label).collect();
        Ok(Item { ids, labels: ItemLabels::Target { ids: target, labels }, ..Item::default() })
    }
}

/// What is shown ahead of each span.
fn between(spans: &[Range<usize>], len: usize) -> Vec<Range<usize>> {
    let starts = [0].into_iter().chain(spans.iter().map(|span| span.end));
    starts.zip(spans.iter().map(|span| span.start).chain([len])).map(|(start, end)| start..end).collect()
}

/// Which tokens are hidden; `shuffle` brings cells into a random order.
fn noise_mask(
    (n_hidden, n_spans): (usize, usize),
    len: usize,
    shuffle: &mut dyn FnMut(&mut [bool]),
) -> Vec<bool> {
    let n_shown = len.max(2) - n_hidden;
    let hidden = composition(n_hidden, n_spans, shuffle);
    let shown = composition(n_shown, n_spans, shuffle);
    let cells = shown.into_iter().zip(hidden).flat_map(|(shown, hidden)| {
        std::iter::repeat_n(false, shown).chain(std::iter::repeat_n(true, hidden))
    });
    // Of a single token only the first of two cells is there: it is shown.
    cells.take(len).collect()
}

/// `n` as a sum of `parts` numbers of at least 1, all of these equally likely.
fn composition(n: usize, parts: usize, shuffle: &mut dyn FnMut(&mut [bool])) -> Vec<usize> {
    let mut starts: Vec<bool> = (0..n - 1).map(|at| at + 1 < parts).collect();
    shuffle(&mut starts);
    let mut lens = vec![1];
    for is_start in starts {
        match lens.last_mut() {
            Some(last) if !is_start => *last += 1,
            _ => lens.push(1),
        }
    }
    lens
}

#[cfg(test)]
mod tests {
    use super::super::testing::{is_binomial, key};
    use super::*;

    fn vocab() -> CorruptionVocab {
        CorruptionVocab { sentinels: (0..100).map(|n| 1099 - n).collect(), start: 0, end: 1 }
    }

    fn target(item: &Item) -> (&[u32], &[i32]) {
        let ItemLabels::Target { ids, labels } = &item.labels else { panic!("a target") };
        (ids, labels)
    }

    #[test]
    fn the_mask_is_that_of_t5_for_the_same_draws() {
        // (length, density, mean span, how the starts of hidden and of shown segments are shuffled: rotated left by so
        // many, then hidden tokens), from NumPy by the reference's formulas.
        for (len, density, mean_span, turns, expected) in GOLDEN {
            let config = SpanCorruption { density, mean_span };
            let mut turns = turns.into_iter();
            let mut rotate = |cells: &mut [bool]| {
                let by = turns.next().expect("two segmentations");
                let len = cells.len().max(1);
                cells.rotate_left(by % len);
            };
            let mask = noise_mask(config.counts(len), len, &mut rotate);
            let hidden: Vec<usize> = (0..len).filter(|&at| mask[at]).collect();
            assert_eq!(hidden, expected, "{len} {density} {mean_span}");
        }
    }

    type Case = (usize, f64, f64, [usize; 2], &'static [usize]);

    /// Made by `oracle/span_corruption.py`.
    const GOLDEN: [Case; 9] = [
        (1, 0.15, 3.0, [0, 0], &[]),
        (2, 0.15, 3.0, [0, 0], &[1]),
        (7, 0.15, 3.0, [0, 0], &[6]),
        (23, 0.15, 3.0, [0, 5], &[20, 21, 22]),
        (30, 0.15, 3.0, [0, 0], &[26, 27, 28, 29]),
        (50, 0.15, 3.0, [3, 17], &[25, 26, 27, 28, 29, 31, 48, 49]),
        (
            50,
            0.50,
            3.0,
            [11, 7],
            &[
                18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 33, 35, 37, 39, 41, 43, 45, 46, 47,
                48, 49,
            ],
        ),
        (37, 0.30, 2.0, [4, 19], &[7, 9, 10, 11, 12, 13, 14, 16, 18, 20, 36]),
        (61, 0.15, 3.0, [5, 31], &[21, 22, 23, 24, 26, 57, 58, 59, 60]),
    ];

    #[test]
    fn source_and_target_give_the_text_back() {
        for (example, len) in [1, 2, 3, 5, 13, 101, 568].into_iter().enumerate() {
            let text: Vec<u32> = (0..len).map(|at| 10 + at).collect();
            let item = SpanCorruption::default().apply(&text, &vocab(), key(example as u64)).expect("hides");
            let (ids, labels) = target(&item);
            assert_eq!((ids[0], labels[labels.len() - 1]), (0, 1));
            assert_eq!(ids[1..].iter().map(|&id| id as i32).collect::<Vec<_>>(), labels[..labels.len() - 1]);
            assert_eq!(item.ids.last(), Some(&1));
            // Each sentinel of the source, replaced by what follows it in the target.
            let mut back = Vec::new();
            for &id in &item.ids[..item.ids.len() - 1] {
                if id < 1000 {
                    back.push(id);
                    continue;
                }
                let at = ids.iter().position(|&other| other == id).expect("in the target");
                back.extend(ids[at + 1..].iter().take_while(|&&id| id < 1000));
            }
            assert_eq!(back, text);
            let sentinels: Vec<u32> = item.ids.iter().copied().filter(|&id| id >= 1000).collect();
            let in_target: Vec<u32> = ids.iter().copied().filter(|&id| id >= 1000).collect();
            assert_eq!(sentinels, in_target);
            assert!(sentinels.iter().zip(&vocab().sentinels).all(|(a, b)| a == b));
        }
    }

    #[test]
    fn lengths_of_t5_fill_rows_exactly() {
        let config = SpanCorruption::default();
        let (len, target_len) = config.text_len(512, 512, 100).expect("long enough");
        let text = vec![7; len];
        for example in 0..20 {
            let item = config.apply(&text, &vocab(), key(example)).expect("hides");
            assert_eq!((item.ids.len(), target(&item).0.len()), (512, target_len));
        }
        assert_eq!(config.text_len(2, 512, 100), None);
    }

    #[test]
    fn texts_fit_source_target_and_sentinels() {
        let config = SpanCorruption::default();
        // A row of 4096 has room for more spans than there are sentinels.
        let (len, _) = config.text_len(4096, 4096, 100).expect("long enough");
        assert_eq!((config.counts(len).1, config.counts(len + 1).1), (100, 101));
        assert!(config.apply(&vec![7; len], &vocab(), key(0)).is_ok());
        assert!(config.apply(&vec![7; len + 1], &vocab(), key(0)).is_err());
        let (len, target_len) = config.text_len(512, 37, 100).expect("long enough");
        let (n_hidden, n_spans) = config.counts(len + 1);
        assert!(target_len <= 37 && n_hidden + n_spans + 1 > 37, "{len} {target_len}");
        // However dense, the walk ends where a row is full.
        for (density, mean_span) in [(0.9, 1.0), (0.9, 1e9), (0.5, 1.0), (1e-9, 1.0)] {
            let config = SpanCorruption { density, mean_span };
            let (len, target_len) = config.text_len(101, 103, 100).expect("long enough");
            let item = config.apply(&vec![7; len], &vocab(), key(0)).expect("hides");
            assert!(item.ids.len() <= 101 && target(&item).0.len() == target_len, "{density} {mean_span}");
            assert!(target_len <= 103);
        }
        assert_eq!(SpanCorruption { density: 1.0, mean_span: 3.0 }.text_len(512, 512, 100), None);
    }

    #[test]
    fn every_token_is_hidden_as_often_but_for_the_ends() {
        let mut counts = [0_usize; 40];
        let config = SpanCorruption { density: 0.25, mean_span: 2.0 };
        for example in 0..4000 {
            let mut draws = key(example).draws(purpose::CORRUPT);
            let mask = noise_mask(config.counts(40), 40, &mut |cells| draws.shuffle(cells));
            assert_eq!(mask.iter().filter(|&&hidden| hidden).count(), 10);
            assert_eq!(true_runs(&mask).len(), 5);
            mask.iter().zip(&mut counts).for_each(|(hidden, count)| *count += usize::from(*hidden));
        }
        // The text starts with a shown token and ends with a hidden one, always.
        assert_eq!((counts[0], counts[39]), (0, 4000));
        // In the middle the share is the density, up to the pull of the ends.
        assert!(counts[12..28].iter().all(|&count| is_binomial(count, 4000, 0.25, 8.0)), "{counts:?}");
        let mean_len = composition(10, 5, &mut |_| ());
        assert_eq!(mean_len, [1, 1, 1, 1, 6]);
    }

    #[test]
    fn what_cannot_be_done_is_an_error() {
        let error =
            SpanCorruption { density: 0.95, mean_span: f64::NAN }.check().expect_err("both").to_string();
        assert!(error.contains("density = 0.95") && error.contains("mean_span = NaN"), "{error}");
        let few = CorruptionVocab { sentinels: vec![99], ..vocab() };
        let error =
            SpanCorruption::default().apply(&[5; 101], &few, key(0)).expect_err("5 spans").to_string();
        assert!(error.contains("5 hidden spans, but the tokenizer has 1 sentinels"), "{error}");
        assert!(SpanCorruption::default().apply(&[], &vocab(), key(0)).is_err());
        let dense = SpanCorruption { density: 0.9, mean_span: 1.0 };
        assert_eq!(target(&dense.apply(&[5; 10], &vocab(), key(0)).expect("one span")).0.len(), 11);
    }
}
