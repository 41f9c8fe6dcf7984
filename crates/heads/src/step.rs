//! What the batches of a step need to know of each other.

use locus_backend::ops::IGNORE;
use locus_embedding::Tokens;

use crate::tag::count_tokens;
use crate::{Labels, TaskBatch};

/// Notes in every batch of a step how many tokens the step has for each hidden one. Labels of other kinds stay as they are.
pub(crate) fn join(batches: &mut [TaskBatch]) {
    let of_batch = |batch: &TaskBatch| match &batch.labels {
        Labels::Replaced { labels, .. } => (count_tokens(batch), hidden_places(&batch.tokens, labels).len()),
        _ => (0, 0),
    };
    let (n_tokens, n_hidden) =
        batches.iter().map(of_batch).fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
    for batch in batches {
        if let Labels::Replaced { tokens_per_hidden, .. } = &mut batch.labels {
            *tokens_per_hidden = Some(n_tokens as f64 / n_hidden.max(1) as f64);
        }
    }
}

/// The real tokens that are hidden, counted through the rows.
pub(crate) fn hidden_places(tokens: &Tokens, labels: &[i32]) -> Vec<usize> {
    let places = tokens.keep.iter().zip(labels).enumerate();
    places.filter(|(_, (keep, label))| **keep && **label != IGNORE).map(|(place, _)| place).collect()
}
