//! MPT (MosaicML 2023): ALiBi, no biases at all; queries, keys and values below one another.

use locus_embedding::position::PositionConfig;
use locus_encoder::{Activation, AttentionScale, Bias, StackConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Family, bert, table};
use crate::config::Body;
use crate::config::HeadKind::{
    Bare, CausalLm, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::keys::{How, Key, fused, linear, same};
use crate::problems::{only, parse};

pub(crate) const MPT: Family = Family {
    name: "MPT",
    model_type: "mpt",
    prefix: "transformer.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "MptModel"),
        (CausalLm, "MptForCausalLM"),
        // As the files of its authors name it.
        (CausalLm, "MPTForCausalLM"),
        (SequenceClassification, "MptForSequenceClassification"),
        (TokenClassification, "MptForTokenClassification"),
        (QuestionAnswering, "MptForQuestionAnswering"),
    ],
    read,
    names: &[
        ("d_model", "d_model"),
        ("n_layers", "n_layers"),
        ("n_heads", "n_heads"),
        ("max_seq_len", "max_seq_len"),
        ("norm_eps", "layer_norm_epsilon"),
        ("dropout", "resid_pdrop"),
        ("attention_dropout", "attn_config.attn_pdrop"),
        ("attention_scale.value", "attn_config.softmax_scale"),
    ],
    write,
    body: KEYS,
    heads: &[
        (&[CausalLm], &[linear("lm_head.weight", &["lm_head.weight"])]),
        (&[SequenceClassification], &[linear("score.weight", &["classifier.weight"])]),
        (&[TokenClassification], bert::CLASSIFIER),
        (&[QuestionAnswering], bert::ANSWER),
    ],
    dropped: &[],
};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Config {
    d_model: usize,
    n_heads: usize,
    n_layers: usize,
    expansion_ratio: usize,
    max_seq_len: usize,
    vocab_size: usize,
    resid_pdrop: f64,
    layer_norm_epsilon: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    logit_scale: Option<Value>,
    initializer_range: f64,
    attn_config: AttnConfig,
    tie_word_embeddings: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct AttnConfig {
    attn_type: String,
    attn_pdrop: f64,
    clip_qkv: Option<f64>,
    softmax_scale: Option<f64>,
    prefix_lm: bool,
    qk_ln: bool,
    alibi: bool,
    alibi_bias_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            d_model: 2048,
            n_heads: 16,
            n_layers: 24,
            expansion_ratio: 4,
            max_seq_len: 2048,
            vocab_size: 50368,
            resid_pdrop: 0.0,
            layer_norm_epsilon: 1e-5,
            logit_scale: None,
            initializer_range: 0.02,
            attn_config: AttnConfig::default(),
            tie_word_embeddings: true,
        }
    }
}

impl Default for AttnConfig {
    fn default() -> Self {
        Self {
            attn_type: "multihead_attention".to_owned(),
            attn_pdrop: 0.0,
            clip_qkv: None,
            softmax_scale: None,
            prefix_lm: false,
            qk_ln: false,
            alibi: true,
            alibi_bias_max: 8,
        }
    }
}

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let config: Config = parse(json, problems);
    let attn = &config.attn_config;
    only(problems, "expansion_ratio", &config.expansion_ratio, &[4]);
    only(problems, "logit_scale", &config.logit_scale, &[None]);
    only(problems, "attn_config.attn_type", &attn.attn_type.as_str(), &["multihead_attention"]);
    only(problems, "attn_config.clip_qkv", &attn.clip_qkv, &[None]);
    only(problems, "attn_config.prefix_lm", &attn.prefix_lm, &[false]);
    only(problems, "attn_config.qk_ln", &attn.qk_ln, &[false]);
    only(problems, "attn_config.alibi", &attn.alibi, &[true]);
    only(problems, "attn_config.alibi_bias_max", &attn.alibi_bias_max, &[8]);
    let stack = StackConfig {
        d_model: config.d_model,
        n_layers: config.n_layers,
        n_heads: config.n_heads,
        max_seq_len: config.max_seq_len,
        activation: Activation::Gelu,
        norm_eps: config.layer_norm_epsilon,
        bias: Bias { norm: false, ..Bias::NONE },
        attention_scale: attn.softmax_scale.map_or(AttentionScale::Scheme, AttentionScale::Value),
        dropout: config.resid_pdrop,
        attention_dropout: attn.attn_pdrop,
        init_std: config.initializer_range,
        position: PositionConfig::Alibi(Default::default()),
        ..StackConfig::default()
    };
    Body::decoder(config.vocab_size, stack, config.tie_word_embeddings)
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    let attn_config = AttnConfig {
        attn_pdrop: stack.attention_dropout,
        softmax_scale: match stack.attention_scale {
            AttentionScale::Value(scale) => Some(scale),
            AttentionScale::Scheme => None,
            AttentionScale::ByLayer(_) => return None,
        },
        ..AttnConfig::default()
    };
    table(&Config {
        d_model: stack.d_model,
        n_heads: stack.n_heads,
        n_layers: stack.n_layers,
        max_seq_len: stack.max_seq_len,
        vocab_size: body.vocab_size,
        resid_pdrop: stack.dropout,
        layer_norm_epsilon: stack.norm_eps,
        initializer_range: stack.init_std,
        attn_config,
        tie_word_embeddings: body.tied,
        ..Config::default()
    })
}

const QKV: &[&str] = &[
    "stack.layers.{}.attn.q_proj.weight",
    "stack.layers.{}.attn.k_proj.weight",
    "stack.layers.{}.attn.v_proj.weight",
];

const KEYS: &[Key] = &[
    same("*.wte.weight", &["stack.embeddings.tokens"]),
    same("*.blocks.{}.norm_1.weight", &["stack.layers.{}.attn_norm.gamma"]),
    fused("*.blocks.{}.attn.Wqkv.weight", QKV, How::Stacked),
    linear("*.blocks.{}.attn.out_proj.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.blocks.{}.norm_2.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    linear("*.blocks.{}.ffn.up_proj.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    linear("*.blocks.{}.ffn.down_proj.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.norm_f.weight", &["stack.final_norm.gamma"]),
];
