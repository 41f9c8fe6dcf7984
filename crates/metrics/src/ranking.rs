//! How well scores put positive examples before negative ones, whatever the threshold: ROC-AUC, average
//! precision, false positives at a share of true ones.
//!
//! ROC-AUC is the chance that a positive example scores above a negative one, ties counting half: the rank sum of
//! Mann and Whitney. Average precision is `Σ (Rₙ − Rₙ₋₁) Pₙ` over the distinct scores from the highest, so ties form
//! one step and nothing is interpolated. The false positive rate at a true positive rate is that of the highest threshold
//! that reaches it. All are undefined without a positive example, all but average precision also without a negative.
//! Source: scikit-learn 1.9.1 `roc_auc_score` (`multi_class="ovr"`), `average_precision_score`, `roc_curve`.
//! Differs: average precision without a positive example is an error, not 0.

use crate::{
    error::MetricsError,
    numbers::{average_ranks, finite, paired, rows_of},
};

/// Area under the ROC curve of one label.
///
/// ```
/// use locus_metrics::ranking::roc_auc;
///
/// assert_eq!(roc_auc(&[false, false, true, true], &[0.1, 0.4, 0.35, 0.8])?, 0.75);
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
///
/// # Errors
/// If the sides differ in length, a score is not finite, or all examples are positive or all negative.
pub fn roc_auc(gold: &[bool], scores: &[f64]) -> Result<f64, MetricsError> {
    let n_positive = check("ROC-AUC", gold, scores)?;
    let n_negative = gold.len() - n_positive;
    if n_positive == 0 || n_negative == 0 {
        return Err(one_class("ROC-AUC", n_positive, n_negative));
    }
    let ranks = average_ranks(scores);
    let rank_sum: f64 = ranks.iter().zip(gold).filter(|(_, gold)| **gold).map(|(rank, _)| rank).sum();
    let (positive, negative) = (n_positive as f64, n_negative as f64);
    Ok((rank_sum - positive * (positive + 1.0) / 2.0) / (positive * negative))
}

/// Average precision of one label, the area under the precision-recall curve taken in steps.
///
/// ```
/// use locus_metrics::ranking::average_precision;
///
/// assert_eq!(average_precision(&[false, true, true], &[0.5, 0.5, 0.9])?, 0.5 + 0.5 * 2.0 / 3.0);
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
///
/// # Errors
/// If the sides differ in length, a score is not finite, or no example is positive.
pub fn average_precision(gold: &[bool], scores: &[f64]) -> Result<f64, MetricsError> {
    let n_positive = check("average precision", gold, scores)?;
    if n_positive == 0 {
        return Err(one_class("average precision", 0, gold.len()));
    }
    let mut order: Vec<usize> = (0..gold.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut found, mut seen, mut sum) = (0, 0, 0.0);
    for step in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let new = step.iter().filter(|&&at| gold[at]).count();
        found += new;
        seen += step.len();
        sum += new as f64 * found as f64 / seen as f64;
    }
    Ok(sum / n_positive as f64)
}

/// The share of negative examples that score as high as the threshold that finds at least `tpr` of the positive ones: for
/// out-of-scope detection usually at 0.95. The lower the better.
///
/// ```
/// use locus_metrics::ranking::fpr_at_tpr;
///
/// let gold = [true, true, false, true, false, false];
/// assert_eq!(fpr_at_tpr(&gold, &[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 0.95)?, 1.0 / 3.0);
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
///
/// # Errors
/// If the sides differ in length, a score is not finite, all examples are positive or all negative, or `tpr` is not above 0
/// and at most 1.
pub fn fpr_at_tpr(gold: &[bool], scores: &[f64], tpr: f64) -> Result<f64, MetricsError> {
    const NAME: &str = "FPR at a TPR";
    let n_positive = check(NAME, gold, scores)?;
    let n_negative = gold.len() - n_positive;
    if n_positive == 0 || n_negative == 0 {
        return Err(one_class(NAME, n_positive, n_negative));
    }
    if !(tpr > 0.0 && tpr <= 1.0) {
        return Err(MetricsError::Setting(format!(
            "a true positive rate lies above 0 and is at most 1, found {tpr}"
        )));
    }
    let mut order: Vec<usize> = (0..gold.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut found, mut seen) = (0, 0);
    for step in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        found += step.iter().filter(|&&at| gold[at]).count();
        seen += step.len();
        if found as f64 / n_positive as f64 >= tpr {
            break;
        }
    }
    Ok((seen - found) as f64 / n_negative as f64)
}

/// The mean over labels of a score such as [`roc_auc`]: rows are examples, columns labels.
///
/// # Errors
/// If rows differ in width, or the score is an error for a label; the error then names the label's column.
pub fn label_mean<G: AsRef<[bool]>, S: AsRef<[f64]>>(
    score: impl Fn(&[bool], &[f64]) -> Result<f64, MetricsError>,
    gold: &[G],
    scores: &[S],
) -> Result<f64, MetricsError> {
    paired(gold.len(), scores.len())?;
    let n_labels = scores.first().map_or(0, |row| row.as_ref().len());
    if n_labels == 0 {
        let reason = "there are no examples or no labels".to_owned();
        return Err(MetricsError::Undefined { score: "a mean over labels", reason });
    }
    rows_of(n_labels, gold.iter().map(|row| row.as_ref().len()))?;
    rows_of(n_labels, scores.iter().map(|row| row.as_ref().len()))?;
    let mut sum = 0.0;
    for label in 0..n_labels {
        let gold: Vec<bool> = gold.iter().map(|row| row.as_ref()[label]).collect();
        let scores: Vec<f64> = scores.iter().map(|row| row.as_ref()[label]).collect();
        sum += score(&gold, &scores).map_err(|error| match error {
            MetricsError::Undefined { score, reason } => {
                MetricsError::Undefined { score, reason: format!("label {label}: {reason}") }
            }
            other => other,
        })?;
    }
    Ok(sum / n_labels as f64)
}

/// The mean over classes of a score such as [`roc_auc`], each class against all others: `gold` holds class indices, a
/// row of `scores` one number per class.
///
/// ```
/// use locus_metrics::ranking::{one_vs_rest, roc_auc};
///
/// let scores = [[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3], [0.1, 0.3, 0.6]];
/// assert_eq!(one_vs_rest(roc_auc, &[0, 1, 2, 2], &scores)?, (1.0 + 1.0 + 0.875) / 3.0);
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
///
/// # Errors
/// As [`label_mean`], and if a class index is past the row's end.
pub fn one_vs_rest<S: AsRef<[f64]>>(
    score: impl Fn(&[bool], &[f64]) -> Result<f64, MetricsError>,
    gold: &[usize],
    scores: &[S],
) -> Result<f64, MetricsError> {
    let n_classes = scores.first().map_or(0, |row| row.as_ref().len());
    let mut indicators = Vec::with_capacity(gold.len());
    for (at, &class) in gold.iter().enumerate() {
        if class >= n_classes {
            let problem = format!("class {class} of {n_classes}");
            return Err(MetricsError::BadExample { at, problem });
        }
        indicators.push((0..n_classes).map(|other| other == class).collect::<Vec<bool>>());
    }
    label_mean(score, &indicators, scores)
}

fn check(score: &'static str, gold: &[bool], scores: &[f64]) -> Result<usize, MetricsError> {
    paired(gold.len(), scores.len())?;
    finite(scores)?;
    if gold.is_empty() {
        return Err(MetricsError::Undefined { score, reason: "there are no examples".to_owned() });
    }
    Ok(gold.iter().filter(|gold| **gold).count())
}

fn one_class(score: &'static str, n_positive: usize, n_negative: usize) -> MetricsError {
    let reason = format!("{n_positive} examples are positive and {n_negative} negative");
    MetricsError::Undefined { score, reason }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn one_class_alone_is_an_error_with_its_reason() {
        let error = roc_auc(&[true, true], &[0.1, 0.2]).unwrap_err();
        assert_eq!(error.to_string(), "ROC-AUC is undefined: 2 examples are positive and 0 negative");
        assert!(roc_auc(&[false], &[0.1]).is_err());
        assert!(average_precision(&[false], &[0.1]).is_err());
        assert!(fpr_at_tpr(&[false], &[0.1], 0.95).is_err() && fpr_at_tpr(&[true], &[0.1], 0.95).is_err());
        for tpr in [0.0, 1.1, f64::NAN] {
            assert!(fpr_at_tpr(&[true, false], &[0.1, 0.2], tpr).is_err());
        }
        assert_eq!(average_precision(&[true, true], &[0.1, 0.2]).unwrap(), 1.0);
        let error = one_vs_rest(roc_auc, &[0, 1], &[[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ROC-AUC is undefined: label 2: 0 examples are positive and 2 negative"
        );
    }

    #[test]
    fn constant_scores_are_chance() {
        assert_eq!(roc_auc(&[true, false, false], &[0.3; 3]).unwrap(), 0.5);
        assert_eq!(average_precision(&[true, false, false], &[0.3; 3]).unwrap(), 1.0 / 3.0);
        assert_eq!(roc_auc(&[true, false], &[0.0, -0.0]).unwrap(), 0.5);
        assert_eq!(average_precision(&[true, false], &[-0.0, 0.0]).unwrap(), 0.5);
    }

    #[test]
    fn what_cannot_be_ranked_is_an_error() {
        assert!(roc_auc(&[], &[]).unwrap_err().to_string().contains("no examples"));
        assert!(roc_auc(&[true], &[0.1, 0.2]).unwrap_err().to_string().contains("1 gold"));
        for bad in [f64::NAN, f64::INFINITY] {
            let error = average_precision(&[true, false], &[0.1, bad]).unwrap_err().to_string();
            assert_eq!(error, format!("example 1: a finite number expected, {bad} found"));
        }
        assert!(one_vs_rest(roc_auc, &[2], &[[0.1, 0.9]]).unwrap_err().to_string().contains("class 2 of 2"));
        let ragged = [vec![0.1, 0.9], vec![0.3]];
        assert!(one_vs_rest(roc_auc, &[0, 1], &ragged).unwrap_err().to_string().starts_with("example 1: "));
        assert!(label_mean::<[bool; 0], [f64; 0]>(roc_auc, &[], &[]).is_err());
    }
}
