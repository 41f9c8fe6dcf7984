//! The case study of the article behind the project: ten tokens, position vectors `e_i = P · v_i` added to the word
//! vectors, width 256, two heads, three layers, cross-entropy, one step of an optimizer.
//!
//! `cargo run -p locus-heads --example case_study`
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;

use burn::backend::Autodiff;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use locus_backend::device::NdArray;
use locus_backend::rng::Key;
use locus_embedding::Tokens;
use locus_embedding::position::{Combine, PositionConfig, RandomProjectionConfig};
use locus_encoder::StackConfig;
use locus_heads::{HeadConfig, Labels, TaskBatch, TaskModel, Trainable};

type Backend = Autodiff<NdArray>;

fn main() -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    // `e_i = P · v_i` with `P: [256, 32]` fixed and `v_i: [32]` random; `Combine::Concat` appends instead of adding.
    let positions = RandomProjectionConfig { m: 32, combine: Combine::Add, ..Default::default() };
    let stack = StackConfig {
        d_model: 256,
        n_heads: 2,
        n_layers: 3,
        max_seq_len: 10,
        position: PositionConfig::RandomProjection(positions),
        ..StackConfig::default()
    };
    let (vocab_size, n_labels) = (100, 5);
    let head = HeadConfig::TokenClassification {
        n_labels,
        decoding: Default::default(),
        layers: Default::default(),
    };
    let model = TaskModel::<Backend>::new(&head, &stack, vocab_size, Key::new(42), &device);

    // One sentence of ten tokens, each with a label.
    let ids = vec![12, 7, 99, 3, 41, 58, 7, 23, 64, 5];
    let labels = vec![0, 1, 2, 0, 0, 3, 1, 0, 4, 0];
    let batch = TaskBatch {
        tokens: Tokens::new([1, 10], ids, vec![true; 10], None)?,
        labels: Labels::PerToken(labels),
    };

    let loss = model.loss(&batch, None)?;
    let before = (loss.sum.clone() / loss.weight).into_scalar();
    let gradients = GradientsParams::from_grads((loss.sum / loss.weight).backward(), &model);
    let model = AdamWConfig::new().init().step(1e-3, model, gradients);
    let loss = model.loss(&batch, None)?;
    let after = (loss.sum / loss.weight).into_scalar();

    // Chance is ln 5 = 1.609.
    println!("cross-entropy before the step {before:.4}, after it {after:.4}");
    if after < before { Ok(()) } else { Err("the step did not lower the loss".into()) }
}
