//! Gradient checkpointing by block: for every head, losses and gradients are those of the whole graph.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{LearnedConfig, PositionConfig, RotaryConfig, ShawConfig, T5Config};
use locus_encoder::{Activation, PositionSharing, StackConfig, TokenTables};
use locus_heads::{
    Candidates, ClassifierConfig, FeatureScale, GradientCheckpointing, HeadConfig, HeadError, LabelledSpan,
    Labels, LossOptions, Pooling, RankingLoss, RereadConfig, SpanConfig, SpanRow, TagDecoding, TaskBatch,
    TaskModel, Trainable,
};
use locus_testkit::{Gradients, gradients, on_backends, on_processor, relative_error};

const VOCAB: usize = 19;
/// Some sums have another order: of schemes that layers share, of the memory, of tied tables over several batches.
const RTOL: f64 = 1e-6;

fn tokens(rows: &[&[u32]]) -> Tokens {
    let ids: Vec<u32> = rows.iter().flat_map(|row| row.iter().copied()).collect();
    let keep = ids.iter().map(|&id| id != 0).collect();
    Tokens::new([rows.len(), rows[0].len()], ids, keep, None).unwrap()
}

/// Two batches; padding on either side.
fn batches(labels: [Labels; 2]) -> [TaskBatch; 2] {
    let [a, b] = labels;
    let first = tokens(&[&[1, 7, 3, 11, 5], &[4, 4, 18, 0, 0], &[0, 2, 9, 1, 8]]);
    let second = tokens(&[&[6, 2, 2, 17], &[13, 5, 0, 0]]);
    [TaskBatch { tokens: first, labels: a }, TaskBatch { tokens: second, labels: b }]
}

fn per_token(n_labels: u64) -> [Labels; 2] {
    let label = |i: u64| if i % 7 == 3 { -100 } else { Key::new(2).below(i, n_labels) as i32 };
    [Labels::PerToken((0..15).map(label).collect()), Labels::PerToken((20..28).map(label).collect())]
}

fn target() -> [Labels; 2] {
    let of = |rows: &[&[u32]]| {
        let tokens = tokens(rows);
        let n = tokens.ids.len() as u64;
        let label = |i: u64| if i % 5 == 4 { -100 } else { Key::new(6).below(i, VOCAB as u64) as i32 };
        Labels::Target { tokens, labels: (0..n).map(label).collect() }
    };
    [of(&[&[1, 5, 6], &[1, 8, 0], &[1, 3, 12]]), of(&[&[1, 2, 3, 4], &[1, 16, 0, 0]])]
}

/// Hidden tokens, none of them in padding.
fn replaced() -> [Labels; 2] {
    let of = |n: usize, hidden: &[(usize, i32)]| {
        let mut labels = vec![-100; n];
        hidden.iter().for_each(|&(place, id)| labels[place] = id);
        let quantiles = (0..n as u64).map(|i| Key::new(7).uniform(i)).collect();
        Labels::Replaced { labels, quantiles, tokens_per_hidden: None }
    };
    [of(15, &[(1, 7), (6, 16), (13, 3)]), of(8, &[(2, 2), (5, 11)])]
}

fn heads() -> Vec<(HeadConfig, [TaskBatch; 2])> {
    let n_labels = 3;
    let tags = |decoding| HeadConfig::TokenClassification { n_labels, decoding, layers: Default::default() };
    let class =
        |pooling| HeadConfig::SequenceClassification { n_labels, pooling, layers: Default::default() };
    let reread = |pooling| {
        let decoder = Some(RereadConfig { start: 1, end: 2 });
        let layers = ClassifierConfig { decoder, ..ClassifierConfig::default() };
        HeadConfig::SequenceClassification { n_labels, pooling, layers }
    };
    let rows = || batches([Labels::PerRow(vec![1, 0, 2]), Labels::PerRow(vec![2, 1])]);
    let hot =
        [Labels::MultiHot(vec![1, 0, 1, 0, 0, 0, 1, 1, -100]), Labels::MultiHot(vec![0, 1, 0, 1, 1, 1])];
    let values = [Labels::Values(vec![0.5, -1.5, 2.0]), Labels::Values(vec![1.0, 0.25])];
    let ranked = |sizes: &[usize], gains: &[f32], features: &[f32]| {
        let [gains, features] = [gains, features].map(<[f32]>::to_vec);
        Labels::Ranking(Candidates { sizes: sizes.to_vec(), gains, features })
    };
    let queries =
        [ranked(&[3], &[1.0, 0.0, 2.0], &[0.5, -1.0, 0.25]), ranked(&[2], &[0.0, 1.0], &[1.0, -0.5])];
    let ranking = |loss| HeadConfig::Ranking {
        pooling: Pooling::Mean,
        loss,
        score: Default::default(),
        features: vec![FeatureScale { mean: 0.0, std: 1.0 }],
        layers: Default::default(),
    };
    let spans = |columns: &[usize], [first, last, label]: [usize; 3]| SpanRow {
        columns: columns.to_vec(),
        owned: 0..columns.len(),
        spans: vec![LabelledSpan { first, last, label }],
    };
    let words = [
        Labels::SpansOfWords(vec![
            spans(&[1, 2, 4], [0, 2, 1]),
            spans(&[0, 2], [1, 1, 0]),
            spans(&[1], [0, 0, 2]),
        ]),
        Labels::SpansOfWords(vec![spans(&[0, 1, 2, 3], [1, 2, 0]), spans(&[0, 1], [0, 1, 1])]),
    ];
    let of_spans = HeadConfig::SpanClassification {
        n_labels,
        spans: SpanConfig { head_size: 6, ..SpanConfig::default() },
        layers: Default::default(),
    };
    vec![
        (of_spans, batches(words)),
        (HeadConfig::CausalLm { tied: true, output: Default::default() }, batches(per_token(VOCAB as u64))),
        (HeadConfig::CausalLm { tied: false, output: Default::default() }, batches(per_token(VOCAB as u64))),
        (tags(TagDecoding::Independent), batches(per_token(3))),
        (tags(TagDecoding::Crf), batches(per_token(3))),
        (class(Pooling::Mean), rows()),
        (class(Pooling::First), rows()),
        (reread(Pooling::Mean), rows()),
        (
            HeadConfig::MultiLabelClassification {
                n_labels,
                pooling: Pooling::Last,
                layers: Default::default(),
            },
            batches(hot),
        ),
        (
            HeadConfig::Regression {
                pooling: Pooling::Mean,
                mean: 0.0,
                std: 1.0,
                layers: Default::default(),
            },
            batches(values),
        ),
        (ranking(RankingLoss::Listnet), batches(queries.clone())),
        (ranking(RankingLoss::Pairwise), batches(queries)),
        (HeadConfig::ReplacedTokens(Default::default()), batches(replaced())),
        (HeadConfig::Seq2Seq { tied: true, output: Default::default() }, batches(target())),
        (HeadConfig::Seq2Seq { tied: false, output: Default::default() }, batches(target())),
    ]
}

fn stacks() -> Vec<StackConfig> {
    let base = StackConfig {
        d_model: 20,
        n_layers: 3,
        n_heads: 5,
        n_kv_heads: Some(5),
        d_ff: Some(23),
        max_seq_len: 9,
        dropout: 0.2,
        attention_dropout: 0.3,
        init_std: 0.2,
        ..StackConfig::default()
    };
    let t5 = T5Config { n_buckets: 8, max_distance: 6, ..T5Config::default() };
    let shaw = ShawConfig { max_distance: 2, ..ShawConfig::default() };
    let schemes = [
        PositionConfig::Rotary(RotaryConfig::default()),
        PositionConfig::Learned(LearnedConfig::default()),
        PositionConfig::T5(t5),
        PositionConfig::Shaw(shaw),
    ];
    let of = |position: &PositionConfig, position_sharing| StackConfig {
        position: position.clone(),
        position_sharing,
        ..base.clone()
    };
    let shared = schemes.iter().map(|position| of(position, PositionSharing::AcrossLayers));
    let own = schemes[2..].iter().map(|position| of(position, PositionSharing::PerLayer));
    let grouped = StackConfig { n_kv_heads: Some(1), activation: Activation::Swiglu, ..base.clone() };
    shared.chain(own).chain([grouped]).collect()
}

fn model<B: AutodiffBackend>(head: &HeadConfig, stack: &StackConfig, device: &B::Device) -> TaskModel<B> {
    assert_eq!(head.check(stack), []);
    let options = LossOptions { label_smoothing: 0.1, ..LossOptions::default() };
    TaskModel::new(head, stack, VOCAB, Key::new(1), device).with_loss(options)
}

/// Losses of the batches, and the sums of their gradients.
fn run<B: AutodiffBackend>(
    model: &TaskModel<B>,
    batches: &[TaskBatch],
    key: Key,
    checkpointing: GradientCheckpointing,
) -> (Vec<f32>, Gradients) {
    let mut sums = GradientsParams::new();
    let mut losses = Vec::new();
    for (i, batch) in batches.iter().enumerate() {
        let key = Some(key.child(i as u64));
        let loss = model.backward(batch, key, checkpointing, &mut sums).unwrap();
        let plain = model.loss(batch, key).unwrap();
        assert_eq!(loss.weight, plain.weight);
        losses.extend(loss.sum.into_data().iter::<f32>());
        let plain: Vec<f32> = plain.sum.into_data().iter::<f32>().collect();
        assert!((losses[i] - plain[0]).abs() <= 1e-5 * plain[0].abs(), "{losses:?} {plain:?}");
    }
    (losses, gradients(model, &sums))
}

fn losses_and_gradients_are_those_of_the_whole_graph<B: AutodiffBackend>(device: &B::Device) {
    use GradientCheckpointing::{Block, None as Off};
    let n_stacks = if on_processor::<B>(device) { usize::MAX } else { 1 };
    for (head, batches) in heads() {
        for stack in stacks().into_iter().take(n_stacks) {
            let model = model::<B>(&head, &stack, device);
            for n_batches in [1, 2] {
                let batches = &batches[..n_batches];
                let (losses, want) = run(&model, batches, Key::new(3), Off);
                let (again, got) = run(&model, batches, Key::new(3), Block);
                let what = format!("{head:?}, {:?}, {n_batches} batches", stack.position);
                let error = relative_error(&got, &want);
                assert!(error <= RTOL, "{what}: {error:e}");
                if on_processor::<B>(device) {
                    assert_eq!(losses, again, "{what}");
                }
                assert!(want.iter().all(|(_, grad)| grad.is_some()), "{what}: {want:?}");
            }
            // Of other dropout, and of one batch instead of two.
            let (_, want) = run(&model, &batches, Key::new(3), Off);
            let (_, dropped) = run(&model, &batches, Key::new(4), Block);
            let (_, one) = run(&model, &batches[..1], Key::new(3), Block);
            assert!(relative_error(&dropped, &want) > 1e-3 && relative_error(&one, &want) > 1e-3, "{head:?}");
        }
    }
}

/// A batch without a word to tag asks nothing of the encoder.
fn a_loss_that_does_not_need_the_stack<B: AutodiffBackend>(device: &B::Device) {
    let head = HeadConfig::TokenClassification {
        n_labels: 3,
        decoding: TagDecoding::Crf,
        layers: Default::default(),
    };
    let model = model::<B>(&head, &stacks()[0], device);
    let batch = TaskBatch { tokens: tokens(&[&[1, 2, 3]]), labels: Labels::PerToken(vec![-100; 3]) };
    let of = |checkpointing| run(&model, std::slice::from_ref(&batch), Key::new(3), checkpointing).1;
    let (got, want) = (of(GradientCheckpointing::Block), of(GradientCheckpointing::None));
    assert_eq!(relative_error(&got, &want), 0.0);
}

/// It would have to be summed over two graphs.
fn a_table_of_both_stacks_is_refused<B: AutodiffBackend>(device: &B::Device) {
    let head = HeadConfig::Seq2Seq { tied: true, output: Default::default() };
    let stack = StackConfig { token_tables: TokenTables::Shared, ..stacks()[0].clone() };
    let (model, [batch, _]) = (model::<B>(&head, &stack, device), batches(target()));
    let mut sums = GradientsParams::new();
    let refused = model.backward(&batch, None, GradientCheckpointing::Block, &mut sums);
    assert!(matches!(refused, Err(HeadError::SharedTable)));
    assert!(model.backward(&batch, None, GradientCheckpointing::None, &mut sums).is_ok());
}

on_backends!(
    losses_and_gradients_are_those_of_the_whole_graph,
    a_loss_that_does_not_need_the_stack,
    a_table_of_both_stacks_is_refused
);
