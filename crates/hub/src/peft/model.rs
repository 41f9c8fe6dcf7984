//! The head that an adapter was trained under, where the base has another or none.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, backend::Backend};
use locus_backend::init::deferred;
use locus_backend::params::ParamPath;
use locus_backend::rng::Key;
use locus_heads::{HeadConfig, TagDecoding, TaskModel};
use locus_model::ModelConfig;
use serde_json::Value;

use super::names::task_type;
use super::read::PREFIX;
use super::{CONFIG_FILE, WEIGHTS_FILE};
use crate::config::HeadKind;
use crate::load::family_of;
use crate::{Checkpoint, HubError, Request, Weights, read_config};

/// The file in which we keep the configuration of the adapted model; `peft` passes over it.
pub(crate) const MODEL_FILE: &str = "locus_model.json";

impl Request {
    /// The head of a model.
    pub fn of(config: &ModelConfig) -> Self {
        let labels = config.labels.clone();
        match config.head {
            HeadConfig::TokenClassification { decoding, .. } => Self::Tokens { labels, decoding },
            HeadConfig::SpanClassification { ref spans, .. } => Self::Spans { labels, spans: spans.clone() },
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
            HeadConfig::ReplacedTokens(_) | HeadConfig::SentenceEmbedding(_) | HeadConfig::Bare { .. } => {
                Self::Bare
            }
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
    check_vocabulary(&adapted, &checkpoint.config, dir, adapter)?;
    checkpoint.config = on_stack_of(adapted, checkpoint.config);
    Ok(checkpoint)
}

/// The configuration under which an adapter was trained, with all that its task takes, on the stack and the tokens of its base.
fn on_stack_of(adapted: ModelConfig, base: ModelConfig) -> ModelConfig {
    let ModelConfig { stack, vocab_size, family, token_ids, generation, .. } = base;
    ModelConfig { stack, vocab_size, family, token_ids, generation, ..adapted }
}

/// A model of Locus with the head that an adapter was trained under, as our file in its folder says, and the parameters of that
/// head that the model does not have.
///
/// # Errors
/// If the adapter's file is damaged, or it is of a model with another vocabulary.
pub fn with_adapted_head<B: Backend>(
    dir: &Path,
    (config, model): (ModelConfig, TaskModel<B>),
    adapter: &Path,
    device: &B::Device,
) -> Result<(ModelConfig, TaskModel<B>, Vec<String>), HubError> {
    let Some(adapted) = read_model_file(adapter)? else { return Ok((config, model, Vec::new())) };
    check_vocabulary(&adapted, &config, dir, adapter)?;
    let has_head = adapted.head == config.head && adapted.labels == config.labels;
    let config = on_stack_of(adapted, config);
    if has_head {
        return Ok((config, model, Vec::new()));
    }
    let mut kept = Kept { path: ParamPath::default(), tensors: BTreeMap::new(), lacking: Vec::new() };
    model.visit(&mut kept);
    drop(model);
    // What the model has is moved to its place; only the rest is drawn.
    let draw = || TaskModel::<B>::new(&config.head, &config.stack, config.vocab_size, Key::new(0), device);
    let new = deferred(draw).map(&mut kept);
    Ok((config, new, kept.lacking))
}

/// Moves the tensors of a model to a model with another head.
struct Kept {
    path: ParamPath,
    /// Each a `Tensor<B, D>`.
    tensors: BTreeMap<String, Box<dyn Any>>,
    /// Parameters that the first model does not have.
    lacking: Vec<String>,
}

impl<B: Backend> ModuleVisitor<B> for Kept {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let path = self.path.name();
        // Scores of other labels are of no use.
        if !path.starts_with("classifier.") {
            self.tensors.insert(path, Box::new(param.val()));
        }
    }
}

impl<B: Backend> ModuleMapper<B> for Kept {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (path, dims) = (self.path.name(), param.lazy_shape().dims::<D>());
        let own = self.tensors.remove(&path).and_then(|tensor| tensor.downcast::<Tensor<B, D>>().ok());
        match own.filter(|tensor| tensor.dims() == dims) {
            Some(tensor) => Param::initialized(param.id, *tensor),
            None => {
                self.lacking.push(path);
                Param::map(param, |drawn| drawn)
            }
        }
    }
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
    check(&adapted, path)?;
    Ok(Some(adapted))
}

/// That there can be such a model.
fn check(config: &ModelConfig, path: PathBuf) -> Result<(), HubError> {
    let problems = config.check().into_iter();
    let problems: Vec<String> =
        problems.map(|p| format!("{} = {}: expected {}", p.key, p.found, p.allowed)).collect();
    if problems.is_empty() { Ok(()) } else { Err(HubError::Config { path, problems }) }
}

/// That the model of an adapter has the vocabulary of this one, and a head that can stand on its stack.
fn check_vocabulary(
    adapted: &ModelConfig,
    config: &ModelConfig,
    dir: &Path,
    adapter: &Path,
) -> Result<(), HubError> {
    let (found, expected) = (adapted.vocab_size, config.vocab_size);
    if found == expected {
        let on_stack = ModelConfig { stack: config.stack.clone(), ..adapted.clone() };
        return check(&on_stack, adapter.join(MODEL_FILE));
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
            Some(rest) => format!("{PREFIX}{}{rest}", family.prefix_of(kind)),
            None => format!("{PREFIX}{}", key.theirs),
        };
        weights.shape(&name).and_then(|shape| shape.first().copied())
    });
    // No head has more: far above any.
    Ok(found.filter(|n| (1..=1 << 20).contains(n)))
}

#[cfg(test)]
mod tests {
    use locus_encoder::StackConfig;
    use locus_heads::HeadConfig;
    use locus_model::{ModelConfig, Packing};

    use super::on_stack_of;

    #[test]
    fn all_but_stack_and_tokens_is_as_the_adapter_was_trained() {
        let config = |d_model, head| {
            let stack = StackConfig { d_model, ..StackConfig::default() };
            ModelConfig::new(head, Vec::new(), 11, stack)
        };
        let mut base = config(12, HeadConfig::Bare { form: Default::default(), pooler: None });
        base.family = Some("mistral".to_owned());
        let head = HeadConfig::QuestionAnswering { layers: Default::default() };
        let mut adapted = config(20, head);
        adapted.questions.no_answer_threshold = Some(0.25);
        adapted.questions.max_query_tokens = Some(5);
        adapted.objective = Some(serde_json::json!("mlm"));
        adapted.out_of_scope = Some("none".to_owned());
        adapted.target_language = Some("de".to_owned());
        adapted.packing = Packing::Documents;
        adapted.thresholds = vec![0.3];
        adapted.n_spare_tokens = 2;
        let want = ModelConfig { stack: base.stack.clone(), family: base.family.clone(), ..adapted.clone() };
        assert_eq!(on_stack_of(adapted, base), want);
    }
}
