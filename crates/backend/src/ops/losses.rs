//! Losses beside cross-entropy over classes: every cell a yes or no of its own, and numbers.

use burn::tensor::{Tensor, backend::Backend};

use super::IGNORE;
use crate::reference;

/// Which cells of the logits should have said yes, on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BinaryTargets {
    /// 1 for yes, 0 for no, or [`IGNORE`]; row-major, `[rows, labels]`.
    pub cells: Vec<i32>,
    /// How many labels a row has.
    pub n_labels: usize,
    /// Label smoothing: a yes is `1 − s/2`, a no is `s/2`.
    pub smoothing: f32,
    /// How much a yes counts, by label; 1 where absent.
    pub pos_weight: Option<Vec<f32>>,
    /// Focusing: a yes counts `(1 − p)^γ`, a no `p^γ` (arXiv:1708.02002, eq. 4).
    pub focal_gamma: f32,
}

impl BinaryTargets {
    /// Plain targets: no smoothing, no weights.
    pub fn new(cells: Vec<i32>, n_labels: usize) -> Self {
        Self { cells, n_labels, ..Self::default() }
    }

    /// The number of cells that count: what the summed loss is divided by for the mean loss. As in PyTorch, `pos_weight`
    /// has no part in it.
    pub fn weight(&self) -> f64 {
        self.cells.iter().filter(|&&cell| cell != IGNORE).count() as f64
    }

    /// For each cell how much `−ln p` and `−ln(1 − p)` count.
    pub(crate) fn coefficients(&self) -> [Vec<f32>; 2] {
        let half = self.smoothing / 2.0;
        let of_cell = |(idx, &cell): (usize, &i32)| {
            let pos_weight = self.pos_weight.as_ref().map_or(1.0, |weights| weights[idx % self.n_labels]);
            match cell {
                IGNORE => (0.0, 0.0),
                0 => (pos_weight * half, 1.0 - half),
                _ => (pos_weight * (1.0 - half), half),
            }
        };
        let (yes, no) = self.cells.iter().enumerate().map(of_cell).unzip();
        [yes, no]
    }

    /// The cells that do not count, where there are any.
    pub(crate) fn ignored(&self) -> Option<Vec<bool>> {
        let ignored: Vec<bool> = self.cells.iter().map(|&cell| cell == IGNORE).collect();
        ignored.contains(&true).then_some(ignored)
    }

    fn check(&self, rows: usize, labels: usize) {
        assert_eq!(
            (self.cells.len(), self.n_labels),
            (rows * labels, labels),
            "targets must be one per logit"
        );
        let other = self.cells.iter().find(|cell| ![0, 1, IGNORE].contains(cell));
        assert!(other.is_none(), "a target is 0, 1 or {IGNORE}, not {other:?}");
        assert!(self.focal_gamma >= 0.0, "focal_gamma is 0 or more");
        let weights = self.pos_weight.as_ref().map_or(labels, Vec::len);
        assert_eq!(weights, labels, "pos_weight must be one per label");
    }
}

/// The summed binary cross-entropy of logits, in nats, `[1]`. Divide by [`BinaryTargets::weight`] for the mean.
///
/// Per cell with target `y`, weight `w` of a yes and focusing `γ`:
/// `−w·y·(1 − p)^γ·ln p − (1 − y)·p^γ·ln(1 − p)` with `p = σ(z)`, as `BCEWithLogitsLoss` of PyTorch.
///
/// # Shapes
/// - logits: `[rows, labels]`; output: `[1]`
///
/// # Panics
/// If the targets do not fit the logits: batches are checked on the host, where they are made.
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// use locus_backend::ops::{BinaryTargets, IGNORE};
/// let logits = Tensor::<NdArray, 2>::zeros([2, 3], &device);
/// let targets = BinaryTargets::new(vec![1, 0, 0, 1, IGNORE, 1], 3);
/// assert_eq!(targets.weight(), 5.0);
/// let loss = ops::binary_cross_entropy(logits, &targets).into_scalar();
/// assert!((loss - 5.0 * 2.0_f32.ln()).abs() < 1e-6);
/// ```
pub fn binary_cross_entropy<B: Backend>(logits: Tensor<B, 2>, targets: &BinaryTargets) -> Tensor<B, 1> {
    let [rows, labels] = logits.dims();
    targets.check(rows, labels);
    reference::binary_cross_entropy(logits, targets)
}

/// The summed squared error of numbers, `[1]`.
///
/// # Shapes
/// - predictions: `[rows]`; output: `[1]`
///
/// # Panics
/// If the targets are not one per prediction: batches are checked on the host, where they are made.
///
/// # Example
/// ```
/// # use burn::tensor::Tensor;
/// # use locus_backend::{device::NdArray, ops};
/// # let device = Default::default();
/// let predictions = Tensor::<NdArray, 1>::from_floats([1.0, 2.0], &device);
/// assert_eq!(ops::squared_error(predictions, &[0.0, 4.0]).into_scalar(), 5.0);
/// ```
pub fn squared_error<B: Backend>(predictions: Tensor<B, 1>, targets: &[f32]) -> Tensor<B, 1> {
    let [rows] = predictions.dims();
    assert_eq!(targets.len(), rows, "targets must be one per prediction");
    reference::squared_error(predictions, targets)
}
