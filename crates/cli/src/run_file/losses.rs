//! Label smoothing, focal loss and class weights: what they may be, and which tasks have them.

use locus_heads::TagDecoding;

use super::{Problem, RunFile, Task};
use crate::class_weights::ClassWeights;

const SMOOTHING: &str = "train.label_smoothing";
const GAMMA: &str = "train.focal_gamma";
const WEIGHTS: &str = "train.class_weights";

impl RunFile {
    /// Everything wrong with what changes the loss of labels.
    pub(super) fn check_losses(&self) -> Vec<Problem> {
        let train = &self.train;
        let (smoothing, gamma) = (train.label_smoothing, train.focal_gamma);
        let mut problems: Vec<Problem> = [
            Problem::unless((0.0..1.0).contains(&smoothing), SMOOTHING, smoothing, "0 or more and below 1"),
            Problem::unless(
                (0.0..=100.0).contains(&gamma),
                GAMMA,
                format!("{gamma:?}"),
                "0 to 100; 2 is usual",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        let wrong = train.class_weights.iter().flat_map(ClassWeights::out_of_range);
        problems.extend(wrong.map(|weight| Problem::new(WEIGHTS, weight, "weights of 0 or more")));
        let (is_smooth, is_focal) = (smoothing > 0.0, gamma > 0.0);
        let no_smoothing = |allowed: &str| Problem::unless(!is_smooth, SMOOTHING, smoothing, allowed);
        let no_gamma = |allowed: &str| Problem::unless(!is_focal, GAMMA, gamma, allowed);
        let no_weights =
            |allowed: &str| Problem::unless(train.class_weights.is_none(), WEIGHTS, "weights", allowed);
        let of_task = match self.task {
            Task::Multilabel => [None, None, None],
            Task::Ner if self.model.decoding == TagDecoding::Crf => {
                let allowed = "none where model.decoding is crf, whose loss is that of whole sequences";
                [no_gamma(allowed), no_smoothing(allowed), no_weights(allowed)]
            }
            Task::Ner | Task::Classify => {
                let allowed = "0 where train.label_smoothing is not: the two contradict each other";
                [no_gamma(allowed).filter(|_| is_smooth), None, None]
            }
            task => {
                let allowed = "none: only ner, classify and multilabel have it";
                let no_labels = match task {
                    Task::Embed => Some("0: pairs have no labels"),
                    Task::Rank | Task::MultipleChoice => Some("0: candidates have no labels"),
                    Task::Regression | Task::Qa => Some("0: numbers and places are no labels"),
                    // Their labels are tokens, or what is told of segments.
                    _ => None,
                };
                [no_gamma(allowed), no_weights(allowed), no_labels.and_then(no_smoothing)]
            }
        };
        problems.extend(of_task.into_iter().flatten());
        problems
    }
}
