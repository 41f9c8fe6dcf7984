//! `locus config`.

use super::say;
use crate::args::{ConfigArgs, ConfigVerb, RunFileArgs};
use crate::run_file::{Source, load};

pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    match &args.verb {
        ConfigVerb::Check(RunFileArgs { recipe, sets }) => {
            let source = Source::find(recipe)?;
            load(&source, sets)?;
            say(format_args!("{} is valid", source.origin))
        }
        ConfigVerb::Explain(RunFileArgs { recipe, sets }) => {
            let run = load(&Source::find(recipe)?, sets)?;
            let text = toml::to_string(&run)?;
            say(text.trim_end())?;
            let unset = OPTIONAL.iter().filter(|key| !is_set(&text, key)).copied().collect::<Vec<_>>();
            say(format_args!("\n# Not set: {}", unset.join(", ")))
        }
    }
}

/// The keys without a default.
const OPTIONAL: [&str; 24] = [
    "data.set",
    "data.dir",
    "data.train",
    "data.dev",
    "data.test",
    "data.max_eval_examples",
    "data.corpus",
    "data.target_language",
    "data.format",
    "data.header",
    "tokenizer.file",
    "model.from",
    "model.pooling",
    "model.n_kv_heads",
    "model.d_head",
    "model.d_ff",
    "model.layer_positions",
    "train.class_weights",
    "train.max_steps",
    "train.patience",
    "train.eval_every_steps",
    "train.checkpoint_every_steps",
    "data.columns.text",
    "data.columns.label",
];

fn is_set(text: &str, key: &str) -> bool {
    let table: toml::Table = text.parse().unwrap_or_default();
    let mut value = Some(toml::Value::Table(table));
    for part in key.split('.') {
        value = value.and_then(|value| value.get(part).cloned());
    }
    value.is_some()
}
