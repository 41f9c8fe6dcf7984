//! `model.decoding`: how scores become entities.

use locus_heads::TagDecoding;
use serde::{Deserialize, Serialize};

/// How the scores of words, or of spans of them, become entities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decoding {
    /// The best tag of each word, whatever stands beside it.
    Independent,
    /// The best sequence in which no tag contradicts the one before it.
    #[default]
    WellFormed,
    /// Likewise, with learned scores of each tag after each other.
    Crf,
    /// No tags: every span of words that has a score above 0.
    Span,
}

impl Decoding {
    /// How tags are decoded; none where there are no tags.
    pub(crate) fn of_tags(self) -> Option<TagDecoding> {
        match self {
            Self::Independent => Some(TagDecoding::Independent),
            Self::WellFormed => Some(TagDecoding::WellFormed),
            Self::Crf => Some(TagDecoding::Crf),
            Self::Span => None,
        }
    }
}
