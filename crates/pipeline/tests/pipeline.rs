//! From examples to a folder and back: every task answers every input, whatever it looks like.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "pipeline/pretraining.rs"]
mod pretraining;
#[path = "pipeline/ranking.rs"]
mod ranking;
#[path = "pipeline/spans.rs"]
mod spans;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_data::{
    Answer as Gold, Examples, Item, ItemLabels, LabelSet, Labelled, MultiLabelled, Pair, Question, Scored,
    Tagged, Tokenizer, TokenizerKind,
};
use locus_embedding::Tokens;
use locus_embedding::position::{LearnedConfig, PositionConfig};
use locus_encoder::StackConfig;
use locus_heads::generate::{Beams, Sampling};
use locus_heads::{
    EmbeddingLayer, HeadConfig, Labels, Pooling, SentenceEmbeddingConfig, TagDecoding, TaskModel,
    TokenPooling, Trainable,
};
use locus_metrics::{bootstrap::Bootstrap, multilabel::MultiLabelScorer};
use locus_model::{ModelConfig, load, save};
use locus_pipeline::{
    Codec, Evaluation, FilledMask, Pipeline, PipelineError, Prediction, ScoredLabel, StreamDecoder,
    Thresholds, TrainingSet, Tuning, WriteOptions, evaluate,
};
use locus_testkit::on_backends;

const SENTENCE: &str = "Mira Tolland visited Lisbon , 王 小明 too .";

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn tagged(text: &str, tags: &str) -> Tagged {
    Tagged { words: words(text), tags: words(tags), line: 1 }
}

fn tagged_examples() -> Examples {
    let tags = "B-PER I-PER O B-LOC O B-PER I-PER O O";
    Examples::Tagged(vec![tagged(SENTENCE, tags), tagged("Lisbon .", "B-LOC O")])
}

fn stack() -> StackConfig {
    StackConfig {
        d_model: 16,
        n_layers: 1,
        n_heads: 2,
        max_seq_len: 12,
        init_std: 0.2,
        ..StackConfig::default()
    }
}

/// A model folder for these examples, with weights nobody trained.
fn folder<B: AutodiffBackend>(
    dir: &Path,
    head: HeadConfig,
    kind: TokenizerKind,
    examples: &Examples,
    device: &B::Device,
) -> Codec {
    let tokenizer = Tokenizer::train(kind, 300, false, examples.texts()).unwrap();
    let labels = LabelSet::from_training(examples).map(|labels| labels.names().to_vec()).unwrap_or_default();
    let config = ModelConfig::new(head, labels, tokenizer.vocab_size(), stack());
    let model = TaskModel::<B>::new(&config.head, &config.stack, config.vocab_size, Key::new(4), device);
    save(dir, &config, &model, &tokenizer.files().unwrap()).unwrap();
    Codec::new(&config, tokenizer).unwrap()
}

/// Texts as people write them: empty, long, blank, emoji, control characters, mixed scripts.
fn awkward() -> Vec<String> {
    let long = "Lisbon ".repeat(100);
    [
        "",
        " ",
        "Mira visited 北京。",
        "\u{FEFF}x\r",
        "👩‍👩‍👧 e\u{301}",
        "[PAD] [CLS]",
        "\u{0}\u{7}",
        long.trim_end(),
    ]
    .map(str::to_owned)
    .to_vec()
}

fn entities_for_every_input<B: AutodiffBackend>(device: &B::Device) {
    for decoding in [TagDecoding::Independent, TagDecoding::WellFormed, TagDecoding::Crf] {
        entities_with::<B>(decoding, device);
    }
}

fn entities_with<B: AutodiffBackend>(decoding: TagDecoding, device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let examples = tagged_examples();
    folder::<B>(
        &dir,
        HeadConfig::TokenClassification { n_labels: 4, decoding, layers: Default::default() },
        TokenizerKind::WordPiece,
        &examples,
        device,
    );
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let texts = awkward();
    let answers = pipeline.predict(&texts).unwrap();
    assert_eq!(answers.len(), texts.len());
    for (given, answer) in texts.iter().zip(&answers) {
        let Prediction::Entities { text, words, tags, entities } = answer else { panic!("{answer:?}") };
        assert_eq!((text, words.len()), (given, tags.len()));
        for entity in entities {
            assert_eq!(entity.text, text[entity.start..entity.end]);
            assert!(entity.score > 0.0 && entity.score <= 1.0);
        }
    }
    // A hundred words in windows of twelve tokens: every one has its tag.
    let Prediction::Entities { tags, .. } = &answers[7] else { panic!() };
    assert_eq!(tags.len(), 100);
    let evaluation = pipeline.evaluate(&examples).unwrap();
    assert_eq!(evaluation.entity_report.as_ref().unwrap().micro().support, 4);
    assert_eq!(evaluation.token_report.as_ref().unwrap().weighted_avg().support, 11);
    assert!(evaluation.metrics["loss"].is_finite());
}

fn labels_for_every_input<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let row = |text: &str, label: &str| Labelled {
        text: text.to_owned(),
        pair: None,
        label: label.to_owned(),
        line: 1,
    };
    let examples = Examples::Labelled(vec![row("good 好", "pos"), row("bad", "neg")]);
    let head = HeadConfig::SequenceClassification {
        n_labels: 2,
        pooling: Pooling::Mean,
        layers: Default::default(),
    };
    folder::<B>(&dir, head, TokenizerKind::Word, &examples, device);
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let answers = pipeline.predict(&awkward()).unwrap();
    assert_eq!(answers.len(), awkward().len());
    for (answer, given) in answers.into_iter().zip(awkward()) {
        let Prediction::Label { text, score, scores, .. } = answer else { panic!() };
        assert_eq!(text, given);
        assert!((scores.values().sum::<f64>() - 1.0).abs() < 1e-6 && score >= 0.5);
    }
    let wrong = pipeline.evaluate(&tagged_examples()).unwrap_err().to_string();
    assert!(wrong.contains("texts with labels"), "{wrong}");
}

/// An evaluation's interval is that of a score computed anew from the examples drawn, and so is the score itself.
fn is_interval_of(evaluation: Evaluation, score: impl Fn(&[usize]) -> f64) {
    let all: Vec<usize> = (0..evaluation.n_examples).collect();
    let value = evaluation.value();
    assert!((score(&all) - value).abs() < 1e-6, "{} and {value}", score(&all));
    let want = Bootstrap::default().interval(all.len(), score).unwrap();
    let got = evaluation.with_interval().interval.unwrap();
    assert!(
        (got.low - want.low).abs() < 1e-6 && (got.high - want.high).abs() < 1e-6,
        "{got:?}, not {want:?}"
    );
    assert!(got.low < got.high, "{got:?}");
}

fn any_number_of_labels_for_every_input<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let row = |text: &str, labels: &[&str]| MultiLabelled {
        text: text.to_owned(),
        pair: None,
        label: labels.iter().map(|&label| label.to_owned()).collect(),
        line: 1,
    };
    let rows = vec![row("good 好", &["joy", "love"]), row("bad", &["fear"]), row("so", &[])];
    let examples = Examples::MultiLabelled(rows);
    let head = HeadConfig::MultiLabelClassification {
        n_labels: 3,
        pooling: Pooling::Mean,
        layers: Default::default(),
    };
    folder::<B>(&dir, head, TokenizerKind::Word, &examples, device);
    let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let labels_of = |pipeline: &Pipeline<B::InnerBackend>| -> Vec<(Vec<ScoredLabel>, BTreeMap<String, f64>)> {
        let texts = awkward();
        let answers = pipeline.predict(&texts).unwrap();
        let answers = answers.into_iter().zip(&texts).map(|(answer, given)| match answer {
            Prediction::Labels { text, labels, scores, .. } if text == *given => (labels, scores),
            other => panic!("{other:?}"),
        });
        answers.collect()
    };
    let n = awkward().len();
    pipeline.codec.thresholds = Thresholds::Given(vec![0.0, 1.0, 0.4]);
    let answers = labels_of(&pipeline);
    assert_eq!(answers.len(), n);
    for (labels, scores) in &answers {
        assert_eq!(scores.keys().collect::<Vec<_>>(), ["fear", "joy", "love"]);
        // Every label from its threshold on, and no other; the most probable first.
        let given: BTreeMap<&str, f64> =
            labels.iter().map(|label| (label.label.as_str(), label.score)).collect();
        assert!(given.contains_key("fear") && !given.contains_key("joy"));
        assert_eq!(given.contains_key("love"), scores["love"] >= 0.4);
        assert!(given.iter().all(|(label, score)| scores[*label] == *score));
        assert!(labels.is_sorted_by(|a, b| a.score >= b.score));
    }
    pipeline.codec.thresholds = Thresholds::Given(vec![1.0; 3]);
    assert!(labels_of(&pipeline).iter().all(|(labels, _)| labels.is_empty()), "an answer without labels");

    // The loss is that of training; thresholds that were tuned are told and do at least as well as others.
    let items = pipeline.codec.encode(&examples).unwrap().items;
    let batch = pipeline.codec.batch(&items.iter().collect::<Vec<_>>()).unwrap();
    let loss = pipeline.model.loss(&batch, None).unwrap();
    assert_eq!(loss.weight, 9.0);
    let mean = loss.sum.into_data().iter::<f64>().sum::<f64>() / loss.weight;
    let given = pipeline.evaluate(&examples).unwrap();
    assert!((mean - given.metrics["loss"]).abs() < 1e-5);
    for tuning in [Tuning::Global, Tuning::PerLabel] {
        pipeline.codec.thresholds = Thresholds::Tuned(tuning);
        let tuned = pipeline.evaluate(&examples).unwrap();
        assert!(tuned.score() >= given.score() && tuned.score() > 0.0, "{tuned}");
        assert_eq!(tuned.thresholds.as_ref().unwrap().len(), 3);
        assert_eq!(tuned.label_report.as_ref().unwrap().labels().len(), 3);
    }
    // The interval of the score: the report's own macro-F1 of the examples drawn.
    pipeline.codec.thresholds = Thresholds::Given(vec![0.5; 3]);
    let Examples::MultiLabelled(rows) = &examples else { unreachable!() };
    let names = ["fear", "joy", "love"];
    let predicted = pipeline.predict(&rows.iter().map(|row| &row.text).collect::<Vec<_>>()).unwrap();
    let given = |answer: &Prediction| match answer {
        Prediction::Labels { labels, .. } => names.map(|name| labels.iter().any(|label| label.label == name)),
        other => panic!("{other:?}"),
    };
    let macro_f1 = |drawn: &[usize]| {
        let mut scorer = MultiLabelScorer::new(names);
        for &at in drawn {
            let gold = names.map(|name| rows[at].label.iter().any(|label| label == name));
            scorer.add(&gold, &given(&predicted[at])).unwrap();
        }
        scorer.report().unwrap().classes.macro_avg().f1
    };
    is_interval_of(pipeline.evaluate(&examples).unwrap(), macro_f1);
    let wrong = pipeline.evaluate(&tagged_examples()).unwrap_err().to_string();
    assert!(wrong.contains("texts with any number of labels"), "{wrong}");
}

fn a_number_for_every_input<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let row = |text: &str, label| Scored { text: text.to_owned(), pair: None, label, line: 1 };
    let examples = Examples::Scored(vec![row("good 好", 110.0), row("bad", 90.0), row("so", 101.0)]);
    let head =
        HeadConfig::Regression { pooling: Pooling::Mean, mean: 100.0, std: 8.0, layers: Default::default() };
    folder::<B>(&dir, head, TokenizerKind::Word, &examples, device);
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let texts = awkward();
    let answers = pipeline.predict(&texts).unwrap();
    assert_eq!(answers.len(), texts.len());
    for (answer, given) in answers.iter().zip(&texts) {
        let Prediction::Number { text, value, .. } = answer else { panic!("{answer:?}") };
        // An untrained output is small, so the number is near the mean, in its own unit.
        assert!(text == given && (80.0..120.0).contains(value), "{answer:?}");
    }
    let items = pipeline.codec.encode(&examples).unwrap().items;
    assert_eq!(items[1].labels, ItemLabels::Value(-1.25));
    let batch = pipeline.codec.batch(&items.iter().collect::<Vec<_>>()).unwrap();
    let loss = pipeline.model.loss(&batch, None).unwrap();
    let mean = loss.sum.into_data().iter::<f64>().sum::<f64>() / loss.weight;
    let metrics = pipeline.evaluate(&examples).unwrap().metrics;
    assert!((mean - metrics["loss"]).abs() < 1e-5 && (metrics["mse"] / 64.0 - mean).abs() < 1e-5);
    assert!(metrics.contains_key("spearman") && metrics["rmse"] > 0.0);
    // The interval of the score: the mean squared error of the examples drawn, in standard deviations of 8.
    let Examples::Scored(rows) = &examples else { unreachable!() };
    let predicted = pipeline.predict(&rows.iter().map(|row| &row.text).collect::<Vec<_>>()).unwrap();
    let error = |at: usize| match &predicted[at] {
        Prediction::Number { value, .. } => (value - rows[at].label).powi(2) / 64.0,
        other => panic!("{other:?}"),
    };
    let mse = |drawn: &[usize]| drawn.iter().map(|&at| error(at)).sum::<f64>() / drawn.len() as f64;
    is_interval_of(pipeline.evaluate(&examples).unwrap(), mse);
}

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

/// In batches of three, out of their order and twice, every text of every task has the answer that it has alone.
fn every_answer_is_that_of_its_text<B: AutodiffBackend>(device: &B::Device) {
    let row =
        |text: &str, label: &str| Labelled { text: text.into(), pair: None, label: label.into(), line: 1 };
    let labelled = Examples::Labelled(vec![row("good 好", "pos"), row("bad", "neg")]);
    let classes = |n_labels| HeadConfig::SequenceClassification {
        n_labels,
        pooling: Pooling::Mean,
        layers: Default::default(),
    };
    let pair = Pair { source: "Mira visited 北京".into(), target: "Lisbon x".into(), line: 1 };
    let tasks = [
        (
            HeadConfig::TokenClassification {
                n_labels: 4,
                decoding: Default::default(),
                layers: Default::default(),
            },
            tagged_examples(),
        ),
        (classes(2), labelled.clone()),
        (
            HeadConfig::MultiLabelClassification {
                n_labels: 2,
                pooling: Pooling::Mean,
                layers: Default::default(),
            },
            labelled.clone(),
        ),
        (
            HeadConfig::Regression {
                pooling: Pooling::Mean,
                mean: 100.0,
                std: 8.0,
                layers: Default::default(),
            },
            Examples::Text(vec!["x".into()]),
        ),
        (
            HeadConfig::CausalLm { tied: true, output: Default::default() },
            Examples::Text(vec![SENTENCE.repeat(3)]),
        ),
        (HeadConfig::Seq2Seq { tied: true, output: Default::default() }, Examples::Pairs(vec![pair])),
    ];
    let mut texts = [awkward(), awkward()].concat();
    texts[8..].reverse();
    for (head, examples) in tasks {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("m");
        folder::<B>(&dir, head.clone(), TokenizerKind::WordPiece, &examples, device);
        let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
        pipeline.batch_size = 3;
        let answers = pipeline.predict(&texts).unwrap();
        assert_eq!(answers.len(), texts.len(), "{head:?}");
        for (text, answer) in texts.iter().zip(&answers) {
            let alone = pipeline.predict(&[text]).unwrap();
            let [got, want] = [answer, &alone[0]].map(|answer| serde_json::to_value(answer).unwrap());
            assert_eq!(got["text"], text.as_str());
            assert!(is_near(&got, &want), "{head:?} {text:?}: {got}, alone {want}");
        }
        assert!(pipeline.predict::<&str>(&[]).unwrap().is_empty());
    }
}

/// Equal, and numbers within 1e-4: rows of a batch are padded, which rounds sums otherwise.
fn is_near(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= 1e-4 * b.abs().max(1.0))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_near(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_near(a, b)))
        }
        _ => a == b,
    }
}

fn vectors_for_every_input<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let texts = vec![SENTENCE.to_lowercase(), "find".to_owned()];
    let head = SentenceEmbeddingConfig {
        pooling: vec![TokenPooling::Mean, TokenPooling::Last],
        include_prompt: false,
        layers: vec![EmbeddingLayer::Normalize],
        max_seq_len: Some(9),
        lowercase: true,
        prompts: [("query".to_owned(), "find ".to_owned())].into(),
        ..SentenceEmbeddingConfig::default()
    };
    let head = HeadConfig::SentenceEmbedding(head);
    folder::<B>(dir.path(), head, TokenizerKind::Word, &Examples::Text(texts), device);
    let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(dir.path(), device).unwrap();
    pipeline.batch_size = 3;
    let near = |a: &[f32], b: &[f32]| a.len() == 32 && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    let texts = awkward();
    let vectors = pipeline.embed(&texts).unwrap();
    assert_eq!(vectors.len(), texts.len());
    for (text, vector) in texts.iter().zip(&vectors) {
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{text:?}: {length}");
        assert!(near(vector, &pipeline.embed(&[text]).unwrap()[0]), "{text:?} alone");
    }
    let of = |texts: &[&str], prompt: &str| pipeline.embed_with(texts, prompt).unwrap();
    let plain = of(&["Mira  ", "mira visited lisbon"], "");
    assert_eq!(plain.n_truncated, 0);
    assert!(near(&plain.vectors[0], &of(&["mira"], "").vectors[0]), "case and space do not matter");
    assert!(!near(&plain.vectors[0], &plain.vectors[1]));
    // A prompt is read, though it is not pooled.
    let prompt = pipeline.prompt(Some("query")).unwrap();
    let asked = of(&["mira", "mira visited lisbon"], prompt);
    assert!(!near(&asked.vectors[0], &plain.vectors[0]));
    assert!(!near(&asked.vectors[0], &of(&["find mira"], "").vectors[0]));
    let long = "mira ".repeat(20);
    assert_eq!(of(&[&long, "mira"], "").n_truncated, 1);
    let error = pipeline.prompt(Some("quary")).unwrap_err().to_string();
    assert_eq!(error, "the model has no prompt \"quary\"; it has query");
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
}

fn a_label_stands_on_each_word_once<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let text = vec!["Lisbon"; 50].join(" ");
    let examples = Examples::Tagged(vec![tagged(&text, &vec!["B-LOC"; 50].join(" "))]);
    let head = HeadConfig::TokenClassification {
        n_labels: 2,
        decoding: Default::default(),
        layers: Default::default(),
    };
    let codec = folder::<B>(&dir.path().join("m"), head, TokenizerKind::Char, &examples, device);
    let items = codec.encode(&examples).unwrap().items;
    let n: usize = items
        .iter()
        .map(|item| match &item.labels {
            ItemLabels::PerToken(labels) => labels.iter().filter(|&&label| label >= 0).count(),
            _ => 0,
        })
        .sum();
    assert_eq!(n, 50);
    assert!(items.iter().all(|item| item.ids.len() <= 12));
}

fn training_batches_are_a_function_of_seed_epoch_and_index<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let examples = Examples::Tagged(
        (0..23).map(|i| tagged(&vec!["x"; i % 5 + 1].join(" "), &vec!["O"; i % 5 + 1].join(" "))).collect(),
    );
    let head = HeadConfig::TokenClassification {
        n_labels: 1,
        decoding: Default::default(),
        layers: Default::default(),
    };
    let codec = Arc::new(folder::<B>(&dir.path().join("m"), head, TokenizerKind::Word, &examples, device));
    let set = |seed, dropout| {
        let items = codec.encode(&examples).unwrap().items;
        TrainingSet::new(codec.clone(), items, 4, dropout, seed).unwrap()
    };
    let (a, b, other) = (set(1, 0.5), set(1, 0.5), set(2, 0.5));
    // Out of order, and again.
    let batch = |set: &TrainingSet, epoch, idx| set.batch(epoch, idx).unwrap();
    assert_eq!(batch(&a, 3, 2), {
        batch(&b, 0, 0);
        batch(&b, 3, 2)
    });
    let all = |set: &TrainingSet| (0..set.n_batches()).map(|idx| batch(set, 1, idx)).collect::<Vec<_>>();
    assert_ne!(all(&a), all(&other));
    let rows: usize = all(&a).iter().map(|batch| batch.tokens.batch).sum();
    assert_eq!(rows, 23);
    let unk = codec.tokenizer.specials().unk.unwrap();
    let count = |set: &TrainingSet| {
        all(set).iter().flat_map(|b| b.tokens.ids.clone()).filter(|&id| id == unk).count()
    };
    assert!(count(&a) > 5 && count(&set(1, 0.0)) == 0);
    assert!(matches!(batch(&a, 0, 0).labels, Labels::PerToken(_)));
}

fn evaluation_loss_is_the_training_loss<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let examples = tagged_examples();
    let head = HeadConfig::TokenClassification {
        n_labels: 4,
        decoding: Default::default(),
        layers: Default::default(),
    };
    let codec = folder::<B>(&dir, head, TokenizerKind::Word, &examples, device);
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let items = codec.encode(&examples).unwrap().items;
    let batch = codec.batch(&items.iter().collect::<Vec<_>>()).unwrap();
    let loss = pipeline.model.loss(&batch, None).unwrap();
    let mean = loss.sum.into_data().iter::<f64>().sum::<f64>() / loss.weight;
    let evaluated = evaluate(&pipeline.model, &codec, &examples, 1).unwrap().metrics["loss"];
    assert!((mean - evaluated).abs() < 1e-5, "{mean} and {evaluated}");
}

fn a_folder_with_another_tokenizer_is_refused<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    folder::<B>(
        &dir,
        HeadConfig::TokenClassification {
            n_labels: 4,
            decoding: Default::default(),
            layers: Default::default(),
        },
        TokenizerKind::Word,
        &tagged_examples(),
        device,
    );
    let other = Tokenizer::train(TokenizerKind::Char, 50, false, ["abc"]).unwrap();
    other.save(&dir.join("tokenizer.json")).unwrap();
    let error = Pipeline::<B>::from_dir(&dir, device).unwrap_err();
    assert!(matches!(error, PipelineError::WrongTokenizer { .. }), "{error}");
}

fn question(question: &str, context: &str, answer: Option<&str>) -> Question {
    let start = |answer: &str| context[..context.find(answer).unwrap()].chars().count();
    let answers = answer.into_iter().map(|a| Gold { text: a.to_owned(), start: Some(start(a)) }).collect();
    let (question, context) = (question.to_owned(), context.into());
    Question { id: String::new(), context, question, answers, line: 1 }
}

fn an_answer_for_every_question<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let context = "王小明 met Mira Tolland in Lisbon, and both were late.";
    let long = format!("{}Mira sleeps.", "Lisbon is far. ".repeat(30));
    let questions = vec![
        question("Who was met?", context, Some("Mira Tolland")),
        question("谁?", context, Some("王小明")),
        question("Why?", context, None),
        question("Who sleeps?", &long, Some("Mira")),
    ];
    let examples = Examples::Qa(questions);
    let head = HeadConfig::QuestionAnswering { layers: Default::default() };
    folder::<B>(&dir, head, TokenizerKind::WordPiece, &examples, device);
    let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();

    // A window of twelve tokens overlaps by four, and has two for the question.
    let items = pipeline.codec.encode(&examples).unwrap().items;
    assert!(items.len() > 20 && items.iter().all(|item| item.ids.len() <= 12), "{}", items.len());
    let with_answer = items.iter().filter(|item| !matches!(item.labels, ItemLabels::Span([0, 0]))).count();
    assert!(
        (3..=9).contains(&with_answer),
        "{with_answer}: each in one window or in those that overlap there"
    );

    let texts = awkward();
    let asked: Vec<(&str, &str)> =
        texts.iter().flat_map(|q| texts.iter().map(move |c| (q.as_str(), c.as_str()))).collect();
    pipeline.batch_size = 7;
    let answers = pipeline.answer(&asked).unwrap();
    assert_eq!(answers.len(), asked.len());
    for (answer, (_, context)) in answers.iter().zip(&asked) {
        let there: String = context.chars().take(answer.end).skip(answer.start).collect();
        assert_eq!(there, answer.text);
        assert!((0.0..=1.0).contains(&answer.score), "{answer:?}");
        assert!(!answer.text.is_empty() || !context.contains(char::is_alphabetic), "{answer:?}");
    }
    pipeline.batch_size = 1;
    let alone = pipeline.answer(&asked).unwrap();
    // Windows over a text that repeats itself are alike, and any of them may win.
    let distinct = alone.iter().zip(&answers).zip(&asked).filter(|(_, (_, context))| context.len() < 100);
    for ((alone, answer), _) in distinct {
        assert_eq!((&alone.text, alone.start), (&answer.text, answer.start));
        assert!((alone.score - answer.score).abs() < 1e-4);
    }

    let n_tokens = |text: &str| pipeline.codec.tokenizer.encode(text.trim_start()).unwrap().ids.len();
    assert!(answers.iter().zip(&asked).all(|(answer, (question, _))| answer.cut == (n_tokens(question) > 2)));
    assert!(answers.iter().any(|answer| answer.cut) && !answers.iter().all(|answer| answer.cut));

    // The loss is that of training, whatever windows share a batch.
    let loss = |item: &Item| {
        let loss = pipeline.model.loss(&pipeline.codec.batch(&[item]).unwrap(), None).unwrap();
        assert_eq!(loss.weight, 1.0);
        loss.sum.into_data().iter::<f64>().sum::<f64>()
    };
    let mean = items.iter().map(loss).sum::<f64>() / items.len() as f64;
    let short = Examples::Qa(vec![question("Who?", "Mira", Some("Mira"))]);
    let mut together = pipeline.codec.encode(&short).unwrap().items;
    together.extend(items.iter().cloned());
    assert!(together[0].ids.len() < items[0].ids.len(), "its window is padded");
    let alone: f64 = together.iter().map(loss).sum();
    let batch = pipeline.codec.batch(&together.iter().collect::<Vec<_>>()).unwrap();
    let batched = pipeline.model.loss(&batch, None).unwrap();
    assert_eq!(batched.weight, together.len() as f64);
    let batched = batched.sum.into_data().iter::<f64>().sum::<f64>();
    let n = together.len() as f64;
    assert!(((alone - batched) / n).abs() < 1e-5, "{alone} alone, {batched} together");
    let evaluation = pipeline.evaluate(&examples).unwrap();
    assert!((mean - evaluation.metrics["loss"]).abs() < 1e-5, "{mean} and {evaluation}");
    assert_eq!((evaluation.n_examples, evaluation.score_name), (4, "f1"));
    assert!(evaluation.metrics["em"] <= evaluation.metrics["f1"] && evaluation.metrics["f1"] <= 1.0);

    // Where no answer always wins, one question of four is right.
    let with = |change: &dyn Fn(&mut ModelConfig)| {
        let (mut config, model) = load::<B::InnerBackend>(&dir, device).unwrap();
        change(&mut config);
        Pipeline::new(config, model, Tokenizer::from_file(&dir.join("tokenizer.json")).unwrap())
    };
    let none = with(&|config| config.questions.no_answer_threshold = Some(-1e9)).unwrap();
    assert!(none.answer(&asked).unwrap().iter().all(|answer| answer.text.is_empty() && answer.end == 0));
    let evaluation = none.evaluate(&examples).unwrap();
    assert_eq!([evaluation.metrics["f1"], evaluation.metrics["no_answer_f1"]], [0.25, 1.0]);

    // The best threshold is at least as good as any other, and does what it says.
    let best = evaluation.no_answer_threshold.unwrap();
    let tuned = with(&|config| config.questions.no_answer_threshold = Some(best)).unwrap();
    let tuned = tuned.evaluate(&examples).unwrap();
    assert!((tuned.metrics["f1"] - evaluation.metrics["best_f1"]).abs() < 1e-9, "{tuned}");
    assert!(tuned.metrics["f1"] >= 0.25);

    let error = with(&|config| config.questions.window_tokens = Some(13)).unwrap_err();
    assert!(matches!(error, PipelineError::Windows(_)), "{error}");
    assert!(error.to_string().contains("questions.window_tokens = 13: expected at most max_seq_len = 12"));
    let wrong = pipeline.evaluate(&tagged_examples()).unwrap_err().to_string();
    assert!(wrong.contains("questions with contexts"), "{wrong}");
    assert!(matches!(pipeline.predict(&["Who?"]), Err(PipelineError::WrongTask { .. })));
}

fn tokens_for_every_mask<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let examples = Examples::Text(vec!["Mira Tolland visited Lisbon , 王 小明 too .".repeat(3)]);
    let head = HeadConfig::MaskedLm { tied: true, bias: true, transform: Default::default() };
    folder::<B>(&dir, head, TokenizerKind::Word, &examples, device);
    let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let far = format!("[MASK] {} [MASK]", "Lisbon ".repeat(20));
    let mut texts = awkward();
    let n_plain = texts.len();
    texts.extend(["Mira visited [MASK] .", "[MASK] [MASK] Lisbon", far.as_str()].map(str::to_owned));
    let masks_of = |pipeline: &Pipeline<B::InnerBackend>, top_k| -> Vec<(Vec<Vec<FilledMask>>, bool)> {
        let answers = pipeline.fill_mask(&texts, top_k).unwrap().into_iter().zip(&texts);
        let masks = answers.map(|(answer, given)| match answer {
            Prediction::Masks { text, masks, cut } if text == *given => (masks, cut),
            other => panic!("{other:?}"),
        });
        masks.collect()
    };
    pipeline.batch_size = 2;
    let answers = masks_of(&pipeline, 3);
    let counts: Vec<usize> = answers.iter().map(|(masks, _)| masks.len()).collect();
    // Of the last text the second mask is cut off.
    assert_eq!(counts, [vec![0; n_plain], vec![1, 2, 1]].concat());
    assert!(answers[n_plain + 2].1 && !answers[n_plain].1);
    for mask in answers.iter().flat_map(|(masks, _)| masks) {
        assert_eq!(mask.len(), 3);
        assert!(mask.is_sorted_by(|a, b| a.score >= b.score));
        assert!(mask.iter().all(|token| !token.token.is_empty() && !token.text.contains("[MASK]")));
    }
    // All tokens share the probability, as the scores at that place say.
    let all = masks_of(&pipeline, usize::MAX);
    let whole = &all[n_plain].0[0];
    assert_eq!(whole.len(), pipeline.config.vocab_size);
    assert!((whole.iter().map(|token| token.score).sum::<f64>() - 1.0).abs() < 1e-6);
    let tokenizer = &pipeline.codec.tokenizer;
    let ids = tokenizer.encode_with_specials(&texts[n_plain]).unwrap().ids;
    let ids = tokenizer.assemble(&ids, None).ids;
    let mask = ids.iter().position(|&id| Some(id) == tokenizer.specials().mask).unwrap();
    let n = ids.len();
    let TaskModel::MaskedLm(model) = &pipeline.model else { panic!() };
    let logits = model.logits(&Tokens::new([1, n], ids, vec![true; n], None).unwrap(), None).unwrap();
    let logits: Vec<f64> = logits.into_data().iter::<f64>().collect();
    let row = &logits[mask * whole.len()..(mask + 1) * whole.len()];
    let total: f64 = row.iter().map(|x| x.exp()).sum();
    for token in whole {
        let want = row[token.id as usize].exp() / total;
        assert!((token.score - want).abs() < 1e-5, "{token:?} is not {want}");
    }
    assert_eq!(pipeline.predict(&texts).unwrap().len(), texts.len());
    assert!(matches!(pipeline.answer(&[("a", "b")]), Err(PipelineError::WrongTask { .. })));
}

fn what_is_out_of_scope_is_told_by_confidence<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let row = |text: &str, label: &str| Labelled {
        text: text.to_owned(),
        pair: None,
        label: label.to_owned(),
        line: 1,
    };
    let known = vec![row("good 好", "pos"), row("bad", "neg"), row("so good", "pos"), row("so so", "neg")];
    let head = HeadConfig::SequenceClassification {
        n_labels: 2,
        pooling: Pooling::Mean,
        layers: Default::default(),
    };
    folder::<B>(&dir, head, TokenizerKind::Word, &Examples::Labelled(known.clone()), device);
    let mut rows = known.clone();
    rows.insert(1, row("good so", "oos"));
    rows.extend([row("好 bad", "oos"), row("", "oos")]);
    let examples = Examples::Labelled(rows.clone());
    let (mut config, model) = load::<B::InnerBackend>(&dir, device).unwrap();
    let tokenizer = Tokenizer::from_file(&dir.join("tokenizer.json")).unwrap();
    let plain = Pipeline::new(config.clone(), model.clone(), tokenizer.clone()).unwrap();
    assert!(plain.evaluate(&examples).unwrap_err().to_string().contains("oos"));
    config.out_of_scope = Some("oos".to_owned());
    let pipeline = Pipeline::new(config, model, tokenizer).unwrap();
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let told: Vec<(String, f64)> = pipeline
        .predict(&texts)
        .unwrap()
        .into_iter()
        .map(|answer| match answer {
            Prediction::Label { label, score, .. } => (label, score),
            other => panic!("{other:?}"),
        })
        .collect();
    let evaluation = pipeline.evaluate(&examples).unwrap();
    let within = || rows.iter().zip(&told).filter(|(row, _)| row.label != "oos");
    let right = within().filter(|(row, (label, _))| row.label == *label).count();
    assert_eq!(evaluation.metrics["in_scope_accuracy"], right as f64 / 4.0);
    assert_eq!((evaluation.n_examples, evaluation.score_name), (4, "in_scope_accuracy"));
    // The area under the curve is how often a text in scope is surer than one out of it.
    let outside = || rows.iter().zip(&told).filter(|(row, _)| row.label == "oos");
    let wins = within().flat_map(|(_, (_, a))| outside().map(move |(_, (_, b))| (a, b)));
    let area: f64 =
        wins.map(|(a, b)| if a == b { 0.5 } else { f64::from(u8::from(a > b)) }).sum::<f64>() / 12.0;
    assert!((evaluation.metrics["oos_auroc"] - area).abs() < 1e-6, "{evaluation} is not {area}");
    assert!(!evaluation.metrics.contains_key("accuracy"));
    // The texts in scope are scored as without the others.
    let alone = plain.evaluate(&Examples::Labelled(known)).unwrap();
    assert!((alone.metrics["loss"] - evaluation.metrics["loss"]).abs() < 1e-5);
    assert_eq!(alone.metrics["accuracy"], evaluation.metrics["in_scope_accuracy"]);
}

on_backends!(
    entities_for_every_input,
    labels_for_every_input,
    any_number_of_labels_for_every_input,
    a_number_for_every_input,
    an_answer_for_every_question,
    tokens_for_every_mask,
    what_is_out_of_scope_is_told_by_confidence,
    text_streams_whole,
    pieces_are_the_whole_text,
    a_text_for_every_prompt,
    a_text_ends_before_its_stop_string,
    every_answer_is_that_of_its_text,
    vectors_for_every_input,
    targets_are_scored,
    a_label_stands_on_each_word_once,
    training_batches_are_a_function_of_seed_epoch_and_index,
    evaluation_loss_is_the_training_loss,
    a_folder_with_another_tokenizer_is_refused,
);
