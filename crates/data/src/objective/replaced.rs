//! Replaced-token detection: a small generator fills hidden tokens in, and the model tells for each token whether it was
//! replaced.
//!
//! Reference: Clark et al., "ELECTRA", ICLR 2020, section 2. The generator learns from [`hide`](ReplacedTokens::hide), a masked
//! language model whose hidden tokens never become random; the discriminator from [`detect`], once the generator has
//! been sampled. A sampled token that is the original one counts as original.

use serde::{Deserialize, Serialize};

use super::masked::{MaskUnit, MaskedLm, unmask};
use super::{ExampleKey, MaskVocab};
use crate::{DataError, IGNORE, Item, ItemLabels};

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
    /// The generator's item, as [`MaskedLm::apply`].
    ///
    /// # Errors
    /// As [`MaskedLm::apply`].
    pub fn hide(
        &self,
        item: &Item,
        words: Option<&[Option<usize>]>,
        vocab: &MaskVocab,
        key: ExampleKey,
    ) -> Result<Item, DataError> {
        let Self { rate, mask_share, unit } = *self;
        MaskedLm { rate, mask_share, random_share: 0.0, unit }.apply(item, words, vocab, key)
    }
}

/// The discriminator's item: `sampled` tokens stand where tokens were hidden; the label is 1 where a token is not the
/// original one, else 0, for every token of the row.
///
/// `sampled` has one token for each token of the row; those where nothing was hidden are not read.
///
/// # Errors
/// If there is not one for each token, or nothing was hidden by labels of tokens.
///
/// ```
/// use locus_data::objective::replaced::detect;
/// use locus_data::{IGNORE, Item, ItemLabels};
/// # fn main() -> Result<(), locus_data::DataError> {
/// let labels = ItemLabels::PerToken(vec![IGNORE, 7, 8]);
/// let hidden = Item { ids: vec![2, 4, 4], labels, ..Default::default() };
/// let item = detect(&hidden, &[0, 7, 9])?;
/// assert_eq!(item.ids, [2, 7, 9]);
/// assert_eq!(item.labels, ItemLabels::PerToken(vec![0, 0, 1]));
/// # Ok(()) }
/// ```
pub fn detect(hidden: &Item, sampled: &[u32]) -> Result<Item, DataError> {
    let ItemLabels::PerToken(labels) = &hidden.labels else {
        return Err(DataError::Argument("expected an item whose hidden tokens are its labels".to_owned()));
    };
    if labels.len() != sampled.len() || labels.len() != hidden.ids.len() {
        let (expected, found) = (hidden.ids.len(), sampled.len());
        return Err(DataError::Argument(format!(
            "expected a sampled token for each of {expected} tokens, found {found}"
        )));
    }
    let original = unmask(hidden);
    let cells = original.iter().zip(labels).zip(sampled);
    let ids: Vec<u32> = cells.map(|((&id, &label), &new)| if label == IGNORE { id } else { new }).collect();
    let is_new = ids.iter().zip(&original).map(|(id, original)| i32::from(id != original)).collect();
    Ok(Item { ids, labels: ItemLabels::PerToken(is_new), ..hidden.clone() })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{key, vocab};
    use super::*;

    #[test]
    fn only_hidden_tokens_are_replaced_and_the_original_one_does_not_count() {
        let item = Item { ids: (5..45).collect(), ..Item::default() };
        let hidden = ReplacedTokens::default().hide(&item, None, &vocab(), key(1)).expect("hides");
        let ItemLabels::PerToken(labels) = &hidden.labels else { panic!("labels of tokens") };
        // The generator hits the original at even places.
        let sampled: Vec<u32> = (0..40).map(|at| if at % 2 == 0 { item.ids[at] } else { 96 }).collect();
        let found = detect(&hidden, &sampled).expect("as many");
        let ItemLabels::PerToken(is_new) = &found.labels else { panic!("labels of tokens") };
        for at in 0..40 {
            let expected = labels[at] != IGNORE && at % 2 == 1;
            assert_eq!(is_new[at] == 1, expected, "{at}");
            assert_eq!(found.ids[at] == item.ids[at], !expected, "{at}");
        }
        assert!(is_new.contains(&1), "{is_new:?}");
        assert!(detect(&hidden, &sampled[1..]).is_err() && detect(&item, &sampled).is_err());
        // Nothing becomes random.
        assert!(hidden.ids.iter().zip(&item.ids).all(|(new, old)| new == old || *new == 4));
    }
}
