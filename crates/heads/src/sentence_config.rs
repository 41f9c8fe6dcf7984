//! The configuration of a sentence embedder.

use std::collections::BTreeMap;

use locus_embedding::position::Form;
use locus_encoder::ConfigProblem;
use serde::{Deserialize, Serialize};

use crate::{InBatchNegatives, PairLoss, TransformConfig};

/// How the vectors of tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenPooling {
    /// The vector of the first token, `[CLS]` in BERT.
    Cls,
    /// The largest number of each dimension.
    Max,
    /// The mean.
    Mean,
    /// The sum over the root of the number of tokens.
    MeanSqrtLen,
    /// The mean in which the token at place `i`, from 1, counts `i` times (Muennighoff 2022, arXiv:2202.08904).
    WeightedMean,
    /// The vector of the last token.
    Last,
}

/// A layer behind the pooling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EmbeddingLayer {
    /// `f(x · W + b)`.
    Dense {
        /// Width of the output.
        d_out: usize,
        /// Whether there is a bias.
        bias: bool,
        /// What follows the projection.
        activation: DenseActivation,
    },
    /// Division by the length, so that a product of two vectors is their cosine.
    Normalize,
}

/// The activation of a dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenseActivation {
    /// None.
    Identity,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
    /// Gaussian error linear unit, exact.
    Gelu,
    /// Rectified linear unit.
    Relu,
    /// Sigmoid linear unit.
    Silu,
}

/// How alike two texts are, by their vectors. It changes no vector; programs that compare them read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// The cosine of their angle.
    #[default]
    Cosine,
    /// Their product.
    Dot,
    /// Their distance, with its sign turned.
    Euclidean,
    /// The sum of differences, with its sign turned.
    Manhattan,
}

/// A sentence embedder: how it pools, what follows, and how texts are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SentenceEmbeddingConfig {
    /// Whether the stack is an encoder or a decoder.
    pub form: Form,
    /// The pooling: one or several, whose vectors are put one after another, in the order of [`TokenPooling`].
    pub pooling: Vec<TokenPooling>,
    /// Whether the tokens of a prompt are pooled too.
    pub include_prompt: bool,
    /// What follows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<EmbeddingLayer>,
    /// The pooler of a checkpoint, which is carried and not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooler: Option<TransformConfig>,
    /// How many tokens of a text are read, special ones included; as many as the stack takes where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seq_len: Option<usize>,
    /// Whether texts are put into lower case before the tokenizer sees them.
    pub lowercase: bool,
    /// What is put before a text, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub prompts: BTreeMap<String, String>,
    /// The name of the prompt that is taken where none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_prompt: Option<String>,
    /// How vectors are meant to be compared.
    pub similarity: Similarity,
    /// The loss to train with.
    #[serde(skip_serializing_if = "is_in_batch")]
    pub pair_loss: PairLoss,
    /// How the loss is that has the targets of other pairs as negatives.
    pub loss: InBatchNegatives,
}

fn is_in_batch(loss: &PairLoss) -> bool {
    *loss == PairLoss::InBatchNegatives
}

impl Default for SentenceEmbeddingConfig {
    /// The mean over all tokens.
    fn default() -> Self {
        Self {
            form: Form::Bidirectional,
            pooling: vec![TokenPooling::Mean],
            include_prompt: true,
            layers: Vec::new(),
            pooler: None,
            max_seq_len: None,
            lowercase: false,
            prompts: BTreeMap::new(),
            default_prompt: None,
            similarity: Similarity::default(),
            pair_loss: PairLoss::default(),
            loss: InBatchNegatives::default(),
        }
    }
}

/// No dense layer is wider: far above any, and small enough that a slip of the pen does not exhaust the memory.
const WIDEST: usize = 1 << 16;

impl SentenceEmbeddingConfig {
    /// How many of the layers are dense.
    pub fn n_dense(&self) -> usize {
        self.layers.iter().filter(|layer| matches!(layer, EmbeddingLayer::Dense { .. })).count()
    }

    /// The dense layers on a stack whose vectors are `width` wide: input, output, and whether there is a bias.
    ///
    /// ```
    /// use locus_heads::{DenseActivation, EmbeddingLayer, SentenceEmbeddingConfig, TokenPooling};
    /// let dense = EmbeddingLayer::Dense { d_out: 5, bias: true, activation: DenseActivation::Tanh };
    /// let config = SentenceEmbeddingConfig {
    ///     pooling: vec![TokenPooling::Cls, TokenPooling::Mean],
    ///     layers: vec![dense],
    ///     ..SentenceEmbeddingConfig::default()
    /// };
    /// assert_eq!(config.dense(7), [([14, 5], true)]);
    /// ```
    pub fn dense(&self, width: usize) -> Vec<([usize; 2], bool)> {
        let mut d_in = width * self.pooling.len();
        let mut shapes = Vec::new();
        for layer in &self.layers {
            if let EmbeddingLayer::Dense { d_out, bias, .. } = *layer {
                shapes.push(([d_in, d_out], bias));
                d_in = d_out;
            }
        }
        shapes
    }

    /// How wide the vectors are, on a stack whose vectors are `width` wide.
    pub fn d_embedding(&self, width: usize) -> usize {
        let pooled = width * self.pooling.len();
        self.dense(width).last().map_or(pooled, |([_, d_out], _)| *d_out)
    }

    /// Input and output of the layer that scores the labels of pairs, on a stack whose vectors are `width` wide; none where pairs
    /// have no labels.
    ///
    /// ```
    /// use locus_heads::{PairLoss, SentenceEmbeddingConfig};
    /// let pair_loss = PairLoss::Softmax { n_labels: 3 };
    /// let config = SentenceEmbeddingConfig { pair_loss, ..SentenceEmbeddingConfig::default() };
    /// assert_eq!(config.classifier(7), Some([21, 3]));
    /// ```
    pub fn classifier(&self, width: usize) -> Option<[usize; 2]> {
        self.pair_loss.n_labels().map(|n_labels| [3 * self.d_embedding(width), n_labels])
    }

    /// Everything that is wrong with it.
    pub(crate) fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut unless = |fits: bool, key: &str, found: String, allowed: String| {
            if !fits {
                problems.push(ConfigProblem { key: key.to_owned(), found, allowed });
            }
        };
        let in_order = !self.pooling.is_empty() && self.pooling.windows(2).all(|two| two[0] < two[1]);
        let order = "one or several of cls, max, mean, mean_sqrt_len, weighted_mean, last, in this order";
        unless(in_order, "pooling", format!("{:?}", self.pooling), order.to_owned());
        for layer in &self.layers {
            if let EmbeddingLayer::Dense { d_out, .. } = layer {
                let allowed = format!("1 to {WIDEST}");
                unless((1..=WIDEST).contains(d_out), "layers.dense.d_out", d_out.to_string(), allowed);
            }
        }
        unless(self.max_seq_len != Some(0), "max_seq_len", "0".to_owned(), "at least 1".to_owned());
        let scale = self.loss.scale;
        let allowed = "a finite number above 0; 20 is usual".to_owned();
        unless(scale.is_finite() && scale > 0.0, "loss.scale", scale.to_string(), allowed);
        if let Some(name) = &self.default_prompt {
            let known: Vec<&str> = self.prompts.keys().map(String::as_str).collect();
            let allowed = format!("one of the prompts: {}", known.join(", "));
            unless(self.prompts.contains_key(name), "default_prompt", name.clone(), allowed);
        }
        problems.extend(self.pair_loss.check());
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cosent;

    #[test]
    fn everything_wrong_is_found_at_once() {
        assert_eq!(SentenceEmbeddingConfig::default().check(), []);
        let dense = EmbeddingLayer::Dense { d_out: 0, bias: false, activation: DenseActivation::Identity };
        let wrong = SentenceEmbeddingConfig {
            pooling: vec![TokenPooling::Mean, TokenPooling::Cls],
            layers: vec![dense],
            max_seq_len: Some(0),
            default_prompt: Some("query".to_owned()),
            loss: InBatchNegatives { scale: f64::NAN, symmetric: false },
            pair_loss: PairLoss::Cosent(Cosent { scale: -1.0 }),
            ..SentenceEmbeddingConfig::default()
        };
        let keys: Vec<String> = wrong.check().into_iter().map(|problem| problem.key).collect();
        let before = ["pooling", "layers.dense.d_out", "max_seq_len", "loss.scale", "default_prompt"];
        assert_eq!(keys[..5], before);
        assert_eq!(keys[5..], ["pair_loss.cosent.scale"]);
    }
}
