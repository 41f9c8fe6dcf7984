//! ELECTRA (Clark et al. 2020, arXiv:2003.10555): BERT with token vectors of a width of their own.

use locus_encoder::EmbeddingProjection;
use locus_heads::HeadActivation;
use serde_json::{Map, Value};

use super::{Family, bert, is_set, number, roberta, with};
use crate::config::HeadKind::{
    Bare, MaskedLm, MultipleChoice, QuestionAnswering, ReplacedTokens, SequenceClassification,
    TokenClassification,
};
use crate::config::{Body, Layers};
use crate::keys::{Key, linear, same};

pub(crate) const ELECTRA: Family = Family {
    name: "ELECTRA",
    model_type: "electra",
    prefix: "electra.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "ElectraModel"),
        // The discriminator of pre-training. Without its generator its head is of no use.
        (ReplacedTokens, "ElectraForPreTraining"),
        (MaskedLm, "ElectraForMaskedLM"),
        (SequenceClassification, "ElectraForSequenceClassification"),
        (TokenClassification, "ElectraForTokenClassification"),
        (QuestionAnswering, "ElectraForQuestionAnswering"),
        (MultipleChoice, "ElectraForMultipleChoice"),
    ],
    read,
    names: &[],
    write,
    body: KEYS,
    heads: &[
        (&[SequenceClassification], roberta::ROWS),
        (&[TokenClassification, MultipleChoice], bert::CLASSIFIER),
        (&[MultipleChoice], SUMMARY),
        (&[QuestionAnswering], bert::ANSWER),
        (&[MaskedLm], MASKED),
        (&[ReplacedTokens], DISCRIMINATOR),
    ],
    dropped: &["embeddings.position_ids"],
};

fn read(json: &Map<String, Value>, problems: &mut Vec<String>) -> Body {
    let json = with(
        json,
        &[("hidden_size", 256.into()), ("num_attention_heads", 4.into()), ("intermediate_size", 1024.into())],
    );
    if json.get("architectures").is_some_and(|names| names[0] == "ElectraForMultipleChoice") {
        for (key, allowed) in [
            ("summary_type", Value::from("first")),
            ("summary_activation", "gelu".into()),
            ("summary_use_proj", true.into()),
        ] {
            if let Some(found) = json.get(key).filter(|found| is_set(found) && **found != allowed) {
                problems.push(format!(
                    "{key} = {found}: expected {allowed}; anything else is another computation"
                ));
            }
        }
    }
    let mut body = bert::read(&json, problems);
    let width = number(&json, "embedding_size", 128, problems);
    if width != body.stack.d_model {
        body.stack.embedding_projection = EmbeddingProjection::Factorised { width };
    }
    body.masked.0.activation = HeadActivation::Gelu;
    body.rows = Layers { transform: Some(roberta::dense(HeadActivation::Gelu)), bias: true };
    body.pooler = None;
    body
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let mut json = bert::write(body)?;
    json.insert("embedding_size".to_owned(), body.stack.embedding_width().into());
    Some(json)
}

const SUMMARY: &[Key] = &[
    linear("sequence_summary.summary.weight", &["transform.dense.weight"]),
    same("sequence_summary.summary.bias", &["transform.dense.bias"]),
];

const MASKED: &[Key] = &[
    linear("generator_predictions.dense.weight", &["transform.dense.weight"]),
    same("generator_predictions.dense.bias", &["transform.dense.bias"]),
    same("generator_predictions.LayerNorm.weight", &["transform.norm.gamma"]),
    same("generator_predictions.LayerNorm.bias", &["transform.norm.beta"]),
    linear("generator_lm_head.weight", &["lm_head.weight"]),
    same("generator_lm_head.bias", &["output_bias"]),
    same("generator_lm_head.bias", &["lm_head.bias"]),
];

const DISCRIMINATOR: &[Key] = &[
    linear("discriminator_predictions.dense.weight", &["transform.dense.weight"]),
    same("discriminator_predictions.dense.bias", &["transform.dense.bias"]),
    linear("discriminator_predictions.dense_prediction.weight", &["classifier.weight"]),
    same("discriminator_predictions.dense_prediction.bias", &["classifier.bias"]),
];

/// Those of BERT, and the projection.
const KEYS: &[Key] = &{
    let mut keys = [bert::KEYS[0]; bert::KEYS.len() + 2];
    let mut idx = 0;
    while idx < bert::KEYS.len() {
        keys[idx] = bert::KEYS[idx];
        idx += 1;
    }
    keys[idx] = linear("*.embeddings_project.weight", &["stack.embedding_proj.weight"]);
    keys[idx + 1] = same("*.embeddings_project.bias", &["stack.embedding_proj.bias"]);
    keys
};
