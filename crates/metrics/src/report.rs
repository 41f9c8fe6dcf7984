//! Precision, recall and F1 per label with their averages: the one report type of entity and class scores.
//!
//! Formulas: `precision = correct / predicted`, `recall = correct / gold`,
//! `f1 = 2 · correct / (predicted + gold)`; a zero denominator gives 0. Micro pools the counts, macro is the plain mean
//! of the rows, weighted the mean by gold support (0 without support).
//! Source: scikit-learn 1.9.1 `classification_report`; the printed table is equal to its table, byte for byte,
//! except that columns align by display width, so that CJK labels line up in a terminal.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use unicode_width::UnicodeWidthStr;

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportRow {
    /// The label, or `micro avg`, `macro avg`, `weighted avg`.
    pub label: String,
    /// Correct over predicted.
    pub precision: f64,
    /// Correct over gold.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Gold items.
    pub support: u64,
}

/// Scores per label and their averages. Where an item may have several labels, a fourth average closes the rows.
///
/// `Display` prints the classic table; a precision sets the digits (`{report:.2}`, default 4). JSON is the list of
/// [`rows`](Self::rows), averages included.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassReport {
    rows: Vec<ReportRow>,
    n_labels: usize,
    accuracy: Option<f64>,
}

/// Digits after the point unless the format says otherwise.
const DEFAULT_DIGITS: usize = 4;

impl ClassReport {
    /// The report of `(label, counts)`, in the order given. `accuracy` is `Some` where every item has exactly one gold
    /// and one predicted label among the rows; it then equals the micro average.
    pub(crate) fn new(counts: &[(&str, Counts)], accuracy: Option<f64>) -> Self {
        let mut rows: Vec<ReportRow> = counts.iter().map(|(label, counts)| counts.row(label)).collect();
        let micro =
            counts.iter().fold(Counts::default(), |sum, (_, counts)| sum.plus(*counts)).row("micro avg");
        let macro_avg = average("macro avg", &rows, |_| 1.0);
        let weighted_avg = average("weighted avg", &rows, |row| row.support as f64);
        rows.extend([micro, macro_avg, weighted_avg]);
        Self { rows, n_labels: counts.len(), accuracy }
    }

    /// The report with a fourth average, over items that may have several labels.
    pub(crate) fn with_samples_avg(mut self, samples_avg: ReportRow) -> Self {
        self.rows.push(samples_avg);
        self
    }

    /// All rows: the labels, then the micro, macro and weighted averages, and the samples average of multi-label scores.
    pub fn rows(&self) -> &[ReportRow] {
        &self.rows
    }

    /// The rows of the labels alone.
    pub fn labels(&self) -> &[ReportRow] {
        &self.rows[..self.n_labels]
    }

    /// Scores over the pooled counts. For entities this is the F1 that `conlleval` prints.
    pub fn micro(&self) -> &ReportRow {
        &self.averages()[0]
    }

    /// The plain mean of the labels.
    pub fn macro_avg(&self) -> &ReportRow {
        &self.averages()[1]
    }

    /// The mean of the labels weighted by support.
    pub fn weighted_avg(&self) -> &ReportRow {
        &self.averages()[2]
    }

    /// The mean of the items' own scores; `None` unless an item may have several labels.
    pub fn samples_avg(&self) -> Option<&ReportRow> {
        self.averages().get(3)
    }

    /// Share of items labelled right; `None` for entities and for a subset of the labels.
    pub fn accuracy(&self) -> Option<f64> {
        self.accuracy
    }

    fn averages(&self) -> &[ReportRow] {
        &self.rows[self.n_labels..]
    }
}

impl fmt::Display for ClassReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(DEFAULT_DIGITS);
        let width = self.rows.iter().map(|row| row.label.width()).chain([digits]).max().unwrap_or(digits);
        let headers = ["precision", "recall", "f1-score", "support"];
        writeln!(
            f,
            "{:width$}  {:>9} {:>9} {:>9} {:>9}\n",
            "", headers[0], headers[1], headers[2], headers[3]
        )?;
        for row in self.labels() {
            row.write(f, width, digits)?;
        }
        writeln!(f)?;
        match self.accuracy {
            Some(accuracy) => {
                let support = self.micro().support;
                writeln!(
                    f,
                    "{:>width$}  {:>9} {:>9} {accuracy:>9.digits$} {support:>9}",
                    "accuracy", "", ""
                )?;
            }
            None => self.micro().write(f, width, digits)?,
        }
        self.averages()[1..].iter().try_for_each(|row| row.write(f, width, digits))
    }
}

impl Serialize for ClassReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl ReportRow {
    fn write(&self, f: &mut fmt::Formatter<'_>, width: usize, digits: usize) -> fmt::Result {
        let Self { label, precision, recall, f1, support } = self;
        let pad = width.saturating_sub(label.width());
        writeln!(
            f,
            "{:pad$}{label}  {precision:>9.digits$} {recall:>9.digits$} {f1:>9.digits$} {support:>9}",
            ""
        )
    }
}

/// What a row is computed from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) correct: u64,
    pub(crate) predicted: u64,
    pub(crate) gold: u64,
}

impl Counts {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            correct: self.correct + other.correct,
            predicted: self.predicted + other.predicted,
            gold: self.gold + other.gold,
        }
    }

    pub(crate) fn row(self, label: &str) -> ReportRow {
        ReportRow {
            label: label.to_owned(),
            precision: ratio(self.correct, self.predicted),
            recall: ratio(self.correct, self.gold),
            f1: ratio(2 * self.correct, self.predicted + self.gold),
            support: self.gold,
        }
    }
}

/// `part / whole`, 0 where the whole is 0 (`zero_division=0` of the sources).
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn average(label: &str, rows: &[ReportRow], weight: impl Fn(&ReportRow) -> f64) -> ReportRow {
    let total: f64 = rows.iter().map(&weight).sum();
    let mean = |score: fn(&ReportRow) -> f64| {
        let sum: f64 = rows.iter().map(|row| weight(row) * score(row)).sum();
        if total == 0.0 { 0.0 } else { sum / total }
    };
    ReportRow {
        label: label.to_owned(),
        precision: mean(|row| row.precision),
        recall: mean(|row| row.recall),
        f1: mean(|row| row.f1),
        support: rows.iter().map(|row| row.support).sum(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn counts(correct: u64, predicted: u64, gold: u64) -> Counts {
        Counts { correct, predicted, gold }
    }

    #[test]
    fn nothing_at_all_scores_zero() {
        let report = ClassReport::new(&[], None);
        assert_eq!(report.labels(), []);
        assert_eq!(report.micro().f1, 0.0);
        assert_eq!(report.macro_avg().f1, 0.0);
        assert_eq!(report.weighted_avg().f1, 0.0);
    }

    #[test]
    fn wide_labels_line_up_on_screen() {
        let label = "中华人民共和国";
        let table = ClassReport::new(&[(label, counts(1, 2, 3)), ("LOC", counts(1, 1, 1))], None).to_string();
        let widths: Vec<usize> =
            table.lines().filter(|line| !line.is_empty()).map(UnicodeWidthStr::width).collect();
        assert_eq!(label.width(), 14);
        assert!(widths.iter().all(|&width| width == widths[0]), "{table}");
        assert!(table.contains("\n           LOC     1.0000    1.0000    1.0000         1\n"), "{table}");
    }

    #[test]
    fn json_is_the_list_of_rows() {
        let report = ClassReport::new(&[("A", counts(1, 2, 4))], None);
        let rows: Vec<ReportRow> = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(rows, report.rows());
        let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(labels, ["A", "micro avg", "macro avg", "weighted avg"]);
    }
}
