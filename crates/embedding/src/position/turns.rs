//! What the rotary family shares: tables of cosines and sines, and turning by them.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::{ops, reference};
use serde::{Deserialize, Serialize};

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
    pub(super) fn new(turns: &[Turn], [rows, seq, pairs]: [usize; 3], device: &B::Device) -> Self {
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = turns.iter().map(|turn| (turn.magnitude * f(turn.angle)) as f32).collect();
            Tensor::from_data(TensorData::new(values, [rows, 1, seq, pairs]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
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
        let turns: Vec<Turn> =
            places.iter().flat_map(|p| thetas.iter().map(move |theta| Turn::by(p * theta))).collect();
        Self::new(&turns, [tokens.batch, tokens.seq, thetas.len()], device)
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

/// The positions of each row's real tokens, from the first to the last; `(0, 0)` for a row without any.
pub(super) fn spans(tokens: &Tokens) -> Vec<(f64, f64)> {
    let rows = tokens.keep.chunks(tokens.seq.max(1)).zip(tokens.positions.chunks(tokens.seq.max(1)));
    let spans = rows.map(|(keep, positions)| {
        let real = keep.iter().zip(positions).filter(|(keep, _)| **keep).map(|(_, p)| (*p, *p));
        real.reduce(|(first, last), (p, _)| (first.min(p), last.max(p))).unwrap_or_default()
    });
    spans.collect()
}
