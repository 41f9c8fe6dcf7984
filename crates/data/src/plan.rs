//! Which items share a batch, as a pure function of (seed, epoch): any step of any epoch can be sought, so an interrupted
//! run goes on with the batches it would have had.
//!
//! Items of like length share a batch, so that little is padded: lengths are rounded up to a quantum, items permuted,
//! then sorted stably by rounded length, cut into batches, and the order of the batches permuted. The cuts depend on
//! rounded lengths only, so every epoch has the same number of batches.

use crate::{DataError, IGNORE, Item, ItemLabels, random};

/// The sub-streams of one epoch.
const ITEMS: u64 = 0;
const BATCHES: u64 = 1;

/// Limits of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// At most this many items.
    pub items: usize,
    /// At most this many tokens, padding included; one item alone may exceed it.
    pub tokens: Option<usize>,
    /// Lengths are rounded up to a multiple of this before items are grouped.
    pub quantum: usize,
}

impl BatchLimits {
    /// At most `items` items in a batch, lengths grouped by 8.
    pub fn items(items: usize) -> Self {
        Self { items, tokens: None, quantum: 8 }
    }
}

/// The batches of every epoch.
#[derive(Debug, Clone)]
pub struct BatchPlan {
    /// Rounded length of each item.
    rounded: Vec<usize>,
    /// Start of each batch in the visiting order, and the total at the end.
    cuts: Vec<usize>,
    seed: u64,
}

impl BatchPlan {
    /// A plan over items of these lengths; the seed decides the order of every epoch.
    ///
    /// # Errors
    /// If a limit is 0.
    ///
    /// ```
    /// use locus_data::plan::{BatchLimits, BatchPlan};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let plan = BatchPlan::new(&[3, 9, 4, 30, 31], BatchLimits::items(2), 7)?;
    /// assert_eq!(plan.n_batches(), 3);
    /// assert_eq!(plan.batches(5), plan.batches(5));
    /// # Ok(()) }
    /// ```
    pub fn new(lengths: &[usize], limits: BatchLimits, seed: u64) -> Result<Self, DataError> {
        if limits.items == 0 || limits.tokens == Some(0) || limits.quantum == 0 {
            return Err(DataError::Argument(format!(
                "batch limits must be at least 1, found items = {}, tokens = {:?}, quantum = {}",
                limits.items, limits.tokens, limits.quantum
            )));
        }
        let rounded: Vec<usize> =
            lengths.iter().map(|len| len.max(&1).next_multiple_of(limits.quantum)).collect();
        let mut plan = Self { rounded, cuts: Vec::new(), seed };
        plan.cuts = cuts(plan.visit(0).iter().map(|&item| plan.rounded[item]), limits);
        Ok(plan)
    }

    /// How many batches each epoch has.
    pub fn n_batches(&self) -> usize {
        self.cuts.len() - 1
    }

    /// How many items each epoch visits: all of them.
    pub fn n_items(&self) -> usize {
        self.rounded.len()
    }

    /// The items of every batch of `epoch`; every item exactly once.
    pub fn batches(&self, epoch: usize) -> Vec<Vec<usize>> {
        let visit = self.visit(epoch);
        let batch = |at: usize| visit[self.cuts[at]..self.cuts[at + 1]].to_vec();
        random::permutation(stream(self.seed, epoch, BATCHES), self.n_batches())
            .into_iter()
            .map(batch)
            .collect()
    }

    /// The items in the order in which they are cut into batches.
    fn visit(&self, epoch: usize) -> Vec<usize> {
        let mut items: Vec<usize> = random::permutation(stream(self.seed, epoch, ITEMS), self.n_items());
        items.sort_by_key(|&item| std::cmp::Reverse(self.rounded[item]));
        items
    }
}

/// Consecutive blocks of `seq` tokens with the next token as label, for language modelling.
///
/// Every token but the first is a label exactly once. The last block is shorter and is padded by [`crate::collate`].
///
/// # Panics
/// If `seq` is 0.
pub fn lm_blocks(tokens: &[u32], seq: usize) -> Vec<Item> {
    assert!(seq > 0, "a block needs at least one token");
    let n_inputs = tokens.len().saturating_sub(1);
    (0..n_inputs)
        .step_by(seq)
        .map(|start| {
            let end = (start + seq).min(n_inputs);
            let labels =
                tokens[start + 1..=end].iter().map(|&id| i32::try_from(id).unwrap_or(IGNORE)).collect();
            Item { ids: tokens[start..end].to_vec(), labels: ItemLabels::PerToken(labels), ..Item::default() }
        })
        .collect()
}

/// The seed of one purpose in one epoch.
fn stream(seed: u64, epoch: usize, purpose: u64) -> u64 {
    random::derive(random::derive(seed, epoch as u64), purpose)
}

/// Where batches start in a visiting order of items with these rounded lengths.
fn cuts(lengths: impl Iterator<Item = usize>, limits: BatchLimits) -> Vec<usize> {
    let mut cuts = vec![0];
    let (mut items, mut longest, mut total) = (0, 0, 0);
    for len in lengths {
        let width = longest.max(len);
        let over = limits.tokens.is_some_and(|tokens| (items + 1) * width > tokens);
        if items > 0 && (items == limits.items || over) {
            cuts.push(total);
            (items, longest) = (0, 0);
        }
        items += 1;
        total += 1;
        longest = longest.max(len);
    }
    if total > 0 {
        cuts.push(total);
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> Vec<usize> {
        (0..101).map(|at| 1 + random::below(1, at, 60)).collect()
    }

    fn shuffled(seed: u64) -> BatchPlan {
        let limits = BatchLimits { items: 7, tokens: Some(150), quantum: 8 };
        BatchPlan::new(&lengths(), limits, seed).expect("valid limits")
    }

    #[test]
    fn every_item_comes_once_in_every_epoch() {
        let plan = shuffled(5);
        for epoch in 0..4 {
            let batches = plan.batches(epoch);
            assert_eq!(batches.len(), plan.n_batches());
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..101).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_epoch_is_a_function_of_seed_and_number() {
        assert_eq!(shuffled(5).batches(3), shuffled(5).batches(3));
        assert_ne!(shuffled(5).batches(3), shuffled(5).batches(4));
        assert_ne!(shuffled(5).batches(3), shuffled(6).batches(3));
    }

    #[test]
    fn batches_keep_within_their_limits_and_pad_little() {
        let lengths = lengths();
        let (mut padded, mut real) = (0, 0);
        for batch in shuffled(5).batches(1) {
            let width = batch.iter().map(|&item| lengths[item]).max().expect("not empty");
            assert!(batch.len() <= 7 && batch.len() * width <= 150, "{batch:?}");
            padded += batch.len() * width;
            real += batch.iter().map(|&item| lengths[item]).sum::<usize>();
        }
        // Unsorted batches of 7 from these lengths pad about 40 %.
        assert!((padded - real) * 100 < real * 20, "{padded} for {real}");
    }

    #[test]
    fn no_items_are_no_batches_and_a_zero_limit_is_an_error() {
        let plan = BatchPlan::new(&[], BatchLimits::items(2), 1).expect("valid limits");
        assert!(plan.batches(0).is_empty());
        assert!(BatchPlan::new(&[3], BatchLimits::items(0), 1).is_err());
    }

    #[test]
    fn an_item_over_the_token_limit_gets_its_own_batch() {
        let limits = BatchLimits { items: 4, tokens: Some(10), quantum: 1 };
        let plan = BatchPlan::new(&[3, 30, 3], limits, 1).expect("valid limits");
        let mut batches = plan.batches(0);
        batches.iter_mut().for_each(|batch| batch.sort_unstable());
        batches.sort();
        assert_eq!(batches, [vec![0, 2], vec![1]]);
    }

    #[test]
    fn blocks_predict_every_token_but_the_first_once() {
        let tokens: Vec<u32> = (10..21).collect();
        let blocks = lm_blocks(&tokens, 4);
        let lens: Vec<usize> = blocks.iter().map(|block| block.ids.len()).collect();
        assert_eq!(lens, [4, 4, 2]);
        let labels: Vec<i32> = blocks
            .iter()
            .flat_map(|block| match &block.labels {
                ItemLabels::PerToken(labels) => labels.clone(),
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(labels, (11..21).collect::<Vec<_>>());
        assert_eq!(blocks[2].ids, [18, 19]);
        assert!(lm_blocks(&[1], 4).is_empty() && lm_blocks(&[], 4).is_empty());
    }
}
