//! The files of a tokenizer: those that it was read from, ours, and what `transformers` reads.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokenizers::NormalizerWrapper;

use super::frame::find_specials;
use super::settings::{CONFIG_FILE, SPECIALS_FILE, Settings};
use super::{TOKENIZER_FILE, Tokenizer, write_atomic};
use crate::DataError;
use crate::error::io;

/// What stands beside a tokenizer and says how `transformers` reads it and how it makes a prompt of a conversation.
const BESIDE: [&str; 3] = [CONFIG_FILE, SPECIALS_FILE, "chat_template.jinja"];

/// Files as they were read, which go wherever the tokenizer goes: `transformers` reads more in them than is understood here.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    /// `tokenizer.json`; none where the tokenizer was read from others, or made here.
    pub(super) tokenizer: Option<Arc<str>>,
    /// Those beside it.
    pub(super) beside: Vec<(&'static str, Arc<str>)>,
}

impl Kept {
    /// The files of the tokenizer that was read from `path`.
    pub(super) fn of(path: &Path) -> Result<Self, DataError> {
        let read = |path: &Path| -> Result<Arc<str>, DataError> {
            std::fs::read_to_string(path).map(Arc::from).map_err(|error| io("read", path, error))
        };
        let is_tokenizer = path.extension().is_some_and(|end| end == "json") && !path.ends_with("vocab.json");
        let tokenizer = is_tokenizer.then(|| read(path)).transpose()?;
        let there = BESIDE.map(|name| (name, path.with_file_name(name)));
        let beside = there.into_iter().filter(|(_, path)| path.is_file());
        let beside = beside.map(|(name, path)| read(&path).map(|text| (name, text)));
        Ok(Self { tokenizer, beside: beside.collect::<Result<_, _>>()? })
    }
}

impl Tokenizer {
    /// Writes `tokenizer.json`, and the other [files](Self::files) beside it. Each is written whole or not at all: to a
    /// file beside it, flushed to disk, then renamed.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        for (name, text) in self.files()? {
            let path = if name == TOKENIZER_FILE { path.to_owned() } else { path.with_file_name(name) };
            write_atomic(&path, text.as_bytes())?;
        }
        Ok(())
    }

    /// The files of this tokenizer, name and content: `tokenizer.json`, and `tokenizer_config.json`, `special_tokens_map.json`
    /// and `chat_template.jinja` as they stood beside what was read; where nothing did, `special_tokens_map.json` if
    /// special tokens have other names than the usual.
    ///
    /// # Errors
    /// If the tokenizer cannot be written as JSON.
    pub fn files(&self) -> Result<Vec<(&'static str, String)>, DataError> {
        let json = match &self.kept.tokenizer {
            Some(text) => text.to_string(),
            None => self.to_json()? + "\n",
        };
        let mut files = vec![(TOKENIZER_FILE, json)];
        files.extend(self.kept.beside.iter().map(|(name, text)| (*name, text.to_string())));
        if files.len() == 1 && find_specials(&self.inner, &Settings::default())? != self.specials {
            let roles =
                self.specials.roles().map(|(key, id)| (key.to_owned(), id.and_then(|id| self.token(id))));
            let map: serde_json::Map<_, _> =
                roles.into_iter().map(|(key, token)| (key, token.into())).collect();
            files.push((SPECIALS_FILE, format!("{:#}\n", Value::Object(map))));
        }
        Ok(files)
    }

    /// The files by which `transformers` reads a tokenizer of two models of SentencePiece, name and content; none of any other.
    ///
    /// # Errors
    /// If the vocabulary cannot be written as JSON.
    pub fn sentencepiece_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>, DataError> {
        self.pair.as_ref().map_or(Ok(Vec::new()), |pair| pair.files(&self.inner))
    }

    /// A `tokenizer_config.json` by which `transformers` gives the ids that are given here, for a tokenizer that came without
    /// one. The class of a family would put settings of its own over those in `tokenizer.json` (BERT's lowercases); the
    /// general one takes them as they are. `max_seq_len` is in tokens; a model that has no vectors of segments gets none.
    ///
    /// ```
    /// use locus_data::{Tokenizer, TokenizerKind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tokenizer = Tokenizer::train(TokenizerKind::WordPiece, 50, false, ["Anna sings"])?;
    /// let config: serde_json::Value = serde_json::from_str(&tokenizer.transformers_config(64, true))?;
    /// assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
    /// assert_eq!(config["model_max_length"], 64);
    /// assert_eq!(config["do_lower_case"], false);
    /// assert_eq!(config["mask_token"], "[MASK]");
    /// # Ok(()) }
    /// ```
    pub fn transformers_config(&self, max_seq_len: usize, has_segments: bool) -> String {
        let class = if self.pair.is_some() { "MarianTokenizer" } else { "PreTrainedTokenizerFast" };
        let mut inputs = vec!["input_ids", "attention_mask"];
        if has_segments {
            inputs.insert(1, "token_type_ids");
        }
        let mut config = json!({
            "tokenizer_class": class,
            "model_max_length": max_seq_len,
            "model_input_names": inputs,
            "clean_up_tokenization_spaces": false,
        });
        // For whoever names BERT's class all the same.
        if let Some(NormalizerWrapper::BertNormalizer(bert)) = self.inner.get_normalizer() {
            config["do_lower_case"] = bert.lowercase.into();
            config["strip_accents"] = bert.strip_accents.into();
            config["tokenize_chinese_chars"] = bert.handle_chinese_chars.into();
        }
        for (key, id) in self.specials.roles() {
            if let Some(token) = id.and_then(|id| self.token(id)) {
                config[key] = token.into();
            }
        }
        format!("{config:#}\n")
    }
}
