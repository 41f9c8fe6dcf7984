//! Runs of tokens that stand together.

use std::ops::Range;

/// The runs of equal numbers; tokens without one are in no run.
pub(super) fn runs(words: &[Option<usize>]) -> Vec<Range<usize>> {
    let mut at = 0;
    let runs = words.chunk_by(|a, b| a.is_some() && a == b).map(|run| {
        let range = at..at + run.len();
        at = range.end;
        (run[0].is_some(), range)
    });
    runs.filter(|(is_word, _)| *is_word).map(|(_, range)| range).collect()
}

/// The runs of `true`.
pub(super) fn true_runs(cells: &[bool]) -> Vec<Range<usize>> {
    let words: Vec<Option<usize>> = cells.iter().map(|&cell| cell.then_some(0)).collect();
    runs(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_where_the_number_changes() {
        assert_eq!(runs(&[None, Some(1), Some(1), Some(2), None, None, Some(2)]), [1..3, 3..4, 6..7]);
        assert_eq!(true_runs(&[true, true, false, true]), [0..2, 3..4]);
        assert!(runs(&[]).is_empty() && true_runs(&[false]).is_empty());
    }
}
