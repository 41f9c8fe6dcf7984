//! Gemma 1 to 3 (arXiv:2403.08295, arXiv:2408.00118, arXiv:2503.19786): norms that scale by one more than their parameter,
//! scaled token vectors; from the second on norms on both sides and layers that see a window.

use locus_embedding::position::{PositionConfig, RotaryConfig};
use locus_encoder::{AttentionScale, Bias, EmbeddingScale, NormKind, QkNorm, Residual, StackConfig};
use locus_heads::OutputConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    FULL, Family, SLIDING, activation, activation_name, check_layer_types, gated, llama, per_layer, table,
    ungated, with,
};
use crate::config::Body;
use crate::config::HeadKind::{Bare, CausalLm, SequenceClassification, TokenClassification};
use crate::keys::{Key, linear, same};
use crate::problems::{only, parse};
use crate::rope::{Rope, RopeKeys, RopeScaling, written};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    One,
    Two,
    Three,
}

pub(crate) const GEMMA: Family = Family {
    name: "Gemma",
    model_type: "gemma",
    prefix: "model.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "GemmaModel"),
        (CausalLm, "GemmaForCausalLM"),
        (SequenceClassification, "GemmaForSequenceClassification"),
        (TokenClassification, "GemmaForTokenClassification"),
    ],
    read: |json, problems| read(json, Version::One, problems),
    names: &[
        ("n_kv_heads", "num_key_value_heads"),
        ("d_head", "head_dim"),
        ("norm_eps", "rms_norm_eps"),
        ("attention_dropout", "attention_dropout"),
        ("rotary.base", "rope_theta"),
        ("rotary.base", "rope_local_base_freq"),
        ("rotary.base", "rope_parameters.rope_theta"),
    ],
    write: |body| write(body, Version::One),
    body: llama::KEYS,
    heads: llama::HEADS,
    dropped: &["rotary_emb.inv_freq"],
};

pub(crate) const GEMMA2: Family = Family {
    name: "Gemma 2",
    model_type: "gemma2",
    architectures: &[
        (Bare, "Gemma2Model"),
        (CausalLm, "Gemma2ForCausalLM"),
        (SequenceClassification, "Gemma2ForSequenceClassification"),
        (TokenClassification, "Gemma2ForTokenClassification"),
    ],
    read: |json, problems| read(json, Version::Two, problems),
    write: |body| write(body, Version::Two),
    body: KEYS,
    ..GEMMA
};

pub(crate) const GEMMA3: Family = Family {
    name: "Gemma 3 (text)",
    model_type: "gemma3_text",
    architectures: &[
        (Bare, "Gemma3TextModel"),
        (CausalLm, "Gemma3ForCausalLM"),
        (SequenceClassification, "Gemma3TextForSequenceClassification"),
    ],
    read: |json, problems| read(json, Version::Three, problems),
    write: |body| write(body, Version::Three),
    ..GEMMA2
};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_act: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_activation: Option<String>,
    max_position_embeddings: usize,
    initializer_range: f64,
    rms_norm_eps: f64,
    rope_theta: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_local_base_freq: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<RopeScaling>,
    attention_bias: bool,
    attention_dropout: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_pre_attn_scalar: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sliding_window: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_types: Option<Vec<String>>,
    /// Every so many layers one sees everything; of Gemma 3, where there is no `layer_types`.
    #[serde(skip_serializing_if = "Option::is_none")]
    sliding_window_pattern: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_max_position_embeddings: Option<usize>,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
    use_bidirectional_attention: bool,
    tie_word_embeddings: bool,
}

/// What the configuration classes have where a file says nothing.
fn with_defaults(json: &Map<String, Value>, version: Version) -> Map<String, Value> {
    let sizes: [(&str, usize); 8] = match version {
        Version::One => sizes([256_000, 3072, 24576, 28, 16, 16, 256, 8192]),
        Version::Two => sizes([256_000, 2304, 9216, 26, 8, 4, 256, 8192]),
        Version::Three => sizes([262_208, 2304, 9216, 26, 8, 4, 256, 131_072]),
    };
    let sizes: Vec<(&str, Value)> = sizes.into_iter().map(|(key, n)| (key, n.into())).collect();
    let base = if version == Version::Three { 1e6 } else { 1e4 };
    let mut all = with(json, &sizes);
    all = with(
        &all,
        &[
            ("hidden_act", "gelu_pytorch_tanh".into()),
            ("initializer_range", 0.02.into()),
            ("rms_norm_eps", 1e-6.into()),
            ("rope_theta", base.into()),
            ("tie_word_embeddings", true.into()),
        ],
    );
    if version != Version::One {
        all = with(
            &all,
            &[
                ("hidden_activation", "gelu_pytorch_tanh".into()),
                ("query_pre_attn_scalar", 256.into()),
                ("sliding_window", 4096.into()),
                ("rope_local_base_freq", 1e4.into()),
            ],
        );
    }
    // Null says that there is no cap, nothing says that it is the class's.
    if version == Version::Two {
        for (key, cap) in [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)] {
            if !json.contains_key(key) {
                all.insert(key.to_owned(), cap.into());
            }
        }
    }
    all
}

fn sizes(values: [usize; 8]) -> [(&'static str, usize); 8] {
    let [vocab, width, ffn, layers, heads, kv_heads, d_head, length] = values;
    [
        ("vocab_size", vocab),
        ("hidden_size", width),
        ("intermediate_size", ffn),
        ("num_hidden_layers", layers),
        ("num_attention_heads", heads),
        ("num_key_value_heads", kv_heads),
        ("head_dim", d_head),
        ("max_position_embeddings", length),
    ]
}

fn read(json: &Map<String, Value>, version: Version, problems: &mut Vec<String>) -> Body {
    let local_base = (version == Version::Three).then_some("rope_local_base_freq");
    let json = RopeKeys { local_base, ..RopeKeys::PLAIN }.flat(json, problems);
    let config: Config = parse(&with_defaults(&json, version), problems);
    if version != Version::One && json.get("sliding_window").is_some_and(Value::is_null) {
        problems.push("sliding_window = null: expected a number".to_owned());
    }
    only(problems, "use_bidirectional_attention", &config.use_bidirectional_attention, &[false]);
    let (key, name) = match version {
        Version::One => ("hidden_act", &config.hidden_act),
        _ => ("hidden_activation", &config.hidden_activation),
    };
    let activation = activation(key, name.as_deref().unwrap_or_default(), problems);
    let schemes = schemes(&config, version, problems);
    let alike = schemes.windows(2).all(|pair| pair[0] == pair[1]);
    let scale = config
        .query_pre_attn_scalar
        .map_or(AttentionScale::Scheme, |scalar| AttentionScale::Value(scalar.powf(-0.5)));
    let stack = StackConfig {
        d_model: config.hidden_size,
        n_layers: config.num_hidden_layers,
        n_heads: config.num_attention_heads,
        n_kv_heads: Some(config.num_key_value_heads),
        d_head: Some(config.head_dim),
        d_ff: Some(config.intermediate_size),
        max_seq_len: config.max_position_embeddings,
        activation: gated(activation),
        norm: NormKind::RmsNormPlusOne,
        norm_eps: config.rms_norm_eps,
        residual: if version == Version::One { Residual::Pre } else { Residual::Sandwich },
        bias: Bias { qkv: config.attention_bias, output: config.attention_bias, ..Bias::NONE },
        qk_norm: if version == Version::Three { QkNorm::PerHead } else { QkNorm::None },
        attention_scale: if version == Version::One { AttentionScale::Scheme } else { scale },
        // Gemma 3's layers do not read theirs.
        score_cap: config.attn_logit_softcapping.filter(|_| version == Version::Two),
        embedding_scale: EmbeddingScale::SqrtDModel,
        dropout: 0.0,
        attention_dropout: config.attention_dropout,
        init_std: config.initializer_range,
        position: schemes.first().cloned().unwrap_or_default(),
        layer_positions: if alike { Vec::new() } else { schemes },
        ..StackConfig::default()
    };
    let output = OutputConfig { cap: config.final_logit_softcapping, ..OutputConfig::default() };
    Body { output, ..Body::decoder(config.vocab_size, stack, config.tie_word_embeddings) }
}

/// The scheme of each layer.
fn schemes(config: &Config, version: Version, problems: &mut Vec<String>) -> Vec<PositionConfig> {
    let local_base = match version {
        Version::Three => config.rope_local_base_freq,
        _ => None,
    };
    let mut rotary = |base, window, scaling| {
        let (max_positions, original) =
            (config.max_position_embeddings, config.original_max_position_embeddings);
        Rope { base, fraction: 1.0, window, scaling, max_positions, original }.scheme(problems)
    };
    let scaling = config.rope_scaling.as_ref();
    let global = rotary(config.rope_theta, None, scaling);
    let local = match (local_base, &global) {
        (Some(base), _) => rotary(base, config.sliding_window, None),
        (None, PositionConfig::Rotary(global)) => {
            PositionConfig::Rotary(RotaryConfig { window: config.sliding_window, ..global.clone() })
        }
        (None, other) => other.clone(),
    };
    let types = config.layer_types.as_ref().filter(|_| version != Version::One);
    if let Some(types) = types {
        check_layer_types(types, config.num_hidden_layers, problems);
    }
    let mut pattern = config.sliding_window_pattern.unwrap_or(6);
    if pattern == 0 {
        problems.push("sliding_window_pattern = 0: expected 1 or more".to_owned());
        pattern = 1;
    }
    per_layer(config.num_hidden_layers, problems, |layer| {
        let slides = match (types, version) {
            (_, Version::One) => false,
            (Some(list), _) => list.get(layer).is_some_and(|kind| kind == SLIDING),
            (None, Version::Two) => layer % 2 == 0,
            (None, Version::Three) => (layer + 1) % pattern != 0,
        };
        if slides { local.clone() } else { global.clone() }
    })
}

fn write(body: &Body, version: Version) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    let (instances, layer_scheme) = stack.schemes();
    let rotary = |windowed: bool| {
        instances.iter().find_map(|scheme| match scheme {
            PositionConfig::Rotary(config) if config.window.is_some() == windowed => Some(config),
            _ => None,
        })
    };
    let (global, local) = (rotary(false).or(rotary(true))?, rotary(true));
    let slides = |&idx: &usize| matches!(&instances[idx], PositionConfig::Rotary(c) if c.window.is_some());
    let kinds = layer_scheme.iter().map(|idx| if slides(idx) { SLIDING } else { FULL });
    let later = version != Version::One;
    let activation = match activation_name(ungated(stack.activation)?)? {
        "gelu_new" => "gelu_pytorch_tanh",
        name => name,
    };
    let scalar = match stack.attention_scale {
        AttentionScale::Value(scale) => {
            // The reciprocal of a square root, back to the number that it was taken of.
            let scalar = scale.powi(-2);
            if (scalar - scalar.round()).abs() < 1e-9 * scalar { scalar.round() } else { scalar }
        }
        AttentionScale::Scheme => stack.d_head() as f64,
        AttentionScale::ByLayer(_) => return None,
    };
    let (rope_scaling, original_max_position_embeddings) = written(global, stack.max_seq_len)?;
    table(&Config {
        vocab_size: body.vocab_size,
        hidden_size: stack.d_model,
        intermediate_size: stack.d_ff(),
        num_hidden_layers: stack.n_layers,
        num_attention_heads: stack.n_heads,
        num_key_value_heads: stack.n_kv_heads(),
        head_dim: stack.d_head(),
        hidden_act: (!later).then(|| activation.to_owned()),
        hidden_activation: later.then(|| activation.to_owned()),
        max_position_embeddings: stack.max_seq_len,
        initializer_range: stack.init_std,
        rms_norm_eps: stack.norm_eps,
        rope_theta: global.base,
        rope_local_base_freq: (version == Version::Three).then(|| local.map_or(1e4, |local| local.base)),
        rope_scaling,
        original_max_position_embeddings,
        sliding_window_pattern: None,
        attention_bias: stack.bias.qkv,
        attention_dropout: stack.attention_dropout,
        query_pre_attn_scalar: later.then_some(scalar),
        sliding_window: local.and_then(|local| local.window),
        layer_types: later.then(|| kinds.map(str::to_owned).collect()),
        attn_logit_softcapping: stack.score_cap,
        final_logit_softcapping: body.output.cap,
        use_bidirectional_attention: false,
        tie_word_embeddings: body.tied,
    })
}

const KEYS: &[Key] = &[
    same("*.embed_tokens.weight", &["stack.embeddings.tokens"]),
    same("*.layers.{}.input_layernorm.weight", &["stack.layers.{}.attn_norm.gamma"]),
    linear("*.layers.{}.self_attn.q_proj.weight", &["stack.layers.{}.attn.q_proj.weight"]),
    same("*.layers.{}.self_attn.q_proj.bias", &["stack.layers.{}.attn.q_proj.bias"]),
    linear("*.layers.{}.self_attn.k_proj.weight", &["stack.layers.{}.attn.k_proj.weight"]),
    same("*.layers.{}.self_attn.k_proj.bias", &["stack.layers.{}.attn.k_proj.bias"]),
    linear("*.layers.{}.self_attn.v_proj.weight", &["stack.layers.{}.attn.v_proj.weight"]),
    same("*.layers.{}.self_attn.v_proj.bias", &["stack.layers.{}.attn.v_proj.bias"]),
    linear("*.layers.{}.self_attn.o_proj.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.layers.{}.self_attn.o_proj.bias", &["stack.layers.{}.attn.o_proj.bias"]),
    same("*.layers.{}.self_attn.q_norm.weight", &["stack.layers.{}.attn.q_norm.gamma"]),
    same("*.layers.{}.self_attn.k_norm.weight", &["stack.layers.{}.attn.k_norm.gamma"]),
    same("*.layers.{}.post_attention_layernorm.weight", &["stack.layers.{}.attn_post_norm.gamma"]),
    same("*.layers.{}.pre_feedforward_layernorm.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    same("*.layers.{}.post_feedforward_layernorm.weight", &["stack.layers.{}.ffn_post_norm.gamma"]),
    linear("*.layers.{}.mlp.gate_proj.weight", &["stack.layers.{}.ffn.gate_proj.weight"]),
    linear("*.layers.{}.mlp.up_proj.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    linear("*.layers.{}.mlp.down_proj.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.norm.weight", &["stack.final_norm.gamma"]),
];
