//! BLOOM (Le Scao et al. 2022, arXiv:2211.05100): ALiBi, a norm on the embedding; queries, keys and values head by head.

use locus_embedding::position::PositionConfig;
use locus_encoder::{Activation, Residual, StackConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Family, bert, renamed, table};
use crate::config::Body;
use crate::config::HeadKind::{
    Bare, CausalLm, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::keys::{How, Key, fused, linear, same};
use crate::problems::parse;

pub(crate) const BLOOM: Family = Family {
    name: "BLOOM",
    model_type: "bloom",
    prefix: "transformer.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "BloomModel"),
        (CausalLm, "BloomForCausalLM"),
        (SequenceClassification, "BloomForSequenceClassification"),
        (TokenClassification, "BloomForTokenClassification"),
        (QuestionAnswering, "BloomForQuestionAnswering"),
    ],
    read,
    names: &[
        ("d_model", "hidden_size"),
        ("d_model", "n_embed"),
        ("n_layers", "n_layer"),
        ("n_layers", "num_hidden_layers"),
        ("n_heads", "n_head"),
        ("n_heads", "num_attention_heads"),
        ("max_seq_len", "seq_length"),
        ("norm_eps", "layer_norm_epsilon"),
        ("dropout", "hidden_dropout"),
        ("attention_dropout", "attention_dropout"),
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
    vocab_size: usize,
    hidden_size: usize,
    n_layer: usize,
    n_head: usize,
    layer_norm_epsilon: f64,
    initializer_range: f64,
    apply_residual_connection_post_layernorm: bool,
    hidden_dropout: f64,
    attention_dropout: f64,
    seq_length: usize,
    tie_word_embeddings: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 250_880,
            hidden_size: 64,
            n_layer: 2,
            n_head: 8,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            apply_residual_connection_post_layernorm: false,
            hidden_dropout: 0.0,
            attention_dropout: 0.0,
            // The length of training; ALiBi has no limit.
            seq_length: 2048,
            tie_word_embeddings: true,
        }
    }
}

/// Keys with two names, of which files may have both.
const SECOND_NAMES: &[(&str, &str)] =
    &[("hidden_size", "n_embed"), ("n_layer", "num_hidden_layers"), ("n_head", "num_attention_heads")];

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let config: Config = parse(&renamed(json, SECOND_NAMES, problems), problems);
    let residual =
        if config.apply_residual_connection_post_layernorm { Residual::PreNormed } else { Residual::Pre };
    let stack = StackConfig {
        d_model: config.hidden_size,
        n_layers: config.n_layer,
        n_heads: config.n_head,
        max_seq_len: config.seq_length,
        activation: Activation::GeluTanh,
        norm_eps: config.layer_norm_epsilon,
        residual,
        embedding_norm: true,
        dropout: config.hidden_dropout,
        attention_dropout: config.attention_dropout,
        init_std: config.initializer_range,
        position: PositionConfig::Alibi(Default::default()),
        ..StackConfig::default()
    };
    Body::decoder(config.vocab_size, stack, config.tie_word_embeddings)
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    table(&Config {
        vocab_size: body.vocab_size,
        hidden_size: stack.d_model,
        n_layer: stack.n_layers,
        n_head: stack.n_heads,
        layer_norm_epsilon: stack.norm_eps,
        initializer_range: stack.init_std,
        apply_residual_connection_post_layernorm: stack.residual == Residual::PreNormed,
        hidden_dropout: stack.dropout,
        attention_dropout: stack.attention_dropout,
        seq_length: stack.max_seq_len,
        tie_word_embeddings: body.tied,
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
    same("*.word_embeddings.weight", &["stack.embeddings.tokens"]),
    same("*.word_embeddings_layernorm.weight", &["stack.embedding_norm.gamma"]),
    same("*.word_embeddings_layernorm.bias", &["stack.embedding_norm.beta"]),
    same("*.h.{}.input_layernorm.weight", &["stack.layers.{}.attn_norm.gamma"]),
    same("*.h.{}.input_layernorm.bias", &["stack.layers.{}.attn_norm.beta"]),
    fused("*.h.{}.self_attention.query_key_value.weight", QKV, How::ByHead),
    fused("*.h.{}.self_attention.query_key_value.bias", QKV_BIAS, How::ByHead),
    linear("*.h.{}.self_attention.dense.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.h.{}.self_attention.dense.bias", &["stack.layers.{}.attn.o_proj.bias"]),
    same("*.h.{}.post_attention_layernorm.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    same("*.h.{}.post_attention_layernorm.bias", &["stack.layers.{}.ffn_norm.beta"]),
    linear("*.h.{}.mlp.dense_h_to_4h.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    same("*.h.{}.mlp.dense_h_to_4h.bias", &["stack.layers.{}.ffn.up_proj.bias"]),
    linear("*.h.{}.mlp.dense_4h_to_h.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.h.{}.mlp.dense_4h_to_h.bias", &["stack.layers.{}.ffn.down_proj.bias"]),
    same("*.ln_f.weight", &["stack.final_norm.gamma"]),
    same("*.ln_f.bias", &["stack.final_norm.beta"]),
];
