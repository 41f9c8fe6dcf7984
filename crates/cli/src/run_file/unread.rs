//! Keys that the task of a run file does not read.

use serde::Serialize;

use super::{Decoding, PairLossName, Problem, RunFile, Task, is_usual};

const OF_IN_BATCH: &str = "embed with train.pair_loss = \"in_batch_negatives\"";
const OF_COSINE: &str = "embed with train.pair_loss = \"cosine\"";
const OF_COSENT: &str = "embed with train.pair_loss = \"cosent\"";

impl RunFile {
    /// Keys with a value of their own that only other tasks read.
    pub(super) fn unread(&self) -> impl Iterator<Item = Problem> {
        let (task, data, model, train) = (self.task, &self.data, &self.model, &self.train);
        let pools = matches!(
            task,
            Task::Classify | Task::Multilabel | Task::Regression | Task::SentenceOrder | Task::Embed
        ) || task.ranks();
        let pooling = unusual(&model.pooling.unwrap_or_default());
        let of_pooling = "classify, multilabel, regression, sentence_order, embed, rank and multiple_choice";
        let scores_tokens = matches!(
            task,
            Task::Lm | Task::Seq2seq | Task::Mlm | Task::PrefixLm | Task::SpanCorruption | Task::Denoising
        );
        let untied = (!model.tied).then(|| shown(&model.tied));
        let of_tied = "tasks with scores of tokens, such as lm and seq2seq";
        let beams = (train.eval_beams != 1).then(|| shown(&train.eval_beams));
        let language = data.target_language.as_ref().map(shown);
        let label = data.out_of_scope.as_ref().map(shown);
        let score = train.eval_score.as_ref().map(shown);
        let in_batch = unusual(&train.in_batch_negatives);
        let (is_embed, is_seq2seq) = (task == Task::Embed, task == Task::Seq2seq);
        [
            (task == Task::Ner, "model.decoding", unusual(&model.decoding), "ner"),
            (pools, "model.pooling", pooling, of_pooling),
            (task == Task::Multilabel, "model.thresholds", unusual(&model.thresholds), "multilabel"),
            (is_embed, "train.pair_loss", unusual(&train.pair_loss), "embed"),
            (
                self.embeds_with(PairLossName::InBatchNegatives),
                "train.in_batch_negatives",
                in_batch,
                OF_IN_BATCH,
            ),
            (self.embeds_with(PairLossName::Cosine), "train.cosine", unusual(&train.cosine), OF_COSINE),
            (self.embeds_with(PairLossName::Cosent), "train.cosent", unusual(&train.cosent), OF_COSENT),
            (task.ranks(), "train.ranking", unusual(&train.ranking), "rank and multiple_choice"),
            (scores_tokens, "model.tied", untied, of_tied),
            (task == Task::Qa, "model.questions", unusual(&model.questions), "qa"),
            (
                task == Task::Ner && model.decoding == Decoding::Span,
                "model.spans",
                unusual(&model.spans),
                "ner with model.decoding = \"span\"",
            ),
            (is_seq2seq, "train.eval_beams", beams, "seq2seq"),
            (is_seq2seq, "train.eval_score", score, "seq2seq"),
            (task == Task::Lm, "data.packing", unusual(&data.packing), "lm"),
            (is_seq2seq, "data.target_language", language, "seq2seq"),
            (task == Task::Classify, "data.out_of_scope", label, "classify"),
        ]
        .into_iter()
        .filter(|(is_read, ..)| !is_read)
        .filter_map(|(_, key, found, tasks)| {
            Some(Problem::new(key, found?, &format!("none: it is only for {tasks}")))
        })
    }
}

/// A value as the run file has it, where it is not what it is where nothing is said.
fn unusual<T: Default + PartialEq + Serialize>(value: &T) -> Option<String> {
    (!is_usual(value)).then(|| shown(value))
}

/// A value as the run file has it.
pub(super) fn shown(value: &impl Serialize) -> String {
    toml::Value::try_from(value).map(|value| value.to_string()).unwrap_or_default()
}
