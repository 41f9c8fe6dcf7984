//! Rows of numbers that depend on a position and on a formula alone, such as sines and cosines: computed once for all passes.
//!
//! `docs/adr/0011-tables-computed-once.md` says what that brings and why the tables stand here.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

/// A table holds whole positions from 0; no more numbers than this (32 MiB).
const LARGEST_TABLE: usize = 1 << 23;
/// All tables together; the oldest go first.
const MOST_NUMBERS: usize = 1 << 24;
/// How many there are at most: each pass looks through them.
const MOST_TABLES: usize = 64;

/// What rows are made by, in numbers that tell one formula from another.
type Formula = Vec<u64>;

static TABLES: Mutex<Vec<(Formula, Arc<Vec<f32>>)>> = Mutex::new(Vec::new());

/// The rows of a formula.
pub(super) struct Rows<F> {
    table: Arc<Vec<f32>>,
    width: usize,
    row: F,
}

impl<F: Fn(f64) -> Vec<f32>> Rows<F> {
    /// Rows of `width` numbers that `row` computes. `name` and `parameters` must tell it from every other formula.
    pub(super) fn new(
        name: &str,
        parameters: impl IntoIterator<Item = f64>,
        width: usize,
        positions: &[f64],
        row: F,
    ) -> Self {
        let mut formula: Formula = name.bytes().map(u64::from).chain([width as u64]).collect();
        formula.extend(parameters.into_iter().map(f64::to_bits));
        Self { table: table(formula, positions, width, &row), width, row }
    }

    /// The row of a position: of the table, or computed where the table does not have it.
    pub(super) fn at(&self, position: f64) -> Cow<'_, [f32]> {
        if is_whole(position) {
            let start = position as usize * self.width;
            if let Some(row) = self.table.get(start..start + self.width) {
                return Cow::Borrowed(row);
            }
        }
        Cow::Owned((self.row)(position))
    }
}

/// Whether a table may have it. −0 is no position of a table: the sine of it is −0.
fn is_whole(position: f64) -> bool {
    position.is_sign_positive() && position.fract() == 0.0 && position < LARGEST_TABLE as f64
}

/// The table of a formula with the rows of these positions, unless it takes less to compute each as it is asked for.
fn table(formula: Formula, positions: &[f64], width: usize, row: &dyn Fn(f64) -> Vec<f32>) -> Arc<Vec<f32>> {
    let (width, known) = (width.max(1), known(&formula));
    let (n_known, most) = (known.len() / width, LARGEST_TABLE / width);
    let is_missing = |p: &f64| is_whole(*p) && *p >= n_known as f64 && *p < most as f64;
    let (n_asked, last) =
        positions.iter().filter(|p| is_missing(p)).fold((0, 0.0_f64), |(n, last), p| (n + 1, last.max(*p)));
    let n = last as usize + 1;
    // One position far out is no reason to compute all before it.
    if n_asked == 0 || n_asked < n - n_known {
        return known;
    }
    // PERF: a step that decodes one token asks for one row more than the step before.
    let n = n.next_power_of_two().min(most);
    let mut longer = Vec::with_capacity(n * width);
    longer.extend_from_slice(&known);
    (n_known..n).for_each(|position| longer.extend(row(position as f64)));
    keep(formula, Arc::new(longer))
}

/// The table of a formula as it is, perhaps empty; it counts as the one used last.
fn known(formula: &Formula) -> Arc<Vec<f32>> {
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(at) = tables.iter().position(|(of, _)| of == formula) else { return Arc::default() };
    let found = tables.remove(at);
    let table = Arc::clone(&found.1);
    tables.push(found);
    table
}

/// Puts a table with the others, unless another thread was there first with a longer one; gives the longer.
fn keep(formula: Formula, mut table: Arc<Vec<f32>>) -> Arc<Vec<f32>> {
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = tables.iter().position(|(of, _)| *of == formula) {
        let (_, other) = tables.remove(at);
        if other.len() > table.len() {
            table = other;
        }
    }
    tables.push((formula, Arc::clone(&table)));
    let n_numbers =
        |tables: &[(Formula, Arc<Vec<f32>>)]| -> usize { tables.iter().map(|(_, t)| t.len()).sum() };
    while tables.len() > 1 && (tables.len() > MOST_TABLES || n_numbers(&tables) > MOST_NUMBERS) {
        tables.remove(0);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::Rows;

    fn rows<'a>(
        name: &str,
        positions: &[f64],
        computed: &'a Cell<usize>,
    ) -> Rows<impl Fn(f64) -> Vec<f32> + 'a> {
        Rows::new(name, [0.5], 2, positions, |p| {
            computed.set(computed.get() + 1);
            vec![p as f32, -p as f32 / 2.0]
        })
    }

    #[test]
    fn rows_are_computed_once() {
        let computed = Cell::new(0);
        let first = rows("once", &[2.0, 0.0, 1.0, 3.0, 4.0], &computed);
        assert_eq!(*first.at(4.0), [4.0, -2.0]);
        assert_eq!(computed.get(), 8, "up to a power of two");
        let again = rows("once", &[7.0], &computed);
        assert_eq!((again.at(7.0).to_vec(), computed.get()), (vec![7.0, -3.5], 8));
        rows("once", &[8.0], &computed);
        assert_eq!(computed.get(), 16, "only those that were not there");
        rows("another", &[0.0], &computed);
        assert_eq!(computed.get(), 17);
    }

    #[test]
    fn positions_that_no_table_has_are_computed() {
        let computed = Cell::new(0);
        let found = rows("no table", &[0.5, -3.0, 1e9], &computed);
        assert_eq!(computed.get(), 0);
        for position in [0.5, -3.0, 1e9] {
            assert_eq!(*found.at(position), [position as f32, -position as f32 / 2.0]);
        }
        assert_eq!(computed.get(), 3);
    }

    #[test]
    fn a_position_far_out_is_computed_alone() {
        let computed = Cell::new(0);
        let found = rows("far", &[1e6, 1e6 + 1.0], &computed);
        assert_eq!((found.at(1e6).to_vec(), computed.get()), (vec![1e6, -5e5], 1));
    }
}
