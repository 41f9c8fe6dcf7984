//! The verbs.

pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod fetch;
pub(crate) mod generate;
pub(crate) mod predict;
pub(crate) mod recipes;
pub(crate) mod train;
mod write;

use std::io::Write as _;

/// Prints a line to the standard output.
///
/// # Errors
/// If nobody reads it any more.
fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
