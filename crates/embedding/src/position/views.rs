//! What rotary schemes share that measure distance in more than one way: several views of queries and keys, and for each
//! cell of the scores the one that it is read from.
//!
//! Raw keys are cached, once, and turned for each view in every pass.

use burn::tensor::{Tensor, backend::Backend};

use super::scheme::{Pass, Views};
use super::turns::{Pairing, Tables};
use crate::Tokens;

/// The tables of each view's queries and keys, and the view of each cell.
#[derive(Debug)]
pub(super) struct Ways<B: Backend> {
    /// Of queries and of keys.
    tables: Vec<(Tables<B>, Tables<B>)>,
    select: Vec<u8>,
}

/// A way to measure distance: where it places a query and a key that lie at a position of a row.
pub(super) struct Way<'a> {
    pub(super) query: &'a dyn Fn(usize, f64) -> f64,
    pub(super) key: &'a dyn Fn(usize, f64) -> f64,
}

impl<B: Backend> Ways<B> {
    /// The tables of these ways; `which(row, i, j)` chooses one for the query at position `i` and the key at `j`.
    pub(super) fn new(
        pass: &Pass<'_>,
        thetas: &[f64],
        ways: &[Way<'_>],
        which: impl Fn(usize, f64, f64) -> u8,
        device: &B::Device,
    ) -> Self {
        let tables = |tokens: &Tokens, place: &dyn Fn(usize, f64) -> f64| {
            let places =
                tokens.positions.iter().enumerate().map(|(cell, p)| place(cell / tokens.seq.max(1), *p));
            Tables::at_places(&places.collect::<Vec<_>>(), thetas, tokens, device)
        };
        let of_way = |way: &Way<'_>| (tables(pass.queries, way.query), tables(pass.keys, way.key));
        Self { tables: ways.iter().map(of_way).collect(), select: cells(pass, which) }
    }

    pub(super) fn turn(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, pairing: Pairing) -> Views<B> {
        let turn = |(of_q, of_k): &(Tables<B>, Tables<B>)| {
            (of_q.turn(q.clone(), pairing), of_k.turn(k.clone(), pairing))
        };
        Views { views: self.tables.iter().map(turn).collect(), select: self.select.clone() }
    }
}

/// A value for each cell of the scores, `[rows, q, k]`, from its row and the positions of its query and its key; one row
/// where all rows are alike.
pub(super) fn cells<T>(pass: &Pass<'_>, f: impl Fn(usize, f64, f64) -> T) -> Vec<T> {
    let rows =
        if alike(pass.queries) && alike(pass.keys) { pass.queries.batch.min(1) } else { pass.queries.batch };
    let mut cells = Vec::with_capacity(rows * pass.queries.seq * pass.keys.seq);
    for row in 0..rows {
        let of_row = |tokens: &Tokens| row * tokens.seq..(row + 1) * tokens.seq;
        for i in &pass.queries.positions[of_row(pass.queries)] {
            cells.extend(pass.keys.positions[of_row(pass.keys)].iter().map(|j| f(row, *i, *j)));
        }
    }
    cells
}

/// Whether all rows have the same positions and the same padding.
pub(super) fn alike(tokens: &Tokens) -> bool {
    let seq = tokens.seq.max(1);
    let rows = || tokens.positions.chunks(seq).zip(tokens.keep.chunks(seq));
    rows().zip(rows().skip(1)).all(|(a, b)| a == b)
}
