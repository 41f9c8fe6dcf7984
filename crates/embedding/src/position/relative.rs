//! Relative distances of queries and keys, shared between rows where they can be.

use burn::tensor::{Tensor, backend::Backend};
use locus_backend::ops::ScoreBias;

use super::scheme::Pass;

/// `position of query − position of key`, for all cells.
#[derive(Clone, Debug, PartialEq)]
pub enum Relative {
    /// Every row has the distances `i + first − j`: rows may start at different positions, but count in ones. Then a
    /// value per distance is enough.
    Contiguous {
        /// Number of queries.
        q_len: usize,
        /// Number of keys.
        k_len: usize,
        /// The distance of query 0 and key 0.
        first: i64,
    },
    /// Any distances, `[batch, q, k]`.
    Any {
        /// Rows, queries, keys.
        dims: [usize; 3],
        /// The distances.
        cells: Vec<f64>,
    },
}

impl Relative {
    /// The distances of a pass.
    pub fn of(pass: &Pass<'_>) -> Self {
        let (q, k) = (pass.queries, pass.keys);
        if let Some(first) = contiguous(pass) {
            return Self::Contiguous { q_len: q.seq, k_len: k.seq, first };
        }
        let mut cells = Vec::with_capacity(q.batch * q.seq * k.seq);
        for (q, k) in q.positions.chunks(q.seq).zip(k.positions.chunks(k.seq)) {
            q.iter().for_each(|q| cells.extend(k.iter().map(|k| q - k)));
        }
        Self::Any { dims: [q.batch, q.seq, k.seq], cells }
    }

    /// The distances as `[rows, q, k]`, with one row where all are equal.
    pub fn dense(&self) -> ([usize; 3], Vec<f64>) {
        match self {
            Self::Contiguous { q_len, k_len, first } => {
                let (q, k) = (*q_len as i64, *k_len as i64);
                let cells = (0..q).flat_map(|i| (0..k).map(move |j| (i + first - j) as f64)).collect();
                ([1, *q_len, *k_len], cells)
            }
            Self::Any { dims, cells } => (*dims, cells.clone()),
        }
    }

    /// The bias of a scheme that gives each head a value per distance: from `n` distances to `[heads, n]`.
    pub fn bias<B: Backend>(&self, values: impl FnOnce(&[f64]) -> Tensor<B, 2>) -> ScoreBias<B> {
        match self.by_column() {
            Some(distances) => ScoreBias::Toeplitz(values(&distances)),
            None => {
                let ([rows, q, k], distances) = self.dense();
                let values = values(&distances); // [heads, rows · q · k]
                let [heads, _] = values.dims();
                ScoreBias::Dense(values.reshape([heads, rows, q, k]).swap_dims(0, 1))
            }
        }
    }

    /// The distance of each column of a Toeplitz bias (query `i`, key `j` read column `i − j + k − 1`); `None` where
    /// rows do not count in ones.
    pub fn by_column(&self) -> Option<Vec<f64>> {
        match self {
            Self::Contiguous { q_len, k_len, first } => {
                let (q, k) = (*q_len as i64, *k_len as i64);
                Some((0..q + k - 1).map(|column| (column - (k - 1) + first) as f64).collect())
            }
            Self::Any { .. } => None,
        }
    }
}

/// `first` such that in every row each real query `i` and real key `j` lie `i + first − j` apart. Padding is masked, so
/// its distances do not matter.
fn contiguous(pass: &Pass<'_>) -> Option<i64> {
    let mut first = None;
    for row in 0..pass.queries.batch {
        let q = offset(pass.queries, row)?;
        let k = offset(pass.keys, row)?;
        // A row without real tokens fits any.
        if let (Some(q), Some(k)) = (q, k)
            && *first.get_or_insert(q - k) != q - k
        {
            return None;
        }
    }
    Some(first.unwrap_or(0))
}

/// `Some(Some(c))` where the real tokens of a row lie at `column + c`; `Some(None)` where it has none; `None` otherwise.
fn offset(tokens: &crate::Tokens, row: usize) -> Option<Option<i64>> {
    let cells = row * tokens.seq..(row + 1) * tokens.seq;
    let mut offset = None;
    let columns = tokens.keep[cells.clone()].iter().zip(&tokens.positions[cells]).enumerate();
    for (column, (_, &position)) in columns.filter(|(_, (keep, _))| **keep) {
        let this = position - column as f64;
        if this.fract() != 0.0 || *offset.get_or_insert(this) != this {
            return None;
        }
    }
    Some(offset.map(|c| c as i64))
}

#[cfg(test)]
mod tests {
    use super::Relative;
    use crate::Tokens;
    use crate::position::{Form, Pass};

    fn relative(queries: &Tokens, keys: &Tokens) -> Relative {
        Relative::of(&Pass { queries, keys, form: Form::Causal, longest_seen: keys.seq, key: None })
    }

    fn tokens(batch: usize, seq: usize, keep: Vec<bool>) -> Tokens {
        Tokens::new([batch, seq], vec![0; batch * seq], keep, None).expect("fits")
    }

    #[test]
    fn left_padded_rows_share_their_distances() {
        let t = tokens(2, 3, vec![false, true, true, true, true, true]);
        assert_eq!(relative(&t, &t), Relative::Contiguous { q_len: 3, k_len: 3, first: 0 });
    }

    #[test]
    fn a_decoding_step_looks_back_from_the_end() {
        let past = tokens(1, 4, vec![true; 4]);
        let mut step = tokens(1, 1, vec![true]);
        step.number_from(&past.next_positions());
        let r = relative(&step, &past.followed_by(&step));
        assert_eq!(r.by_column(), Some(vec![0.0, 1.0, 2.0, 3.0, 4.0]));
        assert_eq!(r.dense().1, [4.0, 3.0, 2.0, 1.0, 0.0]);
    }

    #[test]
    fn holes_make_the_distances_dense() {
        let mut t = tokens(1, 3, vec![true; 3]);
        t.positions = vec![0.0, 5.0, 7.0];
        assert_eq!(relative(&t, &t).dense().1, [0.0, -5.0, -7.0, 5.0, 0.0, -2.0, 7.0, 2.0, 0.0]);
    }
}
