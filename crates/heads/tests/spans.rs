//! The head of spans: scores, loss and gradients against PyTorch, what counts, and what it learns.
//!
//! `oracle/spans.py` writes the golden. Planted errors beside it must be seen.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion, Tensor};
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{PositionConfig, RotaryConfig};
use locus_encoder::StackConfig;
use locus_heads::{
    HeadConfig, LabelledSpan, Labels, Overlap, ScoredSpan, SpanClassifier, SpanConfig, SpanRow, TaskBatch,
    TaskModel, Trainable,
};
use locus_testkit::{Golden, on_backends, worst};

const ATOL: f64 = 1e-4;
const RTOL: f64 = 1e-5;
const BATCH: usize = 3;
const SEQ: usize = 11;
const D_MODEL: usize = 5;
const N_LABELS: usize = 2;
const MAX_WORDS: usize = 4;

fn golden() -> Golden {
    Golden::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/spans.safetensors"))
}

fn row(columns: &[usize], owned: std::ops::Range<usize>, spans: &[[usize; 3]]) -> SpanRow {
    let labelled = |&[first, last, label]: &[usize; 3]| LabelledSpan { first, last, label };
    SpanRow { columns: columns.to_vec(), owned, spans: spans.iter().map(labelled).collect() }
}

/// Those of the oracle.
fn rows() -> Vec<SpanRow> {
    vec![
        row(&[1, 2, 4, 5, 7, 8, 9], 0..7, &[[0, 3, 0], [1, 2, 1], [5, 5, 0], [1, 2, 0]]),
        row(&[0, 3, 4], 1..3, &[[1, 2, 1]]),
        row(&[2, 3, 5, 6, 10], 0..5, &[]),
    ]
}

fn rotary() -> PositionConfig {
    PositionConfig::Rotary(RotaryConfig::default())
}

fn classifier<B: Backend>(
    spans: SpanConfig,
    n_labels: usize,
    stack: &StackConfig,
    device: &B::Device,
) -> SpanClassifier<B> {
    let head = HeadConfig::SpanClassification { n_labels, spans, layers: Default::default() };
    let model = TaskModel::<B>::new(&head, stack, 19, Key::new(1), device);
    let TaskModel::SpanClassifier(model) = model else { panic!("another head") };
    model
}

/// A head with the golden's parameters; nothing reads its encoder.
fn head<B: Backend>(position: PositionConfig, max_words: usize, device: &B::Device) -> SpanClassifier<B> {
    let stack = StackConfig {
        d_model: D_MODEL,
        n_heads: 1,
        n_layers: 1,
        position: PositionConfig::None,
        dropout: 0.0,
        ..StackConfig::default()
    };
    let spans = SpanConfig { head_size: 6, max_words, position, ..SpanConfig::default() };
    let (mut model, golden) = (classifier::<B>(spans, N_LABELS, &stack, device), golden());
    let linears =
        [(&mut model.start_proj, "start"), (&mut model.end_proj, "end"), (&mut model.label_proj, "label")];
    for (linear, name) in linears {
        linear.weight = golden.param(&format!("{name}_w"), device);
        linear.bias = Some(golden.param(&format!("{name}_b"), device));
    }
    model
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The scores of the spans that count in the oracle, the loss and the gradients of `loss · upstream`.
fn run<B: AutodiffBackend>(
    name: &str,
    model: &SpanClassifier<B>,
    rows: &[SpanRow],
    device: &B::Device,
) -> Vec<(&'static str, Vec<f32>)> {
    let golden = golden();
    let x = Tensor::<B, 1>::from_floats(golden.values("x"), device).reshape([BATCH, SEQ, D_MODEL]);
    let x = x.detach().require_grad();
    let scores = model.scores_of(x.clone(), rows, None).unwrap();
    let [_, _, n_words, longest] = scores.dims();
    assert_eq!(n_words, 7);
    let all = values(scores.clone());
    let mut counted = Vec::new();
    for (row, words) in self::rows().iter().enumerate() {
        for label in 0..N_LABELS {
            // Where a span is too long there is no score.
            let cell = |[i, j]: [usize; 2]| match j - i < longest {
                true => all[((row * N_LABELS + label) * n_words + i) * longest + j - i],
                false => 0.0,
            };
            counted.extend(words.counted(MAX_WORDS).map(cell));
        }
    }
    let loss = model.loss_of_scores(scores, rows).unwrap();
    assert_eq!(loss.weight, (BATCH * N_LABELS) as f64);
    let grads = (loss.sum.clone() * golden.tensor(&format!("{name}.upstream"), device)).backward();
    let mut found =
        vec![("scores", counted), ("out", values(loss.sum)), ("grad.x", values(x.grad(&grads).unwrap()))];
    let linears = [
        (&model.start_proj, ["grad.start_w", "grad.start_b"]),
        (&model.end_proj, ["grad.end_w", "grad.end_b"]),
        (&model.label_proj, ["grad.label_w", "grad.label_b"]),
    ];
    for (linear, [weight, bias]) in linears {
        found.push((weight, values(linear.weight.val().grad(&grads).unwrap())));
        found.push((bias, values(linear.bias.as_ref().unwrap().val().grad(&grads).unwrap())));
    }
    found
}

/// By how much each part is off what the golden says.
fn excess(name: &str, run: &[(&'static str, Vec<f32>)]) -> Vec<(&'static str, f64)> {
    let golden = golden();
    let off =
        |key: &str, got: &[f32]| worst(got, golden.values(&format!("{name}.{key}")), ATOL, RTOL).unwrap().1;
    run.iter().map(|(key, got)| (*key, off(key, got))).collect()
}

fn scores_loss_and_gradients<B: AutodiffBackend>(device: &B::Device) {
    for (name, position) in [("rotary", rotary()), ("none", PositionConfig::None)] {
        let right =
            excess(name, &run(name, &head::<B>(position.clone(), MAX_WORDS, device), &rows(), device));
        assert!(right.iter().all(|(_, excess)| *excess <= 0.0), "{name}: {right:?}");

        let planted = |error: &str, model: &SpanClassifier<B>, rows: &[SpanRow]| {
            let found = excess(name, &run(name, model, rows, device));
            assert!(
                found.iter().any(|(_, excess)| *excess > 1e-2),
                "{name}: '{error}' was not seen: {found:?}"
            );
        };
        let other = if name == "none" { rotary() } else { PositionConfig::None };
        planted("another scheme", &head::<B>(other, MAX_WORDS, device), &rows());
        let mut swapped = head::<B>(position.clone(), MAX_WORDS, device);
        std::mem::swap(&mut swapped.start_proj, &mut swapped.end_proj);
        planted("start and end swapped", &swapped, &rows());
        planted("one word fewer", &head::<B>(position.clone(), MAX_WORDS - 1, device), &rows());
        let model = head::<B>(position, MAX_WORDS, device);
        let with = |change: &dyn Fn(&mut Vec<SpanRow>)| {
            let mut rows = rows();
            change(&mut rows);
            rows
        };
        planted("all words owned", &model, &with(&|rows| rows[1].owned = 0..3));
        planted("a span left out", &model, &with(&|rows| rows[0].spans.retain(|span| span.first != 5)));
        planted("another label", &model, &with(&|rows| rows[1].spans[0].label = 0));
        planted("the next column", &model, &with(&|rows| rows[2].columns[3] = 7));
    }
    if let PositionConfig::Rotary(config) = rotary() {
        let far = PositionConfig::Rotary(RotaryConfig { base: 100.0, ..config });
        let found = excess("rotary", &run("rotary", &head::<B>(far, MAX_WORDS, device), &rows(), device));
        assert!(found.iter().any(|(_, excess)| *excess > 1e-3), "another base: {found:?}");
    }
}

/// The sum over spans of the loss, one by one on the host.
fn by_hand(scores: &[f32], row: &SpanRow, label: usize, max_words: usize) -> f64 {
    let (mut right, mut others) = (1.0, 1.0);
    for [first, last] in row.counted(max_words) {
        let score = f64::from(scores[first * max_words + last - first]);
        match row.spans.contains(&LabelledSpan { first, last, label }) {
            true => right += (-score).exp(),
            false => others += score.exp(),
        }
    }
    right.ln() + others.ln()
}

fn a_span_that_does_not_count_is_in_neither_sum<B: AutodiffBackend>(device: &B::Device) {
    let model = head::<B>(rotary(), 3, device);
    // Too long, and of a word in the middle that is another row's.
    let row = row(&[0, 1, 2, 3, 4], 0..4, &[[0, 3, 0], [4, 4, 0], [1, 3, 0], [1, 3, 0]]);
    let scores: Vec<f32> = (0..15).map(|cell| Key::new(7).uniform(cell) as f32 * 4.0 - 2.0).collect();
    let tensor = Tensor::<B, 1>::from_floats(&scores[..], device).reshape([1, 1, 5, 3]);
    let loss = model.loss_of_scores(tensor, std::slice::from_ref(&row)).unwrap();
    let found = f64::from(loss.sum.into_scalar().elem::<f32>());
    let want = by_hand(&scores, &row, 0, 3);
    assert!((found - want).abs() < 1e-5, "{found}, by hand {want}");
    let spans: Vec<[usize; 2]> = row.counted(3).collect();
    assert!(spans.contains(&[2, 4]) && !spans.contains(&[0, 3]) && !spans.contains(&[4, 4]), "{spans:?}");
}

fn extreme_scores_stay_finite<B: AutodiffBackend>(device: &B::Device) {
    let model = head::<B>(rotary(), 3, device);
    let loss = |score: f32, spans: &[[usize; 3]]| {
        let row = row(&[0], 0..1, spans);
        let scores = Tensor::<B, 4>::from_floats([[[[score]]]], device);
        model.loss_of_scores(scores, &[row]).unwrap().sum.into_scalar().elem::<f32>()
    };
    assert!(loss(1e4, &[[0, 0, 0]]).abs() < 1e-3 && loss(-1e4, &[]).abs() < 1e-3);
    assert!((loss(-1e4, &[[0, 0, 0]]) - 1e4).abs() < 1.0 && (loss(1e4, &[]) - 1e4).abs() < 1.0);
    assert!(loss(f32::NAN, &[]).is_nan() && loss(f32::NAN, &[[0, 0, 0]]).is_nan());
}

fn tokens(rows: &[&[u32]]) -> Tokens {
    let ids: Vec<u32> = rows.iter().flat_map(|row| row.iter().copied()).collect();
    let keep = ids.iter().map(|&id| id != 0).collect();
    Tokens::new([rows.len(), rows[0].len()], ids, keep, None).unwrap()
}

fn stack() -> StackConfig {
    StackConfig {
        d_model: 24,
        n_layers: 2,
        n_heads: 2,
        dropout: 0.0,
        attention_dropout: 0.0,
        init_std: 0.1,
        ..StackConfig::default()
    }
}

fn padding_does_not_matter<B: AutodiffBackend>(device: &B::Device) {
    let spans = SpanConfig { head_size: 6, ..SpanConfig::default() };
    let model = classifier::<B>(spans, 3, &stack(), device);
    let short = row(&[0, 2], 0..2, &[[0, 1, 2], [1, 1, 0]]);
    let long = row(&[1, 2, 3, 4, 6], 0..5, &[[0, 4, 1], [2, 3, 1]]);
    let loss = |tokens: Tokens, rows: &[SpanRow]| {
        let batch = TaskBatch { tokens, labels: Labels::SpansOfWords(rows.to_vec()) };
        let loss = model.loss(&batch, None).unwrap();
        (loss.sum.into_scalar().elem::<f32>(), loss.weight)
    };
    let found =
        |tokens: Tokens, rows: &[SpanRow]| model.above_zero(model.scores(&tokens, rows, None).unwrap(), rows);
    let (a, b): (&[u32], &[u32]) = (&[5, 3, 8], &[9, 2, 7, 1, 4, 11, 6]);
    let padded: &[u32] = &[5, 3, 8, 0, 0, 0, 0];
    let alone =
        [loss(tokens(&[a]), std::slice::from_ref(&short)), loss(tokens(&[b]), std::slice::from_ref(&long))];
    let both = loss(tokens(&[padded, b]), &[short.clone(), long.clone()]);
    assert!((alone[0].0 + alone[1].0 - both.0).abs() < 1e-5, "{alone:?} {both:?}");
    assert_eq!(both.1, 6.0);
    let same = |a: &[ScoredSpan], b: &[ScoredSpan]| {
        a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| {
                (a.first, a.last, a.label) == (b.first, b.last, b.label) && (a.score - b.score).abs() < 1e-5
            })
    };
    let together = found(tokens(&[padded, b]), &[short.clone(), long.clone()]);
    let [first, second] = [found(tokens(&[a]), &[short]), found(tokens(&[b]), &[long])];
    assert!(
        same(&together[0], &first[0]) && same(&together[1], &second[0]),
        "{together:?} {first:?} {second:?}"
    );
    assert!(together.iter().any(|spans| !spans.is_empty()), "there is something to compare");
}

fn entities_in_one_another_are_learned<B: AutodiffBackend>(device: &B::Device) {
    // One in another, two on the same words, and two that cross.
    let nested = row(&[0, 1, 2], 0..3, &[[0, 2, 0], [1, 2, 1], [2, 2, 0]]);
    let crossing = row(&[0, 1, 2, 3, 4], 0..5, &[[0, 2, 0], [1, 3, 1], [4, 4, 0], [4, 4, 1]]);
    let rows = vec![nested, crossing];
    let tokens = tokens(&[&[1, 2, 3, 0, 0], &[3, 4, 5, 7, 6]]);
    let batch = TaskBatch { tokens: tokens.clone(), labels: Labels::SpansOfWords(rows.clone()) };
    for position in [rotary(), PositionConfig::None] {
        let spans = SpanConfig { head_size: 8, position, overlap: Overlap::Any, ..SpanConfig::default() };
        let mut model = classifier::<B>(spans, 2, &stack(), device);
        let mut optimizer = AdamWConfig::new().init();
        let mean = |model: &SpanClassifier<B>| {
            let loss = model.loss(&batch, None).unwrap();
            loss.sum / loss.weight
        };
        let first: f32 = mean(&model).into_scalar().elem();
        for _ in 0..40 {
            let grads = GradientsParams::from_grads(mean(&model).backward(), &model);
            model = optimizer.step(0.01, model, grads);
        }
        let last: f32 = mean(&model).into_scalar().elem();
        assert!(last < 0.1 * first, "{first} → {last}");
        let found = model.above_zero(model.scores(&tokens, &rows, None).unwrap(), &rows);
        for (found, row) in found.iter().zip(&rows) {
            let chosen = model.overlap().choose(found.clone());
            let mut want = row.spans.clone();
            want.sort_by_key(|span| (span.first, std::cmp::Reverse(span.last), span.label));
            let chosen: Vec<LabelledSpan> = chosen
                .iter()
                .map(|&ScoredSpan { first, last, label, .. }| LabelledSpan { first, last, label })
                .collect();
            assert_eq!(chosen, want);
        }
        // Of the two that cross one is given, and of those on the same word both or one.
        assert_eq!(Overlap::Nested.choose(found[1].clone()).len(), 3);
        assert_eq!(Overlap::None.choose(found[1].clone()).len(), 2);
    }
}

fn what_does_not_fit_is_refused<B: AutodiffBackend>(device: &B::Device) {
    let model = head::<B>(rotary(), 3, device);
    let error = |rows: &[SpanRow]| {
        let x = Tensor::<B, 3>::zeros([1, 4, D_MODEL], device);
        let loss = model.scores_of(x, rows, None).and_then(|scores| model.loss_of_scores(scores, rows));
        loss.map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(error(&[]), "expected 1 labels, found 0");
    assert_eq!(
        error(&[row(&[1, 4], 0..2, &[])]),
        "row 0: a word begins at column 4, outside the row's 4 columns"
    );
    let outside = "row 0: the span of words 1 to 2 with label 0 does not lie among the row's 2 words and the head's 2 labels";
    assert_eq!(error(&[row(&[0, 1], 0..2, &[[1, 2, 0]])]), outside);
    assert!(error(&[row(&[0, 1], 0..2, &[[0, 0, 2]])]).contains("with label 2"));
    assert!(error(&[row(&[0, 1], 0..2, &[[1, 0, 0]])]).contains("words 1 to 0"));
    // Without any word there is nothing to find.
    let empty = [SpanRow::default()];
    let x = Tensor::<B, 3>::zeros([1, 4, D_MODEL], device);
    let scores = model.scores_of(x, &empty, None).unwrap();
    assert_eq!(model.above_zero(scores.clone(), &empty), [Vec::<ScoredSpan>::new()]);
    assert!(model.loss_of_scores(scores, &empty).unwrap().sum.into_scalar().elem::<f32>().abs() < 1e-6);
    let batch = TaskBatch { tokens: tokens(&[&[1, 2]]), labels: Labels::PerRow(vec![0]) };
    let wrong = model.loss(&batch, None).unwrap_err().to_string();
    assert_eq!(wrong, "span classification needs spans of words per row, found a label per row");
}

on_backends!(
    scores_loss_and_gradients,
    a_span_that_does_not_count_is_in_neither_sum,
    extreme_scores_stay_finite,
    padding_does_not_matter,
    entities_in_one_another_are_learned,
    what_does_not_fit_is_refused,
);
