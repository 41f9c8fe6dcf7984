//! Plain data for Locus: text in, padded host batches out. No burn, no tensors, no network.
//!
//! The modules follow the way of an example:
//!
//! 1. [`manifest`] says which files a data set has; [`read()`] reads one of them ([`Format`]) into [`Examples`];
//! 2. [`split`] makes a fixed split where a set has none; [`check`](mod@check) looks for mistakes before training does,
//!    [`stats`](mod@stats) counts;
//! 3. [`tokenizer`] turns text into ids; [`labels`] turns label names into ids; [`window`] cuts what is too long;
//! 4. [`plan`] decides which items share a batch; [`batch`] pads them into a [`HostBatch`].
//!
//! Where a model learns from text alone, [`objective`] says what, and [`corpus`] keeps more text than memory holds.
//!
//! [`vectors`] finds word vectors for the tokens of a tokenizer.
//!
//! Nothing here panics on what a user wrote: every problem is a [`DataError`] that names file and line, what was
//! expected and what was found. The problems of one file are reported together.

pub mod batch;
pub mod check;
pub mod corpus;
pub mod error;
pub mod example;
pub mod format;
pub mod labels;
pub mod manifest;
pub mod objective;
pub mod plan;
pub mod random;
pub mod read;
pub mod split;
pub mod stats;
pub mod synthetic;
pub mod tokenizer;
pub mod vectors;
pub mod window;

pub use batch::{
    CandidateItem, HostBatch, HostLabels, IGNORE, Item, ItemLabels, PadSide, PairLabel, WordsItem, collate,
};
pub use check::{CheckReport, LengthLimit, Splits, check};
pub use error::{DataError, FileProblems, Problem};
pub use example::{
    Answer, Candidate, Examples, Kind, Labelled, MultiLabelled, Pair, Question, Ranking, Row, Scored,
    Spanned, Tagged,
};
pub use format::{Column, Columns, Format, ReadOptions};
pub use labels::{LabelSet, UnknownLabel};
pub use manifest::{
    Fetched, Files, Lookup, Manifest, Opened, PublicFile, Sha256Sum, SplitFile, Task, fetch, verify,
};
pub use plan::{BatchLimits, BatchPlan, lm_blocks};
pub use read::place::Place;
pub use read::read;
pub use split::{Part, Shares};
pub use stats::{Stats, stats};
pub use tokenizer::{
    Encoding, Frame, Framed, Specials, Tokenizer, TokenizerConfig, TokenizerKind, TokenizerProblem,
    UnicodeForm, WordEncoding, cjk_units, split_words,
};
pub use vectors::{TokenVectors, WordVectors};
pub use window::{Window, windows};
