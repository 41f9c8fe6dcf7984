//! OPT (Zhang et al. 2022, arXiv:2205.01068): positions from row 2 on; the 350m model has norms after its layers and token
//! vectors of a width of their own.

use locus_embedding::position::PositionConfig;
use locus_encoder::{Bias, EmbeddingProjection, Residual, StackConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Family, activation, activation_name, bert, roberta, table};
use crate::config::Body;
use crate::config::HeadKind::{Bare, CausalLm, QuestionAnswering, SequenceClassification};
use crate::keys::{Key, linear, same};
use crate::problems::{only, parse};

pub(crate) const OPT: Family = Family {
    name: "OPT",
    model_type: "opt",
    prefix: "model.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "OPTModel"),
        (CausalLm, "OPTForCausalLM"),
        (SequenceClassification, "OPTForSequenceClassification"),
        (QuestionAnswering, "OPTForQuestionAnswering"),
    ],
    read,
    names: &[
        ("d_ff", "ffn_dim"),
        ("init_std", "init_std"),
        ("dropout", "dropout"),
        ("attention_dropout", "attention_dropout"),
        ("embedding_projection.width", "word_embed_proj_dim"),
    ],
    write,
    body: KEYS,
    heads: &[
        (&[CausalLm], &[linear("lm_head.weight", &["lm_head.weight"])]),
        (&[SequenceClassification], &[linear("score.weight", &["classifier.weight"])]),
        (&[QuestionAnswering], bert::ANSWER),
    ],
    dropped: &[],
};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    ffn_dim: usize,
    max_position_embeddings: usize,
    do_layer_norm_before: bool,
    _remove_final_layer_norm: bool,
    word_embed_proj_dim: Option<usize>,
    dropout: f64,
    attention_dropout: f64,
    num_attention_heads: usize,
    activation_function: String,
    init_std: f64,
    enable_bias: bool,
    layer_norm_elementwise_affine: bool,
    tie_word_embeddings: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 50272,
            hidden_size: 768,
            num_hidden_layers: 12,
            ffn_dim: 3072,
            max_position_embeddings: 2048,
            do_layer_norm_before: true,
            _remove_final_layer_norm: false,
            word_embed_proj_dim: None,
            dropout: 0.1,
            attention_dropout: 0.0,
            num_attention_heads: 12,
            activation_function: "relu".to_owned(),
            init_std: 0.02,
            enable_bias: true,
            layer_norm_elementwise_affine: true,
            tie_word_embeddings: true,
        }
    }
}

/// Its positions begin at row 2, whatever the padding id is.
const PAD_ROW: usize = 1;

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let config: Config = parse(json, problems);
    let removed = config._remove_final_layer_norm && config.do_layer_norm_before;
    only(problems, "_remove_final_layer_norm", &removed, &[false]);
    only(problems, "layer_norm_elementwise_affine", &config.layer_norm_elementwise_affine, &[true]);
    let projection = match config.word_embed_proj_dim {
        Some(width) if width != config.hidden_size => EmbeddingProjection::InAndOut { width },
        _ => EmbeddingProjection::None,
    };
    let stack = StackConfig {
        d_model: config.hidden_size,
        n_layers: config.num_hidden_layers,
        n_heads: config.num_attention_heads,
        d_ff: Some(config.ffn_dim),
        max_seq_len: config.max_position_embeddings,
        activation: activation("activation_function", &config.activation_function, problems),
        residual: if config.do_layer_norm_before { Residual::Pre } else { Residual::Post },
        bias: if config.enable_bias { Bias::ALL } else { Bias::NONE },
        embedding_projection: projection,
        dropout: config.dropout,
        attention_dropout: config.attention_dropout,
        init_std: config.init_std,
        position: PositionConfig::Learned(roberta::after_padding(PAD_ROW)),
        ..StackConfig::default()
    };
    Body::decoder(config.vocab_size, stack, config.tie_word_embeddings)
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    table(&Config {
        vocab_size: body.vocab_size,
        hidden_size: stack.d_model,
        num_hidden_layers: stack.n_layers,
        ffn_dim: stack.d_ff(),
        max_position_embeddings: stack.max_seq_len,
        do_layer_norm_before: stack.residual == Residual::Pre,
        word_embed_proj_dim: Some(stack.embedding_width()),
        dropout: stack.dropout,
        attention_dropout: stack.attention_dropout,
        num_attention_heads: stack.n_heads,
        activation_function: activation_name(stack.activation)?.to_owned(),
        init_std: stack.init_std,
        enable_bias: stack.bias == Bias::ALL,
        tie_word_embeddings: body.tied,
        ..Config::default()
    })
}

const KEYS: &[Key] = &[
    same("*.decoder.embed_tokens.weight", &["stack.embeddings.tokens"]),
    same("*.decoder.embed_positions.weight", &["stack.schemes.0.table"]),
    linear("*.decoder.project_in.weight", &["stack.embedding_proj.weight"]),
    linear("*.decoder.project_out.weight", &["stack.output_proj.weight"]),
    same("*.decoder.layers.{}.self_attn_layer_norm.weight", &["stack.layers.{}.attn_norm.gamma"]),
    same("*.decoder.layers.{}.self_attn_layer_norm.bias", &["stack.layers.{}.attn_norm.beta"]),
    linear("*.decoder.layers.{}.self_attn.q_proj.weight", &["stack.layers.{}.attn.q_proj.weight"]),
    same("*.decoder.layers.{}.self_attn.q_proj.bias", &["stack.layers.{}.attn.q_proj.bias"]),
    linear("*.decoder.layers.{}.self_attn.k_proj.weight", &["stack.layers.{}.attn.k_proj.weight"]),
    same("*.decoder.layers.{}.self_attn.k_proj.bias", &["stack.layers.{}.attn.k_proj.bias"]),
    linear("*.decoder.layers.{}.self_attn.v_proj.weight", &["stack.layers.{}.attn.v_proj.weight"]),
    same("*.decoder.layers.{}.self_attn.v_proj.bias", &["stack.layers.{}.attn.v_proj.bias"]),
    linear("*.decoder.layers.{}.self_attn.out_proj.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.decoder.layers.{}.self_attn.out_proj.bias", &["stack.layers.{}.attn.o_proj.bias"]),
    same("*.decoder.layers.{}.final_layer_norm.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    same("*.decoder.layers.{}.final_layer_norm.bias", &["stack.layers.{}.ffn_norm.beta"]),
    linear("*.decoder.layers.{}.fc1.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    same("*.decoder.layers.{}.fc1.bias", &["stack.layers.{}.ffn.up_proj.bias"]),
    linear("*.decoder.layers.{}.fc2.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.decoder.layers.{}.fc2.bias", &["stack.layers.{}.ffn.down_proj.bias"]),
    same("*.decoder.final_layer_norm.weight", &["stack.final_norm.gamma"]),
    same("*.decoder.final_layer_norm.bias", &["stack.final_norm.beta"]),
];
