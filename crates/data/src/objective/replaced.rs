//! Replaced-token detection: a small generator fills hidden tokens in, and the model tells for each token whether it was
//! replaced.
//!
//! Reference: Clark et al., "ELECTRA", ICLR 2020, section 2 (arXiv:2003.10555). The generator is a masked language model whose
//! hidden tokens never become random. What it puts in their places is drawn from what it says when the item is learned, so an
//! item has no token to put there, but for each place the quantile at which the token is drawn.

use serde::{Deserialize, Serialize};

use super::masked::{MaskUnit, MaskedLm};
use super::{ExampleKey, MaskVocab, purpose};
use crate::{DataError, Item, ItemLabels};

/// How the generator's tokens are hidden.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplacedTokens {
    /// The share of tokens that are hidden: 0.15 in ELECTRA, 0.25 for its large model.
    pub rate: f64,
    /// The share of hidden tokens that become the mask: 0.85 in ELECTRA's program; the rest stays.
    pub mask_share: f64,
    /// What is hidden together.
    pub unit: MaskUnit,
}

impl Default for ReplacedTokens {
    fn default() -> Self {
        Self { rate: 0.15, mask_share: 0.85, unit: MaskUnit::Token }
    }
}

impl ReplacedTokens {
    /// Checks the shares.
    ///
    /// # Errors
    /// All that is out of range, in one error.
    pub fn check(&self) -> Result<(), DataError> {
        self.hiding().check()
    }

    /// Hides tokens as [`MaskedLm::apply`] does. The labels are the hidden tokens where they stood, [`IGNORE`](crate::IGNORE)
    /// elsewhere, and for every token of the item a quantile (0 or more, below 1), those where nothing was hidden included.
    ///
    /// # Errors
    /// As [`MaskedLm::apply`].
    ///
    /// ```
    /// use locus_data::objective::replaced::ReplacedTokens;
    /// use locus_data::objective::{ExampleKey, MaskVocab};
    /// use locus_data::{IGNORE, Item, ItemLabels};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let vocab = MaskVocab::new(4, (5..50).collect())?;
    /// let item = Item { ids: vec![2, 30, 31, 32, 33, 34, 35, 36, 3], ..Default::default() };
    /// let key = ExampleKey { seed: 1, epoch: 0, example: 0 };
    /// let hidden = ReplacedTokens::default().apply(&item, None, &vocab, key)?;
    /// let ItemLabels::Replaced { labels, quantiles } = &hidden.labels else { unreachable!() };
    /// assert_eq!(labels.iter().filter(|&&label| label != IGNORE).count(), 1); // 15 % of 7
    /// assert!(quantiles.len() == 9 && quantiles.iter().all(|at| (0.0..1.0).contains(at)));
    /// # Ok(()) }
    /// ```
    pub fn apply(
        &self,
        item: &Item,
        words: Option<&[Option<usize>]>,
        vocab: &MaskVocab,
        key: ExampleKey,
    ) -> Result<Item, DataError> {
        let hidden = self.hiding().apply(item, words, vocab, key)?;
        let ItemLabels::PerToken(labels) = hidden.labels else {
            return Err(DataError::Argument(
                "expected an item whose hidden tokens are its labels".to_owned(),
            ));
        };
        let mut draws = key.draws(purpose::SAMPLE);
        let quantiles = labels.iter().map(|_| draws.uniform()).collect();
        Ok(Item { labels: ItemLabels::Replaced { labels, quantiles }, ..hidden })
    }

    fn hiding(&self) -> MaskedLm {
        let Self { rate, mask_share, unit } = *self;
        MaskedLm { rate, mask_share, random_share: 0.0, unit }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{is_binomial, key, vocab};
    use super::*;
    use crate::IGNORE;

    fn parts(item: &Item) -> (&[i32], &[f64]) {
        let ItemLabels::Replaced { labels, quantiles } = &item.labels else { panic!("{:?}", item.labels) };
        (labels, quantiles)
    }

    #[test]
    fn tokens_become_the_mask_or_stay() {
        let item = Item { ids: (5..97).collect(), ..Item::default() };
        let (mut n_hidden, mut n_masked) = (0, 0);
        for example in 0..200 {
            let hidden = ReplacedTokens::default().apply(&item, None, &vocab(), key(example)).expect("hides");
            let (labels, quantiles) = parts(&hidden);
            assert_eq!((labels.len(), quantiles.len()), (92, 92));
            for ((&new, &old), &label) in hidden.ids.iter().zip(&item.ids).zip(labels) {
                assert!(new == old || new == 4, "nothing becomes random");
                assert!(if label == IGNORE { new == old } else { label == old as i32 });
                n_hidden += usize::from(label != IGNORE);
                n_masked += usize::from(new == 4);
            }
        }
        // 15 % of 92 are 14.
        assert_eq!(n_hidden, 200 * 14);
        assert!(is_binomial(n_masked, n_hidden, 0.85, 4.0), "{n_masked} of {n_hidden}");
    }

    #[test]
    fn quantiles_are_uniform_and_a_function_of_the_key() {
        let item = Item { ids: (5..45).collect(), ..Item::default() };
        let of = |key| {
            let hidden = ReplacedTokens::default().apply(&item, None, &vocab(), key).expect("hides");
            parts(&hidden).1.to_vec()
        };
        assert_eq!(of(key(3)), of(key(3)));
        for other in [key(4), ExampleKey { epoch: 9, ..key(3) }, ExampleKey { seed: 12, ..key(3) }] {
            assert!(of(other).iter().zip(of(key(3))).all(|(a, b)| *a != b));
        }
        let all: Vec<f64> = (0..250).flat_map(|example| of(key(example))).collect();
        let below = |at: f64| all.iter().filter(|quantile| **quantile < at).count();
        for at in [0.1, 0.5, 0.9] {
            assert!(is_binomial(below(at), all.len(), at, 4.0), "{} below {at}", below(at));
        }
    }

    #[test]
    fn impossible_shares_are_errors() {
        let bad = ReplacedTokens { rate: 2.0, mask_share: -1.0, ..ReplacedTokens::default() };
        let error = bad.check().expect_err("two problems").to_string();
        assert!(error.contains("rate = 2") && error.contains("mask_share = -1"), "{error}");
        assert!(bad.apply(&Item::default(), None, &vocab(), key(0)).is_err());
    }
}
