//! Models with adapters, and `locus model merge`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::device::{Job, run_on};
use locus_backend::rng::Key;
use locus_data::Tokenizer;
use locus_heads::{HeadConfig, TaskModel};
use locus_hub::{
    AdapterBase, Checkpoint, is_checkpoint, is_sentence_folder, load_checkpoint, read_adapted_config,
    read_adapter, read_sentence, with_adapted_head,
};
use locus_model::{ModelConfig, load, save};

use super::say;
use crate::UsageError;
use crate::args::MergeArgs;

/// A model with adapters as part of its weights. A checkpoint gets the head that the first of them was trained under.
pub(super) fn load_adapted<B: Backend>(
    dir: &Path,
    adapters: &[PathBuf],
    device: &B::Device,
) -> anyhow::Result<(ModelConfig, TaskModel<B>)> {
    let Some(first) = adapters.first() else { bail!(UsageError("expected an adapter".to_owned())) };
    if !is_checkpoint(dir) {
        let (config, mut model, new) = with_adapted_head(dir, load(dir, device)?, first, device)?;
        let saved = put_on(&mut model, AdapterBase::Locus, adapters)?;
        refuse_untrained(dir, &new, &saved)?;
        return Ok((config, model));
    }
    load_on(dir, read_adapted_config(dir, first)?, adapters, device)
}

/// The same for vectors of texts: a checkpoint that has no head with its adapters is read as sentence-transformers reads it.
pub(super) fn load_adapted_embedder<B: Backend>(
    dir: &Path,
    adapters: &[PathBuf],
    device: &B::Device,
) -> anyhow::Result<(ModelConfig, TaskModel<B>)> {
    let first = adapters.first().filter(|_| is_checkpoint(dir));
    let Some(first) = first else { return load_adapted(dir, adapters, device) };
    let mut checkpoint = read_adapted_config(dir, first)?;
    if matches!(checkpoint.config.head, HeadConfig::Bare { .. }) {
        checkpoint.config.head = HeadConfig::SentenceEmbedding(read_sentence(dir)?.head);
    }
    load_on(dir, checkpoint, adapters, device)
}

fn load_on<B: Backend>(
    dir: &Path,
    checkpoint: Checkpoint,
    adapters: &[PathBuf],
    device: &B::Device,
) -> anyhow::Result<(ModelConfig, TaskModel<B>)> {
    // Seed 0: a new head is the adapter's, so nothing that is drawn stays.
    let loaded = load_checkpoint::<B>(dir, checkpoint, Key::new(0), device)?;
    let (checkpoint, mut model) = (loaded.checkpoint, loaded.model);
    let saved = put_on(&mut model, AdapterBase::Checkpoint(&checkpoint), adapters)?;
    refuse_untrained(dir, &loaded.new, &saved)?;
    Ok((checkpoint.config, model))
}

/// Vectors of texts of a folder of sentence-transformers, which has layers that a model with adapters would lose. An adapter of
/// another task takes only the checkpoint in it.
pub(super) fn refuse_lost_modules(dir: &Path, adapters: &[PathBuf]) -> anyhow::Result<()> {
    let Some(first) = adapters.first().filter(|_| is_sentence_folder(dir)) else { return Ok(()) };
    let embeds =
        |head: &HeadConfig| matches!(head, HeadConfig::SentenceEmbedding(_) | HeadConfig::Bare { .. });
    if is_checkpoint(dir) && !embeds(&read_adapted_config(dir, first)?.config.head) {
        return Ok(());
    }
    let problem = format!(
        "--adapter {}: {} is a folder of sentence-transformers, whose modules do not go together with adapters of vectors; \
         put the adapter on a checkpoint without a list of modules, or on a model folder of Locus",
        first.display(),
        dir.display()
    );
    Err(UsageError(problem).into())
}

/// Parameters of a new head that no adapter brings.
fn refuse_untrained(dir: &Path, new: &[String], saved: &BTreeSet<String>) -> anyhow::Result<()> {
    let untrained: Vec<&str> = new.iter().map(String::as_str).filter(|name| !saved.contains(*name)).collect();
    if untrained.is_empty() {
        return Ok(());
    }
    bail!(
        "{} and its adapters lack {}: take an adapter that was trained with this head",
        dir.display(),
        untrained.join(", ")
    );
}

/// Merges adapters; gives the parameters that they bring whole.
fn put_on<B: Backend>(
    model: &mut TaskModel<B>,
    base: AdapterBase<'_>,
    adapters: &[PathBuf],
) -> anyhow::Result<BTreeSet<String>> {
    let mut saved = BTreeSet::new();
    for (idx, dir) in adapters.iter().enumerate() {
        let adapter = read_adapter(dir, base, model)?;
        if let Some(twice) = adapter.saved.keys().find(|path| saved.contains(*path)) {
            bail!(
                "--adapter {}: {twice} is in an earlier adapter too; of adapters that bring parameters whole, such as a head, \
                 take one",
                dir.display()
            );
        }
        saved.extend(adapter.saved.keys().cloned());
        if let Err(problems) = model.add_adapter(&idx.to_string(), &adapter) {
            bail!("--adapter {}:\n  - {}", dir.display(), problems.join("\n  - "));
        }
    }
    model.merge_adapters();
    Ok(saved)
}

pub(super) fn merge(args: &MergeArgs) -> anyhow::Result<()> {
    refuse_lost_modules(&args.model, &args.adapters)?;
    if args.out.exists() {
        let out = args.out.display();
        let message = format!("--out {out}: expected a folder that does not exist yet; choose another name");
        return Err(UsageError(message).into());
    }
    run_on(None, None, Merge(args))?
}

struct Merge<'a>(&'a MergeArgs);

impl Job for Merge<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let args = self.0;
        let (mut config, model) = load_adapted::<B::InnerBackend>(&args.model, &args.adapters, &device)?;
        // Weights can be merged without one; what reads text cannot do with them.
        let files = match Tokenizer::from_file(&args.model) {
            Ok(tokenizer) => {
                config.n_spare_tokens = config.vocab_size.saturating_sub(tokenizer.vocab_size());
                tokenizer.files()?
            }
            Err(error) => {
                tell!("note: the merged model has no tokenizer, so it cannot read text: {error}");
                Vec::new()
            }
        };
        save(&args.out, &config, &model, &files)?;
        say(format_args!("wrote {}", args.out.display()))
    }
}
