//! MPNet (Song et al. 2020, arXiv:2004.09297): RoBERTa's positions beside biases by distance that layers share, as in T5.

use locus_embedding::position::{PositionConfig, T5Config};
use locus_heads::HeadActivation;
use serde_json::{Map, Value};

use super::{Family, bert, number, pad_token, roberta, with};
use crate::config::Body;
use crate::config::HeadKind::{
    Bare, MaskedLm, MultipleChoice, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::keys::{Key, linear, same};

pub(crate) const MPNET: Family = Family {
    name: "MPNet",
    model_type: "mpnet",
    prefix: "mpnet.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "MPNetModel"),
        (MaskedLm, "MPNetForMaskedLM"),
        (SequenceClassification, "MPNetForSequenceClassification"),
        (TokenClassification, "MPNetForTokenClassification"),
        (QuestionAnswering, "MPNetForQuestionAnswering"),
        (MultipleChoice, "MPNetForMultipleChoice"),
    ],
    read,
    names: &[],
    write,
    body: KEYS,
    heads: roberta::HEADS,
    dropped: &["embeddings.position_ids", "lm_head.decoder.bias"],
};

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let mut json = with(json, &[("vocab_size", 30527.into())]);
    // Its class has no segments and one kind of positions, whatever the file says.
    json.insert("type_vocab_size".to_owned(), 0.into());
    json.remove("position_embedding_type");
    let mut body = bert::read(&json, problems);
    let pad = pad_token(&json, 1, problems);
    let n_buckets = number(&json, "relative_attention_num_buckets", 32, problems);
    body.stack.max_seq_len = roberta::beside_padding(body.stack.max_seq_len, pad, problems);
    body.stack.position = PositionConfig::T5(T5Config { n_buckets, ..T5Config::default() });
    body.stack.embedding_position = Some(PositionConfig::Learned(roberta::after_padding(pad)));
    body.masked.0.activation = HeadActivation::Gelu;
    body
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let pad = roberta::padding_of(body.stack.embedding_position.as_ref()?)?;
    let PositionConfig::T5(T5Config { n_buckets, .. }) = &body.stack.position else { return None };
    let mut json = bert::write(body)?;
    for key in ["position_embedding_type", "type_vocab_size", "is_decoder", "add_cross_attention"] {
        json.remove(key);
    }
    json.insert("pad_token_id".to_owned(), pad.into());
    json.insert("relative_attention_num_buckets".to_owned(), (*n_buckets).into());
    json.insert("max_position_embeddings".to_owned(), (body.stack.max_seq_len + pad + 1).into());
    Some(json)
}

const KEYS: &[Key] = &[
    same("*.embeddings.word_embeddings.weight", &["stack.embeddings.tokens"]),
    same("*.embeddings.position_embeddings.weight", &["stack.schemes.1.table"]),
    same("*.embeddings.LayerNorm.weight", &["stack.embedding_norm.gamma"]),
    same("*.embeddings.LayerNorm.bias", &["stack.embedding_norm.beta"]),
    same("*.encoder.relative_attention_bias.weight", &["stack.schemes.0.table"]),
    linear("*.encoder.layer.{}.attention.attn.q.weight", &["stack.layers.{}.attn.q_proj.weight"]),
    same("*.encoder.layer.{}.attention.attn.q.bias", &["stack.layers.{}.attn.q_proj.bias"]),
    linear("*.encoder.layer.{}.attention.attn.k.weight", &["stack.layers.{}.attn.k_proj.weight"]),
    same("*.encoder.layer.{}.attention.attn.k.bias", &["stack.layers.{}.attn.k_proj.bias"]),
    linear("*.encoder.layer.{}.attention.attn.v.weight", &["stack.layers.{}.attn.v_proj.weight"]),
    same("*.encoder.layer.{}.attention.attn.v.bias", &["stack.layers.{}.attn.v_proj.bias"]),
    linear("*.encoder.layer.{}.attention.attn.o.weight", &["stack.layers.{}.attn.o_proj.weight"]),
    same("*.encoder.layer.{}.attention.attn.o.bias", &["stack.layers.{}.attn.o_proj.bias"]),
    same("*.encoder.layer.{}.attention.LayerNorm.weight", &["stack.layers.{}.attn_norm.gamma"]),
    same("*.encoder.layer.{}.attention.LayerNorm.bias", &["stack.layers.{}.attn_norm.beta"]),
    linear("*.encoder.layer.{}.intermediate.dense.weight", &["stack.layers.{}.ffn.up_proj.weight"]),
    same("*.encoder.layer.{}.intermediate.dense.bias", &["stack.layers.{}.ffn.up_proj.bias"]),
    linear("*.encoder.layer.{}.output.dense.weight", &["stack.layers.{}.ffn.down_proj.weight"]),
    same("*.encoder.layer.{}.output.dense.bias", &["stack.layers.{}.ffn.down_proj.bias"]),
    same("*.encoder.layer.{}.output.LayerNorm.weight", &["stack.layers.{}.ffn_norm.gamma"]),
    same("*.encoder.layer.{}.output.LayerNorm.bias", &["stack.layers.{}.ffn_norm.beta"]),
];
