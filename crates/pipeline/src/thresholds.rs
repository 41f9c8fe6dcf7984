//! From which probability on a label is given, where a text may have several.
//!
//! The best thresholds are seldom 0.5: F1 of a rare label is highest well below it. They are chosen on examples by trying
//! every one that makes a difference (Lipton, Elkan and Naryanaswamy, arXiv:1402.1892).

use serde::{Deserialize, Serialize};

/// The thresholds of a model with several labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Thresholds {
    /// One per label.
    Given(Vec<f64>),
    /// Those that are best on the examples evaluated, which must be dev's.
    Tuned(Tuning),
}

/// How thresholds are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tuning {
    /// One for all labels, where the mean of the labels' F1 is highest.
    #[default]
    Global,
    /// One for each label, where its F1 is highest. It needs some dozens of examples per label.
    PerLabel,
}

/// The threshold where nothing decides for another.
pub(crate) const HALF: f64 = 0.5;

impl Thresholds {
    /// The thresholds themselves, for the probabilities and labels of examples, both `[examples][labels]`.
    pub(crate) fn resolve(
        &self,
        n_labels: usize,
        probabilities: &[Vec<f64>],
        gold: &[Vec<bool>],
    ) -> Vec<f64> {
        let cells = |label: usize| {
            let cells = probabilities.iter().zip(gold);
            cells.map(move |(p, gold)| Cell { probability: p[label], label, gold: gold[label] })
        };
        match self {
            Self::Given(thresholds) => thresholds.clone(),
            Self::Tuned(Tuning::Global) => {
                vec![best((0..n_labels).flat_map(cells).collect(), n_labels); n_labels]
            }
            Self::Tuned(Tuning::PerLabel) => {
                (0..n_labels).map(|label| best(cells(label).collect(), n_labels)).collect()
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Cell {
    probability: f64,
    label: usize,
    gold: bool,
}

/// The threshold with the highest sum of the labels' F1, in the middle between two probabilities.
fn best(mut cells: Vec<Cell>, n_labels: usize) -> f64 {
    let mut gold = vec![0_u32; n_labels];
    cells.iter().for_each(|cell| gold[cell.label] += u32::from(cell.gold));
    cells.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let (mut given, mut right, mut sum) = (vec![0_u32; n_labels], vec![0_u32; n_labels], 0.0);
    let (mut best, mut threshold) = (0.0, HALF);
    for (idx, cell) in cells.iter().enumerate() {
        let f1 = |given: &[u32], right: &[u32]| {
            2.0 * f64::from(right[cell.label]) / f64::from((given[cell.label] + gold[cell.label]).max(1))
        };
        sum -= f1(&given, &right);
        given[cell.label] += 1;
        right[cell.label] += u32::from(cell.gold);
        sum += f1(&given, &right);
        let next = cells.get(idx + 1).map(|next| next.probability);
        // Equal probabilities are given together. A gain by rounding alone is none.
        if sum > best + 1e-9 && next != Some(cell.probability) {
            (best, threshold) = (sum, (cell.probability + next.unwrap_or(0.0)) / 2.0);
        }
    }
    threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macro_f1(thresholds: &[f64], probabilities: &[Vec<f64>], gold: &[Vec<bool>]) -> f64 {
        let f1 = |label: usize| {
            let (mut given, mut right, mut n_gold) = (0, 0, 0);
            for (p, gold) in probabilities.iter().zip(gold) {
                let is_given = p[label] >= thresholds[label];
                given += i32::from(is_given);
                right += i32::from(is_given && gold[label]);
                n_gold += i32::from(gold[label]);
            }
            2.0 * f64::from(right) / f64::from((given + n_gold).max(1))
        };
        (0..thresholds.len()).map(f1).sum()
    }

    #[test]
    fn no_other_thresholds_are_better() {
        let key = locus_backend::rng::Key::new(3);
        for case in 0..20_u64 {
            let key = key.child(case);
            // Few different probabilities, so that many are equal.
            let p = |row: u64, label: u64| (key.child(row).uniform(label) * 8.0).floor() / 8.0;
            let probabilities: Vec<Vec<f64>> =
                (0..13).map(|row| (0..3).map(|label| p(row, label)).collect()).collect();
            let is_gold = |row: u64, label: u64| key.named("gold").child(row).uniform(label) < 0.3;
            let gold: Vec<Vec<bool>> =
                (0..13).map(|row| (0..3).map(|label| is_gold(row, label)).collect()).collect();
            let grid: Vec<f64> = (0..=16).map(|step| f64::from(step) / 16.0).collect();
            let score = |thresholds: &[f64]| macro_f1(thresholds, &probabilities, &gold);

            let tuned = Thresholds::Tuned(Tuning::Global).resolve(3, &probabilities, &gold);
            let most = grid.iter().map(|&t| score(&[t; 3])).fold(0.0, f64::max);
            assert!(
                (score(&tuned) - most).abs() < 1e-9,
                "{case}: {tuned:?} has {}, not {most}",
                score(&tuned)
            );

            let tuned = Thresholds::Tuned(Tuning::PerLabel).resolve(3, &probabilities, &gold);
            let label_best = |label: usize| {
                let with = |t| {
                    let mut thresholds = tuned.clone();
                    thresholds[label] = t;
                    score(&thresholds)
                };
                grid.iter().map(|&t| with(t)).fold(0.0, f64::max)
            };
            assert!((0..3).all(|label| score(&tuned) >= label_best(label) - 1e-9), "{case}: {tuned:?}");
        }
    }

    #[test]
    fn a_label_that_never_occurs_keeps_one_half() {
        let (probabilities, gold) =
            (vec![vec![0.9, 0.2], vec![0.1, 0.3]], vec![vec![false, false], vec![false, true]]);
        let tuned = Thresholds::Tuned(Tuning::PerLabel).resolve(2, &probabilities, &gold);
        assert_eq!(tuned, [0.5, 0.25]);
        assert_eq!(Thresholds::Tuned(Tuning::Global).resolve(2, &[], &[]), [0.5, 0.5]);
        assert_eq!(Thresholds::Given(vec![0.1, 0.9]).resolve(2, &probabilities, &gold), [0.1, 0.9]);
    }
}
