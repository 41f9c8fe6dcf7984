//! All tests of the operations.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[macro_use]
mod common;
mod kernels;
mod losses;
mod ops;
