//! The verbs.

mod adapters;
pub(crate) mod compare;
pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod doctor;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod fetch;
pub(crate) mod forward;
pub(crate) mod generate;
pub(crate) mod hub;
mod lines;
pub(crate) mod model;
pub(crate) mod positions;
pub(crate) mod predict;
mod questions;
pub(crate) mod recipes;
mod shell;
pub(crate) mod train;
mod write;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend;
use locus_backend::packed::{PackError, Precision};
use locus_backend::rng::Key;
use locus_heads::TaskModel;
use locus_model::ModelConfig;
use locus_pipeline::{Pipeline, PipelineError};

use crate::UsageError;
use crate::args::{InferenceArgs, Weights};

/// A model folder, with the weights held as asked for.
fn load<B: Backend>(dir: &Path, args: &InferenceArgs, device: &B::Device) -> anyhow::Result<Pipeline<B>> {
    let mut pipeline = if locus_hub::is_sentence_folder(dir) && args.adapters.is_empty() {
        load_sentence(dir, device)?
    } else if locus_hub::is_checkpoint(dir) || !args.adapters.is_empty() {
        adapters::refuse_lost_modules(dir, &args.adapters)?;
        let (config, model) = load_model(dir, &args.adapters, device)?;
        with_tokenizer(dir, config, model)?
    } else {
        Pipeline::from_dir(dir, device)?
    };
    pack(&mut pipeline, args)?;
    Ok(pipeline)
}

/// A sentence embedder of a folder of sentence-transformers, or of a checkpoint as they read it.
fn load_sentence<B: Backend>(dir: &Path, device: &B::Device) -> anyhow::Result<Pipeline<B>> {
    let sentence = locus_hub::read_sentence(dir)?;
    let transformer = sentence.transformer.clone();
    let loaded = sentence.load(Key::new(0), device)?;
    with_tokenizer(&transformer, loaded.checkpoint.config, loaded.model)
}

/// A model with the tokenizer of its folder.
fn with_tokenizer<B: Backend>(
    dir: &Path,
    mut config: ModelConfig,
    model: TaskModel<B>,
) -> anyhow::Result<Pipeline<B>> {
    let tokenizer = locus_data::Tokenizer::from_file(dir)?;
    config.n_spare_tokens = config.vocab_size.saturating_sub(tokenizer.vocab_size());
    Ok(Pipeline::new(config, model, tokenizer)?)
}

/// Holds the weights as asked for.
fn pack<B: Backend>(pipeline: &mut Pipeline<B>, args: &InferenceArgs) -> anyhow::Result<()> {
    let precision = match args.weights {
        Weights::F32 => return Ok(()),
        Weights::Bf16 => Precision::Bf16,
        Weights::Int8 => Precision::Int8,
    };
    pipeline.pack(precision).map_err(|error| match error {
        PipelineError::Pack(PackError::Backend { .. }) => UsageError(format!("--weights: {error}")).into(),
        error => anyhow::Error::from(error),
    })
}

/// The configuration of a folder of Locus, of one of sentence-transformers or of a checkpoint.
fn read_config(dir: &Path) -> anyhow::Result<ModelConfig> {
    if locus_hub::is_sentence_folder(dir) {
        return Ok(locus_hub::read_sentence(dir)?.config());
    }
    if !locus_hub::is_checkpoint(dir) {
        return Ok(locus_model::load_config(dir)?);
    }
    Ok(locus_hub::read_config(dir, None)?.config)
}

/// The model of a folder of Locus or of a checkpoint, with adapters as part of its weights.
fn load_model<B: Backend>(
    dir: &Path,
    adapters: &[PathBuf],
    device: &B::Device,
) -> anyhow::Result<(ModelConfig, TaskModel<B>)> {
    if !adapters.is_empty() {
        return adapters::load_adapted(dir, adapters, device);
    }
    if !locus_hub::is_checkpoint(dir) {
        return Ok(locus_model::load(dir, device)?);
    }
    let loaded = locus_hub::load(dir, device)?;
    Ok((loaded.checkpoint.config, loaded.model))
}

/// Prints a line to the standard output.
///
/// # Errors
/// If nobody reads it any more.
fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
