//! The reader of weights alone, from the library's own file.

use std::path::{Path, PathBuf};

#[allow(dead_code, reason = "the library uses the rest")]
#[path = "../../crates/hub/src/weights.rs"]
mod weights;

pub use weights::Weights;

/// What the reader needs of the library's errors.
#[derive(Debug)]
pub enum HubError {
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    NotACheckpoint { path: PathBuf, reason: String },
    Weights { path: PathBuf, problems: Vec<String> },
}

impl HubError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
