//! BERT (Devlin et al. 2018, arXiv:1810.04805).

use locus_embedding::position::{LearnedConfig, PositionConfig, ShawConfig};
use locus_encoder::{PositionSharing, Residual, StackConfig};
use locus_heads::{HeadActivation, TransformConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Family, activation, activation_name, in_head, is_set, table};
use crate::config::HeadKind::{
    Bare, MaskedLm, MultipleChoice, NextSentence, QuestionAnswering, SequenceClassification,
    TokenClassification,
};
use crate::config::{Body, Layers};
use crate::keys::{How, Key, fused, linear, same};
use crate::problems::{only, parse};

pub(crate) const BERT: Family = Family {
    name: "BERT",
    model_type: "bert",
    prefix: "bert.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "BertModel"),
        (MaskedLm, "BertForMaskedLM"),
        (MaskedLm, "BertForPreTraining"),
        (SequenceClassification, "BertForSequenceClassification"),
        (TokenClassification, "BertForTokenClassification"),
        (QuestionAnswering, "BertForQuestionAnswering"),
        (MultipleChoice, "BertForMultipleChoice"),
        (NextSentence, "BertForNextSentencePrediction"),
    ],
    read,
    names: &[],
    write,
    body: KEYS,
    heads: &[
        (&[Bare, SequenceClassification, MultipleChoice, NextSentence], POOLER),
        (&[SequenceClassification, MultipleChoice, TokenClassification], CLASSIFIER),
        (&[NextSentence], NEXT),
        (&[QuestionAnswering], ANSWER),
        (&[MaskedLm], MASKED),
    ],
    dropped: &["embeddings.position_ids", "cls.seq_relationship.weight", "cls.seq_relationship.bias"],
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
    hidden_dropout_prob: f64,
    attention_probs_dropout_prob: f64,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    initializer_range: f64,
    layer_norm_eps: f64,
    position_embedding_type: String,
    is_decoder: bool,
    add_cross_attention: bool,
    tie_word_embeddings: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_owned(),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            position_embedding_type: "absolute".to_owned(),
            is_decoder: false,
            add_cross_attention: false,
            tie_word_embeddings: true,
        }
    }
}

/// Positions are numbered.
const ABSOLUTE: &str = "absolute";
/// Queries meet vectors of the distance (Shaw et al. 2018), of each layer.
const RELATIVE: &str = "relative_key";
/// Keys do too (Huang et al. 2020, method 4).
const RELATIVE_BOTH: &str = "relative_key_query";

/// Families that have numbered positions only.
pub(super) fn only_absolute(json: &Map<String, Value>, problems: &mut Vec<String>) {
    let found = json.get("position_embedding_type").filter(|value| is_set(value));
    let found = found.and_then(Value::as_str).unwrap_or(ABSOLUTE);
    only(problems, "position_embedding_type", &found, &[ABSOLUTE]);
}

/// Also of families that differ from BERT in a few keys.
pub(super) fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let config: Config = parse(json, problems);
    let kind = config.position_embedding_type.as_str();
    only(problems, "position_embedding_type", &kind, &[ABSOLUTE, RELATIVE, RELATIVE_BOTH]);
    let mut relative = |both_sides| {
        let max_distance = config.max_position_embeddings.saturating_sub(1);
        if max_distance == 0 {
            let found = config.max_position_embeddings;
            problems.push(format!("max_position_embeddings = {found}: expected 2 or more, for distances"));
        }
        let init_std = config.initializer_range;
        PositionConfig::Shaw(ShawConfig { max_distance, values: false, both_sides, init_std })
    };
    let (position, position_sharing) = match kind {
        RELATIVE => (relative(false), PositionSharing::PerLayer),
        RELATIVE_BOTH => (relative(true), PositionSharing::PerLayer),
        _ => (PositionConfig::Learned(LearnedConfig::default()), PositionSharing::AcrossLayers),
    };
    only(problems, "is_decoder", &config.is_decoder, &[false]);
    only(problems, "add_cross_attention", &config.add_cross_attention, &[false]);
    let activation = activation("hidden_act", &config.hidden_act, problems);
    let stack = StackConfig {
        d_model: config.hidden_size,
        n_layers: config.num_hidden_layers,
        n_heads: config.num_attention_heads,
        d_ff: Some(config.intermediate_size),
        max_seq_len: config.max_position_embeddings,
        activation,
        norm_eps: config.layer_norm_eps,
        residual: Residual::Post,
        embedding_norm: true,
        n_segments: config.type_vocab_size,
        dropout: config.hidden_dropout_prob,
        attention_dropout: config.attention_probs_dropout_prob,
        init_std: config.initializer_range,
        position,
        position_sharing,
        ..StackConfig::default()
    };
    let pooler = TransformConfig { activation: HeadActivation::Tanh, bias: true, norm: false };
    let masked = TransformConfig { activation: in_head(activation), bias: true, norm: true };
    Body {
        tied: config.tie_word_embeddings,
        masked: (masked, true),
        rows: Layers { transform: Some(pooler.clone()), bias: true },
        pooler: Some(pooler),
        ..Body::encoder(config.vocab_size, stack)
    }
}

pub(super) fn write(body: &Body) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    table(&Config {
        vocab_size: body.vocab_size,
        hidden_size: stack.d_model,
        num_hidden_layers: stack.n_layers,
        num_attention_heads: stack.n_heads,
        intermediate_size: stack.d_ff(),
        hidden_act: activation_name(stack.activation)?.to_owned(),
        hidden_dropout_prob: stack.dropout,
        attention_probs_dropout_prob: stack.attention_dropout,
        max_position_embeddings: stack.max_seq_len,
        type_vocab_size: stack.n_segments,
        initializer_range: stack.init_std,
        layer_norm_eps: stack.norm_eps,
        position_embedding_type: match &stack.position {
            PositionConfig::Shaw(config) if config.both_sides => RELATIVE_BOTH,
            PositionConfig::Shaw(_) => RELATIVE,
            _ => ABSOLUTE,
        }
        .to_owned(),
        tie_word_embeddings: body.tied,
        ..Config::default()
    })
}

pub(super) const KEYS: &[Key] = &[
    same("*.embeddings.word_embeddings.weight", &["stack.embeddings.tokens"]),
    same("*.embeddings.token_type_embeddings.weight", &["stack.embeddings.segments"]),
    same("*.embeddings.position_embeddings.weight", &["stack.schemes.0.table"]),
    fused(
        "*.encoder.layer.{}.attention.self.distance_embedding.weight",
        &["stack.schemes.{}.keys"],
        How::Reversed,
    ),
    same("*.embeddings.LayerNorm.weight", &["stack.embedding_norm.gamma"]),
    same("*.embeddings.LayerNorm.bias", &["stack.embedding_norm.beta"]),
    linear("*.encoder.layer.{}.attention.self.query.weight", &["stack.layers.{}.attn.q_proj.weight"]),
    same("*.encoder.layer.{}.attention.self.query.bias", &["stack.layers.{}.attn.q_proj.bias"]),
    linear("*.encoder.layer.{}.attention.self.key.weight", &["stack.layers.{}.attn.k_proj.weight"]),
    same("*.encoder.layer.{}.attention.self.key.bias", &["stack.layers.{}.attn.k_proj.bias"]),
    linear("*.encoder.layer.{}.attention.self.value.weight", &["stack.layers.{}.attn.v_proj.weight"]),
    same("*.encoder.layer.{}.attention.self.value.bias", &["stack.layers.{}.attn.v_proj.bias"]),
    linear("*.encoder.layer.{}.attention.output.dense.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.encoder.layer.{}.attention.output.dense.bias", &["stack.layers.{}.attn.o_proj.bias"]),
    same("*.encoder.layer.{}.attention.output.LayerNorm.weight", &["stack.layers.{}.attn_norm.gamma"]),
    same("*.encoder.layer.{}.attention.output.LayerNorm.bias", &["stack.layers.{}.attn_norm.beta"]),
    linear("*.encoder.layer.{}.intermediate.dense.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    same("*.encoder.layer.{}.intermediate.dense.bias", &["stack.layers.{}.ffn.up_proj.bias"]),
    linear("*.encoder.layer.{}.output.dense.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.encoder.layer.{}.output.dense.bias", &["stack.layers.{}.ffn.down_proj.bias"]),
    same("*.encoder.layer.{}.output.LayerNorm.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    same("*.encoder.layer.{}.output.LayerNorm.bias", &["stack.layers.{}.ffn_norm.beta"]),
];

pub(super) const POOLER: &[Key] = &[
    linear("*.pooler.dense.weight", &["transform.dense.weight"]),
    same("*.pooler.dense.bias", &["transform.dense.bias"]),
];

pub(super) const CLASSIFIER: &[Key] =
    &[linear("classifier.weight", &["classifier.weight"]), same("classifier.bias", &["classifier.bias"])];

const NEXT: &[Key] = &[
    linear("cls.seq_relationship.weight", &["classifier.weight"]),
    same("cls.seq_relationship.bias", &["classifier.bias"]),
];

pub(super) const ANSWER: &[Key] =
    &[linear("qa_outputs.weight", &["classifier.weight"]), same("qa_outputs.bias", &["classifier.bias"])];

pub(super) const MASKED: &[Key] = &[
    linear("cls.predictions.transform.dense.weight", &["transform.dense.weight"]),
    same("cls.predictions.transform.dense.bias", &["transform.dense.bias"]),
    same("cls.predictions.transform.LayerNorm.weight", &["transform.norm.gamma"]),
    same("cls.predictions.transform.LayerNorm.bias", &["transform.norm.beta"]),
    linear("cls.predictions.decoder.weight", &["lm_head.weight"]),
    same("cls.predictions.bias", &["output_bias"]),
    same("cls.predictions.bias", &["lm_head.bias"]),
    same("cls.predictions.decoder.bias", &["output_bias"]),
    same("cls.predictions.decoder.bias", &["lm_head.bias"]),
];
