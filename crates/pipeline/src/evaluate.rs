//! Scores of a model on examples, with the metrics of its task.

mod entities;
mod examples;
mod pairs;
mod pretraining;
mod questions;
mod rankings;
mod rows;
mod scope;
mod targets;

use std::collections::BTreeMap;
use std::fmt;

use burn::tensor::backend::Backend;
use locus_data::{Examples, IGNORE, Item, ItemLabels, Labelled};
use locus_embedding::position::PositionScheme;
use locus_heads::{CausalLm, SentenceEmbedder, SequenceClassifier, TaskModel, Trainable};
use locus_metrics::bootstrap::Interval;
use locus_metrics::calibration::Reliability;
use locus_metrics::retrieval::RetrievalScorer;
use locus_metrics::samples::{Formula, Samples};
use locus_metrics::{confusion::ConfusionMatrix, lm::LmScorer, report::ClassReport};
use serde::Serialize;

use crate::classify::outputs;
use crate::retrieval::{METRICS, SCORE, by_words, search};
use crate::tagging::{TaggedWord, best};
use crate::{Codec, Encoded, Packing, PipelineError};

/// Bins of the expected calibration error, as in Guo et al. 2017 (arXiv:1706.04599).
const CALIBRATION_BINS: usize = 15;

/// The scores of a model on one set of examples.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// All numbers by name.
    pub metrics: BTreeMap<String, f64>,
    /// The name of the one that decides.
    pub score_name: &'static str,
    /// How many examples it was computed from: sentences, texts, pairs or queries; of a language model, windows of tokens.
    pub n_examples: usize,
    /// What tells these examples from others: a hash of their texts and labels in their order.
    pub examples_hash: String,
    /// The scores of simple methods on the same examples, by their names, where [`with_baseline`](Self::with_baseline) computed some.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub baseline: BTreeMap<&'static str, BTreeMap<String, f64>>,
    /// Its 95 % interval, where [`with_interval`](Self::with_interval) computed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// What the score was computed from, example by example; of a language model, batch by batch.
    #[serde(skip)]
    pub samples: Option<Samples>,
    /// How many texts were longer than the model reads and were cut.
    pub n_truncated: usize,
    /// Entities: precision, recall, F1 and support per type, with averages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_report: Option<ClassReport>,
    /// Tags of single words, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_report: Option<ClassReport>,
    /// Classes, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_report: Option<ClassReport>,
    /// Labels of which a text may have several, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_report: Option<ClassReport>,
    /// What must be known to compare scores of translations, in the form of sacreBLEU.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<String>,
    /// The thresholds with which those labels were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f64>>,
    /// Where questions may have no answer: the threshold of the difference in score that gives these the best F1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_answer_threshold: Option<f64>,
}

impl Evaluation {
    fn new(score_name: &'static str) -> Self {
        Self {
            metrics: BTreeMap::new(),
            score_name,
            n_examples: 0,
            examples_hash: String::new(),
            baseline: BTreeMap::new(),
            interval: None,
            samples: None,
            n_truncated: 0,
            entity_report: None,
            token_report: None,
            class_report: None,
            label_report: None,
            signatures: Vec::new(),
            thresholds: None,
            no_answer_threshold: None,
        }
    }

    fn set(&mut self, name: &str, value: f64) {
        self.metrics.insert(name.to_owned(), value);
    }

    /// The score that decides.
    pub fn value(&self) -> f64 {
        self.metrics.get(self.score_name).copied().unwrap_or(f64::NAN)
    }

    /// The same with the percentile interval of the score: 1,000 bootstrap resamples of the examples, always the same
    /// ones. There is none for a single example, or where a loss is not finite.
    pub fn with_interval(mut self) -> Self {
        self.interval = self.samples.as_ref().and_then(|samples| samples.interval().ok());
        self
    }

    /// The same with the scores of [`Bm25`](crate::Bm25) where the examples were searched.
    ///
    /// # Errors
    /// If a score of theirs cannot be computed.
    pub fn with_baseline(mut self, examples: &Examples) -> Result<Self, PipelineError> {
        if let Examples::Pairs(pairs) = examples
            && self.score_name == SCORE
        {
            self.baseline.insert("bm25", by_words(pairs)?);
        }
        Ok(self)
    }

    /// The score as a number of which more is better: a loss with its sign turned.
    pub fn score(&self) -> f64 {
        let value = self.value();
        if self.score_name == "loss" { -value } else { value }
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = [
            ("entities", &self.entity_report),
            ("tags", &self.token_report),
            ("classes", &self.class_report),
            ("labels", &self.label_report),
        ];
        for (what, report) in tables {
            if let Some(report) = report {
                writeln!(f, "{what}\n{report}")?;
            }
        }
        let numbers: Vec<String> = self.metrics.iter().map(|(name, x)| format!("{name} {x:.4}")).collect();
        write!(f, "{}", numbers.join(" · "))?;
        if let Some(Interval { low, high }) = self.interval {
            let (name, n) = (self.score_name, self.n_examples);
            write!(f, "\n{name} {:.4}, 95 % interval {low:.4} – {high:.4} over {n} examples", self.value())?;
        }
        for (name, scores) in &self.baseline {
            let numbers: Vec<String> = scores.iter().map(|(name, x)| format!("{name} {x:.4}")).collect();
            write!(f, "\nbaseline {name}: {}", numbers.join(" · "))?;
            if let Some(other) = scores.get(self.score_name) {
                let above = self.value() - other;
                let side = if above < 0.0 { "below" } else { "above" };
                write!(f, "; {} of the model is {:.4} {side} it", self.score_name, above.abs())?;
            }
        }
        self.signatures.iter().try_for_each(|signature| write!(f, "\n{signature}"))?;
        match self.n_truncated {
            0 => Ok(()),
            n => write!(f, "\n{n} texts are longer than the model reads and were cut"),
        }
    }
}

/// Evaluates a model on examples of its task.
///
/// # Errors
/// If the examples are of another kind, hold labels the model does not have, or cannot be tokenised.
pub fn evaluate<B: Backend, P: PositionScheme<B>>(
    model: &TaskModel<B, P>,
    codec: &Codec,
    examples: &Examples,
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    // What is read in windows is cut into them where it is read.
    let in_windows = match (model, examples) {
        (TaskModel::QuestionAnswerer(model), Examples::Qa(questions)) => {
            Some(questions::answers(model, codec, questions, batch_size)?)
        }
        (TaskModel::TokenClassifier(model), Examples::Tagged(sentences)) => {
            Some(entities::tags(model, codec, sentences, batch_size)?)
        }
        (TaskModel::SpanClassifier(model), Examples::Spans(sentences)) => {
            Some(entities::spans(model, codec, sentences, batch_size)?)
        }
        _ => None,
    };
    if let Some(evaluation) = in_windows {
        let examples_hash = examples::fingerprint(examples);
        return Ok(Evaluation { n_examples: examples.len(), examples_hash, ..evaluation });
    }
    // Also says so where examples and model do not fit.
    let Encoded { items, n_truncated, .. } = codec.encode(codec.prompted(examples)?.as_ref())?;
    let evaluation = match (model, examples) {
        (_, Examples::Text(_)) if codec.objective.is_some() => {
            pretraining::scores(model, codec, &items, batch_size)
        }
        (TaskModel::SequenceClassifier(model), Examples::Labelled(examples))
            if codec.out_of_scope.is_some() =>
        {
            scope::classes(model, codec, examples, &items, batch_size)
        }
        (TaskModel::SequenceClassifier(model), Examples::Labelled(examples)) => {
            classes(model, codec, examples, &items, batch_size)
        }
        (TaskModel::SequenceClassifier(model), Examples::MultiLabelled(examples)) => {
            rows::labels(model, codec, examples, &items, batch_size)
        }
        (TaskModel::SequenceClassifier(model), Examples::Scored(examples)) => {
            rows::numbers(model, codec, examples, &items, batch_size)
        }
        (TaskModel::SequenceClassifier(model), Examples::Ranked(list)) => {
            rankings::queries(model, codec, list, &items, batch_size)
        }
        (TaskModel::CausalLm(model), Examples::Text(texts)) => {
            language(model, codec, texts, &items, batch_size)
        }
        (TaskModel::SentenceEmbedder(model), Examples::Pairs(_)) => {
            retrieval(model, codec, &items, batch_size)
        }
        (TaskModel::SentenceEmbedder(model), Examples::Scored(examples)) => {
            pairs::numbers(model, codec, examples, &items, batch_size)
        }
        (TaskModel::SentenceEmbedder(model), Examples::Labelled(examples)) => {
            pairs::labels(model, codec, examples, &items, batch_size)
        }
        (TaskModel::Seq2Seq(model), Examples::Pairs(pairs)) => {
            targets::texts(model, codec, pairs, &items, batch_size)
        }
        _ => unreachable!("the codec of a model takes only the examples of its task"),
    }?;
    let n_examples = match (examples, evaluation.n_examples) {
        (Examples::Text(_), _) => items.len(),
        // Not all of them made up the score.
        (_, n) if n > 0 => n,
        _ => examples.len(),
    };
    let examples_hash = examples::fingerprint(examples);
    Ok(Evaluation { n_truncated, n_examples, examples_hash, ..evaluation })
}

fn classes<B: Backend, P: PositionScheme<B>>(
    model: &SequenceClassifier<B, P>,
    codec: &Codec,
    examples: &[Labelled],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let predicted: Vec<TaggedWord> =
        outputs(model, codec, items, batch_size)?.iter().map(|logits| best(logits)).collect();
    score_classes(codec, &examples.iter().collect::<Vec<_>>(), &predicted.iter().collect::<Vec<_>>())
}

/// The scores of predicted classes.
fn score_classes(
    codec: &Codec,
    examples: &[&Labelled],
    predicted: &[&TaggedWord],
) -> Result<Evaluation, PipelineError> {
    let mut confusion = ConfusionMatrix::new();
    let (mut nats, mut right) = (0.0, Vec::with_capacity(examples.len()));
    let mut confidence = Vec::with_capacity(examples.len());
    for (gold, label) in examples.iter().zip(predicted) {
        nats -= label.log_probs[codec.label_idx(&gold.label)?];
        let name = codec.label_name(label.label);
        confusion.add(&gold.label, name);
        right.push(gold.label == name);
        confidence.push(label.probability);
    }
    let report = confusion.report();
    let mut evaluation = Evaluation::new("accuracy");
    evaluation.set("accuracy", confusion.accuracy());
    evaluation.set("macro_f1", report.macro_avg().f1);
    evaluation.set("loss", nats / examples.len().max(1) as f64);
    // Outputs that are no numbers have no calibration.
    if let Ok(table) = Reliability::new(&confidence, &right, CALIBRATION_BINS) {
        evaluation.set("ece", table.ece);
    }
    evaluation.samples = Some(share(&right));
    evaluation.class_report = Some(report);
    Ok(evaluation)
}

fn language<B: Backend, P: PositionScheme<B>>(
    model: &CausalLm<B, P>,
    codec: &Codec,
    texts: &[String],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let losses = batch_losses::<B, _>(model, codec, items, batch_size)?;
    let mut scorer = LmScorer::new();
    losses.iter().for_each(|&(nats, n_tokens)| scorer.add(nats, n_tokens));
    texts.iter().for_each(|text| scorer.add_text(text));
    let report = scorer.report()?;
    let mut evaluation = Evaluation::new("loss");
    evaluation.set("loss", report.nats_per_token);
    evaluation.set("perplexity", report.perplexity);
    // Of documents that are kept apart without a token ahead of them, the first token of each is not predicted: the loss is
    // not that of the whole text.
    let is_whole = codec.packing == Packing::Stream || !codec.text_start().is_empty();
    for (name, bits) in [("bits_per_byte", report.bits_per_byte), ("bits_per_char", report.bits_per_char)] {
        if let Some(bits) = bits.filter(|_| is_whole) {
            evaluation.set(name, bits);
        }
    }
    // Neighbouring windows are alike, so whole batches of them are drawn.
    evaluation.samples = Some(Samples::new(Formula::Mean, losses.iter().map(|&(nats, n)| [nats, n as f64])));
    Ok(evaluation)
}

fn retrieval<B: Backend, P: PositionScheme<B>>(
    model: &SentenceEmbedder<B, P>,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let found = search(model, codec, items, batch_size)?;
    let report = found.as_ref().map(RetrievalScorer::report);
    let mut evaluation = Evaluation::new(SCORE);
    for name in METRICS {
        evaluation.set(name, report.as_ref().map_or(f64::NAN, |report| report[name]));
    }
    evaluation.samples = found.and_then(|scorer| scorer.samples(SCORE));
    Ok(evaluation)
}

/// The share of examples that are right.
fn share(right: &[bool]) -> Samples {
    Samples::new(Formula::Mean, right.iter().map(|&right| [u8::from(right), 1]))
}

/// The summed loss of each batch in nats, with its number of tokens.
fn batch_losses<B: Backend, M: Trainable<B, Batch = locus_heads::TaskBatch>>(
    model: &M,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<Vec<(f64, u64)>, PipelineError> {
    let of_batch = |chunk: &[Item]| {
        let batch = codec.batch(&chunk.iter().collect::<Vec<_>>())?;
        let loss = model.loss(&batch, None)?;
        let nats = loss.sum.into_data().iter::<f64>().sum::<f64>();
        Ok((nats, chunk.iter().map(n_labels).sum::<u64>()))
    };
    items.chunks(batch_size.max(1)).map(of_batch).collect()
}

fn n_labels(item: &Item) -> u64 {
    match &item.labels {
        ItemLabels::PerToken(labels) | ItemLabels::Target { labels, .. } => {
            labels.iter().filter(|&&label| label != IGNORE).count() as u64
        }
        _ => 0,
    }
}
