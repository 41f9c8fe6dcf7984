//! Answers that stand in a context: every window over it is read, and the best part of all of them is the answer.

mod best;
#[cfg(test)]
mod tests;
mod windows;

use burn::tensor::backend::Backend;
use locus_data::Item;
use locus_embedding::position::PositionScheme;
use locus_heads::QuestionAnswerer;
use locus_model::QuestionConfig;
use serde::Serialize;

pub(crate) use windows::{QuestionWindow, bytes_of};

use crate::tagging::log_softmax;
use crate::{Codec, PipelineError};

/// Questions are read in groups, so that a large set needs little memory.
pub(crate) const GROUP: usize = 256;

/// The part of a context that answers a question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The answer as it stands in the context; empty where the context has none.
    pub text: String,
    /// Where it starts, in characters of the context.
    pub start: usize,
    /// Where it ends, in characters, exclusive.
    pub end: usize,
    /// Its share of the probability of the `n_best` candidates.
    pub score: f64,
    /// Whether the question was longer than the model reads, so that its end was cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What a model says of a question.
pub(crate) struct Reading {
    /// Each window with the scores of a start and of an end at its columns.
    pub(crate) windows: Vec<(QuestionWindow, [Vec<f32>; 2])>,
    /// Whether the question was longer than the model reads.
    pub(crate) is_cut: bool,
}

/// Reads questions with their contexts.
pub(crate) fn read<B: Backend, P: PositionScheme<B>>(
    model: &QuestionAnswerer<B, P>,
    codec: &Codec,
    asked: &[(&str, &str)],
    batch_size: usize,
) -> Result<Vec<Reading>, PipelineError> {
    let (mut readings, mut windows) = (Vec::with_capacity(asked.len()), Vec::new());
    for (at, (question, context)) in asked.iter().enumerate() {
        let (own, is_cut) = codec.question_windows(question, context)?;
        readings.push(Reading { windows: Vec::with_capacity(own.len()), is_cut });
        windows.extend(own.into_iter().map(|window| (at, window)));
    }
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by_key(|&idx| windows[idx].1.item.ids.len());
    let mut scores = vec![<[Vec<f32>; 2]>::default(); windows.len()];
    for chunk in order.chunks(batch_size.max(1)) {
        let items: Vec<&Item> = chunk.iter().map(|&idx| &windows[idx].1.item).collect();
        let logits = model.logits(&codec.batch(&items)?.tokens, None)?; // [batch, seq, 2]
        let [_, seq, _] = logits.dims();
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        for ((&idx, item), row) in chunk.iter().zip(&items).zip(logits.chunks(2 * seq)) {
            let side = |side: usize| row.chunks(2).take(item.ids.len()).map(|both| both[side]).collect();
            scores[idx] = [side(0), side(1)];
        }
    }
    for ((at, window), scores) in windows.into_iter().zip(scores) {
        readings[at].windows.push((window, scores));
    }
    Ok(readings)
}

impl Reading {
    /// The answer.
    pub(crate) fn answer(&self, context: &str, config: &QuestionConfig) -> Answer {
        self.answer_and_margin(context, config).0
    }

    /// The answer, and by how much the score of no answer exceeds that of the best one.
    pub(crate) fn answer_and_margin(&self, context: &str, config: &QuestionConfig) -> (Answer, f64) {
        let best = best::best(&self.windows, config);
        let bytes = best.bytes.unwrap_or(0..0);
        // A token may begin with the blank ahead of a word.
        let found = &context[bytes.clone()];
        let text = found.trim();
        let start = context[..bytes.start].chars().count()
            + (found.chars().count() - found.trim_start().chars().count());
        let end = start + text.chars().count();
        let (text, score, cut) = (text.to_owned(), best.probability, self.is_cut);
        (Answer { text, start, end, score, cut }, best.margin)
    }

    /// The loss of each window in nats: the mean of those of start and end, over the tokens of the window.
    pub(crate) fn losses<'a>(
        &'a self,
        answer: Option<&'a std::ops::Range<usize>>,
    ) -> impl Iterator<Item = f64> + 'a {
        self.windows.iter().map(move |(window, scores)| {
            let span = window.span(answer);
            let loss = |side: usize| -log_softmax(&scores[side])[span[side] as usize];
            (loss(0) + loss(1)) / 2.0
        })
    }
}
