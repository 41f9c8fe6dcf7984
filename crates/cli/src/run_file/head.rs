//! The head that a run file asks for.

use locus_heads::{
    EmbeddingLayer, HeadActivation, HeadConfig, Pooling, SentenceEmbeddingConfig, TokenPooling,
    TransformConfig,
};

use super::{RunFile, Task};

impl RunFile {
    /// The head for a number of labels.
    pub(crate) fn head(&self, n_labels: usize) -> HeadConfig {
        let pooling = self.model.pooling.unwrap_or_default();
        let tied = self.model.tied;
        match self.task {
            Task::Ner => HeadConfig::TokenClassification {
                n_labels,
                decoding: self.model.decoding,
                layers: Default::default(),
            },
            Task::Classify | Task::SentenceOrder => {
                HeadConfig::SequenceClassification { n_labels, pooling, layers: Default::default() }
            }
            Task::Multilabel => {
                HeadConfig::MultiLabelClassification { n_labels, pooling, layers: Default::default() }
            }
            Task::Regression => {
                HeadConfig::Regression { pooling, mean: 0.0, std: 1.0, layers: Default::default() }
            }
            Task::Embed => HeadConfig::SentenceEmbedding(SentenceEmbeddingConfig {
                pooling: vec![of_tokens(pooling)],
                layers: vec![EmbeddingLayer::Normalize],
                loss: self.train.in_batch_negatives,
                ..SentenceEmbeddingConfig::default()
            }),
            Task::Mlm => HeadConfig::MaskedLm {
                tied,
                bias: true,
                // As in BERT.
                transform: TransformConfig { activation: HeadActivation::Gelu, bias: true, norm: true },
            },
            Task::Lm | Task::PrefixLm => HeadConfig::CausalLm { tied, output: Default::default() },
            Task::Seq2seq | Task::SpanCorruption | Task::Denoising => {
                HeadConfig::Seq2Seq { tied, output: Default::default() }
            }
            Task::Qa => HeadConfig::QuestionAnswering { layers: Default::default() },
            Task::Rank | Task::MultipleChoice => self.ranking_head(),
        }
    }
}

/// The same pooling in a sentence embedder.
pub(super) fn of_tokens(pooling: Pooling) -> TokenPooling {
    match pooling {
        Pooling::Mean => TokenPooling::Mean,
        Pooling::First => TokenPooling::Cls,
        Pooling::Last => TokenPooling::Last,
    }
}
