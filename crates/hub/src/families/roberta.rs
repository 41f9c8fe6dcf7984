//! RoBERTa (Liu et al. 2019, arXiv:1907.11692) and XLM-R (Conneau et al. 2019, arXiv:1911.02116): BERT with positions that
//! begin after the padding id.

use locus_embedding::position::{LearnedConfig, PositionConfig};
use locus_heads::{HeadActivation, TransformConfig};
use serde_json::{Map, Value};

use super::{Family, bert, pad_token, with};
use crate::config::Body;
use crate::config::HeadKind::{
    self, Bare, MaskedLm, MultipleChoice, QuestionAnswering, SequenceClassification, TokenClassification,
};
use crate::keys::{Key, linear, same};

pub(crate) const ROBERTA: Family = Family {
    name: "RoBERTa",
    model_type: "roberta",
    prefix: "roberta.",
    other_prefixes: &[],
    architectures: &[
        (Bare, "RobertaModel"),
        (MaskedLm, "RobertaForMaskedLM"),
        (SequenceClassification, "RobertaForSequenceClassification"),
        (TokenClassification, "RobertaForTokenClassification"),
        (QuestionAnswering, "RobertaForQuestionAnswering"),
        (MultipleChoice, "RobertaForMultipleChoice"),
    ],
    read: |json, problems| read(json, 50265, problems),
    names: &[],
    write,
    body: bert::KEYS,
    heads: HEADS,
    dropped: &["embeddings.position_ids", "lm_head.decoder.bias"],
};

pub(crate) const XLM_ROBERTA: Family = Family {
    name: "XLM-R",
    model_type: "xlm-roberta",
    architectures: &[
        (Bare, "XLMRobertaModel"),
        (MaskedLm, "XLMRobertaForMaskedLM"),
        (SequenceClassification, "XLMRobertaForSequenceClassification"),
        (TokenClassification, "XLMRobertaForTokenClassification"),
        (QuestionAnswering, "XLMRobertaForQuestionAnswering"),
        (MultipleChoice, "XLMRobertaForMultipleChoice"),
    ],
    // Its class has BERT's vocabulary where a file says nothing.
    read: |json, problems| read(json, 30522, problems),
    ..ROBERTA
};

/// The padding id where a file says none.
const PAD: usize = 1;

fn read(json: &Map<String, Value>, vocab_size: usize, problems: &mut Vec<String>) -> Body {
    let json = with(json, &[("vocab_size", vocab_size.into())]);
    bert::only_absolute(&json, problems);
    let mut body = bert::read(&json, problems);
    let pad = pad_token(&json, PAD, problems);
    body.stack.max_seq_len = beside_padding(body.stack.max_seq_len, pad, problems);
    body.stack.position = PositionConfig::Learned(after_padding(pad));
    body.masked.0.activation = HeadActivation::Gelu;
    body
}

/// How many positions a table has beside the rows up to that of padding.
pub(super) fn beside_padding(n_rows: usize, pad: usize, problems: &mut Vec<String>) -> usize {
    if n_rows <= pad + 1 {
        let allowed = format!("more than pad_token_id + 1 = {}", pad + 1);
        problems.push(format!("max_position_embeddings = {n_rows}: expected {allowed}"));
    }
    n_rows.saturating_sub(pad + 1)
}

/// Positions that begin after the padding id, which has a row of its own.
pub(super) fn after_padding(pad: usize) -> LearnedConfig {
    LearnedConfig { offset: pad + 1, pad_row: Some(pad), ..LearnedConfig::default() }
}

/// The padding id of such positions.
pub(super) fn padding_of(position: &PositionConfig) -> Option<usize> {
    match position {
        PositionConfig::Learned(LearnedConfig { pad_row: Some(pad), offset, .. }) if *offset == pad + 1 => {
            Some(*pad)
        }
        _ => None,
    }
}

fn write(body: &Body) -> Option<Map<String, Value>> {
    let pad = padding_of(&body.stack.position)?;
    let mut json = bert::write(body)?;
    json.insert("pad_token_id".to_owned(), pad.into());
    json.insert("max_position_embeddings".to_owned(), (body.stack.max_seq_len + pad + 1).into());
    Some(json)
}

/// What stands below the scores of a row.
pub(super) fn dense(activation: HeadActivation) -> TransformConfig {
    TransformConfig { activation, bias: true, norm: false }
}

pub(super) const HEADS: &[(&[HeadKind], &[Key])] = &[
    (&[Bare, MultipleChoice], bert::POOLER),
    (&[SequenceClassification], ROWS),
    (&[TokenClassification, MultipleChoice], bert::CLASSIFIER),
    (&[QuestionAnswering], bert::ANSWER),
    (&[MaskedLm], MASKED),
];

pub(super) const ROWS: &[Key] = &[
    linear("classifier.dense.weight", &["transform.dense.weight"]),
    same("classifier.dense.bias", &["transform.dense.bias"]),
    linear("classifier.out_proj.weight", &["classifier.weight"]),
    same("classifier.out_proj.bias", &["classifier.bias"]),
];

pub(super) const MASKED: &[Key] = &[
    linear("lm_head.dense.weight", &["transform.dense.weight"]),
    same("lm_head.dense.bias", &["transform.dense.bias"]),
    same("lm_head.layer_norm.weight", &["transform.norm.gamma"]),
    same("lm_head.layer_norm.bias", &["transform.norm.beta"]),
    linear("lm_head.decoder.weight", &["lm_head.weight"]),
    same("lm_head.bias", &["output_bias"]),
    same("lm_head.bias", &["lm_head.bias"]),
];
