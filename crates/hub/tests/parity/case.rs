//! A golden file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use locus_embedding::Tokens;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use super::draw::unit;

/// A tensor of the checkpoint.
pub(crate) struct Param {
    pub(crate) shape: Vec<usize>,
    mean: f64,
    std: f64,
    /// Norm of its gradient, and its products with three drawn vectors; none of a buffer.
    pub(crate) grad: Option<(f64, [f64; 3])>,
}

impl Param {
    pub(crate) fn read(param: &Value) -> Self {
        let grad = param
            .get("grad")
            .map(|grad| (grad["norm"].as_f64().unwrap(), numbers(&grad["dots"]).try_into().unwrap()));
        let number = |key: &str| param[key].as_f64().unwrap();
        Self { shape: sizes(&param["shape"]), mean: number("mean"), std: number("std"), grad }
    }

    pub(crate) fn draw(&self, name: &str) -> Vec<f32> {
        let n: usize = self.shape.iter().product();
        let value = |i| (self.mean + self.std * 3.0_f64.sqrt() * unit(name, i)) as f32;
        (0..n as u64).map(value).collect()
    }
}

/// One family, variant and head.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) config: Value,
    pub(crate) params: BTreeMap<String, Param>,
    pub(crate) inputs: Value,
    pub(crate) head: String,
    pub(crate) variant: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

pub(crate) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The golden files that there must be, in order.
const GOLDENS: &str = include_str!("goldens.txt");

/// All golden files, by name; of one family where `LOCUS_CHECKPOINTS` names it.
pub(crate) fn cases() -> Vec<Case> {
    let only = std::env::var("LOCUS_CHECKPOINTS").unwrap_or_default();
    let names = GOLDENS.lines().filter(|name| name.starts_with(&only));
    names.map(|name| Case::read(&golden().join(format!("{name}.json")))).collect()
}

#[test]
fn the_list_of_goldens_is_that_of_the_files() {
    let mut found: Vec<String> = golden()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json") && !path.ends_with("hash.json"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, GOLDENS.lines().collect::<Vec<_>>());
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn sizes(value: &Value) -> Vec<usize> {
    numbers(value).iter().map(|x| *x as usize).collect()
}

impl Case {
    pub(crate) fn read(path: &Path) -> Self {
        let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        Self::of(path, &json)
    }

    /// What a golden file says.
    pub(crate) fn of(path: &Path, json: &Value) -> Self {
        let param = |(name, param): (&String, &Value)| (name.clone(), Param::read(param));
        let (_, output) = json["outputs"].as_object().unwrap().iter().next().unwrap();
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            config: json["config"].clone(),
            params: json["params"].as_object().unwrap().iter().map(param).collect(),
            inputs: json["inputs"].clone(),
            head: json["head"].as_str().unwrap().to_owned(),
            variant: json["variant"].as_str().unwrap_or_default().to_owned(),
            shape: sizes(&output["shape"]),
            values: numbers(&output["values"]),
        }
    }

    pub(crate) fn model_type(&self) -> &str {
        self.config["model_type"].as_str().unwrap()
    }

    /// An encoder and a decoder without a head: here they have one that writes.
    pub(crate) fn has_new_output(&self) -> bool {
        self.head == "bare" && self.inputs.get("decoder_input_ids").is_some()
    }

    /// The name that a tensor is written under. Heads that become one of ours are written as that.
    pub(crate) fn written(&self, name: &str) -> String {
        let renamed = |from: &str, to: &str| name.split_once(from).map(|(_, rest)| format!("{to}{rest}"));
        let renamed = match (self.head.as_str(), self.model_type()) {
            ("multiple_choice", "roberta" | "xlm-roberta" | "mpnet") => {
                renamed("pooler.", "classifier.").or_else(|| renamed("classifier.", "classifier.out_proj."))
            }
            ("multiple_choice", "electra") => renamed("sequence_summary.summary.", "classifier.dense.")
                .or_else(|| renamed("classifier.", "classifier.out_proj.")),
            ("next_sentence", _) => renamed("cls.seq_relationship.", "classifier."),
            ("bare", "bart") => Some(format!("model.{name}")),
            ("masked_lm", "deberta-v2") => renamed("lm_predictions.lm_head.bias", "cls.predictions.bias")
                .or_else(|| renamed("lm_predictions.lm_head.", "cls.predictions.transform.")),
            _ => None,
        };
        renamed.unwrap_or_else(|| name.to_owned())
    }

    /// What the class has but does not read.
    pub(crate) fn unread(&self) -> Vec<&str> {
        let is_unread = |(name, param): &(&String, &Param)| {
            self.variant.starts_with("relative_key")
                && name.ends_with(".position_embeddings.weight")
                && param.grad.is_some_and(|(norm, _)| norm == 0.0)
        };
        self.params.iter().filter(is_unread).map(|(name, _)| name.as_str()).collect()
    }

    /// Writes the folder as `transformers` would.
    pub(crate) fn write(&self, dir: &Path) {
        self.write_as(dir, &self.config, |name| name);
    }

    /// Writes the folder with another configuration, or with values that are those of another tensor.
    pub(crate) fn write_as<'a>(&'a self, dir: &Path, config: &Value, source: impl Fn(&'a str) -> &'a str) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let bytes_of = |name: &str| -> Vec<u8> {
            self.params[name].draw(name).iter().flat_map(|x| x.to_le_bytes()).collect()
        };
        let bytes: BTreeMap<&String, Vec<u8>> =
            self.params.keys().map(|name| (name, bytes_of(source(name)))).collect();
        let views = self.params.iter().map(|(name, param)| {
            (name.clone(), TensorView::new(Dtype::F32, param.shape.clone(), &bytes[name]).unwrap())
        });
        std::fs::write(dir.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    fn rows(&self, key: &str) -> Option<(usize, Vec<f64>)> {
        let rows = self.inputs.get(key)?.as_array()?;
        Some((rows.len(), rows.iter().flat_map(numbers).collect()))
    }

    /// What the encoder or the decoder alone reads.
    pub(crate) fn tokens(&self) -> Tokens {
        let (batch, ids) = self.rows("input_ids").unwrap();
        let seq = ids.len() / batch;
        let keep = match self.rows("attention_mask") {
            Some((_, mask)) => mask.iter().map(|keep| *keep == 1.0).collect(),
            None => vec![true; ids.len()],
        };
        let integers = |values: Vec<f64>| values.iter().map(|x| *x as u32).collect::<Vec<_>>();
        let segments = self.rows("token_type_ids").map(|(_, ids)| integers(ids));
        let tokens = Tokens::new([batch, seq], integers(ids), keep, segments).unwrap();
        if let Some((_, positions)) = self.rows("position_ids") {
            assert_eq!(tokens.positions, positions, "{}: the same positions", self.name);
        }
        tokens
    }

    /// What the decoder of an encoder–decoder reads.
    pub(crate) fn target(&self) -> Option<Tokens> {
        let (batch, ids) = self.rows("decoder_input_ids")?;
        let n = ids.len();
        let ids = ids.iter().map(|x| *x as u32).collect();
        Some(Tokens::new([batch, n / batch], ids, vec![true; n], None).unwrap())
    }

    /// Frequencies that follow the length of a text: with us of each row, in transformers of the longest in the batch. So only the
    /// longest can be compared.
    pub(crate) fn counts_by_row(&self) -> bool {
        ["llama-dynamic-causal_lm", "llama-longrope-causal_lm"].contains(&self.name.as_str())
    }

    /// For each value of the output whether it counts: not at padding.
    pub(crate) fn keep(&self) -> Vec<bool> {
        let n: usize = self.shape.iter().product();
        if self.shape.len() < 3 || self.inputs.get("decoder_input_ids").is_some() {
            return vec![true; n];
        }
        let mut keep = self.tokens().keep;
        if self.counts_by_row() {
            keep[self.tokens().seq..].fill(false);
        }
        let width = n / keep.len();
        keep.iter().flat_map(|&keep| std::iter::repeat_n(keep, width)).collect()
    }
}
