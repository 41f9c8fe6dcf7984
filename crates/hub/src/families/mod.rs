//! The families: one file each, with a mapping of the configuration and a map of keys.

mod albert;
mod bart;
mod bert;
mod bloom;
mod deberta;
mod distilbert;
mod electra;
mod gemma;
mod gpt2;
mod llama;
mod modernbert;
mod mpnet;
mod mpt;
mod neox;
mod opt;
mod phi;
mod roberta;
mod t5;

use locus_embedding::position::PositionConfig;
use locus_encoder::Activation;
use locus_heads::{HeadActivation, RereadConfig};
use locus_model::ModelConfig;
use serde_json::{Map, Value};

use crate::config::{Body, HeadKind};
use crate::keys::Key;
use crate::problems::{Names, is_wrong};

/// A family of `transformers`.
pub(crate) struct Family {
    /// Its name in our pages.
    pub(crate) name: &'static str,
    /// `model_type`.
    pub(crate) model_type: &'static str,
    /// What names of the body begin with where there is a head (`bert.`).
    pub(crate) prefix: &'static str,
    /// Heads above a body that goes by another name.
    pub(crate) other_prefixes: &'static [(HeadKind, &'static str)],
    /// The class of each head.
    pub(crate) architectures: &'static [(HeadKind, &'static str)],
    /// The model that a configuration describes, and what is wrong with it; it is none then.
    pub(crate) read: fn(&Map<String, Value>, &mut Vec<String>) -> Body,
    /// What it calls our keys where most families call them otherwise.
    pub(crate) names: Names,
    /// The configuration of a model; none where the family has no such model. What comes back is read again and compared, so
    /// it may promise too much.
    pub(crate) write: fn(&Body) -> Option<Map<String, Value>>,
    /// The parameters of the body.
    pub(crate) body: &'static [Key],
    /// The parameters of heads.
    pub(crate) heads: &'static [(&'static [HeadKind], &'static [Key])],
    /// Ends of names that are no parameters: buffers of earlier versions, heads of pre-training.
    pub(crate) dropped: &'static [&'static str],
}

impl Family {
    /// What names of the body may begin with, that which says most first.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &'static str> {
        self.other_prefixes.iter().map(|(_, prefix)| *prefix).chain([self.prefix])
    }

    /// What names of the body begin with under a head.
    pub(crate) fn prefix_of(&self, kind: HeadKind) -> &'static str {
        let other = self.other_prefixes.iter().find(|(other, _)| *other == kind);
        match kind {
            HeadKind::Bare => "",
            _ => other.map_or(self.prefix, |(_, prefix)| *prefix),
        }
    }

    /// The head of a class.
    pub(crate) fn head_of(&self, architecture: &str) -> Option<HeadKind> {
        self.architectures.iter().find(|(_, name)| *name == architecture).map(|(kind, _)| *kind)
    }

    /// The class of a head; the first where there are several.
    pub(crate) fn head_name(&self, kind: HeadKind) -> Option<&'static str> {
        self.architectures.iter().find(|(own, _)| *own == kind).map(|(_, name)| *name)
    }
}

/// A tensor that a class has and that this model does not read, and its shape: the numbered positions of a BERT whose layers
/// have vectors of distances. It is written as zeros.
pub(crate) fn unread(family: &Family, config: &ModelConfig, prefix: &str) -> Option<(String, Vec<usize>)> {
    let stack = &config.stack;
    let has = ["bert", "electra"].contains(&family.model_type);
    (has && matches!(stack.position, PositionConfig::Shaw(_))).then(|| {
        let name = format!("{prefix}embeddings.position_embeddings.weight");
        (name, vec![stack.max_seq_len, stack.embedding_width()])
    })
}

/// Tensors that files may lack, since the classes make zeros of them.
pub(crate) const ZEROS_IF_MISSING: [&str; 1] = ["final_logits_bias"];

/// All families, in the order of our pages.
pub(crate) const FAMILIES: &[&Family] = &[
    &bert::BERT,
    &roberta::ROBERTA,
    &roberta::XLM_ROBERTA,
    &distilbert::DISTILBERT,
    &electra::ELECTRA,
    &albert::ALBERT,
    &mpnet::MPNET,
    &deberta::DEBERTA_V2,
    &modernbert::MODERNBERT,
    &gpt2::GPT2,
    &llama::LLAMA,
    &llama::MISTRAL,
    &llama::QWEN2,
    &llama::QWEN3,
    &llama::SMOLLM3,
    &gemma::GEMMA,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &phi::PHI,
    &neox::GPT_NEOX,
    &opt::OPT,
    &bloom::BLOOM,
    &mpt::MPT,
    &t5::T5,
    &t5::MT5,
    &bart::BART,
    &bart::MARIAN,
];

/// The `model_type` of every family that can be read.
pub fn family_names() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.model_type).collect()
}

/// The family of a `model_type`.
pub(crate) fn family(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|family| family.model_type == model_type)
}

/// The families that a model may be written as, the likeliest first: that of the checkpoint it comes from, then the others in
/// the order of our pages; only the asked one where one is asked for.
pub(crate) fn candidates(config: &ModelConfig, asked: Option<&str>) -> impl Iterator<Item = &'static Family> {
    let own = move |family: &&'static Family| Some(family.model_type) == config.family.as_deref();
    let others = FAMILIES.iter().copied().filter(move |family| !own(family));
    let all = FAMILIES.iter().copied().filter(own).chain(others);
    all.filter(move |family| asked.is_none_or(|asked| asked == family.model_type))
}

/// An activation by the name that `transformers` has for it.
pub(crate) fn activation(key: &str, name: &str, problems: &mut Vec<String>) -> Activation {
    match ACTIVATIONS.iter().find(|(known, _, _)| *known == name) {
        Some((_, activation, _)) => *activation,
        None => {
            let known: Vec<&str> = ACTIVATIONS.iter().map(|(name, _, _)| *name).collect();
            problems.push(format!("{key} = {name:?}: expected one of {}", known.join(", ")));
            Activation::Gelu
        }
    }
}

/// As [`activation`], of a layer of a head, which may also be a hyperbolic tangent.
pub(crate) fn head_activation(key: &str, name: &str, problems: &mut Vec<String>) -> HeadActivation {
    match name {
        "tanh" => HeadActivation::Tanh,
        _ => in_head(activation(key, name, problems)),
    }
}

/// The activation of a stack, in a layer of a head.
pub(crate) fn in_head(activation: Activation) -> HeadActivation {
    let known = ACTIVATIONS.iter().find(|(_, known, _)| *known == activation);
    known.map_or(HeadActivation::Gelu, |(_, _, activation)| *activation)
}

/// The first name of an activation of a head.
pub(crate) fn head_activation_name(activation: HeadActivation) -> &'static str {
    let known = ACTIVATIONS.iter().find(|(_, _, known)| *known == activation);
    known.map_or("tanh", |(name, _, _)| *name)
}

/// The first name of an activation.
pub(crate) fn activation_name(activation: Activation) -> Option<&'static str> {
    ACTIVATIONS.iter().find(|(_, known, _)| *known == activation).map(|(name, _, _)| *name)
}

const ACTIVATIONS: [(&str, Activation, HeadActivation); 8] = [
    ("gelu", Activation::Gelu, HeadActivation::Gelu),
    ("gelu_python", Activation::Gelu, HeadActivation::Gelu),
    ("gelu_new", Activation::GeluTanh, HeadActivation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh, HeadActivation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh, HeadActivation::GeluTanh),
    ("relu", Activation::Relu, HeadActivation::Relu),
    ("silu", Activation::Silu, HeadActivation::Silu),
    ("swish", Activation::Silu, HeadActivation::Silu),
];

/// The gated form of an activation.
pub(crate) fn gated(activation: Activation) -> Activation {
    match activation {
        Activation::Gelu => Activation::Geglu,
        Activation::GeluTanh => Activation::GegluTanh,
        Activation::Relu => Activation::Reglu,
        Activation::Silu => Activation::Swiglu,
        gated => gated,
    }
}

/// The plain form of a gated activation; none of one that is not gated.
pub(crate) fn ungated(activation: Activation) -> Option<Activation> {
    match activation {
        Activation::Geglu => Some(Activation::Gelu),
        Activation::GegluTanh => Some(Activation::GeluTanh),
        Activation::Reglu => Some(Activation::Relu),
        Activation::Swiglu => Some(Activation::Silu),
        _ => None,
    }
}

/// A configuration with these values where it says nothing.
pub(crate) fn with(json: &Map<String, Value>, defaults: &[(&str, Value)]) -> Map<String, Value> {
    let mut all = json.clone();
    for (key, value) in defaults {
        if all.get(*key).is_none_or(Value::is_null) {
            all.insert((*key).to_owned(), value.clone());
        }
    }
    all
}

/// A whole number of a configuration.
pub(crate) fn number(
    json: &Map<String, Value>,
    key: &str,
    default: usize,
    problems: &mut Vec<String>,
) -> usize {
    match json.get(key) {
        None | Some(Value::Null) => default,
        Some(value) => value.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_else(|| {
            problems.push(format!("{key} = {value}: expected a whole number, 0 or more"));
            default
        }),
    }
}

/// The id of padding.
pub(crate) fn pad_token(json: &Map<String, Value>, default: usize, problems: &mut Vec<String>) -> usize {
    let id = number(json, "pad_token_id", default, problems);
    if id < LARGEST_ID {
        return id;
    }
    problems.push(format!("pad_token_id = {id}: expected less than {LARGEST_ID}"));
    default
}

const LARGEST_ID: usize = 1 << 20;

/// How an encoder's text is read once more by its decoder; what a class has where a file says nothing is given. An id that is
/// none lies past any vocabulary.
pub(crate) fn reread(json: &Map<String, Value>, [start, end]: [u32; 2]) -> RereadConfig {
    let id = |key: &str, default| {
        let value = match json.get(key) {
            None | Some(Value::Null) => return default,
            Some(Value::Array(ends)) => ends.first(),
            value => value,
        };
        value.and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()).unwrap_or(u32::MAX)
    };
    RereadConfig { start: id("decoder_start_token_id", start), end: id("eos_token_id", end) }
}

/// A configuration that says how a text is read once more, where it is.
pub(crate) fn with_reread(mut all: Map<String, Value>, body: &Body) -> Map<String, Value> {
    if let Some(RereadConfig { start, end }) = body.reread {
        all.insert("decoder_start_token_id".to_owned(), start.into());
        all.insert("eos_token_id".to_owned(), end.into());
    }
    all
}

/// Whether a value says anything.
pub(crate) fn is_set(value: &Value) -> bool {
    !value.is_null()
}

/// Sets a key to what another place of the configuration, `name`, says; a problem where the key says something else.
pub(crate) fn put(
    all: &mut Map<String, Value>,
    key: &str,
    value: &Value,
    name: &str,
    problems: &mut Vec<String>,
) {
    let alike = |own: &Value| own == value || (own.is_number() && own.as_f64() == value.as_f64());
    match all.get(key).filter(|own| is_set(own)) {
        Some(own) if alike(own) => {}
        Some(own) => problems.push(format!("{name} = {value}: expected {own}, as {key} says")),
        None => drop(all.insert(key.to_owned(), value.clone())),
    }
}

/// A configuration in which keys go by their first name; a problem where a second one says something else.
pub(crate) fn renamed(
    json: &Map<String, Value>,
    names: &[(&str, &str)],
    problems: &mut Vec<String>,
) -> Map<String, Value> {
    let mut all = json.clone();
    for (key, other) in names {
        if let Some(value) = all.remove(*other).filter(is_set) {
            put(&mut all, key, &value, other, problems);
        }
    }
    all
}

/// Something for each layer; nothing and a problem where there are more layers than any model has.
pub(crate) fn per_layer<T>(
    n_layers: usize,
    problems: &mut Vec<String>,
    of_layer: impl FnMut(usize) -> T,
) -> Vec<T> {
    if n_layers > MOST_LAYERS {
        problems.push(format!("{LAYERS} = {n_layers}: expected at most {MOST_LAYERS}"));
        return Vec::new();
    }
    (0..n_layers).map(of_layer).collect()
}

const MOST_LAYERS: usize = 1 << 12;

/// The number of layers, as families with kinds of layers call it.
pub(crate) const LAYERS: &str = "num_hidden_layers";

/// Says what is wrong with `layer_types`.
pub(crate) fn check_layer_types(types: &[String], n_layers: usize, problems: &mut Vec<String>) {
    if types.len() != n_layers && !is_wrong(problems, LAYERS) {
        let found = types.len();
        problems.push(format!("layer_types has {found} entries: expected one for each of {n_layers} layers"));
    }
    if let Some(other) = types.iter().find(|kind| ![FULL, SLIDING].contains(&kind.as_str())) {
        problems.push(format!("layer_types has {other:?}: expected {FULL} or {SLIDING}"));
    }
}

/// A layer that sees everything, in `layer_types`.
pub(crate) const FULL: &str = "full_attention";
/// A layer that sees a window.
pub(crate) const SLIDING: &str = "sliding_attention";

/// A configuration as a table.
pub(crate) fn table(config: &impl serde::Serialize) -> Option<Map<String, Value>> {
    match serde_json::to_value(config) {
        Ok(Value::Object(table)) => Some(table),
        _ => None,
    }
}
