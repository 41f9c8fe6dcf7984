//! Pairs of texts that are read apart: batches, scores, answers.

use burn::tensor::backend::AutodiffBackend;
use locus_data::{Examples, Kind, Labelled, Pair, Row, Scored, TokenizerKind};
use locus_heads::{Cosent, CosineBounds, HeadConfig, Labels, PairLoss, SentenceEmbeddingConfig, Trainable};
use locus_metrics::regression::{pearson, spearman};
use locus_pipeline::{Pipeline, Prediction};
use locus_testkit::on_processors;

use crate::folder;

const PAIRS: [(&str, &str, f64); 5] = [
    ("the mill is old", "the mill is very old", 4.5),
    ("the mill is old", "a dog slept", 0.0),
    ("it rained all night", "all night there was rain", 4.0),
    ("it rained all night", "it did not rain", 1.5),
    ("鸟在唱歌", "鸟唱歌", 5.0),
];

fn rows<L>(label: impl Fn(f64) -> L) -> Vec<Row<L>> {
    let row = |(at, (text, pair, number)): (usize, &(&str, &str, f64))| Row {
        text: (*text).to_owned(),
        pair: Some((*pair).to_owned()),
        label: label(*number),
        line: at + 2,
    };
    PAIRS.iter().enumerate().map(row).collect()
}

fn head(pair_loss: PairLoss) -> HeadConfig {
    HeadConfig::SentenceEmbedding(SentenceEmbeddingConfig { pair_loss, ..Default::default() })
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-5
}

fn numbers_are_scored_as_cosines_are_predicted<B: AutodiffBackend>(device: &B::Device) {
    let scored: Vec<Scored> = rows(|number| number);
    let examples = Examples::Scored(scored.clone());
    let bounds = CosineBounds { scores: [0.0, 5.0], cosines: [-1.0, 1.0] };
    let asked = PAIRS.map(|(text, pair, _)| (text, pair));
    for loss in [PairLoss::Cosine(bounds), PairLoss::Cosent(Cosent::default()), PairLoss::InBatchNegatives] {
        let dir = tempfile::tempdir().unwrap();
        let codec = folder::<B>(&dir.path().join("m"), head(loss), TokenizerKind::Word, &examples, device);
        let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(dir.path().join("m"), device).unwrap();
        pipeline.batch_size = 3;
        let cosines = pipeline.predict_pairs(&asked).unwrap().into_iter().map(|answer| match answer {
            Prediction::Similarity { cosine, label: None, score: None, .. } => cosine,
            answer => panic!("{answer:?}"),
        });
        let cosines: Vec<f64> = cosines.collect();
        let gold: Vec<f64> = scored.iter().map(|row| row.label).collect();
        let evaluation = pipeline.evaluate(&examples).unwrap().with_interval();
        assert_eq!((evaluation.score_name, evaluation.n_examples), ("spearman", 5));
        assert!(near(evaluation.value(), spearman(&gold, &cosines).unwrap()));
        assert!(near(evaluation.metrics["pearson"], pearson(&gold, &cosines).unwrap()));
        assert!(evaluation.interval.is_some());
        // Batches have what the loss needs.
        let items = codec.encode(&examples).unwrap().items;
        let batch = codec.batch(&items.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(batch.tokens.ids.len() % 10, 0, "ten rows of five pairs");
        let wanted: Vec<f64> = match loss {
            PairLoss::Cosine(_) => gold.iter().map(|number| number / 2.5 - 1.0).collect(),
            _ => gold.clone(),
        };
        let Labels::PairValues(values) = &batch.labels else { panic!("{:?}", batch.labels) };
        assert!(values.iter().zip(&wanted).all(|(a, b)| near(f64::from(*a), *b)), "{values:?}");
        if let PairLoss::Cosine(_) = loss {
            let squares = wanted.iter().zip(&cosines).map(|(wanted, cosine)| (wanted - cosine).powi(2));
            let mean = squares.sum::<f64>() / 5.0;
            assert!(near(evaluation.metrics["loss"], mean));
            let loss = pipeline.model.loss(&batch, None).unwrap();
            let sum: f64 = loss.sum.into_data().iter::<f64>().sum();
            assert!(near(sum / loss.weight, mean));
        } else {
            assert!(!evaluation.metrics.contains_key("loss"));
        }
        assert_eq!(codec.kind() == Kind::Scored, loss != PairLoss::InBatchNegatives);
    }
}

/// As `sentence-transformers` scores a model with a default prompt: what answers is what is scored.
fn a_default_prompt_is_read_in_scores_and_answers<B: AutodiffBackend>(device: &B::Device) {
    let scored: Vec<Scored> = rows(|number| number);
    let gold: Vec<f64> = scored.iter().map(|row| row.label).collect();
    let examples = Examples::Scored(scored);
    let targets = |(source, target, _): &(&str, &str, f64)| Pair {
        source: (*source).to_owned(),
        target: (*target).to_owned(),
        line: 1,
    };
    let searched = Examples::Pairs(PAIRS.iter().map(targets).collect());
    let bounds = CosineBounds { scores: [0.0, 5.0], cosines: [-1.0, 1.0] };
    for include_prompt in [true, false] {
        let head = SentenceEmbeddingConfig {
            pair_loss: PairLoss::Cosine(bounds),
            include_prompt,
            prompts: [("query".to_owned(), "it slept ".to_owned())].into(),
            default_prompt: Some("query".to_owned()),
            ..Default::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        folder::<B>(&path, HeadConfig::SentenceEmbedding(head), TokenizerKind::Word, &examples, device);
        let pipeline = Pipeline::<B::InnerBackend>::from_dir(&path, device).unwrap();
        let answers = pipeline.predict_pairs(&PAIRS.map(|(text, pair, _)| (text, pair))).unwrap();
        let cosines = answers.into_iter().map(|answer| match answer {
            Prediction::Similarity { cosine, .. } => cosine,
            answer => panic!("{answer:?}"),
        });
        let cosines: Vec<f64> = cosines.collect();
        let evaluation = pipeline.evaluate(&examples).unwrap();
        assert!((evaluation.metrics["pearson"] - pearson(&gold, &cosines).unwrap()).abs() < 1e-4);
        let squares = gold.iter().zip(&cosines).map(|(number, cosine)| (number / 2.5 - 1.0 - cosine).powi(2));
        assert!(near(evaluation.metrics["loss"], squares.sum::<f64>() / 5.0));
        // Without the prompt these are others.
        let vectors = |texts: [&str; 5]| pipeline.embed_with(&texts, "").unwrap().vectors;
        let (first, second) = (vectors(PAIRS.map(|pair| pair.0)), vectors(PAIRS.map(|pair| pair.1)));
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>();
        let plain =
            first.iter().zip(&second).map(|(a, b)| product(a, b) / (product(a, a) * product(b, b)).sqrt());
        assert!(plain.zip(&cosines).any(|(plain, cosine)| (plain - cosine).abs() > 1e-3));
        assert_eq!(pipeline.evaluate(&searched).unwrap().score_name, "mrr@10");
    }
}

fn labels_are_scored_as_they_are_predicted<B: AutodiffBackend>(device: &B::Device) {
    let name = |number: f64| if number > 2.0 { "same" } else { "other" }.to_owned();
    let labelled: Vec<Labelled> = rows(name);
    let examples = Examples::Labelled(labelled.clone());
    let dir = tempfile::tempdir().unwrap();
    let head = head(PairLoss::Softmax { n_labels: 2 });
    let codec = folder::<B>(&dir.path().join("m"), head, TokenizerKind::Word, &examples, device);
    assert_eq!(codec.kind(), Kind::Labelled);
    let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(dir.path().join("m"), device).unwrap();
    pipeline.batch_size = 3;
    let answers = pipeline.predict_pairs(&PAIRS.map(|(text, pair, _)| (text, pair))).unwrap();
    let mut n_right = 0;
    for (answer, row) in answers.iter().zip(&labelled) {
        let Prediction::Similarity { label: Some(label), score: Some(score), scores, .. } = answer else {
            panic!("{answer:?}")
        };
        assert!(near(scores.values().sum(), 1.0) && near(scores[label], *score) && *score >= 0.5);
        n_right += u32::from(*label == row.label);
    }
    let evaluation = pipeline.evaluate(&examples).unwrap();
    assert!(near(evaluation.value(), f64::from(n_right) / 5.0));
    assert!(evaluation.score_name == "accuracy" && evaluation.metrics.contains_key("macro_f1"));
    let items = codec.encode(&examples).unwrap().items;
    let batch = codec.batch(&items.iter().collect::<Vec<_>>()).unwrap();
    let loss = pipeline.model.loss(&batch, None).unwrap();
    let sum: f64 = loss.sum.into_data().iter::<f64>().sum();
    assert!(near(sum / loss.weight, evaluation.metrics["loss"]));
}

fn what_is_no_pair_is_told<B: AutodiffBackend>(device: &B::Device) {
    let scored: Vec<Scored> = rows(|number| number);
    let dir = tempfile::tempdir().unwrap();
    let head = head(PairLoss::Cosine(CosineBounds { scores: [0.0, 4.0], ..Default::default() }));
    let all = Examples::Scored(scored.clone());
    let codec = folder::<B>(&dir.path().join("m"), head, TokenizerKind::Word, &all, device);
    let error = |examples: &Examples| codec.encode(examples).unwrap_err().to_string();
    let said = error(&all);
    assert!(said.starts_with("2 of the pairs have a number outside"), "{said}");
    assert!(said.contains("[0, 4], the first 4.5 on line 2"), "{said}");
    let alone = Examples::Scored(vec![Row { pair: None, label: 1.0, ..scored[3].clone() }]);
    let said = error(&alone);
    assert!(
        said.contains("line 5: expected a pair of texts") && said.contains("data.columns.pair"),
        "{said}"
    );
    let said = error(&Examples::Labelled(rows(|_| "same".to_owned())));
    assert!(said.contains("needs pairs of texts with a number, found labelled"), "{said}");
}

on_processors!(
    numbers_are_scored_as_cosines_are_predicted,
    a_default_prompt_is_read_in_scores_and_answers,
    labels_are_scored_as_they_are_predicted,
    what_is_no_pair_is_told,
);
