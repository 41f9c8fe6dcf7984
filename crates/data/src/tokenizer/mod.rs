//! Text to ids and back, over the `tokenizers` crate: trained here, or loaded from files of Hugging Face models.
//!
//! Text is plain text: `[SEP]` written by a user is five characters, not the separator, so no input can forge the
//! frame around it. Where special tokens in text are meant (fill-in prompts, chat templates), say so with
//! [`Tokenizer::encode_with_specials`]. Nothing is added around a text by `encode`; [`Tokenizer::assemble`] adds what the
//! model expects (`[CLS] … [SEP]`).

mod added;
mod config;
mod files;
mod frame;
mod load;
mod marian;
mod sentencepiece;
mod settings;
mod train;
mod unigram;
mod words;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::{
    AddedToken, DecoderWrapper, Encoding as HfEncoding, ModelWrapper, PreTokenizerWrapper,
    Tokenizer as HfTokenizer,
};

use crate::DataError;
use crate::error::io;
use settings::Settings;

use config::MAX_VOCAB_SIZE;
pub use config::{TokenizerConfig, TokenizerKind, TokenizerProblem, UnicodeForm};
pub use frame::{Frame, Framed, Specials, fit_pair};
pub use words::{cjk_units, is_cjk, split_words};

const TOKENIZER_FILE: &str = "tokenizer.json";

/// The special tokens that a trained tokenizer starts with, in the order of their ids.
pub const SPECIAL_TOKENS: [&str; 7] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[BOS]", "[EOS]"];

/// A text as ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoding {
    /// One id for each token.
    pub ids: Vec<u32>,
    /// The bytes of the text that each token stands for; never a part of a character.
    pub offsets: Vec<Range<usize>>,
    /// The word (as the tokenizer splits words) of each token.
    pub words: Vec<Option<usize>>,
}

/// Given words as ids; every word has at least one token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WordEncoding {
    /// One id for each token.
    pub ids: Vec<u32>,
    /// The index of each token's word; ascends from 0 without gaps.
    pub word_of: Vec<usize>,
}

/// A tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    /// Takes special tokens in text as plain text.
    inner: HfTokenizer,
    /// The same, but recognises them; made when first asked for.
    parsing: OnceLock<Box<HfTokenizer>>,
    specials: Specials,
    frame: Frame,
    /// Ids that are left out of decoded text: all special ones but the unknown.
    hidden: HashSet<u32>,
    vocab_size: usize,
    /// Whether a word after another needs a blank ahead of it to be tokenised as in running text.
    spaced: bool,
    /// What cuts texts instead of `inner`, which then knows the ids only.
    pair: Option<Arc<marian::Pair>>,
    /// The files that it was read from.
    kept: files::Kept,
}

impl Tokenizer {
    /// Trains a tokenizer on `texts`. The same texts give the same tokenizer, whatever their order.
    ///
    /// `vocab_size` is an upper limit, special tokens included. More can be said with [`Tokenizer::train_with`].
    ///
    /// # Errors
    /// If there is no text, or `vocab_size` has no room for the special tokens (and the 256 bytes of BPE).
    ///
    /// ```
    /// use locus_data::{Tokenizer, TokenizerKind};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let tokenizer = Tokenizer::train(TokenizerKind::Char, 100, false, ["to be, or\nnot"])?;
    /// let ids = tokenizer.encode("not to be")?.ids;
    /// assert_eq!(tokenizer.decode(&ids)?, "not to be");
    /// # Ok(()) }
    /// ```
    pub fn train<S: AsRef<str>>(
        kind: TokenizerKind,
        vocab_size: usize,
        lowercase: bool,
        texts: impl IntoIterator<Item = S>,
    ) -> Result<Self, DataError> {
        let config = TokenizerConfig { kind, vocab_size, lowercase, ..TokenizerConfig::default() };
        Self::train_with(&config, texts)
    }

    /// Trains a tokenizer on `texts`, normalised as the configuration says. The same texts give the same tokenizer,
    /// whatever their order, on any machine.
    ///
    /// # Errors
    /// If there is no text; everything that [`TokenizerConfig::check`] finds.
    ///
    /// ```
    /// use locus_data::{Tokenizer, TokenizerConfig, TokenizerKind, UnicodeForm};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let config = TokenizerConfig {
    ///     kind: TokenizerKind::Unigram,
    ///     vocab_size: 40,
    ///     unicode: UnicodeForm::Nfkc,
    ///     ..TokenizerConfig::default()
    /// };
    /// let tokenizer = Tokenizer::train_with(&config, ["room 12, room 21"])?;
    /// assert_eq!(tokenizer.encode("ｒｏｏｍ １２")?.ids, tokenizer.encode("room 12")?.ids);
    /// # Ok(()) }
    /// ```
    pub fn train_with<S: AsRef<str>>(
        config: &TokenizerConfig,
        texts: impl IntoIterator<Item = S>,
    ) -> Result<Self, DataError> {
        Self::from_inner(train::train(config, texts)?, &Settings::default())
    }

    /// The tokenizer with further special tokens at the end of its vocabulary; those that it has stay as they are.
    ///
    /// # Errors
    /// If the vocabulary becomes too large.
    ///
    /// ```
    /// use locus_data::{Tokenizer, TokenizerKind};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let tokenizer = Tokenizer::train(TokenizerKind::Word, 50, true, ["a b"])?;
    /// let size = tokenizer.vocab_size();
    /// let tokenizer = tokenizer.with_special_tokens(&["<extra_id_0>", "[CLS]"])?;
    /// assert_eq!((tokenizer.id("<extra_id_0>"), tokenizer.vocab_size()), (Some(size as u32), size + 1));
    /// # Ok(()) }
    /// ```
    pub fn with_special_tokens<S: AsRef<str>>(self, tokens: &[S]) -> Result<Self, DataError> {
        let mut inner = self.inner;
        let tokens: Vec<AddedToken> =
            tokens.iter().map(|token| AddedToken::from(token.as_ref(), true)).collect();
        inner.add_special_tokens(&tokens);
        let Self { specials, frame, pair, kept, .. } = self;
        let kept = files::Kept { tokenizer: None, ..kept };
        Ok(Self { specials, frame, pair, kept, ..Self::from_inner(inner, &Settings::default())? })
    }

    /// Loads `tokenizer.json`, a BERT `vocab.txt`, a GPT-2 or RoBERTa `vocab.json` with `merges.txt` beside it, a Marian
    /// `vocab.json` with `source.spm` and `target.spm`, one `.model` of SentencePiece, or a folder with any of these.
    ///
    /// What stands around a text of a `.model` is that of its class, which `tokenizer_config.json` or `config.json` beside it names:
    /// T5, ALBERT, DeBERTa-v2, XLM-R, Llama (Mistral) or Gemma.
    ///
    /// `tokenizer_config.json` and `special_tokens_map.json` beside it say which special tokens there are and how a
    /// vocabulary normalises; `added_tokens.json` beside a vocabulary goes on with it. Where nothing says whether a `vocab.txt` lowercases, its words tell.
    ///
    /// # Errors
    /// If the file is missing, is none of these, the class of a `.model` is not known, a named special token is not in the
    /// vocabulary, or an added token has an id that contradicts it.
    pub fn from_file(path: &Path) -> Result<Self, DataError> {
        let path = load::tokenizer_file(path)?;
        let settings = Settings::beside(&path)?;
        let read = match load::load(&path, &settings)? {
            load::Loaded::One(inner) => Self::from_inner(inner, &settings),
            load::Loaded::Pair(inner, pair) => Self::from_pair(inner, *pair, &settings),
        }?;
        Ok(Self { kept: files::Kept::of(&path)?, ..read })
    }

    /// Loads from the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// If they are not one.
    pub fn from_json(json: &[u8]) -> Result<Self, DataError> {
        if marian::is_pair(json) {
            let (inner, pair) = marian::from_json(json, &Settings::default())?;
            return Self::from_pair(inner, pair, &Settings::default());
        }
        let inner = HfTokenizer::from_bytes(json).map_err(failed("cannot read tokenizer.json"))?;
        Self::from_inner(inner, &Settings::default())
    }

    fn from_pair(inner: HfTokenizer, pair: marian::Pair, settings: &Settings) -> Result<Self, DataError> {
        let settings = settings.or_roles(pair.roles());
        Ok(Self { pair: Some(Arc::new(pair)), ..Self::from_inner(inner, &settings)? })
    }

    fn from_inner(mut inner: HfTokenizer, settings: &Settings) -> Result<Self, DataError> {
        // Windows and batches decide lengths here, not the file.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(failed("cannot lift truncation"))?;
        inner.set_encode_special_tokens(true);
        guard_specials(&mut inner)?;
        if inner.get_vocab(false).is_empty() {
            let what = "the vocabulary is empty: there is nothing that text could become".to_owned();
            return Err(DataError::Tokenizer { what, source: None });
        }
        let specials = frame::find_specials(&inner, settings)?;
        // Where one token is both unknown and the end (GPT-2), it is rather the end.
        let shown = specials.unk.filter(|_| specials.unk != specials.eos);
        let hidden = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(id, token)| token.special && Some(*id) != shown)
            .map(|(id, _)| id)
            .collect();
        let vocab_size = match inner.get_vocab(true).into_iter().max_by_key(|(_, id)| *id) {
            None => 0,
            Some((token, id)) if id as usize >= MAX_VOCAB_SIZE => {
                let what = format!(
                    "token {token:?} has id {id}, but ids must be below {MAX_VOCAB_SIZE}, since the model has a row for each"
                );
                return Err(DataError::Tokenizer { what, source: None });
            }
            Some((_, id)) => id as usize + 1,
        };
        let frame = frame::find_frame(&inner, &specials)?;
        let spaced = needs_blank(&inner);
        let (parsing, kept) = (OnceLock::new(), files::Kept::default());
        let tokenizer =
            Self { inner, parsing, specials, frame, hidden, vocab_size, spaced, pair: None, kept };
        match frame::start_of_class(settings, &tokenizer.specials) {
            Some(start) => tokenizer.with_start(&start),
            None => Ok(tokenizer),
        }
    }

    /// The text of `tokenizer.json`. Of a tokenizer of two models of SentencePiece it is a file of our own.
    ///
    /// # Errors
    /// If the tokenizer cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, DataError> {
        if let Some(pair) = &self.pair {
            return pair.to_json(&self.inner);
        }
        self.inner.to_string(true).map_err(failed("cannot write tokenizer.json"))
    }

    /// Ids of a text, nothing added, special tokens in it taken as plain text.
    ///
    /// # Errors
    /// If the text has a word that is not in the vocabulary and there is no unknown token.
    pub fn encode(&self, text: &str) -> Result<Encoding, DataError> {
        if let Some(pair) = &self.pair {
            return Ok(pair.encode(&self.inner, text));
        }
        Ok(encoding(
            text,
            &self.inner.encode_char_offsets(text, false).map_err(failed("cannot encode text"))?,
        ))
    }

    /// As [`Tokenizer::encode`], of a text to be written by the decoder of an encoder–decoder: another language may have other
    /// pieces.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    ///
    /// ```
    /// use locus_data::{Tokenizer, TokenizerKind};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let tokenizer = Tokenizer::train(TokenizerKind::Word, 50, true, ["a b"])?;
    /// assert_eq!(tokenizer.encode_target("b a")?, tokenizer.encode("b a")?);
    /// # Ok(()) }
    /// ```
    pub fn encode_target(&self, text: &str) -> Result<Encoding, DataError> {
        match &self.pair {
            Some(pair) => Ok(pair.encode_target(&self.inner, text)),
            None => self.encode(text),
        }
    }

    /// The ids of [`Tokenizer::encode`] alone, which takes less time.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_ids(&self, text: &str) -> Result<Vec<u32>, DataError> {
        if self.pair.is_some() {
            return Ok(self.encode(text)?.ids);
        }
        let encoding = self.inner.encode_fast(text, false).map_err(failed("cannot encode text"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of a text in which special tokens such as `[MASK]` are meant as such. Two models of SentencePiece have none to be
    /// meant.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_specials(&self, text: &str) -> Result<Encoding, DataError> {
        if self.pair.is_some() {
            return self.encode(text);
        }
        let parsing = self.parsing.get_or_init(|| {
            let mut parsing = self.inner.clone();
            parsing.set_encode_special_tokens(false);
            Box::new(parsing)
        });
        Ok(encoding(text, &parsing.encode_char_offsets(text, false).map_err(failed("cannot encode text"))?))
    }

    /// Ids of given words. A word that normalises to nothing becomes the unknown token.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_words<S: AsRef<str>>(&self, words: &[S]) -> Result<WordEncoding, DataError> {
        let mut out = WordEncoding::default();
        let mut previous: Option<&str> = None;
        for (at, word) in words.iter().enumerate() {
            let word = word.as_ref();
            let ids = match previous {
                Some(previous) if self.spaced && words::has_blank_between(previous, word) => {
                    self.encode(&format!(" {word}"))?.ids
                }
                _ => self.encode(word)?.ids,
            };
            let ids = if ids.is_empty() { vec![self.unknown(word)?] } else { ids };
            out.word_of.extend(std::iter::repeat_n(at, ids.len()));
            out.ids.extend(ids);
            previous = Some(word);
        }
        Ok(out)
    }

    fn unknown(&self, word: &str) -> Result<u32, DataError> {
        self.specials.unk.ok_or_else(|| DataError::Tokenizer {
            what: format!("the word {word:?} has no tokens, and the vocabulary has no unknown token"),
            source: None,
        })
    }

    /// The text of ids; special tokens are left out, the unknown token stays visible.
    ///
    /// # Errors
    /// If an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        if let Some(id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            let what = format!("token id {id} is not in the vocabulary of {}", self.vocab_size);
            return Err(DataError::Tokenizer { what, source: None });
        }
        let shown: Vec<u32> = ids.iter().copied().filter(|id| !self.hidden.contains(id)).collect();
        if self.pair.is_some() {
            return Ok(marian::joined(shown.into_iter().filter_map(|id| self.token(id))));
        }
        self.inner.decode(&shown, false).map_err(failed("cannot decode ids"))
    }

    /// Puts the model's frame around one text or two.
    ///
    /// ```
    /// use locus_data::{Tokenizer, TokenizerKind};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let tokenizer = Tokenizer::train(TokenizerKind::Word, 50, true, ["a b"])?;
    /// let framed = tokenizer.assemble(&[7], Some(&[8]));
    /// assert_eq!(framed.ids, [2, 7, 3, 8, 3]); // [CLS] a [SEP] b [SEP]
    /// assert_eq!(framed.segments, [0, 0, 0, 1, 1]);
    /// # Ok(()) }
    /// ```
    pub fn assemble(&self, first: &[u32], second: Option<&[u32]>) -> Framed {
        let Frame { before, after, pair_before, between, pair_after, second_segment } = &self.frame;
        let (head, tail) = if second.is_some() { (pair_before, between) } else { (before, after) };
        let mut ids = [head.as_slice(), first, tail].concat();
        let mut segments = vec![0; ids.len()];
        let start = ids.len();
        let second = second.map(|second| {
            ids.extend(second);
            let end = ids.len();
            ids.extend(pair_after);
            segments.resize(ids.len(), *second_segment);
            start..end
        });
        Framed { ids, segments, first: head.len()..head.len() + first.len(), second }
    }

    /// The tokens around a text.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Ids of the special tokens.
    pub fn specials(&self) -> &Specials {
        &self.specials
    }

    /// Whether a token is special: of the frame, a mask, the unknown token or any other that the tokenizer calls so.
    pub fn is_special(&self, id: u32) -> bool {
        self.hidden.contains(&id) || self.specials.roles().iter().any(|(_, special)| *special == Some(id))
    }

    /// Whether a token is a single byte, such as `<0x0A>`: of those that stand together the text depends on them all.
    pub fn is_byte(&self, id: u32) -> bool {
        let Some(token) = self.inner.id_to_token(id) else { return false };
        let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
    }

    /// The same tokenizer with these tokens, or none, ahead of a text and none behind it.
    ///
    /// # Errors
    /// If a token is not in the vocabulary.
    ///
    /// ```
    /// use locus_data::{Tokenizer, TokenizerKind};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let tokenizer = Tokenizer::train(TokenizerKind::Word, 50, true, ["a b"])?.with_start(&[5])?;
    /// assert_eq!(tokenizer.assemble(&[7], None).ids, [5, 7]); // [BOS] a
    /// # Ok(()) }
    /// ```
    pub fn with_start(mut self, start: &[u32]) -> Result<Self, DataError> {
        if self.frame.before == start && self.frame.after.is_empty() {
            return Ok(self);
        }
        let name = |&id: &u32| {
            let what = format!("token id {id} is not in the vocabulary of {}", self.vocab_size);
            self.token(id).ok_or(DataError::Tokenizer { what, source: None })
        };
        let names = start.iter().map(name).collect::<Result<Vec<String>, DataError>>()?;
        let pieces: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(start.iter().copied()).collect();
        let ahead = names.join(" ");
        let template = match &pieces[..] {
            [] => None,
            pieces => {
                Some(train::template(&format!("{ahead} $A"), &format!("{ahead} $A {ahead} $B"), pieces)?)
            }
        };
        self.inner.with_post_processor(template);
        self.frame = frame::find_frame(&self.inner, &self.specials)?;
        self.parsing = OnceLock::new();
        // The files that it was read from say something else.
        self.kept = files::Kept::default();
        Ok(self)
    }

    /// One more than the highest id: how many rows an embedding table needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id, as it stands in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// One line about it: kind, size, and which tokens it works with.
    ///
    /// ```
    /// use locus_data::{Tokenizer, TokenizerKind};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let tokenizer = Tokenizer::train(TokenizerKind::Word, 50, true, ["a b"])?;
    /// assert_eq!(tokenizer.summary(), "word, 9 tokens; unknown [UNK], start [CLS], end [SEP], padding [PAD]");
    /// # Ok(()) }
    /// ```
    pub fn summary(&self) -> String {
        let token = |id: Option<u32>| id.and_then(|id| self.token(id));
        let names = |ids: &[u32]| ids.iter().filter_map(|&id| self.token(id)).collect::<Vec<_>>().join(" ");
        let Frame { before, after, .. } = &self.frame;
        let unknown = token(self.specials.unk).unwrap_or_else(|| "none".to_owned());
        let mut text = format!("{}, {} tokens; unknown {unknown}", self.kind(), self.vocab_size);
        for (what, ids) in [("start", before), ("end", after)] {
            if !ids.is_empty() {
                text += &format!(", {what} {}", names(ids));
            }
        }
        match token(self.specials.pad) {
            Some(pad) => text + &format!(", padding {pad}"),
            None => {
                let fill = token(Some(self.specials.fill())).unwrap_or_default();
                text + &format!(", no padding token: {fill} fills short rows, masked out")
            }
        }
    }

    /// What its pieces are.
    pub fn kind(&self) -> TokenizerKind {
        match self.inner.get_model() {
            _ if self.pair.is_some() => TokenizerKind::Unigram,
            ModelWrapper::WordPiece(_) => TokenizerKind::WordPiece,
            ModelWrapper::WordLevel(_) => TokenizerKind::Word,
            ModelWrapper::BPE(_) if matches!(self.inner.get_decoder(), Some(DecoderWrapper::Fuse(_))) => {
                TokenizerKind::Char
            }
            ModelWrapper::BPE(_) => TokenizerKind::Bpe,
            ModelWrapper::Unigram(_) => TokenizerKind::Unigram,
        }
    }
}

/// Wraps an error of the tokenizer library.
fn failed(what: impl Into<String>) -> impl FnOnce(tokenizers::Error) -> DataError {
    move |source| DataError::Tokenizer { what: what.into(), source: Some(source) }
}

/// Offsets come in characters: those in bytes lie within characters where byte-level tokens do.
fn encoding(text: &str, found: &HfEncoding) -> Encoding {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let byte = |at: usize| starts.get(at).copied().unwrap_or(text.len());
    Encoding {
        ids: found.get_ids().to_vec(),
        offsets: found.get_offsets().iter().map(|&(start, end)| byte(start)..byte(end)).collect(),
        words: found.get_word_ids().iter().map(|word| word.map(|word| word as usize)).collect(),
    }
}

/// Keeps a loaded unigram model from finding its special tokens in plain text.
fn guard_specials(inner: &mut HfTokenizer) -> Result<(), DataError> {
    if !matches!(inner.get_model(), ModelWrapper::Unigram(_)) {
        return Ok(());
    }
    let added = inner.get_added_tokens_decoder();
    let mut specials: Vec<(&u32, &str)> =
        added.iter().filter(|(_, t)| t.special).map(|(id, token)| (id, token.content.as_str())).collect();
    specials.sort_unstable();
    if specials.is_empty() {
        return Ok(());
    }
    let guard = config::forgery_guard(specials.into_iter().map(|(_, token)| token))?;
    let mut steps = match inner.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::Sequence(steps)) => steps.as_ref().to_vec(),
        Some(step) => vec![step.clone()],
        None => Vec::new(),
    };
    if !steps.contains(&guard) {
        steps.push(guard);
        inner.with_pre_tokenizer(Some(PreTokenizers::new(steps)));
    }
    Ok(())
}

/// Byte-level models spell the blank ahead of a word as part of it.
fn needs_blank(inner: &HfTokenizer) -> bool {
    let byte_level = |step: &PreTokenizerWrapper| match step {
        PreTokenizerWrapper::ByteLevel(step) => Some(!step.add_prefix_space),
        _ => None,
    };
    match inner.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::Sequence(steps)) => {
            steps.as_ref().iter().find_map(byte_level).unwrap_or(false)
        }
        Some(step) => byte_level(step).unwrap_or(false),
        None => false,
    }
}

pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    use std::io::Write;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || {
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| {
        // The half-written file is of no use; the first error is the one to report.
        let _ = std::fs::remove_file(&beside);
        io("write", path, error)
    })
}

#[cfg(test)]
mod tests;
