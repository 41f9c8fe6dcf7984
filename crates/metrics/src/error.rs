//! The one error of this crate: what was expected, what was found.

use crate::tags::{Span, TagScheme};

/// What can be wrong with the data handed to a metric.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// A span that is empty or runs past the sentence.
    #[error("span {start}..{end} of type {label:?} is not inside a sentence of {len} tokens", start = .span.start, end = .span.end, label = .span.label)]
    SpanOutside {
        /// The offending span.
        span: Span,
        /// The length of the sentence in tokens.
        len: usize,
    },
    /// Two spans that share a token; a tag sequence holds one type per token.
    #[error("spans {}..{} ({}) and {}..{} ({}) overlap; tags cannot hold nested entities", .0.start, .0.end, .0.label, .1.start, .1.end, .1.label)]
    Overlap(Span, Span),
    /// Two neighbours of one type, which IO tags would merge.
    #[error("spans {}..{} and {}..{} of type {:?} touch, and io tags cannot keep them apart; use iob2", .0.start, .0.end, .1.start, .1.end, .0.label)]
    Touching(Span, Span),
    /// A span without a type.
    #[error("span {}..{} has an empty type", .0.start, .0.end)]
    EmptyType(Span),
    /// A scheme name that is not known.
    #[error("unknown tag scheme {found:?}; expected one of {}", TagScheme::NAMES.join(", "))]
    UnknownScheme {
        /// The name as given.
        found: String,
    },
    /// Gold and predicted labels that do not pair up.
    #[error("{gold} gold labels but {predicted} predicted labels")]
    LengthMismatch {
        /// Number of gold labels.
        gold: usize,
        /// Number of predicted labels.
        predicted: usize,
    },
    /// An example that a score cannot take: a number that is not finite, a row of another width, an unknown class.
    #[error("example {at}: {problem}")]
    BadExample {
        /// Which example, from 0.
        at: usize,
        /// What was expected and what was found.
        problem: String,
    },
    /// A score that these examples do not define.
    #[error("{score} is undefined: {reason}")]
    Undefined {
        /// The score.
        score: &'static str,
        /// What is missing.
        reason: String,
    },
    /// A setting out of its range.
    #[error("{0}")]
    Setting(String),
    /// A score over nothing.
    #[error("no tokens were scored, so there is no mean loss")]
    NoTokens,
}
