//! Scores of texts with any number of labels, or with a number.

use burn::tensor::backend::Backend;
use locus_data::{Item, MultiLabelled, Scored};
use locus_embedding::position::PositionScheme;
use locus_heads::SequenceClassifier;
use locus_metrics::{
    multilabel::MultiLabelScorer,
    regression::RegressionReport,
    samples::{Formula, Samples},
};

use super::Evaluation;
use crate::classify::{outputs, sigmoid};
use crate::{Codec, PipelineError};

pub(super) fn labels<B: Backend, P: PositionScheme<B>>(
    model: &SequenceClassifier<B, P>,
    codec: &Codec,
    examples: &[MultiLabelled],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let names = codec.labels.as_ref().map(|labels| labels.names()).unwrap_or_default();
    let logits = outputs(model, codec, items, batch_size)?;
    let mut gold = vec![vec![false; names.len()]; examples.len()];
    for (row, example) in gold.iter_mut().zip(examples) {
        for label in &example.label {
            row[codec.label_idx(label)?] = true;
        }
    }
    let cells = gold.iter().flatten().zip(logits.iter().flatten());
    let nats: f64 = cells.map(|(&yes, &z)| softplus(if yes { -z } else { z })).sum();
    let probabilities: Vec<Vec<f64>> = logits.iter().map(|logits| sigmoid(logits)).collect();
    let thresholds = codec.thresholds.resolve(names.len(), &probabilities, &gold);
    let (mut scorer, mut counts) = (MultiLabelScorer::new(names), Vec::with_capacity(examples.len()));
    for (gold, probabilities) in gold.iter().zip(&probabilities) {
        let given: Vec<bool> = probabilities.iter().zip(&thresholds).map(|(p, least)| p >= least).collect();
        scorer.add(gold, &given)?;
        let of_label = |(&gold, given): (&bool, bool)| [gold && given, given, gold].map(u8::from);
        counts.push(gold.iter().zip(given).flat_map(of_label).collect::<Vec<u8>>());
    }
    let report = scorer.report()?;
    let mut evaluation = Evaluation::new("macro_f1");
    evaluation.set("macro_f1", report.classes.macro_avg().f1);
    evaluation.set("micro_f1", report.classes.micro().f1);
    evaluation.set("subset_accuracy", report.subset_accuracy);
    evaluation.set("hamming_loss", report.hamming_loss);
    evaluation.set("loss", nats / (examples.len() * names.len()).max(1) as f64);
    evaluation.samples = Some(Samples::new(Formula::MacroF1, counts));
    evaluation.label_report = Some(report.classes);
    evaluation.thresholds = Some(thresholds);
    Ok(evaluation)
}

/// `ln(1 + eᶻ)` without overflow.
fn softplus(z: f32) -> f64 {
    let z = f64::from(z);
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

pub(super) fn numbers<B: Backend, P: PositionScheme<B>>(
    model: &SequenceClassifier<B, P>,
    codec: &Codec,
    examples: &[Scored],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let gold: Vec<f64> = examples.iter().map(|example| example.label).collect();
    let outputs = outputs(model, codec, items, batch_size)?;
    let predicted: Vec<f64> = outputs.iter().map(|output| codec.number(output[0])).collect();
    let report = RegressionReport::new(&gold, &predicted)?;
    let mut evaluation = Evaluation::new("loss");
    // The loss is that of the standardised numbers, on which the model is trained.
    evaluation.set("loss", report.mse / codec.scale().1.powi(2));
    let errors = gold.iter().zip(&predicted).map(|(gold, found)| (gold - found) / codec.scale().1);
    evaluation.samples = Some(Samples::new(Formula::Mean, errors.map(|error| [error.powi(2), 1.0])));
    evaluation.set("mse", report.mse);
    evaluation.set("rmse", report.rmse);
    evaluation.set("mae", report.mae);
    for (name, value) in [("r2", report.r2), ("pearson", report.pearson), ("spearman", report.spearman)] {
        if let Some(value) = value {
            evaluation.set(name, value);
        }
    }
    Ok(evaluation)
}
