//! Scores of pairs of texts that are read apart.

use burn::tensor::backend::Backend;
use locus_data::{Item, ItemLabels, Labelled, PairLabel, Scored};
use locus_embedding::position::PositionScheme;
use locus_heads::{HeadConfig, PairLoss, SentenceEmbedder};
use locus_metrics::regression::{pearson, spearman};
use locus_metrics::samples::Samples;

use super::{Evaluation, score_classes};
use crate::pairs::{cosines, logits, vectors};
use crate::tagging::{TaggedWord, best};
use crate::{Codec, PipelineError};

/// How the cosines of pairs follow their numbers, as tasks of textual similarity are scored; Spearman's correlation decides. Where
/// one side is the same number throughout, there is no correlation.
pub(super) fn numbers<B: Backend, P: PositionScheme<B>>(
    model: &SentenceEmbedder<B, P>,
    codec: &Codec,
    examples: &[Scored],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let gold: Vec<f64> = examples.iter().map(|example| example.label).collect();
    let cosines = cosines(&vectors(model, codec, items, batch_size)?);
    let mut evaluation = Evaluation::new("spearman");
    evaluation.set("spearman", spearman(&gold, &cosines).unwrap_or(f64::NAN));
    evaluation.set("pearson", pearson(&gold, &cosines).unwrap_or(f64::NAN));
    if let HeadConfig::SentenceEmbedding(head) = codec.head()
        && matches!(head.pair_loss, PairLoss::Cosine(_))
    {
        let wanted = items.iter().map(|item| match item.labels {
            ItemLabels::Pair { label: PairLabel::Score(wanted), .. } => f64::from(wanted),
            _ => f64::NAN,
        });
        let squares: f64 = wanted.zip(&cosines).map(|(wanted, cosine)| (wanted - cosine).powi(2)).sum();
        evaluation.set("loss", squares / items.len().max(1) as f64);
    }
    evaluation.samples = Samples::of_ranks(&gold, &cosines);
    Ok(evaluation)
}

/// The scores of labels, from the vectors of both texts.
pub(super) fn labels<B: Backend, P: PositionScheme<B>>(
    model: &SentenceEmbedder<B, P>,
    codec: &Codec,
    examples: &[Labelled],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let vectors = vectors(model, codec, items, batch_size)?;
    let logits = logits(model, &vectors, batch_size).unwrap_or_default();
    let predicted: Vec<TaggedWord> = logits.iter().map(|logits| best(logits)).collect();
    score_classes(codec, &examples.iter().collect::<Vec<_>>(), &predicted.iter().collect::<Vec<_>>())
}
