//! All tests of the training harness.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod adamw;
mod common;
mod r#loop;
mod resume;
