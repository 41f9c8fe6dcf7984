//! Tokens on the host: ids, padding, segments and positions as plain vectors.

use crate::EmbeddingError;

/// The tokens of one batch, `[batch, seq]` in row-major order, on the host.
///
/// Positions are explicit data, never derived from a tensor's shape, so left padding, packing and cached decoding are
/// right by construction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens {
    /// Rows.
    pub batch: usize,
    /// Columns.
    pub seq: usize,
    /// Token ids.
    pub ids: Vec<u32>,
    /// Real tokens (`true`) and padding (`false`).
    pub keep: Vec<bool>,
    /// Segment (token type) ids.
    pub segments: Option<Vec<u32>>,
    /// The position of each token. Real numbers, because some schemes place tokens between integers; f64 holds every
    /// integer up to 2^53 exactly.
    pub positions: Vec<f64>,
    /// Further axes of position, `[batch, seq]` each, where tokens lie in a plane or a volume (time, then height, then
    /// width). None for text, which lies at `positions` on every axis.
    pub axes: Vec<Vec<f64>>,
}

impl Tokens {
    /// Tokens whose positions count the real tokens of each row from 0; padding gets the position of its neighbour.
    ///
    /// # Errors
    /// If a slice is not `batch · seq` long.
    pub fn new(
        [batch, seq]: [usize; 2],
        ids: Vec<u32>,
        keep: Vec<bool>,
        segments: Option<Vec<u32>>,
    ) -> Result<Self, EmbeddingError> {
        let lengths = [
            ("ids", ids.len()),
            ("keep", keep.len()),
            ("segments", segments.as_ref().map_or(batch * seq, Vec::len)),
        ];
        for (what, found) in lengths {
            if found != batch * seq {
                return Err(EmbeddingError::WrongLength { what, batch, seq, expected: batch * seq, found });
            }
        }
        let mut tokens = Self { batch, seq, ids, keep, segments, positions: Vec::new(), axes: Vec::new() };
        tokens.number_from(&vec![0.0; batch]);
        Ok(tokens)
    }

    /// The positions on an axis, from 0.
    pub fn axis(&self, axis: usize) -> &[f64] {
        axis.checked_sub(1).and_then(|idx| self.axes.get(idx)).unwrap_or(&self.positions)
    }

    /// Numbers the real tokens of each row from `starts`, one start per row. Tokens of several axes are moved by it.
    ///
    /// # Panics
    /// If there is not one start per row.
    pub fn number_from(&mut self, starts: &[f64]) {
        assert_eq!(starts.len(), self.batch, "one start per row");
        if !self.axes.is_empty() {
            for axis in std::iter::once(&mut self.positions).chain(&mut self.axes) {
                let rows = axis.chunks_mut(self.seq.max(1)).zip(starts);
                rows.for_each(|(row, start)| row.iter_mut().for_each(|p| *p += start));
            }
            return;
        }
        self.positions.clear();
        for (row, start) in self.keep.chunks(self.seq.max(1)).zip(starts) {
            let mut seen = 0_usize;
            for &keep in row {
                seen += usize::from(keep);
                self.positions.push(start + seen.saturating_sub(1) as f64);
            }
        }
    }

    /// The cell of a row's last real token.
    pub fn last_real(&self, row: usize) -> Option<usize> {
        (row * self.seq..(row + 1) * self.seq).rev().find(|cell| self.keep[*cell])
    }

    /// The position of the token that follows each row's last real token, past it on every axis; a row without one
    /// waits where it is.
    pub fn next_positions(&self) -> Vec<f64> {
        let next = |row: usize| {
            let cells = row * self.seq..(row + 1) * self.seq;
            let real = cells.clone().filter(|cell| self.keep[*cell]);
            let past =
                real.flat_map(|cell| (0..=self.axes.len()).map(move |axis| self.axis(axis)[cell] + 1.0));
            past.reduce(f64::max).or(self.positions.get(cells.start).copied()).unwrap_or_default()
        };
        (0..self.batch).map(next).collect()
    }

    /// These tokens followed, row by row, by `later`.
    ///
    /// # Panics
    /// If the numbers of rows differ.
    #[must_use]
    pub fn followed_by(&self, later: &Self) -> Self {
        assert_eq!(self.batch, later.batch, "tokens of {} and {} rows", self.batch, later.batch);
        let segments = match (&self.segments, &later.segments) {
            (Some(a), Some(b)) => Some(self.join(a, later, b)),
            _ => None,
        };
        Self {
            batch: self.batch,
            seq: self.seq + later.seq,
            ids: self.join(&self.ids, later, &later.ids),
            keep: self.join(&self.keep, later, &later.keep),
            segments,
            positions: self.join(&self.positions, later, &later.positions),
            axes: (1..=self.axes.len().max(later.axes.len()))
                .map(|axis| self.join(self.axis(axis), later, later.axis(axis)))
                .collect(),
        }
    }

    /// These columns of every row.
    #[must_use]
    pub fn columns(&self, columns: &[usize]) -> Self {
        fn take<T: Copy>(cells: &[T], seq: usize, columns: &[usize]) -> Vec<T> {
            cells.chunks(seq.max(1)).flat_map(|row| columns.iter().map(|&c| row[c])).collect()
        }
        Self {
            batch: self.batch,
            seq: columns.len(),
            ids: take(&self.ids, self.seq, columns),
            keep: take(&self.keep, self.seq, columns),
            segments: self.segments.as_ref().map(|s| take(s, self.seq, columns)),
            positions: take(&self.positions, self.seq, columns),
            axes: self.axes.iter().map(|axis| take(axis, self.seq, columns)).collect(),
        }
    }

    /// These rows, in this order; a row may come several times.
    #[must_use]
    pub fn rows(&self, rows: &[usize]) -> Self {
        fn take<T: Copy>(cells: &[T], seq: usize, rows: &[usize]) -> Vec<T> {
            rows.iter().flat_map(|&row| &cells[row * seq..(row + 1) * seq]).copied().collect()
        }
        Self {
            batch: rows.len(),
            seq: self.seq,
            ids: take(&self.ids, self.seq, rows),
            keep: take(&self.keep, self.seq, rows),
            segments: self.segments.as_ref().map(|s| take(s, self.seq, rows)),
            positions: take(&self.positions, self.seq, rows),
            axes: self.axes.iter().map(|axis| take(axis, self.seq, rows)).collect(),
        }
    }

    fn join<T: Copy>(&self, a: &[T], later: &Self, b: &[T]) -> Vec<T> {
        (0..self.batch)
            .flat_map(|row| {
                let a = &a[row * self.seq..(row + 1) * self.seq];
                a.iter().chain(&b[row * later.seq..(row + 1) * later.seq]).copied()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Tokens;

    #[test]
    fn left_padding_does_not_shift_positions() {
        let keep = vec![false, false, true, true, true, true, true, false];
        let tokens = Tokens::new([2, 4], vec![1; 8], keep, None).expect("fits");
        assert_eq!(tokens.positions, [0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 2.0, 2.0]);
        assert_eq!(tokens.next_positions(), [2.0, 3.0]);
    }

    #[test]
    fn a_row_without_a_token_waits() {
        let mut tokens = Tokens::new([2, 1], vec![1; 2], vec![false, true], None).expect("fits");
        tokens.number_from(&[5.0, 7.0]);
        assert_eq!(tokens.next_positions(), [5.0, 8.0]);
    }

    #[test]
    fn joining_goes_row_by_row() {
        let a = Tokens::new([2, 2], vec![1, 2, 3, 4], vec![true; 4], None).expect("fits");
        let mut b = Tokens::new([2, 1], vec![5, 6], vec![true; 2], None).expect("fits");
        b.number_from(&a.next_positions());
        let joined = a.followed_by(&b);
        assert_eq!(joined.ids, [1, 2, 5, 3, 4, 6]);
        assert_eq!(joined.positions, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
        assert_eq!(joined.columns(&[0, 2]).ids, [1, 5, 3, 6]);
        assert_eq!(joined.rows(&[1, 0, 1]).ids, [3, 4, 6, 1, 2, 5, 3, 4, 6]);
    }
    #[test]
    fn text_goes_on_past_an_image() {
        // Two words and an image of 2 by 3 patches.
        let mut image = Tokens::new([1, 8], vec![1; 8], vec![true; 8], None).expect("fits");
        image.positions = vec![0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0];
        let height = vec![0.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0];
        let width = vec![0.0, 1.0, 2.0, 3.0, 4.0, 2.0, 3.0, 4.0];
        image.axes = vec![height, width];
        assert_eq!(image.next_positions(), [5.0]);
        let mut word = Tokens::new([1, 1], vec![1], vec![true], None).expect("fits");
        word.number_from(&image.next_positions());
        let all = image.followed_by(&word);
        assert_eq!([all.axis(0)[8], all.axis(1)[8], all.axis(2)[8]], [5.0; 3]);
        assert_eq!(all.columns(&[5, 8]).axes, [[3.0, 5.0], [2.0, 5.0]]);
        assert_eq!(word.axis(2), [5.0]);
        image.number_from(&[10.0]);
        assert_eq!([image.axis(0)[5], image.axis(1)[5], image.axis(2)[5]], [12.0, 13.0, 12.0]);
    }
}
