//! Items padded into rectangles on the host, checked before any tensor exists.
//!
//! A [`HostBatch`] is row-major `[batch, seq]`. `keep` is true on real tokens. Labels carry [`IGNORE`] on padding.

use std::ops::Range;

use crate::DataError;

/// The label of a place that counts in no loss and no score.
pub const IGNORE: i32 = -100;

/// On which side short rows are filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PadSide {
    /// After the text: training, encoders.
    #[default]
    Right,
    /// Before the text: generation, where all rows must end at the same column.
    Left,
}

/// One example as ids, before padding.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Item {
    /// Token ids; never empty in a batch.
    pub ids: Vec<u32>,
    /// Segment of each token (0 first text, 1 second), where the model has segments.
    pub segments: Option<Vec<u32>>,
    /// The document of each token, ascending from 0, where several are packed into one row: attention is to stay inside
    /// each, and positions begin anew with each.
    pub documents: Option<Vec<u32>>,
    /// How many tokens at the start see each other in both directions, in a prefix language model.
    pub prefix: Option<usize>,
    /// What is to be learnt.
    pub labels: ItemLabels,
}

/// The labels of one item.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ItemLabels {
    /// Nothing: prediction.
    #[default]
    None,
    /// One label for each token, [`IGNORE`] where there is none.
    PerToken(Vec<i32>),
    /// One label for the item.
    Row(i32),
    /// For each label of the set whether the item has it: 1 or 0.
    MultiHot(Vec<f32>),
    /// A number for the item.
    Value(f32),
    /// Where an answer starts and ends: columns of the item, both inclusive.
    Span([i32; 2]),
    /// The hidden tokens, for a generator whose own take their places.
    Replaced {
        /// One label for each token, [`IGNORE`] where nothing was hidden.
        labels: Vec<i32>,
        /// For each token the quantile (0 or more, below 1) at which the generator's token is drawn.
        quantiles: Vec<f64>,
    },
    /// The words of the item and the entities among them.
    Words(WordsItem),
    /// The candidates of a query, whose tokens the item has.
    Candidates(Vec<CandidateItem>),
    /// The second text of a pair whose texts are read apart, and what is to be said of the pair.
    Pair {
        /// The tokens of the second text.
        ids: Vec<u32>,
        /// What is to be said.
        label: PairLabel,
    },
    /// A sequence for a decoder: what it is fed, and what it is to answer at each place.
    Target {
        /// Decoder input ids.
        ids: Vec<u32>,
        /// One label for each of them.
        labels: Vec<i32>,
    },
}

/// What is to be said of a pair of texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PairLabel {
    /// How alike they are.
    Score(f32),
    /// One label.
    Class(i32),
}

/// The words of an item, and the entities among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WordsItem {
    /// The column of the first token of each word.
    pub columns: Vec<usize>,
    /// The words, numbers in `columns`, that are the item's own; the others are those of a neighbouring window.
    pub owned: Range<usize>,
    /// First word, last word and label of each entity.
    pub entities: Vec<[usize; 3]>,
}

/// A candidate as ids, without its query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CandidateItem {
    /// The tokens of its text.
    pub ids: Vec<u32>,
    /// What it is worth.
    pub gain: f32,
    /// Its features, standardised.
    pub features: Vec<f32>,
}

/// A rectangle of token ids, row-major `[batch, seq]`.
#[derive(Debug, Clone, PartialEq)]
pub struct HostBatch {
    /// Rows.
    pub batch: usize,
    /// Columns: the longest item.
    pub seq: usize,
    /// Token ids; the pad id where `keep` is false.
    pub ids: Vec<u32>,
    /// True on real tokens.
    pub keep: Vec<bool>,
    /// Segment ids, 0 on padding.
    pub segments: Option<Vec<u32>>,
    /// Document of each token, where rows are packed; the last document of the row on padding.
    pub documents: Option<Vec<u32>>,
    /// `[batch]`: how many tokens of the row, padding not counted, see each other in both directions.
    pub prefixes: Option<Vec<usize>>,
    /// Labels.
    pub labels: HostLabels,
}

/// The labels of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum HostLabels {
    /// Nothing.
    None,
    /// `[batch, seq]`, [`IGNORE`] on padding.
    PerToken(Vec<i32>),
    /// `[batch]`.
    PerRow(Vec<i32>),
    /// `[batch, n_labels]`: 1 where a row has a label, else 0.
    MultiHot(Vec<f32>),
    /// `[batch]`.
    Values(Vec<f32>),
    /// `[batch]`: first and last column of each row's answer.
    Spans(Vec<[i32; 2]>),
    /// For a decoder; always padded on the right, whatever the side of the source.
    Target {
        /// Decoder input ids, `[batch, seq]`.
        ids: Vec<u32>,
        /// True on real tokens.
        keep: Vec<bool>,
        /// What is to be answered, [`IGNORE`] on padding.
        labels: Vec<i32>,
        /// Columns of the target: its longest row.
        seq: usize,
    },
}

impl HostBatch {
    /// How many real tokens the batch holds.
    pub fn n_tokens(&self) -> usize {
        self.keep.iter().filter(|&&keep| keep).count()
    }

    /// The position of each token, `[batch, seq]`: counted from 0 in each row, and anew in each document of a packed row.
    /// Padding has the position of its neighbour.
    ///
    /// ```
    /// use locus_data::{Item, PadSide, collate};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let item = Item { ids: vec![5, 6, 7], documents: Some(vec![0, 0, 1]), ..Default::default() };
    /// assert_eq!(collate(&[&item], 0, PadSide::Right, 11)?.positions(), [0, 1, 0]);
    /// # Ok(()) }
    /// ```
    pub fn positions(&self) -> Vec<usize> {
        let mut positions = Vec::with_capacity(self.ids.len());
        for row in (0..self.batch).map(|row| row * self.seq..(row + 1) * self.seq) {
            let mut next = 0;
            for cell in row.clone() {
                let is_new = cell > row.start
                    && self
                        .documents
                        .as_ref()
                        .is_some_and(|documents| documents[cell] != documents[cell - 1]);
                if is_new {
                    next = 0;
                }
                next += usize::from(self.keep[cell]);
                positions.push(next.saturating_sub(1));
            }
        }
        positions
    }

    /// How many places count in a loss: token labels that are not [`IGNORE`]; rows for labels of rows; else 0.
    pub fn n_labels(&self) -> usize {
        match &self.labels {
            HostLabels::None => 0,
            HostLabels::MultiHot(_) | HostLabels::Values(_) | HostLabels::Spans(_) => self.batch,
            HostLabels::PerToken(labels) | HostLabels::PerRow(labels) | HostLabels::Target { labels, .. } => {
                labels.iter().filter(|&&label| label != IGNORE).count()
            }
        }
    }
}

/// Pads `items` to the longest of them.
///
/// # Errors
/// If there are no items, an item is empty, an id (the pad id included) is not below `vocab_size`, or items differ in
/// kind of labels or in having segments.
///
/// ```
/// use locus_data::{Item, PadSide, collate};
/// # fn main() -> Result<(), locus_data::DataError> {
/// let long = Item { ids: vec![5, 6, 7], ..Default::default() };
/// let short = Item { ids: vec![8], ..Default::default() };
/// let batch = collate(&[&long, &short], 0, PadSide::Left, 11)?;
/// assert_eq!((batch.batch, batch.seq), (2, 3));
/// assert_eq!(batch.ids, [5, 6, 7, 0, 0, 8]);
/// assert_eq!(batch.keep, [true, true, true, false, false, true]);
/// # Ok(()) }
/// ```
pub fn collate(
    items: &[&Item],
    pad_id: u32,
    side: PadSide,
    vocab_size: usize,
) -> Result<HostBatch, DataError> {
    check(items, pad_id, vocab_size)?;
    let seq = items.iter().map(|item| item.ids.len()).max().unwrap_or(0);
    let ids: Vec<&[u32]> = items.iter().map(|item| item.ids.as_slice()).collect();
    let lengths: Vec<usize> = ids.iter().map(|row| row.len()).collect();
    Ok(HostBatch {
        batch: items.len(),
        seq,
        ids: pad(&ids, seq, pad_id, side),
        keep: keep(&lengths, seq, side),
        segments: pad_segments(items, seq, side)?,
        documents: pad_documents(items, seq, side)?,
        prefixes: prefixes(items)?,
        labels: pad_labels(items, seq, pad_id, side)?,
    })
}

fn check(items: &[&Item], pad_id: u32, vocab_size: usize) -> Result<(), DataError> {
    if items.is_empty() {
        return Err(DataError::Batch("a batch needs at least one item".into()));
    }
    if pad_id as usize >= vocab_size {
        return Err(DataError::Batch(format!("pad id {pad_id} is outside the vocabulary of {vocab_size}")));
    }
    for (at, item) in items.iter().enumerate() {
        if item.ids.is_empty() {
            return Err(DataError::Batch(format!("item {at} has no tokens")));
        }
        check_ids(at, &item.ids, vocab_size)?;
        if let ItemLabels::Target { ids, .. } | ItemLabels::Pair { ids, .. } = &item.labels {
            check_ids(at, ids, vocab_size)?;
        }
    }
    Ok(())
}

fn check_ids(item: usize, ids: &[u32], vocab_size: usize) -> Result<(), DataError> {
    match ids.iter().position(|&id| id as usize >= vocab_size) {
        Some(position) => Err(DataError::IdOutOfRange { item, position, id: ids[position], vocab_size }),
        None => Ok(()),
    }
}

fn pad_segments(items: &[&Item], seq: usize, side: PadSide) -> Result<Option<Vec<u32>>, DataError> {
    if items.iter().all(|item| item.segments.is_none()) {
        return Ok(None);
    }
    let rows = each(items, "segments", |item| {
        let row = item.segments.as_deref()?;
        (row.len() == item.ids.len()).then_some(row)
    })?;
    Ok(Some(pad(&rows, seq, 0, side)))
}

fn pad_documents(items: &[&Item], seq: usize, side: PadSide) -> Result<Option<Vec<u32>>, DataError> {
    if items.iter().all(|item| item.documents.is_none()) {
        return Ok(None);
    }
    let rows = each(items, "documents that ascend from 0 in steps of one", |item| {
        let row = item.documents.as_deref()?;
        let ascends =
            row.first() == Some(&0) && row.windows(2).all(|two| two[1] == two[0] || two[1] == two[0] + 1);
        (row.len() == item.ids.len() && ascends).then_some(row)
    })?;
    let padded = rows.into_iter().flat_map(|row| {
        let fill = if side == PadSide::Right { row.last().copied().unwrap_or(0) } else { 0 };
        pad(&[row], seq, fill, side)
    });
    Ok(Some(padded.collect())) // [batch, seq]
}

fn prefixes(items: &[&Item]) -> Result<Option<Vec<usize>>, DataError> {
    if items.iter().all(|item| item.prefix.is_none()) {
        return Ok(None);
    }
    let what = "a prefix that is not longer than the item";
    each(items, what, |item| item.prefix.filter(|&prefix| prefix <= item.ids.len())).map(Some)
}

fn pad_labels(items: &[&Item], seq: usize, pad_id: u32, side: PadSide) -> Result<HostLabels, DataError> {
    match items[0].labels {
        ItemLabels::None => {
            each(items, "no labels", |item| matches!(item.labels, ItemLabels::None).then_some(()))?;
            Ok(HostLabels::None)
        }
        ItemLabels::PerToken(_) => {
            let rows = each(items, "token labels", |item| match &item.labels {
                ItemLabels::PerToken(row) if row.len() == item.ids.len() => Some(row.as_slice()),
                _ => None,
            })?;
            Ok(HostLabels::PerToken(pad(&rows, seq, IGNORE, side)))
        }
        ItemLabels::Row(_) => each(items, "a row label", |item| match item.labels {
            ItemLabels::Row(label) => Some(label),
            _ => None,
        })
        .map(HostLabels::PerRow),
        ItemLabels::MultiHot(ref first) => {
            let rows = each(items, "one value for each label", |item| match &item.labels {
                ItemLabels::MultiHot(row) if row.len() == first.len() => Some(row.as_slice()),
                _ => None,
            })?;
            Ok(HostLabels::MultiHot(rows.concat()))
        }
        ItemLabels::Value(_) => each(items, "a number", |item| match item.labels {
            ItemLabels::Value(value) => Some(value),
            _ => None,
        })
        .map(HostLabels::Values),
        ItemLabels::Span(_) => each(items, "a span", |item| match item.labels {
            ItemLabels::Span(span) => {
                let shift = if side == PadSide::Left { seq - item.ids.len() } else { 0 };
                Some(span.map(|column| column + shift as i32))
            }
            _ => None,
        })
        .map(HostLabels::Spans),
        ItemLabels::Target { .. } => pad_target(items, pad_id),
        ItemLabels::Replaced { .. } => Err(DataError::Batch(
            "hidden tokens with quantiles are labels of two kinds; pad the quantiles beside token labels"
                .to_owned(),
        )),
        ItemLabels::Words(_) => Err(DataError::Batch(
            "the words of an item are no labels of its tokens; take them off and batch the ids alone"
                .to_owned(),
        )),
        ItemLabels::Candidates(_) => Err(DataError::Batch(
            "a query with its candidates is no row; make a row of the query with each candidate".to_owned(),
        )),
        ItemLabels::Pair { .. } => Err(DataError::Batch(
            "a pair of texts that are read apart is no row; make a row of each of them".to_owned(),
        )),
    }
}

fn pad_target(items: &[&Item], pad_id: u32) -> Result<HostLabels, DataError> {
    let rows = each(items, "a target", |item| match &item.labels {
        ItemLabels::Target { ids, labels } if ids.len() == labels.len() && !ids.is_empty() => {
            Some((ids.as_slice(), labels.as_slice()))
        }
        _ => None,
    })?;
    let (ids, labels): (Vec<&[u32]>, Vec<&[i32]>) = rows.into_iter().unzip();
    let lengths: Vec<usize> = ids.iter().map(|row| row.len()).collect();
    let seq = lengths.iter().max().copied().unwrap_or(0);
    Ok(HostLabels::Target {
        ids: pad(&ids, seq, pad_id, PadSide::Right),
        keep: keep(&lengths, seq, PadSide::Right),
        labels: pad(&labels, seq, IGNORE, PadSide::Right),
        seq,
    })
}

/// `get` of every item, or an error that names the first item without it.
fn each<'a, T>(
    items: &[&'a Item],
    what: &str,
    get: impl Fn(&'a Item) -> Option<T>,
) -> Result<Vec<T>, DataError> {
    items
        .iter()
        .enumerate()
        .map(|(at, item)| {
            get(item).ok_or_else(|| {
                DataError::Batch(format!(
                    "expected {what} in every item, one for each of its tokens where they are per token; item {at} \
                     has {} tokens, {}, {}",
                    item.ids.len(),
                    match &item.segments {
                        Some(segments) => format!("{} segments", segments.len()),
                        None => "no segments".to_owned(),
                    },
                    describe(&item.labels)
                ))
            })
        })
        .collect()
}

fn describe(labels: &ItemLabels) -> String {
    match labels {
        ItemLabels::None => "no labels".to_owned(),
        ItemLabels::PerToken(labels) => format!("{} token labels", labels.len()),
        ItemLabels::Row(_) => "a row label".to_owned(),
        ItemLabels::MultiHot(values) => format!("{} label values", values.len()),
        ItemLabels::Value(_) => "a number".to_owned(),
        ItemLabels::Span(_) => "a span".to_owned(),
        ItemLabels::Words(words) => format!("{} words", words.columns.len()),
        ItemLabels::Candidates(list) => format!("{} candidates", list.len()),
        ItemLabels::Pair { .. } => "a pair of texts".to_owned(),
        ItemLabels::Replaced { labels, quantiles } => {
            format!("{} token labels and {} quantiles", labels.len(), quantiles.len())
        }
        ItemLabels::Target { ids, labels } => {
            format!("a target of {} ids and {} labels", ids.len(), labels.len())
        }
    }
}

fn pad<T: Copy>(rows: &[&[T]], seq: usize, fill: T, side: PadSide) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len() * seq); // [batch, seq]
    for row in rows {
        let padding = std::iter::repeat_n(fill, seq - row.len());
        match side {
            PadSide::Right => {
                out.extend_from_slice(row);
                out.extend(padding);
            }
            PadSide::Left => {
                out.extend(padding);
                out.extend_from_slice(row);
            }
        }
    }
    out
}

fn keep(lengths: &[usize], seq: usize, side: PadSide) -> Vec<bool> {
    let real = vec![true; seq];
    let rows: Vec<&[bool]> = lengths.iter().map(|&len| &real[..len]).collect();
    pad(&rows, seq, false, side)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(ids: &[u32], labels: ItemLabels) -> Item {
        Item { ids: ids.to_vec(), labels, ..Item::default() }
    }

    #[test]
    fn pads_ids_labels_and_segments_on_the_same_side() {
        let mut long = item(&[3, 4, 5], ItemLabels::PerToken(vec![1, IGNORE, 2]));
        let mut short = item(&[6], ItemLabels::PerToken(vec![0]));
        long.segments = Some(vec![0, 0, 1]);
        short.segments = Some(vec![1]);
        let left = collate(&[&long, &short], 2, PadSide::Left, 7).expect("fits");
        assert_eq!(left.ids, [3, 4, 5, 2, 2, 6]);
        assert_eq!(left.segments.as_deref(), Some(&[0, 0, 1, 0, 0, 1][..]));
        assert_eq!(left.labels, HostLabels::PerToken(vec![1, IGNORE, 2, IGNORE, IGNORE, 0]));
        assert_eq!((left.n_tokens(), left.n_labels()), (4, 3));
        let right = collate(&[&long, &short], 2, PadSide::Right, 7).expect("fits");
        assert_eq!(right.ids, [3, 4, 5, 6, 2, 2]);
        assert_eq!(right.keep, [true, true, true, true, false, false]);
    }

    #[test]
    fn packed_rows_and_prefixes_are_padded_and_checked() {
        let mut long = item(&[3, 4, 5], ItemLabels::None);
        let mut short = item(&[6, 1], ItemLabels::None);
        long.documents = Some(vec![0, 1, 1]);
        short.documents = Some(vec![0, 1]);
        (long.prefix, short.prefix) = (Some(3), Some(0));
        let right = collate(&[&long, &short], 2, PadSide::Right, 7).expect("fits");
        assert_eq!(right.documents.as_deref(), Some(&[0, 1, 1, 0, 1, 1][..]));
        assert_eq!(right.positions(), [0, 0, 1, 0, 0, 0]);
        assert_eq!(right.prefixes, Some(vec![3, 0]));
        let left = collate(&[&long, &short], 2, PadSide::Left, 7).expect("fits");
        assert_eq!(left.documents.as_deref(), Some(&[0, 1, 1, 0, 0, 1][..]));
        assert_eq!(left.positions(), [0, 0, 1, 0, 0, 0]);
        for documents in [vec![1, 1, 1], vec![0, 2, 2], vec![0, 1]] {
            let bad = Item { documents: Some(documents), ..long.clone() };
            assert!(collate(&[&bad, &short], 2, PadSide::Right, 7).is_err());
        }
        let bad = Item { prefix: Some(4), ..long.clone() };
        assert!(collate(&[&bad, &short], 2, PadSide::Right, 7).is_err());
        assert!(collate(&[&long, &item(&[1], ItemLabels::None)], 2, PadSide::Right, 7).is_err());
    }

    #[test]
    fn a_target_is_padded_on_the_right_with_its_own_width() {
        let target =
            |ids: &[u32], labels: &[i32]| ItemLabels::Target { ids: ids.to_vec(), labels: labels.to_vec() };
        let a = item(&[1, 2, 3], target(&[1, 4], &[4, 5]));
        let b = item(&[1], target(&[1], &[5]));
        let batch = collate(&[&a, &b], 0, PadSide::Left, 7).expect("fits");
        assert_eq!(batch.seq, 3);
        assert_eq!(
            batch.labels,
            HostLabels::Target {
                ids: vec![1, 4, 1, 0],
                keep: vec![true, true, true, false],
                labels: vec![4, 5, 5, IGNORE],
                seq: 2
            }
        );
    }

    #[test]
    fn many_labels_stand_side_by_side_and_numbers_below_each_other() {
        let hot = |values: [f32; 3]| item(&[1, 2], ItemLabels::MultiHot(values.to_vec()));
        let (a, b) = (hot([0.0, 1.0, 1.0]), hot([0.0; 3]));
        let batch = collate(&[&a, &b], 0, PadSide::Right, 7).expect("fits");
        assert_eq!(batch.labels, HostLabels::MultiHot(vec![0.0, 1.0, 1.0, 0.0, 0.0, 0.0]));
        assert_eq!(batch.n_labels(), 2);
        let narrow = item(&[1], ItemLabels::MultiHot(vec![1.0]));
        let error = collate(&[&a, &narrow], 0, PadSide::Right, 7).expect_err("another width").to_string();
        assert!(error.contains("item 1 has 1 tokens, no segments, 1 label values"), "{error}");

        let value = |value| item(&[1], ItemLabels::Value(value));
        let batch = collate(&[&value(2.5), &value(-1.0)], 0, PadSide::Right, 7).expect("fits");
        assert_eq!((batch.n_labels(), &batch.labels), (2, &HostLabels::Values(vec![2.5, -1.0])));
        assert!(collate(&[&value(2.5), &a], 0, PadSide::Right, 7).is_err());
    }

    #[test]
    fn a_span_moves_with_the_padding_before_it() {
        let (long, short) =
            (item(&[1, 2, 3], ItemLabels::Span([1, 2])), item(&[4], ItemLabels::Span([0, 0])));
        let spans = |side| collate(&[&long, &short], 0, side, 7).expect("fits").labels;
        assert_eq!(spans(PadSide::Right), HostLabels::Spans(vec![[1, 2], [0, 0]]));
        assert_eq!(spans(PadSide::Left), HostLabels::Spans(vec![[1, 2], [2, 2]]));
        assert!(collate(&[&long, &item(&[1], ItemLabels::Row(1))], 0, PadSide::Right, 7).is_err());
    }

    #[test]
    fn refuses_ids_outside_the_vocabulary() {
        let good = item(&[1], ItemLabels::None);
        let bad = item(&[1, 7], ItemLabels::None);
        let error = collate(&[&good, &bad], 0, PadSide::Right, 7).expect_err("7 is not below 7");
        assert!(matches!(error, DataError::IdOutOfRange { item: 1, position: 1, id: 7, vocab_size: 7 }));
        assert!(error.to_string().starts_with("item 1, position 1: token id 7"), "{error}");
        assert!(collate(&[&good], 7, PadSide::Right, 7).is_err());
        let target = item(&[1], ItemLabels::Target { ids: vec![9], labels: vec![1] });
        assert!(collate(&[&target], 0, PadSide::Right, 7).is_err());
    }

    #[test]
    fn refuses_items_that_do_not_fit_together() {
        let row = item(&[1], ItemLabels::Row(2));
        let none = item(&[1], ItemLabels::None);
        let short = item(&[1, 2], ItemLabels::PerToken(vec![1]));
        for items in [vec![&row, &none], vec![&none, &row], vec![&short], vec![]] {
            assert!(collate(&items, 0, PadSide::Right, 7).is_err());
        }
        let error = collate(&[&row, &none], 0, PadSide::Right, 7).expect_err("mixed").to_string();
        assert!(error.contains("expected a row label") && error.contains("item 1"), "{error}");
        assert!(collate(&[&item(&[], ItemLabels::None)], 0, PadSide::Right, 7).is_err());
    }
}
