//! What a model learns from plain text alone.

#[cfg(feature = "jieba")]
use std::sync::LazyLock;

use locus_data::DataError;
use locus_data::objective::corruption::SpanCorruption;
use locus_data::objective::denoising::Denoising;
use locus_data::objective::masked::{MaskUnit, MaskedLm};
use locus_data::objective::prefix::PrefixLm;
use locus_data::objective::replaced::ReplacedTokens;
use locus_data::objective::words::{PlainWords, WordSplitter};
use locus_heads::ReplacedTokensConfig;
use serde::{Deserialize, Serialize};

use crate::PipelineError;

/// How many sentinels a tokenizer gets that is trained for span corruption: as many as T5's has.
const N_SENTINELS: usize = 100;

/// What is learned from plain text, other than the next token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Objective {
    /// The tokens behind masks, from both sides.
    Mlm(Masking),
    /// Whether each token was replaced by what a generator says.
    ReplacedTokens(Replacing),
    /// The rest of a text, after a start that is read in both directions.
    PrefixLm(PrefixLm),
    /// The spans that sentinels stand for.
    SpanCorruption(SpanCorruption),
    /// A whole text from a damaged one.
    Denoising(Denoising),
    /// Whether two neighbouring segments are in their order or swapped.
    SentenceOrder {},
}

/// What is hidden of a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Masking {
    /// The share of tokens that are hidden.
    pub rate: f64,
    /// The share of hidden tokens that become the mask.
    pub mask_share: f64,
    /// The share of hidden tokens that become a random token; the rest stays.
    pub random_share: f64,
    /// Who says what a word is, for words and spans.
    pub words: Words,
    /// What is hidden together.
    pub unit: MaskUnit,
}

impl Default for Masking {
    fn default() -> Self {
        let MaskedLm { rate, mask_share, random_share, unit } = MaskedLm::default();
        Self { rate, mask_share, random_share, words: Words::default(), unit }
    }
}

impl Masking {
    pub(crate) fn hide(&self) -> MaskedLm {
        let Self { rate, mask_share, random_share, unit, .. } = *self;
        MaskedLm { rate, mask_share, random_share, unit }
    }
}

/// What is hidden of a text, and the generator that fills it in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replacing {
    /// The share of tokens that are hidden.
    pub rate: f64,
    /// The share of hidden tokens that become the mask; the rest stays.
    pub mask_share: f64,
    /// Who says what a word is, for words and spans.
    pub words: Words,
    /// What is hidden together.
    pub unit: MaskUnit,
    /// The generator's width as a share of the model's, in whole heads.
    pub generator_width: f64,
    /// What the loss of the model is multiplied by beside the generator's.
    pub discriminator_weight: f64,
    /// What the generator's scores are divided by before a token is drawn; 0 takes the best.
    pub temperature: f64,
}

impl Default for Replacing {
    fn default() -> Self {
        let ReplacedTokens { rate, mask_share, unit } = ReplacedTokens::default();
        let ReplacedTokensConfig { generator_width, discriminator_weight, temperature, .. } =
            ReplacedTokensConfig::default();
        let words = Words::default();
        Self { rate, mask_share, words, unit, generator_width, discriminator_weight, temperature }
    }
}

impl Replacing {
    pub(crate) fn hide(&self) -> ReplacedTokens {
        let Self { rate, mask_share, unit, .. } = *self;
        ReplacedTokens { rate, mask_share, unit }
    }

    /// The head that learns it.
    pub fn head(&self) -> ReplacedTokensConfig {
        let Self { generator_width, discriminator_weight, temperature, .. } = *self;
        ReplacedTokensConfig { generator_width, discriminator_weight, temperature, ..Default::default() }
    }
}

/// Who says what a word is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// Blanks and punctuation; each Chinese character is a word.
    #[default]
    Plain,
    /// The same, but Chinese is segmented by a dictionary.
    Chinese,
}

impl Words {
    /// Whether this build can find such words.
    pub fn are_available(self) -> bool {
        self == Self::Plain || cfg!(feature = "jieba")
    }

    pub(crate) fn splitter(self) -> Result<&'static dyn WordSplitter, PipelineError> {
        match self {
            Self::Plain => Ok(&PlainWords),
            #[cfg(feature = "jieba")]
            Self::Chinese => Ok(&*CHINESE),
            #[cfg(not(feature = "jieba"))]
            Self::Chinese => Err(PipelineError::NoChineseWords),
        }
    }
}

/// The dictionary takes a while to unpack.
#[cfg(feature = "jieba")]
static CHINESE: LazyLock<locus_data::objective::jieba::ChineseWords> = LazyLock::new(Default::default);

impl Objective {
    /// Its name, as a run file has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mlm(_) => "mlm",
            Self::ReplacedTokens(_) => "replaced_tokens",
            Self::PrefixLm(_) => "prefix_lm",
            Self::SpanCorruption(_) => "span_corruption",
            Self::Denoising(_) => "denoising",
            Self::SentenceOrder {} => "sentence_order",
        }
    }

    /// Everything that is out of range: `key = value: expected what is allowed`. What becomes part of a head is checked with
    /// the head.
    ///
    /// ```
    /// use locus_pipeline::{Masking, Objective};
    /// let problems = Objective::Mlm(Masking { rate: 2.0, ..Default::default() }).check();
    /// assert_eq!(problems, ["rate = 2: expected a share between 0 and 1"]);
    /// ```
    pub fn check(&self) -> Vec<String> {
        let (found, words) = match self {
            Self::Mlm(masking) => (masking.hide().check(), masking.words),
            Self::ReplacedTokens(replacing) => (replacing.hide().check(), replacing.words),
            Self::PrefixLm(config) => (config.check(), Words::Plain),
            Self::SpanCorruption(config) => (config.check(), Words::Plain),
            Self::Denoising(config) => (config.check(), Words::Plain),
            Self::SentenceOrder {} => (Ok(()), Words::Plain),
        };
        let mut problems: Vec<String> = match found {
            Ok(()) => Vec::new(),
            Err(DataError::Argument(text)) => text.split("; ").map(str::to_owned).collect(),
            Err(error) => vec![error.to_string()],
        };
        if !words.are_available() {
            problems
                .push("words = chinese: expected plain, as this build has no Chinese dictionary".to_owned());
        }
        problems
    }

    /// Why it cannot be learned from rows of tokens without their text, where it cannot.
    pub fn needs_text(&self) -> Option<&'static str> {
        match self {
            Self::Mlm(Masking { unit: MaskUnit::Word, .. })
            | Self::ReplacedTokens(Replacing { unit: MaskUnit::Word, .. }) => {
                Some("whole words are found in text")
            }
            Self::Denoising(Denoising { permute_sentences, .. }) if *permute_sentences == 0.0 => None,
            Self::Denoising(_) | Self::SentenceOrder {} => Some("sentences are found in text"),
            _ => None,
        }
    }

    /// The special tokens that a tokenizer needs beside the usual.
    pub fn special_tokens(&self) -> Vec<String> {
        match self {
            Self::SpanCorruption(_) => (0..N_SENTINELS).map(|n| format!("<extra_id_{n}>")).collect(),
            _ => Vec::new(),
        }
    }

    /// The labels of a classifier that learns it.
    pub fn labels(&self) -> &'static [&'static str] {
        match self {
            Self::SentenceOrder {} => &["in order", "swapped"],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_come_at_once() {
        let objective =
            Objective::Mlm(Masking { rate: -1.0, mask_share: 0.9, random_share: 0.2, ..Masking::default() });
        let problems = objective.check();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("rate = -1") && problems[1].contains("together"), "{problems:?}");
        assert_eq!(Objective::SentenceOrder {}.check(), Vec::<String>::new());
    }
}
