//! Scores of entities that may lie in one another.

use burn::tensor::backend::Backend;
use locus_data::Spanned;
use locus_embedding::position::PositionScheme;
use locus_heads::SpanClassifier;
use locus_metrics::entity::EntityScorer;
use locus_metrics::samples::{Formula, Samples};
use locus_metrics::tags::Span;

use super::Evaluation;
use crate::entities::{numbered, read_windows, span_windows};
use crate::units::Units;
use crate::{Codec, PipelineError};

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
    let (mut entities, mut counts) = (EntityScorer::new(), Vec::with_capacity(examples.len()));
    for ((gold, units), found) in examples.iter().zip(&split).zip(&found.spans) {
        let named =
            found.iter().map(|span| units.gather_span(span.first, span.last, codec.label_name(span.label)));
        let own = entities.add(&gold.spans, &named.collect::<Vec<Span>>());
        counts.push(own.map(|n| n as u32));
    }
    let report = entities.report();
    let micro = report.micro();
    let mut evaluation = Evaluation::new("entity_f1");
    evaluation.set("entity_precision", micro.precision);
    evaluation.set("entity_recall", micro.recall);
    evaluation.set("entity_f1", micro.f1);
    evaluation.set("loss", found.nats / found.weight.max(1.0));
    evaluation.samples = Some(Samples::new(Formula::F1, counts));
    evaluation.entity_report = Some(report);
    Ok(evaluation)
}
