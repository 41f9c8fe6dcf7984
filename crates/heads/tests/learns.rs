//! Every head learns a task by heart, and says the same without autodiff.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::module::AutodiffModule;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_encoder::StackConfig;
use locus_heads::{
    Candidates, Cosent, CosineBounds, DenseActivation, EmbeddingLayer, FeatureScale, HeadConfig,
    InBatchNegatives, Labels, LossOptions, PairLoss, Pooling, RankingLoss, SentenceEmbeddingConfig,
    TagDecoding, TaskBatch, TaskModel, TokenPooling, Trainable,
};
use locus_testkit::on_backends;

fn tokens(rows: &[&[u32]]) -> Tokens {
    let ids: Vec<u32> = rows.iter().flat_map(|row| row.iter().copied()).collect();
    Tokens::new([rows.len(), rows[0].len()], ids.clone(), ids.iter().map(|&id| id != 0).collect(), None)
        .unwrap()
}

fn learn<B: AutodiffBackend>(head: HeadConfig, batch: TaskBatch, device: &B::Device) {
    let config = StackConfig {
        d_model: 24,
        n_layers: 2,
        n_heads: 2,
        dropout: 0.0,
        attention_dropout: 0.0,
        init_std: 0.1,
        ..StackConfig::default()
    };
    assert_eq!(head.check(&config), []);
    let mut model = TaskModel::<B>::new(&head, &config, 11, Key::new(1), device);
    let mut optimizer = AdamWConfig::new().init();
    let mean = |model: &TaskModel<B>| {
        let loss = model.loss(&batch, None).unwrap();
        loss.sum / loss.weight
    };
    let first: f32 = mean(&model).into_scalar().elem();
    for _ in 0..30 {
        let grads = GradientsParams::from_grads(mean(&model).backward(), &model);
        model = optimizer.step(0.01, model, grads);
    }
    let last: f32 = mean(&model).into_scalar().elem();
    assert!(last < 0.2 * first, "{head:?}: {first} → {last}");
    let valid = model.valid().loss(&batch, None).unwrap();
    let valid: f32 = (valid.sum / valid.weight).into_scalar().elem();
    assert!((valid - last).abs() < 1e-5, "{valid} without autodiff, {last} with");
}

use burn::tensor::ElementConversion;

fn token_classifier<B: AutodiffBackend>(device: &B::Device) {
    let labels = Labels::PerToken(vec![0, 1, 2, -100, 2, 0, 1, -100]);
    let batch = TaskBatch { tokens: tokens(&[&[1, 2, 3, 0], &[3, 4, 5, 0]]), labels };
    for decoding in [TagDecoding::Independent, TagDecoding::Crf] {
        learn::<B>(
            HeadConfig::TokenClassification { n_labels: 3, decoding, layers: Default::default() },
            batch.clone(),
            device,
        );
    }
}

fn sequence_classifier<B: AutodiffBackend>(device: &B::Device) {
    let batch =
        TaskBatch { tokens: tokens(&[&[1, 2, 3, 0], &[3, 4, 5, 7]]), labels: Labels::PerRow(vec![1, 0]) };
    for pooling in [Pooling::Mean, Pooling::First, Pooling::Last] {
        learn::<B>(
            HeadConfig::SequenceClassification { n_labels: 2, pooling, layers: Default::default() },
            batch.clone(),
            device,
        );
    }
}

fn sentence_embedder<B: AutodiffBackend>(device: &B::Device) {
    // Three pairs: sources, then targets. Two have the same target.
    let rows: &[&[u32]] =
        &[&[1, 2, 3, 0], &[3, 4, 5, 7], &[6, 2, 0, 0], &[7, 3, 0, 0], &[8, 9, 4, 2], &[7, 3, 0, 0]];
    let batch = TaskBatch { tokens: tokens(rows), labels: Labels::InBatchPairs };
    let dense = EmbeddingLayer::Dense { d_out: 7, bias: true, activation: DenseActivation::Tanh };
    for (symmetric, pooling) in [(false, TokenPooling::Mean), (true, TokenPooling::Max)] {
        let head = SentenceEmbeddingConfig {
            pooling: vec![pooling],
            layers: vec![dense.clone(), EmbeddingLayer::Normalize],
            loss: InBatchNegatives { symmetric, ..InBatchNegatives::default() },
            ..SentenceEmbeddingConfig::default()
        };
        learn::<B>(HeadConfig::SentenceEmbedding(head), batch.clone(), device);
    }
}

/// Three pairs with a number or a label each: sources, then targets.
fn pairs_of_texts<B: AutodiffBackend>(device: &B::Device) {
    let rows: &[&[u32]] =
        &[&[1, 2, 3, 0], &[3, 4, 5, 7], &[6, 2, 0, 0], &[7, 3, 0, 0], &[8, 9, 4, 2], &[5, 1, 0, 0]];
    let head = |pair_loss| {
        HeadConfig::SentenceEmbedding(SentenceEmbeddingConfig { pair_loss, ..Default::default() })
    };
    let batch = |labels| TaskBatch { tokens: tokens(rows), labels };
    let numbers = || Labels::PairValues(vec![0.9, -0.5, 0.1]);
    let (cosine, cosent) = (PairLoss::Cosine(CosineBounds::default()), PairLoss::Cosent(Cosent::default()));
    learn::<B>(head(cosine), batch(numbers()), device);
    learn::<B>(head(cosent), batch(numbers()), device);
    let softmax = PairLoss::Softmax { n_labels: 3 };
    learn::<B>(head(softmax), batch(Labels::PairLabels(vec![2, 0, 1])), device);
    let error = |loss, labels| {
        let model = TaskModel::<B>::new(&head(loss), &StackConfig::default(), 11, Key::new(1), device);
        model.loss(&batch(labels), None).unwrap_err().to_string()
    };
    let said = error(cosent, Labels::PairLabels(vec![2, 0, 1]));
    assert_eq!(said, "sentence embedding needs a number per pair of texts, found a label per pair of texts");
    let said = error(softmax, Labels::InBatchPairs);
    assert_eq!(said, "sentence embedding needs a label per pair of texts, found pairs of texts");
    for (loss, labels) in [
        (cosine, Labels::PairValues(vec![0.5; 2])),
        (cosent, Labels::PairValues(vec![0.5; 5])),
        (softmax, Labels::PairLabels(vec![0; 6])),
    ] {
        let found = match &labels {
            Labels::PairValues(values) => values.len(),
            _ => 6,
        };
        assert_eq!(error(loss, labels), format!("expected 3 labels, found {found}"));
    }
    assert!(error(softmax, Labels::PairLabels(vec![0, 3, 1])).starts_with("label 3 at index 1"));
}

/// The same text as source or target of two pairs makes neither a negative of the other.
fn the_same_target_is_no_negative<B: AutodiffBackend>(device: &B::Device) {
    let head = HeadConfig::SentenceEmbedding(SentenceEmbeddingConfig::default());
    let stack = StackConfig { dropout: 0.0, attention_dropout: 0.0, ..StackConfig::default() };
    let model = TaskModel::<B>::new(&head, &stack, 11, Key::new(1), device);
    let loss = |rows: &[&[u32]]| {
        let batch = TaskBatch { tokens: tokens(rows), labels: Labels::InBatchPairs };
        model.loss(&batch, None).map(|loss| loss.sum.into_scalar().elem::<f32>())
    };
    let same = loss(&[&[1, 2], &[3, 4], &[5, 6], &[5, 6]]).unwrap();
    assert!(same.abs() < 1e-6, "{same}");
    let other = loss(&[&[1, 2], &[3, 4], &[5, 6], &[6, 7]]).unwrap();
    assert!(other > 1e-3, "{other}");
    let error = loss(&[&[1, 2], &[3, 4], &[5, 6]]).unwrap_err().to_string();
    assert!(error.contains("3 rows"), "{error}");
}

fn multi_label_classifier<B: AutodiffBackend>(device: &B::Device) {
    // The second row has no label, and one cell of the third does not count.
    let labels = Labels::MultiHot(vec![1, 1, 0, 0, 0, 0, 0, 1, -100]);
    let batch = TaskBatch { tokens: tokens(&[&[1, 2, 3, 0], &[3, 4, 5, 7], &[6, 2, 0, 0]]), labels };
    let head = HeadConfig::MultiLabelClassification {
        n_labels: 3,
        pooling: Pooling::Mean,
        layers: Default::default(),
    };
    learn::<B>(head, batch, device);
}

fn regressor<B: AutodiffBackend>(device: &B::Device) {
    let labels = Labels::Values(vec![1.5, -0.5, 0.25]);
    let batch = TaskBatch { tokens: tokens(&[&[1, 2, 3, 0], &[3, 4, 5, 7], &[6, 2, 0, 0]]), labels };
    learn::<B>(
        HeadConfig::Regression { pooling: Pooling::Mean, mean: 3.0, std: 2.0, layers: Default::default() },
        batch,
        device,
    );
}

fn ranking(loss: RankingLoss, n_features: usize) -> HeadConfig {
    HeadConfig::Ranking {
        pooling: Pooling::Mean,
        loss,
        score: Default::default(),
        features: vec![FeatureScale { mean: 0.0, std: 1.0 }; n_features],
        layers: Default::default(),
    }
}

/// Two queries with three and two candidates.
fn candidates(features: Vec<f32>) -> TaskBatch {
    let rows: &[&[u32]] = &[&[1, 2, 3, 0], &[1, 4, 5, 7], &[1, 6, 2, 0], &[8, 3, 0, 0], &[8, 9, 4, 2]];
    let gains = vec![0.0, 1.0, 0.0, 1.0, 0.0];
    let labels = Labels::Ranking(Candidates { sizes: vec![3, 2], gains, features });
    TaskBatch { tokens: tokens(rows), labels }
}

fn ranker<B: AutodiffBackend>(device: &B::Device) {
    for loss in [RankingLoss::Softmax, RankingLoss::Pairwise, RankingLoss::Pointwise] {
        learn::<B>(ranking(loss, 0), candidates(Vec::new()), device);
    }
    learn::<B>(
        ranking(RankingLoss::Softmax, 2),
        candidates((0..10).map(|n| n as f32 / 5.0).collect()),
        device,
    );
}

/// Scores are those of the text and of the features together, and rows need as many features as the head has.
fn features_count<B: AutodiffBackend>(device: &B::Device) {
    let stack = StackConfig::default();
    let model = TaskModel::<B>::new(&ranking(RankingLoss::Softmax, 2), &stack, 11, Key::new(1), device);
    let TaskModel::SequenceClassifier(model) = model else { panic!() };
    let tokens = tokens(&[&[1, 2, 3]]);
    let score =
        |features: &[f32]| model.scores(&tokens, features, None).map(|x| x.into_scalar().elem::<f32>());
    let weights: Vec<f32> = model.features.as_ref().unwrap().weight.val().into_data().iter::<f32>().collect();
    let text: f32 = model.logits(&tokens, None).unwrap().into_scalar().elem();
    let expected = text + 3.0 * weights[0] - 5.0 * weights[1];
    assert!((score(&[3.0, -5.0]).unwrap() - expected).abs() < 1e-5);
    assert_eq!(score(&[3.0]).unwrap_err().to_string(), "expected 2 features, found 1");
    let mut head = ranking(RankingLoss::Softmax, 2);
    assert_eq!(head.check(&stack), []);
    if let HeadConfig::Ranking { features, .. } = &mut head {
        features[1].std = 0.0;
    }
    assert_eq!(head.check(&stack).len(), 1);
}

fn labels_of_another_kind_are_refused<B: AutodiffBackend>(device: &B::Device) {
    let head = HeadConfig::MultiLabelClassification {
        n_labels: 2,
        pooling: Pooling::Mean,
        layers: Default::default(),
    };
    let model = TaskModel::<B>::new(&head, &StackConfig::default(), 11, Key::new(1), device);
    let error = |labels| {
        let batch = TaskBatch { tokens: tokens(&[&[1, 2, 3]]), labels };
        model.loss(&batch, None).unwrap_err().to_string()
    };
    let wrong = error(Labels::PerRow(vec![1]));
    assert_eq!(
        wrong,
        "multi-label classification needs a yes or no per row and label, found a label per row"
    );
    assert_eq!(error(Labels::MultiHot(vec![1])), "expected 2 labels, found 1");
    assert!(error(Labels::MultiHot(vec![1, 2])).starts_with("label 2 at index 1"));
    for (mean, std) in [(f64::NAN, 1.0), (0.0, 0.0), (0.0, f64::INFINITY)] {
        let head = HeadConfig::Regression { pooling: Pooling::Mean, mean, std, layers: Default::default() };
        assert_eq!(head.check(&StackConfig::default()).len(), 1, "{mean} {std}");
    }
}

/// Smoothing, weights and focusing are for the loss to train on, which has a key, and not for the one to evaluate by.
fn loss_options_hold_in_training<B: AutodiffBackend>(device: &B::Device) {
    let stack = StackConfig { dropout: 0.0, attention_dropout: 0.0, ..StackConfig::default() };
    let weights = Some(vec![0.5, 3.0]);
    let options = [
        LossOptions { label_smoothing: 0.2, ..LossOptions::default() },
        LossOptions { focal_gamma: 2.0, ..LossOptions::default() },
        LossOptions { class_weights: weights, ..LossOptions::default() },
    ];
    let (n_labels, pooling) = (2, Pooling::Mean);
    let cases = [
        (
            HeadConfig::SequenceClassification { n_labels, pooling, layers: Default::default() },
            Labels::PerRow(vec![1, 1]),
        ),
        (
            HeadConfig::MultiLabelClassification { n_labels, pooling, layers: Default::default() },
            Labels::MultiHot(vec![1, 1, 1, 0]),
        ),
        (
            HeadConfig::TokenClassification {
                n_labels,
                decoding: Default::default(),
                layers: Default::default(),
            },
            Labels::PerToken(vec![1, 1, -100, -100]),
        ),
    ];
    for (head, labels) in cases {
        let batch = TaskBatch { tokens: tokens(&[&[1, 2], &[3, 4]]), labels };
        let model = TaskModel::<B>::new(&head, &stack, 11, Key::new(1), device);
        let loss = |model: &TaskModel<B>, key| {
            let loss = model.loss(&batch, key).unwrap();
            (loss.sum.into_scalar().elem::<f32>(), loss.weight)
        };
        let key = Some(Key::new(5));
        let plain = loss(&model, None);
        assert_eq!(plain, loss(&model, key));
        for options in &options {
            let with = model.clone().with_loss(options.clone());
            assert_eq!(loss(&with, None), plain, "{options:?}");
            assert!((loss(&with, key).0 - plain.0).abs() > 1e-3, "{head:?} {options:?}");
        }
        let two = LossOptions { class_weights: Some(vec![1.0; 3]), ..LossOptions::default() };
        let error = model.with_loss(two).loss(&batch, key).unwrap_err().to_string();
        assert_eq!(error, "expected 2 class weights, found 3");
    }
}

fn causal_lm<B: AutodiffBackend>(device: &B::Device) {
    let labels = Labels::PerToken(vec![2, 3, 4, 4, 5, 7]);
    let batch = TaskBatch { tokens: tokens(&[&[1, 2, 3], &[3, 4, 5]]), labels };
    learn::<B>(HeadConfig::CausalLm { tied: true, output: Default::default() }, batch.clone(), device);
    learn::<B>(HeadConfig::CausalLm { tied: false, output: Default::default() }, batch, device);
}

fn seq2seq<B: AutodiffBackend>(device: &B::Device) {
    let target = Labels::Target { tokens: tokens(&[&[1, 3, 2], &[1, 5, 4]]), labels: vec![3, 2, 9, 5, 4, 9] };
    let batch = TaskBatch { tokens: tokens(&[&[2, 3, 0, 0], &[4, 5, 0, 0]]), labels: target };
    learn::<B>(HeadConfig::Seq2Seq { tied: true, output: Default::default() }, batch, device);
}

on_backends!(
    token_classifier,
    sequence_classifier,
    sentence_embedder,
    pairs_of_texts,
    the_same_target_is_no_negative,
    multi_label_classifier,
    regressor,
    ranker,
    features_count,
    labels_of_another_kind_are_refused,
    loss_options_hold_in_training,
    causal_lm,
    seq2seq,
);
