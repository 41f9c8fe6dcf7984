//! Queries with candidates: batches, scores, draws.

use std::sync::Arc;

use burn::tensor::backend::AutodiffBackend;
use locus_data::{Candidate, Examples, ItemLabels, Ranking, TokenizerKind};
use locus_heads::{FeatureScale, HeadConfig, Labels, Pooling, RankingLoss, RankingScore, Trainable};
use locus_metrics::retrieval::RetrievalScorer;
use locus_pipeline::{Pipeline, TrainingSet};
use locus_testkit::on_processors;

use crate::folder;

const WORDS: [&str; 7] = ["tea", "cup", "hat", "rain", "coat", "leaf", "帽子"];

/// Queries with 3, 2, 5, 4 and 2 candidates, two numbers each.
fn examples() -> Vec<Ranking> {
    let candidate = |at: usize, idx: usize| Candidate {
        text: format!("{} {}", WORDS[(at + 2 * idx) % 7], WORDS[(3 * at + idx) % 7]),
        gain: [0.0, 2.0, 1.0, 0.0, 0.0][(at + idx) % 5],
        features: vec![idx as f64, 10.0 * at as f64],
    };
    let ranking = |(at, n): (usize, usize)| Ranking {
        id: at.to_string(),
        query: WORDS[at].to_owned(),
        candidates: (0..n).map(|idx| candidate(at, idx)).collect(),
        time: None,
        line: at + 1,
    };
    [3, 2, 5, 4, 2].into_iter().enumerate().map(ranking).collect()
}

fn head(score: RankingScore) -> HeadConfig {
    HeadConfig::Ranking {
        pooling: Pooling::Mean,
        loss: RankingLoss::Softmax,
        score,
        features: vec![FeatureScale { mean: 1.0, std: 2.0 }, FeatureScale { mean: 20.0, std: 5.0 }],
        layers: Default::default(),
    }
}

fn candidates_are_ranked_as_they_are_scored<B: AutodiffBackend>(device: &B::Device) {
    for (score, name) in [(RankingScore::Ndcg, "ndcg@10"), (RankingScore::Accuracy, "accuracy")] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("m");
        let rankings = examples();
        let all = Examples::Ranked(rankings.clone());
        folder::<B>(&dir, head(score), TokenizerKind::Word, &all, device);
        let mut pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
        pipeline.batch_size = 3;
        let mut scorer = RetrievalScorer::new(&[1, 10]).unwrap();
        for ranking in &rankings {
            let asked: Vec<(&str, Vec<f64>)> =
                ranking.candidates.iter().map(|c| (c.text.as_str(), c.features.clone())).collect();
            let scores = pipeline.rank(&ranking.query, &asked).unwrap();
            // Each alone has the score that it has among the others.
            for (one, score) in asked.iter().zip(&scores) {
                let alone = pipeline.rank(&ranking.query, std::slice::from_ref(one)).unwrap()[0];
                assert!((alone - score).abs() < 1e-5, "{alone} and {score}");
            }
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let gains: Vec<f64> = ranking.candidates.iter().map(|c| c.gain).collect();
            let ranked: Vec<f64> = order.iter().map(|&at| gains[at]).collect();
            scorer.add(&ranked, &gains).unwrap();
        }
        let evaluation = pipeline.evaluate(&all).unwrap();
        let report = scorer.report();
        let expected = if name == "accuracy" { report["hit_rate@1"] } else { report["ndcg@10"] };
        assert_eq!((evaluation.score_name, evaluation.n_examples), (name, 5));
        assert!((evaluation.value() - expected).abs() < 1e-9, "{evaluation}");
        assert!((evaluation.metrics["mrr"] - report["mrr"]).abs() < 1e-9, "{evaluation}");
        let error = pipeline.predict(&["tea"]).unwrap_err().to_string();
        assert!(error.contains("ranking"), "{error}");
        let error = pipeline.rank("tea", &[("cup", vec![1.0])]).unwrap_err().to_string();
        assert!(error.contains("expected 2 features") && error.contains("found 1"), "{error}");
        assert!(pipeline.rank::<&str>("tea", &[]).unwrap().is_empty());
    }
}

fn a_batch_has_all_candidates_of_its_queries<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let all = Examples::Ranked(examples());
    folder::<B>(&dir, head(RankingScore::Ndcg), TokenizerKind::Word, &all, device);
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    let items = pipeline.codec.encode(&all).unwrap().items;
    let ItemLabels::Candidates(candidates) = &items[2].labels else { panic!("no candidates") };
    assert_eq!(candidates[4].features, [1.5, 0.0]);
    let batch = pipeline.codec.batch(&items.iter().collect::<Vec<_>>()).unwrap();
    let Labels::Ranking(labels) = &batch.labels else { panic!("{:?}", batch.labels) };
    assert_eq!((batch.tokens.batch, labels.sizes.as_slice()), (16, &[3, 2, 5, 4, 2][..]));
    assert_eq!((labels.gains.len(), labels.features.len()), (16, 32));
    let loss = pipeline.model.loss(&batch, None).unwrap();
    // What `rank` says of the same, under a softmax of each query.
    let mut expected = 0.0;
    let mut n_queries = 0.0;
    for ranking in examples() {
        let asked: Vec<(String, Vec<f64>)> =
            ranking.candidates.iter().map(|c| (c.text.clone(), c.features.clone())).collect();
        let scores = pipeline.rank(&ranking.query, &asked).unwrap();
        let total: f64 = scores.iter().map(|&s| f64::from(s).exp()).sum();
        let gains: f64 = ranking.candidates.iter().map(|c| c.gain).sum();
        if gains > 0.0 {
            let nats =
                ranking.candidates.iter().zip(&scores).map(|(c, &s)| c.gain * (total.ln() - f64::from(s)));
            expected += nats.sum::<f64>() / gains;
            n_queries += 1.0;
        }
    }
    let found = loss.sum.into_data().iter::<f64>().sum::<f64>();
    assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    assert_eq!(loss.weight, n_queries);
}

fn some_candidates_are_drawn_in_each_epoch<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let all = Examples::Ranked(examples());
    let codec = Arc::new(folder::<B>(&dir, head(RankingScore::Ndcg), TokenizerKind::Word, &all, device));
    let set = |n| {
        let items = codec.encode(&all).unwrap().items;
        TrainingSet::new(codec.clone(), items, 5, 0.0, 1).unwrap().with_candidates(n)
    };
    let drawn = set(Some(3));
    let rows = |set: &TrainingSet, epoch| match set.batch(epoch, 0).unwrap().labels {
        Labels::Ranking(labels) => labels,
        other => panic!("{other:?}"),
    };
    let mut sizes = rows(&drawn, 0).sizes;
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 2, 3, 3, 3]);
    assert_eq!(rows(&drawn, 1), rows(&set(Some(3)), 1));
    let total = |set: &TrainingSet, epoch| rows(set, epoch).gains.iter().sum::<f32>();
    assert_eq!(total(&drawn, 0), total(&set(None), 0));
    assert!((1..9).any(|epoch| rows(&drawn, epoch).features != rows(&drawn, 0).features));
}

on_processors!(
    candidates_are_ranked_as_they_are_scored,
    a_batch_has_all_candidates_of_its_queries,
    some_candidates_are_drawn_in_each_epoch,
);
