//! Loaded tokenizers against Hugging Face's own (`oracle/tokenizer_ids.py`): id for id, offset for offset.

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use locus_data::{Encoding, Tokenizer, TokenizerKind};
use serde::Deserialize;

type Outcome = Result<(), Box<dyn Error>>;

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
    special_cases: Vec<Case>,
    pair: Pair,
    roles: Roles,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    /// In characters.
    offsets: Vec<[usize; 2]>,
    framed: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct Pair {
    texts: [String; 2],
    ids: Vec<u32>,
    segments: Vec<u32>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Roles {
    pad_token: Option<u32>,
    unk_token: Option<u32>,
    cls_token: Option<u32>,
    sep_token: Option<u32>,
    mask_token: Option<u32>,
    bos_token: Option<u32>,
    eos_token: Option<u32>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers").join(name)
}

fn expected<T: for<'de> Deserialize<'de>>(name: &str) -> Result<T, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(folder(name).join("expected.json"))?)?)
}

/// Byte offsets as offsets in characters.
fn in_chars(text: &str, offsets: &[Range<usize>]) -> Vec<[usize; 2]> {
    let count = |byte| text[..byte].chars().count();
    offsets.iter().map(|range| [count(range.start), count(range.end)]).collect()
}

/// Every difference between a tokenizer and what it should say.
fn differences(tokenizer: &Tokenizer, expected: &Expected) -> Result<Vec<String>, Box<dyn Error>> {
    let mut found = Vec::new();
    let compare = |found: &mut Vec<String>, case: &Case, encoding: Encoding| -> Outcome {
        let Encoding { ids, offsets, .. } = encoding;
        let text = &case.text;
        let offsets = in_chars(text, &offsets);
        let decoded = tokenizer.decode(&ids)?;
        if ids != case.ids || tokenizer.assemble(&ids, None).ids != case.framed {
            found.push(format!("{text:?}: ids {ids:?}, expected {:?}", case.ids));
        } else if offsets != case.offsets {
            found.push(format!("{text:?}: offsets {offsets:?}, expected {:?}", case.offsets));
        } else if decoded != case.decoded {
            found.push(format!("{text:?}: decoded {decoded:?}, expected {:?}", case.decoded));
        }
        Ok(())
    };
    for case in &expected.cases {
        compare(&mut found, case, tokenizer.encode(&case.text)?)?;
    }
    for case in &expected.special_cases {
        compare(&mut found, case, tokenizer.encode_with_specials(&case.text)?)?;
        if tokenizer.encode(&case.text)?.ids == case.ids {
            found.push(format!("{:?}: special tokens in plain text are found", case.text));
        }
    }
    let [first, second] = &expected.pair.texts;
    let pair = tokenizer.assemble(&tokenizer.encode(first)?.ids, Some(&tokenizer.encode(second)?.ids));
    // GPT-2 was never given two texts; where nothing is said, the end of text stands between them here.
    let is_framed = tokenizer.frame().n_tokens(false) > 0;
    if is_framed && (&pair.ids, &pair.segments) != (&expected.pair.ids, &expected.pair.segments) {
        found.push(format!("pair {pair:?}, expected {:?} {:?}", expected.pair.ids, expected.pair.segments));
    }
    Ok(found)
}

fn check(name: &str) -> Outcome {
    let tokenizer = Tokenizer::from_file(&folder(name))?;
    let expected: Expected = expected(name)?;
    assert!(expected.cases.len() >= 17 && !expected.special_cases.is_empty(), "{name}");
    assert_eq!(differences(&tokenizer, &expected)?, [""; 0], "{name}");
    let roles = tokenizer.specials();
    let found = Roles {
        pad_token: roles.pad,
        unk_token: roles.unk,
        cls_token: roles.cls,
        sep_token: roles.sep,
        mask_token: roles.mask,
        bos_token: roles.bos,
        eos_token: roles.eos,
    };
    // Where a folder does not say what GPT-2's class means by itself, usual names are looked up.
    if name.starts_with("roberta") || name == "opt" || name == "unigram" {
        assert_eq!((found.pad_token, found.eos_token), (expected.roles.pad_token, expected.roles.eos_token));
    }
    // Saved in our way, it is the same tokenizer, its roles included.
    let dir = tempfile::tempdir()?;
    tokenizer.save(&dir.path().join("tokenizer.json"))?;
    let again = Tokenizer::from_file(dir.path())?;
    assert_eq!((again.specials(), again.frame()), (tokenizer.specials(), tokenizer.frame()), "{name}");
    assert_eq!(differences(&again, &expected)?, [""; 0], "{name}");
    Ok(())
}

#[test]
fn bert_vocabularies() -> Outcome {
    ["bert-uncased", "bert-cased", "bert-named"].into_iter().try_for_each(check)
}

#[test]
fn byte_level_vocabularies() -> Outcome {
    ["gpt2", "opt", "roberta", "roberta-prefixed"].into_iter().try_for_each(check)
}

#[test]
fn unigram_with_specials_of_unusual_names() -> Outcome {
    check("unigram")
}

#[test]
fn pairs_of_characters_with_bytes_for_unknown_ones() -> Outcome {
    check("byte-fallback")
}

#[test]
fn training_byte_pairs_finds_the_same_pieces() -> Outcome {
    #[derive(Deserialize)]
    struct Trained {
        texts: Vec<String>,
        tokens: Vec<String>,
    }
    let expected: Trained = expected("trained-bpe")?;
    let tokenizer = Tokenizer::train(TokenizerKind::Bpe, expected.tokens.len(), false, &expected.texts)?;
    let tokens: Vec<String> =
        (0..tokenizer.vocab_size() as u32).filter_map(|id| tokenizer.token(id)).collect();
    assert_eq!(tokens, expected.tokens);
    Ok(())
}

/// The comparison must notice a switch set wrongly.
#[test]
fn a_wrong_setting_is_noticed() -> Outcome {
    for (name, file, right, wrong) in [
        ("bert-uncased", "tokenizer_config.json", "true", "false"),
        ("bert-named", "tokenizer_config.json", "\"strip_accents\":false", "\"strip_accents\":true"),
        ("roberta-prefixed", "tokenizer_config.json", "true", "false"),
        ("opt", "tokenizer_config.json", "\"add_bos_token\":true", "\"add_bos_token\":false"),
        (
            "bert-cased",
            "tokenizer_config.json",
            "\"tokenize_chinese_chars\":false",
            "\"tokenize_chinese_chars\":true",
        ),
    ] {
        let dir = tempfile::tempdir()?;
        for entry in std::fs::read_dir(folder(name))? {
            let path = entry?.path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap_or_default()))?;
        }
        let text = std::fs::read_to_string(dir.path().join(file))?;
        assert!(text.contains(right), "{text}");
        std::fs::write(dir.path().join(file), text.replacen(right, wrong, 1))?;
        let tokenizer = Tokenizer::from_file(dir.path())?;
        assert_ne!(differences(&tokenizer, &expected(name)?)?, [""; 0], "{name}");
    }
    Ok(())
}
