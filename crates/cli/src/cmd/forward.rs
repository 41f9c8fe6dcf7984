//! `locus forward`.

use std::path::Path;

use anyhow::{Context, bail};
use burn::tensor::backend::AutodiffBackend;
use locus_backend::device::{Job, run_on};
use locus_embedding::Tokens;
use locus_heads::{HeadConfig, HostArray};
use locus_model::ModelConfig;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde_json::Value;

use super::{load_model, say};
use crate::UsageError;
use crate::args::ForwardArgs;

pub(crate) fn run(args: &ForwardArgs) -> anyhow::Result<()> {
    let device = &args.device;
    run_on(device.backend.as_deref(), device.device.as_deref(), Forward(args))?
}

struct Forward<'a>(&'a ForwardArgs);

impl Job for Forward<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let args = self.0;
        let ids = Ids::read(&args.ids)?;
        let (tokens, target) = ids.tokens(&args.ids)?;
        let (config, model) = load_model::<B::InnerBackend>(&args.model, &args.adapters, &device)?;
        check_read(&args.ids, &config, &tokens, target.as_ref())?;
        let outputs = model.outputs(&tokens, target.as_ref())?;
        let mut named: Vec<(&str, HostArray)> = Vec::new();
        named.extend(outputs.logits.map(|logits| ("logits", logits)));
        if args.hidden || named.is_empty() {
            named.push(("last_hidden_state", outputs.hidden));
        }
        write(&args.out, &named)?;
        for (name, array) in &named {
            say(format_args!("{name} {:?}", array.shape))?;
        }
        Ok(())
    }
}

/// What the file holds, under the names of transformers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ids {
    input_ids: Vec<Vec<u32>>,
    attention_mask: Option<Vec<Vec<u8>>>,
    token_type_ids: Option<Vec<Vec<u32>>>,
    decoder_input_ids: Option<Vec<Vec<u32>>>,
}

impl Ids {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let wrong = |error: serde_json::Error| {
            UsageError(format!(
                "{}: expected rows of ids, [[1, 2], [3, 4]], or an object with input_ids and perhaps attention_mask, \
                 token_type_ids, decoder_input_ids: {error}",
                path.display()
            ))
        };
        let json: Value = serde_json::from_str(&text).map_err(wrong)?;
        let json = if json.is_array() { serde_json::json!({ "input_ids": json }) } else { json };
        Ok(serde_json::from_value(json).map_err(wrong)?)
    }

    fn tokens(self, path: &Path) -> anyhow::Result<(Tokens, Option<Tokens>)> {
        let path = path.display();
        let shape = |name: &str, rows: &[Vec<u32>]| {
            let seq = rows.first().map_or(0, Vec::len);
            match rows.iter().position(|row| row.len() != seq) {
                None => Ok([rows.len(), seq]),
                Some(row) => bail!(UsageError(format!(
                    "{path}: row {row} of {name} has {} ids, row 0 has {seq}; pad the shorter one and say so in attention_mask",
                    rows[row].len()
                ))),
            }
        };
        let [batch, seq] = shape("input_ids", &self.input_ids)?;
        check_shape(&path, "attention_mask", self.attention_mask.as_deref(), [batch, seq])?;
        check_shape(&path, "token_type_ids", self.token_type_ids.as_deref(), [batch, seq])?;
        let keep = match self.attention_mask {
            Some(mask) => mask.concat().into_iter().map(|keep| keep != 0).collect(),
            None => vec![true; batch * seq],
        };
        let segments = self.token_type_ids.map(|rows| rows.concat());
        let tokens = Tokens::new([batch, seq], self.input_ids.concat(), keep, segments)
            .map_err(|error| UsageError(format!("{path}: {error}")))?;
        let target = self.decoder_input_ids.map(|rows| {
            let shape = shape("decoder_input_ids", &rows)?;
            let keep = vec![true; shape[0] * shape[1]];
            Ok::<_, anyhow::Error>(Tokens::new(shape, rows.concat(), keep, None)?)
        });
        Ok((tokens, target.transpose()?))
    }
}

/// That the model reads all that is given.
fn check_read(
    path: &Path,
    config: &ModelConfig,
    tokens: &Tokens,
    target: Option<&Tokens>,
) -> Result<(), UsageError> {
    let mut problems = Vec::new();
    if target.is_some() && !matches!(config.head, HeadConfig::Seq2Seq { .. }) {
        problems.push(
            "decoder_input_ids: this model has no decoder that reads a text of its own; leave them out",
        );
    }
    if tokens.segments.is_some() && config.stack.n_segments == 0 {
        // GPT-2 of transformers adds the vectors of the tokens of these ids.
        problems.push("token_type_ids: this model has no vectors of segments; leave them out");
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(UsageError(format!("{}: {}", path.display(), problems.join("; "))))
}

/// That there is a number for each id.
fn check_shape<T>(
    path: &std::path::Display<'_>,
    name: &str,
    rows: Option<&[Vec<T>]>,
    [batch, seq]: [usize; 2],
) -> Result<(), UsageError> {
    let Some(rows) = rows else { return Ok(()) };
    if rows.len() != batch {
        let found = rows.len();
        return Err(UsageError(format!("{path}: {name} has {found} rows, expected {batch}, as input_ids")));
    }
    match rows.iter().position(|row| row.len() != seq) {
        None => Ok(()),
        Some(row) => {
            let found = rows[row].len();
            let problem =
                format!("row {row} of {name} has {found} numbers, expected {seq}, as row {row} of input_ids");
            Err(UsageError(format!("{path}: {problem}")))
        }
    }
}

fn write(path: &Path, named: &[(&str, HostArray)]) -> anyhow::Result<()> {
    let bytes: Vec<Vec<u8>> =
        named.iter().map(|(_, array)| array.values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let mut views = Vec::new();
    for ((name, array), bytes) in named.iter().zip(&bytes) {
        views.push((*name, TensorView::new(Dtype::F32, array.shape.clone(), bytes)?));
    }
    Ok(locus_model::write_file(path, &safetensors::serialize(views, None)?)?)
}
