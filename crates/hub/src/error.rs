//! What can be wrong with a checkpoint.

use std::path::{Path, PathBuf};

use locus_model::ModelError;
use thiserror::Error;

/// Why a checkpoint could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder is no checkpoint that can be read.
    #[error("{path} is not a checkpoint that can be read: {reason}")]
    NotACheckpoint {
        /// The folder or file.
        path: PathBuf,
        /// What is missing or wrong, and what to do.
        reason: String,
    },
    /// `config.json` is not understood: everything that is wrong.
    #[error("{path}:{}", list(.problems))]
    Config {
        /// The file.
        path: PathBuf,
        /// Key, value found, and what is allowed.
        problems: Vec<String>,
    },
    /// A family that is not known.
    #[error("{path}: model_type = {found:?} is not a family that can be read; there are {}", .known.join(", "))]
    UnknownFamily {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: String,
        /// The families there are.
        known: Vec<&'static str>,
    },
    /// The weights are not those of the configuration: everything that is wrong.
    #[error("{path} does not fit its config.json:{}", list(.problems))]
    Weights {
        /// The folder or file.
        path: PathBuf,
        /// Everything that is wrong.
        problems: Vec<String>,
    },
    /// A model could not be fetched.
    #[error("{name}: {reason}")]
    Pull {
        /// Its name.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// An adapter does not fit its model, or cannot be written: everything that is wrong.
    #[error("the adapter {path} does not fit:{}", list(.problems))]
    Adapter {
        /// The folder.
        path: PathBuf,
        /// Everything that is wrong.
        problems: Vec<String>,
    },
    /// A folder could not be written.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl HubError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

fn list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}
