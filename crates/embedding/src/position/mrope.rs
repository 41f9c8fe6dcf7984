//! Multi-axis rotary (M-RoPE): pairs turn by the token's place in time, in height or in width.
//!
//! Formula: pair `n` turns by `axis(a_n) · θ_n`, `θ_n = base^(−2n/d_head)`, where `a_n` is 0 (time), 1 (height) or 2 (width).
//! Text lies at the same place on all axes, so there it is [`Rotary`](super::Rotary). Qwen2-VL, Wang et al. 2024,
//! arXiv:2409.12191 (sections 16, 24 and 24 of 64 pairs); interleaved axes as in Qwen3-VL.
//! Where tokens lie is said by [`Tokens::axes`](crate::Tokens::axes); text that follows goes on past all of it.
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

/// Which axis a pair turns by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AxisOrder {
    /// Time first, then height, then width: `TT…HH…WW` (Qwen2-VL).
    #[default]
    Sections,
    /// In turn, as long as each section lasts, and time after that: `THWTHW…TT` (Qwen3-VL).
    Interleaved,
}

/// Configuration of [`MRope`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MRopeConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Which dimensions form a pair.
    pub pairing: Pairing,
    /// How many pairs turn by time, height and width; 2/8, 3/8 and 3/8 of them where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sections: Option<[usize; 3]>,
    /// Which of the pairs these are.
    pub order: AxisOrder,
}

impl Default for MRopeConfig {
    fn default() -> Self {
        Self { base: 10_000.0, pairing: Pairing::Halves, sections: None, order: AxisOrder::default() }
    }
}

impl SchemeConfig for MRopeConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Rotary,
            does: "turns by time, height and width",
            parameters: "0",
            longer_texts: "as `rotary`",
            paper: "arXiv:2409.12191",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        PositionProblem::base(self.base, problems);
        PositionProblem::even_head(shape, problems);
        let sections = self.sections(shape.d_head);
        let [_, height, width] = sections;
        let found = format!("{sections:?}");
        let pairs = shape.d_head / 2;
        let allowed = format!("three numbers whose sum is the number of pairs, d_head/2 = {pairs}");
        PositionProblem::unless(
            sections.iter().sum::<usize>() == pairs,
            problems,
            "sections",
            &found,
            &allowed,
        );
        let turns = self.order == AxisOrder::Sections || 3 * height <= pairs + 1 && 3 * width <= pairs;
        let allowed = "height and width of at most a third of the pairs, so that the axes can take turns";
        PositionProblem::unless(turns, problems, "sections", &found, allowed);
    }
}

impl MRopeConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, _: Key, _: &B::Device) -> MRope {
        MRope { config: self.clone(), d_head: shape.d_head }
    }

    fn sections(&self, d_head: usize) -> [usize; 3] {
        let pairs = d_head / 2;
        let side = match self.order {
            AxisOrder::Sections => pairs * 3 / 8,
            AxisOrder::Interleaved => pairs / 3,
        };
        self.sections.unwrap_or([pairs - 2 * side, side, side])
    }

    /// The axis of each pair.
    fn axes(&self, d_head: usize) -> Vec<usize> {
        let [time, height, width] = self.sections(d_head);
        let axis = |n: usize| match self.order {
            AxisOrder::Sections if n < time => 0,
            AxisOrder::Sections if n < time + height => 1,
            AxisOrder::Sections => 2,
            AxisOrder::Interleaved if n % 3 == 1 && n < 3 * height => 1,
            AxisOrder::Interleaved if n % 3 == 2 && n < 3 * width => 2,
            AxisOrder::Interleaved => 0,
        };
        (0..d_head / 2).map(axis).collect()
    }
}

/// Turns queries and keys by time, height and width.
#[derive(Module, Clone, Debug)]
pub struct MRope {
    #[module(skip)]
    config: MRopeConfig,
    d_head: usize,
}

impl<B: Backend> Scheme<B> for MRope {
    fn name(&self) -> &'static str {
        "mrope"
    }

    fn is_relative(&self) -> bool {
        true
    }

    fn prepare(&self, pass: &Pass<'_>, device: &B::Device) -> Prepared {
        let pairs: Vec<(f64, usize)> =
            thetas(self.config.base, self.d_head).into_iter().zip(self.config.axes(self.d_head)).collect();
        let turns = |cell: usize| {
            pairs.iter().map(move |(theta, axis)| Turn::by(pass.queries.axis(*axis)[cell] * theta))
        };
        Prepared::new(Tables::<B>::by_cell(pass.queries, pairs.len(), turns, device))
    }

    fn rotate(&self, q: Tensor<B, 4>, k: Tensor<B, 4>, at: &LayerPass<'_, B>) -> Views<B> {
        let tables = at.prepared.get::<Tables<B>>();
        Views::one(tables.turn(q, self.config.pairing), tables.turn(k, self.config.pairing))
    }
}
