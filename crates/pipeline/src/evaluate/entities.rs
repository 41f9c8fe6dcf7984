//! Scores of entities: those that tags make, and spans, which may lie in one another.

use burn::tensor::backend::Backend;
use locus_data::{Spanned, Tagged};
use locus_embedding::position::PositionScheme;
use locus_heads::{SpanClassifier, TokenClassifier};
use locus_metrics::confusion::ConfusionMatrix;
use locus_metrics::entity::EntityScorer;
use locus_metrics::samples::{Formula, Samples};
use locus_metrics::tags::{Span, TagScheme, spans as spans_of};

use super::Evaluation;
use crate::entities::{numbered, read_windows, span_windows};
use crate::tagging::tag;
use crate::units::Units;
use crate::{Codec, PipelineError};

/// The scores of tags, and of the entities that they make.
pub(super) fn tags<B: Backend, P: PositionScheme<B>>(
    model: &TokenClassifier<B, P>,
    codec: &Codec,
    examples: &[Tagged],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let split: Vec<Units> = examples.iter().map(|sentence| Units::of(&sentence.words)).collect();
    // A label that the model does not have is told before anything is computed.
    let mut labels: Vec<Vec<usize>> = Vec::with_capacity(examples.len());
    for (gold, units) in examples.iter().zip(&split) {
        labels
            .push(units.spread(&gold.tags).iter().map(|tag| codec.label_idx(tag)).collect::<Result<_, _>>()?);
    }
    let sentences: Vec<Vec<String>> = split.iter().map(|units| units.units.clone()).collect();
    let predicted = tag(model, codec, &sentences, batch_size)?;
    let (mut entities, mut tokens) = (Entities::default(), ConfusionMatrix::new());
    let (mut nats, mut n) = (0.0, 0_usize);
    for (((gold, units), labels), found) in examples.iter().zip(&split).zip(&labels).zip(&predicted) {
        nats -= labels.iter().zip(found).map(|(&label, unit)| unit.log_probs[label]).sum::<f64>();
        n += found.len();
        let names: Vec<&str> = found.iter().map(|unit| codec.label_name(unit.label)).collect();
        let names = units.gather(&names);
        entities.add(&spans_of(&gold.tags, TagScheme::Iob2), &spans_of(&names, TagScheme::Iob2));
        tokens.extend(&gold.tags, &names)?;
    }
    let mut evaluation = entities.evaluation();
    evaluation.set("token_accuracy", tokens.accuracy());
    evaluation.set("loss", nats / n.max(1) as f64);
    evaluation.token_report = Some(tokens.report());
    Ok(evaluation)
}

/// The scores of found entities: each is right if its words and its label are those of one of the sentence's.
pub(super) fn spans<B: Backend, P: PositionScheme<B>>(
    model: &SpanClassifier<B, P>,
    codec: &Codec,
    examples: &[Spanned],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let split: Vec<Units> = examples.iter().map(|sentence| Units::of(&sentence.words)).collect();
    let mut windows = Vec::new();
    for (at, (sentence, units)) in examples.iter().zip(&split).enumerate() {
        let spans = units.spread_spans(&sentence.spans);
        let in_units = Spanned { words: units.units.clone(), spans, line: sentence.line };
        let of_sentence = span_windows(codec, &in_units.words, &numbered(codec, &in_units)?)?;
        windows.extend(of_sentence.into_iter().map(|window| (at, window)));
    }
    let found = read_windows(model, codec, windows, examples.len(), batch_size)?;
    let mut entities = Entities::default();
    for ((gold, units), found) in examples.iter().zip(&split).zip(&found.spans) {
        let named =
            found.iter().map(|span| units.gather_span(span.first, span.last, codec.label_name(span.label)));
        entities.add(&gold.spans, &named.collect::<Vec<Span>>());
    }
    let mut evaluation = entities.evaluation();
    evaluation.set("loss", found.nats / found.weight.max(1.0));
    Ok(evaluation)
}

/// The entities of sentences, as they are and as they were found.
#[derive(Default)]
struct Entities {
    scorer: EntityScorer,
    counts: Vec<[u32; 3]>,
}

impl Entities {
    fn add(&mut self, gold: &[Span], found: &[Span]) {
        self.counts.push(self.scorer.add(gold, found).map(|n| n as u32));
    }

    /// Precision, recall and F1 of all of them, which decides.
    fn evaluation(self) -> Evaluation {
        let report = self.scorer.report();
        let micro = report.micro();
        let mut evaluation = Evaluation::new("entity_f1");
        evaluation.set("entity_precision", micro.precision);
        evaluation.set("entity_recall", micro.recall);
        evaluation.set("entity_f1", micro.f1);
        evaluation.samples = Some(Samples::new(Formula::F1, self.counts));
        evaluation.entity_report = Some(report);
        evaluation
    }
}
