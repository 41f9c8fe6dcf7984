//! A block of queries and the keys that it sees.

use std::ops::Range;

use crate::mask::MaskSpec;

/// How many queries a block has: few enough for its scores to stay in the cache, enough for a matrix product to pay.
pub(super) const QUERIES: usize = 64;

/// Queries of one row of the batch, and the keys of which at least one of them sees some.
pub(super) struct Tile<'a> {
    spec: &'a MaskSpec,
    pub(super) row: usize,
    pub(super) queries: Range<usize>,
    pub(super) keys: Range<usize>,
    blind: Vec<bool>,
}

impl<'a> Tile<'a> {
    pub(super) fn new(spec: &'a MaskSpec, row: usize, queries: Range<usize>) -> Self {
        let reach: Vec<Range<usize>> = queries.clone().map(|query| reach(spec, row, query)).collect();
        let blind: Vec<bool> = reach.iter().map(Range::is_empty).collect();
        // A query without any key weighs all alike, as under a softmax of equal scores.
        let keys = if blind.contains(&true) {
            0..spec.k_len
        } else {
            let start = reach.iter().map(|keys| keys.start).min().unwrap_or(0);
            start..reach.iter().map(|keys| keys.end).max().unwrap_or(0)
        };
        Self { spec, row, queries, keys, blind }
    }

    /// The blocks of a row of the batch.
    pub(super) fn of_row(spec: &'a MaskSpec, row: usize) -> impl Iterator<Item = Self> {
        (0..spec.q_len)
            .step_by(QUERIES)
            .map(move |first| Self::new(spec, row, first..(first + QUERIES).min(spec.q_len)))
    }

    /// Whether the block's query `idx` sees no key.
    pub(super) fn is_blind(&self, idx: usize) -> bool {
        self.blind[idx]
    }

    /// Sets the scores of the block's query `idx` to −∞ where it does not see the key.
    #[inline(always)]
    pub(super) fn hide(&self, idx: usize, scores: &mut [f32]) {
        let MaskSpec { k_len, .. } = *self.spec;
        let (query, keys) = (self.queries.start + idx, self.keys.clone());
        let column = |key: usize| key.clamp(keys.start, keys.end) - keys.start;
        let reach = self.spec.reach(self.row, query);
        let (seen, later) = scores.split_at_mut(column(reach.end));
        later.fill(f32::NEG_INFINITY);
        seen[..column(reach.start)].fill(f32::NEG_INFINITY);
        let mut only = |cells: &[bool]| {
            for (score, &keep) in seen.iter_mut().zip(cells) {
                *score = if keep { *score } else { f32::NEG_INFINITY };
            }
        };
        if let Some(keep) = &self.spec.keep {
            only(&keep[self.row * k_len..][keys.clone()]);
        }
        if let Some(visible) = &self.spec.visible {
            only(&visible[query * k_len..][keys]);
        }
    }
}

/// The keys from the first to the last that a query sees.
fn reach(spec: &MaskSpec, row: usize, query: usize) -> Range<usize> {
    let reach = spec.reach(row, query);
    if spec.keep.is_none() && spec.visible.is_none() {
        return reach;
    }
    let sees = |&key: &usize| spec.keeps(row, query, key);
    match (reach.clone().find(sees), reach.rev().find(sees)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    }
}
