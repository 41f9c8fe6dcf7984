//! What a tokenizer is trained to be: the keys of `[tokenizer]` in a run file.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tokenizers::normalizers::{
    BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD, Sequence as Normalizers, StripAccents,
};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::{SPECIAL_TOKENS, failed};
use crate::DataError;

/// Trainers and token tables allocate for the whole vocabulary in advance.
pub(super) const MAX_VOCAB_SIZE: usize = 1 << 24;

/// The characters that BERT counts as Chinese; as [`is_cjk`](super::words::is_cjk).
const CHINESE: &str = "[\u{4E00}-\u{9FFF}\u{3400}-\u{4DBF}\u{F900}-\u{FAFF}\u{2F800}-\u{2FA1F}\
                        \u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B820}-\u{2CEAF}]";

/// What the pieces of a tokenizer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerKind {
    /// Words cut into the longest known pieces, as BERT does.
    #[default]
    WordPiece,
    /// Merged byte pairs, as GPT-2 does; any text comes back exactly.
    Bpe,
    /// The most probable pieces of words with their blanks, as T5 and XLM-R do (Kudo 2018, arXiv:1804.10959).
    Unigram,
    /// Single characters; any text of known characters comes back exactly.
    Char,
    /// Whole words and punctuation marks.
    Word,
}

impl fmt::Display for TokenizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A normalisation form of Unicode (UAX #15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnicodeForm {
    /// Text stays as it is.
    #[default]
    None,
    /// Canonical composition: `e` and a combining acute become `é`.
    Nfc,
    /// Canonical decomposition.
    Nfd,
    /// Compatibility composition: `Ａ１` becomes `A1`, `ﬁ` becomes `fi`. What sentencepiece does.
    Nfkc,
    /// Compatibility decomposition.
    Nfkd,
}

/// What a tokenizer is trained to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerConfig {
    /// What its pieces are.
    pub kind: TokenizerKind,
    /// The most tokens, the seven special ones included.
    pub vocab_size: usize,
    /// The Unicode form that text is brought into, before anything else.
    pub unicode: UnicodeForm,
    /// Whether text is lower-cased.
    pub lowercase: bool,
    /// Whether `é` becomes `e`; where absent, as `lowercase` for word pieces and words (as BERT), else not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_accents: Option<bool>,
    /// Whether each Chinese character is a word of its own; where absent, for word pieces and words (as BERT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_chinese: Option<bool>,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self {
            kind: TokenizerKind::default(),
            vocab_size: 8000,
            unicode: UnicodeForm::default(),
            lowercase: false,
            strip_accents: None,
            split_chinese: None,
        }
    }
}

/// One thing wrong with a [`TokenizerConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerProblem {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for TokenizerProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tokenizer.{} = {}: expected {}", self.key, self.found, self.allowed)
    }
}

impl TokenizerConfig {
    /// Everything that is wrong.
    ///
    /// ```
    /// use locus_data::{TokenizerConfig, TokenizerKind};
    /// let config = TokenizerConfig { kind: TokenizerKind::Bpe, vocab_size: 200, ..Default::default() };
    /// let problem = config.check().remove(0).to_string();
    /// assert_eq!(problem, "tokenizer.vocab_size = 200: expected 263 to 16777216 for bpe");
    /// ```
    pub fn check(&self) -> Vec<TokenizerProblem> {
        let mut problems = Vec::new();
        let mut unless = |fits: bool, key, found: String, allowed: String| {
            if !fits {
                problems.push(TokenizerProblem { key, found, allowed });
            }
        };
        let least = SPECIAL_TOKENS.len()
            + match self.kind {
                TokenizerKind::Bpe => ByteLevel::alphabet().len(),
                TokenizerKind::Unigram => 2,
                TokenizerKind::WordPiece | TokenizerKind::Char | TokenizerKind::Word => 1,
            };
        unless(
            (least..=MAX_VOCAB_SIZE).contains(&self.vocab_size),
            "vocab_size",
            self.vocab_size.to_string(),
            format!("{least} to {MAX_VOCAB_SIZE} for {}", self.kind),
        );
        unless(
            self.kind != TokenizerKind::Char || self.split_chinese.is_none(),
            "split_chinese",
            self.split_chinese.unwrap_or_default().to_string(),
            "no such key for char: every character is a token".to_owned(),
        );
        problems
    }

    fn splits_words_as_bert(&self) -> bool {
        matches!(self.kind, TokenizerKind::WordPiece | TokenizerKind::Word)
    }

    /// What happens to the characters of a text.
    pub(super) fn normalizer(&self) -> Option<NormalizerWrapper> {
        let mut steps: Vec<NormalizerWrapper> = match self.unicode {
            UnicodeForm::None => Vec::new(),
            UnicodeForm::Nfc => vec![NFC.into()],
            UnicodeForm::Nfd => vec![NFD.into()],
            UnicodeForm::Nfkc => vec![NFKC.into()],
            UnicodeForm::Nfkd => vec![NFKD.into()],
        };
        if self.splits_words_as_bert() {
            let split_chinese = self.split_chinese.unwrap_or(true);
            steps.push(BertNormalizer::new(true, split_chinese, self.strip_accents, self.lowercase).into());
        } else {
            if self.strip_accents == Some(true) {
                // Marks can only be told from letters once decomposed; Hangul is composed again.
                steps.extend([NFD.into(), StripAccents.into(), NFC.into()]);
            }
            if self.lowercase {
                steps.push(Lowercase.into());
            }
        }
        if steps.len() < 2 { steps.pop() } else { Some(Normalizers::new(steps).into()) }
    }

    /// How a text is cut into words.
    pub(super) fn pre_tokenizer(&self) -> Result<Option<PreTokenizerWrapper>, DataError> {
        let mut steps: Vec<PreTokenizerWrapper> = match self.kind {
            TokenizerKind::Char => return Ok(None),
            TokenizerKind::WordPiece | TokenizerKind::Word => return Ok(Some(BertPreTokenizer.into())),
            TokenizerKind::Bpe => vec![ByteLevel::new(false, false, true).into()],
            TokenizerKind::Unigram => {
                vec![
                    Metaspace::new('▁', PrependScheme::Always, true).into(),
                    forgery_guard(SPECIAL_TOKENS.iter().copied())?,
                ]
            }
        };
        if self.split_chinese == Some(true) {
            // Ahead of byte-level pre-tokenisation, after which there are no characters any more.
            let at = usize::from(self.kind == TokenizerKind::Unigram);
            steps.insert(at, split(CHINESE)?);
        }
        Ok(if steps.len() < 2 { steps.pop() } else { Some(PreTokenizers::new(steps).into()) })
    }
}

fn split(pattern: &str) -> Result<PreTokenizerWrapper, DataError> {
    let pattern = SplitPattern::Regex(pattern.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
    Ok(split.map_err(failed("cannot build a word splitter"))?.into())
}

/// A step that cuts the first character off each special token that stands in plain text.
///
/// The special tokens of a unigram model stand among its pieces with the best score of all, so the text `</s>` would
/// become the end of text.
pub(super) fn forgery_guard<'a>(
    specials: impl IntoIterator<Item = &'a str>,
) -> Result<PreTokenizerWrapper, DataError> {
    let escape = |text: &str| -> String {
        let escaped = |c: char| r"\.+*?()|[]{}^$".contains(c).then_some('\\');
        text.chars().flat_map(|c| escaped(c).into_iter().chain([c])).collect()
    };
    // By first character, so that a character that begins no special token costs one look.
    let mut rests: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for token in specials {
        let (first, rest) = token.split_at(token.chars().next().map_or(0, char::len_utf8));
        if !rest.is_empty() {
            rests.entry(first).or_default().push(escape(rest));
        }
    }
    let alternatives: Vec<String> =
        rests.iter().map(|(first, rests)| format!("{}(?={})", escape(first), rests.join("|"))).collect();
    split(&alternatives.join("|"))
}
