//! What can be wrong with tokens and positions.

use thiserror::Error;

/// An input that the embedding cannot take.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum EmbeddingError {
    /// A token id that the vocabulary does not have.
    #[error(
        "token id {id} (row {row}, column {column}) is outside the vocabulary of {vocab_size}: was the text tokenised \
         with the tokenizer of this model?"
    )]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Row in the batch.
        row: usize,
        /// Column in the row.
        column: usize,
        /// Number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// A segment id that the model does not have.
    #[error("segment id {id} (row {row}, column {column}) is outside the model's {n_segments} segments")]
    SegmentOutOfRange {
        /// The id.
        id: u32,
        /// Row in the batch.
        row: usize,
        /// Column in the row.
        column: usize,
        /// Number of segments the model has.
        n_segments: usize,
    },
    /// A batch without rows or columns.
    #[error("a batch needs at least one row and one token, found batch {batch} × seq {seq}")]
    Empty {
        /// Rows.
        batch: usize,
        /// Columns.
        seq: usize,
    },
    /// Host slices that do not have `batch · seq` elements.
    #[error("expected {what} for batch {batch} × seq {seq} = {expected} tokens, found {found}")]
    WrongLength {
        /// Which slice.
        what: &'static str,
        /// Rows.
        batch: usize,
        /// Columns.
        seq: usize,
        /// How many elements there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A position past the scheme's limit.
    #[error(
        "position {position} is past the limit of the {scheme} scheme, which knows {limit} positions, \
         0 to {last}: {}",
        past_limit_advice(scheme)
    )]
    PastLimit {
        /// The scheme.
        scheme: &'static str,
        /// The position that was asked for.
        position: f64,
        /// The last position it knows.
        last: usize,
        /// How many positions it knows.
        limit: usize,
    },
    /// A prefix that is read in both directions, under a scheme whose queries may see no later keys.
    #[error(
        "the {scheme} scheme cannot read a prefix in both directions: {why}; choose another scheme or leave the prefix out"
    )]
    PrefixUnseen {
        /// The scheme.
        scheme: &'static str,
        /// Why its queries may see no later keys.
        why: &'static str,
    },
    /// Several documents in a row, of tokens that lie on several axes.
    #[error(
        "tokens on {axes} axes of position cannot be several documents a row, found {documents} in row {row}: only \
         positions on one axis are counted anew from where a document starts; give each document a row of its own"
    )]
    PackedAxes {
        /// Number of axes.
        axes: usize,
        /// The first row of several documents.
        row: usize,
        /// How many it has.
        documents: usize,
    },
}

/// What to do where the limit is not one of the length of texts alone.
fn past_limit_advice(scheme: &str) -> &'static str {
    match scheme {
        "abacus" => {
            "it counts the digits of a number: shorten the number or raise position.abacus.max_positions"
        }
        "randomised" => {
            "it spreads max_seq_len tokens over position.randomised.max: shorten the input, raise max or max_seq_len"
        }
        _ => "shorten the input, raise the limit or choose a scheme without one",
    }
}
