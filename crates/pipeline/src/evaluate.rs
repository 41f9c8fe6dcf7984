//! Scores of a model on examples, with the metrics of its task.

mod rows;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use burn::tensor::backend::Backend;
use locus_data::{Examples, IGNORE, Item, ItemLabels, Labelled, Pair, Tagged};
use locus_embedding::position::PositionScheme;
use locus_heads::{CausalLm, Seq2Seq, SequenceClassifier, TaskModel, TokenClassifier, Trainable};
use locus_metrics::tags::{TagScheme, spans};
use locus_metrics::{confusion::ConfusionMatrix, entity::EntityScorer, lm::LmScorer, report::ClassReport};
use serde::Serialize;

use crate::classify::outputs;
use crate::tagging::{best, tag};
use crate::units::Units;
use crate::write::{WriteOptions, translate_texts};
use crate::{Codec, Encoded, PipelineError};

/// The scores of a model on one set of examples.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// All numbers by name.
    pub metrics: BTreeMap<String, f64>,
    /// The name of the one that decides.
    pub score_name: &'static str,
    /// How many texts were longer than the model and were cut.
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
    /// The thresholds with which those labels were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f64>>,
}

impl Evaluation {
    fn new(score_name: &'static str) -> Self {
        Self {
            metrics: BTreeMap::new(),
            score_name,
            n_truncated: 0,
            entity_report: None,
            token_report: None,
            class_report: None,
            label_report: None,
            thresholds: None,
        }
    }

    fn set(&mut self, name: &str, value: f64) {
        self.metrics.insert(name.to_owned(), value);
    }

    /// The number that decides which model is best; higher is better.
    pub fn score(&self) -> f64 {
        let value = self.metrics.get(self.score_name).copied().unwrap_or(f64::NAN);
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
        match self.n_truncated {
            0 => Ok(()),
            n => write!(f, "\n{n} texts are longer than the model's max_seq_len and were cut"),
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
    // Also says so where examples and model do not fit.
    let Encoded { items, n_truncated } = codec.encode(examples)?;
    let evaluation = match (model, examples) {
        (TaskModel::TokenClassifier(model), Examples::Tagged(examples)) => {
            tags(model, codec, examples, batch_size)
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
        (TaskModel::CausalLm(model), Examples::Text(texts)) => {
            language(model, codec, texts, &items, batch_size)
        }
        (TaskModel::Seq2Seq(model), Examples::Pairs(pairs)) => {
            targets(model, codec, pairs, &items, batch_size)
        }
        _ => unreachable!("the codec of a model takes only the examples of its task"),
    }?;
    Ok(Evaluation { n_truncated, ..evaluation })
}

fn tags<B: Backend, P: PositionScheme<B>>(
    model: &TokenClassifier<B, P>,
    codec: &Codec,
    examples: &[Tagged],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let split: Vec<Units> = examples.iter().map(|sentence| Units::of(&sentence.words)).collect();
    let sentences: Vec<Vec<String>> = split.iter().map(|units| units.units.clone()).collect();
    let predicted = tag(model, codec, &sentences, batch_size)?;
    let (mut entities, mut tokens) = (EntityScorer::new(), ConfusionMatrix::new());
    let (mut nats, mut n) = (0.0, 0_usize);
    for ((gold, units), found) in examples.iter().zip(&split).zip(&predicted) {
        for (tag, unit) in units.spread(&gold.tags).iter().zip(found) {
            nats -= unit.log_probs[codec.label_idx(tag)?];
            n += 1;
        }
        let names: Vec<&str> = found.iter().map(|unit| codec.label_name(unit.label)).collect();
        let names = units.gather(&names);
        entities.add(&spans(&gold.tags, TagScheme::Iob2), &spans(&names, TagScheme::Iob2));
        tokens.extend(&gold.tags, &names)?;
    }
    let entity_report = entities.report();
    let mut evaluation = Evaluation::new("entity_f1");
    let micro = entity_report.micro();
    evaluation.set("entity_precision", micro.precision);
    evaluation.set("entity_recall", micro.recall);
    evaluation.set("entity_f1", micro.f1);
    evaluation.set("token_accuracy", tokens.accuracy());
    evaluation.set("loss", nats / n.max(1) as f64);
    evaluation.entity_report = Some(entity_report);
    evaluation.token_report = Some(tokens.report());
    Ok(evaluation)
}

fn classes<B: Backend, P: PositionScheme<B>>(
    model: &SequenceClassifier<B, P>,
    codec: &Codec,
    examples: &[Labelled],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let predicted = outputs(model, codec, items, batch_size)?;
    let mut confusion = ConfusionMatrix::new();
    let mut nats = 0.0;
    for (gold, label) in examples.iter().zip(predicted.iter().map(|logits| best(logits))) {
        nats -= label.log_probs[codec.label_idx(&gold.label)?];
        confusion.add(&gold.label, codec.label_name(label.label));
    }
    let report = confusion.report();
    let mut evaluation = Evaluation::new("accuracy");
    evaluation.set("accuracy", confusion.accuracy());
    evaluation.set("macro_f1", report.macro_avg().f1);
    evaluation.set("loss", nats / examples.len().max(1) as f64);
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
    let (nats, n_tokens) = summed_loss::<B, _>(model, codec, items, batch_size)?;
    let mut scorer = LmScorer::new();
    scorer.add(nats, n_tokens);
    texts.iter().for_each(|text| scorer.add_text(text));
    let report = scorer.report()?;
    let mut evaluation = Evaluation::new("loss");
    evaluation.set("loss", report.nats_per_token);
    evaluation.set("perplexity", report.perplexity);
    for (name, bits) in [("bits_per_byte", report.bits_per_byte), ("bits_per_char", report.bits_per_char)] {
        if let Some(bits) = bits {
            evaluation.set(name, bits);
        }
    }
    Ok(evaluation)
}

fn targets<B: Backend, P: PositionScheme<B>>(
    model: &Seq2Seq<B, P>,
    codec: &Codec,
    pairs: &[Pair],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let (nats, n_tokens) = summed_loss::<B, _>(model, codec, items, batch_size)?;
    let longest = items.iter().map(|item| target_ids(item).len()).max().unwrap_or(0);
    let options = WriteOptions { max_new_tokens: longest + 1, ..WriteOptions::default() };
    let (mut exact, mut done) = (0_usize, 0);
    for chunk in items.chunks(batch_size.max(1)) {
        let sources: Vec<Vec<u32>> = chunk.iter().map(|item| item.ids.clone()).collect();
        let written =
            translate_texts(model, codec, &sources, options, &mut |_, _| ControlFlow::Continue(()))?;
        for (pair, row) in pairs[done..].iter().zip(&written) {
            // The whole target: one that is too long for the model cannot be right.
            exact += usize::from(codec.whole_target(&pair.target)? == row.ids);
        }
        done += chunk.len();
    }
    let mut evaluation = Evaluation::new("exact_match");
    evaluation.set("exact_match", exact as f64 / pairs.len().max(1) as f64);
    evaluation.set("loss", nats / n_tokens.max(1) as f64);
    Ok(evaluation)
}

/// What the decoder was fed: the start token and the target.
fn target_ids(item: &Item) -> &[u32] {
    match &item.labels {
        ItemLabels::Target { ids, .. } => ids,
        _ => unreachable!("the codec gives pairs a target"),
    }
}

fn summed_loss<B: Backend, M: Trainable<B, Batch = locus_heads::TaskBatch>>(
    model: &M,
    codec: &Codec,
    items: &[Item],
    batch_size: usize,
) -> Result<(f64, u64), PipelineError> {
    let (mut nats, mut n_tokens) = (0.0, 0);
    for chunk in items.chunks(batch_size.max(1)) {
        let batch = codec.batch(&chunk.iter().collect::<Vec<_>>())?;
        let loss = model.loss(&batch, None)?;
        nats += loss.sum.into_data().iter::<f64>().sum::<f64>();
        n_tokens += chunk.iter().map(n_labels).sum::<u64>();
    }
    Ok((nats, n_tokens))
}

fn n_labels(item: &Item) -> u64 {
    match &item.labels {
        ItemLabels::PerToken(labels) | ItemLabels::Target { labels, .. } => {
            labels.iter().filter(|&&label| label != IGNORE).count() as u64
        }
        _ => 0,
    }
}
