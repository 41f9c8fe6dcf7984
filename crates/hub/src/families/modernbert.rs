//! ModernBERT (Warner et al. 2024, arXiv:2412.13663): rotary positions, layers that see a window, gated feed-forward layers.

use locus_embedding::position::{PositionConfig, RotaryConfig};
use locus_encoder::{Bias, Residual, StackConfig};
use locus_heads::{HeadActivation, Pooling, TransformConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Family, activation, activation_name, bert, gated, head_activation, head_activation_name, is_set,
    per_layer, table, ungated,
};
use crate::config::HeadKind::{
    Bare, MaskedLm, MultipleChoice, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::config::{Body, Layers};
use crate::keys::{How, Key, fused, linear, same};
use crate::problems::{only, parse_with_nulls};
use crate::rope::RopeKeys;

pub(crate) const MODERNBERT: Family = Family {
    name: "ModernBERT",
    model_type: "modernbert",
    prefix: "model.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "ModernBertModel"),
        (MaskedLm, "ModernBertForMaskedLM"),
        (SequenceClassification, "ModernBertForSequenceClassification"),
        (TokenClassification, "ModernBertForTokenClassification"),
        (QuestionAnswering, "ModernBertForQuestionAnswering"),
        (MultipleChoice, "ModernBertForMultipleChoice"),
    ],
    read,
    names: &[
        ("norm_eps", "norm_eps"),
        ("dropout", "mlp_dropout"),
        ("attention_dropout", "attention_dropout"),
        ("rotary.base", "global_rope_theta"),
        ("rotary.base", "local_rope_theta"),
        ("rotary.window", "local_attention"),
    ],
    write,
    body: KEYS,
    heads: &[
        (&[MaskedLm, SequenceClassification, MultipleChoice, TokenClassification, QuestionAnswering], HEAD),
        (&[SequenceClassification, MultipleChoice, TokenClassification, QuestionAnswering], bert::CLASSIFIER),
        (&[MaskedLm], MASKED),
    ],
    dropped: &[],
};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_activation: String,
    max_position_embeddings: usize,
    initializer_range: f64,
    norm_eps: f64,
    norm_bias: bool,
    global_rope_theta: f64,
    local_rope_theta: Option<f64>,
    attention_bias: bool,
    attention_dropout: f64,
    global_attn_every_n_layers: usize,
    local_attention: usize,
    mlp_bias: bool,
    mlp_dropout: f64,
    decoder_bias: bool,
    classifier_pooling: String,
    classifier_bias: bool,
    classifier_activation: String,
    tie_word_embeddings: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 50368,
            hidden_size: 768,
            intermediate_size: 1152,
            num_hidden_layers: 22,
            num_attention_heads: 12,
            hidden_activation: "gelu".to_owned(),
            max_position_embeddings: 8192,
            initializer_range: 0.02,
            norm_eps: 1e-5,
            norm_bias: false,
            global_rope_theta: 160_000.0,
            local_rope_theta: Some(10_000.0),
            attention_bias: false,
            attention_dropout: 0.0,
            global_attn_every_n_layers: 3,
            local_attention: 128,
            mlp_bias: false,
            mlp_dropout: 0.0,
            decoder_bias: true,
            classifier_pooling: "cls".to_owned(),
            classifier_bias: false,
            classifier_activation: "gelu".to_owned(),
            tie_word_embeddings: true,
        }
    }
}

const ROPE: RopeKeys =
    RopeKeys { base: "global_rope_theta", local_base: Some("local_rope_theta"), fraction: None };

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let json = ROPE.flat(json, problems);
    if let Some(scaling) = json.get("rope_scaling").filter(|scaling| is_set(scaling)) {
        problems.push(format!("rope_scaling = {scaling}: expected none"));
    }
    // Without a base of their own the layers that see a window have that of the others.
    let config: Config = parse_with_nulls(&json, &["local_rope_theta"], problems);
    only(problems, "classifier_pooling", &config.classifier_pooling.as_str(), &["cls", "mean"]);
    let schemes = schemes(&config, problems);
    let bias = Bias {
        qkv: config.attention_bias,
        output: config.attention_bias,
        ffn: config.mlp_bias,
        norm: config.norm_bias,
    };
    let activation = activation("hidden_activation", &config.hidden_activation, problems);
    let alike = schemes.windows(2).all(|pair| pair[0] == pair[1]);
    let stack = StackConfig {
        d_model: config.hidden_size,
        n_layers: config.num_hidden_layers,
        n_heads: config.num_attention_heads,
        d_ff: Some(config.intermediate_size),
        max_seq_len: config.max_position_embeddings,
        activation: gated(activation),
        norm_eps: config.norm_eps,
        residual: Residual::PreFromSecond,
        bias,
        embedding_norm: true,
        dropout: config.mlp_dropout,
        attention_dropout: config.attention_dropout,
        init_std: config.initializer_range,
        position: schemes.first().cloned().unwrap_or_default(),
        layer_positions: if alike { Vec::new() } else { schemes },
        ..StackConfig::default()
    };
    let head = TransformConfig {
        activation: head_activation("classifier_activation", &config.classifier_activation, problems),
        bias: config.classifier_bias,
        norm: true,
    };
    let layers = Layers { transform: Some(head.clone()), bias: true };
    Body {
        tied: config.tie_word_embeddings,
        masked: (head, config.decoder_bias),
        pooling: if config.classifier_pooling == "mean" { Pooling::Mean } else { Pooling::First },
        rows: layers.clone(),
        tokens: layers,
        ..Body::encoder(config.vocab_size, stack)
    }
}

/// The scheme of each layer: every so many of them sees all tokens.
fn schemes(config: &Config, problems: &mut Vec<String>) -> Vec<PositionConfig> {
    let rotary =
        |base, window| PositionConfig::Rotary(RotaryConfig { base, window, ..RotaryConfig::default() });
    // Half of `local_attention` to each side, the end included.
    let window = Some(config.local_attention / 2 + 1);
    let global = rotary(config.global_rope_theta, None);
    let local = rotary(config.local_rope_theta.unwrap_or(config.global_rope_theta), window);
    let every = config.global_attn_every_n_layers.max(1);
    if every != config.global_attn_every_n_layers {
        problems.push("global_attn_every_n_layers = 0: expected 1 or more".to_owned());
    }
    let of_layer = |layer: usize| if layer.is_multiple_of(every) { global.clone() } else { local.clone() };
    per_layer(config.num_hidden_layers, problems, of_layer)
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    let (instances, layer_scheme) = stack.schemes();
    let rotary = |windowed: bool| {
        instances.iter().find_map(|scheme| match scheme {
            PositionConfig::Rotary(config) if config.window.is_some() == windowed => Some(config),
            _ => None,
        })
    };
    let global = rotary(false)?;
    let whole = layer_scheme.iter().skip(1).position(|&idx| idx == layer_scheme[0]);
    let transform = match (&body.rows.transform, &body.tokens.transform) {
        (Some(transform), _) | (None, Some(transform)) => transform.clone(),
        (None, None) => body.masked.0.clone(),
    };
    // A model without a head says nothing of one: what its class has.
    let bare = transform == Body::encoder(0, StackConfig::default()).masked.0;
    let transform = if bare {
        TransformConfig { activation: HeadActivation::Gelu, bias: false, norm: true }
    } else {
        transform
    };
    let defaults = Config::default();
    table(&Config {
        vocab_size: body.vocab_size,
        hidden_size: stack.d_model,
        intermediate_size: stack.d_ff(),
        num_hidden_layers: stack.n_layers,
        num_attention_heads: stack.n_heads,
        hidden_activation: activation_name(ungated(stack.activation)?)?.to_owned(),
        max_position_embeddings: stack.max_seq_len,
        initializer_range: stack.init_std,
        norm_eps: stack.norm_eps,
        norm_bias: stack.bias.norm,
        global_rope_theta: global.base,
        local_rope_theta: rotary(true).map(|local| local.base).or(defaults.local_rope_theta),
        attention_bias: stack.bias.qkv,
        attention_dropout: stack.attention_dropout,
        global_attn_every_n_layers: whole.map_or(stack.n_layers, |idx| idx + 1),
        local_attention: rotary(true).and_then(|local| local.window).map_or(128, |window| 2 * (window - 1)),
        mlp_bias: stack.bias.ffn,
        mlp_dropout: stack.dropout,
        decoder_bias: body.masked.1,
        classifier_pooling: if body.pooling == Pooling::Mean { "mean" } else { "cls" }.to_owned(),
        classifier_bias: transform.bias && transform.norm,
        classifier_activation: head_activation_name(transform.activation).to_owned(),
        tie_word_embeddings: body.tied,
    })
}

const HEAD: &[Key] = &[
    linear("head.dense.weight", &["transform.dense.weight"]),
    same("head.dense.bias", &["transform.dense.bias"]),
    same("head.norm.weight", &["transform.norm.gamma"]),
    same("head.norm.bias", &["transform.norm.beta"]),
];

const MASKED: &[Key] = &[
    linear("decoder.weight", &["lm_head.weight"]),
    same("decoder.bias", &["output_bias"]),
    same("decoder.bias", &["lm_head.bias"]),
];

const QKV: &[&str] = &[
    "stack.layers.{}.attn.q_proj.weight",
    "stack.layers.{}.attn.k_proj.weight",
    "stack.layers.{}.attn.v_proj.weight",
];
const QKV_BIAS: &[&str] = &[
    "stack.layers.{}.attn.q_proj.bias",
    "stack.layers.{}.attn.k_proj.bias",
    "stack.layers.{}.attn.v_proj.bias",
];
const GATE_UP: &[&str] = &["stack.layers.{}.ffn.gate_proj.weight", "stack.layers.{}.ffn.up_proj.weight"];
const GATE_UP_BIAS: &[&str] = &["stack.layers.{}.ffn.gate_proj.bias", "stack.layers.{}.ffn.up_proj.bias"];

const KEYS: &[Key] = &[
    same("*.embeddings.tok_embeddings.weight", &["stack.embeddings.tokens"]),
    same("*.embeddings.norm.weight", &["stack.embedding_norm.gamma"]),
    same("*.embeddings.norm.bias", &["stack.embedding_norm.beta"]),
    same("*.layers.{}.attn_norm.weight", &["stack.layers.{}.attn_norm.gamma"]),
    same("*.layers.{}.attn_norm.bias", &["stack.layers.{}.attn_norm.beta"]),
    fused("*.layers.{}.attn.Wqkv.weight", QKV, How::Stacked),
    fused("*.layers.{}.attn.Wqkv.bias", QKV_BIAS, How::Stacked),
    linear("*.layers.{}.attn.Wo.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.layers.{}.attn.Wo.bias", &["stack.layers.{}.attn.o_proj.bias"]),
    same("*.layers.{}.mlp_norm.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    same("*.layers.{}.mlp_norm.bias", &["stack.layers.{}.ffn_norm.beta"]),
    fused("*.layers.{}.mlp.Wi.weight", GATE_UP, How::Stacked),
    fused("*.layers.{}.mlp.Wi.bias", GATE_UP_BIAS, How::Stacked),
    linear("*.layers.{}.mlp.Wo.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.layers.{}.mlp.Wo.bias", &["stack.layers.{}.ffn.down_proj.bias"]),
    same("*.final_norm.weight", &["stack.final_norm.gamma"]),
    same("*.final_norm.bias", &["stack.final_norm.beta"]),
];
