//! The product of rows and panels, written once for all kinds of numbers and processors.

use rayon::prelude::*;

use super::panels::{Block, PANEL, Panels};
use super::rows::{Layout, Rows};

/// The most rows that share a reading of the weights: with 64 outputs 24 of the 32 vector registers of AVX-512 hold sums.
const MAX_ROWS: usize = Layout::Interleaved.max_rows();

/// A sum of products.
pub(super) trait Sum: Copy + Default + Send + Sync {
    /// The outputs of one row from the sums of its products.
    fn outputs(sums: &[Self; PANEL], row_scale: Option<f32>, column_scales: &[f32], y: &mut [f32]);
}

impl Sum for i32 {
    #[inline(always)]
    fn outputs(sums: &[i32; PANEL], row_scale: Option<f32>, column_scales: &[f32], y: &mut [f32]) {
        let row_scale = row_scale.unwrap_or(1.0);
        for ((y, &sum), &scale) in y.iter_mut().zip(sums).zip(column_scales) {
            *y = sum as f32 * (row_scale * scale);
        }
    }
}

impl Sum for f32 {
    #[inline(always)]
    fn outputs(sums: &[f32; PANEL], _: Option<f32>, _: &[f32], y: &mut [f32]) {
        y.copy_from_slice(&sums[..y.len()]);
    }
}

/// The instructions of a processor that multiply and add.
///
/// # Safety
/// The functions may be called only on a processor that has the instructions. They are inlined into a function that is
/// compiled for them.
pub(super) trait Instructions {
    /// A row's activations of one step.
    type Activations: Copy;
    type Sum: Sum;
    /// The weights of [`WIDTH`](Self::WIDTH) outputs, of one part of a step.
    type Weights: Copy;
    /// As many sums.
    type Sums: Copy;
    const WIDTH: usize;
    /// In how many parts a step is multiplied.
    const PARTS: usize;

    unsafe fn start(sum: Self::Sum) -> Self::Sums;
    /// Of as many words.
    unsafe fn weights(words: &[u32], part: usize) -> Self::Weights;
    unsafe fn add(sums: Self::Sums, weights: Self::Weights, x: Self::Activations, part: usize) -> Self::Sums;
    /// To as many places.
    unsafe fn store(sums: Self::Sums, to: &mut [Self::Sum]);
}

/// `x · weight + bias`.
#[derive(Debug)]
pub(super) struct Product<'a, X, S> {
    pub(super) rows: &'a Rows<X, S>,
    pub(super) panels: &'a Panels,
    pub(super) bias: Option<&'a [f32]>,
}

/// A way to compute the outputs of some panels, from the given one on, for all rows.
pub(super) type Columns<X, S> = fn(&Product<'_, X, S>, usize, &mut [&mut [f32]]);

impl<X: Copy + Sync, S: Sum> Product<'_, X, S> {
    /// Computes all outputs, `[rows, d_out]`. Threads take whole panels, so the results do not depend on their number.
    pub(super) fn run(&self, columns: Columns<X, S>, y: &mut [f32]) {
        /// Weights times rows that are worth a thread.
        const WORTH: usize = 1 << 16;
        let (rows, d_out) = (self.rows.starts.len(), self.panels.d_out);
        let n_panels = d_out.div_ceil(PANEL);
        let worth = rows * d_out * self.panels.d_in / WORTH;
        // More parts than threads, so that a thread which starts late takes fewer of them.
        let n_parts = worth.clamp(1, 4 * rayon::current_num_threads()).min(n_panels.max(1));
        let panels_per_part = n_panels.div_ceil(n_parts).max(1);
        let mut parts: Vec<Vec<&mut [f32]>> = Vec::new();
        parts.resize_with(n_panels.div_ceil(panels_per_part), || Vec::with_capacity(rows));
        for row in y.chunks_exact_mut(d_out.max(1)) {
            for (part, outputs) in parts.iter_mut().zip(row.chunks_mut(panels_per_part * PANEL)) {
                part.push(outputs);
            }
        }
        let run = |(idx, part): (usize, &mut Vec<&mut [f32]>)| columns(self, idx * panels_per_part, part);
        match parts.len() {
            1 => parts.iter_mut().enumerate().for_each(run),
            _ => parts.par_iter_mut().enumerate().for_each(run),
        }
    }

    /// The outputs of the panels from `first` on: `y` has those of each row. One row takes `ONE` vectors at a time, several
    /// take `MANY`.
    ///
    /// # Safety
    /// As [`Instructions`].
    #[inline(always)]
    pub(super) unsafe fn columns<I, const ONE: usize, const MANY: usize>(
        &self,
        first: usize,
        y: &mut [&mut [f32]],
    ) where
        I: Instructions<Activations = X, Sum = S>,
    {
        let width = y.first().map_or(0, |row| row.len());
        for idx in 0..width.div_ceil(PANEL) {
            let at = idx * PANEL;
            for group in &self.rows.groups {
                let (starts, words) = (&self.rows.starts[group.clone()], self.rows.words(group));
                let panel = self.panels.panel(first + idx);
                let mut sums = [[S::default(); PANEL]; MAX_ROWS];
                // SAFETY: the caller's.
                unsafe {
                    match group.len() {
                        1 => tile::<I, 1, ONE>(panel, words, starts, &mut sums),
                        2 => tile::<I, 2, MANY>(panel, words, starts, &mut sums),
                        3 => tile::<I, 3, MANY>(panel, words, starts, &mut sums),
                        4 => tile::<I, 4, MANY>(panel, words, starts, &mut sums),
                        5 => tile::<I, 5, MANY>(panel, words, starts, &mut sums),
                        _ => tile::<I, MAX_ROWS, MANY>(panel, words, starts, &mut sums),
                    }
                }
                for (row, sums) in group.clone().zip(&sums) {
                    let outputs = &mut y[row][at..width.min(at + PANEL)];
                    self.finish((first + idx) * PANEL, row, sums, outputs);
                }
            }
        }
    }

    #[inline(always)]
    pub(super) fn finish(&self, column: usize, row: usize, sums: &[S; PANEL], y: &mut [f32]) {
        let columns = column..column + y.len();
        let scales = self.panels.scales.get(columns.clone()).unwrap_or_default();
        S::outputs(sums, self.rows.scales.get(row).copied(), scales, y);
        if let Some(bias) = self.bias {
            y.iter_mut().zip(&bias[columns]).for_each(|(y, bias)| *y += bias);
        }
    }
}

/// The sums of one panel and `ROWS` rows, `VECTORS` vectors of outputs at a time.
///
/// # Safety
/// As [`Instructions`].
#[inline(always)]
unsafe fn tile<I: Instructions, const ROWS: usize, const VECTORS: usize>(
    panel: &[Block],
    words: &[I::Activations],
    starts: &[I::Sum],
    sums: &mut [[I::Sum; PANEL]; MAX_ROWS],
) {
    let words = words.as_chunks::<ROWS>().0;
    let Some(starts) = starts.first_chunk::<ROWS>() else { unreachable!("a start per row") };
    for from in (0..PANEL).step_by(VECTORS * I::WIDTH) {
        // SAFETY: the caller's.
        unsafe {
            let mut tile = [[I::start(starts[0]); VECTORS]; ROWS];
            for row in 1..ROWS {
                tile[row] = [I::start(starts[row]); VECTORS];
            }
            for (block, x) in panel.iter().zip(words) {
                for part in 0..I::PARTS {
                    let mut weights = [I::weights(&block.0[from..from + I::WIDTH], part); VECTORS];
                    for (idx, weights) in weights.iter_mut().enumerate().skip(1) {
                        let at = from + idx * I::WIDTH;
                        *weights = I::weights(&block.0[at..at + I::WIDTH], part);
                    }
                    for (row, &x) in tile.iter_mut().zip(x) {
                        for (sums, &weights) in row.iter_mut().zip(&weights) {
                            *sums = I::add(*sums, weights, x, part);
                        }
                    }
                }
            }
            for (row, sums) in tile.iter().zip(sums.iter_mut()) {
                for (idx, &vector) in row.iter().enumerate() {
                    let at = from + idx * I::WIDTH;
                    I::store(vector, &mut sums[at..at + I::WIDTH]);
                }
            }
        }
    }
}
