//! Checks and ranks of plain numbers that several scores share.

use crate::error::MetricsError;

/// Both sides have as many examples.
pub(crate) fn paired(gold: usize, predicted: usize) -> Result<(), MetricsError> {
    if gold == predicted { Ok(()) } else { Err(MetricsError::LengthMismatch { gold, predicted }) }
}

/// No NaN, no infinity.
pub(crate) fn finite(numbers: &[f64]) -> Result<(), MetricsError> {
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let problem = format!("a finite number expected, {} found", numbers[at]);
            Err(MetricsError::BadExample { at, problem })
        }
    }
}

/// All rows have `width` columns.
pub(crate) fn rows_of(width: usize, mut found: impl Iterator<Item = usize>) -> Result<(), MetricsError> {
    let mut at = 0;
    found.try_for_each(|found| {
        let problem = || format!("a row of {width} numbers expected, {found} found");
        let checked =
            if found == width { Ok(()) } else { Err(MetricsError::BadExample { at, problem: problem() }) };
        at += 1;
        checked
    })
}

/// The rank of each number from 1, equal numbers sharing their mean rank.
pub(crate) fn average_ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
    let mut ranks = vec![0.0; numbers.len()];
    let mut before = 0;
    for ties in order.chunk_by(|&a, &b| numbers[a] == numbers[b]) {
        let rank = before as f64 + (ties.len() + 1) as f64 / 2.0;
        ties.iter().for_each(|&at| ranks[at] = rank);
        before += ties.len();
    }
    ranks
}
