//! Labels and numbers of whole texts.

use std::collections::BTreeMap;

use burn::tensor::backend::AutodiffBackend;
use locus_data::{Examples, ItemLabels, Labelled, MultiLabelled, Scored, Tokenizer, TokenizerKind};
use locus_heads::{HeadConfig, Pooling, Trainable};
use locus_metrics::bootstrap::Bootstrap;
use locus_metrics::multilabel::MultiLabelScorer;
use locus_model::load;
use locus_pipeline::{Evaluation, Pipeline, Prediction, ScoredLabel, Thresholds, Tuning};
use locus_testkit::on_backends;

use crate::{awkward, folder, tagged_examples};

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
    labels_for_every_input,
    any_number_of_labels_for_every_input,
    a_number_for_every_input,
    what_is_out_of_scope_is_told_by_confidence,
);
