//! Entity scores: a predicted entity is right if its tokens and its type are those of a gold entity.
//!
//! Equal to seqeval 1.2.2's `classification_report` in its default mode; the micro average is `conlleval`'s F1.
//! Works on spans, not tags: [`crate::tags::spans`] reads the tags, so the two sides may use different schemes.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    report::{ClassReport, Counts},
    tags::Span,
};

/// Adds up entities sentence by sentence. Types are those seen on either side, in alphabetical order.
#[derive(Debug, Clone, Default)]
pub struct EntityScorer {
    counts: BTreeMap<String, Counts>,
}

impl EntityScorer {
    /// A scorer that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one sentence, and gives how many of its entities are right, predicted and gold. A span that one side lists twice
    /// counts once.
    pub fn add(&mut self, gold: &[Span], predicted: &[Span]) -> [usize; 3] {
        let gold: BTreeSet<&Span> = gold.iter().collect();
        let predicted: BTreeSet<&Span> = predicted.iter().collect();
        for span in &gold {
            self.of(&span.label).gold += 1;
        }
        for span in &predicted {
            self.of(&span.label).predicted += 1;
        }
        let mut correct = 0;
        for span in gold.intersection(&predicted) {
            self.of(&span.label).correct += 1;
            correct += 1;
        }
        [correct, predicted.len(), gold.len()]
    }

    /// The scores so far, per type and averaged.
    pub fn report(&self) -> ClassReport {
        let counts: Vec<_> = self.counts.iter().map(|(label, counts)| (label.as_str(), *counts)).collect();
        ClassReport::new(&counts, None)
    }

    fn of(&mut self, label: &str) -> &mut Counts {
        self.counts.entry(label.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_and_type_both_count() {
        let gold = [Span::new(0, 2, "PER"), Span::new(3, 5, "LOC"), Span::new(6, 7, "ORG")];
        let predicted = [Span::new(0, 2, "PER"), Span::new(3, 4, "LOC"), Span::new(6, 7, "LOC")];
        let mut scorer = EntityScorer::new();
        assert_eq!(scorer.add(&gold, &predicted), [1, 3, 3]);
        let report = scorer.report();
        assert_eq!(report.micro().precision, 1.0 / 3.0);
        let f1: Vec<f64> = report.labels().iter().map(|row| row.f1).collect();
        assert_eq!(f1, [0.0, 0.0, 1.0]); // LOC, ORG, PER
    }

    #[test]
    fn repeated_spans_count_once() {
        let span = Span::new(1, 2, "A");
        let mut scorer = EntityScorer::new();
        scorer.add(std::slice::from_ref(&span), &[span.clone(), span.clone()]);
        assert_eq!(scorer.report().micro().precision, 1.0);
    }

    #[test]
    fn same_place_in_another_sentence_is_not_a_match() {
        let mut scorer = EntityScorer::new();
        scorer.add(&[Span::new(0, 1, "A")], &[]);
        scorer.add(&[], &[Span::new(0, 1, "A")]);
        assert_eq!(scorer.report().micro().f1, 0.0);
    }
}
