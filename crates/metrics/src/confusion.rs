//! The confusion matrix of single-label decisions, and the class report that follows from it.
//!
//! Convention: rows are gold, columns predicted; labels in code-point order, as scikit-learn's `confusion_matrix`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use unicode_width::UnicodeWidthStr;

use crate::{
    error::MetricsError,
    report::{ClassReport, Counts, ratio},
};

/// How often each gold label was given each predicted label. JSON: `{"labels": […], "counts": [[…]]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfusionMatrix {
    labels: BTreeSet<String>,
    cells: BTreeMap<(String, String), u64>,
}

impl ConfusionMatrix {
    /// An empty matrix; labels enter as they are seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one decision.
    pub fn add(&mut self, gold: &str, predicted: &str) {
        for label in [gold, predicted] {
            if !self.labels.contains(label) {
                self.labels.insert(label.to_owned());
            }
        }
        *self.cells.entry((gold.to_owned(), predicted.to_owned())).or_default() += 1;
    }

    /// Adds paired decisions.
    ///
    /// # Errors
    /// If the two sides differ in length; nothing is added then.
    pub fn extend<G: AsRef<str>, P: AsRef<str>>(
        &mut self,
        gold: &[G],
        predicted: &[P],
    ) -> Result<(), MetricsError> {
        if gold.len() != predicted.len() {
            return Err(MetricsError::LengthMismatch { gold: gold.len(), predicted: predicted.len() });
        }
        for (gold, predicted) in gold.iter().zip(predicted) {
            self.add(gold.as_ref(), predicted.as_ref());
        }
        Ok(())
    }

    /// The labels seen on either side, sorted.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.labels.iter().map(String::as_str)
    }

    /// How often `gold` was labelled `predicted`.
    pub fn count(&self, gold: &str, predicted: &str) -> u64 {
        self.cells.get(&(gold.to_owned(), predicted.to_owned())).copied().unwrap_or(0)
    }

    /// The counts as rows of gold labels.
    pub fn rows(&self) -> Vec<Vec<u64>> {
        self.labels()
            .map(|gold| self.labels().map(|predicted| self.count(gold, predicted)).collect())
            .collect()
    }

    /// Share of decisions that were right, 0 without any.
    pub fn accuracy(&self) -> f64 {
        let right = self.labels().map(|label| self.count(label, label)).sum();
        ratio(right, self.cells.values().sum())
    }

    /// Matthews' correlation of gold and predicted labels, from -1 to 1; 0 where either side has one label only.
    /// Formula: Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006, as scikit-learn's `matthews_corrcoef`.
    pub fn matthews(&self) -> f64 {
        let rows = self.rows();
        let gold: Vec<f64> = rows.iter().map(|row| row.iter().sum::<u64>() as f64).collect();
        let predicted: Vec<f64> =
            (0..rows.len()).map(|column| rows.iter().map(|row| row[column]).sum::<u64>() as f64).collect();
        let right: u64 = rows.iter().enumerate().map(|(at, row)| row[at]).sum();
        let n: f64 = gold.iter().sum();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let covariance = right as f64 * n - dot(&gold, &predicted);
        let variances = (n * n - dot(&gold, &gold)) * (n * n - dot(&predicted, &predicted));
        if variances == 0.0 { 0.0 } else { covariance / variances.sqrt() }
    }

    /// Scores of every label seen.
    pub fn report(&self) -> ClassReport {
        let labels: Vec<&str> = self.labels().collect();
        self.report_of(&labels)
    }

    /// Scores of `labels` in the order given (scikit-learn's `labels=`). If they leave out a label that was seen, the
    /// micro average takes the place of the accuracy: this is how `O` is kept out of token scores.
    pub fn report_of<S: AsRef<str>>(&self, labels: &[S]) -> ClassReport {
        let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
        for ((gold, predicted), &n) in &self.cells {
            counts.entry(gold).or_default().gold += n;
            counts.entry(predicted).or_default().predicted += n;
            if gold == predicted {
                counts.entry(gold).or_default().correct += n;
            }
        }
        let all_seen = self.labels().all(|seen| labels.iter().any(|label| label.as_ref() == seen));
        let rows: Vec<(&str, Counts)> = labels
            .iter()
            .map(|label| (label.as_ref(), counts.get(label.as_ref()).copied().unwrap_or_default()))
            .collect();
        ClassReport::new(&rows, all_seen.then(|| self.accuracy()))
    }
}

impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CORNER: &str = "gold\\predicted";
        let rows = self.rows();
        let first = self.labels().map(UnicodeWidthStr::width).chain([CORNER.width()]).max().unwrap_or(0);
        let digits = rows.iter().flatten().map(|n| n.to_string().len()).max().unwrap_or(0);
        let columns: Vec<usize> = self.labels().map(|label| label.width().max(digits)).collect();
        write!(f, "{CORNER:>first$}")?;
        for (label, &width) in self.labels().zip(&columns) {
            write!(f, "  {:1$}{label}", "", width - label.width())?;
        }
        writeln!(f)?;
        for (label, row) in self.labels().zip(&rows) {
            write!(f, "{:1$}{label}", "", first - label.width())?;
            for (n, &width) in row.iter().zip(&columns) {
                write!(f, "  {n:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Serialize for ConfusionMatrix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ConfusionMatrix", 2)?;
        fields.serialize_field("labels", &self.labels)?;
        fields.serialize_field("counts", &self.rows())?;
        fields.end()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn sample() -> ConfusionMatrix {
        let mut matrix = ConfusionMatrix::new();
        matrix.extend(&["b", "b", "a", "积极"], &["b", "a", "a", "b"]).unwrap();
        matrix
    }

    #[test]
    fn rows_are_gold_and_columns_predicted() {
        assert_eq!(sample().rows(), [[1, 0, 0], [1, 1, 0], [0, 1, 0]]);
        assert_eq!(sample().accuracy(), 0.5);
        assert_eq!(
            serde_json::to_string(&sample()).unwrap(),
            r#"{"labels":["a","b","积极"],"counts":[[1,0,0],[1,1,0],[0,1,0]]}"#
        );
    }

    #[test]
    fn prints_columns_that_line_up() {
        let table = "gold\\predicted  a  b  积极\n             a  1  0     0\n             b  1  1     0\n          积极  0  1     0\n";
        assert_eq!(sample().to_string(), table);
    }

    #[test]
    fn unpaired_labels_are_an_error_and_add_nothing() {
        let mut matrix = sample();
        let error = matrix.extend(&["a"], &["a", "b"]).unwrap_err();
        assert_eq!(error.to_string(), "1 gold labels but 2 predicted labels");
        assert_eq!(matrix, sample());
    }

    #[test]
    fn empty_matrix_scores_zero() {
        assert_eq!(ConfusionMatrix::new().accuracy(), 0.0);
        assert_eq!(ConfusionMatrix::new().report().micro().f1, 0.0);
    }
}
