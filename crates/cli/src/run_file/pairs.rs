//! `train.pair_loss`: what pairs of texts are trained with.

use locus_data::Format;
use locus_heads::PairLoss;
use serde::{Deserialize, Serialize};

use super::unread::shown;
use super::{Problem, RunFile, Task};

/// Which loss; its settings are in the section of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PairLossName {
    /// Pairs have nothing but each other.
    #[default]
    InBatchNegatives,
    /// Pairs have a number, which the cosine should be.
    Cosine,
    /// Pairs have a number, whose order cosines should have.
    Cosent,
    /// Pairs have a label.
    Softmax,
}

impl RunFile {
    /// The loss of pairs, where they have so many labels.
    pub(super) fn pair_loss(&self, n_labels: usize) -> PairLoss {
        let train = &self.train;
        match train.pair_loss {
            PairLossName::InBatchNegatives => PairLoss::InBatchNegatives,
            PairLossName::Cosine => PairLoss::Cosine(train.cosine),
            PairLossName::Cosent => PairLoss::Cosent(train.cosent),
            PairLossName::Softmax => PairLoss::Softmax { n_labels },
        }
    }

    /// Whether texts are embedded with this loss.
    pub(crate) fn embeds_with(&self, loss: PairLossName) -> bool {
        self.task == Task::Embed && self.train.pair_loss == loss
    }

    /// That the data have what the loss needs.
    pub(super) fn check_pairs(&self) -> Option<Problem> {
        let of_questions = self.data.read.format == Some(Format::Squad) && self.task == Task::Embed;
        let fits = !of_questions || self.embeds_with(PairLossName::InBatchNegatives);
        let found = shown(&self.train.pair_loss);
        let allowed = "\"in_batch_negatives\" where data.format is squad: questions and paragraphs have neither a number nor a label";
        Problem::unless(fits, "train.pair_loss", found, allowed)
    }
}
