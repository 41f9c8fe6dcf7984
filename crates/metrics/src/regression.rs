//! How close predicted numbers are to gold ones: errors, explained variance, correlations.
//!
//! Source: scikit-learn 1.9.1 `mean_squared_error`, `mean_absolute_error`, `r2_score`; SciPy 1.17.1 `pearsonr`,
//! `spearmanr` (Pearson's correlation of ranks, ties sharing their mean rank).
//! Differs: where gold is constant, R² is absent (scikit-learn gives 0 or 1); a correlation with a constant is an error
//! (SciPy gives NaN).

use serde::Serialize;

use crate::{
    error::MetricsError,
    numbers::{average_ranks, finite, paired},
};

/// Scores of predicted numbers. A score that the examples do not define is `None`, `null` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RegressionReport {
    /// Mean squared error.
    pub mse: f64,
    /// Its root, in the unit of the numbers.
    pub rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Share of the variance of gold that is explained: 1 − squared error / squared distance from the mean.
    pub r2: Option<f64>,
    /// Linear correlation.
    pub pearson: Option<f64>,
    /// Correlation of ranks.
    pub spearman: Option<f64>,
}

impl RegressionReport {
    /// The scores of paired numbers.
    ///
    /// ```
    /// use locus_metrics::regression::RegressionReport;
    ///
    /// let report = RegressionReport::new(&[1.0, 2.0, 3.0], &[1.0, 2.0, 5.0])?;
    /// assert_eq!(report.mae, 2.0 / 3.0);
    /// assert_eq!(report.r2, Some(-1.0));
    /// assert_eq!(report.spearman, Some(1.0));
    /// # Ok::<(), locus_metrics::MetricsError>(())
    /// ```
    ///
    /// # Errors
    /// If there are no numbers, the sides differ in length, or a number is not finite.
    pub fn new(gold: &[f64], predicted: &[f64]) -> Result<Self, MetricsError> {
        check("a regression score", 1, gold, predicted)?;
        let n = gold.len() as f64;
        let errors = || gold.iter().zip(predicted).map(|(gold, predicted)| gold - predicted);
        let squared: f64 = errors().map(|error| error * error).sum();
        let spread: f64 = centred(gold).iter().map(|x| x * x).sum();
        Ok(Self {
            mse: squared / n,
            rmse: (squared / n).sqrt(),
            mae: errors().map(f64::abs).sum::<f64>() / n,
            r2: (!is_constant(gold)).then(|| 1.0 - squared / spread),
            pearson: pearson(gold, predicted).ok(),
            spearman: spearman(gold, predicted).ok(),
        })
    }
}

/// Pearson's linear correlation, from -1 to 1.
///
/// # Errors
/// If there are fewer than two pairs, the sides differ in length, a number is not finite, or a side is constant.
pub fn pearson(gold: &[f64], predicted: &[f64]) -> Result<f64, MetricsError> {
    correlation("Pearson's correlation", gold, predicted, <[f64]>::to_vec)
}

/// Spearman's correlation of ranks, from -1 to 1; equal numbers share their mean rank.
///
/// ```
/// use locus_metrics::regression::spearman;
///
/// assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 100.0, 1000.0])?, 1.0);
/// assert!(spearman(&[1.0, 2.0, 3.0], &[5.0, 5.0, 5.0]).is_err());
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
///
/// # Errors
/// As [`pearson`].
pub fn spearman(gold: &[f64], predicted: &[f64]) -> Result<f64, MetricsError> {
    correlation("Spearman's correlation", gold, predicted, average_ranks)
}

fn correlation(
    score: &'static str,
    gold: &[f64],
    predicted: &[f64],
    values: fn(&[f64]) -> Vec<f64>,
) -> Result<f64, MetricsError> {
    check(score, 2, gold, predicted)?;
    for (side, numbers) in [("gold", gold), ("predicted", predicted)] {
        if is_constant(numbers) {
            let reason = format!("all {} {side} numbers are {}", numbers.len(), numbers[0]);
            return Err(MetricsError::Undefined { score, reason });
        }
    }
    let (gold, predicted) = (scaled(&values(gold)), scaled(&values(predicted)));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(&gold, &predicted) / (dot(&gold, &gold) * dot(&predicted, &predicted)).sqrt();
    if cosine.is_finite() {
        return Ok(cosine.clamp(-1.0, 1.0));
    }
    let reason = "the numbers are too close together or too large for 64 bits".to_owned();
    Err(MetricsError::Undefined { score, reason })
}

fn check(score: &'static str, at_least: usize, gold: &[f64], predicted: &[f64]) -> Result<(), MetricsError> {
    paired(gold.len(), predicted.len())?;
    finite(gold)?;
    finite(predicted)?;
    if gold.len() >= at_least {
        return Ok(());
    }
    let reason = format!("{} pairs of numbers; it needs {at_least}", gold.len());
    Err(MetricsError::Undefined { score, reason })
}

/// By the numbers themselves: the mean of equal numbers may differ from them by rounding.
fn is_constant(numbers: &[f64]) -> bool {
    numbers.windows(2).all(|pair| pair[0] == pair[1])
}

fn centred(numbers: &[f64]) -> Vec<f64> {
    let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
    numbers.iter().map(|number| number - mean).collect()
}

/// Centred and divided by the largest, so that no square overflows or vanishes.
fn scaled(numbers: &[f64]) -> Vec<f64> {
    let centred = centred(numbers);
    let largest = centred.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    centred.iter().map(|x| x / largest).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn constants_leave_scores_out_with_the_reason() {
        let report = RegressionReport::new(&[0.1, 0.1, 0.1], &[0.2, 0.3, 0.1]).unwrap();
        assert_eq!((report.r2, report.pearson, report.spearman), (None, None, None));
        let error = pearson(&[1.0, 2.0], &[0.1, 0.1]).unwrap_err().to_string();
        assert_eq!(error, "Pearson's correlation is undefined: all 2 predicted numbers are 0.1");
        assert!(RegressionReport::new(&[1.0, 2.0], &[0.1, 0.1]).unwrap().r2.is_some());
    }

    #[test]
    fn empty_unpaired_and_nan_are_errors() {
        assert!(RegressionReport::new(&[], &[]).unwrap_err().to_string().contains("0 pairs"));
        assert!(RegressionReport::new(&[1.0], &[]).unwrap_err().to_string().contains("1 gold"));
        for at in 0..3 {
            let mut numbers = [1.0, 2.0, 3.0];
            numbers[at] = f64::NAN;
            let problem = format!("example {at}: a finite number expected, NaN found");
            assert_eq!(RegressionReport::new(&numbers, &[1.0; 3]).unwrap_err().to_string(), problem);
            assert_eq!(spearman(&[1.0, 2.0, 3.0], &numbers).unwrap_err().to_string(), problem);
        }
        assert!(pearson(&[1.0], &[1.0]).is_err());
    }

    #[test]
    fn size_does_not_matter_until_it_overflows() {
        for size in [1e200, 1e-200] {
            let r = pearson(&[size, -size], &[size, 3.0 * size]).unwrap();
            assert!((r + 1.0).abs() < 1e-12, "{size}: {r}");
        }
        assert!(pearson(&[f64::MAX, f64::MAX, 0.0], &[1.0, 2.0, 3.0]).is_err(), "said, not returned");
    }
}
