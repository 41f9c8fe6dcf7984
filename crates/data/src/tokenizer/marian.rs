//! Marian's tokenizer (the OPUS-MT models): a model of SentencePiece for each language, with one vocabulary.
//!
//! A text of the source is cut by the one model, a translation by the other; a piece has the id that `vocab.json` gives it, and is
//! unknown where that has none. A code such as `>>fra<<` ahead of a text, which says what language to translate into, is one token.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer};

use super::sentencepiece::{BLANK, Piece, SentencePiece};
use super::settings::Settings;
use super::train::template;
use super::{Encoding, failed};
use crate::DataError;
use crate::error::{Problems, io};

/// The models and their vocabulary.
pub(super) const FILES: [&str; 3] = ["source.spm", "target.spm", "vocab.json"];

/// The key of such a tokenizer in a `tokenizer.json` of ours.
const KEY: &str = "sentencepiece_pair";

/// Each role of a mark: its key in a Hugging Face folder, and its usual name.
const ROLES: [(&str, &str); 3] = [("unk_token", "<unk>"), ("eos_token", "</s>"), ("pad_token", "<pad>")];

/// A model as its file holds it, and read.
#[derive(Debug, Clone)]
struct Side {
    bytes: Vec<u8>,
    model: SentencePiece,
}

/// Both models.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    source: Side,
    target: Side,
    unk: u32,
    /// Unknown, end and padding: no text becomes them.
    marks: [u32; 3],
    /// Their names.
    names: [String; 3],
}

/// What its files hold.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// In hexadecimal digits.
    source: String,
    /// Likewise.
    target: String,
    vocab: BTreeMap<String, u32>,
    /// The names of unknown, end and padding; the usual ones where they are lacking.
    #[serde(default = "usual_names")]
    marks: [String; 3],
}

fn usual_names() -> [String; 3] {
    ROLES.map(|(_, usual)| usual.to_owned())
}

/// A `tokenizer.json` of ours.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sentencepiece_pair: Stored,
}

/// Whether a file, the beginning of which is given, is a `tokenizer.json` of ours with two models.
pub(super) fn is_pair(json: &[u8]) -> bool {
    let key = json.iter().position(|byte| *byte == b'"').map(|quote| &json[quote + 1..]);
    key.is_some_and(|key| key.starts_with(KEY.as_bytes()))
}

/// Whether the folder of a file has one of the two models.
pub(super) fn is_beside(path: &Path) -> bool {
    FILES[..2].iter().any(|name| path.with_file_name(name).is_file())
}

/// Reads the three files beside one of them.
pub(super) fn read(path: &Path, settings: &Settings) -> Result<(HfTokenizer, Pair), DataError> {
    let format = |name: &str, message: String| DataError::Format { path: path.with_file_name(name), message };
    if let Some(missing) = FILES.into_iter().find(|name| !path.with_file_name(name).is_file()) {
        let message =
            "no such file; a tokenizer of Marian has source.spm, target.spm and vocab.json".to_owned();
        return Err(format(missing, message));
    }
    if settings.switch("separate_vocabs") == Some(true) {
        let message = "separate_vocabs = true: expected one vocabulary for both languages".to_owned();
        return Err(format("tokenizer_config.json", message));
    }
    let bytes = |name: &str| {
        let path = path.with_file_name(name);
        std::fs::read(&path).map_err(|error| io("read", &path, error))
    };
    let [source, target] = [FILES[0], FILES[1]];
    let side = |name: &str| Side::read(bytes(name)?).map_err(|problem| format(name, problem));
    let vocab = serde_json::from_slice(&bytes(FILES[2])?).map_err(|error| {
        let path = path.with_file_name(FILES[2]);
        Problems::only(&path, error.line(), format!("expected an object of tokens with ids: {error}"))
    })?;
    with_vocab(side(source)?, side(target)?, vocab, settings).map_err(|problem| format(FILES[2], problem))
}

/// Reads a `tokenizer.json` of ours.
pub(super) fn from_json(json: &[u8], settings: &Settings) -> Result<(HfTokenizer, Pair), DataError> {
    let wrong = |problem: String| failed("cannot read tokenizer.json")(problem.into());
    let file: File = serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
    let Stored { source, target, vocab, marks } = file.sentencepiece_pair;
    let side = |digits: &str, name: &str| {
        let bytes = from_hex(digits).ok_or_else(|| "expected pairs of hexadecimal digits".to_owned());
        bytes.and_then(Side::read).map_err(|problem| wrong(format!("{name}: {problem}")))
    };
    let (source, target) = (side(&source, "source")?, side(&target, "target")?);
    with_vocab(source, target, vocab, &settings.or_roles(roles(&marks))).map_err(wrong)
}

/// The keys of marks with their names.
fn roles(names: &[String; 3]) -> impl Iterator<Item = (&str, &str)> {
    ROLES.iter().map(|(key, _)| *key).zip(names.iter().map(String::as_str))
}

/// The vocabulary as a tokenizer that knows ids, and what stands around a text, but cuts none.
fn with_vocab(
    source: Side,
    target: Side,
    vocab: BTreeMap<String, u32>,
    settings: &Settings,
) -> Result<(HfTokenizer, Pair), String> {
    let mut by_id: BTreeMap<u32, &str> = BTreeMap::new();
    for (token, id) in &vocab {
        if let Some(other) = by_id.insert(*id, token) {
            return Err(format!("`{other}` and `{token}` are both {id}"));
        }
    }
    let named = ROLES.map(|(key, usual)| settings.role_or(key, usual).unwrap_or(usual));
    let ids = named.map(|token| vocab.get(token).copied());
    let [Some(unk), Some(eos), Some(pad)] = ids else {
        let lacking: Vec<&str> =
            named.into_iter().zip(ids).filter(|(_, id)| id.is_none()).map(|(token, _)| token).collect();
        return Err(format!(
            "expected tokens for unknown, end and padding; {} not found; where they have other names, \
             special_tokens_map.json beside it says which",
            lacking.join(", ")
        ));
    };
    let model = WordLevel::builder()
        .vocab(vocab.iter().map(|(token, id)| (token.clone(), *id)).collect::<Vocab>())
        .unk_token(named[0].to_owned())
        .build()
        .map_err(|error| error.to_string())?;
    let mut tokenizer = HfTokenizer::new(model);
    tokenizer.add_special_tokens(&named.map(|token| AddedToken::from(token, true)));
    let end = named[1];
    let frame = template(&format!("$A {end}"), &format!("$A $B {end}"), &[(end, eos)]);
    tokenizer.with_post_processor(Some(frame.map_err(|error| error.to_string())?));
    let names = named.map(str::to_owned);
    Ok((tokenizer, Pair { source, target, unk, marks: [unk, eos, pad], names }))
}

impl Side {
    fn read(bytes: Vec<u8>) -> Result<Self, String> {
        let model = SentencePiece::read(&bytes)?;
        Ok(Self { bytes, model })
    }
}

impl Pair {
    /// The keys of its marks with their names.
    pub(super) fn roles(&self) -> impl Iterator<Item = (&str, &str)> {
        roles(&self.names)
    }

    /// A text of the source under the vocabulary.
    pub(super) fn encode(&self, vocabulary: &HfTokenizer, text: &str) -> Encoding {
        self.encode_by(&self.source.model, vocabulary, text)
    }

    /// A translation.
    pub(super) fn encode_target(&self, vocabulary: &HfTokenizer, text: &str) -> Encoding {
        self.encode_by(&self.target.model, vocabulary, text)
    }

    fn encode_by(&self, model: &SentencePiece, vocabulary: &HfTokenizer, text: &str) -> Encoding {
        let n_code = code(text).len();
        let mut encoding = Encoding::default();
        let mut word: Option<usize> = None;
        let mut add = |token: &str, range: Range<usize>, begins: bool| {
            word = Some(word.map_or(0, |word| word + usize::from(begins)));
            let id = vocabulary.token_to_id(token).filter(|id| !self.marks.contains(id));
            encoding.ids.push(id.unwrap_or(self.unk));
            encoding.offsets.push(range);
            encoding.words.push(word);
        };
        if n_code > 0 {
            add(&text[..n_code], 0..n_code, true);
        }
        for Piece { text, range } in model.encode(&text[n_code..]) {
            add(&text, range.start + n_code..range.end + n_code, text.starts_with(BLANK));
        }
        encoding
    }

    /// The text of a `tokenizer.json` of ours.
    pub(super) fn to_json(&self, vocabulary: &HfTokenizer) -> Result<String, DataError> {
        let stored = Stored {
            source: to_hex(&self.source.bytes),
            target: to_hex(&self.target.bytes),
            vocab: vocabulary.get_vocab(true).into_iter().collect(),
            marks: self.names.clone(),
        };
        serde_json::to_string(&File { sentencepiece_pair: stored })
            .map_err(|error| failed("cannot write tokenizer.json")(error.into()))
    }

    /// The files that `transformers` reads, name and content.
    pub(super) fn files(&self, vocabulary: &HfTokenizer) -> Result<Vec<(&'static str, Vec<u8>)>, DataError> {
        let vocab: BTreeMap<String, u32> = vocabulary.get_vocab(true).into_iter().collect();
        let vocab = serde_json::to_vec_pretty(&vocab)
            .map_err(|error| failed("cannot write vocab.json")(error.into()))?;
        let models = [self.source.bytes.clone(), self.target.bytes.clone()];
        Ok(FILES.into_iter().zip(models.into_iter().chain([vocab])).collect())
    }
}

/// The code of a language ahead of a text, `>>fra<<`; empty where there is none.
fn code(text: &str) -> &str {
    let end = text.starts_with(">>").then(|| text.find("<<")).flatten();
    end.map_or("", |at| &text[..at + 2])
}

/// The text of tokens.
pub(super) fn joined(tokens: impl Iterator<Item = String>) -> String {
    let text: String = tokens.collect();
    text.replace(BLANK, " ").trim().to_owned()
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A string takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4) | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::{code, from_hex, is_pair, joined, to_hex};

    #[test]
    fn a_code_stands_ahead_of_a_text() {
        for (text, want) in [
            (">>fra<< a boat", ">>fra<<"),
            (">>fra<<", ">>fra<<"),
            (" >>fra<< a", ""),
            (">>fra", ""),
            (">> a << b << c", ">> a <<"),
            ("", ""),
        ] {
            assert_eq!(code(text), want, "{text:?}");
        }
    }

    #[test]
    fn bytes_come_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        assert_eq!(to_hex(&[10, 255]), "0aff");
        for wrong in ["0", "0g", "é"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_of_ours_is_told_by_its_first_key() {
        assert!(is_pair(b"{\n  \"sentencepiece_pair\": {"));
        for other in [&b"{\"version\": \"sentencepiece_pair\""[..], b"{}", b"", b"\""] {
            assert!(!is_pair(other), "{other:?}");
        }
    }

    #[test]
    fn pieces_become_text() {
        let text = |tokens: &[&str]| joined(tokens.iter().map(|&token| token.to_owned()));
        assert_eq!(text(&["\u{2581}le", "\u{2581}bat", "eau", "\u{2581}"]), "le bateau");
        assert_eq!(text(&[]), "");
    }
}
