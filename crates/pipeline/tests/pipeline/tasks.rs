//! What holds for all tasks.

use burn::tensor::backend::AutodiffBackend;
use locus_data::{Examples, Labelled, Pair, Tokenizer, TokenizerKind};
use locus_heads::{HeadConfig, Pooling};
use locus_pipeline::{Pipeline, PipelineError};
use locus_testkit::on_backends;

use crate::{SENTENCE, awkward, folder, tagged_examples};

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

on_backends!(every_answer_is_that_of_its_text, a_folder_with_another_tokenizer_is_refused);
