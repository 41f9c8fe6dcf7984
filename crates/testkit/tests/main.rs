//! All tests of the operations.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod common;
mod kernels;
mod losses;
mod ops;
