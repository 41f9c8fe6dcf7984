//! From a folder to a model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use locus_backend::init::deferred;
use locus_backend::params::ParamPath;
use locus_backend::rng::Key;
use locus_embedding::position::{Form, PositionConfig};
use locus_encoder::StackConfig;
use locus_heads::{HeadConfig, TaskModel};
use locus_model::ModelConfig;
use serde_json::Value;

use crate::config::{CONFIG_FILE, Checkpoint, HeadKind, Request};
use crate::families::{Family, ZEROS_IF_MISSING, family};
use crate::keys::{Link, Links, is_of_stack};
use crate::permute::Parts;
use crate::{HubError, Weights, generation};

/// A loaded checkpoint.
#[derive(Debug)]
pub struct Loaded<B: Backend> {
    /// Its configuration.
    pub checkpoint: Checkpoint,
    /// The model.
    pub model: TaskModel<B>,
    /// Tensors of the file that the model has no place for: of another head, or written twice.
    pub dropped: Vec<String>,
    /// Parameters of a head that the checkpoint does not have; they were drawn anew.
    pub new: Vec<String>,
}

/// Whether a folder looks like a checkpoint of `transformers` rather than a model folder of Locus: it has a `config.json` whose
/// `model_type` is not `locus`. One that cannot be read is taken for a checkpoint's too: reading it says what is wrong.
pub fn is_checkpoint(dir: &Path) -> bool {
    let path = dir.join(CONFIG_FILE);
    let json = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    json.map_or_else(|| path.is_file(), |json| json["model_type"] != "locus")
}

/// Loads a checkpoint as it was saved.
///
/// # Errors
/// If the folder is not a checkpoint of a known family, or its weights are not exactly those of its configuration.
pub fn load<B: Backend>(dir: &Path, device: &B::Device) -> Result<Loaded<B>, HubError> {
    load_with(dir, None, Key::new(0), device)
}

/// Loads a checkpoint; with a `request` with another head, whose weights are drawn from the key where the checkpoint does not
/// have them.
///
/// # Errors
/// As [`load`], and if the family does not have the head.
pub fn load_with<B: Backend>(
    dir: &Path,
    request: Option<&Request>,
    key: Key,
    device: &B::Device,
) -> Result<Loaded<B>, HubError> {
    load_checkpoint(dir, read_config(dir, request)?, key, device)
}

/// Reads the configuration of a checkpoint, with a `request` with another head. A head for numbers that is kept gives them as
/// they are, whatever scale the request has.
///
/// # Errors
/// As [`Checkpoint::read`].
pub fn read_config(dir: &Path, request: Option<&Request>) -> Result<Checkpoint, HubError> {
    let mut checkpoint = Checkpoint::read(dir, request)?;
    let (generation, token_ids) = generation::read(dir, &checkpoint.json, checkpoint.config.vocab_size)?;
    (checkpoint.config.generation, checkpoint.config.token_ids) = (generation, token_ids);
    // `transformers` gives texts to a decoder as its tokenizer frames them.
    checkpoint.config.add_bos_token = checkpoint.config.head.forms() == [Form::Causal];
    if let (HeadConfig::Regression { mean, std, .. }, false) =
        (&mut checkpoint.config.head, checkpoint.other_head)
    {
        (*mean, *std) = (0.0, 1.0);
    }
    Ok(checkpoint)
}

/// Loads the weights of a configuration that was read before, and perhaps changed in what has no weights, such as dropout. A
/// model without a head may lack its pooler, as those of many who need vectors of tokens only; it has none then.
///
/// # Errors
/// As [`load`].
pub fn load_checkpoint<B: Backend>(
    dir: &Path,
    mut checkpoint: Checkpoint,
    key: Key,
    device: &B::Device,
) -> Result<Loaded<B>, HubError> {
    let weights = Weights::open(dir)?;
    if let HeadConfig::Bare { pooler, .. } = &mut checkpoint.config.head {
        let is_left_out = !checkpoint.other_head && !has_pooler(&weights);
        *pooler = pooler.take().filter(|_| !is_left_out);
    }
    let wrong = |problems| HubError::Weights { path: dir.to_owned(), problems };
    let config = &checkpoint.config;
    if let Some(problem) = too_large(config, &weights) {
        return Err(wrong(vec![problem]));
    }
    // What the files have is read into its place; only the rest is drawn.
    let model = deferred(|| TaskModel::<B>::new(&config.head, &config.stack, config.vocab_size, key, device));
    let plan = Plan::new(&checkpoint, &weights, parameters(&model)).map_err(wrong)?;
    let mut fill = Fill { path: ParamPath::default(), plan: &plan, weights: &weights, problems: Vec::new() };
    let model = model.map(&mut fill);
    if !fill.problems.is_empty() {
        return Err(wrong(fill.problems));
    }
    let Plan { dropped, new, .. } = plan;
    Ok(Loaded { checkpoint, model, dropped, new })
}

/// Whether files have the layer that BERT and its kin have above a model without a head.
pub(crate) fn has_pooler(weights: &Weights) -> bool {
    weights.names().any(|name| name.contains("pooler."))
}

/// What to say where a configuration describes far more numbers than there are: a slip, or a folder that means harm. It is found
/// before anything is allocated.
fn too_large(config: &ModelConfig, weights: &Weights) -> Option<String> {
    let stack = &config.stack;
    let mut stacks = vec![stack.clone()];
    if config.head.forms().len() == 2 {
        stacks.push(stack.of_decoder());
    }
    // Each block has tensors of its own, however small.
    let (n_blocks, n_tensors) =
        (stacks.iter().map(StackConfig::n_blocks).sum::<usize>(), weights.names().count());
    if n_blocks > n_tensors {
        return Some(format!("config.json describes {n_blocks} blocks, the files have {n_tensors} tensors"));
    }
    let of_tokens = config.vocab_size as f64 * stack.embedding_width() as f64;
    let of_labels = config.head.n_labels().unwrap_or(1) as f64 * stack.d_model as f64;
    let described = of_tokens + of_labels + stacks.iter().map(n_numbers).sum::<f64>();
    let found = weights.n_numbers() as f64;
    // A new head may add a second table of tokens; tiny models do not matter.
    (described > 2.0 * found + 1e7).then(|| {
        format!("config.json describes a model of at least {described:.0} numbers, the files have {found:.0}")
    })
}

/// How many numbers a stack has at least, without its tokens.
fn n_numbers(stack: &StackConfig) -> f64 {
    let (d_model, d_ff, width) = (stack.d_model as f64, stack.d_ff() as f64, stack.embedding_width() as f64);
    let of_attention = 2.0 * d_model * ((stack.n_heads + stack.n_kv_heads()) * stack.d_head()) as f64;
    let of_positions = |scheme: &PositionConfig| match scheme {
        PositionConfig::Learned(_) => stack.max_seq_len as f64 * width,
        PositionConfig::Deberta(config) => 2.0 * config.span as f64 * d_model,
        PositionConfig::Shaw(config) => (2.0 * config.max_distance as f64 + 1.0) * stack.d_head() as f64,
        PositionConfig::T5(config) => config.n_buckets as f64 * stack.n_heads as f64,
        _ => 0.0,
    };
    let of_positions: f64 = stack.schemes().0.iter().map(of_positions).sum();
    let of_segments = stack.n_segments as f64 * width;
    of_segments + of_positions + stack.n_blocks() as f64 * (of_attention + 2.0 * d_model * d_ff)
}

/// The names and shapes of a model's parameters.
pub(crate) fn parameters<B: Backend>(model: &TaskModel<B>) -> BTreeMap<String, Vec<usize>> {
    struct Shapes(ParamPath, BTreeMap<String, Vec<usize>>);
    impl<B: Backend> ModuleVisitor<B> for Shapes {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.0.leave(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.1.insert(self.0.name(), param.lazy_shape().dims::<D>().to_vec());
        }
    }
    let mut shapes = Shapes(ParamPath::default(), BTreeMap::new());
    model.visit(&mut shapes);
    shapes.1
}

/// The links of a model of a family.
pub(crate) fn links(
    family: &Family,
    checkpoint: &Checkpoint,
    prefix: &str,
    ours: &BTreeMap<String, Vec<usize>>,
) -> Links {
    let kind = HeadKind::of(&checkpoint.config.head);
    // A head that only became one of ours has its own names.
    let named = if checkpoint.other_head { kind } else { checkpoint.saved_head };
    let stack = &checkpoint.config.stack;
    let n_layers = stack.n_layers.max(stack.of_decoder().n_layers);
    Links::new(family, [kind, named], prefix, ours, n_layers)
}

/// Which tensor each parameter is read from.
struct Plan {
    ours: BTreeMap<String, Vec<usize>>,
    links: Vec<Link>,
    /// For each parameter a link and which part of it.
    sources: BTreeMap<String, (usize, usize)>,
    n_heads: usize,
    dropped: Vec<String>,
    new: Vec<String>,
}

impl Plan {
    fn new(
        checkpoint: &Checkpoint,
        weights: &Weights,
        ours: BTreeMap<String, Vec<usize>>,
    ) -> Result<Self, Vec<String>> {
        let Some(family) = family_of(checkpoint) else { return Err(vec!["an unknown family".to_owned()]) };
        // A stack that was saved alone has no prefix, whatever head it gets; some files of stacks alone have it.
        let is_there = |prefix: &&str| weights.names().any(|name| name.starts_with(*prefix));
        let prefix = family.prefixes().find(is_there).unwrap_or_default();
        let all = links(family, checkpoint, prefix, &ours);
        let links = &all.links;
        let kind = HeadKind::of(&checkpoint.config.head);
        let mut plan = Self {
            ours,
            links: links.clone(),
            sources: BTreeMap::new(),
            n_heads: checkpoint.config.stack.n_heads,
            dropped: Vec::new(),
            new: Vec::new(),
        };
        let (mut used, mut problems) = (BTreeSet::new(), Vec::new());
        for (idx, link) in links.iter().enumerate() {
            let (Some(found), Some(want)) = (weights.shape(&link.theirs), plan.parts(link).whole()) else {
                continue;
            };
            let of_head = !link.ours.iter().any(|name| is_of_stack(kind, name));
            used.insert(link.theirs.clone());
            // Scores of other labels, or of another task, are of no use, whatever their shape.
            let of_scores = link.ours.iter().any(|name| name.starts_with("classifier."));
            if checkpoint.other_head && (of_scores || (of_head && found != want)) {
                plan.dropped.push(link.theirs.clone());
                continue;
            }
            if found != want {
                problems.push(format!("{} is {found:?}, expected {want:?}", link.theirs));
            }
            problems.extend(weights.wrong_type(&link.theirs));
            for (part, name) in link.ours.iter().enumerate() {
                plan.sources.entry(name.clone()).or_insert((idx, part));
            }
        }
        for name in weights.names().filter(|name| !used.contains(*name)) {
            if all.may_drop(name) {
                plan.dropped.push(name.to_owned());
            } else {
                problems.push(format!("{name} is not a tensor of this model"));
            }
        }
        for name in plan.ours.keys().filter(|name| !plan.sources.contains_key(*name)) {
            // No family has learned steps between labels, or numbers beside a text.
            let is_new = name.starts_with("crf.")
                || name.starts_with("features.")
                || (checkpoint.other_head && !is_of_stack(kind, name));
            if is_new {
                plan.new.push(name.clone());
                continue;
            }
            let theirs = links.iter().find(|link| link.ours.contains(name)).map(|link| link.theirs.as_str());
            // A new model's are zeros.
            if theirs.is_some_and(|theirs| ZEROS_IF_MISSING.contains(&theirs)) {
                continue;
            }
            problems.push(format!("{} is missing", theirs.unwrap_or(name)));
        }
        plan.dropped.sort();
        problems.sort();
        problems.dedup();
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }

    fn parts(&self, link: &Link) -> Parts<'_> {
        parts(link, &self.ours, self.n_heads)
    }
}

/// The parts of a link.
pub(crate) fn parts<'a>(link: &Link, ours: &'a BTreeMap<String, Vec<usize>>, n_heads: usize) -> Parts<'a> {
    let shapes = link.ours.iter().filter_map(|name| ours.get(name).map(Vec::as_slice)).collect();
    Parts { shapes, how: link.how, n_heads }
}

pub(crate) fn family_of(checkpoint: &Checkpoint) -> Option<&'static Family> {
    checkpoint.json.get("model_type").and_then(Value::as_str).and_then(family)
}

/// Replaces the parameters of a new model by those of the file.
struct Fill<'a> {
    path: ParamPath,
    plan: &'a Plan,
    weights: &'a Weights,
    problems: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for Fill<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.leave(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(&(idx, part)) = self.plan.sources.get(&self.path.name()) else {
            // Drawn here, where there is one of it.
            return Param::map(param, |drawn| drawn);
        };
        let link = &self.plan.links[idx];
        let (id, device, dims) = (param.id, param.lazy_device(), param.lazy_shape().dims::<D>());
        let trained = !param.is_initialized() || param.is_require_grad();
        // Before the new one is made.
        drop(param);
        let values = match self.weights.read(&link.theirs) {
            Ok(values) => self.plan.parts(link).take(values, part),
            Err(problem) => {
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                vec![0.0; dims.iter().product()]
            }
        };
        let tensor = Tensor::from_data(TensorData::new(values, dims), &device);
        Param::initialized(id, tensor.set_require_grad(trained))
    }
}
