//! From examples to a folder and back: every task answers every input, whatever it looks like.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod masks;
mod pairs;
mod pretraining;
mod questions;
mod ranking;
mod rows;
mod spans;
mod tags;
mod tasks;
mod texts;
mod training;
mod vectors;

use std::path::Path;

use burn::tensor::backend::AutodiffBackend;
use locus_backend::rng::Key;
use locus_data::{Examples, LabelSet, Tagged, Tokenizer, TokenizerKind};
use locus_encoder::StackConfig;
use locus_heads::{HeadConfig, TaskModel};
use locus_model::{ModelConfig, save};
use locus_pipeline::Codec;

const SENTENCE: &str = "Mira Tolland visited Lisbon , 王 小明 too .";

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn tagged(text: &str, tags: &str) -> Tagged {
    Tagged { words: words(text), tags: words(tags), line: 1 }
}

fn tagged_examples() -> Examples {
    let tags = "B-PER I-PER O B-LOC O B-PER I-PER O O";
    Examples::Tagged(vec![tagged(SENTENCE, tags), tagged("Lisbon .", "B-LOC O")])
}

fn stack() -> StackConfig {
    StackConfig {
        d_model: 16,
        n_layers: 1,
        n_heads: 2,
        max_seq_len: 12,
        init_std: 0.2,
        ..StackConfig::default()
    }
}

/// A model folder for these examples, with weights nobody trained.
fn folder<B: AutodiffBackend>(
    dir: &Path,
    head: HeadConfig,
    kind: TokenizerKind,
    examples: &Examples,
    device: &B::Device,
) -> Codec {
    let tokenizer = Tokenizer::train(kind, 300, false, examples.texts()).unwrap();
    let labels = LabelSet::from_training(examples).map(|labels| labels.names().to_vec()).unwrap_or_default();
    let config = ModelConfig::new(head, labels, tokenizer.vocab_size(), stack());
    let model = TaskModel::<B>::new(&config.head, &config.stack, config.vocab_size, Key::new(4), device);
    save(dir, &config, &model, &tokenizer.files().unwrap()).unwrap();
    Codec::new(&config, tokenizer).unwrap()
}

/// Texts as people write them: empty, long, blank, emoji, control characters, mixed scripts.
fn awkward() -> Vec<String> {
    let long = "Lisbon ".repeat(100);
    [
        "",
        " ",
        "Mira visited 北京。",
        "\u{FEFF}x\r",
        "👩‍👩‍👧 e\u{301}",
        "[PAD] [CLS]",
        "\u{0}\u{7}",
        long.trim_end(),
    ]
    .map(str::to_owned)
    .to_vec()
}
