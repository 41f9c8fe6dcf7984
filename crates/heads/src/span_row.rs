//! Rows as words: which spans of them count, and which have labels.

use std::ops::Range;

use locus_embedding::Tokens;

use crate::HeadError;

/// The words of a row and the spans among them that have labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanRow {
    /// The column of the first token of each word, ascending.
    pub columns: Vec<usize>,
    /// The words, numbers in `columns`, that this row owns. A span counts where the word in its middle (of two the first) is one
    /// of them: of a text that is read in windows each span counts once. One of more words than
    /// [`SpanConfig::max_words`](crate::SpanConfig::max_words) never does.
    pub owned: Range<usize>,
    /// The spans that have labels.
    pub spans: Vec<LabelledSpan>,
}

/// A span of words, numbers in [`SpanRow::columns`], with its label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelledSpan {
    /// The first word.
    pub first: usize,
    /// The last word.
    pub last: usize,
    /// The label.
    pub label: usize,
}

impl SpanRow {
    /// A row for each of the tokens', in which every real token is a word.
    pub fn of_tokens(tokens: &Tokens) -> Vec<Self> {
        let row = |keep: &[bool]| {
            let columns: Vec<usize> = (0..keep.len()).filter(|&column| keep[column]).collect();
            Self { owned: 0..columns.len(), columns, spans: Vec::new() }
        };
        tokens.keep.chunks(tokens.seq.max(1)).map(row).collect()
    }

    /// The first and the last word of every span that counts and has no more words than said.
    pub fn counted(&self, max_words: usize) -> impl Iterator<Item = [usize; 2]> {
        let n_words = self.columns.len();
        let from = move |first: usize| {
            let end = n_words.min(first.saturating_add(max_words));
            (first..end).map(move |last| [first, last])
        };
        let owned = self.owned.clone();
        (0..n_words).flat_map(from).filter(move |[first, last]| owned.contains(&((first + last) / 2)))
    }

    /// That all words begin inside the row.
    pub(crate) fn check(&self, row: usize, seq: usize) -> Result<(), HeadError> {
        match self.columns.iter().find(|column| **column >= seq) {
            Some(&column) => Err(HeadError::ColumnOutside { row, column, seq }),
            None => Ok(()),
        }
    }
}

/// Which cells of `[batch, n_labels, words, longest]` stay out of the two sums of the loss.
pub(crate) struct Cells {
    /// All but the spans that count and do not have the label.
    pub(crate) not_others: Vec<bool>,
    /// All but the spans that count and have the label.
    pub(crate) not_right: Vec<bool>,
}

impl Cells {
    pub(crate) fn new(
        rows: &[SpanRow],
        [n_labels, n_words, longest]: [usize; 3],
        max_words: usize,
    ) -> Result<Self, HeadError> {
        let n = rows.len() * n_labels * n_words * longest;
        let (mut not_others, mut not_right) = (vec![true; n], vec![true; n]);
        for (row, words) in rows.iter().enumerate() {
            let cell = |label: usize, first: usize, last: usize| {
                ((row * n_labels + label) * n_words + first) * longest + last - first
            };
            for [first, last] in words.counted(max_words) {
                (0..n_labels).for_each(|label| not_others[cell(label, first, last)] = false);
            }
            for &span in &words.spans {
                let LabelledSpan { first, last, label } = span;
                let n_own = words.columns.len();
                if first > last || last >= n_own || label >= n_labels {
                    return Err(HeadError::SpanOutside { row, span, n_words: n_own, n_labels });
                }
                // One that does not count is in neither sum; of one with more words there is no score.
                if last - first >= longest {
                    continue;
                }
                let cell = cell(label, first, last);
                not_right[cell] = not_others[cell] && not_right[cell];
                not_others[cell] = true;
            }
        }
        Ok(Self { not_others, not_right })
    }
}
