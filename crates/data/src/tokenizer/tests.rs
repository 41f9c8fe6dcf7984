use proptest::prelude::*;

use super::*;

const KINDS: [TokenizerKind; 5] = [
    TokenizerKind::WordPiece,
    TokenizerKind::Bpe,
    TokenizerKind::Unigram,
    TokenizerKind::Char,
    TokenizerKind::Word,
];

const TEXTS: [&str; 5] = [
    "The lighthouse keeper's daughter was called Mira; she knew every boat.\n",
    "One evening she counted eight boats, and the small blue boat was missing.\n",
    "北京是中国的首都。上海是最大的城市。\n",
    "我在北京, she is in Shanghai (上海).\n",
    "lower lowest low, new newest newer, wide wider widest\n",
];

fn train(kind: TokenizerKind) -> Tokenizer {
    Tokenizer::train(kind, 400, false, TEXTS).expect("trains")
}

#[test]
fn an_id_past_what_a_table_can_hold_is_refused() {
    let of = |id: u64| {
        let text = format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,
            "post_processor":null,"decoder":null,
            "model":{{"type":"WordLevel","vocab":{{"[UNK]":0,"b":{id}}},"unk_token":"[UNK]"}}}}"#
        );
        Tokenizer::from_json(text.as_bytes())
    };
    assert_eq!(of(7).expect("loads").vocab_size(), 8);
    let error = of(4_000_000_000).expect_err("too far").to_string();
    assert!(error.contains("\"b\" has id 4000000000") && error.contains("16777216"), "{error}");
}

#[test]
fn an_empty_vocabulary_is_refused() {
    let text = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":null,"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{},"unk_token":"[UNK]"}}"#;
    let error = Tokenizer::from_json(text.as_bytes()).expect_err("nothing in it").to_string();
    assert!(error.contains("the vocabulary is empty"), "{error}");
}

#[test]
fn special_tokens_come_first() {
    for kind in KINDS {
        let tokenizer = train(kind);
        for (id, name) in (0..).zip(SPECIAL_TOKENS) {
            assert_eq!(tokenizer.id(name), Some(id), "{kind:?} {name}");
            assert_eq!(tokenizer.token(id).as_deref(), Some(name));
        }
        assert_eq!(tokenizer.kind(), kind);
        assert!(tokenizer.vocab_size() <= 400);
        let specials = tokenizer.specials();
        assert_eq!(
            (specials.pad, specials.unk, specials.bos, specials.eos),
            (Some(0), Some(1), Some(5), Some(6))
        );
    }
}

#[test]
fn training_is_reproducible_and_ignores_order() {
    for kind in KINDS {
        let reversed: Vec<&str> = TEXTS.into_iter().rev().collect();
        let again = Tokenizer::train(kind, 400, false, reversed).expect("trains");
        // The vocabulary is written in the order of its ids.
        assert_eq!(train(kind).to_json().expect("json"), again.to_json().expect("json"), "{kind:?}");
    }
}

#[test]
fn saving_and_loading_change_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("tokenizer.json");
    for kind in KINDS {
        let saved = train(kind);
        saved.save(&path).expect("saves");
        let loaded = Tokenizer::from_file(dir.path()).expect("loads");
        assert_eq!(loaded.kind(), kind);
        assert_eq!((loaded.specials(), loaded.frame()), (saved.specials(), saved.frame()));
        for text in TEXTS.into_iter().chain(["unseen Wörter ☃ 南京"]) {
            let ids = saved.encode(text).expect("encodes");
            assert_eq!(loaded.encode(text).expect("encodes"), ids, "{kind:?}");
            assert_eq!(loaded.decode(&ids.ids).expect("decodes"), saved.decode(&ids.ids).expect("decodes"));
        }
    }
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).expect("lists").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["tokenizer.json"]);
}

#[test]
fn offsets_are_bytes_of_the_text() {
    let text = "she is in 上海!";
    for kind in KINDS {
        let Encoding { ids, offsets, words } = train(kind).encode(text).expect("encodes");
        assert_eq!((ids.len(), ids.len()), (offsets.len(), words.len()));
        let last = offsets.last().expect("has tokens");
        assert_eq!(&text[last.clone()], "!", "{kind:?}");
    }
    let pieces = train(TokenizerKind::Char).encode("上海").expect("encodes");
    assert_eq!(pieces.offsets, [0..3, 3..6]);
}

#[test]
fn chinese_characters_are_words() {
    for kind in [TokenizerKind::WordPiece, TokenizerKind::Word] {
        let tokenizer = train(kind);
        let ids = tokenizer.encode("北京的上海").expect("encodes").ids;
        let tokens: Vec<String> = ids.iter().filter_map(|&id| tokenizer.token(id)).collect();
        assert_eq!(tokens, ["北", "京", "的", "上", "海"]);
    }
}

#[test]
fn every_word_has_a_token() {
    let words = ["The", "\u{200d}", "boats", "北京", "zzz☃", " "];
    for kind in KINDS {
        let WordEncoding { ids, word_of } = train(kind).encode_words(&words).expect("encodes");
        assert_eq!(ids.len(), word_of.len());
        for at in 0..words.len() {
            assert!(word_of.contains(&at), "{kind:?}: word {at} of {word_of:?}");
        }
        assert!(word_of.is_sorted());
    }
    let piece = train(TokenizerKind::WordPiece).encode_words(&["\u{200d}"]).expect("encodes");
    assert_eq!(piece.ids, [1]);
    assert!(train(TokenizerKind::Bpe).encode_words::<&str>(&[]).expect("encodes").ids.is_empty());
}

#[test]
fn byte_level_words_are_tokenised_as_in_running_text() {
    let tokenizer = train(TokenizerKind::Bpe);
    let running = tokenizer.encode("she counted boats").expect("encodes").ids;
    assert_eq!(tokenizer.encode_words(&["she", "counted", "boats"]).expect("encodes").ids, running);
    let running = tokenizer.encode("北京的首都").expect("encodes").ids;
    let words = tokenizer.encode_words(&["北京", "的", "首都"]).expect("encodes").ids;
    assert_eq!(tokenizer.decode(&words).expect("decodes"), tokenizer.decode(&running).expect("decodes"));
}

#[test]
fn special_tokens_in_text_are_plain_text_unless_meant() {
    let tokenizer = Tokenizer::train(TokenizerKind::Char, 60, false, ["[SEP] [MASK] a"]).expect("trains");
    let plain = tokenizer.encode("a[SEP]").expect("encodes").ids;
    assert_eq!(plain.len(), 6);
    assert_eq!(tokenizer.decode(&plain).expect("decodes"), "a[SEP]");
    let meant = tokenizer.encode_with_specials("a[MASK]").expect("encodes").ids;
    assert_eq!(meant[1..], [4]);
    assert_eq!(tokenizer.decode(&meant).expect("decodes"), "a");
}

#[test]
fn the_frame_of_a_pair_has_two_segments() {
    let framed = train(TokenizerKind::WordPiece).assemble(&[20, 21], Some(&[22]));
    assert_eq!(framed.ids, [2, 20, 21, 3, 22, 3]);
    assert_eq!(framed.segments, [0, 0, 0, 0, 1, 1]);
    assert_eq!((framed.first, framed.second), (1..3, Some(4..5)));
    let single = train(TokenizerKind::Bpe).assemble(&[20], None);
    assert_eq!((single.ids, single.first, single.second), (vec![2, 20, 3], 1..2, None));
    assert_eq!(train(TokenizerKind::Word).frame().n_tokens(true), 3);
}

#[test]
fn a_small_vocabulary_keeps_the_frequent_characters() {
    for kind in [TokenizerKind::WordPiece, TokenizerKind::Char, TokenizerKind::Word] {
        let tokenizer = Tokenizer::train(kind, 12, true, ["aaaa bbb cc d e f g h i"]).expect("trains");
        assert!(tokenizer.vocab_size() <= 12, "{kind:?}");
    }
    let chars = Tokenizer::train(TokenizerKind::Char, 9, true, ["aaabbc"]).expect("trains");
    assert_eq!(chars.encode("abc").expect("encodes").ids, [7, 8, 1]);
    assert_eq!(chars.decode(&[7, 1]).expect("decodes"), "a[UNK]");
    let error = Tokenizer::train(TokenizerKind::Bpe, 262, true, ["a"]).expect_err("no room").to_string();
    assert_eq!(error, "tokenizer.vocab_size = 262: expected 263 to 16777216 for bpe");
    assert!(Tokenizer::train(TokenizerKind::Word, 50, true, [""]).is_err());
}

#[test]
fn lowercase_is_the_tokenizers_own() {
    for kind in KINDS {
        let tokenizer = Tokenizer::train(kind, 400, true, TEXTS).expect("trains");
        assert_eq!(
            tokenizer.encode("BOAT").expect("encodes").ids,
            tokenizer.encode("boat").expect("encodes").ids
        );
    }
}

#[test]
fn normalisation_is_as_configured() {
    // Composed and decomposed accents, full-width letters and digits, a ligature, a Hangul syllable.
    let texts = ["Café cafe\u{301} ＡＢ１２ AB12 ﬁ fi 한 ǅ"];
    let ids = |config: &TokenizerConfig, text: &str| {
        let tokenizer = Tokenizer::train_with(config, texts).expect("trains");
        tokenizer.encode(text).expect("encodes").ids
    };
    for kind in KINDS {
        let plain = TokenizerConfig { kind, vocab_size: 400, ..TokenizerConfig::default() };
        let nfc = TokenizerConfig { unicode: UnicodeForm::Nfc, ..plain.clone() };
        assert_eq!(ids(&nfc, "caf\u{e9}"), ids(&nfc, "cafe\u{301}"), "{kind}");
        assert_ne!(ids(&plain, "caf\u{e9}"), ids(&plain, "cafe\u{301}"), "{kind}");
        assert_ne!(ids(&nfc, "ＡＢ１２"), ids(&nfc, "AB12"), "{kind}");
        let nfkc = TokenizerConfig { unicode: UnicodeForm::Nfkc, ..plain.clone() };
        assert_eq!(ids(&nfkc, "ＡＢ１２ ﬁ"), ids(&nfkc, "AB12 fi"), "{kind}");
        let bare = TokenizerConfig { strip_accents: Some(true), ..plain.clone() };
        assert_eq!(ids(&bare, "caf\u{e9}"), ids(&bare, "cafe"), "{kind}");
        assert_ne!(ids(&bare, "Cafe"), ids(&bare, "cafe"), "{kind}");
        let lower = TokenizerConfig { strip_accents: Some(false), lowercase: true, ..plain.clone() };
        assert_eq!(ids(&lower, "CAF\u{c9}"), ids(&lower, "caf\u{e9}"), "{kind}");
        assert_ne!(ids(&lower, "CAF\u{c9}"), ids(&lower, "cafe"), "{kind}");
    }
    // Only BERT's way of stripping leaves Hangul in parts.
    let bare = |kind| TokenizerConfig { kind, strip_accents: Some(true), ..TokenizerConfig::default() };
    let tokenizer = Tokenizer::train_with(&bare(TokenizerKind::Char), texts).expect("trains");
    assert!(tokenizer.id("한").is_some());
}

#[test]
fn chinese_characters_are_words_where_asked() {
    let texts = ["北京的人在北京, 北京 A北京"];
    for kind in [TokenizerKind::Bpe, TokenizerKind::Unigram, TokenizerKind::WordPiece, TokenizerKind::Word] {
        for split in [true, false] {
            let config = TokenizerConfig { kind, split_chinese: Some(split), ..TokenizerConfig::default() };
            let tokenizer = Tokenizer::train_with(&config, texts).expect("trains");
            let Encoding { ids, offsets, words } = tokenizer.encode("北京").expect("encodes");
            let n_words = words.last().copied().flatten().map(|last| last + 1);
            // The blank that a unigram model writes ahead of a text is a word then.
            let lead = usize::from(kind == TokenizerKind::Unigram);
            assert_eq!(n_words, Some(if split { 2 + lead } else { 1 }), "{kind} {split}");
            assert!(!split || offsets.contains(&(3..6)), "{kind}: {offsets:?}");
            let back = tokenizer.decode(&ids).expect("decodes");
            assert_eq!(back.replace(' ', ""), "北京", "{kind} {split}");
        }
    }
}

#[test]
fn contradictions_of_a_configuration_come_together() {
    let config = TokenizerConfig {
        kind: TokenizerKind::Char,
        vocab_size: 7,
        split_chinese: Some(true),
        ..TokenizerConfig::default()
    };
    let error = Tokenizer::train_with(&config, ["a"]).expect_err("wrong").to_string();
    assert_eq!(
        error,
        "tokenizer.vocab_size = 7: expected 8 to 16777216 for char; \
         tokenizer.split_chinese = true: expected no such key for char: every character is a token"
    );
}

#[test]
fn no_text_can_forge_a_special_token() {
    let forged = "[SEP] a[SEP]b [[SEP]] [CLS] </s> <s>";
    for kind in KINDS {
        // Frequent enough that a trainer would make it a piece.
        let tokenizer = Tokenizer::train(kind, 500, false, [forged; 9]).expect("trains");
        let ids = tokenizer.encode(forged).expect("encodes").ids;
        assert!(ids.iter().all(|&id| id == 1 || id >= 7), "{kind}: {ids:?}");
        assert_eq!(tokenizer.id("[SEP]"), Some(3), "{kind}");
        let meant = tokenizer.encode_with_specials("a[SEP]").expect("encodes").ids;
        assert_eq!(meant.last(), Some(&3), "{kind}");
    }
    // A unigram model from elsewhere, whose end of text is a piece with the best score.
    let json = br#"{"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 0, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true},
        "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": 1, "byte_fallback": false, "vocab": [["</s>", 0.0], ["<unk>", 0.0],
            ["\u2581", -2.0], ["<", -3.0], ["/", -3.0], ["s", -3.0], [">", -3.0], ["a", -1.0]]}}"#;
    let tokenizer = Tokenizer::from_json(json).expect("loads");
    assert_eq!(tokenizer.encode("a</s>").expect("encodes").ids, [2, 7, 3, 4, 5, 6]);
    assert_eq!(tokenizer.encode_with_specials("a</s>").expect("encodes").ids, [2, 7, 0]);
    let again = Tokenizer::from_json(tokenizer.to_json().expect("json").as_bytes()).expect("loads");
    assert_eq!(again.to_json().expect("json"), tokenizer.to_json().expect("json"));
}

#[test]
fn unigram_pieces_hold_their_blank() {
    let words = ["low", "lower", "newest", "widest", "fastest", "kindest", "tallest"];
    let tokenizer = Tokenizer::train(TokenizerKind::Unigram, 40, false, [words.join(" ")]).expect("trains");
    let encoding = tokenizer.encode("lowest low").expect("encodes");
    let tokens: Vec<String> = encoding.ids.iter().filter_map(|&id| tokenizer.token(id)).collect();
    assert_eq!((tokens[0].as_str(), tokens.last().map(String::as_str)), ("▁low", Some("▁low")));
    assert_eq!(tokens.concat(), "▁lowest▁low");
    assert_eq!(tokenizer.decode(&encoding.ids).expect("decodes"), "lowest low");
    assert_eq!(tokenizer.encode("z").expect("encodes").ids.last(), Some(&1));
}

/// Characters that occur once, in long pieces, lose their own piece; the trainer scores them in hash order.
#[test]
fn rare_characters_do_not_make_unigram_training_random() {
    let rare: String = ('\u{4E00}'..'\u{4E80}').collect();
    let texts = [rare.clone(), rare, "abc abd".to_owned()];
    let train = || Tokenizer::train(TokenizerKind::Unigram, 300, false, &texts).expect("trains");
    let first = train().to_json().expect("json");
    for _ in 0..4 {
        assert_eq!(train().to_json().expect("json"), first);
    }
}

#[test]
fn texts_without_repetition_are_no_panic() {
    let text = "01\u{102A0}V2!BCA®\"\u{10AEB}a#$Σ% ";
    let error = Tokenizer::train(TokenizerKind::Unigram, 20, false, [text]).expect_err("nothing repeats");
    assert!(error.to_string().contains("too little repeats"), "{error}");
}

#[test]
fn a_very_long_word_trains_and_encodes() {
    let long = "abcdefghij".repeat(3000);
    for kind in KINDS {
        let tokenizer = Tokenizer::train(kind, 300, false, [&long, "a b"]).expect("trains");
        let encoding = tokenizer.encode(&long).expect("encodes");
        assert_eq!(encoding.offsets.last().map(|last| last.end), Some(long.len()), "{kind}");
    }
}

#[test]
fn an_unknown_id_is_an_error() {
    let error = train(TokenizerKind::Word).decode(&[7, 4000]).expect_err("4000").to_string();
    assert!(error.contains("token id 4000 is not in the vocabulary"), "{error}");
}

#[test]
fn reads_a_bert_vocabulary_and_its_configuration() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("vocab.txt");
    std::fs::write(&path, "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\nboat\r\nBoat\r\n##s\r\n")
        .expect("write");
    let cased = Tokenizer::from_file(&path).expect("loads");
    assert_eq!(cased.encode("boats Boat").expect("encodes").ids, [5, 7, 6]);
    assert_eq!(cased.assemble(&[5], None).ids, [2, 5, 3]);
    std::fs::write(dir.path().join("tokenizer_config.json"), r#"{"do_lower_case": true}"#).expect("write");
    let uncased = Tokenizer::from_file(dir.path()).expect("loads");
    assert_eq!(uncased.encode("Boat").expect("encodes").ids, [5]);
    std::fs::write(&path, "boat\n").expect("write");
    let error = Tokenizer::from_file(&path).expect_err("no specials").to_string();
    assert!(error.contains("vocab.txt: expected a BERT vocabulary"), "{error}");
    assert!(error.contains("[UNK], [CLS], [SEP] not found"), "{error}");
}

#[test]
fn added_tokens_have_their_ids() {
    let dir = tempfile::tempdir().expect("temp dir");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
    // A start that is only among the added tokens, a special token without a role, a plain one, and one that is known,
    // which is from now on a token of its own wherever it stands.
    write("vocab.txt", "[PAD]\n[UNK]\n[SEP]\nboat\n##s\n");
    write("added_tokens.json", r#"{"NewCo": 7, "[E1]": 6, "[CLS]": 5, "boat": 3}"#);
    write(
        "special_tokens_map.json",
        r#"{"cls_token": "[CLS]", "additional_special_tokens": [{"content": "[E1]"}]}"#,
    );
    let bert = Tokenizer::from_file(dir.path()).expect("loads");
    assert_eq!((bert.vocab_size(), bert.id("NewCo"), bert.specials().cls), (8, Some(7), Some(5)));
    assert_eq!(bert.encode("boats NewCo NewCos").expect("encodes").ids, [3, 1, 7, 7, 1]);
    assert_eq!(bert.assemble(&[7], None).ids, [5, 7, 2]);
    // Special ones are text unless they are meant.
    assert_eq!(bert.encode("[E1]").expect("encodes").ids, [1, 1, 1]);
    assert_eq!(bert.encode_with_specials("[E1] boat").expect("encodes").ids, [6, 3]);
    assert_eq!(bert.decode(&[6, 3, 7]).expect("decodes"), "boat NewCo");
    let again = Tokenizer::from_json(bert.to_json().expect("json").as_bytes()).expect("loads");
    assert_eq!(again.encode("boats NewCo").expect("encodes").ids, [3, 1, 7]);

    std::fs::remove_file(dir.path().join("vocab.txt")).expect("remove");
    write("vocab.json", r#"{"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}"#);
    write("merges.txt", "#version: 0.2\na b\n");
    write("added_tokens.json", r#"{"<|im_end|>": 5, "<|im_start|>": 4}"#);
    write("special_tokens_map.json", r#"{"eos_token": "<|im_end|>"}"#);
    let bpe = Tokenizer::from_file(dir.path()).expect("loads");
    assert_eq!((bpe.vocab_size(), bpe.specials().eos), (6, Some(5)));
    assert_eq!(bpe.encode("<|im_start|>ab").expect("encodes").ids, [4, 2]);
    assert_eq!(bpe.encode_with_specials("ab<|im_end|>").expect("encodes").ids, [2, 5]);
}

/// As `AutoTokenizer` of transformers 4.57.6 frames a text.
#[test]
fn some_classes_frame_texts_whatever_the_file_says() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("tokenizer.json");
    let before = |settings: &str| {
        std::fs::write(dir.path().join("tokenizer_config.json"), settings).expect("write");
        Tokenizer::from_file(&file).expect("loads").assemble(&[9], None).ids
    };
    let trained = train(TokenizerKind::Word);
    trained.save(&file).expect("saves");
    assert_eq!(before(r#"{"tokenizer_class": "LlamaTokenizer", "bos_token": "[BOS]"}"#), [5, 9]);
    assert_eq!(before(r#"{"tokenizer_class": "GemmaTokenizerFast", "bos_token": "[CLS]"}"#), [2, 9]);
    assert_eq!(
        before(r#"{"tokenizer_class": "LlamaTokenizerFast", "bos_token": "[BOS]", "add_bos_token": false}"#),
        [9]
    );
    assert_eq!(before(r#"{"tokenizer_class": "GPTNeoXTokenizer"}"#), [9]);
    assert_eq!(before(r#"{"tokenizer_class": "GPTNeoXTokenizer", "add_bos_token": true}"#), [5, 9]);
    for other in [r#"{"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": true}"#, "{}"] {
        assert_eq!(before(other), [2, 9, 3], "{other}");
    }
    // A folder of ours has no such settings beside it, and keeps what they say.
    let again =
        Tokenizer::from_json(trained.with_start(&[5]).expect("a token").to_json().expect("json").as_bytes());
    assert_eq!(again.expect("loads").assemble(&[9], None).ids, [5, 9]);
}

#[test]
fn files_of_transformers_go_where_the_tokenizer_goes() {
    let (dir, other) = (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
    let trained = train(TokenizerKind::WordPiece);
    assert_eq!(trained.files().expect("files").len(), 1);
    // What is not followed here stays, and how it was written.
    let json = trained.to_json().expect("json");
    let cut = r#""truncation":{"direction":"Right","max_length":3,"strategy":"LongestFirst","stride":0}"#;
    let json = json.replacen(r#""truncation": null"#, cut, 1);
    assert!(json.contains(cut));
    let files = [
        ("tokenizer.json", json.as_str()),
        ("tokenizer_config.json", r#"{"tokenizer_class": "BertTokenizer",  "model_max_length": 37}"#),
        ("special_tokens_map.json", r#"{"eos_token": {"content": "[SEP]", "lstrip": false}}"#),
        ("chat_template.jinja", "{{ messages }}\r\n"),
    ];
    files.iter().for_each(|(name, text)| write(name, text));
    let read = Tokenizer::from_file(dir.path()).expect("loads");
    assert_eq!(read.encode(TEXTS[0]).expect("encodes"), trained.encode(TEXTS[0]).expect("encodes"));
    let expected = files.map(|(name, text)| (name, text.to_owned()));
    assert_eq!(read.files().expect("files"), expected);
    read.save(&other.path().join("tokenizer.json")).expect("saves");
    let again = Tokenizer::from_file(other.path()).expect("loads");
    assert_eq!(again.files().expect("files"), expected);
    assert_eq!(again.specials(), read.specials());
    // Another vocabulary is another tokenizer.json.
    let more = read.with_special_tokens(&["[E1]"]).expect("adds").files().expect("files");
    assert!(more[0].1.contains("[E1]"));
    assert_eq!(more[1..], expected[1..]);
    // So is that of a vocabulary without one.
    std::fs::remove_file(dir.path().join("tokenizer.json")).expect("remove");
    write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nboat\n");
    let bert = Tokenizer::from_file(dir.path()).expect("loads").files().expect("files");
    assert!(bert[0].1.contains("WordPiece"));
    assert_eq!(bert[1..], expected[1..]);
}

#[test]
fn transformers_is_told_how_a_tokenizer_of_ours_reads() {
    let config = |kind, has_segments| -> serde_json::Value {
        serde_json::from_str(&train(kind).transformers_config(37, has_segments)).expect("JSON")
    };
    let bert = config(TokenizerKind::WordPiece, true);
    assert_eq!(bert["tokenizer_class"], "PreTrainedTokenizerFast");
    assert_eq!(bert["do_lower_case"], false);
    assert!(bert.get("strip_accents").is_some_and(serde_json::Value::is_null), "{bert}");
    assert_eq!(
        bert["model_input_names"],
        serde_json::json!(["input_ids", "token_type_ids", "attention_mask"])
    );
    let bpe = config(TokenizerKind::Bpe, false);
    assert_eq!(bpe["model_input_names"], serde_json::json!(["input_ids", "attention_mask"]));
    assert!(bpe.get("do_lower_case").is_none(), "{bpe}");
    assert_eq!(bpe["model_max_length"], 37);
    for (key, token) in [("pad_token", "[PAD]"), ("bos_token", "[BOS]"), ("eos_token", "[EOS]")] {
        assert_eq!(bpe[key], token);
    }
    let added = r#"{"<|im_end|>": 3}"#;
    let dir = tempfile::tempdir().expect("temp dir");
    for (name, text) in [
        ("vocab.json", r#"{"a": 0, "b": 1, "<|endoftext|>": 2}"#),
        ("merges.txt", "#version: 0.2\n"),
        ("added_tokens.json", added),
        ("tokenizer_config.json", r#"{"eos_token": "<|im_end|>", "add_bos_token": true}"#),
    ] {
        std::fs::write(dir.path().join(name), text).expect("write");
    }
    let gpt2 = Tokenizer::from_file(dir.path()).expect("loads").transformers_config(5, false);
    assert!(gpt2.contains("\"eos_token\": \"<|im_end|>\"") && !gpt2.contains("pad_token"), "{gpt2}");
}

#[test]
fn added_tokens_that_contradict_the_vocabulary_are_errors() {
    let dir = tempfile::tempdir().expect("temp dir");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
    let error = |added: &str| {
        write("added_tokens.json", added);
        let error = Tokenizer::from_file(dir.path()).expect_err(added).to_string();
        error.replace(&format!("{}/", dir.path().display()), "")
    };
    write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nboat\n");
    let found = error(r#"{"boat": 3, "ship": 4, "car": 5, "bus": 5, "tram": 9}"#);
    let expected = "added_tokens.json: 4 problems\n  \
        added_tokens.json: `boat` is 3 here, and 4 in the vocabulary\n  \
        added_tokens.json: `ship` is 4, which is `boat` in the vocabulary\n  \
        added_tokens.json: `bus` and `car` are both 5\n  \
        added_tokens.json: `tram` is 9, expected 6: added tokens go on where the vocabulary of 5 ends, without gaps; \
        convert it to tokenizer.json once";
    assert!(found.starts_with(expected), "{found}");
    let found = error(r#"{"car": "5", "bus": -1, "": 5}"#);
    for expected in
        ["`car`: expected an id, found \"5\"", "`bus`: expected an id, found -1", "id 5 has no token"]
    {
        assert!(found.contains(expected), "{found}");
    }
    assert!(error("[1]").starts_with("added_tokens.json:1: expected an object of tokens with ids"));
    std::fs::remove_file(dir.path().join("added_tokens.json")).expect("remove");
    write("special_tokens_map.json", r#"{"additional_special_tokens": ["[E1]"]}"#);
    let found = Tokenizer::from_file(dir.path()).expect_err("no [E1]").to_string();
    assert!(
        found.ends_with("additional_special_tokens is `[E1]`, but the vocabulary has no such token"),
        "{found}"
    );
}

#[test]
fn unreadable_files_say_what_was_expected() {
    let dir = tempfile::tempdir().expect("temp dir");
    let error = |name: &str| Tokenizer::from_file(&dir.path().join(name)).expect_err("wrong").to_string();
    std::fs::write(dir.path().join("tokenizer.json"), "{}").expect("write");
    std::fs::write(dir.path().join("sp.model"), "x").expect("write");
    assert!(
        error("tokenizer.json").contains("tokenizer.json is not a tokenizer.json"),
        "{}",
        error("tokenizer.json")
    );
    assert!(error("tokeniser.json").contains("did you mean `tokenizer.json`?"));
    assert!(error("sp.model").contains("convert it to tokenizer.json"));
}

#[test]
fn a_folder_without_a_tokenizer_says_what_is_missing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let error = || Tokenizer::from_file(dir.path()).expect_err("wrong").to_string();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
    assert!(
        error().ends_with(
            "expected tokenizer.json, vocab.txt, vocab.json with merges.txt or a .model of SentencePiece"
        ),
        "{}",
        error()
    );
    write("spiece.model", "x");
    assert!(error().contains("spiece.model: ") && error().contains("save_pretrained"), "{}", error());
    std::fs::remove_file(dir.path().join("spiece.model")).expect("remove");
    write("source.spm", "x");
    assert!(error().contains("target.spm: no such file; a tokenizer of Marian has"), "{}", error());
    write("target.spm", "x");
    assert!(error().contains("vocab.json: no such file"), "{}", error());
    write("vocab.json", r#"{"</s>": 0}"#);
    assert!(error().contains("source.spm: the file is cut off"), "{}", error());
    for name in ["source.spm", "target.spm", "vocab.json"] {
        std::fs::remove_file(dir.path().join(name)).expect("remove");
    }
    write("merges.txt", "#version: 0.2\n");
    assert!(
        error().contains("vocab.json: no such file") && error().contains("merges.txt needs it"),
        "{}",
        error()
    );
    write("vocab.json", r#"{"a</w>": 0}"#);
    assert!(error().contains("</w>"), "{}", error());
    write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nboat\n");
    write(
        "special_tokens_map.json",
        r#"{"pad_token": "<pad>", "mask_token": {"content": "<mask>"}, "eos_token": null}"#,
    );
    assert!(error().contains("2 problems"), "{}", error());
    assert!(
        error().contains("special_tokens_map.json: pad_token is `<pad>`, but the vocabulary"),
        "{}",
        error()
    );
    write("special_tokens_map.json", "[1]");
    assert!(error().contains("special_tokens_map.json:1: expected an object"), "{}", error());
    write("special_tokens_map.json", "{\n\n");
    assert!(error().contains("special_tokens_map.json:3: not JSON"), "{}", error());
}

#[test]
fn a_summary_says_what_stands_in_for_padding() {
    let dir = tempfile::tempdir().expect("temp dir");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
    write("vocab.json", r#"{"a": 0, "b": 1, "<|endoftext|>": 2}"#);
    write("merges.txt", "#version: 0.2\n");
    let tokenizer = Tokenizer::from_file(dir.path()).expect("loads");
    assert_eq!(
        tokenizer.summary(),
        "bpe, 3 tokens; unknown none, no padding token: <|endoftext|> fills short rows, masked out"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_come_back_exactly(text in any::<String>()) {
        let tokenizer = train(TokenizerKind::Bpe);
        let ids = tokenizer.encode(&text).expect("encodes").ids;
        prop_assert_eq!(tokenizer.decode(&ids).expect("decodes"), text);
    }

    #[test]
    fn offsets_part_no_character(text in any::<String>()) {
        for kind in KINDS {
            let Encoding { ids, offsets, .. } = train(kind).encode(&text).expect("encodes");
            prop_assert_eq!(ids.len(), offsets.len());
            prop_assert!(offsets.iter().all(|range| text.get(range.clone()).is_some()), "{kind}: {offsets:?}");
        }
    }

    #[test]
    fn whatever_the_text_a_tokenizer_is_trained(text in any::<String>(), vocab_size in 9_usize..60) {
        for kind in [TokenizerKind::Unigram, TokenizerKind::WordPiece, TokenizerKind::Char, TokenizerKind::Word] {
            let Ok(tokenizer) = Tokenizer::train(kind, vocab_size, false, [&text]) else { continue };
            prop_assert!(tokenizer.vocab_size() <= vocab_size, "{kind}: {}", tokenizer.vocab_size());
            prop_assert!(tokenizer.encode(&text).is_ok());
            prop_assert_eq!(tokenizer.to_json().ok(), Tokenizer::train(kind, vocab_size, false, [&text]).ok().and_then(|t| t.to_json().ok()));
        }
    }

    #[test]
    fn known_characters_come_back_exactly(text in "[a-z北京 \\n\\t\\[\\]SEP#]{0,40}") {
        let tokenizer = Tokenizer::train(
            TokenizerKind::Char, 99, false, ["abcdefghijklmnopqrstuvwxyz北京 \n\t[]SEP#"],
        ).expect("trains");
        let ids = tokenizer.encode(&text).expect("encodes").ids;
        prop_assert_eq!(tokenizer.decode(&ids).expect("decodes"), text);
    }

    #[test]
    fn words_of_raw_text_are_its_bytes(text in any::<String>()) {
        for (word, range) in split_words(&text) {
            prop_assert_eq!(&text[range], word.as_str());
            prop_assert!(!word.trim().is_empty());
        }
    }
}
