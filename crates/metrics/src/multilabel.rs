//! Scores of decisions where an example has any number of labels, none included.
//!
//! Equal to scikit-learn's `classification_report` of indicator rows. Subset accuracy is the share of examples whose
//! labels are all right (`accuracy_score`), Hamming loss the share of single yes-or-no decisions that are wrong
//! (`hamming_loss`). The samples average is the mean of the precision, recall and F1 of each example, 0 for 0 of 0.

use serde::Serialize;

use crate::{
    error::MetricsError,
    report::{ClassReport, Counts, ReportRow},
};

/// Adds up multi-label decisions example by example.
///
/// ```
/// use locus_metrics::multilabel::MultiLabelScorer;
///
/// let mut scorer = MultiLabelScorer::new(["joy", "anger", "fear"]);
/// scorer.add(&[true, false, true], &[true, false, false])?;
/// scorer.add(&[false, true, false], &[false, true, false])?;
/// let report = scorer.report()?;
/// assert_eq!(report.subset_accuracy, 0.5);
/// assert_eq!(report.hamming_loss, 1.0 / 6.0);
/// assert_eq!(report.classes.micro().recall, 2.0 / 3.0);
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MultiLabelScorer {
    labels: Vec<String>,
    counts: Vec<Counts>,
    /// Sums of the rows of single examples.
    samples: ReportRow,
    n_examples: u64,
    n_exact: u64,
    n_wrong: u64,
}

/// The scores of a [`MultiLabelScorer`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MultiLabelReport {
    /// Examples scored.
    pub n_examples: u64,
    /// Share of examples whose labels are all right.
    pub subset_accuracy: f64,
    /// Share of single decisions that are wrong.
    pub hamming_loss: f64,
    /// Scores per label, with micro, macro, weighted and samples averages.
    pub classes: ClassReport,
}

impl MultiLabelScorer {
    /// A scorer of these labels, which has seen nothing.
    pub fn new(labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let labels: Vec<String> = labels.into_iter().map(Into::into).collect();
        let counts = vec![Counts::default(); labels.len()];
        let samples = Counts::default().row("samples avg");
        Self { labels, counts, samples, n_examples: 0, n_exact: 0, n_wrong: 0 }
    }

    /// Adds one example: for each label, in the order given to [`new`](Self::new), whether the example has it.
    ///
    /// # Errors
    /// If a side has another number of labels; nothing is added then.
    pub fn add(&mut self, gold: &[bool], predicted: &[bool]) -> Result<(), MetricsError> {
        let expected = self.labels.len();
        if let Some(row) = [gold, predicted].into_iter().find(|row| row.len() != expected) {
            let problem = format!("{expected} labels expected, {} found", row.len());
            return Err(MetricsError::BadExample { at: self.n_examples as usize, problem });
        }
        let mut own = Counts::default();
        for ((&gold, &predicted), counts) in gold.iter().zip(predicted).zip(&mut self.counts) {
            let decision = Counts {
                correct: u64::from(gold && predicted),
                predicted: u64::from(predicted),
                gold: u64::from(gold),
            };
            *counts = counts.plus(decision);
            own = own.plus(decision);
        }
        let row = own.row("");
        self.samples.precision += row.precision;
        self.samples.recall += row.recall;
        self.samples.f1 += row.f1;
        self.samples.support += row.support;
        self.n_examples += 1;
        let n_wrong = own.gold + own.predicted - 2 * own.correct;
        self.n_wrong += n_wrong;
        self.n_exact += u64::from(n_wrong == 0);
        Ok(())
    }

    /// The scores so far.
    ///
    /// # Errors
    /// If no example has been added, or there are no labels.
    pub fn report(&self) -> Result<MultiLabelReport, MetricsError> {
        if self.n_examples == 0 || self.labels.is_empty() {
            let reason = format!("{} examples with {} labels", self.n_examples, self.labels.len());
            return Err(MetricsError::Undefined { score: "a multi-label score", reason });
        }
        let rows: Vec<_> = self.labels.iter().map(String::as_str).zip(self.counts.iter().copied()).collect();
        let n = self.n_examples as f64;
        let samples = ReportRow {
            precision: self.samples.precision / n,
            recall: self.samples.recall / n,
            f1: self.samples.f1 / n,
            ..self.samples.clone()
        };
        Ok(MultiLabelReport {
            n_examples: self.n_examples,
            subset_accuracy: self.n_exact as f64 / n,
            hamming_loss: self.n_wrong as f64 / (n * self.labels.len() as f64),
            classes: ClassReport::new(&rows, None).with_samples_avg(samples),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_an_error_and_not_a_perfect_loss() {
        let error = MultiLabelScorer::new(["a"]).report().unwrap_err();
        assert_eq!(error.to_string(), "a multi-label score is undefined: 0 examples with 1 labels");
        let mut scorer = MultiLabelScorer::new(Vec::<String>::new());
        scorer.add(&[], &[]).unwrap();
        assert!(scorer.report().is_err());
    }

    #[test]
    fn a_row_of_another_width_is_an_error_and_adds_nothing() {
        let mut scorer = MultiLabelScorer::new(["a", "b"]);
        scorer.add(&[true, false], &[true, true]).unwrap();
        let before = scorer.report().unwrap();
        for (gold, predicted) in [(vec![true], vec![true, false]), (vec![true, false], vec![true; 3])] {
            let error = scorer.add(&gold, &predicted).unwrap_err().to_string();
            assert!(error.starts_with("example 1: 2 labels expected, "), "{error}");
        }
        assert_eq!(scorer.report().unwrap(), before);
    }

    #[test]
    fn no_labels_on_either_side_is_an_exact_answer() {
        let mut scorer = MultiLabelScorer::new(["a", "b"]);
        scorer.add(&[false, false], &[false, false]).unwrap();
        let report = scorer.report().unwrap();
        assert_eq!((report.subset_accuracy, report.hamming_loss), (1.0, 0.0));
        assert_eq!(report.classes.samples_avg().unwrap().f1, 0.0);
    }
}
