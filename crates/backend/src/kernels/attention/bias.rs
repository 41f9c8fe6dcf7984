//! What is added to the scores, row by row.

use std::borrow::Cow;
use std::ops::Range;

use ndarray::{ArrayViewD, Axis};

/// A bias as rows of `width` cells, from which each query takes a window.
pub(super) enum Bias<'a> {
    /// Nothing.
    None,
    /// By head; the window slides with the query. The columns are turned round, so that it is read forwards.
    Toeplitz { cells: Vec<f32>, q_len: usize, k_len: usize },
    /// By row of the batch and head; all queries have the same window.
    Keys { cells: Cow<'a, [f32]>, rows: usize, k_len: usize },
    /// By row of the batch, head and query.
    Dense { cells: Cow<'a, [f32]>, rows: usize, q_len: usize, k_len: usize },
}

impl<'a> Bias<'a> {
    /// From `[heads, q + k − 1]`.
    pub(super) fn toeplitz(by_distance: &[f32], q_len: usize, k_len: usize) -> Self {
        Self::Toeplitz { cells: turn(by_distance, q_len + k_len - 1), q_len, k_len }
    }

    /// From `[rows, heads, k]`.
    pub(super) fn keys(cells: Cow<'a, [f32]>, rows: usize, k_len: usize) -> Self {
        Self::Keys { cells, rows, k_len }
    }

    /// From `[rows, heads, q, k]`.
    pub(super) fn dense(cells: Cow<'a, [f32]>, rows: usize, q_len: usize, k_len: usize) -> Self {
        Self::Dense { cells, rows, q_len, k_len }
    }

    /// How many cells a head has in its gradient.
    pub(super) fn cells_per_head(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Toeplitz { q_len, k_len, .. } => q_len + k_len - 1,
            Self::Keys { k_len, .. } => *k_len,
            Self::Dense { q_len, k_len, .. } => q_len * k_len,
        }
    }

    /// Where the cells of these keys lie among those of the head, for a query.
    pub(super) fn window(&self, query: usize, keys: &Range<usize>) -> Range<usize> {
        let first = match self {
            Self::None => return 0..0,
            // Key j reads column q − 1 − i + j of the turned row.
            Self::Toeplitz { q_len, .. } => q_len - 1 - query,
            Self::Keys { .. } => 0,
            Self::Dense { k_len, .. } => query * k_len,
        };
        first + keys.start..first + keys.end
    }

    /// What is added to a query's scores of these keys.
    pub(super) fn row(
        &self,
        row: usize,
        heads: usize,
        head: usize,
        query: usize,
        keys: &Range<usize>,
    ) -> &[f32] {
        let (cells, head) = match self {
            Self::None => return &[],
            Self::Toeplitz { cells, .. } => (&cells[..], head),
            Self::Keys { cells, rows, .. } | Self::Dense { cells, rows, .. } => {
                (&cells[..], row % rows * heads + head)
            }
        };
        &cells[head * self.cells_per_head()..][self.window(query, keys)]
    }

    /// The gradient in the bias's own shape from that of every row of the batch, `[batch, heads · cells_per_head]`.
    pub(super) fn gradient(&self, by_row: &[f32], shape: &[usize]) -> Vec<f32> {
        let sum_over_batch = |by_row: &[f32]| -> Vec<f32> {
            let n: usize = shape.iter().product();
            let by_row = ArrayViewD::from_shape(vec![by_row.len() / n.max(1), n], by_row);
            by_row.map(|rows| rows.sum_axis(Axis(0)).into_iter().collect()).unwrap_or_default()
        };
        match self {
            Self::None => Vec::new(),
            Self::Toeplitz { .. } => turn(&sum_over_batch(by_row), self.cells_per_head()),
            Self::Keys { .. } | Self::Dense { .. } => sum_over_batch(by_row),
        }
    }
}

/// Every row of `width` backwards.
fn turn(cells: &[f32], width: usize) -> Vec<f32> {
    cells.chunks(width).flat_map(|row| row.iter().rev().copied()).collect()
}
