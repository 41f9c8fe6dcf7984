//! More text than memory holds, tokenised once into a folder of files that are mapped into memory.
//!
//! [`CorpusBuilder`] streams files through the tokenizer, in parallel and in bounded memory; [`Corpus`] reads the folder;
//! [`CorpusRows`] gives its rows in an order that is a function of seed, epoch and place.
//!
//! The folder holds:
//!
//! | file | content |
//! |---|---|
//! | `corpus.json` | what it was made from and with (tokenizer, sources with size and time, how they were read), the shards with their sums; written last |
//! | `SSSSS-PPPPP.tokens` | part P of source S: a header of 64 bytes, then token ids of two bytes each, or of four where the vocabulary has more than 65 536 |
//! | `SSSSS-PPPPP.documents` | a header of 64 bytes, then for each document that ends in the shard where it ends, in tokens from the shard's start, in four bytes |
//! | `SSSSS-PPPPP.json` | the shard's record: its counts and sums, and the place in the source where the next part starts |
//!
//! All numbers are little-endian. A header is the magic (`LOCUSTOK`, `LOCUSDOC`), the version and the bytes of a number (4
//! bytes each), and how many numbers follow (8 bytes); the rest is zero. Every file is written beside its name, flushed and
//! renamed, and a shard's record after its data, so a build that was broken off goes on after its last whole shard, and
//! gives the same bytes as one that was not.

mod build;
mod files;
mod layout;
mod open;
mod parquet;
mod pieces;
mod reader;
mod rows;
mod shard;
mod source;

pub use build::{Built, CorpusBuilder, Progress};
pub use layout::{Documents, Reading, SourceFile};
pub use reader::Corpus;
pub use rows::CorpusRows;
