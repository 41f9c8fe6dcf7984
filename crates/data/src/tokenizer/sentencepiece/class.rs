//! The classes of tokenizers of `transformers` whose file is one model of SentencePiece.

use std::path::Path;

use serde_json::{Map, Value};

use super::super::load::CONVERT;
use super::super::settings::{Settings, object};
use crate::DataError;

/// A class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// T5 and mT5: `…</s>`, and `<extra_id_N>` at the end of the vocabulary.
    T5,
    /// ALBERT: `[CLS] … [SEP]`; may drop case and accents.
    Albert,
    /// DeBERTa-v2 and v3: `[CLS] … [SEP]`, and `[MASK]` behind the pieces.
    Deberta,
    /// XLM-R: `<s> … </s>`, with the ids of fairseq.
    XlmRoberta,
    /// Llama and Mistral: byte pairs, bytes for unknown characters, `<s> …`.
    Llama,
    /// Gemma: as Llama, without a blank ahead of a text, `<bos> …`.
    Gemma,
}

/// The names of each class: of the class itself, then the `model_type`s that have it.
const NAMES: [(Class, &[&str]); 6] = [
    (Class::T5, &["T5Tokenizer", "MT5Tokenizer", "t5", "mt5"]),
    (Class::Albert, &["AlbertTokenizer", "albert"]),
    (Class::Deberta, &["DebertaV2Tokenizer", "deberta-v2"]),
    (Class::XlmRoberta, &["XLMRobertaTokenizer", "xlm-roberta"]),
    (Class::Llama, &["LlamaTokenizer", "llama", "mistral"]),
    (Class::Gemma, &["GemmaTokenizer", "gemma", "gemma2", "gemma3", "gemma3_text"]),
];
/// A name that says nothing of how a text is cut.
const ANY: &str = "PreTrainedTokenizer";

impl Class {
    /// The class of a model, as `tokenizer_config.json` or `config.json` beside it names it.
    pub(super) fn of(model: &Path, settings: &Settings) -> Result<Self, DataError> {
        let wrong = |message: String| DataError::Format { path: model.to_owned(), message };
        let path = model.with_file_name("config.json");
        let config = if path.is_file() { object(&path)? } else { Map::new() };
        let of_config = |key: &str| config.get(key).and_then(Value::as_str);
        let classes = [settings.text("tokenizer_class"), of_config("tokenizer_class")].into_iter().flatten();
        let classes = classes.map(|name| name.trim_end_matches("Fast")).filter(|name| *name != ANY);
        let known = NAMES.map(|(_, names)| names[0]).join(", ");
        let Some(name) = classes.chain(of_config("model_type")).next() else {
            return Err(wrong(format!(
                "nothing says how this model of SentencePiece frames a text; name the class in tokenizer_config.json beside \
                 it, {{\"tokenizer_class\": \"{}\"}}, or the model_type in config.json; classes that are read: {known}",
                NAMES[0].1[0]
            )));
        };
        let class = NAMES.into_iter().find(|(_, names)| names.contains(&name)).map(|(class, _)| class);
        class.ok_or_else(|| {
            wrong(format!(
                "the models of SentencePiece of `{name}` are not read, only those of {known}; {CONVERT}"
            ))
        })
    }

    /// The usual tokens of its roles, in the order in which those that the pieces lack are added.
    pub(super) fn usual_roles(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::T5 => &[("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")],
            Self::Albert => &[
                ("unk_token", "<unk>"),
                ("sep_token", "[SEP]"),
                ("pad_token", "<pad>"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::Deberta => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::XlmRoberta => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("sep_token", "</s>"),
                ("pad_token", "<pad>"),
                ("cls_token", "<s>"),
                ("mask_token", "<mask>"),
            ],
            Self::Llama => &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")],
            Self::Gemma => &[
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
            ],
        }
    }

    /// Whether its pieces are merged pairs.
    pub(super) fn merges_pairs(self) -> bool {
        matches!(self, Self::Llama | Self::Gemma)
    }

    /// The roles of the tokens ahead of a text and behind it.
    pub(super) fn frame_roles(self) -> [&'static str; 2] {
        match self {
            Self::Albert | Self::Deberta | Self::XlmRoberta => ["cls_token", "sep_token"],
            Self::T5 | Self::Llama | Self::Gemma => ["bos_token", "eos_token"],
        }
    }

    /// What stands around one text and around two, given the tokens of [`Class::frame_roles`]; none where a text stands alone.
    pub(super) fn frame(self, settings: &Settings, start: &str, end: &str) -> Option<(String, String)> {
        let frame = match self {
            Self::T5 => (format!("$A {end}"), format!("$A {end} $B {end}")),
            Self::Albert | Self::Deberta => {
                (format!("{start} $A {end}"), format!("{start} $A {end} $B:1 {end}:1"))
            }
            Self::XlmRoberta => (format!("{start} $A {end}"), format!("{start} $A {end} {end} $B {end}")),
            Self::Llama | Self::Gemma => {
                let has =
                    |key, usual, token: &str| settings.switch(key).unwrap_or(usual) && !token.is_empty();
                let start = has("add_bos_token", true, start).then_some(start);
                let end = has("add_eos_token", false, end).then_some(end);
                if start.is_none() && end.is_none() {
                    return None;
                }
                let around = |text: &str, segment: &str| {
                    let parts = [start, Some(text), end].into_iter().flatten();
                    parts.map(|part| format!("{part}{segment}")).collect::<Vec<_>>().join(" ")
                };
                (around("$A", ""), format!("{} {}", around("$A", ""), around("$B", ":1")))
            }
        };
        Some(frame)
    }
}
