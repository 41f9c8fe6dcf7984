//! Axial rotary: tokens of a grid, whose pairs turn alternately by column and by row.
//!
//! Formula: `θ_t = base^(−t/(d_head/4))`; pair `2t` turns by `x·θ_t`, pair `2t + 1` by `y·θ_t`. Heo et al. 2024,
//! arXiv:2403.13298 (base 100).
//! Convention: a text is read as the rows of a grid `width` columns wide: position `p` lies at row `y = p div width`, column
//! `x = p mod width`. Tokens that have several axes lie at row `axis(0)` and column `axis(1)`.
//! Parameters: 0. Limit: none. Cache: the final key.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{LayerPass, Pass, Prepared, Scheme, Views};
use super::turns::{Pairing, Tables, Turn, thetas};
use super::{PositionProblem, PositionShape};
use crate::Tokens;

/// Configuration of [`Axial`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AxialConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// Number of columns of the grid.
    pub width: usize,
}

impl Default for AxialConfig {
    fn default() -> Self {
        Self { base: 100.0, pairing: Pairing::Interleaved, width: 16 }
    }
}

impl SchemeConfig for AxialConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "turns by row and column of a grid",
            parameters: "0",
            longer_texts: "as `rotary`",
            paper: "arXiv:2403.13298",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
        PositionProblem::unless(self.width > 0, problems, "width", self.width, "at least 1");
        let fits = shape.d_head > 0 && shape.d_head.is_multiple_of(4);
        let found = format!("d_head = {}", shape.d_head);
        PositionProblem::unless(
            fits,
            problems,
            "",
            found,
            "a d_head that is a multiple of 4: a pair for each axis",
        );
    }
}

impl AxialConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> Axial {
        Axial { config: self.clone(), d_head: shape.d_head }
    }
}

/// Turns queries and keys by row and column.
#[derive(Module, Clone, Debug)]
pub struct Axial {
    #[module(skip)]
    config: AxialConfig,
    d_head: usize,
}

impl Axial {
    /// Column and row of a token.
    fn place(&self, tokens: &Tokens, cell: usize) -> [f64; 2] {
        if !tokens.axes.is_empty() {
            return [tokens.axis(1)[cell], tokens.axis(0)[cell]];
        }
        let (p, width) = (tokens.positions[cell], self.config.width as f64);
        [p.rem_euclid(width), p.div_euclid(width)]
    }
}

impl<B: Backend> Scheme<B> for Axial {
    fn name(&self) -> &'static str {
        "axial"
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let thetas = thetas(self.config.base, self.d_head / 2);
        let turns = |cell: usize| {
            let place = self.place(pass.queries, cell);
            thetas.iter().flat_map(move |theta| place.map(|p| Turn::by(p * theta)))
        };
        Prepared::new(Tables::<B>::by_cell(pass.queries, self.d_head / 2, turns, device))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let tables = at.prepared.get::<Tables<B>>();
        Views::one(tables.turn(q, self.config.pairing), tables.turn(k, self.config.pairing))
    }
}
