//! `[train.ranking]`: how candidates of queries are trained.

use locus_heads::{HeadConfig, RankingLoss, RankingScore};
use serde::{Deserialize, Serialize};

use super::{Problem, RunFile, Task};

/// How scores of candidates are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RankingSection {
    /// What they are trained with.
    pub(crate) loss: RankingLoss,
    /// At most so many candidates of each query in each epoch; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidates: Option<usize>,
}

impl Task {
    /// Whether candidates of queries are scored.
    pub(crate) fn ranks(self) -> bool {
        matches!(self, Self::Rank | Self::MultipleChoice)
    }
}

impl RunFile {
    /// Everything wrong with how candidates are trained.
    pub(super) fn check_ranking(&self) -> Option<Problem> {
        let few = self.train.ranking.candidates.filter(|&n| n < 2)?;
        let allowed = "2 or more, or no such key: candidates are compared with each other";
        Some(Problem::new("train.ranking.candidates", few.to_string(), allowed))
    }

    /// The head that scores candidates, before their features are known.
    pub(super) fn ranking_head(&self) -> HeadConfig {
        HeadConfig::Ranking {
            pooling: self.model.pooling.unwrap_or_default(),
            loss: self.train.ranking.loss,
            score: match self.task {
                Task::MultipleChoice => RankingScore::Accuracy,
                _ => RankingScore::Ndcg,
            },
            features: Vec::new(),
            layers: Default::default(),
        }
    }
}
