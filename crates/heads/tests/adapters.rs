//! Models with adapters: trained with gradient checkpointing and dropout as without, merged, rounded.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use burn::module::AutodiffModule;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::packed::{Packed, Precision};
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_encoder::{Activation, StackConfig};
use locus_heads::{
    AdapterConfig, GradientCheckpointing, HeadConfig, HostAdapter, HostArray, HostChange, Ia3Config, Labels,
    LoraConfig, RankScaling, Target, TaskBatch, TaskModel, Trainable,
};
use locus_testkit::{Gradients, gradients, on_processors, relative_error};

const VOCAB: usize = 19;

fn configs() -> [AdapterConfig; 3] {
    let targets = vec![
        Target::QProj,
        Target::KProj,
        Target::VProj,
        Target::OProj,
        Target::GateProj,
        Target::UpProj,
        Target::DownProj,
    ];
    let lora = LoraConfig { r: 3, dropout: 0.4, targets, ..LoraConfig::default() };
    [
        AdapterConfig::Lora(LoraConfig { scaling: RankScaling::SqrtRank, ..lora.clone() }),
        AdapterConfig::Dora(lora),
        AdapterConfig::Ia3(Ia3Config::default()),
    ]
}

fn model<B: AutodiffBackend>(device: &B::Device) -> TaskModel<B> {
    let stack = StackConfig {
        d_model: 20,
        n_layers: 2,
        n_heads: 5,
        dropout: 0.0,
        attention_dropout: 0.0,
        init_std: 0.2,
        activation: Activation::Swiglu,
        ..StackConfig::default()
    };
    let head = HeadConfig::CausalLm { tied: false, output: Default::default() };
    TaskModel::new(&head, &stack, VOCAB, Key::new(1), device)
}

/// A new adapter with drawn numbers in place of those that change nothing, and one on the output over the vocabulary.
fn drawn<B: Backend>(config: &AdapterConfig, model: &TaskModel<B>) -> HostAdapter {
    let key = Key::new(2);
    let mut adapter = HostAdapter::new(config, model, key).unwrap();
    let numbers = |path: &str, mean: f64, n: u64| -> Vec<f32> {
        (0..n).map(|i| (mean + 0.3 * key.named(path).normal(i)) as f32).collect()
    };
    for (path, change) in &mut adapter.changes {
        match change {
            HostChange::LowRank { b, .. } => b.values = numbers(path, 0.0, b.values.len() as u64),
            HostChange::Scale { vector, .. } => *vector = numbers(path, 1.0, vector.len() as u64),
        }
    }
    let of_output = match config {
        AdapterConfig::Ia3(_) => {
            HostChange::Scale { vector: numbers("output", 1.0, VOCAB as u64), on_input: false }
        }
        AdapterConfig::Lora(_) | AdapterConfig::Dora(_) => HostChange::LowRank {
            a: HostArray { shape: vec![20, 2], values: numbers("a", 0.0, 40) },
            b: HostArray { shape: vec![2, VOCAB], values: numbers("b", 0.0, 2 * VOCAB as u64) },
            magnitude: None,
            alpha: 2.0,
            divisor: RankScaling::Rank,
        },
    };
    adapter.changes.insert("lm_head".to_owned(), of_output);
    adapter
}

fn batch() -> TaskBatch {
    let ids = vec![1, 7, 3, 11, 5, 4, 4, 18, 2, 9];
    let tokens = Tokens::new([2, 5], ids, vec![true; 10], None).unwrap();
    let labels = Labels::PerToken(vec![7, 3, 11, 5, -100, 4, 18, 2, 9, 1]);
    TaskBatch { tokens, labels }
}

fn scores<B: Backend>(model: &TaskModel<B>) -> Vec<f32> {
    let TaskModel::CausalLm(model) = model else { unreachable!("this test makes no other") };
    host(model.logits(&batch().tokens, None, None).unwrap())
}

fn host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The largest difference, as a share of the largest score; infinite where something is not a number.
fn apart(got: &[f32], want: &[f32]) -> f32 {
    let largest = want.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    got.iter().zip(want).fold(0.0_f32, |far, (x, y)| {
        let apart = (x - y).abs() / largest;
        if apart.is_nan() { f32::INFINITY } else { far.max(apart) }
    })
}

fn only_adapters_have_gradients_and_checkpointing_changes_none<B: AutodiffBackend>(device: &B::Device) {
    for config in configs() {
        let mut model = model::<B>(device);
        model.add_adapter("new", &drawn(&config, &model)).unwrap();
        let model = model.with_only_trained(&|_| false);
        let of = |checkpointing, seed| -> Gradients {
            let mut sums = GradientsParams::new();
            model.backward(&batch(), Some(Key::new(seed)), checkpointing, &mut sums).unwrap();
            gradients(&model, &sums)
        };
        let want = of(GradientCheckpointing::None, 3);
        for (path, grad) in &want {
            let is_trained = path.contains("adapters");
            assert_eq!(grad.is_some(), is_trained, "{path}");
            let moves = grad.iter().flatten().any(|x| *x != 0.0);
            assert_eq!(moves, is_trained, "{path}");
        }
        let error = relative_error(&of(GradientCheckpointing::Block, 3), &want);
        // Sums in another order: DoRA divides by norms of columns.
        assert!(error <= 1e-4, "{}: {error:e}", config.name());
        let other = relative_error(&of(GradientCheckpointing::None, 4), &want);
        let drops = !matches!(config, AdapterConfig::Ia3(_));
        assert_eq!(other > 1e-3, drops, "{}: dropout of another key", config.name());
    }
}

fn merged_and_rounded_models_answer_as_before<B: AutodiffBackend>(device: &B::Device) {
    for config in configs() {
        let plain = model::<B>(device).valid();
        let mut adapted = plain.clone();
        adapted.add_adapter("new", &drawn(&config, &plain)).unwrap();
        let want = scores(&adapted);
        assert!(apart(&scores(&plain), &want) > 0.05, "{}: it changes something", config.name());
        let mut merged = adapted.clone();
        merged.merge_adapters();
        assert!(apart(&scores(&merged), &want) < 5e-5, "{}", config.name());
        // The loss over the vocabulary, which does not make the scores.
        let loss = |model: &TaskModel<B::InnerBackend>| host(model.loss(&batch(), None).unwrap().sum);
        assert!(apart(&loss(&merged), &loss(&adapted)) < 5e-5, "{}", config.name());
        if Packed::new(Tensor::<B::InnerBackend, 2>::ones([2, 3], device), Precision::Bf16).is_err() {
            continue;
        }
        let [mut packed, mut of_merged] = [adapted, merged];
        packed.pack(Precision::Bf16).unwrap();
        of_merged.pack(Precision::Bf16).unwrap();
        assert_eq!(scores(&packed), scores(&of_merged), "{}", config.name());
        let problems = packed.add_adapter("late", &drawn(&config, &plain)).unwrap_err();
        assert!(problems[0].contains("rounded"), "{problems:?}");
    }
}

on_processors!(
    only_adapters_have_gradients_and_checkpointing_changes_none,
    merged_and_rounded_models_answer_as_before
);
