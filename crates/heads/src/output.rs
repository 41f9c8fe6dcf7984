//! Scores over the vocabulary, from a layer of their own or from the token table.

use burn::module::Param;
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::ops::{self, Products};
use locus_backend::packed::Packed;
use locus_encoder::Linear;
use serde::{Deserialize, Serialize};

use crate::batch::{by_place, targets};
use crate::{HeadError, LossOptions, LossSum};

/// What the scores over the vocabulary have beside the product with the output layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// Whether every token has a bias.
    pub bias: bool,
    /// What hidden states are multiplied by first; `1/√d_model` in T5 where the token table serves as output.
    pub scale: f64,
    /// Keeps scores between −c and c by `c · tanh(score / c)` (Gemma 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<f64>,
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self { bias: false, scale: 1.0, cap: None }
    }
}

/// What gives scores over the vocabulary: a layer, or the token table as it is or packed.
pub(crate) struct Output<'a, B: Backend> {
    /// `[vocab_size, width]`; read where there is no layer.
    pub(crate) table: Option<&'a Param<Tensor<B, 2>>>,
    pub(crate) lm_head: Option<&'a Linear<B>>,
    pub(crate) packed: Option<&'a Packed>,
    /// `[vocab_size]`; of the table, since a layer has its own.
    pub(crate) bias: Option<&'a Param<Tensor<B, 1>>>,
    pub(crate) products: Products,
    pub(crate) config: OutputConfig,
}

impl<B: Backend> Output<'_, B> {
    /// Hidden states `[batch, seq, width]` → `[batch, seq, vocab_size]`.
    pub(crate) fn scores(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        let hidden = self.scaled(hidden);
        let bias = self.bias.map(Param::val);
        let scores = match (self.lm_head, self.packed) {
            (Some(lm_head), _) => lm_head.forward(hidden),
            (None, Some(table)) => ops::packed_linear(hidden, table, bias),
            (None, None) => ops::linear_in(hidden, self.table().transpose(), bias, self.products),
        };
        self.capped(scores)
    }

    /// The loss of hidden states `[batch, seq, width]`.
    pub(crate) fn loss(
        &self,
        hidden: Tensor<B, 3>,
        labels: &[i32],
        options: LossOptions,
    ) -> Result<LossSum<B>, HeadError> {
        let vocab_size = match (self.lm_head, self.table) {
            (Some(lm_head), _) => lm_head.d_out(),
            (None, Some(table)) => table.dims()[0],
            (None, None) => 0,
        };
        let [batch, seq, _] = hidden.dims();
        let targets = targets([batch * seq, vocab_size], labels, options)?;
        let weight = targets.weight();
        if self.config.cap.is_some() || (self.packed.is_some() && self.lm_head.is_none()) {
            let sum = ops::cross_entropy(by_place(self.scores(hidden)), targets);
            return Ok(LossSum { sum, weight });
        }
        let hidden = by_place(self.scaled(hidden));
        let sum = match self.lm_head {
            Some(lm_head) => lm_head.cross_entropy(hidden, targets),
            None => {
                let (table, bias) = (self.table().transpose(), self.bias.map(Param::val));
                ops::linear_cross_entropy(hidden, table, bias, targets, self.products)
            }
        };
        Ok(LossSum { sum, weight })
    }

    /// Hidden states `[batch, seq, width]` → `[batch, vocab_size]` for the last token.
    pub(crate) fn last_scores(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2> {
        let [_, seq, _] = hidden.dims();
        self.scores(hidden.narrow(1, seq - 1, 1)).squeeze_dim(1)
    }

    fn table(&self) -> Tensor<B, 2> {
        match self.table {
            Some(table) => table.val(),
            None => unreachable!("a head without a layer has a token table"),
        }
    }

    fn scaled(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        if self.config.scale == 1.0 { hidden } else { hidden * self.config.scale }
    }

    fn capped(&self, scores: Tensor<B, 3>) -> Tensor<B, 3> {
        match self.config.cap {
            Some(cap) => (scores / cap).tanh() * cap,
            None => scores,
        }
    }
}
