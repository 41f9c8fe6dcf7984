//! Every head learns a task by heart, and says the same without autodiff.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::module::AutodiffModule;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_encoder::StackConfig;
use locus_heads::{HeadConfig, Labels, Pooling, TaskBatch, TaskModel, Trainable};
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
    let mut model = TaskModel::<B>::new(&head, &config, 11, 0.0, Key::new(1), device);
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
    learn::<B>(HeadConfig::TokenClassification { n_labels: 3 }, batch, device);
}

fn sequence_classifier<B: AutodiffBackend>(device: &B::Device) {
    let batch =
        TaskBatch { tokens: tokens(&[&[1, 2, 3, 0], &[3, 4, 5, 7]]), labels: Labels::PerRow(vec![1, 0]) };
    for pooling in [Pooling::Mean, Pooling::First, Pooling::Last] {
        learn::<B>(HeadConfig::SequenceClassification { n_labels: 2, pooling }, batch.clone(), device);
    }
}

fn causal_lm<B: AutodiffBackend>(device: &B::Device) {
    let labels = Labels::PerToken(vec![2, 3, 4, 4, 5, 7]);
    let batch = TaskBatch { tokens: tokens(&[&[1, 2, 3], &[3, 4, 5]]), labels };
    learn::<B>(HeadConfig::CausalLm { tied: true }, batch.clone(), device);
    learn::<B>(HeadConfig::CausalLm { tied: false }, batch, device);
}

fn seq2seq<B: AutodiffBackend>(device: &B::Device) {
    let target = Labels::Target { tokens: tokens(&[&[1, 3, 2], &[1, 5, 4]]), labels: vec![3, 2, 9, 5, 4, 9] };
    let batch = TaskBatch { tokens: tokens(&[&[2, 3, 0, 0], &[4, 5, 0, 0]]), labels: target };
    learn::<B>(HeadConfig::Seq2Seq { tied: true }, batch, device);
}

on_backends!(token_classifier, sequence_classifier, causal_lm, seq2seq);
