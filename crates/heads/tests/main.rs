//! All tests of the heads.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod adapters;
mod checkpointing;
mod crf;
mod generate;
mod goldens;
mod learns;
mod packed;
mod ranking;
mod replaced;
mod spans;
