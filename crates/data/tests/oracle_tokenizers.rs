//! Loaded tokenizers against Hugging Face's own (`oracle/tokenizer_ids.py`, `marian_ids.py`, `sentencepiece_ids.py`): id for id,
//! offset for offset.

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use locus_data::{Encoding, Examples, LengthLimit, Part, Splits, Tokenizer, TokenizerKind, check, stats};
use serde::Deserialize;

type Outcome = Result<(), Box<dyn Error>>;

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
    special_cases: Vec<Case>,
    /// Texts whose ids alone are known.
    #[serde(default)]
    slow_cases: Vec<Ids>,
    pair: Pair,
    roles: Roles,
}

#[derive(Deserialize)]
struct Ids {
    text: String,
    ids: Vec<u32>,
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
    /// Absent where the model reads none.
    segments: Option<Vec<u32>>,
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
    for Ids { text, ids } in &expected.slow_cases {
        let found_ids = tokenizer.encode(text)?.ids;
        if found_ids != *ids {
            found.push(format!("{text:?}: ids {found_ids:?}, expected {ids:?}"));
        }
    }
    let [first, second] = &expected.pair.texts;
    let pair = tokenizer.assemble(&tokenizer.encode(first)?.ids, Some(&tokenizer.encode(second)?.ids));
    // GPT-2 was never given two texts; where nothing is said, the end of text stands between them here.
    let is_framed = tokenizer.frame().n_tokens(false) > 0;
    let is_segmented = expected.pair.segments.as_ref().is_none_or(|segments| *segments == pair.segments);
    if is_framed && !(pair.ids == expected.pair.ids && is_segmented) {
        found.push(format!("pair {pair:?}, expected {:?} {:?}", expected.pair.ids, expected.pair.segments));
    }
    Ok(found)
}

fn agrees(name: &str) -> Outcome {
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
    if name.starts_with("spm-") {
        let three = |roles: &Roles| [roles.pad_token, roles.unk_token, roles.mask_token];
        assert_eq!(three(&found), three(&expected.roles), "{name}");
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
    ["bert-uncased", "bert-cased", "bert-named"].into_iter().try_for_each(agrees)
}

#[test]
fn byte_level_vocabularies() -> Outcome {
    ["gpt2", "opt", "roberta", "roberta-prefixed"].into_iter().try_for_each(agrees)
}

#[test]
fn unigram_with_specials_of_unusual_names() -> Outcome {
    agrees("unigram")
}

#[test]
fn pairs_of_characters_with_bytes_for_unknown_ones() -> Outcome {
    agrees("byte-fallback")
}

#[test]
fn one_model_of_sentencepiece_with_the_frame_of_its_class() -> Outcome {
    let unigrams =
        ["spm-t5", "spm-albert", "spm-albert-cased", "spm-deberta", "spm-deberta-split", "spm-xlm-roberta"];
    let pairs = ["spm-llama", "spm-llama-legacy", "spm-gemma"];
    unigrams.into_iter().chain(pairs).try_for_each(agrees)?;
    for (names, kind) in [(&unigrams[..], TokenizerKind::Unigram), (&pairs[..], TokenizerKind::Bpe)] {
        for name in names {
            let tokenizer = Tokenizer::from_file(&folder(name))?;
            assert_eq!(tokenizer.kind(), kind, "{name}");
            // Marks and bytes in a text are text.
            for text in ["</s>", "[SEP] a", "a<pad>", "<eos>", "<0x41>", "<unk>"] {
                let ids = tokenizer.encode(text)?.ids;
                let unknown = tokenizer.specials().unk;
                assert!(ids.len() > 1, "{name}: {text}: {ids:?}");
                assert!(
                    !ids.iter().any(|&id| tokenizer.is_special(id) && Some(id) != unknown),
                    "{name}: {text}"
                );
                assert!(
                    tokenizer.id(text).is_none_or(|id| !ids.contains(&id)) || text == "<unk>",
                    "{name}: {text}"
                );
            }
        }
    }
    let t5 = Tokenizer::from_file(&folder("spm-t5"))?;
    let last = t5.vocab_size() as u32 - 1;
    assert_eq!((t5.id("<extra_id_0>"), t5.id("<extra_id_2>")), (Some(last), Some(last - 2)));
    assert!(t5.is_special(last) && t5.id("<extra_id_3>").is_none());
    Ok(())
}

/// A folder with the files of another, some of them with other contents; nothing stands for a file that is not there.
fn changed(name: &str, files: &[(&str, Option<&[u8]>)]) -> Result<tempfile::TempDir, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    for entry in std::fs::read_dir(folder(name))? {
        let path = entry?.path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap_or_default()))?;
    }
    for (name, bytes) in files {
        let path = dir.path().join(name);
        match bytes {
            Some(bytes) => std::fs::write(path, bytes)?,
            None => std::fs::remove_file(path)?,
        }
    }
    Ok(dir)
}

#[test]
fn one_model_that_is_damaged_or_of_no_known_class() -> Outcome {
    let rows: [(&str, &str, Option<&[u8]>, &str); 12] = [
        (
            "spm-t5",
            "spiece.model",
            Some(&[10, 255]),
            "spiece.model: the file is cut off; if it is no model of",
        ),
        ("spm-t5", "spiece.model", Some(b""), "it has no pieces"),
        ("spm-t5", "config.json", None, "nothing says how this model of SentencePiece frames a text"),
        ("spm-t5", "config.json", Some(b"{"), "config.json"),
        (
            "spm-t5",
            "config.json",
            Some(br#"{"model_type": "camembert"}"#),
            "of `camembert` are not read, only",
        ),
        (
            "spm-t5",
            "config.json",
            Some(br#"{"model_type": "llama"}"#),
            "unigram pieces; expected a byte-pair",
        ),
        (
            "spm-llama",
            "config.json",
            Some(br#"{"model_type": "t5"}"#),
            "byte-pair pieces; expected a unigram",
        ),
        ("spm-deberta", "config.json", Some(br#"{"model_type": "xlm-roberta"}"#), "4 marks stand ahead"),
        ("spm-t5", "tokenizer_config.json", Some(br#"{"extra_ids": 1234567890123}"#), "expected at most"),
        (
            "spm-t5",
            "tokenizer_config.json",
            Some(br#"{"tokenizer_class": "XLNetTokenizerFast"}"#),
            "of `XLNetTokenizer` are not read",
        ),
        ("spm-deberta", "added_tokens.json", Some(br#"{"[MASK]": 7}"#), "`[MASK]` is 7, "),
        (
            "spm-xlm-roberta",
            "special_tokens_map.json",
            Some(br#"{"additional_special_tokens": ["<e1>"]}"#),
            "<e1>",
        ),
    ];
    for (name, file, bytes, want) in rows {
        let dir = changed(name, &[(file, bytes)])?;
        let error = Tokenizer::from_file(dir.path()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(want), "{name}/{file}: {error:?}");
    }
    // The class goes before the model_type; the name of every class says nothing.
    for class in ["T5TokenizerFast", "T5Tokenizer"] {
        let config = format!("{{\"tokenizer_class\": \"{class}\", \"extra_ids\": 3}}");
        let dir =
            changed("spm-t5", &[("tokenizer_config.json", Some(config.as_bytes())), ("config.json", None)])?;
        assert_eq!(
            differences(&Tokenizer::from_file(dir.path())?, &expected("spm-t5")?)?,
            [""; 0],
            "{class}"
        );
    }
    let any: &[u8] = br#"{"tokenizer_class": "PreTrainedTokenizerFast", "extra_ids": 3}"#;
    let dir = changed("spm-t5", &[("tokenizer_config.json", Some(any))])?;
    assert_eq!(differences(&Tokenizer::from_file(dir.path())?, &expected("spm-t5")?)?, [""; 0]);
    // T5 has a hundred where nothing is said.
    let dir = changed("spm-t5", &[("tokenizer_config.json", None)])?;
    assert!(Tokenizer::from_file(dir.path())?.id("<extra_id_99>").is_some());
    // What transformers saves beside it agrees; a role that the pieces lack is added behind them.
    let mask = expected::<Expected>("spm-deberta")?.roles.mask_token.unwrap_or_default();
    let added = format!("{{\"[MASK]\": {mask}}}");
    let dir = changed("spm-deberta", &[("added_tokens.json", Some(added.as_bytes()))])?;
    assert_eq!(differences(&Tokenizer::from_file(dir.path())?, &expected("spm-deberta")?)?, [""; 0]);
    let pad: &[u8] = br#"{"pad_token": "<pad>"}"#;
    let dir = changed("spm-llama", &[("special_tokens_map.json", Some(pad))])?;
    let (with, without) = (Tokenizer::from_file(dir.path())?, Tokenizer::from_file(&folder("spm-llama"))?);
    assert_eq!(with.specials().pad, Some(without.vocab_size() as u32));
    // Any byte may be another: an error, or a model that cuts texts somehow.
    for (name, file) in [("spm-t5", "spiece.model"), ("spm-llama", "tokenizer.model")] {
        let whole = std::fs::read(folder(name).join(file))?;
        let mut read = 0;
        for at in (0..whole.len()).step_by(13) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xFF;
            let dir = changed(name, &[(file, Some(&bytes))])?;
            if let Ok(tokenizer) = Tokenizer::from_file(dir.path()) {
                let text = "\u{200B}ﬁne e\u{301} １２ ½ \u{3000}boat☃";
                let Encoding { ids, offsets, .. } = tokenizer.encode(text)?;
                assert!(offsets.iter().all(|range| range.end <= text.len()), "{name} {at}");
                tokenizer.decode(&ids)?;
                read += 1;
            }
        }
        assert!(read > 20, "{name}: {read} of {} models were read", whole.len() / 13);
    }
    Ok(())
}

/// What `oracle/marian_ids.py` writes.
#[derive(Deserialize)]
struct ExpectedPair {
    cases: Vec<PairCase>,
    target_cases: Vec<PairCase>,
    pair: Vec<u32>,
    /// Unknown, end, padding.
    roles: [u32; 3],
}

#[derive(Deserialize)]
struct PairCase {
    text: String,
    ids: Vec<u32>,
    /// In bytes.
    offsets: Vec<[usize; 2]>,
    framed: Vec<u32>,
    /// Absent where a token is unknown.
    decoded: Option<String>,
}

/// Every difference between a tokenizer of two models and what it should say.
fn differences_of_pair(
    tokenizer: &Tokenizer,
    expected: &ExpectedPair,
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut found = Vec::new();
    let sides = [(&expected.cases, false), (&expected.target_cases, true)];
    for (case, is_target) in
        sides.into_iter().flat_map(|(cases, is_target)| cases.iter().map(move |c| (c, is_target)))
    {
        let text = &case.text;
        let Encoding { ids, offsets, words } =
            if is_target { tokenizer.encode_target(text)? } else { tokenizer.encode(text)? };
        let offsets: Vec<[usize; 2]> = offsets.iter().map(|range| [range.start, range.end]).collect();
        let decoded = case.decoded.as_ref().map(|_| tokenizer.decode(&ids)).transpose()?;
        if ids != case.ids || tokenizer.assemble(&ids, None).ids != case.framed {
            found.push(format!("{text:?}: ids {ids:?}, expected {:?}", case.ids));
        } else if offsets != case.offsets || words.len() != ids.len() {
            found.push(format!("{text:?}: offsets {offsets:?}, expected {:?}", case.offsets));
        } else if decoded != case.decoded {
            found.push(format!("{text:?}: decoded {decoded:?}, expected {:?}", case.decoded));
        }
    }
    Ok(found)
}

#[test]
fn two_models_of_sentencepiece_with_one_vocabulary() -> Outcome {
    let tokenizer = Tokenizer::from_file(&folder("marian"))?;
    let expected: ExpectedPair = expected("marian")?;
    assert!(expected.cases.len() >= 28 && expected.target_cases.len() >= 31);
    assert!(expected.cases.iter().filter(|case| case.decoded.is_some()).count() > 5);
    assert_eq!(differences_of_pair(&tokenizer, &expected)?, [""; 0]);
    let roles = tokenizer.specials();
    assert_eq!([roles.unk, roles.eos, roles.pad], expected.roles.map(Some));
    assert_eq!(tokenizer.kind(), TokenizerKind::Unigram);
    let pair =
        tokenizer.assemble(&tokenizer.encode("The boat")?.ids, Some(&tokenizer.encode("was missing")?.ids));
    assert_eq!(pair.ids, expected.pair);
    // Marks in a text are text, and a code is a word of its own.
    for text in ["</s>", "a<pad>b", "<unk>"] {
        let ids = tokenizer.encode(text)?.ids;
        assert!(ids.iter().all(|id| Some(*id) != roles.eos && Some(*id) != roles.pad), "{text}: {ids:?}");
        assert_eq!(tokenizer.encode_with_specials(text)?.ids, ids);
    }
    let coded = tokenizer.encode(">>fra<< the boat")?;
    assert_eq!(coded.ids.first().copied(), tokenizer.id(">>fra<<"));
    assert_eq!((coded.words.first(), coded.words.last()), (Some(&Some(0)), Some(&Some(2))));
    assert_eq!(tokenizer.encode_ids(">>fra<< the boat")?, coded.ids);
    // Two languages, two ways to cut a text.
    assert_ne!(tokenizer.encode("bateaux")?.ids, tokenizer.encode_target("bateaux")?.ids);
    assert_ne!(tokenizer.encode("boats")?.ids.len(), tokenizer.encode_target("boats")?.ids.len());
    let pair = |source: &str, target: &str, line| locus_data::Pair {
        source: source.to_owned(),
        target: target.to_owned(),
        line,
    };
    let pairs = Examples::Pairs(vec![pair("boats", "bateaux", 1), pair("bateaux", "boats", 2)]);
    let n_tokens = |text: &str, other: &str| -> Result<usize, Box<dyn Error>> {
        Ok(tokenizer.encode(text)?.ids.len() + tokenizer.encode_target(other)?.ids.len())
    };
    let splits = Splits::from([(Part::Train, pairs)]);
    let counted = stats(&splits, Some(&tokenizer))?.parts[&Part::Train].clone();
    assert_eq!(counted.lengths.min, n_tokens("boats", "bateaux")?);
    assert_eq!(counted.lengths.max, n_tokens("bateaux", "boats")?);
    let max_len = tokenizer.encode_target("bateaux")?.ids.len() + tokenizer.frame().n_tokens(false);
    let report = check(&splits, Some(LengthLimit::Tokens { tokenizer: &tokenizer, max_len }))?;
    assert_eq!(report.parts[&Part::Train].over_long.as_ref().map(|found| &found.lines[..]), Some(&[2][..]));
    // Saved in our way it is the same tokenizer; and so are the files that it gives back.
    let dir = tempfile::tempdir()?;
    tokenizer.save(&dir.path().join("tokenizer.json"))?;
    let again = Tokenizer::from_file(dir.path())?;
    assert_eq!((again.specials(), again.frame()), (tokenizer.specials(), tokenizer.frame()));
    assert_eq!(differences_of_pair(&again, &expected)?, [""; 0]);
    assert_eq!(differences_of_pair(&Tokenizer::from_json(again.to_json()?.as_bytes())?, &expected)?, [""; 0]);
    let dir = tempfile::tempdir()?;
    for (name, bytes) in again.sentencepiece_files()? {
        std::fs::write(dir.path().join(name), bytes)?;
    }
    for name in ["source.spm", "target.spm"] {
        assert_eq!(
            std::fs::read(dir.path().join(name))?,
            std::fs::read(folder("marian").join(name))?,
            "{name}"
        );
    }
    assert_eq!(differences_of_pair(&Tokenizer::from_file(dir.path())?, &expected)?, [""; 0]);
    // The comparison sees the one model in the place of the other.
    std::fs::copy(folder("marian").join("target.spm"), dir.path().join("source.spm"))?;
    assert_ne!(differences_of_pair(&Tokenizer::from_file(dir.path())?, &expected)?, [""; 0]);
    Ok(())
}

#[test]
fn two_models_with_marks_of_other_names() -> Outcome {
    let dir = tempfile::tempdir()?;
    for name in ["source.spm", "target.spm"] {
        std::fs::copy(folder("marian").join(name), dir.path().join(name))?;
    }
    let usual = std::fs::read_to_string(folder("marian").join("vocab.json"))?;
    let renamed =
        usual.replace("\"<unk>\"", "\"[u]\"").replace("\"</s>\"", "\"[e]\"").replace("\"<pad>\"", "\"[p]\"");
    std::fs::write(dir.path().join("vocab.json"), renamed)?;
    let refused = Tokenizer::from_file(dir.path()).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("special_tokens_map.json"), "{refused}");
    let names = r#"{"unk_token": "[u]", "eos_token": {"content": "[e]"}, "pad_token": "[p]"}"#;
    std::fs::write(dir.path().join("special_tokens_map.json"), names)?;
    let tokenizer = Tokenizer::from_file(dir.path())?;
    let expected: ExpectedPair = expected("marian")?;
    let roles = tokenizer.specials();
    assert_eq!([roles.unk, roles.eos, roles.pad], expected.roles.map(Some));
    // A file of ours needs no other beside it.
    let alone = tempfile::tempdir()?;
    tokenizer.save(&alone.path().join("tokenizer.json"))?;
    for again in [Tokenizer::from_json(tokenizer.to_json()?.as_bytes())?, Tokenizer::from_file(alone.path())?]
    {
        assert_eq!((again.specials(), again.frame()), (tokenizer.specials(), tokenizer.frame()));
        for text in ["The boat was missing", "Z snow"] {
            let ids = tokenizer.encode(text)?.ids;
            assert_eq!(again.encode(text)?.ids, ids);
            assert_eq!(again.decode(&ids)?, tokenizer.decode(&ids)?);
        }
        assert!(again.is_special(again.id("[e]").ok_or("no end")?));
    }
    // Of an older file, which does not name them, they are the usual ones.
    let ours = Tokenizer::from_file(&folder("marian"))?.to_json()?;
    let older = ours.replace(r#","marks":["<unk>","</s>","<pad>"]"#, "");
    assert_ne!(older, ours);
    assert_eq!(
        Tokenizer::from_json(older.as_bytes())?.specials(),
        Tokenizer::from_file(&folder("marian"))?.specials()
    );
    Ok(())
}

#[test]
fn two_models_that_are_damaged_or_of_another_kind() -> Outcome {
    let dir = tempfile::tempdir()?;
    for name in ["source.spm", "target.spm", "vocab.json"] {
        std::fs::copy(folder("marian").join(name), dir.path().join(name))?;
    }
    let error = |name: &str, bytes: &[u8]| -> Result<String, Box<dyn Error>> {
        let path = dir.path().join(name);
        let whole = std::fs::read(&path).unwrap_or_default();
        std::fs::write(&path, bytes)?;
        let error = Tokenizer::from_file(dir.path()).err().map(|error| error.to_string());
        if whole.is_empty() {
            std::fs::remove_file(&path)?
        } else {
            std::fs::write(&path, whole)?
        }
        Ok(error.unwrap_or_default())
    };
    let rows: [(&str, &[u8], &str); 9] = [
        ("source.spm", &[10, 255], "source.spm: the file is cut off"),
        ("target.spm", b"", "target.spm: expected a model of SentencePiece"),
        ("vocab.json", b"[1]", "expected an object of tokens with ids"),
        (
            "vocab.json",
            br#"{"<unk>": 1}"#,
            "vocab.json: expected tokens for unknown, end and padding; </s>, <pad> not",
        ),
        ("vocab.json", br#"{"a": 1, "b": 1}"#, "`a` and `b` are both 1"),
        ("vocab.json", br#"{"a": -1}"#, "expected an object of tokens with ids"),
        (
            "tokenizer_config.json",
            br#"{"separate_vocabs": true}"#,
            "expected one vocabulary for both languages",
        ),
        ("special_tokens_map.json", br#"{"eos_token": "<end>"}"#, "<end> not found"),
        ("tokenizer.json", br#"{"sentencepiece_pair": {"source": "0"}}"#, "cannot read tokenizer.json"),
    ];
    for (name, bytes, want) in rows {
        let found = error(name, bytes)?;
        assert!(found.contains(want), "{name}: {found}");
    }
    assert!(Tokenizer::from_file(dir.path()).is_ok());
    // Any byte may be another: an error, or a model that cuts texts somehow.
    let path = dir.path().join("source.spm");
    let whole = std::fs::read(&path)?;
    let text = "ﬁne e\u{301} １２ ... \u{3000}boat☃";
    let mut read = 0;
    // All bits of a byte, the lowest, the one that goes on with a number, the one that makes another letter.
    let changes = (0..whole.len()).step_by(5).flat_map(|at| [0xFF, 0x01, 0x80, 0x20].map(|bits| (at, bits)));
    for (at, bits) in changes {
        let mut bytes = whole.clone();
        bytes[at] ^= bits;
        std::fs::write(&path, bytes)?;
        if let Ok(tokenizer) = Tokenizer::from_file(dir.path()) {
            let Encoding { ids, offsets, .. } = tokenizer.encode(text)?;
            assert!(
                ids.len() == offsets.len() && offsets.iter().all(|range| range.end <= text.len()),
                "{at} {bits}"
            );
            read += 1;
        }
    }
    assert!(read > 200, "{read} of {} models were read", 4 * whole.len() / 5);
    Ok(())
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
        ("spm-albert-cased", "tokenizer_config.json", "\"keep_accents\":true", "\"keep_accents\":false"),
        ("spm-albert-cased", "tokenizer_config.json", "\"do_lower_case\":false", "\"do_lower_case\":true"),
        ("spm-deberta-split", "tokenizer_config.json", "\"split_by_punct\":true", "\"split_by_punct\":false"),
        ("spm-llama-legacy", "tokenizer_config.json", "\"add_bos_token\":false", "\"add_bos_token\":true"),
        (
            "bert-cased",
            "tokenizer_config.json",
            "\"tokenize_chinese_chars\":false",
            "\"tokenize_chinese_chars\":true",
        ),
    ] {
        let dir = changed(name, &[])?;
        let text = std::fs::read_to_string(dir.path().join(file))?;
        assert!(text.contains(right), "{text}");
        std::fs::write(dir.path().join(file), text.replacen(right, wrong, 1))?;
        let tokenizer = Tokenizer::from_file(dir.path())?;
        assert_ne!(differences(&tokenizer, &expected(name)?)?, [""; 0], "{name}");
    }
    Ok(())
}
