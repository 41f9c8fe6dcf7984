//! `locus hub`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::device::{Job, run_on};
use locus_backend::rng::Key;
use locus_data::Tokenizer;
use locus_heads::{HeadConfig, TaskModel};
use locus_hub::{Inspection, Saved, inspect, is_checkpoint, is_sentence_folder, read_sentence, save};
use locus_model::ModelConfig;
use locus_pipeline::Codec;

use super::{load_model, say};
use crate::UsageError;
use crate::args::{ExportArgs, HubArgs, HubVerb, PullArgs};

/// The file by which `transformers` knows which class of tokenizers to take.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Files of a tokenizer, which are copied as they are: those that are text.
const TOKENIZER_FILES: [&str; 8] = [
    "tokenizer.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "chat_template.jinja",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
];

/// Those that are models of SentencePiece.
const SENTENCEPIECE_FILES: [&str; 6] =
    ["spiece.model", "spm.model", "sentencepiece.bpe.model", "tokenizer.model", "source.spm", "target.spm"];

pub(crate) fn run(args: &HubArgs) -> anyhow::Result<()> {
    match &args.verb {
        HubVerb::Inspect { dir, json } => show(&inspect(dir)?, *json),
        HubVerb::Export(args) => {
            if args.out.exists() {
                let out = args.out.display();
                let problem =
                    format!("--out {out}: expected a folder that does not exist yet; choose another name");
                return Err(UsageError(problem).into());
            }
            run_on(None, None, Export(args))?
        }
        HubVerb::Pull(args) => pull(args),
    }
}

#[cfg(feature = "download")]
fn pull(args: &PullArgs) -> anyhow::Result<()> {
    say(locus_hub::pull(&args.name, args.revision.as_deref(), args.offline)?.display())
}

#[cfg(not(feature = "download"))]
fn pull(args: &PullArgs) -> anyhow::Result<()> {
    let PullArgs { name, revision, offline } = args;
    let revision = revision.as_ref().map(|revision| format!(" --revision {revision}")).unwrap_or_default();
    let offline = if *offline { " --offline" } else { "" };
    anyhow::bail!(
        "this build cannot download. Use `cargo xtask hub pull {name}{revision}{offline}`, which builds one that can; or copy \
         the model's folder from elsewhere, and name it with --model or model.from"
    )
}

fn show(found: &Inspection, json: bool) -> anyhow::Result<()> {
    if json {
        return say(serde_json::to_string_pretty(found)?);
    }
    let stack = &found.config.stack;
    let types: Vec<String> =
        found.bytes.iter().map(|(dtype, bytes)| format!("{bytes} bytes of {dtype}")).collect();
    let head = serde_json::to_value(found.head)?;
    say(format_args!("family      {}", found.family))?;
    say(format_args!("head        {}", head.as_str().unwrap_or_default()))?;
    if !found.config.labels.is_empty() {
        say(format_args!("labels      {}", found.config.labels.join(", ")))?;
    }
    say(format_args!(
        "tensors     {}: {} numbers, {}",
        found.n_tensors,
        found.n_parameters,
        types.join(", ")
    ))?;
    say(format_args!(
        "model       {} layers, width {}, {} heads, position {}; vocabulary {}, length {}",
        stack.n_layers,
        stack.d_model,
        stack.n_heads,
        crate::report::positions(stack),
        found.config.vocab_size,
        stack.max_seq_len
    ))?;
    say(format_args!("\n{}", toml::to_string(stack)?.trim_end()))
}

struct Export<'a>(&'a ExportArgs);

impl Job for Export<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let args = self.0;
        let Whole { mut config, model, tokenizer } = load_whole::<B::InnerBackend>(&args.model, &device)?;
        let mut files = tokenizer_files(&tokenizer)?;
        let sentencepiece = SENTENCEPIECE_FILES.map(|name| (name, tokenizer.join(name)));
        let sentencepiece: Vec<_> = sentencepiece.into_iter().filter(|(_, path)| path.is_file()).collect();
        let (mut models, mut as_learned) = (Vec::new(), None);
        if !files.is_empty() || !sentencepiece.is_empty() {
            let is_ours = !is_checkpoint(&tokenizer);
            match Tokenizer::from_file(&tokenizer) {
                Ok(tokenizer) => {
                    name_tokens(&mut config, &tokenizer);
                    models = tokenizer.sentencepiece_files()?;
                    let framed = framed_as_learned(&config, &tokenizer)?;
                    // A checkpoint without one keeps what its family makes of that.
                    let lacks_config = is_ours && files.iter().all(|(name, _)| *name != TOKENIZER_CONFIG);
                    if lacks_config || framed.is_some() {
                        let has_segments = config.stack.n_segments > 1;
                        let tokenizer = framed.as_ref().unwrap_or(&tokenizer);
                        let text = tokenizer.transformers_config(max_seq_len(&config), has_segments);
                        files.retain(|(name, _)| *name != TOKENIZER_CONFIG);
                        files.push((TOKENIZER_CONFIG, text));
                    }
                    as_learned = framed.map(|tokenizer| tokenizer.to_json()).transpose()?;
                }
                Err(error) => {
                    tell!("note: the tokenizer is copied as it is, since it cannot be read: {error}")
                }
            }
        }
        let saved = save(&args.out, &config, &model, args.family.as_deref(), &files)?;
        for (name, from) in sentencepiece {
            std::fs::copy(&from, args.out.join(name))
                .with_context(|| format!("cannot copy {} to {}", from.display(), args.out.display()))?;
        }
        let has_pair_labels = matches!(&config.head, HeadConfig::SentenceEmbedding(head) if head.pair_loss.n_labels().is_some());
        if has_pair_labels && saved != Saved::Locus {
            tell!(
                "note: what scores labels of pairs is left out; sentence-transformers has it in its loss alone"
            );
        }
        if let Saved::Family(_) = saved {
            write_models(&args.out, &models)?;
            if let Some(json) = as_learned {
                locus_model::write_file(&args.out.join("tokenizer.json"), (json + "\n").as_bytes())?;
            }
        }
        match saved {
            Saved::Family(name) => say(format_args!("wrote {} as {name}", args.out.display())),
            Saved::Locus => say(format_args!(
                "wrote {} as a model folder of Locus: no family of transformers has such a model",
                args.out.display()
            )),
        }
    }
}

/// The tokenizer of a language model that began here, where it would put other tokens ahead of a prompt than the model has learned:
/// `transformers` and Locus put there what the tokenizer of a checkpoint says.
fn framed_as_learned(config: &ModelConfig, tokenizer: &Tokenizer) -> anyhow::Result<Option<Tokenizer>> {
    if config.add_bos_token || !matches!(config.head, HeadConfig::CausalLm { .. }) {
        return Ok(None);
    }
    let codec = Codec::new(config, tokenizer.clone())?;
    let (start, frame) = (codec.text_start(), codec.tokenizer.frame());
    if frame.before == start && frame.after.is_empty() {
        return Ok(None);
    }
    Ok(Some(codec.tokenizer.with_start(&start)?))
}

/// Writes the models of a tokenizer that has two, and their vocabulary, where a run has them in a `tokenizer.json` of our own.
fn write_models(out: &Path, models: &[(&str, Vec<u8>)]) -> anyhow::Result<()> {
    let ours = out.join("tokenizer.json");
    if models.is_empty() || !ours.is_file() {
        return Ok(());
    }
    for (name, bytes) in models {
        locus_model::write_file(&out.join(name), bytes)?;
    }
    std::fs::remove_file(&ours).with_context(|| format!("cannot remove {}", ours.display()))
}

/// A model, and the folder of its tokenizer.
struct Whole<B: Backend> {
    config: ModelConfig,
    model: TaskModel<B>,
    tokenizer: PathBuf,
}

/// A model with its modules, where there is a list of them.
fn load_whole<B: Backend>(dir: &Path, device: &B::Device) -> anyhow::Result<Whole<B>> {
    if !is_sentence_folder(dir) {
        let (config, model) = load_model(dir, &[], device)?;
        return Ok(Whole { config, model, tokenizer: dir.to_owned() });
    }
    let sentence = read_sentence(dir)?;
    let tokenizer = sentence.transformer.clone();
    let loaded = sentence.load(Key::new(0), device)?;
    Ok(Whole { config: loaded.checkpoint.config, model: loaded.model, tokenizer })
}

/// How many tokens of a text are read.
fn max_seq_len(config: &ModelConfig) -> usize {
    match &config.head {
        HeadConfig::SentenceEmbedding(head) => head.max_seq_len.unwrap_or(config.stack.max_seq_len),
        _ => config.stack.max_seq_len,
    }
}

/// Names the ids that the tokenizer knows and no checkpoint has named. A decoder starts and ends as in training.
fn name_tokens(config: &mut ModelConfig, tokenizer: &Tokenizer) {
    let (specials, ids) = (tokenizer.specials(), &mut config.token_ids);
    ids.pad = ids.pad.or(Some(specials.fill()));
    ids.bos = ids.bos.or(specials.bos);
    ids.eos = ids.eos.or(specials.eos);
    if matches!(config.head, HeadConfig::Seq2Seq { .. }) {
        ids.decoder_start = ids.decoder_start.or(specials.bos).or(specials.cls);
        ids.eos = ids.eos.or(specials.sep);
    }
}

fn tokenizer_files(dir: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let there = TOKENIZER_FILES.into_iter().map(|name| (name, dir.join(name)));
    let read = |(name, path): (&'static str, PathBuf)| {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((name, text))
    };
    there.filter(|(_, path)| path.is_file()).map(read).collect()
}
