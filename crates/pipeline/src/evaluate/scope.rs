//! Scores of a classifier that also meets texts which fit none of its labels (Larson et al. 2019, D19-1131): how it labels
//! those that fit one, and whether its confidence tells the two apart.

use burn::tensor::backend::Backend;
use locus_data::{Item, Labelled};
use locus_embedding::position::PositionScheme;
use locus_heads::SequenceClassifier;
use locus_metrics::ranking::roc_auc;

use super::{Evaluation, score_classes};
use crate::classify::outputs;
use crate::tagging::{TaggedWord, best};
use crate::{Codec, PipelineError};

/// The scores of texts in scope, and the area under the ROC curve with which the probability of the best label puts them
/// before those out of scope (Hendrycks and Gimpel 2017, arXiv:1610.02136).
pub(super) fn classes<B: Backend, P: PositionScheme<B>>(
    model: &SequenceClassifier<B, P>,
    codec: &Codec,
    examples: &[Labelled],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let logits = outputs(model, codec, items, batch_size)?;
    let predicted: Vec<TaggedWord> = logits.iter().map(|logits| best(logits)).collect();
    let in_scope: Vec<bool> =
        examples.iter().map(|example| codec.out_of_scope.as_ref() != Some(&example.label)).collect();
    let confidence: Vec<f64> = predicted.iter().map(|label| label.probability).collect();
    let kept = examples.iter().zip(&predicted).zip(&in_scope).filter(|(_, in_scope)| **in_scope);
    let (gold, labels): (Vec<&Labelled>, Vec<&TaggedWord>) = kept.map(|(both, _)| both).unzip();
    let mut evaluation = score_classes(codec, &gold, &labels)?;
    if let Some(accuracy) = evaluation.metrics.remove("accuracy") {
        evaluation.set("in_scope_accuracy", accuracy);
    }
    evaluation.score_name = "in_scope_accuracy";
    // Without texts of both kinds, or with outputs that are no numbers, there is none.
    if let Ok(area) = roc_auc(&in_scope, &confidence) {
        evaluation.set("oos_auroc", area);
    }
    evaluation.n_examples = gold.len();
    Ok(evaluation)
}
