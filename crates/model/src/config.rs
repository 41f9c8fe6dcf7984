//! `config.json`: everything that makes the model again, but for its weights.

use locus_encoder::{ConfigProblem, StackConfig};
use locus_heads::{HeadConfig, RereadConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Generation;

use crate::QuestionConfig;

/// The version of the folder's layout.
pub const FORMAT_VERSION: u32 = 1;

/// Far above any vocabulary, and small enough to be multiplied with.
const LARGEST_VOCABULARY: usize = 1 << 24;

/// The configuration of a model folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Always `"locus"`.
    pub model_type: String,
    /// The version of the folder's layout.
    pub format_version: u32,
    /// The head.
    pub head: HeadConfig,
    /// The names of the labels, in the order of their numbers; empty for language models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The probability from which each label is given, in their order, where a row may have several; 0.5 where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<f64>,
    /// How long contexts are read, where the head answers questions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub questions: QuestionConfig,
    /// The label of texts that fit none of `labels`, which the head does not have: where a classifier meets such texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_scope: Option<String>,
    /// The language of a translation's targets, by which it is scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_language: Option<String>,
    /// What it learned from plain text, where that is not the next token: `objective` of the run file, which the pipeline
    /// reads, so that it can be scored in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<serde_json::Value>,
    /// How documents become rows, of a language model.
    #[serde(default, skip_serializing_if = "is_default")]
    pub packing: Packing,
    /// Number of tokens.
    pub vocab_size: usize,
    /// How many of them, the last, the tokenizer does not have: tables of checkpoints have rows to spare, so that their size is
    /// a round number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub n_spare_tokens: usize,
    /// The `model_type` of the checkpoint that the model comes from: the family that it is written as, if it still can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Ids of tokens with a part of their own, where the checkpoint that the model comes from names them; else they are the
    /// tokenizer's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub token_ids: TokenIds,
    /// Whether texts that a language model continues or learns begin with what its tokenizer puts ahead of a text (such as `<s>`).
    /// So they do in `transformers`, and in what comes from a checkpoint; models that began here have not read it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub add_bos_token: bool,
    /// How the makers of the checkpoint that the model comes from generate with it: their `generation_config.json`, whole, also
    /// what only `transformers` understands. [`ModelConfig::generation()`] reads it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub generation: Map<String, Value>,
    /// The stack.
    pub stack: StackConfig,
}

/// How documents become rows of a language model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// One stream, cut into rows; a token sees what is ahead of it in its row, whatever the document.
    #[default]
    Stream,
    /// The same rows, but a token sees its own document only, and positions begin anew with each.
    Documents,
}

/// Ids of tokens with a part of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenIds {
    /// Padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad: Option<u32>,
    /// Start of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos: Option<u32>,
    /// End of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eos: Option<u32>,
    /// Ahead of a text that is read, not written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cls: Option<u32>,
    /// After such a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sep: Option<u32>,
    /// What the decoder of an encoder–decoder reads first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_start: Option<u32>,
    /// What generation says first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced_bos: Option<u32>,
    /// What generation says last where a text reaches the most tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced_eos: Option<u32>,
}

impl TokenIds {
    /// The ids under the names that `transformers` has for them.
    pub fn named(&self) -> [(&'static str, Option<u32>); 8] {
        [
            ("pad_token_id", self.pad),
            ("bos_token_id", self.bos),
            ("eos_token_id", self.eos),
            ("cls_token_id", self.cls),
            ("sep_token_id", self.sep),
            ("decoder_start_token_id", self.decoder_start),
            ("forced_bos_token_id", self.forced_bos),
            ("forced_eos_token_id", self.forced_eos),
        ]
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ModelConfig {
    /// A configuration of this version.
    pub fn new(head: HeadConfig, labels: Vec<String>, vocab_size: usize, stack: StackConfig) -> Self {
        Self {
            model_type: "locus".to_owned(),
            format_version: FORMAT_VERSION,
            head,
            labels,
            thresholds: Vec::new(),
            questions: QuestionConfig::default(),
            out_of_scope: None,
            target_language: None,
            objective: None,
            packing: Packing::default(),
            vocab_size,
            n_spare_tokens: 0,
            family: None,
            token_ids: TokenIds::default(),
            add_bos_token: false,
            generation: Map::new(),
            stack,
        }
    }

    /// What `generation` says.
    ///
    /// # Errors
    /// If a key has a value of another type.
    pub fn generation(&self) -> Result<Generation, String> {
        Generation::read(&self.generation)
    }

    /// Everything that is wrong with it.
    pub fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = self.head.check(&self.stack);
        let mut unless = |fits: bool, key: &str, found: String, allowed: String| {
            if !fits {
                problems.push(ConfigProblem { key: key.to_owned(), found, allowed });
            }
        };
        unless(self.model_type == "locus", "model_type", self.model_type.clone(), "locus".to_owned());
        let version = format!("{FORMAT_VERSION} (a folder of another version of Locus)");
        unless(
            self.format_version == FORMAT_VERSION,
            "format_version",
            self.format_version.to_string(),
            version,
        );
        let (size, allowed) = (self.vocab_size.to_string(), format!("1 to {LARGEST_VOCABULARY}"));
        unless((1..=LARGEST_VOCABULARY).contains(&self.vocab_size), "vocab_size", size, allowed);
        let (n_spare, allowed) = (self.n_spare_tokens, format!("less than vocab_size = {}", self.vocab_size));
        unless(
            n_spare == 0 || n_spare < self.vocab_size,
            "n_spare_tokens",
            n_spare.to_string(),
            allowed.clone(),
        );
        for (name, id) in self.token_ids.named() {
            let (key, id) = (format!("token_ids.{}", name.trim_end_matches("_token_id")), id.unwrap_or(0));
            unless(id == 0 || (id as usize) < self.vocab_size, &key, id.to_string(), allowed.clone());
        }
        if let Some(RereadConfig { start, end }) = self.head.layers().and_then(|layers| layers.decoder) {
            for (key, id) in [("decoder_start", start), ("eos", end)] {
                let fits = (id as usize) < self.vocab_size;
                unless(fits, &format!("{key}_token_id"), id.to_string(), allowed.clone());
            }
        }
        if let Err(found) = self.generation() {
            let allowed = "values as in generation_config.json of transformers".to_owned();
            unless(false, "generation", found, allowed);
        }
        if let Some(n_labels) = self.head.n_labels() {
            let allowed = format!("{n_labels} names, as many as the head has labels");
            unless(self.labels.len() == n_labels, "labels", format!("{} names", self.labels.len()), allowed);
        }
        if !self.thresholds.is_empty() {
            let n = self.thresholds.len();
            let multi =
                matches!(self.head, HeadConfig::MultiLabelClassification { n_labels, .. } if n_labels == n);
            let allowed = "one per label of a multi-label head".to_owned();
            unless(multi, "thresholds", format!("{n} thresholds"), allowed);
            let outside = self.thresholds.iter().find(|&&p| !(0.0..=1.0).contains(&p));
            let allowed = "probabilities from 0 to 1".to_owned();
            unless(outside.is_none(), "thresholds", format!("{}", outside.unwrap_or(&0.0)), allowed);
        }
        if let Some(label) = &self.out_of_scope {
            let classifies = matches!(self.head, HeadConfig::SequenceClassification { .. });
            let allowed = "a label that a classifier of texts does not have".to_owned();
            unless(classifies && !self.labels.contains(label), "out_of_scope", label.clone(), allowed);
        }
        if matches!(self.head, HeadConfig::QuestionAnswering { .. }) {
            problems.extend(self.questions.check());
        } else if self.questions != QuestionConfig::default() {
            let allowed = "none: only a head for questions reads it".to_owned();
            unless(false, "questions", "values of its own".to_owned(), allowed);
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use locus_encoder::StackConfig;
    use locus_heads::{ClassifierConfig, HeadConfig, RereadConfig};

    use super::ModelConfig;

    #[test]
    fn what_a_decoder_reads_first_and_last_is_in_the_vocabulary() {
        let keys = |start, end| -> Vec<String> {
            let decoder = Some(RereadConfig { start, end });
            let head =
                HeadConfig::QuestionAnswering { layers: ClassifierConfig { decoder, ..Default::default() } };
            let stack = StackConfig { d_model: 12, n_heads: 2, ..StackConfig::default() };
            let config = ModelConfig::new(head, Vec::new(), 11, stack);
            config.check().into_iter().map(|problem| problem.key).collect()
        };
        assert!(keys(10, 10).is_empty(), "{:?}", keys(10, 10));
        assert_eq!(keys(11, 10), ["decoder_start_token_id"]);
        assert_eq!(keys(u32::MAX, 13), ["decoder_start_token_id", "eos_token_id"]);
    }
}
