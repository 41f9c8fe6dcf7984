//! `locus hub`.

use std::path::Path;

use burn::tensor::backend::AutodiffBackend;
use locus_backend::device::{Job, run_on};
use locus_data::Tokenizer;
use locus_hub::{Checkpoint, Inspection, Saved, inspect, save};
use locus_model::TOKENIZER_FILE;
use serde_json::{Map, Value};

use super::{load_model, say};
use crate::UsageError;
use crate::args::{ExportArgs, HubArgs, HubVerb};

/// Files of a tokenizer, which are copied as they are.
const TOKENIZER_FILES: [&str; 5] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "spiece.model"];

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
    }
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
        let (config, model) = load_model::<B::InnerBackend>(&args.model, &device)?;
        let files = tokenizer_files(&args.model)?;
        let ids = token_ids(&args.model)?;
        match save(&args.out, &config, &model, args.family.as_deref(), &files, &ids)? {
            Saved::Family(name) => say(format_args!("wrote {} as {name}", args.out.display())),
            Saved::Locus => say(format_args!(
                "wrote {} as a model folder of Locus: no family of transformers has such a model",
                args.out.display()
            )),
        }
    }
}

/// The ids of special tokens: a checkpoint's own, or the tokenizer's.
fn token_ids(dir: &Path) -> anyhow::Result<Map<String, Value>> {
    if locus_hub::is_checkpoint(dir) {
        return Ok(Checkpoint::read(dir, None)?.token_ids());
    }
    let tokenizer = Tokenizer::from_file(&dir.join(TOKENIZER_FILE))?;
    let specials = tokenizer.specials();
    let ids = [
        ("pad_token_id", specials.pad),
        ("bos_token_id", specials.bos),
        ("eos_token_id", specials.eos),
        ("cls_token_id", specials.cls),
        ("sep_token_id", specials.sep),
    ];
    let known = ids.into_iter().filter_map(|(key, id)| id.map(|id| (key.to_owned(), id.into())));
    Ok(known.collect())
}

fn tokenizer_files(dir: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut files = Vec::new();
    for name in TOKENIZER_FILES {
        // A model of SentencePiece is no text; tokenizer.json says the same.
        if let Ok(text) = std::fs::read_to_string(dir.join(name)) {
            files.push((name, text));
        }
    }
    Ok(files)
}
