//! Texts that are written.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_data::{Examples, Pair, Tokenizer, TokenizerKind};
use locus_embedding::position::{LearnedConfig, PositionConfig};
use locus_encoder::StackConfig;
use locus_heads::generate::{Beams, Sampling};
use locus_heads::{HeadConfig, TaskModel};
use locus_metrics::rouge::Rouge;
use locus_model::{ModelConfig, save};
use locus_pipeline::{Codec, Packing, Pipeline, Prediction, StreamDecoder, TargetScore, WriteOptions};
use locus_testkit::on_backends;
use serde_json::json;

use crate::{awkward, folder, stack};

fn text_streams_whole<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    // Byte-level tokens of an untrained model make broken characters, which must not panic or be lost.
    let examples = Examples::Text(vec!["你好, world! ".repeat(20)]);
    folder::<B>(
        &dir,
        HeadConfig::CausalLm { tied: true, output: Default::default() },
        TokenizerKind::Bpe,
        &examples,
        device,
    );
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let sampling = Sampling { temperature: 1.5, ..Sampling::GREEDY };
    for seed in 0..3 {
        let options = WriteOptions { max_new_tokens: 40, sampling, seed, ..WriteOptions::default() };
        let mut streamed = String::new();
        let written = pipeline.generate("你", &options, &mut |piece| {
            streamed.push_str(piece);
            ControlFlow::Continue(())
        });
        assert_eq!(written.unwrap().text, streamed);
    }
    let evaluation = pipeline.evaluate(&examples).unwrap();
    // An untrained model knows nothing: about ln of the vocabulary.
    let chance = (pipeline.config.vocab_size as f64).ln();
    assert!((evaluation.metrics["loss"] / chance - 1.0).abs() < 0.5, "{evaluation}");
    assert!(evaluation.metrics["bits_per_byte"] > 0.0);
}

/// What comes piece by piece is what the whole text is, for every kind of tokenizer.
fn pieces_are_the_whole_text<B: AutodiffBackend>(_: &B::Device) {
    let text = "Mira Tolland's visit, 你好 世界 👩‍👩‍👧 naïve e\u{301}. ".repeat(5);
    for kind in [TokenizerKind::Bpe, TokenizerKind::Char, TokenizerKind::Word, TokenizerKind::WordPiece] {
        let tokenizer = Tokenizer::train(kind, 300, false, [&text]).unwrap();
        let config = ModelConfig::new(
            HeadConfig::CausalLm { tied: true, output: Default::default() },
            Vec::new(),
            tokenizer.vocab_size(),
            StackConfig::default(),
        );
        let codec = Codec::new(&config, tokenizer).unwrap();
        let ids = codec.tokenizer.encode(&text).unwrap().ids;
        let whole = codec.tokenizer.decode(&ids).unwrap();
        for start in [0, 1, 7, 40] {
            let before = codec.tokenizer.decode(&ids[..start]).unwrap();
            // A character whose bytes are on both sides belongs to neither.
            if !whole.starts_with(&before) {
                continue;
            }
            let mut decoder = StreamDecoder::after(&codec, &ids[..start]).unwrap();
            let mut streamed = before;
            for &id in &ids[start..] {
                streamed += &decoder.push(id).unwrap();
            }
            assert_eq!(streamed + &decoder.finish().unwrap(), whole, "{kind:?} from {start}");
        }
    }
}

/// A tokenizer as that of Llama: bytes for what is not in the vocabulary, `<s>` ahead of a text; `</s>` behind it, too.
fn of_bytes() -> Tokenizer {
    let tokens = [
        "<unk>", "<s>", "</s>", "<0x01>", "<0xFD>", "<0x78>", "<0xE4>", "<0xBD>", "<0xA0>", "<0x3B>", "a",
        "b", "long",
    ];
    let vocab: BTreeMap<&str, usize> = tokens.into_iter().zip(0..).collect();
    let added = |id: usize, token: &str| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true
        })
    };
    let special = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let text = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
    let of_template = |token: &str, id: usize| json!({ "id": token, "ids": [id], "tokens": [token] });
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>"), added(13, "<|im_start|>")],
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("<s>"), text("A"), special("</s>")],
            "pair": [special("<s>"), text("A"), special("<s>"), text("B")],
            "special_tokens": { "<s>": of_template("<s>", 1), "</s>": of_template("</s>", 2) }
        },
        "decoder": { "type": "Sequence", "decoders": [{ "type": "ByteFallback" }, { "type": "Fuse" }] },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": []
        }
    });
    Tokenizer::from_json(tokenizer.to_string().as_bytes()).unwrap()
}

/// How many rows of the token table below have no token.
const N_SPARE: usize = 3;

fn config_of_bytes(add_bos_token: bool) -> ModelConfig {
    let head = HeadConfig::CausalLm { tied: true, output: Default::default() };
    let vocab_size = of_bytes().vocab_size() + N_SPARE;
    let config = ModelConfig::new(head, Vec::new(), vocab_size, stack());
    ModelConfig { n_spare_tokens: N_SPARE, add_bos_token, ..config }
}

/// Expected as `tokenizers` decodes all ids: a byte that is no part of a character spoils those beside it.
fn bytes_wait_for_what_is_behind_them<B: AutodiffBackend>(_: &B::Device) {
    let codec = Codec::new(&config_of_bytes(false), of_bytes()).unwrap();
    let streamed = |before: &[u32], ids: &[u32]| {
        let mut decoder = StreamDecoder::after(&codec, before).unwrap();
        let mut pieces: Vec<String> = ids.iter().map(|&id| decoder.push(id).unwrap()).collect();
        pieces.push(decoder.finish().unwrap());
        pieces
    };
    assert_eq!(
        streamed(&[], &[3, 4, 5, 12, 9, 10]),
        ["", "", "", "\u{FFFD}\u{FFFD}\u{FFFD}long", "", ";a", ""]
    );
    assert_eq!(streamed(&[10], &[6, 7, 8, 12]), ["", "", "", "你long", ""]);
    assert_eq!(streamed(&[1, 11], &[6, 7, 8]), ["", "", "", "你"]);
    // A prompt of bytes is decoded from its first, however long it is.
    let before = [6, 7, 8].repeat(7);
    assert_eq!(streamed(&before, &[6, 7, 8, 10, 9]), ["", "", "", "你a", "", ";"]);
    // What a later token makes shorter: the bytes on both sides of a special one.
    assert_eq!(streamed(&[], &[3, 2, 4, 12]).concat(), "\u{1}\u{FFFD}\u{FFFD}long");
    // Rows to spare have no text.
    assert_eq!(streamed(&[], &[10, 14, 16, 11]).concat(), "ab");
}

/// A prompt, and a text that is scored or learned, begins with what the tokenizer of a checkpoint puts ahead of it.
fn a_checkpoint_reads_texts_from_their_start<B: AutodiffBackend>(device: &B::Device) {
    let pipeline = |add_bos_token| {
        let config = config_of_bytes(add_bos_token);
        let model = TaskModel::<B::InnerBackend>::new(
            &config.head,
            &config.stack,
            config.vocab_size,
            Key::new(4),
            device,
        );
        Pipeline::new(config, model, of_bytes()).unwrap()
    };
    let (plain, mut started) = (pipeline(false), pipeline(true));
    let write = |pipeline: &Pipeline<B::InnerBackend>, prompt: &str, parse_special| {
        let options = WriteOptions {
            max_new_tokens: 5,
            min_new_tokens: 5,
            log_probs: Some(0),
            parse_special,
            ..WriteOptions::default()
        };
        pipeline.generate(prompt, &options, &mut |_| ControlFlow::Continue(())).unwrap().tokens
    };
    let expected = write(&plain, "<s>ab", true);
    assert_eq!(write(&started, "ab", false), expected);
    assert_eq!(write(&started, "<s>ab", true), expected, "not twice");
    assert_ne!(write(&plain, "ab", false), expected);
    assert_ne!(write(&plain, "<s>ab", false), expected, "text");
    assert_eq!(write(&started, "", false), write(&plain, "<s>", true));

    let examples = Examples::Text(vec!["ab".into(), "ba".into()]);
    let ids =
        |pipeline: &Pipeline<B::InnerBackend>| pipeline.codec.encode(&examples).unwrap().items[0].ids.clone();
    assert_eq!(ids(&plain), [10, 11, 2, 11], "and the last label");
    assert_eq!(ids(&started), [1, 10, 11, 2, 1, 11]);
    started.codec.packing = Packing::Documents;
    assert_eq!(ids(&started), [1, 10, 11, 2, 1, 11, 10]);

    // A model may choose rows that the tokenizer has no token for.
    let sampling = Sampling { temperature: 2.0, ..Sampling::GREEDY };
    let (n, log_probs) = (60, Some(0));
    let options =
        WriteOptions { max_new_tokens: n, min_new_tokens: n, sampling, log_probs, ..WriteOptions::default() };
    let mut streamed = String::new();
    let written = plain.generate("ab", &options, &mut |piece| {
        streamed.push_str(piece);
        ControlFlow::Continue(())
    });
    let written = written.unwrap();
    assert_eq!(written.text, streamed);
    assert!(written.tokens.iter().any(|token| token.token.is_empty()), "{written:?}");
}

/// A language model over the characters of a text, of sixteen positions.
fn writer<B: AutodiffBackend>(dir: &Path, head: HeadConfig, device: &B::Device) -> Pipeline<B::InnerBackend> {
    let examples = match head {
        HeadConfig::Seq2Seq { .. } => {
            Examples::Pairs(vec![Pair { source: "abcdefg hi".into(), target: "klmnop".into(), line: 1 }])
        }
        _ => Examples::Text(vec!["abcdefg hi klmnop".repeat(5)]),
    };
    let position = PositionConfig::Learned(LearnedConfig { init_std: 0.5, ..Default::default() });
    let stack = StackConfig { max_seq_len: 16, init_std: 0.5, position, ..stack() };
    let tokenizer = Tokenizer::train(TokenizerKind::Char, 300, false, examples.texts()).unwrap();
    let config = ModelConfig::new(head, Vec::new(), tokenizer.vocab_size(), stack);
    let model = TaskModel::<B>::new(&config.head, &config.stack, config.vocab_size, Key::new(4), device);
    save(dir, &config, &model, &tokenizer.files().unwrap()).unwrap();
    Pipeline::from_dir(dir, device).unwrap()
}

fn texts(answer: &Prediction) -> Vec<&str> {
    let Prediction::Text { generated, .. } = answer else { panic!("{answer:?}") };
    generated.iter().map(|written| written.text.as_str()).collect()
}

/// Empty prompts, prompts at the position limit and past it, and all others are answered, in whatever batch they are.
fn a_text_for_every_prompt<B: AutodiffBackend>(device: &B::Device) {
    let mut prompts = awkward();
    prompts.extend(["a".repeat(15), "b".repeat(16), "c".repeat(17), "a b".to_owned()]);
    for head in [
        HeadConfig::CausalLm { tied: true, output: Default::default() },
        HeadConfig::Seq2Seq { tied: true, output: Default::default() },
    ] {
        let is_lm = matches!(head, HeadConfig::CausalLm { .. });
        let dir = tempfile::tempdir().unwrap();
        let mut pipeline = writer::<B>(&dir.path().join("m"), head, device);
        assert_eq!(pipeline.predict(&prompts).unwrap().len(), prompts.len());
        let sampling = Sampling { temperature: 1.0, ..Sampling::GREEDY };
        let options = WriteOptions { max_new_tokens: 6, sampling, n_sequences: 2, ..WriteOptions::default() };
        let beams = Some(Beams { width: 3, ..Beams::default() });
        for options in [options.clone(), WriteOptions { sampling: Sampling::GREEDY, beams, ..options }] {
            pipeline.batch_size = 3;
            let answers = pipeline.write(&prompts, &options).unwrap();
            assert_eq!(answers.len(), prompts.len());
            pipeline.batch_size = 1;
            let alone = pipeline.write(&prompts, &options).unwrap();
            assert_eq!(
                alone.iter().map(texts).collect::<Vec<_>>(),
                answers.iter().map(texts).collect::<Vec<_>>()
            );
            for (prompt, answer) in prompts.iter().zip(answers) {
                let Prediction::Text { text, cut, generated } = answer else { panic!() };
                assert_eq!((&text, generated.len()), (prompt, 2));
                assert_eq!(
                    cut,
                    pipeline.codec.tokenizer.encode(prompt).unwrap().ids.len() > 16 - usize::from(!is_lm) * 2
                );
                if is_lm && prompt == &"b".repeat(16) {
                    // Sixteen positions are read, and the last one still says what comes next.
                    assert!(generated.iter().all(|written| written.text.chars().count() <= 1));
                }
            }
        }
    }
}

fn a_text_ends_before_its_stop_string<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = writer::<B>(
        &dir.path().join("m"),
        HeadConfig::CausalLm { tied: true, output: Default::default() },
        device,
    );
    let sampling = Sampling { temperature: 1.0, ..Sampling::GREEDY };
    let free = WriteOptions { max_new_tokens: 12, sampling, ..WriteOptions::default() };
    let write = |options: &WriteOptions| {
        let mut streamed = String::new();
        let written = pipeline.generate("ab", options, &mut |piece| {
            streamed.push_str(piece);
            ControlFlow::Continue(())
        });
        let written = written.unwrap();
        assert_eq!(written.text, streamed);
        written
    };
    let whole = write(&free).text;
    assert!(whole.chars().count() > 6, "{whole}");
    let stop: String = whole.chars().skip(3).take(2).collect();
    let options =
        WriteOptions { stop: vec!["never".into(), stop.clone()], log_probs: Some(2), ..free.clone() };
    let cut = write(&options);
    assert_eq!((cut.text.as_str(), cut.finish), (&whole[..whole.find(&stop).unwrap()], "stop"));
    // The tokens of the stop string are told, and those after it were not generated.
    assert_eq!(cut.tokens.len(), cut.text.chars().count() + 2);
    assert!(cut.tokens.iter().all(|token| token.top.len() == 2 && token.top[0].1 >= token.log_prob));

    let beams = Some(Beams { width: 4, ..Beams::default() });
    let search = WriteOptions { sampling: Sampling::GREEDY, beams, n_sequences: 4, ..free };
    let texts = |options: &WriteOptions| match pipeline.write(&["ab"], options).unwrap().remove(0) {
        Prediction::Text { generated, .. } => generated,
        other => panic!("{other:?}"),
    };
    let stop: String = texts(&search)[0].text.chars().skip(2).take(1).collect();
    let stopped = texts(&WriteOptions { stop: vec![stop.clone()], ..search.clone() });
    assert!(stopped.iter().any(|written| written.finish == "stop"));
    assert!(stopped.iter().all(|written| !written.text.contains(&stop)), "{stop} {stopped:?}");
    let error =
        pipeline.write(&["ab"], &WriteOptions { stop: vec![String::new()], n_sequences: 9, ..search });
    assert_eq!(error.unwrap_err().to_string().matches(", found").count(), 2);
}

fn targets_are_scored<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let examples = Examples::Pairs(vec![Pair { source: "a b".into(), target: "b a".into(), line: 1 }]);
    folder::<B>(
        &dir,
        HeadConfig::Seq2Seq { tied: false, output: Default::default() },
        TokenizerKind::Word,
        &examples,
        device,
    );
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let evaluation = pipeline.evaluate(&examples).unwrap();
    assert!(evaluation.metrics.contains_key("exact_match") && evaluation.score() <= 1.0);
    assert_eq!((evaluation.score_name, evaluation.metrics.contains_key("rouge1")), ("exact_match", false));
    // Where the language is known, as a text; where its words are written apart, by these.
    let in_language = |language: &str| {
        let path = dir.join("config.json");
        let mut config: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        config["target_language"] = language.into();
        std::fs::write(&path, config.to_string()).unwrap();
        Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap()
    };
    let mut english = in_language("en");
    let options = WriteOptions { max_new_tokens: 4, ..WriteOptions::default() };
    let written = english.write(&["a b"], &options).unwrap();
    let [Prediction::Text { generated, .. }] = &written[..] else { panic!("one text") };
    let expected = Rouge::default().score("b a", &generated[0].text);
    let evaluation = english.evaluate(&examples).unwrap();
    assert_eq!(evaluation.score_name, "bleu");
    for (name, score) in expected.named().iter().take(3) {
        assert!((evaluation.metrics[*name] - score.f1).abs() < 1e-9, "{name}: {:?}", evaluation.metrics);
    }
    english.codec.eval_score = Some(TargetScore::RougeL);
    let evaluation = english.evaluate(&examples).unwrap();
    assert_eq!((evaluation.score_name, evaluation.value()), ("rougeL", expected.rouge_l.f1));
    let mut chinese = in_language("zh");
    let evaluation = chinese.evaluate(&examples).unwrap();
    assert!(evaluation.metrics.contains_key("chrf") && !evaluation.metrics.contains_key("rouge1"));
    chinese.codec.eval_score = Some(TargetScore::Rouge1);
    let error = chinese.evaluate(&examples).unwrap_err().to_string();
    assert!(error.contains("rouge1 needs targets whose words are written apart"), "{error}");
    let mut russian = in_language("ru");
    let evaluation = russian.evaluate(&examples).unwrap();
    assert!(evaluation.metrics.contains_key("bleu") && !evaluation.metrics.contains_key("rougeL"));
    russian.codec.eval_score = Some(TargetScore::Rouge2);
    let error = russian.evaluate(&examples).unwrap_err().to_string();
    assert!(error.contains("rouge2 needs targets in Latin letters"), "{error}");
}

on_backends!(
    text_streams_whole,
    pieces_are_the_whole_text,
    bytes_wait_for_what_is_behind_them,
    a_checkpoint_reads_texts_from_their_start,
    a_text_for_every_prompt,
    a_text_ends_before_its_stop_string,
    targets_are_scored,
);
