//! GPT-NeoX (Black et al. 2022, arXiv:2204.06745), which Pythia is too: a part of each head turns, attention and feed-forward
//! layer read the same input. Queries, keys and values are stored head by head.

use locus_embedding::position::PositionConfig;
use locus_encoder::{Bias, Residual, StackConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Family, activation, activation_name, bert, renamed, table};
use crate::config::Body;
use crate::config::HeadKind::{
    Bare, CausalLm, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::keys::{How, Key, fused, linear, same};
use crate::problems::parse;
use crate::rope::{Rope, RopeKeys, RopeScaling, written};

pub(crate) const GPT_NEOX: Family = Family {
    name: "GPT-NeoX",
    model_type: "gpt_neox",
    prefix: "gpt_neox.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "GPTNeoXModel"),
        (CausalLm, "GPTNeoXForCausalLM"),
        (SequenceClassification, "GPTNeoXForSequenceClassification"),
        (TokenClassification, "GPTNeoXForTokenClassification"),
        (QuestionAnswering, "GPTNeoXForQuestionAnswering"),
    ],
    read,
    names: &[
        ("dropout", "hidden_dropout"),
        ("attention_dropout", "attention_dropout"),
        ("rotary.base", "rotary_emb_base"),
        ("rotary.base", "rope_theta"),
        ("rotary.base", "rope_parameters.rope_theta"),
        ("rotary.fraction", "rotary_pct"),
        ("rotary.fraction", "partial_rotary_factor"),
        ("rotary.fraction", "rope_parameters.partial_rotary_factor"),
    ],
    write,
    body: KEYS,
    heads: &[
        (&[CausalLm], &[linear("embed_out.weight", &["lm_head.weight"])]),
        (&[SequenceClassification], &[linear("score.weight", &["classifier.weight"])]),
        (&[TokenClassification], bert::CLASSIFIER),
        (&[QuestionAnswering], bert::ANSWER),
    ],
    dropped: &["attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq"],
};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    rotary_pct: f64,
    rotary_emb_base: f64,
    attention_dropout: f64,
    hidden_dropout: f64,
    max_position_embeddings: usize,
    initializer_range: f64,
    layer_norm_eps: f64,
    tie_word_embeddings: bool,
    use_parallel_residual: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<RopeScaling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_max_position_embeddings: Option<usize>,
    attention_bias: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 50432,
            hidden_size: 6144,
            num_hidden_layers: 44,
            num_attention_heads: 64,
            intermediate_size: 24576,
            hidden_act: "gelu".to_owned(),
            rotary_pct: 0.25,
            rotary_emb_base: 10_000.0,
            attention_dropout: 0.0,
            hidden_dropout: 0.0,
            max_position_embeddings: 2048,
            initializer_range: 0.02,
            layer_norm_eps: 1e-5,
            tie_word_embeddings: false,
            use_parallel_residual: true,
            rope_scaling: None,
            original_max_position_embeddings: None,
            attention_bias: true,
        }
    }
}

const ROPE: RopeKeys = RopeKeys { base: "rotary_emb_base", local_base: None, fraction: Some("rotary_pct") };

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    // Names that files of today write both.
    let names = [("rotary_emb_base", "rope_theta"), ("rotary_pct", "partial_rotary_factor")];
    let json = ROPE.flat(&renamed(json, &names, problems), problems);
    let config: Config = parse(&json, problems);
    let rope = Rope {
        base: config.rotary_emb_base,
        fraction: config.rotary_pct,
        window: None,
        scaling: config.rope_scaling.as_ref(),
        max_positions: config.max_position_embeddings,
        original: config.original_max_position_embeddings,
    };
    let stack = StackConfig {
        d_model: config.hidden_size,
        n_layers: config.num_hidden_layers,
        n_heads: config.num_attention_heads,
        d_ff: Some(config.intermediate_size),
        max_seq_len: config.max_position_embeddings,
        activation: activation("hidden_act", &config.hidden_act, problems),
        norm_eps: config.layer_norm_eps,
        residual: if config.use_parallel_residual { Residual::Parallel } else { Residual::Pre },
        bias: Bias { qkv: config.attention_bias, output: config.attention_bias, ..Bias::ALL },
        dropout: config.hidden_dropout,
        attention_dropout: config.attention_dropout,
        init_std: config.initializer_range,
        position: rope.scheme(problems),
        ..StackConfig::default()
    };
    Body::decoder(config.vocab_size, stack, config.tie_word_embeddings)
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    let PositionConfig::Rotary(rotary) = &stack.position else { return None };
    let (rope_scaling, original_max_position_embeddings) = written(rotary, stack.max_seq_len)?;
    table(&Config {
        vocab_size: body.vocab_size,
        hidden_size: stack.d_model,
        num_hidden_layers: stack.n_layers,
        num_attention_heads: stack.n_heads,
        intermediate_size: stack.d_ff(),
        hidden_act: activation_name(stack.activation)?.to_owned(),
        rotary_pct: rotary.fraction,
        rotary_emb_base: rotary.base,
        attention_dropout: stack.attention_dropout,
        hidden_dropout: stack.dropout,
        max_position_embeddings: stack.max_seq_len,
        initializer_range: stack.init_std,
        layer_norm_eps: stack.norm_eps,
        tie_word_embeddings: body.tied,
        use_parallel_residual: stack.residual == Residual::Parallel,
        rope_scaling,
        original_max_position_embeddings,
        attention_bias: stack.bias.qkv,
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
    same("*.embed_in.weight", &["stack.embeddings.tokens"]),
    same("*.layers.{}.input_layernorm.weight", &["stack.layers.{}.attn_norm.gamma"]),
    same("*.layers.{}.input_layernorm.bias", &["stack.layers.{}.attn_norm.beta"]),
    same("*.layers.{}.post_attention_layernorm.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    same("*.layers.{}.post_attention_layernorm.bias", &["stack.layers.{}.ffn_norm.beta"]),
    fused("*.layers.{}.attention.query_key_value.weight", QKV, How::ByHead),
    fused("*.layers.{}.attention.query_key_value.bias", QKV_BIAS, How::ByHead),
    linear("*.layers.{}.attention.dense.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.layers.{}.attention.dense.bias", &["stack.layers.{}.attn.o_proj.bias"]),
    linear("*.layers.{}.mlp.dense_h_to_4h.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    same("*.layers.{}.mlp.dense_h_to_4h.bias", &["stack.layers.{}.ffn.up_proj.bias"]),
    linear("*.layers.{}.mlp.dense_4h_to_h.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.layers.{}.mlp.dense_4h_to_h.bias", &["stack.layers.{}.ffn.down_proj.bias"]),
    same("*.final_layer_norm.weight", &["stack.final_norm.gamma"]),
    same("*.final_layer_norm.bias", &["stack.final_norm.beta"]),
];
