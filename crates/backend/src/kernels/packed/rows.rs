//! Activations, in the order in which the kernels read them.

use std::ops::Range;

use rayon::prelude::*;

use super::quantise::Scale;
use crate::kernels::simd::dispatch;

/// The order of the words in a group of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Those of all rows for the first step, then for the second, and so on.
    Interleaved,
    /// One row after the other.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only AMX wants it"))]
    ByRow,
}

impl Layout {
    /// The most rows of a group.
    pub(super) const fn max_rows(self) -> usize {
        match self {
            Self::Interleaved => 6,
            Self::ByRow => 32,
        }
    }
}

/// Rows of activations, in groups.
#[derive(Debug)]
pub(super) struct Rows<X, S> {
    words: Vec<X>,
    steps: usize,
    /// What the sums of each row start with.
    pub(super) starts: Vec<S>,
    /// The step of each row's int8 activations; none for bf16.
    pub(super) scales: Vec<f32>,
    pub(super) groups: Vec<Range<usize>>,
}

/// The four int8 activations of a step.
pub(super) type Bytes = u32;
/// The two activations of a step, beside bf16 weights.
pub(super) type Pair = [f32; 2];

impl<X, S> Rows<X, S> {
    /// The words of a group.
    pub(super) fn words(&self, group: &Range<usize>) -> &[X] {
        &self.words[group.start * self.steps..group.end * self.steps]
    }
}

impl Rows<Bytes, i32> {
    /// Quantises each row with a step of its own.
    pub(super) fn int8(x: &[f32], d_in: usize, layout: Layout) -> Self {
        let steps = d_in.div_ceil(4);
        let mut rows = Self::empty(x.len() / d_in, steps, layout, 0);
        let made = rows.fill(x, d_in, layout, |row, words, stride| {
            let mut bytes = vec![0_i8; steps * 4];
            dispatch!({
                let scale = Scale::of(row.iter().copied());
                bytes.iter_mut().zip(row).for_each(|(byte, &x)| *byte = scale.quantise(x));
                let fours = bytes.as_chunks::<4>().0.iter();
                for (word, four) in words.iter_mut().step_by(stride).zip(fours) {
                    *word = u32::from_ne_bytes(four.map(i8::cast_unsigned));
                }
                // Weights are stored 128 too large.
                let sum: i32 = bytes.iter().map(|&byte| i32::from(byte)).sum();
                (-128 * sum, scale.step)
            })
        });
        (rows.starts, rows.scales) = made.into_iter().unzip();
        rows
    }
}

impl Rows<Pair, f32> {
    /// The rows as they are.
    pub(super) fn f32(x: &[f32], d_in: usize) -> Self {
        let layout = Layout::Interleaved;
        let mut rows = Self::empty(x.len() / d_in, d_in.div_ceil(2), layout, [0.0; 2]);
        rows.starts = rows.fill(x, d_in, layout, |row, words, stride| {
            let (pairs, rest) = row.as_chunks::<2>();
            let last = rest.first().map(|&x| [x, 0.0]);
            for (word, pair) in words.iter_mut().step_by(stride).zip(pairs.iter().copied().chain(last)) {
                *word = pair;
            }
            0.0
        });
        rows
    }
}

impl<X: Copy + Send, S> Rows<X, S> {
    fn empty(n: usize, steps: usize, layout: Layout, word: X) -> Self {
        // Groups of about one size: the last of a fixed size would hardly pay for reading the weights.
        let n_groups = n.div_ceil(layout.max_rows());
        let groups = (0..n_groups).map(|idx| n * idx / n_groups..n * (idx + 1) / n_groups).collect();
        Self { words: vec![word; n * steps], steps, starts: Vec::new(), scales: Vec::new(), groups }
    }

    /// Lets `fill` write each row into every `stride`-th of the words that it is given; what it gives for each row.
    fn fill<T: Send>(
        &mut self,
        x: &[f32],
        d_in: usize,
        layout: Layout,
        fill: impl Fn(&[f32], &mut [X], usize) -> T + Sync,
    ) -> Vec<T> {
        let steps = self.steps;
        let mut rest = &mut self.words[..];
        let mut parts = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let (words, after) = rest.split_at_mut(group.len() * self.steps);
            parts.push((&x[group.start * d_in..group.end * d_in], words));
            rest = after;
        }
        let fill_group = |(x, words): (&[f32], &mut [X])| -> Vec<T> {
            let (to_next_row, stride) = match layout {
                Layout::Interleaved => (1, x.len() / d_in),
                Layout::ByRow => (steps, 1),
            };
            let rows = x.chunks_exact(d_in).enumerate();
            rows.map(|(idx, row)| fill(row, &mut words[idx * to_next_row..], stride)).collect()
        };
        match parts.len() {
            1 => parts.into_iter().flat_map(fill_group).collect(),
            _ => parts.into_par_iter().map(fill_group).collect::<Vec<_>>().into_iter().flatten().collect(),
        }
    }
}
