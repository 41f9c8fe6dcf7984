//! Scores of rankings.

use burn::tensor::backend::Backend;
use locus_data::{Item, Ranking};
use locus_embedding::position::PositionScheme;
use locus_heads::{HeadConfig, RankingScore, SequenceClassifier};
use locus_metrics::retrieval::RetrievalScorer;

use super::Evaluation;
use crate::ranking::{order, scores};
use crate::{Codec, PipelineError};

/// Where lists are cut for scores.
const CUTOFFS: [usize; 3] = [1, 5, 10];
/// What is told of rankings, with its name in the scorer; the first decides.
const OF_RANKINGS: [(&str, &str); 6] = [
    ("ndcg@10", "ndcg@10"),
    ("mrr", "mrr"),
    ("map", "map"),
    ("hit_rate@1", "hit_rate@1"),
    ("hit_rate@5", "hit_rate@5"),
    ("hit_rate@10", "hit_rate@10"),
];
/// What is told of choices, likewise.
const OF_CHOICES: [(&str, &str); 2] = [("accuracy", "hit_rate@1"), ("mrr", "mrr")];

/// How far up the candidates stand that are worth something. Scores that are no numbers have no order, and so no scores.
pub(super) fn queries<B: Backend, P: PositionScheme<B>>(
    model: &SequenceClassifier<B, P>,
    codec: &Codec,
    rankings: &[Ranking],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let told: &[(&'static str, &'static str)] = match codec.head() {
        HeadConfig::Ranking { score: RankingScore::Accuracy, .. } => &OF_CHOICES,
        _ => &OF_RANKINGS,
    };
    let (decides, in_scorer) = told[0];
    let mut evaluation = Evaluation::new(decides);
    let found = scores(model, codec, items, batch_size)?;
    if found.iter().flatten().any(|score| !score.is_finite()) {
        told.iter().for_each(|(name, _)| evaluation.set(name, f64::NAN));
        return Ok(evaluation);
    }
    let mut scorer = RetrievalScorer::new(&CUTOFFS)?;
    for (ranking, scores) in rankings.iter().zip(&found) {
        let gains: Vec<f64> = ranking.candidates.iter().map(|candidate| candidate.gain).collect();
        let ranked: Vec<f64> = order(scores).into_iter().map(|at| gains[at]).collect();
        scorer.add(&ranked, &gains)?;
    }
    let report = scorer.report();
    told.iter().for_each(|(name, of)| evaluation.set(name, report[*of]));
    evaluation.samples = scorer.samples(in_scorer);
    Ok(evaluation)
}
