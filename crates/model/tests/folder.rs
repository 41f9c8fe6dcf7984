//! A model that is saved and loaded is the same model; a damaged folder is refused with everything that is wrong.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use burn::module::AutodiffModule;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::packed::Precision;
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{Form, PositionConfig};
use locus_encoder::{NormKind, StackConfig};
use locus_heads::{HeadConfig, TaskModel};
use locus_model::{ModelConfig, ModelError, load, save};
use locus_testkit::{assert_close, on_backends, on_processor};

fn config(position: &str) -> ModelConfig {
    let stack = StackConfig {
        d_model: 12,
        n_layers: 2,
        n_heads: 3,
        n_segments: 2,
        norm: if position == "shaw" { NormKind::RmsNorm } else { NormKind::LayerNorm },
        position: PositionConfig::named(position).unwrap(),
        ..StackConfig::default()
    };
    let labels = ["O", "B-X", "I-X"].map(str::to_owned).to_vec();
    ModelConfig::new(
        HeadConfig::TokenClassification {
            n_labels: 3,
            decoding: Default::default(),
            layers: Default::default(),
        },
        labels,
        7,
        stack,
    )
}

fn logits<B: Backend>(model: &TaskModel<B>) -> Vec<f32> {
    let TaskModel::TokenClassifier(model) = model else { panic!("another head") };
    let tokens = Tokens::new([1, 5], vec![1, 6, 2, 3, 4], vec![true; 5], None).unwrap();
    model.logits(&tokens, None).unwrap().into_data().iter::<f32>().collect()
}

fn written<B: Backend>(dir: &Path, config: &ModelConfig, device: &B::Device) -> TaskModel<B> {
    let model = TaskModel::<B>::new(&config.head, &config.stack, config.vocab_size, Key::new(3), device);
    save(dir, config, &model, &[("tokenizer.json", "{}".to_owned())]).unwrap();
    model
}

fn round_trip<B: AutodiffBackend>(device: &B::Device) {
    let root = tempfile::tempdir().unwrap();
    for position in PositionConfig::NAMES {
        let (dir, config) = (root.path().join(position), config(position));
        let kinds = ["none", "learned", "random_projection", "rotary", "alibi", "t5", "shaw"];
        if !config.stack.check(Form::Bidirectional).is_empty()
            || !(on_processor::<B>(device) || kinds.contains(&position))
        {
            continue; // a scheme for decoders, or one of many
        }
        let model = written::<B>(&dir, &config, device);
        let (config_again, again) = load::<B::InnerBackend>(&dir, device).unwrap();
        assert_eq!(config_again, config);
        // Without autodiff on both sides: with it, softmax is computed another way.
        assert_eq!(logits(&model.valid()), logits(&again), "{position}");
    }
}

fn damage_is_listed_whole<B: AutodiffBackend>(device: &B::Device) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("m");
    let mut config = config("learned");
    written::<B>(&dir, &config, device);
    // The configuration of another model: wider tables, one layer less, no segments.
    config.vocab_size = 9;
    config.stack.n_layers = 1;
    config.stack.n_segments = 0;
    fs::write(dir.join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
    let error = load::<B>(&dir, device).unwrap_err();
    let ModelError::Weights { problems, .. } = &error else { panic!("{error}") };
    let text = error.to_string();
    assert!(problems.len() > 10, "{text}");
    for part in ["embeddings.tokens", "layers.1.attn.q_proj.weight is not a parameter", "embeddings.segments"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    config.stack.n_layers = 3;
    fs::write(dir.join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
    let text = load::<B>(&dir, device).unwrap_err().to_string();
    assert!(text.contains("layers.2.ffn.up_proj.weight is missing"), "{text}");
}

fn truncated_and_foreign_files<B: AutodiffBackend>(device: &B::Device) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("m");
    written::<B>(&dir, &config("rotary"), device);
    let weights = fs::read(dir.join("model.safetensors")).unwrap();
    fs::write(dir.join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    assert!(matches!(load::<B>(&dir, device).unwrap_err(), ModelError::Weights { .. }));
    fs::write(dir.join("config.json"), "{\"model_type\": \"bert\"}").unwrap();
    assert!(matches!(load::<B>(&dir, device).unwrap_err(), ModelError::Config { .. }));
    fs::remove_file(dir.join("config.json")).unwrap();
    let text = load::<B>(&dir, device).unwrap_err().to_string();
    assert!(text.contains("config.json is missing"), "{text}");
}

fn loaded_numbers_are_those_of_the_file<B: AutodiffBackend>(device: &B::Device) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("m");
    let model = written::<B>(&dir, &config("t5"), device);
    let golden = locus_testkit::Golden::read(dir.join("model.safetensors"));
    let TaskModel::TokenClassifier(model) = &model else { panic!("another head") };
    assert_close("classifier", &model.classifier.weight.val(), golden.values("classifier.weight"), 0.0, 0.0);
    let table = golden.values("encoder.schemes.0.table");
    assert_eq!(table.len(), 32 * 3);
}

fn packed_models_are_not_saved<B: AutodiffBackend>(device: &B::Device) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("m");
    let mut model = written::<B>(&dir, &config("rotary"), device).valid();
    if model.pack(Precision::Bf16).is_err() {
        return; // This backend has no such weights.
    }
    let before = fs::read(dir.join("model.safetensors")).unwrap();
    let error = save(&dir, &config("rotary"), &model, &[("tokenizer.json", "{}".to_owned())]).unwrap_err();
    assert!(error.to_string().contains("before they are packed"), "{error}");
    assert_eq!(fs::read(dir.join("model.safetensors")).unwrap(), before);
}

on_backends!(
    packed_models_are_not_saved,
    round_trip,
    damage_is_listed_whole,
    truncated_and_foreign_files,
    loaded_numbers_are_those_of_the_file
);
