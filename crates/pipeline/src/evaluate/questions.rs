//! Scores of answers to questions.

use burn::tensor::backend::Backend;
use locus_data::Question;
use locus_data::tokenizer::is_cjk;
use locus_embedding::position::PositionScheme;
use locus_heads::QuestionAnswerer;
use locus_metrics::qa::{QaScorer, QaStyle};
use locus_model::QuestionConfig;

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
    let style = style(questions);
    let mut scorer = QaScorer::new(style);
    // What the answers are worth if all are given, for the choice of a threshold.
    let always = QuestionConfig { no_answer_threshold: None, ..codec.questions.clone() };
    let (mut given, mut margins) = (QaScorer::new(style), Vec::new());
    let (mut nats, mut n_windows, mut n_truncated) = (0.0, 0_usize, 0);
    for group in questions.chunks(GROUP) {
        let asked: Vec<(&str, &str)> = group.iter().map(|q| (q.question.as_str(), &*q.context)).collect();
        for (question, reading) in group.iter().zip(read(model, codec, &asked, batch_size)?) {
            let answer = reading.answer(&question.context, &codec.questions);
            let gold: Vec<&str> = question.answers.iter().map(|answer| answer.text.as_str()).collect();
            scorer.add(&gold, &answer.text);
            if codec.questions.no_answer_threshold.is_some() {
                let (answer, margin) = reading.answer_and_margin(&question.context, &always);
                given.add(&gold, &answer.text);
                margins.push(margin);
            }
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
    if let Some((threshold, f1)) = best_threshold(&given, &margins) {
        evaluation.set("best_f1", f1);
        evaluation.no_answer_threshold = Some(threshold);
    }
    evaluation.n_truncated = n_truncated;
    Ok(evaluation)
}

/// The threshold of the margins with the best F1, and that. There is none where margins are no numbers.
fn best_threshold(given: &QaScorer, margins: &[f64]) -> Option<(f64, f64)> {
    let best = given.best_thresholds(margins).ok()?.f1_threshold;
    // Where it is best to answer nothing, the scorer names no threshold that does so.
    let nothing = margins.iter().copied().reduce(f64::min)? - 1.0;
    let at = |threshold| Some((threshold, given.report_at(margins, threshold).ok()?.f1));
    let (best, nothing) = (at(best)?, at(nothing)?);
    Some(if nothing.1 > best.1 { nothing } else { best })
}

/// Chinese answers are compared by characters: where most questions have Chinese ones.
fn style(questions: &[Question]) -> QaStyle {
    let n_chinese = questions.iter().filter(|question| question.question.chars().any(is_cjk)).count();
    if 2 * n_chinese > questions.len() { QaStyle::Cmrc } else { QaStyle::Squad }
}
