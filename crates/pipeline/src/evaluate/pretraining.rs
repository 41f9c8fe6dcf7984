//! Scores of what is learned from plain text alone, on the same masks every time.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use locus_data::{IGNORE, Item, ItemLabels};
use locus_embedding::position::PositionScheme;
use locus_heads::{Labels, MaskedLm, Replaced, ReplacedTokenDetector, SequenceClassifier, TaskModel};
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
        TaskModel::ReplacedTokenDetector(model) => replaced(model, codec, items, batch_size),
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
        let (nats, n_first) = of_hidden(logits, hidden.iter().map(|(_, label)| *label));
        n_right += n_first;
        losses.push((nats, hidden.len() as u64));
    }
    let n_hidden: u64 = losses.iter().map(|(_, n)| n).sum();
    let mut evaluation = of_losses(&losses)?;
    evaluation.set("masked_accuracy", n_right as f64 / n_hidden as f64);
    Ok(evaluation)
}

/// Of hidden tokens, with scores `[places, vocab_size]`: the summed loss in nats, and how many come first.
fn of_hidden<B: Backend>(scores: Tensor<B, 2>, tokens: impl Iterator<Item = usize>) -> (f64, u64) {
    let [_, vocab_size] = scores.dims();
    let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
    let (mut nats, mut n_first) = (0.0, 0);
    for (token, scores) in tokens.zip(scores.chunks(vocab_size)) {
        nats -= log_softmax(scores)[token];
        n_first += u64::from(is_first(scores, token));
    }
    (nats, n_first)
}

/// Whether a token has a higher score than all others: of equal ones none comes first.
fn is_first(scores: &[f32], token: usize) -> bool {
    scores.iter().enumerate().all(|(other, score)| other == token || *score < scores[token])
}

/// The losses of generator and discriminator and of both together, how many hidden tokens come first with the generator, and
/// how well the discriminator finds those that were replaced.
fn replaced<B: Backend, P: PositionScheme<B>>(
    model: &ReplacedTokenDetector<B, P>,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let (mut all, mut batches) = (Found::default(), Vec::new());
    for chunk in items.chunks(batch_size.max(1)) {
        let batch = codec.batch(&chunk.iter().collect::<Vec<_>>())?;
        let replaced = model.replace(&batch, None)?;
        let logits = model.logits(&replaced.tokens, None)?; // [batch, seq]
        let mut found = Found::default();
        found.add_generator(&replaced);
        let logits = logits.into_data().iter::<f32>().collect::<Vec<_>>();
        found.add_discriminator(&logits, &replaced.is_replaced);
        all.add(&found);
        batches.push(found);
    }
    let share = |n: u64, of: u64| n as f64 / of.max(1) as f64;
    let generator_loss = all.generator_nats / all.n_hidden.max(1) as f64;
    let discriminator_loss = all.discriminator_nats / all.n_tokens.max(1) as f64;
    let weight = model.config().discriminator_weight;
    let (precision, recall) =
        (share(all.n_hits, all.n_hits + all.n_false), share(all.n_hits, all.n_hits + all.n_missed));
    let mut evaluation = Evaluation::new("loss");
    evaluation.set("loss", generator_loss + weight * discriminator_loss);
    evaluation.set("generator_loss", generator_loss);
    evaluation.set("discriminator_loss", discriminator_loss);
    evaluation.set("masked_accuracy", share(all.n_right, all.n_hidden));
    evaluation.set("replaced_precision", precision);
    evaluation.set("replaced_recall", recall);
    evaluation.set("replaced_f1", share(2 * all.n_hits, 2 * all.n_hits + all.n_false + all.n_missed));
    // A hidden token counts as much in every batch, so that sums over batches make the loss above.
    let per_hidden = all.n_tokens as f64 / all.n_hidden.max(1) as f64;
    let of_batch = |found: &Found| {
        let nats = per_hidden * found.generator_nats + weight * found.discriminator_nats;
        [nats, found.n_tokens as f64]
    };
    evaluation.samples = Some(Samples::new(Formula::Mean, batches.iter().map(of_batch)));
    Ok(evaluation)
}

/// What is counted of a generator and a discriminator.
#[derive(Default)]
struct Found {
    generator_nats: f64,
    n_hidden: u64,
    /// Hidden tokens that come first.
    n_right: u64,
    discriminator_nats: f64,
    n_tokens: u64,
    /// Replaced tokens that are found.
    n_hits: u64,
    /// Tokens that are found and are not replaced.
    n_false: u64,
    /// Replaced tokens that are not found.
    n_missed: u64,
}

impl Found {
    fn add(&mut self, other: &Self) {
        self.generator_nats += other.generator_nats;
        self.n_hidden += other.n_hidden;
        self.n_right += other.n_right;
        self.discriminator_nats += other.discriminator_nats;
        self.n_tokens += other.n_tokens;
        self.n_hits += other.n_hits;
        self.n_false += other.n_false;
        self.n_missed += other.n_missed;
    }

    fn add_generator<B: Backend>(&mut self, replaced: &Replaced<B>) {
        let Some(scores) = replaced.scores.clone() else { return };
        let originals = replaced.originals.iter().map(|&original| original as usize);
        let (nats, n_first) = of_hidden(scores, originals);
        self.generator_nats += nats;
        self.n_right += n_first;
        self.n_hidden += replaced.originals.len() as u64;
    }

    fn add_discriminator(&mut self, logits: &[f32], is_replaced: &[i32]) {
        for (&logit, &label) in logits.iter().zip(is_replaced).filter(|(_, label)| **label != IGNORE) {
            let (x, is_replaced) = (f64::from(logit), label == 1);
            // −ln σ(x) = ln(1 + e⁻ˣ), without overflow.
            let against = if is_replaced { -x } else { x };
            self.discriminator_nats += against.max(0.0) + (-x.abs()).exp().ln_1p();
            self.n_tokens += 1;
            self.n_hits += u64::from(x > 0.0 && is_replaced);
            self.n_false += u64::from(x > 0.0 && !is_replaced);
            self.n_missed += u64::from(is_replaced && x <= 0.0);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::is_first;

    #[test]
    fn of_equal_scores_none_comes_first() {
        assert!(is_first(&[-1.0, 2.0, 1.5], 1) && !is_first(&[-1.0, 2.0, 1.5], 2));
        assert!((0..3).all(|token| !is_first(&[0.5; 3], token)));
        assert!((0..3).all(|token| !is_first(&[f32::NAN; 3], token)));
        assert!(is_first(&[1.0], 0));
    }
}
