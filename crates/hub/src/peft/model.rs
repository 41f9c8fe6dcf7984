//! The head that an adapter was trained under, where the base has another or none.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::params::ParamPath;
use locus_backend::rng::Key;
use locus_heads::{HeadConfig, HostAdapter, HostArray, TagDecoding, TaskModel};
use locus_model::ModelConfig;
use serde_json::Value;

use super::names::task_type;
use super::read::PREFIX;
use super::{CONFIG_FILE, WEIGHTS_FILE};
use crate::config::HeadKind;
use crate::load::{family_of, parameters};
use crate::{Checkpoint, HubError, Request, Weights, read_config};

/// The file in which we keep the configuration of the adapted model; `peft` passes over it.
pub(crate) const MODEL_FILE: &str = "locus_model.json";

impl Request {
    /// The head of a model.
    pub fn of(config: &ModelConfig) -> Self {
        let labels = config.labels.clone();
        match config.head {
            HeadConfig::TokenClassification { decoding, .. } => Self::Tokens { labels, decoding },
            HeadConfig::SequenceClassification { .. } => Self::Label(labels),
            HeadConfig::MultiLabelClassification { .. } => Self::Labels(labels),
            HeadConfig::Regression { mean, std, .. } => Self::Number { mean, std },
            HeadConfig::Ranking { loss, score, ref features, .. } => {
                Self::Ranking { loss, score, features: features.clone() }
            }
            HeadConfig::QuestionAnswering { .. } => Self::Answer,
            HeadConfig::MaskedLm { .. } => Self::MaskedLm,
            HeadConfig::CausalLm { .. } => Self::CausalLm,
            HeadConfig::Seq2Seq { .. } => Self::Seq2SeqLm,
            HeadConfig::SentenceEmbedding(_) | HeadConfig::Bare { .. } => Self::Bare,
        }
    }
}

/// The file of an adapter folder that says which head the adapter was trained under: its name and its text.
///
/// # Errors
/// If the configuration cannot be written as JSON.
pub fn adapted_model(config: &ModelConfig) -> Result<(&'static str, String), serde_json::Error> {
    Ok((MODEL_FILE, serde_json::to_string_pretty(config)?))
}

/// The configuration of a checkpoint with the head that an adapter was trained under: as our file in its folder says, or as
/// the task and the scores of `peft`'s files do, with labels `LABEL_0` and so on; else with the checkpoint's own.
///
/// # Errors
/// As [`read_config`], and if the adapter's file is damaged.
pub fn read_adapted_config(dir: &Path, adapter: &Path) -> Result<Checkpoint, HubError> {
    let Some(adapted) = read_model_file(adapter)? else {
        let own = read_config(dir, None)?;
        let request = request_of_task(&own, adapter)?;
        return request.map_or(Ok(own), |request| read_config(dir, Some(&request)));
    };
    let mut checkpoint = read_config(dir, Some(&Request::of(&adapted)))?;
    let config = &mut checkpoint.config;
    check_vocabulary(&adapted, config, dir, adapter)?;
    (config.head, config.labels) = (adapted.head, adapted.labels);
    (config.thresholds, config.n_spare_tokens) = (adapted.thresholds, adapted.n_spare_tokens);
    Ok(checkpoint)
}

/// A model of Locus with the head that an adapter was trained under, as our file in its folder says, and the parameters of that
/// head that the model does not have.
///
/// # Errors
/// If the adapter's file is damaged, or it is of a model with another vocabulary.
pub fn with_adapted_head<B: Backend>(
    dir: &Path,
    (mut config, model): (ModelConfig, TaskModel<B>),
    adapter: &Path,
    device: &B::Device,
) -> Result<(ModelConfig, TaskModel<B>, Vec<String>), HubError> {
    let Some(adapted) = read_model_file(adapter)? else { return Ok((config, model, Vec::new())) };
    check_vocabulary(&adapted, &config, dir, adapter)?;
    let has_head = adapted.head == config.head && adapted.labels == config.labels;
    config.thresholds = adapted.thresholds;
    if has_head {
        return Ok((config, model, Vec::new()));
    }
    (config.head, config.labels) = (adapted.head, adapted.labels);
    let mut new = TaskModel::<B>::new(&config.head, &config.stack, config.vocab_size, Key::new(0), device);
    let shapes = parameters(&new);
    let mut kept = values(&model);
    kept.retain(|path, array| shapes.get(path) == Some(&array.shape) && !path.starts_with("classifier."));
    let lacking = shapes.keys().filter(|path| !kept.contains_key(*path)).cloned().collect();
    let kept = HostAdapter { saved: kept, ..HostAdapter::default() };
    let path = adapter.to_owned();
    new.add_adapter("kept", &kept).map_err(|problems| HubError::Adapter { path, problems })?;
    Ok((config, new, lacking))
}

/// The values of all parameters.
fn values<B: Backend>(model: &TaskModel<B>) -> BTreeMap<String, HostArray> {
    struct Values(ParamPath, BTreeMap<String, HostArray>);
    impl<B: Backend> ModuleVisitor<B> for Values {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.0.leave(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.1.insert(self.0.name(), param.val().into());
        }
    }
    let mut values = Values(ParamPath::default(), BTreeMap::new());
    model.visit(&mut values);
    values.1
}

fn read_model_file(adapter: &Path) -> Result<Option<ModelConfig>, HubError> {
    let path = adapter.join(MODEL_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(HubError::io("read", &path))?;
    let adapted: ModelConfig = serde_json::from_str(&text).map_err(|error| HubError::Config {
        path: path.clone(),
        problems: vec![format!("expected the configuration of a model: {error}")],
    })?;
    let problems = adapted.check().into_iter();
    let problems: Vec<String> =
        problems.map(|p| format!("{} = {}: expected {}", p.key, p.found, p.allowed)).collect();
    if problems.is_empty() { Ok(Some(adapted)) } else { Err(HubError::Config { path, problems }) }
}

fn check_vocabulary(
    adapted: &ModelConfig,
    config: &ModelConfig,
    dir: &Path,
    adapter: &Path,
) -> Result<(), HubError> {
    let (found, expected) = (adapted.vocab_size, config.vocab_size);
    if found == expected {
        return Ok(());
    }
    let problem = format!("vocab_size = {found}: expected {expected}, as {}", dir.display());
    Err(HubError::Config { path: adapter.join(MODEL_FILE), problems: vec![problem] })
}

/// The head of the task that an adapter of `peft` was trained for, where the checkpoint has another or other labels.
fn request_of_task(own: &Checkpoint, adapter: &Path) -> Result<Option<Request>, HubError> {
    const KINDS: [HeadKind; 6] = [
        HeadKind::Bare,
        HeadKind::CausalLm,
        HeadKind::SequenceClassification,
        HeadKind::TokenClassification,
        HeadKind::QuestionAnswering,
        HeadKind::Seq2SeqLm,
    ];
    // What is wrong with the files is said where they are read.
    let json = std::fs::read_to_string(adapter.join(CONFIG_FILE)).ok();
    let json = json.and_then(|text| serde_json::from_str::<Value>(&text).ok()).unwrap_or_default();
    let kind = json["task_type"]
        .as_str()
        .and_then(|task| KINDS.into_iter().find(|kind| task_type(*kind) == Some(task)));
    let Some(kind) = kind else { return Ok(None) };
    let is_own = HeadKind::of(&own.config.head) == kind;
    let request = match kind {
        HeadKind::SequenceClassification | HeadKind::TokenClassification => {
            let n_labels = n_labels(own, kind, adapter)?;
            let Some(n_labels) = n_labels.filter(|n| !is_own || own.config.labels.len().max(1) != *n) else {
                return Ok(None);
            };
            let labels: Vec<String> = (0..n_labels).map(|label| format!("LABEL_{label}")).collect();
            match kind {
                HeadKind::TokenClassification => Request::Tokens { labels, decoding: TagDecoding::default() },
                _ if n_labels == 1 => Request::Number { mean: 0.0, std: 1.0 },
                _ => Request::Label(labels),
            }
        }
        _ if is_own => return Ok(None),
        HeadKind::QuestionAnswering => Request::Answer,
        HeadKind::CausalLm => Request::CausalLm,
        HeadKind::Seq2SeqLm => Request::Seq2SeqLm,
        HeadKind::MaskedLm => Request::MaskedLm,
        _ => Request::Bare,
    };
    Ok(Some(request))
}

/// How many scores an adapter's own head gives; none where it brings no head.
fn n_labels(own: &Checkpoint, kind: HeadKind, adapter: &Path) -> Result<Option<usize>, HubError> {
    let path = adapter.join(WEIGHTS_FILE);
    let Some(family) = family_of(own).filter(|_| path.is_file()) else { return Ok(None) };
    let weights = Weights::open_file(&path)?;
    let of_kind = family.heads.iter().filter(|(kinds, _)| kinds.contains(&kind)).flat_map(|(_, keys)| *keys);
    let mut scores = of_kind.filter(|key| key.ours == ["classifier.weight"]);
    let found = scores.find_map(|key| {
        let name = match key.theirs.strip_prefix("*.") {
            Some(rest) => format!("{PREFIX}{}{rest}", family.prefix),
            None => format!("{PREFIX}{}", key.theirs),
        };
        weights.shape(&name).and_then(|shape| shape.first().copied())
    });
    // No head has more: far above any.
    Ok(found.filter(|n| (1..=1 << 20).contains(n)))
}
