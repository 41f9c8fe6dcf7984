//! `[model]`: the model, `from` a folder or new.

use std::path::PathBuf;

use locus_encoder::StackConfig;
use locus_heads::{HeadConfig, Pooling, TagDecoding};
use locus_model::QuestionConfig;
use locus_pipeline::Tuning;

use super::head::of_tokens;
use super::section::section;
use super::{InitSection, is_usual};

section! {
    /// The model: `from` a folder, or new.
    pub(crate) struct ModelSection {
        /// A model folder whose weights, tokenizer and sizes are taken over.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) from: Option<PathBuf>,
        /// How a tagger's scores of words become tags.
        pub(crate) decoding: TagDecoding,
        /// How a classifier makes one vector of a row: as in `from`, or else the mean, where it is not said.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) pooling: Option<Pooling>,
        /// How it is decided on dev from which probability on a label is given, where a text may have several.
        pub(crate) thresholds: Tuning,
        /// Whether a language model's token table serves as output too.
        pub(crate) tied: bool,
        flattened("d_model")
        /// The stack.
        pub(crate) stack: StackConfig,
        /// Tables that do not begin at random.
        #[serde(skip_serializing_if = "is_usual")]
        pub(crate) init: InitSection,
        /// How long contexts are read and answers chosen.
        #[serde(skip_serializing_if = "is_usual")]
        pub(crate) questions: QuestionConfig,
    }
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            from: None,
            decoding: TagDecoding::default(),
            pooling: None,
            thresholds: Tuning::default(),
            tied: true,
            stack: StackConfig::default(),
            init: InitSection::default(),
            questions: QuestionConfig::default(),
        }
    }
}

impl ModelSection {
    /// The keys that are set otherwise than they are in this head.
    pub(crate) fn unheeded(&self, head: &HeadConfig) -> Vec<&'static str> {
        let mut keys = Vec::new();
        let pools_otherwise = |pooling| match head {
            HeadConfig::SentenceEmbedding(config) => config.pooling != [of_tokens(pooling)],
            head => head.pooling().is_some_and(|own| own != pooling),
        };
        if self.pooling.is_some_and(pools_otherwise) {
            keys.push("pooling");
        }
        // As it usually is, it may not have been set.
        if let HeadConfig::MaskedLm { tied: true, .. }
        | HeadConfig::CausalLm { tied: true, .. }
        | HeadConfig::Seq2Seq { tied: true, .. } = head
            && !self.tied
        {
            keys.push("tied");
        }
        keys
    }
}
