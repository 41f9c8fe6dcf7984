//! DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT without segments, with a layer and a rectifier below its classes.

use locus_embedding::position::{LearnedConfig, PositionConfig};
use locus_encoder::{Residual, StackConfig};
use locus_heads::{HeadActivation, TransformConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Family, activation, activation_name, bert, in_head, roberta, table};
use crate::config::HeadKind::{
    Bare, MaskedLm, MultipleChoice, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::config::{Body, Layers};
use crate::keys::{Key, linear, same};
use crate::problems::parse;

pub(crate) const DISTILBERT: Family = Family {
    name: "DistilBERT",
    model_type: "distilbert",
    prefix: "distilbert.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "DistilBertModel"),
        (MaskedLm, "DistilBertForMaskedLM"),
        (SequenceClassification, "DistilBertForSequenceClassification"),
        (TokenClassification, "DistilBertForTokenClassification"),
        (QuestionAnswering, "DistilBertForQuestionAnswering"),
        (MultipleChoice, "DistilBertForMultipleChoice"),
    ],
    read,
    names: &[
        ("d_model", "dim"),
        ("n_layers", "n_layers"),
        ("n_heads", "n_heads"),
        ("d_ff", "hidden_dim"),
        ("dropout", "dropout"),
        ("attention_dropout", "attention_dropout"),
    ],
    write,
    body: KEYS,
    heads: &[
        (&[SequenceClassification, MultipleChoice], ROWS),
        (&[SequenceClassification, MultipleChoice, TokenClassification], bert::CLASSIFIER),
        (&[QuestionAnswering], bert::ANSWER),
        (&[MaskedLm], MASKED),
    ],
    dropped: &["embeddings.position_ids"],
};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    max_position_embeddings: usize,
    /// Not read: sinusoidal positions are stored as a table like learned ones; only that it is not trained would differ.
    sinusoidal_pos_embds: bool,
    n_layers: usize,
    n_heads: usize,
    dim: usize,
    hidden_dim: usize,
    dropout: f64,
    attention_dropout: f64,
    activation: String,
    initializer_range: f64,
    tie_word_embeddings: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            max_position_embeddings: 512,
            sinusoidal_pos_embds: false,
            n_layers: 6,
            n_heads: 12,
            dim: 768,
            hidden_dim: 3072,
            dropout: 0.1,
            attention_dropout: 0.1,
            activation: "gelu".to_owned(),
            initializer_range: 0.02,
            tie_word_embeddings: true,
        }
    }
}

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let config: Config = parse(json, problems);
    let activation = activation("activation", &config.activation, problems);
    let stack = StackConfig {
        d_model: config.dim,
        n_layers: config.n_layers,
        n_heads: config.n_heads,
        d_ff: Some(config.hidden_dim),
        max_seq_len: config.max_position_embeddings,
        activation,
        norm_eps: 1e-12,
        residual: Residual::Post,
        embedding_norm: true,
        dropout: config.dropout,
        attention_dropout: config.attention_dropout,
        init_std: config.initializer_range,
        position: PositionConfig::Learned(LearnedConfig::default()),
        ..StackConfig::default()
    };
    let masked = TransformConfig { activation: in_head(activation), bias: true, norm: true };
    Body {
        tied: config.tie_word_embeddings,
        masked: (masked, true),
        rows: Layers { transform: Some(roberta::dense(HeadActivation::Relu)), bias: true },
        ..Body::encoder(config.vocab_size, stack)
    }
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    table(&Config {
        vocab_size: body.vocab_size,
        max_position_embeddings: stack.max_seq_len,
        n_layers: stack.n_layers,
        n_heads: stack.n_heads,
        dim: stack.d_model,
        hidden_dim: stack.d_ff(),
        dropout: stack.dropout,
        attention_dropout: stack.attention_dropout,
        activation: activation_name(stack.activation)?.to_owned(),
        initializer_range: stack.init_std,
        tie_word_embeddings: body.tied,
        ..Config::default()
    })
}

const ROWS: &[Key] = &[
    linear("pre_classifier.weight", &["transform.dense.weight"]),
    same("pre_classifier.bias", &["transform.dense.bias"]),
];

const MASKED: &[Key] = &[
    linear("vocab_transform.weight", &["transform.dense.weight"]),
    same("vocab_transform.bias", &["transform.dense.bias"]),
    same("vocab_layer_norm.weight", &["transform.norm.gamma"]),
    same("vocab_layer_norm.bias", &["transform.norm.beta"]),
    linear("vocab_projector.weight", &["lm_head.weight"]),
    same("vocab_projector.bias", &["output_bias"]),
    same("vocab_projector.bias", &["lm_head.bias"]),
];

const KEYS: &[Key] = &[
    same("*.embeddings.word_embeddings.weight", &["stack.embeddings.tokens"]),
    same("*.embeddings.position_embeddings.weight", &["stack.schemes.0.table"]),
    same("*.embeddings.LayerNorm.weight", &["stack.embedding_norm.gamma"]),
    same("*.embeddings.LayerNorm.bias", &["stack.embedding_norm.beta"]),
    linear("*.transformer.layer.{}.attention.q_lin.weight", &["stack.layers.{}.attn.q_proj.weight"]),
    same("*.transformer.layer.{}.attention.q_lin.bias", &["stack.layers.{}.attn.q_proj.bias"]),
    linear("*.transformer.layer.{}.attention.k_lin.weight", &["stack.layers.{}.attn.k_proj.weight"]),
    same("*.transformer.layer.{}.attention.k_lin.bias", &["stack.layers.{}.attn.k_proj.bias"]),
    linear("*.transformer.layer.{}.attention.v_lin.weight", &["stack.layers.{}.attn.v_proj.weight"]),
    same("*.transformer.layer.{}.attention.v_lin.bias", &["stack.layers.{}.attn.v_proj.bias"]),
    linear("*.transformer.layer.{}.attention.out_lin.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.transformer.layer.{}.attention.out_lin.bias", &["stack.layers.{}.attn.o_proj.bias"]),
    same("*.transformer.layer.{}.sa_layer_norm.weight", &["stack.layers.{}.attn_norm.gamma"]),
    same("*.transformer.layer.{}.sa_layer_norm.bias", &["stack.layers.{}.attn_norm.beta"]),
    linear("*.transformer.layer.{}.ffn.lin1.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    same("*.transformer.layer.{}.ffn.lin1.bias", &["stack.layers.{}.ffn.up_proj.bias"]),
    linear("*.transformer.layer.{}.ffn.lin2.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.transformer.layer.{}.ffn.lin2.bias", &["stack.layers.{}.ffn.down_proj.bias"]),
    same("*.transformer.layer.{}.output_layer_norm.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    same("*.transformer.layer.{}.output_layer_norm.bias", &["stack.layers.{}.ffn_norm.beta"]),
];
