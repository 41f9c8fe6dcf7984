//! Llama 1 to 3 (Touvron et al. 2023, arXiv:2302.13971; arXiv:2407.21783) and its kin: Mistral, Qwen 2 and 3, SmolLM3.

use locus_embedding::position::{PositionConfig, RotaryConfig};
use locus_encoder::{Bias, NormKind, QkNorm, StackConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    FULL, Family, LAYERS, SLIDING, activation, activation_name, check_layer_types, gated, per_layer, table,
    ungated,
};
use crate::config::Body;
use crate::config::HeadKind::{
    self, Bare, CausalLm, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::keys::{Key, linear, same};
use crate::problems::{is_wrong, only, parse};
use crate::rope::{Rope, RopeKeys, RopeScaling, written};

/// What tells the families apart.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    SmolLm3,
}

const LLAMA_LIKE: Family = Family {
    name: "Llama",
    model_type: "llama",
    prefix: "model.",
    other_prefixes: &[(QuestionAnswering, "transformer.")],
    architectures: &[
        (Bare, "LlamaModel"),
        (CausalLm, "LlamaForCausalLM"),
        (SequenceClassification, "LlamaForSequenceClassification"),
        (TokenClassification, "LlamaForTokenClassification"),
        (QuestionAnswering, "LlamaForQuestionAnswering"),
    ],
    read: |json, problems| read(json, Kind::Llama, problems),
    names: &[
        ("n_kv_heads", "num_key_value_heads"),
        ("d_head", "head_dim"),
        ("norm_eps", "rms_norm_eps"),
        ("attention_dropout", "attention_dropout"),
    ],
    write: |body| write(body, Kind::Llama),
    body: KEYS,
    heads: HEADS,
    dropped: &["rotary_emb.inv_freq"],
};

pub(crate) const LLAMA: Family = LLAMA_LIKE;

pub(crate) const MISTRAL: Family = Family {
    name: "Mistral",
    model_type: "mistral",
    architectures: &[
        (Bare, "MistralModel"),
        (CausalLm, "MistralForCausalLM"),
        (SequenceClassification, "MistralForSequenceClassification"),
        (TokenClassification, "MistralForTokenClassification"),
        (QuestionAnswering, "MistralForQuestionAnswering"),
    ],
    // That class of its kin keeps its stack under `transformer.`, unlike all their others.
    other_prefixes: &[],
    read: |json, problems| read(json, Kind::Mistral, problems),
    write: |body| write(body, Kind::Mistral),
    ..LLAMA_LIKE
};

pub(crate) const QWEN2: Family = Family {
    name: "Qwen 2",
    model_type: "qwen2",
    architectures: &[
        (Bare, "Qwen2Model"),
        (CausalLm, "Qwen2ForCausalLM"),
        (SequenceClassification, "Qwen2ForSequenceClassification"),
        (TokenClassification, "Qwen2ForTokenClassification"),
        (QuestionAnswering, "Qwen2ForQuestionAnswering"),
    ],
    read: |json, problems| read(json, Kind::Qwen2, problems),
    write: |body| write(body, Kind::Qwen2),
    ..LLAMA_LIKE
};

pub(crate) const QWEN3: Family = Family {
    name: "Qwen 3",
    model_type: "qwen3",
    architectures: &[
        (Bare, "Qwen3Model"),
        (CausalLm, "Qwen3ForCausalLM"),
        (SequenceClassification, "Qwen3ForSequenceClassification"),
        (TokenClassification, "Qwen3ForTokenClassification"),
        (QuestionAnswering, "Qwen3ForQuestionAnswering"),
    ],
    read: |json, problems| read(json, Kind::Qwen3, problems),
    write: |body| write(body, Kind::Qwen3),
    ..LLAMA_LIKE
};

pub(crate) const SMOLLM3: Family = Family {
    name: "SmolLM3",
    model_type: "smollm3",
    architectures: &[
        (Bare, "SmolLM3Model"),
        (CausalLm, "SmolLM3ForCausalLM"),
        (SequenceClassification, "SmolLM3ForSequenceClassification"),
        (TokenClassification, "SmolLM3ForTokenClassification"),
        (QuestionAnswering, "SmolLM3ForQuestionAnswering"),
    ],
    read: |json, problems| read(json, Kind::SmolLm3, problems),
    write: |body| write(body, Kind::SmolLm3),
    ..LLAMA_LIKE
};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_key_value_heads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_dim: Option<usize>,
    hidden_act: String,
    max_position_embeddings: usize,
    initializer_range: f64,
    rms_norm_eps: f64,
    rope_theta: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<RopeScaling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_max_position_embeddings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlp_bias: Option<bool>,
    attention_dropout: f64,
    sliding_window: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_sliding_window: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_window_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_rope_layers: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_rope_layer_interval: Option<usize>,
    tie_word_embeddings: Option<bool>,
}

/// What a family's configuration class has where a file says nothing.
fn with_defaults(json: &Map<String, Value>, kind: Kind) -> Map<String, Value> {
    let mut all = json.clone();
    let mut set = |key: &str, value: Value| {
        if all.get(key).is_none_or(Value::is_null) {
            all.insert(key.to_owned(), value);
        }
    };
    let (vocab, width, ffn, layers, heads, length, eps, theta) = match kind {
        Kind::Llama => (32000, 4096, 11008, 32, 32, 2048, 1e-6, 1e4),
        Kind::Mistral => (32000, 4096, 14336, 32, 32, 4096 * 32, 1e-6, 1e4),
        Kind::Qwen2 => (151_936, 4096, 22016, 32, 32, 32768, 1e-6, 1e4),
        Kind::Qwen3 => (151_936, 4096, 22016, 32, 32, 32768, 1e-6, 1e4),
        Kind::SmolLm3 => (128_256, 2048, 11008, 36, 16, 32768, 1e-6, 2e6),
    };
    for (key, value) in [
        ("vocab_size", vocab),
        ("hidden_size", width),
        ("intermediate_size", ffn),
        ("num_hidden_layers", layers),
        ("num_attention_heads", heads),
        ("max_position_embeddings", length),
    ] {
        set(key, value.into());
    }
    set("rms_norm_eps", eps.into());
    set("rope_theta", theta.into());
    set("initializer_range", 0.02.into());
    set("hidden_act", "silu".into());
    set("tie_word_embeddings", (kind == Kind::SmolLm3).into());
    // Those whose classes do not follow the number of heads.
    // Null says that they do.
    match kind {
        _ if json.contains_key("num_key_value_heads") => {}
        Kind::Mistral => set("num_key_value_heads", 8.into()),
        Kind::Qwen2 | Kind::Qwen3 => set("num_key_value_heads", 32.into()),
        Kind::SmolLm3 => set("num_key_value_heads", 4.into()),
        Kind::Llama => {}
    }
    if kind == Kind::Qwen3 {
        set("head_dim", 128.into());
    }
    // Null says that there is none.
    let slides = matches!(kind, Kind::Mistral | Kind::Qwen2 | Kind::Qwen3);
    if slides && !json.contains_key("sliding_window") {
        set("sliding_window", 4096.into());
    }
    all
}

fn read(json: &Map<String, Value>, kind: Kind, problems: &mut Vec<String>) -> Body {
    let json = RopeKeys::PLAIN.flat(json, problems);
    let config: Config = parse(&with_defaults(&json, kind), problems);
    let attention_bias = config.attention_bias.unwrap_or(false);
    let bias = match kind {
        Kind::Llama | Kind::SmolLm3 => {
            let ffn = config.mlp_bias.unwrap_or(false);
            Bias { qkv: attention_bias, output: attention_bias, ffn, norm: true }
        }
        Kind::Mistral => Bias::NONE,
        Kind::Qwen2 => Bias { qkv: true, ..Bias::NONE },
        Kind::Qwen3 => Bias { qkv: attention_bias, output: attention_bias, ..Bias::NONE },
    };
    let schemes = schemes(&config, kind, problems);
    let alike = schemes.windows(2).all(|pair| pair[0] == pair[1]);
    let activation = activation("hidden_act", &config.hidden_act, problems);
    let stack = StackConfig {
        d_model: config.hidden_size,
        n_layers: config.num_hidden_layers,
        n_heads: config.num_attention_heads,
        n_kv_heads: config.num_key_value_heads,
        d_head: config.head_dim,
        d_ff: Some(config.intermediate_size),
        max_seq_len: config.max_position_embeddings,
        activation: gated(activation),
        norm: NormKind::RmsNorm,
        norm_eps: config.rms_norm_eps,
        bias,
        qk_norm: if kind == Kind::Qwen3 { QkNorm::PerHead } else { QkNorm::None },
        dropout: 0.0,
        attention_dropout: config.attention_dropout,
        init_std: config.initializer_range,
        position: schemes.first().cloned().unwrap_or_default(),
        layer_positions: if alike { Vec::new() } else { schemes },
        ..StackConfig::default()
    };
    Body::decoder(config.vocab_size, stack, config.tie_word_embeddings.unwrap_or(false))
}

/// The scheme of each layer.
fn schemes(config: &Config, kind: Kind, problems: &mut Vec<String>) -> Vec<PositionConfig> {
    let n_layers = config.num_hidden_layers;
    let window = config.sliding_window.filter(|_| match kind {
        Kind::Llama | Kind::SmolLm3 => false,
        Kind::Mistral => true,
        Kind::Qwen2 | Kind::Qwen3 => config.use_sliding_window.unwrap_or(false),
    });
    let rope = Rope {
        base: config.rope_theta,
        fraction: 1.0,
        window: None,
        scaling: config.rope_scaling.as_ref(),
        max_positions: config.max_position_embeddings,
        original: config.original_max_position_embeddings,
    };
    let whole = rope.scheme(problems);
    let windowed = match whole.clone() {
        PositionConfig::Rotary(config) => PositionConfig::Rotary(RotaryConfig { window, ..config }),
        other => other,
    };
    // The classes of the others do not read it.
    let types = config.layer_types.as_ref().filter(|_| !matches!(kind, Kind::Llama | Kind::Mistral));
    if let Some(types) = types {
        check_layer_types(types, n_layers, problems);
        let known = !["sliding_window", "use_sliding_window"].iter().any(|key| is_wrong(problems, key));
        if known && window.is_none() && types.iter().any(|kind| kind == SLIDING) {
            problems.push(format!("layer_types has {SLIDING}: expected {FULL}, since there is no window"));
        }
    }
    let mut interval = config.no_rope_layer_interval.unwrap_or(4);
    if kind == Kind::SmolLm3 {
        // Its class lets layers see a window that do not turn.
        only(problems, "use_sliding_window", &config.use_sliding_window.unwrap_or(false), &[false]);
        if interval == 0 {
            problems.push("no_rope_layer_interval = 0: expected 1 or more".to_owned());
            interval = 1;
        }
        let wrong = |list: &&Vec<u8>| list.len() != n_layers && !is_wrong(problems, LAYERS);
        if let Some(list) = config.no_rope_layers.as_ref().filter(wrong) {
            let found = list.len();
            problems.push(format!(
                "no_rope_layers has {found} entries: expected one for each of {n_layers} layers"
            ));
        }
    }
    per_layer(n_layers, problems, |layer| {
        let turns = match (&config.no_rope_layers, kind) {
            (Some(list), Kind::SmolLm3) => list.get(layer).is_none_or(|&turns| turns != 0),
            (None, Kind::SmolLm3) => (layer + 1) % interval != 0,
            _ => true,
        };
        let slides = match (types, kind) {
            (_, Kind::Mistral) => true,
            (Some(list), _) => list.get(layer).is_some_and(|kind| kind == SLIDING),
            (None, _) => layer >= config.max_window_layers.unwrap_or(28),
        };
        match (turns, slides) {
            (false, _) => PositionConfig::None,
            (true, true) => windowed.clone(),
            (true, false) => whole.clone(),
        }
    })
}

fn write(body: &Body, kind: Kind) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    let (instances, layer_scheme) = stack.schemes();
    let rotary = instances.iter().find_map(|scheme| match scheme {
        PositionConfig::Rotary(config) => Some(config),
        _ => None,
    });
    // Where no layer turns, the base is that of none.
    let unread = RotaryConfig::default();
    let rotary = rotary.or((kind == Kind::SmolLm3).then_some(&unread))?;
    let turns: Vec<bool> = layer_scheme.iter().map(|&idx| instances[idx] != PositionConfig::None).collect();
    let windows = instances.iter().filter_map(|scheme| match scheme {
        PositionConfig::Rotary(config) => config.window,
        _ => None,
    });
    let window = windows.max();
    let slides = |&idx: &usize| matches!(&instances[idx], PositionConfig::Rotary(c) if c.window.is_some());
    let kinds = layer_scheme.iter().map(|idx| if slides(idx) { SLIDING } else { FULL });
    let has_windows = !matches!(kind, Kind::Llama | Kind::Mistral);
    let has_biases = matches!(kind, Kind::Llama | Kind::SmolLm3);
    let (rope_scaling, original_max_position_embeddings) = written(rotary, stack.max_seq_len)?;
    table(&Config {
        vocab_size: body.vocab_size,
        hidden_size: stack.d_model,
        intermediate_size: stack.d_ff(),
        num_hidden_layers: stack.n_layers,
        num_attention_heads: stack.n_heads,
        num_key_value_heads: Some(stack.n_kv_heads()),
        head_dim: Some(stack.d_head()),
        hidden_act: activation_name(ungated(stack.activation)?)?.to_owned(),
        max_position_embeddings: stack.max_seq_len,
        initializer_range: stack.init_std,
        rms_norm_eps: stack.norm_eps,
        rope_theta: rotary.base,
        rope_scaling,
        original_max_position_embeddings,
        attention_bias: (has_biases || kind == Kind::Qwen3).then_some(stack.bias.output),
        mlp_bias: has_biases.then_some(stack.bias.ffn),
        attention_dropout: stack.attention_dropout,
        sliding_window: window,
        use_sliding_window: has_windows.then_some(window.is_some()),
        layer_types: has_windows.then(|| kinds.map(str::to_owned).collect()),
        no_rope_layers: (kind == Kind::SmolLm3).then(|| turns.iter().map(|&turns| u8::from(turns)).collect()),
        tie_word_embeddings: Some(body.tied),
        ..Config::default()
    })
}

pub(super) const HEADS: &[(&[HeadKind], &[Key])] = &[
    (&[CausalLm], &[linear("lm_head.weight", &["lm_head.weight"])]),
    (&[SequenceClassification], &[linear("score.weight", &["classifier.weight"])]),
    (&[TokenClassification], SCORES),
    (&[QuestionAnswering], super::bert::ANSWER),
];

/// Of a class that scores every token.
pub(super) const SCORES: &[Key] =
    &[linear("score.weight", &["classifier.weight"]), same("score.bias", &["classifier.bias"])];

pub(super) const KEYS: &[Key] = &[
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
    same("*.layers.{}.post_attention_layernorm.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    linear("*.layers.{}.mlp.gate_proj.weight", &["stack.layers.{}.ffn.gate_proj.weight"]),
    same("*.layers.{}.mlp.gate_proj.bias", &["stack.layers.{}.ffn.gate_proj.bias"]),
    linear("*.layers.{}.mlp.up_proj.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    same("*.layers.{}.mlp.up_proj.bias", &["stack.layers.{}.ffn.up_proj.bias"]),
    linear("*.layers.{}.mlp.down_proj.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.layers.{}.mlp.down_proj.bias", &["stack.layers.{}.ffn.down_proj.bias"]),
    same("*.norm.weight", &["stack.final_norm.gamma"]),
];
