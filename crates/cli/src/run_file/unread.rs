//! Keys that the task of a run file does not read.

use serde::Serialize;

use super::{Problem, RunFile, Task, is_usual};

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
        let (is_embed, is_seq2seq) = (task == Task::Embed, task == Task::Seq2seq);
        [
            (task == Task::Ner, "model.decoding", unusual(&model.decoding), "ner"),
            (pools, "model.pooling", pooling, of_pooling),
            (task == Task::Multilabel, "model.thresholds", unusual(&model.thresholds), "multilabel"),
            (is_embed, "train.in_batch_negatives", unusual(&train.in_batch_negatives), "embed"),
            (task.ranks(), "train.ranking", unusual(&train.ranking), "rank and multiple_choice"),
            (scores_tokens, "model.tied", untied, of_tied),
            (task == Task::Qa, "model.questions", unusual(&model.questions), "qa"),
            (is_seq2seq, "train.eval_beams", beams, "seq2seq"),
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
fn shown(value: &impl Serialize) -> String {
    toml::Value::try_from(value).map(|value| value.to_string()).unwrap_or_default()
}
