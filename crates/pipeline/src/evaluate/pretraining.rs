//! Scores of what is learned from plain text alone, on the same masks every time.

use burn::tensor::backend::Backend;
use locus_data::{Item, ItemLabels};
use locus_embedding::position::PositionScheme;
use locus_heads::{Labels, MaskedLm, SequenceClassifier, TaskModel};
use locus_metrics::lm::LmScorer;
use locus_metrics::samples::{Formula, Samples};

use super::{Evaluation, batch_losses, share};
use crate::classify::outputs;
use crate::tagging::{best, log_softmax};
use crate::{Codec, PipelineError};

pub(super) fn scores<B: Backend, P: PositionScheme<B>>(
    model: &TaskModel<B, P>,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    match model {
        TaskModel::MaskedLm(model) => masked(model, codec, items, batch_size),
        TaskModel::CausalLm(model) => of_losses(&batch_losses::<B, _>(model, codec, items, batch_size)?),
        TaskModel::Seq2Seq(model) => of_losses(&batch_losses::<B, _>(model, codec, items, batch_size)?),
        TaskModel::SequenceClassifier(model) => rows(model, codec, items, batch_size),
        _ => Err(PipelineError::WrongTask { task: codec.task(), asked: "be scored on text alone" }),
    }
}

/// Loss and perplexity of the tokens to predict.
fn of_losses(losses: &[(f64, u64)]) -> Result<Evaluation, PipelineError> {
    let mut scorer = LmScorer::new();
    losses.iter().for_each(|&(nats, n_tokens)| scorer.add(nats, n_tokens));
    let report = scorer.report()?;
    let mut evaluation = Evaluation::new("loss");
    evaluation.set("loss", report.nats_per_token);
    evaluation.set("perplexity", report.perplexity);
    // Neighbouring pieces are alike, so whole batches of them are drawn.
    evaluation.samples = Some(Samples::new(Formula::Mean, losses.iter().map(|&(nats, n)| [nats, n as f64])));
    Ok(evaluation)
}

/// The same of hidden tokens, and how many of them come first.
fn masked<B: Backend, P: PositionScheme<B>>(
    model: &MaskedLm<B, P>,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let (mut losses, mut n_right) = (Vec::new(), 0_u64);
    for chunk in items.chunks(batch_size.max(1)) {
        let batch = codec.batch(&chunk.iter().collect::<Vec<_>>())?;
        let Labels::PerToken(labels) = &batch.labels else { continue };
        // A label that is none is negative.
        let hidden = |place: usize| Some((place, usize::try_from(labels[place]).ok()?));
        let hidden: Vec<(usize, usize)> = (0..labels.len()).filter_map(hidden).collect();
        if hidden.is_empty() {
            continue;
        }
        let places: Vec<usize> = hidden.iter().map(|(place, _)| *place).collect();
        let logits = model.logits_at(&batch.tokens, &places)?; // [places, vocab_size]
        let [_, vocab_size] = logits.dims();
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        let mut nats = 0.0;
        for ((_, label), logits) in hidden.iter().zip(logits.chunks(vocab_size)) {
            let log_probs = log_softmax(logits);
            nats -= log_probs[*label];
            n_right += u64::from(log_probs.iter().all(|other| *other <= log_probs[*label]));
        }
        losses.push((nats, hidden.len() as u64));
    }
    let n_hidden: u64 = losses.iter().map(|(_, n)| n).sum();
    let mut evaluation = of_losses(&losses)?;
    evaluation.set("masked_accuracy", n_right as f64 / n_hidden as f64);
    Ok(evaluation)
}

/// Accuracy and loss of labels of rows.
fn rows<B: Backend, P: PositionScheme<B>>(
    model: &SequenceClassifier<B, P>,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let (mut nats, mut right) = (0.0, Vec::with_capacity(items.len()));
    for (item, logits) in items.iter().zip(outputs(model, codec, items, batch_size)?) {
        let ItemLabels::Row(label) = item.labels else { continue };
        let found = best(&logits);
        nats -= found.log_probs[label as usize];
        right.push(found.label == label as usize);
    }
    let n_right = right.iter().filter(|right| **right).count();
    let mut evaluation = Evaluation::new("accuracy");
    evaluation.set("accuracy", n_right as f64 / right.len().max(1) as f64);
    evaluation.set("loss", nats / right.len().max(1) as f64);
    evaluation.samples = Some(share(&right));
    Ok(evaluation)
}
