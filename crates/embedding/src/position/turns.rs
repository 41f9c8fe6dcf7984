//! What the rotary family shares: tables of cosines and sines, and turning by them.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::{ops, reference};
use serde::{Deserialize, Serialize};

use super::known::Rows;
use crate::Tokens;

/// Which dimensions form a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Dimensions `n` and `n + r/2` (Hugging Face Llama, GPT-NeoX).
    #[default]
    Halves,
    /// Dimensions `2n` and `2n + 1` (the paper, GPT-J, Meta's Llama).
    Interleaved,
}

/// `θ_n = base^(−2n/dims)` for each of `dims / 2` pairs.
pub(super) fn thetas(base: f64, dims: usize) -> Vec<f64> {
    (0..dims / 2).map(|n| base.powf(-2.0 * n as f64 / dims as f64)).collect()
}

/// The angle of a pair, and what its cosine and sine are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn {
    pub(super) angle: f64,
    pub(super) magnitude: f64,
}

impl Turn {
    pub(super) fn by(angle: f64) -> Self {
        Self { angle, magnitude: 1.0 }
    }
}

/// What tables are made of, row by row.
#[derive(Debug, Default)]
pub(super) struct Values {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Values {
    /// Appends those of these turns.
    pub(super) fn turned(&mut self, turns: &[Turn]) {
        self.cos.extend(turns.iter().map(|turn| (turn.magnitude * turn.angle.cos()) as f32));
        self.sin.extend(turns.iter().map(|turn| (turn.magnitude * turn.angle.sin()) as f32));
    }

    /// Appends those of each place, which turns by `place · θ_n`. They are computed once for all passes.
    pub(super) fn placed(&mut self, places: &[f64], thetas: &[f64], magnitude: f64) {
        let row = |p: f64| {
            let table = |f: fn(f64) -> f64| thetas.iter().map(move |theta| (magnitude * f(p * theta)) as f32);
            table(f64::cos).chain(table(f64::sin)).collect()
        };
        let (pairs, formula) = (thetas.len(), thetas.iter().copied().chain([magnitude]));
        let rows = Rows::new("turns", formula, 2 * pairs, places, row);
        for place in places {
            let row = rows.at(*place);
            self.cos.extend_from_slice(&row[..pairs]);
            self.sin.extend_from_slice(&row[pairs..]);
        }
    }

    /// The tables, `[rows, seq, pairs]`.
    pub(super) fn tables<B: Backend>(self, [rows, seq, pairs]: [usize; 3], device: &B::Device) -> Tables<B> {
        let table = |values| Tensor::from_data(TensorData::new(values, [rows, 1, seq, pairs]), device);
        Tables { cos: table(self.cos), sin: table(self.sin) }
    }
}

/// Cosines and sines of angles, `[rows, 1, seq, pairs]`, with one row where all are equal.
#[derive(Clone, Debug)]
pub(super) struct Tables<B: Backend> {
    pub(super) cos: Tensor<B, 4>,
    pub(super) sin: Tensor<B, 4>,
}

impl<B: Backend> Tables<B> {
    /// The tables of `turns`, `[rows, seq, pairs]`.
    ///
    /// NUMERICS: angles are in f64. At position 10^6 neighbouring f32 numbers are 0.06 apart.
    pub(super) fn new(turns: &[Turn], dims: [usize; 3], device: &B::Device) -> Self {
        let mut values = Values::default();
        values.turned(turns);
        values.tables(dims, device)
    }

    /// The tables of a scheme in which a token's place alone decides: `turns` gives those of the pairs of a cell, an
    /// index into the tokens.
    pub(super) fn by_cell<I: IntoIterator<Item = Turn>>(
        tokens: &Tokens,
        pairs: usize,
        turns: impl Fn(usize) -> I,
        device: &B::Device,
    ) -> Self {
        let rows = distinct_rows(tokens);
        let turns: Vec<Turn> = (0..rows * tokens.seq).flat_map(turns).collect();
        Self::new(&turns, [rows, tokens.seq, pairs], device)
    }

    /// The tables of rotary for tokens at these places, `[batch, seq]`.
    pub(super) fn at_places(places: &[f64], thetas: &[f64], tokens: &Tokens, device: &B::Device) -> Self {
        let rows = places.len() / tokens.seq.max(1);
        let mut values = Values::default();
        values.placed(places, thetas, 1.0);
        values.tables([rows, tokens.seq, thetas.len()], device)
    }

    /// The tables of rotary for tokens at their positions.
    pub(super) fn at_positions(tokens: &Tokens, thetas: &[f64], device: &B::Device) -> Self {
        let rows = distinct_rows(tokens);
        Self::at_places(&tokens.positions[..rows * tokens.seq], thetas, tokens, device)
    }

    /// Turns `[batch, heads, seq, d_head]`.
    pub(super) fn turn(&self, x: Tensor<B, 4>, pairing: Pairing) -> Tensor<B, 4> {
        ops::rotary(x, self.cos.clone(), self.sin.clone(), pairing == Pairing::Interleaved)
    }

    /// As [`Self::turn`], with gradients for cosines and sines, which the fast operation does not give.
    pub(super) fn turn_learned(&self, x: Tensor<B, 4>, pairing: Pairing) -> Tensor<B, 4> {
        reference::rotary(x, self.cos.clone(), self.sin.clone(), pairing == Pairing::Interleaved)
    }
}

/// 1 where all rows have the same positions, on every axis; else the number of rows.
pub(super) fn distinct_rows(tokens: &Tokens) -> usize {
    let same = |positions: &Vec<f64>| {
        let first = positions.get(..tokens.seq).unwrap_or_default();
        positions.chunks(tokens.seq.max(1)).all(|row| row == first)
    };
    if same(&tokens.positions) && tokens.axes.iter().all(same) { 1 } else { tokens.batch }
}

/// The columns of a cache that stay: those of some row's last document where `needed(first, last, position)`, given the
/// positions of the document's first and last real token and that of the column's. A query sees no earlier document.
pub(super) fn retained(cached: &Tokens, needed: impl Fn(f64, f64, f64) -> bool) -> Vec<usize> {
    let mut stays = vec![false; cached.seq];
    for row in 0..cached.batch {
        let real = cached.runs(row).pop().unwrap_or_default().filter(|&cell| cached.keep[cell]);
        let cells: Vec<usize> = real.collect();
        let positions = || cells.iter().map(|&cell| cached.positions[cell]);
        let (first, last) = (positions().fold(f64::MAX, f64::min), positions().fold(f64::MIN, f64::max));
        for &cell in &cells {
            stays[cell - row * cached.seq] |= needed(first, last, cached.positions[cell]);
        }
    }
    let columns: Vec<usize> = (0..cached.seq).filter(|&column| stays[column]).collect();
    // A cache of padding alone keeps a column of it, because tensors cannot be empty.
    if columns.is_empty() { vec![cached.seq.saturating_sub(1)] } else { columns }
}

/// The positions of each row's real tokens, from the first to the last; `(0, 0)` for a row without any.
pub(super) fn spans(tokens: &Tokens) -> Vec<(f64, f64)> {
    let rows = tokens.keep.chunks(tokens.seq.max(1)).zip(tokens.positions.chunks(tokens.seq.max(1)));
    let spans = rows.map(|(keep, positions)| {
        let real = keep.iter().zip(positions).filter(|(keep, _)| **keep).map(|(_, p)| (*p, *p));
        real.reduce(|(first, last), (p, _)| (first.min(p), last.max(p))).unwrap_or_default()
    });
    spans.collect()
}

#[cfg(test)]
mod tests {
    use super::retained;
    use crate::Tokens;

    #[test]
    fn earlier_documents_do_not_stay_in_a_cache() {
        let keep = [[true; 5], [true, true, true, false, false]].concat();
        let tokens = Tokens::new([2, 5], vec![1; 10], keep, None).expect("fits");
        let packed = tokens.with_documents(vec![0, 0, 0, 7, 7, 3, 3, 3, 3, 3]).expect("fits");
        let last_two = |_, last: f64, position: f64| last - position < 2.0;
        assert_eq!(retained(&packed, last_two), [1, 2, 3, 4]);
        assert_eq!(retained(&packed.rows(&[0]), last_two), [3, 4]);
        assert_eq!(retained(&packed.rows(&[0]), |first, _, position| position == first), [3]);
        let padding = packed.rows(&[1]).columns(&[3, 4]);
        assert_eq!(retained(&padding, last_two), [1]);
    }
}
