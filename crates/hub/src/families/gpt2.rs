//! GPT-2 (Radford et al. 2019). Its projections are stored `[in, out]`, with queries, keys and values side by side.

use locus_embedding::position::{LearnedConfig, PositionConfig};
use locus_encoder::{AttentionScale, StackConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Family, activation, activation_name, table};
use crate::config::Body;
use crate::config::HeadKind::{
    Bare, CausalLm, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::keys::{How, Key, fused, linear, same};
use crate::problems::{only, parse};

pub(crate) const GPT2: Family = Family {
    name: "GPT-2",
    model_type: "gpt2",
    prefix: "transformer.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "GPT2Model"),
        (CausalLm, "GPT2LMHeadModel"),
        (SequenceClassification, "GPT2ForSequenceClassification"),
        (TokenClassification, "GPT2ForTokenClassification"),
        (QuestionAnswering, "GPT2ForQuestionAnswering"),
    ],
    read,
    names: &[
        ("d_model", "n_embd"),
        ("n_layers", "n_layer"),
        ("n_heads", "n_head"),
        ("d_ff", "n_inner"),
        ("max_seq_len", "n_positions"),
        ("norm_eps", "layer_norm_epsilon"),
        ("dropout", "resid_pdrop"),
        ("attention_dropout", "attn_pdrop"),
    ],
    write,
    body: KEYS,
    heads: &[
        (&[CausalLm], &[linear("lm_head.weight", &["lm_head.weight"])]),
        (&[SequenceClassification], &[linear("score.weight", &["classifier.weight"])]),
        (&[TokenClassification], super::bert::CLASSIFIER),
        (&[QuestionAnswering], super::bert::ANSWER),
    ],
    dropped: &[".attn.bias", ".attn.masked_bias"],
};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_inner: Option<usize>,
    activation_function: String,
    resid_pdrop: f64,
    embd_pdrop: f64,
    attn_pdrop: f64,
    layer_norm_epsilon: f64,
    initializer_range: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    add_cross_attention: bool,
    tie_word_embeddings: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 50257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: "gelu_new".to_owned(),
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
            tie_word_embeddings: true,
        }
    }
}

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let config: Config = parse(json, problems);
    only(problems, "add_cross_attention", &config.add_cross_attention, &[false]);
    let d_head = config.n_embd / config.n_head.max(1);
    let scale = if config.scale_attn_weights { scale_of(d_head) } else { 1.0 };
    let stack = StackConfig {
        d_model: config.n_embd,
        n_layers: config.n_layer,
        n_heads: config.n_head,
        d_ff: config.n_inner,
        max_seq_len: config.n_positions,
        activation: activation("activation_function", &config.activation_function, problems),
        norm_eps: config.layer_norm_epsilon,
        attention_scale: match (config.scale_attn_by_inverse_layer_idx, config.scale_attn_weights) {
            (true, _) => AttentionScale::ByLayer(scale),
            (false, true) => AttentionScale::Scheme,
            (false, false) => AttentionScale::Value(scale),
        },
        dropout: config.resid_pdrop,
        attention_dropout: config.attn_pdrop,
        init_std: config.initializer_range,
        position: PositionConfig::Learned(LearnedConfig::default()),
        ..StackConfig::default()
    };
    Body::decoder(config.vocab_size, stack, config.tie_word_embeddings)
}

/// That of Vaswani et al.
fn scale_of(d_head: usize) -> f64 {
    (d_head.max(1) as f64).powf(-0.5)
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    let (by_layer, scales) = match stack.attention_scale {
        AttentionScale::Scheme => (false, true),
        AttentionScale::Value(scale) => (false, scale != 1.0),
        AttentionScale::ByLayer(scale) => (true, scale != 1.0),
    };
    table(&Config {
        vocab_size: body.vocab_size,
        n_positions: stack.max_seq_len,
        n_embd: stack.d_model,
        n_layer: stack.n_layers,
        n_head: stack.n_heads,
        n_inner: stack.d_ff,
        activation_function: activation_name(stack.activation)?.to_owned(),
        resid_pdrop: stack.dropout,
        embd_pdrop: stack.dropout,
        attn_pdrop: stack.attention_dropout,
        layer_norm_epsilon: stack.norm_eps,
        initializer_range: stack.init_std,
        scale_attn_weights: scales,
        scale_attn_by_inverse_layer_idx: by_layer,
        tie_word_embeddings: body.tied,
        ..Config::default()
    })
}

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

const KEYS: &[Key] = &[
    same("*.wte.weight", &["stack.embeddings.tokens"]),
    same("*.wpe.weight", &["stack.schemes.0.table"]),
    same("*.h.{}.ln_1.weight", &["stack.layers.{}.attn_norm.gamma"]),
    same("*.h.{}.ln_1.bias", &["stack.layers.{}.attn_norm.beta"]),
    fused("*.h.{}.attn.c_attn.weight", QKV, How::SideBySide),
    fused("*.h.{}.attn.c_attn.bias", QKV_BIAS, How::SideBySide),
    same("*.h.{}.attn.c_proj.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.h.{}.attn.c_proj.bias", &["stack.layers.{}.attn.o_proj.bias"]),
    same("*.h.{}.ln_2.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    same("*.h.{}.ln_2.bias", &["stack.layers.{}.ffn_norm.beta"]),
    same("*.h.{}.mlp.c_fc.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    same("*.h.{}.mlp.c_fc.bias", &["stack.layers.{}.ffn.up_proj.bias"]),
    same("*.h.{}.mlp.c_proj.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.h.{}.mlp.c_proj.bias", &["stack.layers.{}.ffn.down_proj.bias"]),
    same("*.ln_f.weight", &["stack.final_norm.gamma"]),
    same("*.ln_f.bias", &["stack.final_norm.beta"]),
];
