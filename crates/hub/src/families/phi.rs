//! Phi 1 to 2 (Gunasekar et al. 2023, arXiv:2306.11644): attention and feed-forward layer share one norm, a part of each head
//! turns, tokens have a bias.

use locus_embedding::position::PositionConfig;
use locus_encoder::{QkNorm, Residual, StackConfig};
use locus_heads::OutputConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Family, activation, activation_name, llama, table};
use crate::config::Body;
use crate::config::HeadKind::{Bare, CausalLm, SequenceClassification, TokenClassification};
use crate::keys::{Key, linear, same};
use crate::problems::parse;
use crate::rope::{Rope, RopeKeys, RopeScaling, written};

pub(crate) const PHI: Family = Family {
    name: "Phi",
    model_type: "phi",
    prefix: "model.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "PhiModel"),
        (CausalLm, "PhiForCausalLM"),
        (SequenceClassification, "PhiForSequenceClassification"),
        (TokenClassification, "PhiForTokenClassification"),
    ],
    read,
    names: &[
        ("n_kv_heads", "num_key_value_heads"),
        ("dropout", "resid_pdrop"),
        ("attention_dropout", "attention_dropout"),
    ],
    write,
    body: KEYS,
    heads: &[
        (
            &[CausalLm],
            &[
                linear("lm_head.weight", &["lm_head.weight"]),
                same("lm_head.bias", &["lm_head.bias"]),
                same("lm_head.bias", &["output_bias"]),
            ],
        ),
        (&[SequenceClassification], &[linear("score.weight", &["classifier.weight"])]),
        (&[TokenClassification], llama::SCORES),
    ],
    dropped: &["rotary_emb.inv_freq"],
};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    resid_pdrop: f64,
    attention_dropout: f64,
    hidden_act: String,
    max_position_embeddings: usize,
    initializer_range: f64,
    layer_norm_eps: f64,
    tie_word_embeddings: bool,
    rope_theta: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<RopeScaling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_max_position_embeddings: Option<usize>,
    partial_rotary_factor: f64,
    qk_layernorm: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 51200,
            hidden_size: 2048,
            intermediate_size: 8192,
            num_hidden_layers: 24,
            num_attention_heads: 32,
            num_key_value_heads: None,
            resid_pdrop: 0.0,
            attention_dropout: 0.0,
            hidden_act: "gelu_new".to_owned(),
            max_position_embeddings: 2048,
            initializer_range: 0.02,
            layer_norm_eps: 1e-5,
            tie_word_embeddings: false,
            rope_theta: 10_000.0,
            rope_scaling: None,
            original_max_position_embeddings: None,
            partial_rotary_factor: 0.5,
            qk_layernorm: false,
        }
    }
}

const ROPE: RopeKeys =
    RopeKeys { base: "rope_theta", local_base: None, fraction: Some("partial_rotary_factor") };

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let config: Config = parse(&ROPE.flat(json, problems), problems);
    let rope = Rope {
        base: config.rope_theta,
        fraction: config.partial_rotary_factor,
        window: None,
        scaling: config.rope_scaling.as_ref(),
        max_positions: config.max_position_embeddings,
        original: config.original_max_position_embeddings,
    };
    let stack = StackConfig {
        d_model: config.hidden_size,
        n_layers: config.num_hidden_layers,
        n_heads: config.num_attention_heads,
        n_kv_heads: config.num_key_value_heads,
        d_ff: Some(config.intermediate_size),
        max_seq_len: config.max_position_embeddings,
        activation: activation("hidden_act", &config.hidden_act, problems),
        norm_eps: config.layer_norm_eps,
        residual: Residual::ParallelShared,
        qk_norm: if config.qk_layernorm { QkNorm::PerHead } else { QkNorm::None },
        dropout: config.resid_pdrop,
        attention_dropout: config.attention_dropout,
        init_std: config.initializer_range,
        position: rope.scheme(problems),
        ..StackConfig::default()
    };
    let output = OutputConfig { bias: true, ..OutputConfig::default() };
    Body { output, ..Body::decoder(config.vocab_size, stack, config.tie_word_embeddings) }
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    let PositionConfig::Rotary(rotary) = &stack.position else { return None };
    let (rope_scaling, original_max_position_embeddings) = written(rotary, stack.max_seq_len)?;
    table(&Config {
        vocab_size: body.vocab_size,
        hidden_size: stack.d_model,
        intermediate_size: stack.d_ff(),
        num_hidden_layers: stack.n_layers,
        num_attention_heads: stack.n_heads,
        num_key_value_heads: Some(stack.n_kv_heads()),
        resid_pdrop: stack.dropout,
        attention_dropout: stack.attention_dropout,
        hidden_act: activation_name(stack.activation)?.to_owned(),
        max_position_embeddings: stack.max_seq_len,
        initializer_range: stack.init_std,
        layer_norm_eps: stack.norm_eps,
        tie_word_embeddings: body.tied,
        rope_theta: rotary.base,
        rope_scaling,
        original_max_position_embeddings,
        partial_rotary_factor: rotary.fraction,
        qk_layernorm: stack.qk_norm == QkNorm::PerHead,
    })
}

const KEYS: &[Key] = &[
    same("*.embed_tokens.weight", &["stack.embeddings.tokens"]),
    same("*.layers.{}.input_layernorm.weight", &["stack.layers.{}.attn_norm.gamma"]),
    same("*.layers.{}.input_layernorm.bias", &["stack.layers.{}.attn_norm.beta"]),
    linear("*.layers.{}.self_attn.q_proj.weight", &["stack.layers.{}.attn.q_proj.weight"]),
    same("*.layers.{}.self_attn.q_proj.bias", &["stack.layers.{}.attn.q_proj.bias"]),
    linear("*.layers.{}.self_attn.k_proj.weight", &["stack.layers.{}.attn.k_proj.weight"]),
    same("*.layers.{}.self_attn.k_proj.bias", &["stack.layers.{}.attn.k_proj.bias"]),
    linear("*.layers.{}.self_attn.v_proj.weight", &["stack.layers.{}.attn.v_proj.weight"]),
    same("*.layers.{}.self_attn.v_proj.bias", &["stack.layers.{}.attn.v_proj.bias"]),
    linear("*.layers.{}.self_attn.dense.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.layers.{}.self_attn.dense.bias", &["stack.layers.{}.attn.o_proj.bias"]),
    same("*.layers.{}.self_attn.q_layernorm.weight", &["stack.layers.{}.attn.q_norm.gamma"]),
    same("*.layers.{}.self_attn.q_layernorm.bias", &["stack.layers.{}.attn.q_norm.beta"]),
    same("*.layers.{}.self_attn.k_layernorm.weight", &["stack.layers.{}.attn.k_norm.gamma"]),
    same("*.layers.{}.self_attn.k_layernorm.bias", &["stack.layers.{}.attn.k_norm.beta"]),
    linear("*.layers.{}.mlp.fc1.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    same("*.layers.{}.mlp.fc1.bias", &["stack.layers.{}.ffn.up_proj.bias"]),
    linear("*.layers.{}.mlp.fc2.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.layers.{}.mlp.fc2.bias", &["stack.layers.{}.ffn.down_proj.bias"]),
    same("*.final_layernorm.weight", &["stack.final_norm.gamma"]),
    same("*.final_layernorm.bias", &["stack.final_norm.beta"]),
];
