//! Prefix language modelling: the start of a text is read in both directions, the rest is predicted token by token.
//!
//! Reference: Raffel et al., "Exploring the limits of transfer learning", JMLR 2020, section 3.2.1: a random split, and an
//! attention mask that is full over the prefix and causal after it.

use serde::{Deserialize, Serialize};

use super::{ExampleKey, checked, label, purpose, share};
use crate::{DataError, IGNORE, Item, ItemLabels};

/// Where texts are split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrefixLm {
    /// The shortest prefix, as a share of the text.
    pub shortest: f64,
    /// The longest prefix, as a share of the text.
    pub longest: f64,
}

impl Default for PrefixLm {
    fn default() -> Self {
        Self { shortest: 0.0, longest: 1.0 }
    }
}

impl PrefixLm {
    /// Checks the shares.
    ///
    /// # Errors
    /// All that is out of range, in one error.
    pub fn check(&self) -> Result<(), DataError> {
        let mut problems = Vec::new();
        share(&mut problems, "shortest", self.shortest);
        share(&mut problems, "longest", self.longest);
        if self.shortest > self.longest {
            problems.push(format!("shortest = {} is more than longest = {}", self.shortest, self.longest));
        }
        checked(problems)
    }

    /// Splits a text: every length of the prefix between the limits is equally likely; it has at least one token, and at least
    /// one is left to predict. The last token is a label only.
    ///
    /// # Errors
    /// If the shares are out of range, or the text has fewer than two tokens.
    ///
    /// ```
    /// use locus_data::objective::ExampleKey;
    /// use locus_data::objective::prefix::PrefixLm;
    /// use locus_data::{IGNORE, ItemLabels};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let half = PrefixLm { shortest: 0.5, longest: 0.5 };
    /// let item = half.apply(&[10, 11, 12, 13], ExampleKey { seed: 1, epoch: 0, example: 0 })?;
    /// assert_eq!((&item.ids[..], item.prefix), (&[10, 11, 12][..], Some(2)));
    /// assert_eq!(item.labels, ItemLabels::PerToken(vec![IGNORE, 12, 13]));
    /// # Ok(()) }
    /// ```
    pub fn apply(&self, text: &[u32], key: ExampleKey) -> Result<Item, DataError> {
        self.check()?;
        let Some(last) = text.len().checked_sub(1).filter(|&last| last > 0) else {
            let message = format!("a prefix needs a text of at least two tokens, found {}", text.len());
            return Err(DataError::Argument(message));
        };
        let at = |share: f64| ((text.len() as f64 * share).round() as usize).clamp(1, last);
        let (shortest, longest) = (at(self.shortest), at(self.longest));
        let prefix = shortest + key.draws(purpose::SPLIT).below(longest - shortest + 1);
        // The token at `prefix` is the first that is predicted, from the last of the prefix.
        let next = text[1..].iter().zip(1..);
        let labels = next.map(|(&id, at)| if at < prefix { IGNORE } else { label(id) }).collect();
        Ok(Item {
            ids: text[..last].to_vec(),
            prefix: Some(prefix),
            labels: ItemLabels::PerToken(labels),
            ..Item::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{is_binomial, key};
    use super::*;

    #[test]
    fn every_split_is_as_likely_and_labels_start_after_it() {
        let text: Vec<u32> = (10..17).collect();
        let mut counts = [0_usize; 8];
        for example in 0..6000 {
            let item = PrefixLm::default().apply(&text, key(example)).expect("long enough");
            let prefix = item.prefix.expect("a prefix");
            counts[prefix] += 1;
            let ItemLabels::PerToken(labels) = &item.labels else { panic!("labels of tokens") };
            assert_eq!(item.ids, text[..6]);
            for (at, &label) in labels.iter().enumerate() {
                assert_eq!(label, if at + 1 < prefix { IGNORE } else { text[at + 1] as i32 });
            }
        }
        assert_eq!((counts[0], counts[7]), (0, 0));
        assert!(counts[1..7].iter().all(|&count| is_binomial(count, 6000, 1.0 / 6.0, 4.5)), "{counts:?}");
    }

    #[test]
    fn what_cannot_be_split_is_an_error() {
        assert!(PrefixLm::default().apply(&[1], key(0)).is_err());
        assert_eq!(PrefixLm::default().apply(&[1, 2], key(0)).expect("one split").prefix, Some(1));
        assert!(PrefixLm { shortest: 0.7, longest: 0.2 }.check().is_err());
        assert!(PrefixLm { shortest: f64::NAN, longest: 1.0 }.check().is_err());
    }
}
