//! Whether probabilities mean what they say: reliability by bins, expected calibration error, Brier score, log loss.
//!
//! The expected calibration error (Guo et al. 2017, arXiv:1706.04599, eq. 3) is the mean over examples of
//! |accuracy − confidence| of their bin. Bins are of equal width and closed on the right, as scikit-learn's
//! `calibration_curve` has them; 0 belongs to the first.
//! Source: scikit-learn 1.9.1 `calibration_curve`, `brier_score_loss(scale_by_half=False)`, `log_loss`.

use std::fmt;

use serde::Serialize;

use crate::{
    error::MetricsError,
    numbers::{paired, rows_of},
};

/// Examples whose confidence lies in `low < confidence <= high`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Lower end, excluded (included in the first bin).
    pub low: f64,
    /// Upper end, included.
    pub high: f64,
    /// Examples in the bin.
    pub n: usize,
    /// Their mean confidence, 0 in an empty bin.
    pub confidence: f64,
    /// Share of them that came true, 0 in an empty bin.
    pub accuracy: f64,
}

/// Confidence against accuracy by bins, with the expected calibration error. `Display` prints the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// Expected calibration error.
    pub ece: f64,
    /// The bins from 0 to 1, empty ones included.
    pub bins: Vec<ReliabilityBin>,
}

impl Reliability {
    /// The table of examples that were held true with a `confidence` and proved so or not.
    ///
    /// ```
    /// use locus_metrics::calibration::Reliability;
    ///
    /// let table = Reliability::new(&[0.9, 0.8, 0.3, 0.1], &[true, true, true, false], 2)?;
    /// assert_eq!(table.bins[0].accuracy, 0.5);
    /// assert!((table.ece - (0.5 * 0.3 + 0.5 * 0.15)).abs() < 1e-12);
    /// # Ok::<(), locus_metrics::MetricsError>(())
    /// ```
    ///
    /// # Errors
    /// If there are no examples or no bins, the sides differ in length, or a confidence lies outside 0 to 1.
    pub fn new(confidence: &[f64], came_true: &[bool], n_bins: usize) -> Result<Self, MetricsError> {
        paired(came_true.len(), confidence.len())?;
        let places = confidence.iter().enumerate().map(|(at, &p)| bin(at, p, n_bins));
        let places = places.collect::<Result<Vec<usize>, _>>()?;
        if n_bins == 0 || places.is_empty() {
            let reason = format!("{} examples in {n_bins} bins", places.len());
            return Err(MetricsError::Undefined { score: "calibration", reason });
        }
        let edge = |at: usize| at as f64 / n_bins as f64;
        let mut bins: Vec<ReliabilityBin> = (0..n_bins)
            .map(|at| ReliabilityBin {
                low: edge(at),
                high: edge(at + 1),
                n: 0,
                confidence: 0.0,
                accuracy: 0.0,
            })
            .collect();
        for ((&place, &confidence), &came_true) in places.iter().zip(confidence).zip(came_true) {
            bins[place].n += 1;
            bins[place].confidence += confidence;
            bins[place].accuracy += f64::from(u8::from(came_true));
        }
        let gaps: f64 = bins.iter().map(|bin| (bin.accuracy - bin.confidence).abs()).sum();
        for bin in bins.iter_mut().filter(|bin| bin.n > 0) {
            bin.confidence /= bin.n as f64;
            bin.accuracy /= bin.n as f64;
        }
        Ok(Self { ece: gaps / places.len() as f64, bins })
    }

    /// The table of a classifier's answers: the highest probability of each row is the confidence in its class.
    /// `gold` holds class indices; of equal probabilities the first wins.
    ///
    /// # Errors
    /// As [`new`](Self::new), and as [`log_loss`].
    pub fn of_classes<S: AsRef<[f64]>>(
        gold: &[usize],
        probabilities: &[S],
        n_bins: usize,
    ) -> Result<Self, MetricsError> {
        check_classes("calibration", gold, probabilities)?;
        let best = |row: &[f64]| row.iter().enumerate().fold(0, |a, (b, p)| if *p > row[a] { b } else { a });
        let (confidence, right): (Vec<f64>, Vec<bool>) = probabilities
            .iter()
            .zip(gold)
            .map(|(row, &gold)| (row.as_ref()[best(row.as_ref())].min(1.0), best(row.as_ref()) == gold))
            .unzip();
        Self::new(&confidence, &right, n_bins)
    }
}

impl fmt::Display for Reliability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>13} {:>9} {:>11} {:>9}", "probability", "examples", "confidence", "accuracy")?;
        for bin in self.bins.iter().filter(|bin| bin.n > 0) {
            let ReliabilityBin { low, high, n, confidence, accuracy } = bin;
            writeln!(f, "{low:.3} – {high:.3} {n:>9} {confidence:>11.4} {accuracy:>9.4}")?;
        }
        write!(f, "expected calibration error {:.4}", self.ece)
    }
}

/// Mean of `−ln p` of the gold class, in nats. Probabilities are kept 2.2e-16 away from 0 and 1, so that a certain and
/// wrong answer costs 36 nats and not infinitely many.
///
/// ```
/// use locus_metrics::calibration::log_loss;
///
/// assert_eq!(log_loss(&[0, 1], &[[0.5, 0.5], [0.5, 0.5]])?, 2_f64.ln());
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
///
/// # Errors
/// If there are no examples, the sides differ in length, rows differ in width, a class index is past the row's end, or a
/// row is not made of numbers from 0 to 1 that sum to 1.
pub fn log_loss<S: AsRef<[f64]>>(gold: &[usize], probabilities: &[S]) -> Result<f64, MetricsError> {
    check_classes("log loss", gold, probabilities)?;
    let nats = |(row, &gold): (&S, &usize)| -row.as_ref()[gold].clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
    Ok(probabilities.iter().zip(gold).map(nats).sum::<f64>() / gold.len() as f64)
}

/// Mean squared distance of the probabilities from the truth, summed over classes: from 0 to 2. For two classes it is
/// twice the score of the positive class alone.
///
/// # Errors
/// As [`log_loss`].
pub fn brier<S: AsRef<[f64]>>(gold: &[usize], probabilities: &[S]) -> Result<f64, MetricsError> {
    check_classes("the Brier score", gold, probabilities)?;
    let distance = |(row, &gold): (&S, &usize)| -> f64 {
        let cell = |(class, p): (usize, &f64)| (p - f64::from(u8::from(class == gold))).powi(2);
        row.as_ref().iter().enumerate().map(cell).sum()
    };
    Ok(probabilities.iter().zip(gold).map(distance).sum::<f64>() / gold.len() as f64)
}

fn bin(at: usize, confidence: f64, n_bins: usize) -> Result<usize, MetricsError> {
    if !(0.0..=1.0).contains(&confidence) {
        let problem = format!("a probability from 0 to 1 expected, {confidence} found");
        return Err(MetricsError::BadExample { at, problem });
    }
    Ok((1..n_bins).take_while(|&edge| confidence > edge as f64 / n_bins as f64).count())
}

/// What rounding in 32 bits may add to a probability or to the sum of a row.
const ROUNDING: f64 = 1e-3;

fn check_classes<S: AsRef<[f64]>>(
    score: &'static str,
    gold: &[usize],
    probabilities: &[S],
) -> Result<(), MetricsError> {
    paired(gold.len(), probabilities.len())?;
    let Some(first) = probabilities.first() else {
        return Err(MetricsError::Undefined { score, reason: "there are no examples".to_owned() });
    };
    let n_classes = first.as_ref().len();
    rows_of(n_classes, probabilities.iter().map(|row| row.as_ref().len()))?;
    for (at, (row, &class)) in probabilities.iter().zip(gold).enumerate() {
        let row = row.as_ref();
        let sum: f64 = row.iter().sum();
        let in_range = row.iter().all(|p| (0.0..=1.0 + ROUNDING).contains(p));
        let problem = if class >= n_classes {
            format!("class {class} of {n_classes}")
        } else if !in_range || (sum - 1.0).abs() > ROUNDING {
            format!("probabilities that sum to 1 expected, {row:?} found")
        } else {
            continue;
        };
        return Err(MetricsError::BadExample { at, problem });
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn bins_are_closed_on_the_right() {
        let table = Reliability::new(&[0.0, 0.5, 0.5000001, 1.0], &[false, true, true, true], 2).unwrap();
        assert_eq!(table.bins.iter().map(|bin| bin.n).collect::<Vec<_>>(), [2, 2]);
        let tenths: Vec<f64> = (1..=10).map(|n| f64::from(n) / 10.0).collect();
        let table = Reliability::new(&tenths, &[true; 10], 10).unwrap();
        assert!(table.bins.iter().all(|bin| bin.n == 1), "{table:?}");
    }

    #[test]
    fn prints_the_bins_that_hold_something() {
        let table = Reliability::new(&[0.9, 0.8, 0.3], &[true, false, true], 5).unwrap();
        assert_eq!(
            table.to_string(),
            "  probability  examples  confidence  accuracy\n\
             0.200 – 0.400         1      0.3000    1.0000\n\
             0.600 – 0.800         1      0.8000    0.0000\n\
             0.800 – 1.000         1      0.9000    1.0000\n\
             expected calibration error 0.5333"
        );
    }

    #[test]
    fn certain_and_wrong_is_dear_but_finite() {
        let loss = log_loss(&[1], &[[1.0, 0.0]]).unwrap();
        assert!((loss - 36.04).abs() < 0.01, "{loss}");
        assert_eq!(brier(&[1], &[[1.0, 0.0]]).unwrap(), 2.0);
    }

    #[test]
    fn what_is_no_probability_is_an_error() {
        let error = |gold: usize, row: [f64; 2]| log_loss(&[gold], &[row]).unwrap_err().to_string();
        for row in [[f64::NAN, 0.5], [1.5, -0.5], [3.0, -2.0], [0.2, 0.2]] {
            assert!(error(0, row).starts_with("example 0: probabilities that sum to 1 expected"), "{row:?}");
        }
        assert_eq!(error(2, [0.5, 0.5]), "example 0: class 2 of 2");
        assert!(log_loss::<[f64; 2]>(&[], &[]).unwrap_err().to_string().contains("no examples"));
        assert!(brier(&[0], &[[0.5, 0.5], [0.5, 0.5]]).unwrap_err().to_string().contains("1 gold"));
        assert!(brier(&[0, 0], &[vec![1.0, 0.0], vec![1.0]]).is_err());
        assert!(Reliability::new(&[], &[], 10).is_err());
        assert!(Reliability::new(&[0.5], &[true], 0).is_err());
        assert!(Reliability::new(&[f64::NAN], &[true], 5).is_err());
    }
}
