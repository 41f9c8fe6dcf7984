//! Means and standard deviations of training numbers.

use anyhow::bail;
use locus_data::{Ranking, Scored};
use locus_heads::FeatureScale;

/// Mean and standard deviation of the training numbers, which the model learns in units of them.
pub(super) fn mean_and_std(rows: &[Scored]) -> anyhow::Result<(f64, f64)> {
    let n = rows.len().max(1) as f64;
    let mean = rows.iter().map(|row| row.label / n).sum::<f64>();
    let std = rows.iter().map(|row| (row.label - mean).powi(2) / n).sum::<f64>().sqrt();
    if std.is_finite() && std > 0.0 {
        return Ok((mean, std));
    }
    bail!(
        "the {} training numbers have the mean {mean} and the standard deviation {std}: a regression needs finite numbers \
         that differ",
        rows.len()
    )
}

/// Mean and standard deviation of each feature over the training candidates.
pub(super) fn feature_scales(rankings: &[Ranking]) -> Vec<FeatureScale> {
    let rows: Vec<&[f64]> = rankings
        .iter()
        .flat_map(|ranking| &ranking.candidates)
        .map(|candidate| candidate.features.as_slice())
        .collect();
    let n = rows.len().max(1) as f64;
    let scale = |at: usize| {
        // Where their numbers differ, the codec says so.
        let values = || rows.iter().filter_map(|row| row.get(at));
        let mean = values().map(|x| x / n).sum::<f64>();
        let std = values().map(|x| (x - mean).powi(2) / n).sum::<f64>().sqrt();
        FeatureScale { mean, std: if std > 0.0 { std } else { 1.0 } }
    };
    (0..rows.first().map_or(0, |row| row.len())).map(scale).collect()
}
