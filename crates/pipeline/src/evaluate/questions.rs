//! Scores of answers to questions.

use burn::tensor::backend::Backend;
use locus_data::Question;
use locus_data::tokenizer::is_cjk;
use locus_embedding::position::PositionScheme;
use locus_heads::QuestionAnswerer;
use locus_metrics::qa::{QaScorer, QaStyle};

use super::Evaluation;
use crate::qa::{GROUP, bytes_of, read};
use crate::{Codec, PipelineError};

/// Exact match and F1, each of the best gold answer, as the language of the questions asks.
pub(super) fn answers<B: Backend, P: PositionScheme<B>>(
    model: &QuestionAnswerer<B, P>,
    codec: &Codec,
    questions: &[Question],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let mut scorer = QaScorer::new(style(questions));
    let (mut nats, mut n_windows, mut n_truncated) = (0.0, 0_usize, 0);
    for group in questions.chunks(GROUP) {
        let asked: Vec<(&str, &str)> = group.iter().map(|q| (q.question.as_str(), &*q.context)).collect();
        for (question, reading) in group.iter().zip(read(model, codec, &asked, batch_size)?) {
            let answer = reading.answer(&question.context, &codec.questions);
            let gold: Vec<&str> = question.answers.iter().map(|answer| answer.text.as_str()).collect();
            scorer.add(&gold, &answer.text);
            // The loss is that of training: of several answers the first counts.
            let first = question.answers.first().and_then(|answer| bytes_of(&question.context, answer));
            nats += reading.losses(first.as_ref()).sum::<f64>();
            n_windows += reading.windows.len();
            n_truncated += usize::from(reading.is_cut);
        }
    }
    let report = scorer.report();
    let mut evaluation = Evaluation::new("f1");
    evaluation.set("em", report.em);
    evaluation.set("f1", report.f1);
    let parts = [("has_answer_f1", report.answerable), ("no_answer_f1", report.unanswerable)];
    for (name, part) in parts {
        if let Some(part) = part {
            evaluation.set(name, part.f1);
        }
    }
    evaluation.set("loss", nats / n_windows.max(1) as f64);
    evaluation.samples = Some(scorer.f1_samples());
    evaluation.n_examples = questions.len();
    evaluation.n_truncated = n_truncated;
    Ok(evaluation)
}

/// Chinese answers are compared by characters: where most questions have Chinese ones.
fn style(questions: &[Question]) -> QaStyle {
    let n_chinese = questions.iter().filter(|question| question.question.chars().any(is_cjk)).count();
    if 2 * n_chinese > questions.len() { QaStyle::Cmrc } else { QaStyle::Squad }
}
