//! ALBERT (Lan et al. 2019, arXiv:1909.11942): layers that share their parameters, and token vectors of a width of their own.

use locus_encoder::{EmbeddingProjection, LayerSharing};
use serde_json::{Map, Value};

use super::{Family, bert, number, with};
use crate::config::Body;
use crate::config::HeadKind::{
    Bare, MaskedLm, MultipleChoice, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::keys::{Key, linear, same};
use crate::problems::only;

pub(crate) const ALBERT: Family = Family {
    name: "ALBERT",
    model_type: "albert",
    prefix: "albert.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "AlbertModel"),
        (MaskedLm, "AlbertForMaskedLM"),
        (MaskedLm, "AlbertForPreTraining"),
        (SequenceClassification, "AlbertForSequenceClassification"),
        (TokenClassification, "AlbertForTokenClassification"),
        (QuestionAnswering, "AlbertForQuestionAnswering"),
        (MultipleChoice, "AlbertForMultipleChoice"),
    ],
    read,
    names: &[],
    write,
    body: KEYS,
    heads: &[
        (&[Bare, SequenceClassification, MultipleChoice], POOLER),
        (&[SequenceClassification, MultipleChoice, TokenClassification], bert::CLASSIFIER),
        (&[QuestionAnswering], bert::ANSWER),
        (&[MaskedLm], MASKED),
    ],
    dropped: &[
        "embeddings.position_ids",
        "predictions.decoder.bias",
        "sop_classifier.classifier.weight",
        "sop_classifier.classifier.bias",
    ],
};

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let json = with(
        json,
        &[
            ("vocab_size", 30000.into()),
            ("hidden_size", 4096.into()),
            ("num_attention_heads", 64.into()),
            ("intermediate_size", 16384.into()),
            ("hidden_act", "gelu_new".into()),
            ("hidden_dropout_prob", 0.0.into()),
            ("attention_probs_dropout_prob", 0.0.into()),
        ],
    );
    bert::only_absolute(&json, problems);
    let mut body = bert::read(&json, problems);
    let inner = number(&json, "inner_group_num", 1, problems);
    only(problems, "inner_group_num", &inner, &[1]);
    let groups = number(&json, "num_hidden_groups", 1, problems);
    let width = number(&json, "embedding_size", 128, problems);
    body.stack.layer_sharing = LayerSharing::Groups(groups);
    body.stack.embedding_projection = EmbeddingProjection::Factorised { width };
    body
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let mut json = bert::write(body)?;
    json.insert("embedding_size".to_owned(), body.stack.embedding_width().into());
    json.insert("num_hidden_groups".to_owned(), body.stack.n_blocks().into());
    json.insert("inner_group_num".to_owned(), 1.into());
    Some(json)
}

const POOLER: &[Key] = &[
    linear("*.pooler.weight", &["transform.dense.weight"]),
    same("*.pooler.bias", &["transform.dense.bias"]),
];

const MASKED: &[Key] = &[
    linear("predictions.dense.weight", &["transform.dense.weight"]),
    same("predictions.dense.bias", &["transform.dense.bias"]),
    same("predictions.LayerNorm.weight", &["transform.norm.gamma"]),
    same("predictions.LayerNorm.bias", &["transform.norm.beta"]),
    linear("predictions.decoder.weight", &["lm_head.weight"]),
    same("predictions.bias", &["output_bias"]),
    same("predictions.bias", &["lm_head.bias"]),
];

const KEYS: &[Key] = &[
    same("*.embeddings.word_embeddings.weight", &["stack.embeddings.tokens"]),
    same("*.embeddings.token_type_embeddings.weight", &["stack.embeddings.segments"]),
    same("*.embeddings.position_embeddings.weight", &["stack.schemes.0.table"]),
    same("*.embeddings.LayerNorm.weight", &["stack.embedding_norm.gamma"]),
    same("*.embeddings.LayerNorm.bias", &["stack.embedding_norm.beta"]),
    linear("*.encoder.embedding_hidden_mapping_in.weight", &["stack.embedding_proj.weight"]),
    same("*.encoder.embedding_hidden_mapping_in.bias", &["stack.embedding_proj.bias"]),
    linear(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.attention.query.weight",
        &["stack.layers.{}.attn.q_proj.weight"],
    ),
    same(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.attention.query.bias",
        &["stack.layers.{}.attn.q_proj.bias"],
    ),
    linear(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.attention.key.weight",
        &["stack.layers.{}.attn.k_proj.weight"],
    ),
    same(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.attention.key.bias",
        &["stack.layers.{}.attn.k_proj.bias"],
    ),
    linear(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.attention.value.weight",
        &["stack.layers.{}.attn.v_proj.weight"],
    ),
    same(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.attention.value.bias",
        &["stack.layers.{}.attn.v_proj.bias"],
    ),
    linear(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.attention.dense.weight",
        &["stack.layers.{}.attn.o_proj.weight"],
    ),
    same(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.attention.dense.bias",
        &["stack.layers.{}.attn.o_proj.bias"],
    ),
    same(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.attention.LayerNorm.weight",
        &["stack.layers.{}.attn_norm.gamma"],
    ),
    same(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.attention.LayerNorm.bias",
        &["stack.layers.{}.attn_norm.beta"],
    ),
    linear(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.ffn.weight",
        &["stack.layers.{}.ffn.up_proj.weight"],
    ),
    same("*.encoder.albert_layer_groups.{}.albert_layers.0.ffn.bias", &["stack.layers.{}.ffn.up_proj.bias"]),
    linear(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.ffn_output.weight",
        &["stack.layers.{}.ffn.down_proj.weight"],
    ),
    same(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.ffn_output.bias",
        &["stack.layers.{}.ffn.down_proj.bias"],
    ),
    same(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.full_layer_layer_norm.weight",
        &["stack.layers.{}.ffn_norm.gamma"],
    ),
    same(
        "*.encoder.albert_layer_groups.{}.albert_layers.0.full_layer_layer_norm.bias",
        &["stack.layers.{}.ffn_norm.beta"],
    ),
];
