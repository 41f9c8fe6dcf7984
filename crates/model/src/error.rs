//! What can be wrong with a model folder.

use std::path::PathBuf;

use thiserror::Error;

/// Why a model could not be saved or loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder is not a model of Locus.
    #[error(
        "{path} is not a model folder: {missing} is missing (expected config.json, model.safetensors and tokenizer.json)"
    )]
    NotAModel {
        /// The folder.
        path: PathBuf,
        /// The missing file.
        missing: &'static str,
    },
    /// `config.json` cannot be understood.
    #[error("{path}: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with key and line.
        reason: String,
    },
    /// `model.safetensors` does not hold the parameters of this configuration.
    #[error("{path} does not fit its config.json:{}", list(.problems))]
    Weights {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong.
        problems: Vec<String>,
    },
    /// A file of tensors does not hold the table that is looked for.
    #[error("{path}: {reason}")]
    Table {
        /// The file.
        path: PathBuf,
        /// What was expected and what there is.
        reason: String,
    },
}

fn list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}

impl ModelError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
