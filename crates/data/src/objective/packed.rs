//! Causal language modelling on packed rows: documents follow each other in rows of one length, so that nothing is padded.
//!
//! Each token is predicted from those before it in its document and its row: [`Item::documents`] says which these are, and
//! positions begin anew with each document ([`HostBatch::positions`](crate::HostBatch::positions)). No document is asked
//! to predict the start of the next one. A document that a row's end cuts goes on in the next row, as document 0.

use super::label;
use crate::{DataError, IGNORE, Item, ItemLabels};

/// Packs documents into rows, one document at a time; no more than one row and one document are held.
#[derive(Debug, Clone)]
pub struct Packer {
    seq: usize,
    end: Option<u32>,
    /// The tokens of the row, and the first of the next one.
    tokens: Vec<u32>,
    /// Where documents end in `tokens`.
    ends: Vec<usize>,
}

impl Packer {
    /// Rows of `seq` tokens; each document is followed by the token `end`, where there is one.
    ///
    /// # Errors
    /// If `seq` is 0.
    ///
    /// ```
    /// use locus_data::objective::packed::Packer;
    /// use locus_data::{IGNORE, ItemLabels};
    /// # fn main() -> Result<(), locus_data::DataError> {
    /// let mut packer = Packer::new(4, Some(2))?;
    /// let mut rows = packer.push(&[10, 11]);
    /// rows.extend(packer.push(&[20, 21, 22]));
    /// rows.extend(packer.finish());
    /// assert_eq!(rows[0].ids, [10, 11, 2, 20]);
    /// assert_eq!(rows[0].documents.as_deref(), Some(&[0, 0, 0, 1][..]));
    /// assert_eq!(rows[0].labels, ItemLabels::PerToken(vec![11, 2, IGNORE, 21]));
    /// assert_eq!(rows[1].ids, [21, 22]); // the end token is a label only
    /// # Ok(()) }
    /// ```
    pub fn new(seq: usize, end: Option<u32>) -> Result<Self, DataError> {
        if seq == 0 {
            return Err(DataError::Argument("a row needs at least one token".to_owned()));
        }
        Ok(Self { seq, end, tokens: Vec::new(), ends: Vec::new() })
    }

    /// Adds a document; gives the rows that it fills.
    pub fn push(&mut self, document: &[u32]) -> Vec<Item> {
        self.tokens.extend_from_slice(document);
        self.tokens.extend(self.end);
        self.ends.push(self.tokens.len());
        let mut rows = Vec::new();
        let mut start = 0;
        // A full row needs the token after it too: it is the last label.
        while self.tokens.len() > start + self.seq {
            rows.push(self.row(start, self.seq));
            start += self.seq;
        }
        self.tokens.drain(..start);
        self.ends.retain(|&end| end > start);
        self.ends.iter_mut().for_each(|end| *end -= start);
        rows
    }

    /// The last row, which may be short; none where nothing is left to predict.
    pub fn finish(self) -> Option<Item> {
        let len = self.tokens.len().saturating_sub(1);
        let row = (len > 0).then(|| self.row(0, len))?;
        let ItemLabels::PerToken(labels) = &row.labels else { return None };
        labels.iter().any(|&label| label != IGNORE).then_some(row)
    }

    fn row(&self, start: usize, len: usize) -> Item {
        let ends: Vec<usize> = self.ends.iter().filter(|&&end| end > start).map(|end| end - start).collect();
        packed_row(&self.tokens[start..=start + len], &ends)
    }
}

/// A row over all tokens but the last, which is a label only. `ends` are the places where documents end, ascending.
pub fn packed_row(tokens: &[u32], ends: &[usize]) -> Item {
    let len = tokens.len().saturating_sub(1);
    let mut labels: Vec<i32> = tokens.iter().skip(1).copied().map(label).collect();
    let mut documents = vec![0; len];
    for &end in ends.iter().filter(|&&end| (1..=len).contains(&end)) {
        labels[end - 1] = IGNORE;
        documents[end..].iter_mut().for_each(|document| *document += 1);
    }
    Item {
        ids: tokens[..len].to_vec(),
        documents: Some(documents),
        labels: ItemLabels::PerToken(labels),
        ..Item::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(documents: &[Vec<u32>], seq: usize, end: Option<u32>) -> Vec<Item> {
        let mut packer = Packer::new(seq, end).expect("a length");
        let mut rows: Vec<Item> = documents.iter().flat_map(|document| packer.push(document)).collect();
        rows.extend(packer.finish());
        rows
    }

    proptest! {
        #[test]
        fn every_token_is_fed_or_last_and_is_predicted_within_its_document(
            lens in prop::collection::vec(1_usize..12, 1..9),
            seq in 1_usize..11,
            with_end in any::<bool>(),
        ) {
            let mut next = 10;
            let documents: Vec<Vec<u32>> = lens.iter().map(|&len| {
                next += len as u32;
                (next - len as u32..next).collect()
            }).collect();
            let end = with_end.then_some(2);
            let rows = pack(&documents, seq, end);
            let stream: Vec<u32> = documents.iter().flat_map(|document| document.iter().copied().chain(end)).collect();
            let fed: Vec<u32> = rows.iter().flat_map(|row| row.ids.clone()).collect();
            prop_assert_eq!(&stream[..fed.len()], &fed[..]);
            prop_assert!(rows.iter().rev().skip(1).all(|row| row.ids.len() == seq));
            let labels: Vec<i32> = rows.iter().flat_map(|row| match &row.labels {
                ItemLabels::PerToken(labels) => labels.clone(),
                _ => Vec::new(),
            }).collect();
            let mut ends = Vec::new();
            documents.iter().fold(0, |at, document| {
                ends.push(at + document.len() + usize::from(with_end));
                at + document.len() + usize::from(with_end)
            });
            for (at, &label) in labels.iter().enumerate() {
                let expected = if ends.contains(&(at + 1)) { IGNORE } else { stream[at + 1] as i32 };
                prop_assert_eq!(label, expected);
            }
            // What is not fed is the last token, or has nothing to predict.
            let left = stream.len() - fed.len();
            prop_assert!(left <= 1 || (fed.len()..stream.len() - 1).all(|at| ends.contains(&(at + 1))));
            for row in &rows {
                let documents = row.documents.as_ref().expect("documents");
                let ItemLabels::PerToken(labels) = &row.labels else { panic!("labels of tokens") };
                prop_assert_eq!(documents[0], 0);
                for at in 1..documents.len() {
                    prop_assert_eq!(documents[at] != documents[at - 1], labels[at - 1] == IGNORE);
                }
            }
        }
    }

    #[test]
    fn a_row_without_tokens_is_refused() {
        assert!(Packer::new(0, None).is_err());
        assert!(pack(&[vec![7]], 4, None).is_empty() && pack(&[], 4, Some(2)).is_empty());
    }
}
