//! Tokenizers from files: `tokenizer.json`, or the vocabularies that came before it.

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer, decoders};

use super::added::Added;
use super::settings::{Role, Settings};
use super::train::template;
use super::{TOKENIZER_FILE, failed, marian, sentencepiece};
use crate::DataError;
use crate::error::{Problems, io, no_such_file};
use crate::read::source::Source;

/// How a tokenizer that is in none of the formats becomes one that is.
pub(super) const CONVERT: &str = "convert it to tokenizer.json once, in Python: \
    transformers.AutoTokenizer.from_pretrained(\"FOLDER\").save_pretrained(\"FOLDER\")";

/// The file itself, or the one in a folder.
pub(super) fn tokenizer_file(path: &Path) -> Result<PathBuf, DataError> {
    const FILES: [&str; 4] = [TOKENIZER_FILE, "vocab.txt", "vocab.json", "merges.txt"];
    if !path.exists() {
        return Err(no_such_file(path));
    }
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(found) = FILES.iter().map(|name| path.join(name)).find(|path| path.is_file()) {
        return Ok(found);
    }
    // A part of Marian's files: which are missing is said where they are read.
    if let Some(found) = marian::FILES.iter().map(|name| path.join(name)).find(|path| path.is_file()) {
        return Ok(found);
    }
    let entries = path.read_dir().map_err(|error| io("read", path, error))?;
    let models = entries.flatten().map(|entry| entry.path()).filter(|path| is_sentencepiece(path));
    models.min().ok_or_else(|| DataError::Format {
        path: path.to_owned(),
        message: format!(
            "holds no tokenizer; expected {}, vocab.json with merges.txt or a .model of SentencePiece",
            FILES[..2].join(", ")
        ),
    })
}

/// Whether a file is a model of SentencePiece by its name.
fn is_sentencepiece(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "model" || end == "spm")
}

/// What was loaded.
pub(super) enum Loaded {
    /// A tokenizer of the library's.
    One(HfTokenizer),
    /// A vocabulary, and two models of SentencePiece that cut texts.
    Pair(HfTokenizer, Box<marian::Pair>),
}

pub(super) fn load(path: &Path, settings: &Settings) -> Result<Loaded, DataError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let of_pair = |(inner, pair)| Loaded::Pair(inner, Box::new(pair));
    match &*name {
        name if marian::FILES.contains(&name) && marian::is_beside(path) => {
            marian::read(path, settings).map(of_pair)
        }
        "vocab.json" | "merges.txt" => load_bpe(path, settings).map(Loaded::One),
        _ if name.ends_with(".json") => {
            let bytes = std::fs::read(path).map_err(|error| io("read", path, error))?;
            if marian::is_pair(&bytes) {
                return marian::from_json(&bytes, settings).map(of_pair);
            }
            let what = format!("{} is not a tokenizer.json", path.display());
            HfTokenizer::from_bytes(bytes).map(Loaded::One).map_err(failed(what))
        }
        _ if name.ends_with(".txt") => load_bert(path, settings).map(Loaded::One),
        _ if is_sentencepiece(path) => sentencepiece::load(path, settings).map(Loaded::One),
        _ => Err(not_ours(path)),
    }
}

fn not_ours(path: &Path) -> DataError {
    let message = format!(
        "expected tokenizer.json, vocab.txt, vocab.json with merges.txt or a .model of SentencePiece; if it is a tokenizer of \
         another kind, {CONVERT}"
    );
    DataError::Format { path: path.to_owned(), message }
}

/// BERT: one piece per line, its number is its id.
fn load_bert(path: &Path, settings: &Settings) -> Result<HfTokenizer, DataError> {
    let source = Source::open(path)?;
    let is_cased = || source.lines().any(|(_, piece)| piece.starts_with(|c: char| c.is_ascii_uppercase()));
    let lowercase = settings.switch("do_lower_case").unwrap_or_else(|| !is_cased());
    let vocab: Vocab = (0..).zip(source.text.lines()).map(|(id, piece)| (piece.to_owned(), id)).collect();

    let [unk, cls, sep, pad, mask] = [
        ("unk_token", "[UNK]"),
        ("cls_token", "[CLS]"),
        ("sep_token", "[SEP]"),
        ("pad_token", "[PAD]"),
        ("mask_token", "[MASK]"),
    ]
    .map(|(key, usual)| settings.role_or(key, usual));
    let added = Added::beside(path)?;
    let id = |token: &str| vocab.get(token).copied().or_else(|| added.id(token));
    let (Some(unk), Some((cls, cls_id)), Some((sep, sep_id))) =
        (unk.filter(|unk| vocab.contains_key(*unk)), cls.zip(cls.and_then(id)), sep.zip(sep.and_then(id)))
    else {
        let names: Vec<&str> =
            [unk, cls, sep].into_iter().flatten().filter(|name| id(name).is_none()).collect();
        let message = format!(
            "expected a BERT vocabulary with tokens for unknown, start and end; {} not found; \
             where they have other names, special_tokens_map.json beside it says which",
            names.join(", ")
        );
        return Err(Problems::only(path, 0, message));
    };
    let special: Vec<AddedToken> = [pad, Some(unk), Some(cls), Some(sep), mask]
        .into_iter()
        .flatten()
        .filter(|name| id(name).is_some())
        .map(|name| AddedToken::from(name, true))
        .collect();
    let template = template(
        &format!("{cls} $A {sep}"),
        &format!("{cls} $A {sep} $B:1 {sep}:1"),
        &[(cls, cls_id), (sep, sep_id)],
    )?;
    let model = WordPiece::builder()
        .vocab::<Vocab>(vocab)
        .unk_token(unk.to_owned())
        .build()
        .map_err(failed("cannot build a model"))?;
    let mut tokenizer = HfTokenizer::new(model);
    let split_chinese = settings.switch("tokenize_chinese_chars").unwrap_or(true);
    let strip_accents = settings.switch("strip_accents");
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, split_chinese, strip_accents, lowercase)));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(decoders::wordpiece::WordPiece::default()));
    added.add_to(&mut tokenizer, settings)?;
    tokenizer.add_special_tokens(&special);
    tokenizer.with_post_processor(Some(template));
    Ok(tokenizer)
}

/// GPT-2 and RoBERTa: `vocab.json` and `merges.txt`.
fn load_bpe(path: &Path, settings: &Settings) -> Result<HfTokenizer, DataError> {
    let (vocab, merges) = (path.with_file_name("vocab.json"), path.with_file_name("merges.txt"));
    if let Some(missing) = [&vocab, &merges].into_iter().find(|file| !file.is_file()) {
        let message = format!("no such file; {} needs it beside it", path.display());
        return Err(DataError::Format { path: missing.clone(), message });
    }
    let model = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy())
        .build()
        .map_err(failed(format!("cannot read {} with merges.txt", vocab.display())))?;
    // The letter a at the end of a word, as CLIP and GPT-1 write it; byte-level vocabularies have every byte.
    if model.get_vocab().contains_key("a</w>") {
        let message = format!("the pieces end in </w>, so they are not byte-level; {CONVERT}");
        return Err(DataError::Format { path: vocab, message });
    }
    let mut tokenizer = HfTokenizer::new(model);
    let prefix = settings.switch("add_prefix_space").unwrap_or(false);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(prefix, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Added::beside(path)?.add_to(&mut tokenizer, settings)?;
    let named = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    let named = named.into_iter().filter_map(|key| match settings.role(key) {
        Role::Token(token) => Some(token),
        Role::Unsaid | Role::Without => None,
    });
    let special: Vec<AddedToken> = named
        .chain(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"])
        .filter(|name| tokenizer.token_to_id(name).is_some())
        .map(|name| AddedToken::from(name, true))
        .collect();
    tokenizer.add_special_tokens(&special);
    let known =
        |token: Option<&str>| token.and_then(|token| Some((token.to_owned(), tokenizer.token_to_id(token)?)));
    let is_gpt2 = settings.text("tokenizer_class").is_some_and(|class| class.starts_with("GPT2"));
    let (cls, sep) =
        (known(settings.role_or("cls_token", "<s>")), known(settings.role_or("sep_token", "</s>")));
    match (cls, sep) {
        (Some(cls), Some(sep)) if !is_gpt2 => {
            let frame = RobertaProcessing::new(sep, cls);
            tokenizer.with_post_processor(Some(frame.trim_offsets(true).add_prefix_space(prefix)));
        }
        _ if settings.switch("add_bos_token") == Some(true) => {
            if let Some((bos, id)) = known(settings.role_or("bos_token", "<|endoftext|>")) {
                tokenizer.with_post_processor(Some(template(
                    &format!("{bos} $A"),
                    &format!("{bos} $A {bos} $B"),
                    &[(&bos, id)],
                )?));
            }
        }
        _ => {}
    }
    Ok(tokenizer)
}
