//! Replaced-token detection against the ELECTRA of transformers: what is drawn, the loss, the gradients of both networks.
//!
//! `oracle/replaced_tokens.py` writes the golden. Planted errors beside it must be seen.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{LearnedConfig, PositionConfig};
use locus_encoder::{EmbeddingProjection, Residual, StackConfig};
use locus_heads::{
    GradientCheckpointing, HeadConfig, HostArray, Labels, ReplacedTokenDetector, ReplacedTokensConfig,
    TaskBatch, TaskModel, Trainable,
};
use locus_testkit::{Golden, gradients, on_backends, worst};

const VOCAB: usize = 29;
/// The loss is some hundreds and gradients are up to 85.
const ATOL: f64 = 5e-4;
const RTOL: f64 = 1e-4;

fn golden() -> Golden {
    Golden::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/replaced-tokens.safetensors"))
}

fn config() -> ReplacedTokensConfig {
    // One head of three.
    ReplacedTokensConfig { generator_width: 0.3, temperature: 0.8, ..ReplacedTokensConfig::default() }
}

fn model<B: Backend>(config: ReplacedTokensConfig, device: &B::Device) -> ReplacedTokenDetector<B> {
    let stack = StackConfig {
        d_model: 12,
        n_layers: 2,
        n_heads: 3,
        d_ff: Some(15),
        max_seq_len: 11,
        norm_eps: 1e-12,
        residual: Residual::Post,
        embedding_norm: true,
        embedding_projection: EmbeddingProjection::Factorised { width: 7 },
        dropout: 0.0,
        attention_dropout: 0.0,
        position: PositionConfig::Learned(LearnedConfig::default()),
        ..StackConfig::default()
    };
    let head = HeadConfig::ReplacedTokens(config);
    assert_eq!(head.check(&stack), []);
    let model = TaskModel::new(&head, &stack, VOCAB, Key::new(1), device);
    let TaskModel::ReplacedTokenDetector(model) = model else { panic!("another head") };
    golden().load(model, device)
}

fn integers(name: &str) -> Vec<i32> {
    golden().values(name).iter().map(|&x| x as i32).collect()
}

fn tokens(ids: &[i32], seq: usize) -> Tokens {
    let keep = ids.iter().map(|&id| id != 0).collect();
    Tokens::new([ids.len() / seq, seq], ids.iter().map(|&id| id as u32).collect(), keep, None).unwrap()
}

fn batch() -> TaskBatch {
    let quantiles = golden().values("quantiles").iter().map(|&x| f64::from(x)).collect();
    TaskBatch {
        tokens: tokens(&integers("ids"), 5),
        labels: Labels::Replaced { labels: integers("labels"), quantiles, tokens_per_hidden: None },
    }
}

/// By how much the loss or a gradient is off what the golden says.
fn excess<B: AutodiffBackend>(model: &ReplacedTokenDetector<B>, batch: &TaskBatch) -> f64 {
    let (golden, mut sums) = (golden(), GradientsParams::new());
    let loss = model.backward(batch, None, GradientCheckpointing::None, &mut sums).unwrap();
    let off = |got: &[f32], name: &str| worst(got, golden.values(name), ATOL, RTOL).unwrap().1;
    let of_loss = off(&HostArray::from(loss.sum).values, "loss");
    let gradients = gradients(model, &sums);
    let of_gradients = gradients.iter().map(|(path, grad)| {
        let grad = grad.as_ref().unwrap_or_else(|| panic!("{path} has no gradient"));
        off(grad, &format!("grad.{path}"))
    });
    of_gradients.fold(of_loss, f64::max)
}

fn tokens_are_drawn_and_found<B: AutodiffBackend>(device: &B::Device) {
    let model = model::<B>(config(), device);
    let replaced = model.replace(&batch(), None).unwrap();
    assert_eq!(replaced.tokens, tokens(&integers("sampled"), 5));
    let told = integers("is_replaced").into_iter().zip(&replaced.tokens.keep);
    let told: Vec<i32> = told.map(|(label, keep)| if *keep { label } else { -100 }).collect();
    assert_eq!(replaced.is_replaced, told);
    assert_eq!((replaced.places, replaced.originals), (vec![1, 3, 6, 7, 11], vec![17, 23, 11, 26, 5]));
    let logits = HostArray::from(model.logits(&replaced.tokens, None).unwrap());
    assert_eq!(logits.shape, [3, 5]);
    // What stands on padding has no meaning.
    let real = |values: &[f32]| -> Vec<f32> {
        values.iter().zip(&replaced.tokens.keep).filter(|(_, keep)| **keep).map(|(x, _)| *x).collect()
    };
    let expected = real(golden().values("discriminator.logits"));
    let (idx, excess) = worst(&real(&logits.values), &expected, 1e-5, 1e-5).unwrap();
    assert!(excess <= 0.0, "{idx}: {excess:e}");
}

fn loss_and_gradients<B: AutodiffBackend>(device: &B::Device) {
    let right = excess(&model::<B>(config(), device), &batch());
    assert!(right <= 0.0, "{right:e}");
    let plain = model::<B>(config(), device).loss(&batch(), None).unwrap();
    assert_eq!(plain.weight, 12.0, "tokens that are not padding");
    let off = worst(&HostArray::from(plain.sum).values, golden().values("loss"), ATOL, RTOL).unwrap().1;
    assert!(off <= 0.0, "{off:e}");

    let planted = |error: &str, model: ReplacedTokenDetector<B>, batch: &TaskBatch| {
        let seen = excess(&model, batch);
        assert!(seen > 1e-2, "the planted error '{error}' was not seen: {seen:e}");
    };
    let lighter = ReplacedTokensConfig { discriminator_weight: 49.0, ..config() };
    planted("another weight", model(lighter, device), &batch());
    let mut swapped = model::<B>(config(), device);
    swapped.generator.encoder.layers.swap(0, 1);
    planted("the generator's layers swapped", swapped, &batch());
    let Labels::Replaced { labels, quantiles, .. } = batch().labels else { panic!("labels of another kind") };
    let with = |labels: Vec<i32>, quantiles: Vec<f64>| TaskBatch {
        labels: Labels::Replaced { labels, quantiles, tokens_per_hidden: None },
        ..batch()
    };
    let mut other = labels.clone();
    other[7] = 25;
    planted("another hidden token", model(config(), device), &with(other.clone(), quantiles.clone()));
    other[7] = -100;
    planted("a hidden token left out", model(config(), device), &with(other, quantiles.clone()));
    let turned = quantiles.iter().map(|at| 1.0 - at).collect();
    planted("other tokens drawn", model(config(), device), &with(labels, turned));
}

/// A batch of some rows of the golden's.
fn rows_of(rows: std::ops::Range<usize>) -> TaskBatch {
    let Labels::Replaced { labels, quantiles, .. } = batch().labels else { panic!("labels of another kind") };
    let cells = 5 * rows.start..5 * rows.end;
    let (labels, quantiles) = (labels[cells.clone()].to_vec(), quantiles[cells.clone()].to_vec());
    let labels = Labels::Replaced { labels, quantiles, tokens_per_hidden: None };
    TaskBatch { tokens: tokens(&integers("ids")[cells], 5), labels }
}

/// The loss and the gradients of a step of these batches, by path.
fn accumulated<B: AutodiffBackend>(
    model: &ReplacedTokenDetector<B>,
    batches: &[TaskBatch],
) -> (f64, Vec<(String, Vec<f32>)>) {
    let (mut sums, mut sum, mut weight) = (GradientsParams::new(), 0.0, 0.0);
    for batch in batches {
        let loss = model.backward(batch, None, GradientCheckpointing::None, &mut sums).unwrap();
        sum += f64::from(HostArray::from(loss.sum).values[0]);
        weight += loss.weight;
    }
    let gradients = gradients(model, &sums).into_iter().filter_map(|(path, grad)| Some((path, grad?)));
    (sum / weight, gradients.collect())
}

fn how_a_step_is_cut_changes_nothing<B: AutodiffBackend>(device: &B::Device) {
    let model = model::<B>(config(), device);
    let (loss, whole) = accumulated(&model, &[batch()]);
    let excess = |batches: &[TaskBatch]| {
        let (found, gradients) = accumulated(&model, batches);
        assert_eq!(gradients.len(), whole.len());
        let of_loss = (found - loss).abs() - 1e-5 * loss.abs();
        let off = gradients.iter().zip(&whole).map(|((path, got), (other, want))| {
            assert_eq!(path, other);
            worst(got, want, ATOL, RTOL).unwrap().1
        });
        off.fold(of_loss, f64::max)
    };
    // 5, 4 and 3 tokens, of which 2, 2 and 1 are hidden.
    for cut in [1, 2] {
        let mut parts = [rows_of(0..cut), rows_of(cut..3)];
        let apart = excess(&parts);
        assert!(apart > 1e-2, "means of the parts are told apart: {apart:e}");
        <ReplacedTokenDetector<B> as Trainable<B>>::join(&mut parts);
        let joined = excess(&parts);
        assert!(joined <= 0.0, "{cut}: {joined:e}");
    }
    // A part without hidden tokens counts too.
    let mut parts = [rows_of(0..3), TaskBatch { tokens: tokens(&[2, 9, 3], 3), labels: Labels::None }];
    let (labels, quantiles) = (vec![-100; 3], vec![0.5; 3]);
    parts[1].labels = Labels::Replaced { labels, quantiles, tokens_per_hidden: None };
    <ReplacedTokenDetector<B> as Trainable<B>>::join(&mut parts);
    for part in &parts {
        let Labels::Replaced { tokens_per_hidden, .. } = part.labels else { panic!("{part:?}") };
        assert_eq!(tokens_per_hidden, Some(15.0 / 5.0), "12 and 3 tokens, 5 of them hidden");
    }
}

/// Tokens at evenly spread quantiles come as often as the distribution says, to one.
fn draws_follow_the_distribution<B: AutodiffBackend>(device: &B::Device) {
    const N: usize = 401;
    let row = |i: usize| ([2, 4, 3], [-100, 7, -100], [0.5, (i as f64 + 0.5) / N as f64, 0.5]);
    let rows: Vec<_> = (0..N).map(row).collect();
    let ids: Vec<i32> = rows.iter().flat_map(|row| row.0).collect();
    let labels = Labels::Replaced {
        labels: rows.iter().flat_map(|row| row.1).collect(),
        quantiles: rows.iter().flat_map(|row| row.2).collect(),
        tokens_per_hidden: None,
    };
    let batch = TaskBatch { tokens: tokens(&ids, 3), labels };
    let off = |temperature: f64, expected: f64| {
        let model = model::<B>(ReplacedTokensConfig { temperature, ..config() }, device);
        let replaced = model.replace(&batch, None).unwrap();
        let scores = HostArray::from(replaced.scores.unwrap());
        assert_eq!(scores.shape, [N, VOCAB]);
        let weights: Vec<f64> =
            scores.values[..VOCAB].iter().map(|&x| (f64::from(x) / expected).exp()).collect();
        let total: f64 = weights.iter().sum();
        let drawn: Vec<u32> = replaced.tokens.ids.chunks(3).map(|row| row[1]).collect();
        let count = |id: usize| drawn.iter().filter(|&&drawn| drawn as usize == id).count() as f64;
        let off = (0..VOCAB).map(|id| (count(id) - N as f64 * weights[id] / total).abs());
        off.fold(0.0, f64::max)
    };
    for temperature in [0.8, 1.0, 2.5] {
        assert!(off(temperature, temperature) <= 1.01, "{}", off(temperature, temperature));
    }
    assert!(off(0.8, 2.5) > 3.0, "another temperature is seen");
    let best = model::<B>(ReplacedTokensConfig { temperature: 0.0, ..config() }, device);
    let drawn = best.replace(&batch, None).unwrap().tokens.ids;
    assert!(drawn.chunks(3).all(|row| row[1] == drawn[1]), "without a temperature always the best");
}

fn a_batch_without_hidden_tokens_is_one_of_the_discriminator<B: AutodiffBackend>(device: &B::Device) {
    let model = model::<B>(config(), device);
    let (labels, quantiles) = (vec![-100; 3], vec![0.5; 3]);
    let labels = Labels::Replaced { labels, quantiles, tokens_per_hidden: None };
    let batch = TaskBatch { tokens: tokens(&[2, 9, 3], 3), labels };
    let mut sums = GradientsParams::new();
    let loss = model.backward(&batch, None, GradientCheckpointing::None, &mut sums).unwrap();
    assert_eq!(loss.weight, 3.0);
    let logits = HostArray::from(model.logits(&batch.tokens, None).unwrap()).values;
    // −ln(1 − σ(x)) = ln(1 + eˣ)
    let expected: f32 = 50.0 * logits.iter().map(|x| x.exp().ln_1p()).sum::<f32>();
    let found = HostArray::from(loss.sum).values[0];
    assert!((found - expected).abs() < 1e-3, "{found} and {expected}");
    let has_gradient =
        |(path, grad): &(String, Option<Vec<f32>>)| path.starts_with("generator.") != grad.is_some();
    assert!(gradients(&model, &sums).iter().all(has_gradient));
}

fn labels_that_do_not_fit_are_refused<B: AutodiffBackend>(device: &B::Device) {
    let model = model::<B::InnerBackend>(config(), device);
    let error = |labels: Labels| {
        model.loss(&TaskBatch { tokens: tokens(&[2, 4, 3], 3), labels }, None).unwrap_err().to_string()
    };
    let of = |labels: &[i32], n: usize| {
        let (labels, quantiles) = (labels.to_vec(), vec![0.5; n]);
        Labels::Replaced { labels, quantiles, tokens_per_hidden: None }
    };
    assert_eq!(error(of(&[-100, 7], 3)), "expected 3 labels, found 2");
    assert_eq!(error(of(&[-100, 7, -100], 2)), "expected 3 labels, found 2");
    assert!(error(of(&[-100, 29, -100], 3)).contains("label 29 at index 1 is outside the head's 29 labels"));
    assert!(error(Labels::PerToken(vec![-100; 3])).contains("found a label per token"));
}

on_backends!(
    tokens_are_drawn_and_found,
    loss_and_gradients,
    how_a_step_is_cut_changes_nothing,
    draws_follow_the_distribution,
    a_batch_without_hidden_tokens_is_one_of_the_discriminator,
    labels_that_do_not_fit_are_refused,
);
