//! Tokens on the host: ids, padding, segments and positions as plain vectors.

use std::ops::Range;

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
    /// The document of each token, where rows hold several of them one after another: a token sees its own document only,
    /// and positions count from its start. One document a row where absent.
    pub documents: Option<Vec<u32>>,
    /// Tokens of a prefix, which is seen whole by every token of its document, also by those before its end (prefix
    /// language models; Raffel et al. 2020, arXiv:1910.10683, §3.2.1).
    pub prefix: Option<Vec<bool>>,
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
        let mut tokens = Self { batch, seq, ids, keep, segments, ..Self::default() };
        tokens.fits("ids", tokens.ids.len())?;
        tokens.fits("keep", tokens.keep.len())?;
        tokens.fits("segments", tokens.segments.as_ref().map_or(batch * seq, Vec::len))?;
        tokens.number_from(&vec![0.0; batch]);
        Ok(tokens)
    }

    /// These tokens as several documents a row, each numbered from 0.
    ///
    /// # Errors
    /// If `documents` is not `batch · seq` long, or a row has several of them and tokens lie on several axes.
    pub fn with_documents(mut self, documents: Vec<u32>) -> Result<Self, EmbeddingError> {
        self.fits("documents", documents.len())?;
        self.documents = Some(documents);
        let axes = self.axes.len() + 1;
        let several = (0..self.batch).map(|row| (row, self.runs(row).len())).find(|(_, n)| *n > 1);
        if let Some((row, documents)) = several.filter(|_| axes > 1) {
            return Err(EmbeddingError::PackedAxes { axes, row, documents });
        }
        self.number_from(&vec![0.0; self.batch]);
        Ok(self)
    }

    /// These tokens with a prefix that is seen whole.
    ///
    /// # Errors
    /// If `prefix` is not `batch · seq` long.
    pub fn with_prefix(mut self, prefix: Vec<bool>) -> Result<Self, EmbeddingError> {
        self.fits("prefix", prefix.len())?;
        self.prefix = Some(prefix);
        Ok(self)
    }

    fn fits(&self, what: &'static str, found: usize) -> Result<(), EmbeddingError> {
        let Self { batch, seq, .. } = *self;
        match batch * seq {
            expected if expected != found => {
                Err(EmbeddingError::WrongLength { what, batch, seq, expected, found })
            }
            _ => Ok(()),
        }
    }

    /// Of these tokens as keys, those that each of the last `q_len` of a row sees, `[batch, q]`, from the first to one past
    /// the last; nothing where causality alone says it.
    pub fn spans(&self, q_len: usize, causal: bool) -> Option<Vec<[u32; 2]>> {
        if self.documents.is_none() && (self.prefix.is_none() || !causal) {
            return None;
        }
        let mut spans = Vec::with_capacity(self.batch * q_len);
        for row in 0..self.batch {
            let mut of_row = Vec::with_capacity(self.seq);
            let column = |cell: usize| (cell - row * self.seq) as u32;
            for own in self.runs(row) {
                let (start, end) = (column(own.start), column(own.end));
                let of_prefix = |cell: &usize| self.prefix.as_ref().is_some_and(|prefix| prefix[*cell]);
                let seen = own.rev().find(of_prefix).map_or(start, |cell| column(cell) + 1);
                of_row.extend((start..end).map(|q| [start, if causal { seen.max(q + 1) } else { end }]));
            }
            spans.extend_from_slice(&of_row[self.seq - q_len..]);
        }
        Some(spans)
    }

    /// The cells of each document of a row, one after another; all of the row where it has one.
    pub fn runs(&self, row: usize) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for cell in row * self.seq..(row + 1) * self.seq {
            match runs.last_mut() {
                Some(run) if !self.changes_document(cell, None) => run.end = cell + 1,
                _ => runs.push(cell..cell + 1),
            }
        }
        runs
    }

    /// Whether the token of a cell is of another document than the one before it: of the row, or at the row's start the last
    /// of `past`, cached tokens of the same rows. Tokens without documents go on in the one before them.
    pub fn changes_document(&self, cell: usize, past: Option<&Self>) -> bool {
        let Some(documents) = &self.documents else { return false };
        let before = if cell.is_multiple_of(self.seq) {
            past.and_then(|past| {
                let end = (cell / self.seq + 1) * past.seq;
                past.documents.as_ref()?.get(end.checked_sub(1)?)
            })
        } else {
            documents.get(cell - 1)
        };
        before.is_some_and(|before| *before != documents[cell])
    }

    /// The number of real tokens of each row; of its longest document where it has several.
    pub fn lengths(&self) -> Vec<usize> {
        let longest = |row: usize| {
            let cells: Vec<usize> =
                (row * self.seq..(row + 1) * self.seq).filter(|&cell| self.keep[cell]).collect();
            let same = |&a: &usize, &b: &usize| {
                self.documents.as_ref().is_none_or(|documents| documents[a] == documents[b])
            };
            cells.chunk_by(same).map(<[usize]>::len).max().unwrap_or(0)
        };
        (0..self.batch).map(longest).collect()
    }

    /// The positions on an axis, from 0.
    pub fn axis(&self, axis: usize) -> &[f64] {
        axis.checked_sub(1).and_then(|idx| self.axes.get(idx)).unwrap_or(&self.positions)
    }

    /// Numbers the real tokens of each row from `starts`, one start per row; after the row's first document, from 0.
    /// Tokens of several axes are moved by it.
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
        for (row, start) in starts.iter().enumerate() {
            let (mut start, mut seen) = (*start, 0_usize);
            for cell in row * self.seq..(row + 1) * self.seq {
                if self.changes_document(cell, None) {
                    (start, seen) = (0.0, 0);
                }
                seen += usize::from(self.keep[cell]);
                self.positions.push(start + seen.saturating_sub(1) as f64);
            }
        }
    }

    /// As [`Self::number_from`], for tokens that follow `past`, cached tokens of the same rows: a row whose first document is
    /// not the last one of `past` is numbered from 0.
    ///
    /// # Panics
    /// If there is not one start per row.
    pub fn number_after(&mut self, past: Option<&Self>, starts: &[f64]) {
        let start = |(row, start): (usize, &f64)| {
            if self.seq > 0 && self.changes_document(row * self.seq, past) { 0.0 } else { *start }
        };
        let starts: Vec<f64> = starts.iter().enumerate().map(start).collect();
        self.number_from(&starts);
    }

    /// The cell of a row's last real token.
    pub fn last_real(&self, row: usize) -> Option<usize> {
        (row * self.seq..(row + 1) * self.seq).rev().find(|cell| self.keep[*cell])
    }

    /// The position of the token that follows each row's last real token in the row's last document, past it on every axis; a
    /// document without one waits where it is.
    pub fn next_positions(&self) -> Vec<f64> {
        let next = |row: usize| {
            let cells = self.runs(row).pop().unwrap_or_default();
            let real = cells.clone().filter(|cell| self.keep[*cell]);
            let past =
                real.flat_map(|cell| (0..=self.axes.len()).map(move |axis| self.axis(axis)[cell] + 1.0));
            past.reduce(f64::max).or(self.positions.get(cells.start).copied()).unwrap_or_default()
        };
        (0..self.batch).map(next).collect()
    }

    /// These tokens followed, row by row, by `later`. Where one side has no documents it is of the document that it meets on the
    /// other side. A prefix is kept where it may still open something: where `later` has one too. Segments are kept where both
    /// sides have them.
    ///
    /// # Panics
    /// If the numbers of rows differ.
    #[must_use]
    pub fn followed_by(&self, later: &Self) -> Self {
        assert_eq!(self.batch, later.batch, "tokens of {} and {} rows", self.batch, later.batch);
        Self {
            batch: self.batch,
            seq: self.seq + later.seq,
            ids: self.join(&self.ids, later, &later.ids),
            keep: self.join(&self.keep, later, &later.keep),
            segments: self.join_both(&self.segments, later, &later.segments),
            positions: self.join(&self.positions, later, &later.positions),
            axes: (1..=self.axes.len().max(later.axes.len()))
                .map(|axis| self.join(self.axis(axis), later, later.axis(axis)))
                .collect(),
            documents: self.join_documents(later),
            prefix: later.prefix.as_ref().map(|prefix| self.join(&self.in_prefix(), later, prefix)),
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
            documents: self.documents.as_ref().map(|d| take(d, self.seq, columns)),
            prefix: self.prefix.as_ref().map(|p| take(p, self.seq, columns)),
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
            documents: self.documents.as_ref().map(|d| take(d, self.seq, rows)),
            prefix: self.prefix.as_ref().map(|p| take(p, self.seq, rows)),
        }
    }

    fn join_documents(&self, later: &Self) -> Option<Vec<u32>> {
        let spread = |documents: &[u32], next_to: &dyn Fn(usize) -> usize, seq: usize| -> Vec<u32> {
            let of_row = |row| documents.get(next_to(row)).copied().unwrap_or_default();
            (0..self.batch).flat_map(|row| std::iter::repeat_n(of_row(row), seq)).collect()
        };
        let last = |row: usize| ((row + 1) * self.seq).saturating_sub(1);
        let (a, b) = match (&self.documents, &later.documents) {
            (None, None) => return None,
            (Some(a), Some(b)) => (a.clone(), b.clone()),
            (Some(a), None) => (a.clone(), spread(a, &last, later.seq)),
            (None, Some(b)) => (spread(b, &|row| row * later.seq, self.seq), b.clone()),
        };
        Some(self.join(&a, later, &b))
    }

    fn in_prefix(&self) -> Vec<bool> {
        self.prefix.clone().unwrap_or_else(|| vec![false; self.keep.len()])
    }

    fn join_both<T: Copy>(&self, a: &Option<Vec<T>>, later: &Self, b: &Option<Vec<T>>) -> Option<Vec<T>> {
        Some(self.join(a.as_ref()?, later, b.as_ref()?))
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
    use crate::EmbeddingError;

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
    fn documents_of_a_row_are_apart() {
        let tokens = Tokens::new([1, 6], vec![1; 6], vec![true, true, true, true, true, false], None);
        let tokens = tokens.and_then(|tokens| tokens.with_documents(vec![0, 0, 0, 1, 1, 2])).expect("fits");
        assert_eq!(tokens.positions, [0.0, 1.0, 2.0, 0.0, 1.0, 0.0]);
        assert_eq!(tokens.lengths(), [3]);
        let causal = tokens.spans(6, true).expect("has documents");
        assert_eq!(causal, [[0, 1], [0, 2], [0, 3], [3, 4], [3, 5], [5, 6]]);
        let open = tokens.spans(2, false).expect("has documents");
        assert_eq!(open, [[3, 5], [5, 6]]);
    }

    fn packed(ids: &[u32], documents: &[u32]) -> Tokens {
        let tokens = Tokens::new([1, ids.len()], ids.to_vec(), vec![true; ids.len()], None).expect("fits");
        tokens.with_documents(documents.to_vec()).expect("fits")
    }

    #[test]
    fn a_cache_ends_in_its_last_document() {
        let past = packed(&[1; 5], &[0, 0, 0, 7, 7]);
        assert_eq!(past.next_positions(), [2.0]);
        for (documents, want) in [([7, 7, 8], [2.0, 3.0, 0.0]), ([8, 8, 7], [0.0, 1.0, 0.0])] {
            let mut later = packed(&[1; 3], &documents);
            later.number_after(Some(&past), &past.next_positions());
            assert_eq!(later.positions, want);
        }
        let mut later = Tokens::new([1, 2], vec![1; 2], vec![true; 2], None).expect("fits");
        later.number_after(Some(&past), &past.next_positions());
        assert_eq!(later.positions, [2.0, 3.0]);
    }

    #[test]
    fn a_side_without_documents_is_of_the_one_it_meets() {
        let past = packed(&[1; 5], &[0, 0, 0, 7, 7]);
        let plain = Tokens::new([1, 2], vec![1; 2], vec![true; 2], None).expect("fits");
        let joined = past.followed_by(&plain);
        assert_eq!(joined.documents, Some(vec![0, 0, 0, 7, 7, 7, 7]));
        assert_eq!(joined.spans(2, true), Some(vec![[3, 6], [3, 7]]));
        let joined = plain.followed_by(&packed(&[1; 3], &[5, 5, 6]));
        assert_eq!(joined.documents, Some(vec![5, 5, 5, 5, 6]));
        assert_eq!(joined.spans(3, true), Some(vec![[0, 3], [0, 4], [4, 5]]));
        let prefix = plain.clone().with_prefix(vec![true; 2]).expect("fits");
        assert_eq!(plain.followed_by(&prefix).spans(2, true), Some(vec![[0, 4], [0, 4]]));
        // What follows a prefix sees it whole anyway.
        assert_eq!(prefix.followed_by(&plain).spans(2, true), None);
    }

    #[test]
    fn several_axes_are_not_packed() {
        let mut tokens = Tokens::new([2, 2], vec![1; 4], vec![true; 4], None).expect("fits");
        tokens.axes = vec![vec![0.0; 4]];
        assert!(tokens.clone().with_documents(vec![0, 0, 1, 1]).is_ok());
        let error = tokens.with_documents(vec![0, 0, 1, 2]).expect_err("two documents on two axes");
        assert_eq!(error, EmbeddingError::PackedAxes { axes: 2, row: 1, documents: 2 });
        let told = error.to_string();
        assert!(["2 axes", "found 2 in row 1", "a row of its own"].iter().all(|part| told.contains(part)));
    }

    #[test]
    fn a_prefix_sees_itself_whole() {
        let tokens = Tokens::new([1, 4], vec![1; 4], vec![true; 4], None);
        let tokens =
            tokens.and_then(|tokens| tokens.with_prefix(vec![true, true, false, false])).expect("fits");
        assert_eq!(tokens.spans(4, true), Some(vec![[0, 2], [0, 2], [0, 3], [0, 4]]));
        assert_eq!(tokens.spans(4, false), None);
        assert!(tokens.with_documents(vec![0; 3]).is_err());
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
