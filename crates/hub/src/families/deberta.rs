//! DeBERTa version 2 and 3 (He et al. 2020, arXiv:2006.03654; 2021, arXiv:2111.09543): scores of content and distance, by the
//! layers' own projections.

use locus_embedding::position::{
    DebertaConfig, DebertaDistances, DebertaProjections, DebertaTerms, LearnedConfig, PositionConfig,
};
use locus_encoder::{Residual, StackConfig};
use locus_heads::TransformConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Family, activation, activation_name, bert, head_activation, head_activation_name, in_head, roberta, table,
};
use crate::config::HeadKind::{
    Bare, MaskedLm, MultipleChoice, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::config::{Body, Layers};
use crate::keys::{Key, linear, same};
use crate::problems::{is_wrong, only, parse};

pub(crate) const DEBERTA_V2: Family = Family {
    name: "DeBERTa 2 and 3",
    model_type: "deberta-v2",
    prefix: "deberta.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "DebertaV2Model"),
        (MaskedLm, "DebertaV2ForMaskedLM"),
        (SequenceClassification, "DebertaV2ForSequenceClassification"),
        (TokenClassification, "DebertaV2ForTokenClassification"),
        (QuestionAnswering, "DebertaV2ForQuestionAnswering"),
        (MultipleChoice, "DebertaV2ForMultipleChoice"),
    ],
    read,
    names: &[
        ("deberta.span", "position_buckets"),
        ("deberta.span", "max_relative_positions"),
        ("deberta.span", "max_position_embeddings"),
        ("deberta.distances.log.max_distance", "max_relative_positions"),
        ("deberta.distances.log.max_distance", "max_position_embeddings"),
    ],
    write,
    body: KEYS,
    heads: &[
        (&[SequenceClassification, MultipleChoice], POOLER),
        (&[SequenceClassification, MultipleChoice, TokenClassification], bert::CLASSIFIER),
        (&[QuestionAnswering], bert::ANSWER),
        (&[MaskedLm], bert::MASKED),
        (&[MaskedLm], MASKED),
    ],
    // A head of pre-training, as the authors' files have it.
    dropped: &[
        "embeddings.position_ids",
        "mask_predictions.dense.weight",
        "mask_predictions.dense.bias",
        "mask_predictions.LayerNorm.weight",
        "mask_predictions.LayerNorm.bias",
        "mask_predictions.classifier.weight",
        "mask_predictions.classifier.bias",
    ],
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
    relative_attention: bool,
    max_relative_positions: i64,
    position_buckets: i64,
    norm_rel_ebd: String,
    share_att_key: bool,
    position_biased_input: bool,
    pos_att_type: Value,
    pooler_hidden_act: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conv_kernel_size: Option<usize>,
    legacy: bool,
    tie_word_embeddings: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 128_100,
            hidden_size: 1536,
            num_hidden_layers: 24,
            num_attention_heads: 24,
            intermediate_size: 6144,
            hidden_act: "gelu".to_owned(),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 0,
            initializer_range: 0.02,
            layer_norm_eps: 1e-7,
            relative_attention: false,
            max_relative_positions: -1,
            position_buckets: -1,
            norm_rel_ebd: "none".to_owned(),
            share_att_key: false,
            position_biased_input: true,
            pos_att_type: Value::Null,
            pooler_hidden_act: "gelu".to_owned(),
            embedding_size: None,
            conv_kernel_size: None,
            legacy: true,
            tie_word_embeddings: true,
        }
    }
}

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let config: Config = parse(json, problems);
    only(problems, "relative_attention", &config.relative_attention, &[true]);
    only(problems, "share_att_key", &config.share_att_key, &[true]);
    only(problems, "norm_rel_ebd", &config.norm_rel_ebd.as_str(), &["none", "layer_norm"]);
    if !is_wrong(problems, "hidden_size") {
        let width = config.embedding_size.unwrap_or(config.hidden_size);
        only(problems, "embedding_size", &width, &[config.hidden_size]);
    }
    only(problems, "conv_kernel_size", &config.conv_kernel_size.unwrap_or(0), &[0]);
    let position = position(&config, problems);
    let activation = activation("hidden_act", &config.hidden_act, problems);
    let learned = PositionConfig::Learned(LearnedConfig::default());
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
        position: PositionConfig::Deberta(position),
        embedding_position: config.position_biased_input.then_some(learned),
        ..StackConfig::default()
    };
    let masked = TransformConfig { activation: in_head(activation), bias: true, norm: true };
    let pooler = roberta::dense(head_activation("pooler_hidden_act", &config.pooler_hidden_act, problems));
    Body {
        // The authors' head has no table of its own, whatever the file says.
        tied: config.tie_word_embeddings || !config.legacy,
        masked: (masked, true),
        rows: Layers { transform: Some(pooler), bias: true },
        ..Body::encoder(config.vocab_size, stack)
    }
}

fn position(config: &Config, problems: &mut Vec<String>) -> DebertaConfig {
    // A text may have capitals and spaces, a list may not.
    let asked: Vec<String> = match &config.pos_att_type {
        Value::String(text) => text.to_lowercase().split('|').map(|term| term.trim().to_owned()).collect(),
        Value::Array(list) => {
            list.iter().map(|term| term.as_str().map_or_else(|| term.to_string(), str::to_owned)).collect()
        }
        _ => Vec::new(),
    };
    let known = asked.iter().all(|term| ["c2p", "p2c"].contains(&term.as_str()));
    let has = |term: &str| known && asked.iter().any(|asked| asked == term);
    let terms = match (has("c2p"), has("p2c")) {
        (true, true) => DebertaTerms::Both,
        (true, false) => DebertaTerms::ContentToPosition,
        (false, true) => DebertaTerms::PositionToContent,
        (false, false) => {
            problems.push(format!("pos_att_type = {}: expected c2p, p2c or both", config.pos_att_type));
            DebertaTerms::Both
        }
    };
    let positive = |n: i64| usize::try_from(n).ok().filter(|n| *n > 0);
    let longest = positive(config.max_relative_positions).unwrap_or(config.max_position_embeddings);
    let (distances, span) = match positive(config.position_buckets) {
        Some(buckets) => (DebertaDistances::Log { max_distance: longest }, buckets),
        None => (DebertaDistances::Clipped, longest),
    };
    DebertaConfig {
        distances,
        span,
        terms,
        projections: DebertaProjections::Layer,
        norm: config.norm_rel_ebd == "layer_norm",
        norm_eps: config.layer_norm_eps,
        init_std: config.initializer_range,
    }
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let stack = &body.stack;
    let PositionConfig::Deberta(position) = &stack.position else { return None };
    let (max_relative_positions, position_buckets) = match position.distances {
        DebertaDistances::Log { max_distance } => (max_distance, i64::try_from(position.span).ok()?),
        DebertaDistances::Clipped => (position.span, -1),
    };
    let terms = match position.terms {
        DebertaTerms::Both => serde_json::json!(["p2c", "c2p"]),
        DebertaTerms::ContentToPosition => serde_json::json!(["c2p"]),
        DebertaTerms::PositionToContent => serde_json::json!(["p2c"]),
    };
    let pooler = body.rows.transform.as_ref();
    let pooler = pooler.map_or("gelu", |transform| head_activation_name(transform.activation));
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
        relative_attention: true,
        max_relative_positions: i64::try_from(max_relative_positions).ok()?,
        position_buckets,
        norm_rel_ebd: if position.norm { "layer_norm" } else { "none" }.to_owned(),
        share_att_key: true,
        position_biased_input: stack.embedding_position.is_some(),
        pos_att_type: terms,
        pooler_hidden_act: pooler.to_owned(),
        tie_word_embeddings: body.tied,
        ..Config::default()
    })
}

/// The head for hidden tokens as the authors' files name it (`legacy = false`). It is written by the other names, which are of the
/// same layers.
const MASKED: &[Key] = &[
    linear("lm_predictions.lm_head.dense.weight", &["transform.dense.weight"]),
    same("lm_predictions.lm_head.dense.bias", &["transform.dense.bias"]),
    same("lm_predictions.lm_head.LayerNorm.weight", &["transform.norm.gamma"]),
    same("lm_predictions.lm_head.LayerNorm.bias", &["transform.norm.beta"]),
    same("lm_predictions.lm_head.bias", &["output_bias"]),
];

const POOLER: &[Key] = &[
    linear("pooler.dense.weight", &["transform.dense.weight"]),
    same("pooler.dense.bias", &["transform.dense.bias"]),
];

const KEYS: &[Key] = &[
    same("*.embeddings.word_embeddings.weight", &["stack.embeddings.tokens"]),
    same("*.embeddings.token_type_embeddings.weight", &["stack.embeddings.segments"]),
    same("*.embeddings.position_embeddings.weight", &["stack.schemes.1.table"]),
    same("*.embeddings.LayerNorm.weight", &["stack.embedding_norm.gamma"]),
    same("*.embeddings.LayerNorm.bias", &["stack.embedding_norm.beta"]),
    same("*.encoder.rel_embeddings.weight", &["stack.schemes.0.table"]),
    same("*.encoder.LayerNorm.weight", &["stack.schemes.0.gamma"]),
    same("*.encoder.LayerNorm.bias", &["stack.schemes.0.beta"]),
    linear("*.encoder.layer.{}.attention.self.query_proj.weight", &["stack.layers.{}.attn.q_proj.weight"]),
    same("*.encoder.layer.{}.attention.self.query_proj.bias", &["stack.layers.{}.attn.q_proj.bias"]),
    linear("*.encoder.layer.{}.attention.self.key_proj.weight", &["stack.layers.{}.attn.k_proj.weight"]),
    same("*.encoder.layer.{}.attention.self.key_proj.bias", &["stack.layers.{}.attn.k_proj.bias"]),
    linear("*.encoder.layer.{}.attention.self.value_proj.weight", &["stack.layers.{}.attn.v_proj.weight"]),
    same("*.encoder.layer.{}.attention.self.value_proj.bias", &["stack.layers.{}.attn.v_proj.bias"]),
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
