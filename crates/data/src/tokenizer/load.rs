//! Tokenizers from files: `tokenizer.json`, or the vocabularies that came before it.

use std::path::Path;

use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer, decoders};

use super::failed;
use super::train::template;
use crate::DataError;
use crate::error::{Problems, io, no_such_file};
use crate::read::source::Source;

pub(super) fn load(path: &Path) -> Result<HfTokenizer, DataError> {
    if !path.exists() {
        return Err(no_such_file(path));
    }
    if path.is_dir() {
        return load_folder(path);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.as_ref() {
        "vocab.json" | "merges.txt" => load_bpe(path),
        _ if name.ends_with(".json") => load_json(path),
        _ if name.ends_with(".txt") => load_bert(path),
        _ => Err(DataError::Format {
            path: path.to_owned(),
            message: "expected tokenizer.json, vocab.txt or vocab.json with merges.txt; \
                      convert other tokenizers (sentencepiece .model) to tokenizer.json"
                .into(),
        }),
    }
}

fn load_folder(folder: &Path) -> Result<HfTokenizer, DataError> {
    const FILES: [&str; 3] = ["tokenizer.json", "vocab.txt", "vocab.json"];
    match FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
        Some(path) => load(&path),
        None => Err(DataError::Format {
            path: folder.to_owned(),
            message: format!("holds no tokenizer; expected one of {}", FILES.join(", ")),
        }),
    }
}

fn load_json(path: &Path) -> Result<HfTokenizer, DataError> {
    let bytes = std::fs::read(path).map_err(|error| io("read", path, error))?;
    HfTokenizer::from_bytes(bytes).map_err(failed(format!("{} is not a tokenizer.json", path.display())))
}

/// BERT: one piece per line, its number is its id.
fn load_bert(path: &Path) -> Result<HfTokenizer, DataError> {
    let source = Source::open(path)?;
    let lowercase = match configured_lowercase(path)? {
        Some(lowercase) => lowercase,
        None => !source.lines().any(|(_, piece)| piece.starts_with(|c: char| c.is_ascii_uppercase())),
    };
    let pieces: Vec<(String, u32)> =
        (0..).zip(source.text.lines()).map(|(id, piece)| (piece.to_owned(), id)).collect();
    let id = |name: &str| pieces.iter().find(|(piece, _)| piece == name).map(|(_, id)| *id);
    let (Some(cls), Some(sep), Some(_)) = (id("[CLS]"), id("[SEP]"), id("[UNK]")) else {
        return Err(Problems::only(path, 0, "expected a BERT vocabulary with [UNK], [CLS] and [SEP]"));
    };
    let special: Vec<AddedToken> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .into_iter()
        .filter(|name| id(name).is_some())
        .map(|name| AddedToken::from(name, true))
        .collect();
    let template = template("[CLS]", cls, "[SEP]", sep)?;
    let vocab: std::collections::HashMap<String, u32> = pieces.into_iter().collect();
    let model = WordPiece::builder()
        .vocab::<Vocab>(vocab.into_iter().collect())
        .unk_token("[UNK]".to_owned())
        .build()
        .map_err(failed("cannot build a model"))?;
    let mut tokenizer = HfTokenizer::new(model);
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase)));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(decoders::wordpiece::WordPiece::default()));
    tokenizer.add_special_tokens(&special);
    tokenizer.with_post_processor(Some(template));
    Ok(tokenizer)
}

type Vocab = tokenizers::models::bpe::Vocab;

/// `do_lower_case` of a `tokenizer_config.json` beside the vocabulary.
fn configured_lowercase(vocab: &Path) -> Result<Option<bool>, DataError> {
    let path = vocab.with_file_name("tokenizer_config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let source = Source::open(&path)?;
    let config: serde_json::Value = serde_json::from_str(&source.text)
        .map_err(|error| Problems::only(&path, error.line(), format!("not JSON: {error}")))?;
    Ok(config.get("do_lower_case").and_then(serde_json::Value::as_bool))
}

/// GPT-2 and RoBERTa: `vocab.json` and `merges.txt`.
fn load_bpe(path: &Path) -> Result<HfTokenizer, DataError> {
    let (vocab, merges) = (path.with_file_name("vocab.json"), path.with_file_name("merges.txt"));
    for file in [&vocab, &merges] {
        if !file.is_file() {
            return Err(no_such_file(file));
        }
    }
    let model = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy())
        .build()
        .map_err(failed(format!("cannot read {} with merges.txt", vocab.display())))?;
    let mut tokenizer = HfTokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let special: Vec<AddedToken> = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
        .into_iter()
        .filter(|name| tokenizer.token_to_id(name).is_some())
        .map(|name| AddedToken::from(name, true))
        .collect();
    tokenizer.add_special_tokens(&special);
    if let (Some(cls), Some(sep)) = (tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")) {
        let frame = RobertaProcessing::new(("</s>".to_owned(), sep), ("<s>".to_owned(), cls));
        tokenizer.with_post_processor(Some(frame.trim_offsets(false).add_prefix_space(false)));
    }
    Ok(tokenizer)
}
