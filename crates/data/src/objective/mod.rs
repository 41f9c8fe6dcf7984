//! What a model learns from plain text: pure functions from tokens to an [`Item`](crate::Item).
//!
//! | objective | for | what it makes |
//! |---|---|---|
//! | [`packed`] | decoders | rows of whole documents, each token predicted from those before it in its document |
//! | [`prefix`] | prefix language models | a start that is read in both directions, and the rest to predict |
//! | [`masked`] | encoders | tokens, words or spans hidden |
//! | [`replaced`] | discriminators with generators | tokens hidden, and where a generator's are drawn |
//! | [`sentences`] | encoders | pairs of segments: in order or swapped, following or not |
//! | [`corruption`] | encoder–decoders | spans replaced by sentinels, and the spans |
//! | [`denoising`] | encoder–decoders | a damaged text, and the whole text |
//!
//! What is drawn is a function of [`ExampleKey`] alone: of the run's seed, the epoch and the number of the example. Every
//! epoch hides other tokens, and a run that goes on after a break hides what it would have hidden.

pub mod corruption;
pub mod denoising;
#[cfg(feature = "jieba")]
pub mod jieba;
pub mod masked;
pub mod packed;
pub mod prefix;
pub mod replaced;
pub mod sentences;
mod spans;
pub mod words;

use crate::random::{Draws, derive};
use crate::{DataError, Tokenizer};

/// Which example of which epoch of which run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExampleKey {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The number of the example in its set, wherever in the epoch it comes.
    pub example: u64,
}

impl ExampleKey {
    /// What an objective draws for the example; each purpose has a stream of its own.
    pub(crate) fn draws(self, purpose: u64) -> Draws {
        Draws::new(derive(derive(derive(self.seed, self.epoch), self.example), purpose))
    }
}

/// The purposes of draws.
mod purpose {
    pub(super) const HIDE: u64 = 0;
    pub(super) const SHOW: u64 = 1;
    pub(super) const CORRUPT: u64 = 2;
    pub(super) const SENTENCES: u64 = 3;
    pub(super) const INFILL: u64 = 4;
    pub(super) const DELETE: u64 = 5;
    pub(super) const ROTATE: u64 = 6;
    pub(super) const SPLIT: u64 = 7;
    pub(super) const PAIR: u64 = 8;
    pub(super) const SAMPLE: u64 = 9;
}

/// What hiding needs to know of a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskVocab {
    /// What stands for a hidden token.
    pub mask_id: u32,
    /// The tokens that are no special tokens, ascending: only these are hidden, and only these are put at random.
    ordinary: Vec<u32>,
}

impl MaskVocab {
    /// The vocabulary of a tokenizer.
    ///
    /// # Errors
    /// If it has no mask token, or no token that is not special.
    ///
    /// ```
    /// use locus_data::objective::MaskVocab;
    /// use locus_data::{Tokenizer, TokenizerKind};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let tokenizer = Tokenizer::train(TokenizerKind::Word, 50, true, ["a b"])?;
    /// let vocab = MaskVocab::of(&tokenizer)?;
    /// assert!(vocab.is_ordinary(7) && !vocab.is_ordinary(vocab.mask_id));
    /// # Ok(()) }
    /// ```
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let Some(mask_id) = tokenizer.specials().mask else {
            return Err(DataError::Argument(
                "the tokenizer has no mask token (such as [MASK] or <mask>), which hiding tokens needs; train one \
                 here, or name it as mask_token in special_tokens_map.json beside the tokenizer"
                    .to_owned(),
            ));
        };
        let is_ordinary = |id: &u32| !tokenizer.is_special(*id) && tokenizer.token(*id).is_some();
        let ordinary = (0..tokenizer.vocab_size() as u32).filter(is_ordinary);
        Self::new(mask_id, ordinary.collect())
    }

    /// A vocabulary of these tokens, in any order; the mask is none of them.
    ///
    /// # Errors
    /// If there are none.
    pub fn new(mask_id: u32, mut ordinary: Vec<u32>) -> Result<Self, DataError> {
        ordinary.retain(|&id| id != mask_id);
        ordinary.sort_unstable();
        ordinary.dedup();
        if ordinary.is_empty() {
            let message = "every token of the vocabulary is special: there is nothing to hide";
            return Err(DataError::Argument(message.to_owned()));
        }
        Ok(Self { mask_id, ordinary })
    }

    /// Whether a token is of text, not of the frame around it.
    pub fn is_ordinary(&self, id: u32) -> bool {
        self.ordinary.binary_search(&id).is_ok()
    }

    fn random(&self, draws: &mut Draws) -> u32 {
        self.ordinary[draws.below(self.ordinary.len())]
    }
}

/// The label that predicts a token.
fn label(id: u32) -> i32 {
    i32::try_from(id).unwrap_or(crate::IGNORE)
}

/// The problems of a configuration, together.
fn checked(problems: Vec<String>) -> Result<(), DataError> {
    if problems.is_empty() { Ok(()) } else { Err(DataError::Argument(problems.join("; "))) }
}

/// A problem where a share is not in `0..=1`; NaN is in no range.
fn share(problems: &mut Vec<String>, key: &str, value: f64) {
    if !(0.0..=1.0).contains(&value) {
        problems.push(format!("{key} = {value}: expected a share between 0 and 1"));
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// Tokens 5 to 96, mask 4; 0 to 3 are special.
    pub(super) fn vocab() -> MaskVocab {
        MaskVocab::new(4, (4..97).collect()).expect("ordinary tokens")
    }

    pub(super) fn key(example: u64) -> ExampleKey {
        ExampleKey { seed: 11, epoch: 2, example }
    }

    /// Whether a count lies within `sigmas` standard deviations of a binomial distribution.
    pub(super) fn is_binomial(count: usize, n: usize, p: f64, sigmas: f64) -> bool {
        let (mean, deviation) = (n as f64 * p, (n as f64 * p * (1.0 - p)).sqrt());
        (count as f64 - mean).abs() <= sigmas * deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_key_and_every_purpose_has_its_own_draws() {
        let key = ExampleKey { seed: 1, epoch: 2, example: 3 };
        let first = |key: ExampleKey, purpose| key.draws(purpose).number();
        let mut seen = vec![
            first(key, 0),
            first(key, 1),
            first(ExampleKey { seed: 2, ..key }, 0),
            first(ExampleKey { epoch: 3, ..key }, 0),
            first(ExampleKey { example: 2, ..key }, 0),
            first(ExampleKey { epoch: 3, example: 2, ..key }, 0),
        ];
        assert_eq!(first(key, 0), seen[0]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn a_vocabulary_without_mask_or_words_is_refused() {
        assert!(MaskVocab::new(4, vec![4, 4]).is_err());
        let tokenizer = Tokenizer::train(crate::TokenizerKind::Word, 50, true, ["a b"]).expect("trains");
        let vocab = MaskVocab::of(&tokenizer).expect("has a mask");
        assert_eq!(vocab.ordinary, [7, 8]);
    }
}
