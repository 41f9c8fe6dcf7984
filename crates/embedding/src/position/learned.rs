//! Learned absolute position embedding: a trained vector per position, added to the tokens.
//!
//! Formula: `e_p = E[p + offset]`; Gehring et al. 2017, arXiv:1705.03122, and BERT, arXiv:1810.04805. RoBERTa and OPT
//! keep their first rows for padding: with `offset = 2, pad_row = 1` real tokens start at row 2 and padding reads row 1
//! (fairseq `make_positions`; a RoBERTa table of 514 rows holds 512 positions).
//! Parameters: `(max_positions + offset) · d_model`. Limit: an error from `max_positions` on. Cache: the final key.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use locus_backend::init::Init;
use locus_backend::ops::embedding;
use locus_backend::rng::Key;
use serde::{Deserialize, Serialize};

use super::config::SchemeConfig;
use super::facts::{Facts, Family};
use super::scheme::{Limit, Scheme};
use super::{PositionProblem, PositionShape};
use crate::Tokens;

/// Configuration of [`Learned`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnedConfig {
    /// Number of positions; the model's `max_seq_len` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_positions: Option<usize>,
    /// Rows before that of position 0.
    pub offset: usize,
    /// The row that padding reads; its own position's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_row: Option<usize>,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl Default for LearnedConfig {
    fn default() -> Self {
        Self { max_positions: None, offset: 0, pad_row: None, init_std: 0.02 }
    }
}

impl SchemeConfig for LearnedConfig {
    fn facts(&self) -> Facts {
        Facts {
            family: Family::Absolute,
            does: "adds a trained vector; `offset` and `pad_row` for RoBERTa's and OPT's numbering",
            parameters: "(max_positions + offset)·d_model",
            longer_texts: "no",
            paper: "arXiv:1810.04805",
        }
    }

    fn check(&self, shape: &PositionShape, problems: &mut Vec<PositionProblem>) {
        let rows = self.max_positions(shape).saturating_add(self.offset);
        let n = self.max_positions(shape);
        let allowed = format!("at least max_seq_len = {}", shape.max_seq_len);
        PositionProblem::unless(n >= shape.max_seq_len, problems, "max_positions", n, &allowed);
        PositionProblem::positive(self.init_std, problems, "init_std");
        let pad_row = self.pad_row.unwrap_or(0);
        PositionProblem::unless(
            pad_row < rows,
            problems,
            "pad_row",
            pad_row,
            &format!("a row of the table, 0 to {}", rows.saturating_sub(1)),
        );
    }

    fn acts_on_embedding(&self) -> bool {
        true
    }

    fn position_table(&self) -> Option<(&'static str, usize)> {
        Some(("table", self.offset))
    }
}

impl LearnedConfig {
    pub(super) fn init<B: Backend>(&self, shape: &PositionShape, key: Key, device: &B::Device) -> Learned<B> {
        let rows = self.max_positions(shape).saturating_add(self.offset);
        Learned {
            table: Init::Normal { std: self.init_std }.param([rows, shape.d_model], key, device),
            offset: self.offset,
            pad_row: self.pad_row,
        }
    }

    fn max_positions(&self, shape: &PositionShape) -> usize {
        self.max_positions.unwrap_or(shape.max_seq_len)
    }
}

/// Adds a trained vector per position.
#[derive(Module, Debug)]
pub struct Learned<B: Backend> {
    /// The vectors, `[max_positions + offset, d_model]`.
    pub table: Param<Tensor<B, 2>>,
    offset: usize,
    pad_row: Option<usize>,
}

impl<B: Backend> Learned<B> {
    fn rows(&self) -> usize {
        let [rows, _] = self.table.dims();
        rows
    }
}

impl<B: Backend> Scheme<B> for Learned<B> {
    fn name(&self) -> &'static str {
        "learned"
    }

    fn limit(&self) -> Limit {
        Limit::Error(self.rows() - self.offset)
    }

    fn embed(&self, x: Tensor<B, 3>, tokens: &Tokens) -> Tensor<B, 3> {
        let [batch, seq, _] = x.dims();
        let row = |(&keep, &position): (&bool, &f64)| match self.pad_row {
            Some(pad_row) if !keep => pad_row as i64,
            _ => position as i64 + self.offset as i64,
        };
        let rows: Vec<i64> = tokens.keep.iter().zip(&tokens.positions).map(row).collect();
        let rows = Tensor::<B, 2, Int>::from_data(TensorData::new(rows, [batch, seq]), &x.device());
        x + embedding(self.table.val(), rows) // [batch, seq, d_model]
    }
}
