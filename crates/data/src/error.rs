//! Everything that can go wrong between a file on disk and a padded batch.
//!
//! A message says where (file:line), what was expected, what was found, and what to do. The problems of one file are
//! collected and reported together, so that a user fixes a file once and not line by line.

use std::fmt;
use std::path::{Path, PathBuf};

/// How many problems of one file are written out; the rest is counted.
pub const MAX_LISTED_PROBLEMS: usize = 20;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file is not there.
    #[error("{}: no such file{hint}", path.display())]
    NoSuchFile {
        /// The path that was asked for.
        path: PathBuf,
        /// The nearest name in that folder, as a sentence, or nothing.
        hint: String,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// What was being done: `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file was read, and what it holds is wrong.
    #[error("{0}")]
    File(FileProblems),
    /// It cannot be told how a file is to be read.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is unclear and which keys decide it.
        message: String,
    },
    /// A manifest is wrong; all its problems together.
    #[error("manifest {origin}: {}", problems.join("; "))]
    Manifest {
        /// Where the text came from.
        origin: String,
        /// One sentence for each problem.
        problems: Vec<String>,
    },
    /// A file of a manifest lies in none of the places.
    #[error("{}", not_found(name, path, searched))]
    NotFound {
        /// The data set.
        name: String,
        /// The file's path inside the data folder.
        path: String,
        /// Every place looked at, in order.
        searched: Vec<PathBuf>,
    },
    /// A file is not the one that the manifest names.
    #[error("{}: sha256 is {found}, the manifest says {expected}; fetch the file again or correct the manifest", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The manifest's sum.
        expected: String,
        /// The file's sum.
        found: String,
    },
    /// A tokenizer could not be built, trained, loaded or applied.
    #[error("tokenizer: {what}")]
    Tokenizer {
        /// What was being done.
        what: String,
        /// The tokenizer library's reason, where it has one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A token id that the model has no row for.
    #[error(
        "item {item}, position {position}: token id {id} is outside the vocabulary of {vocab_size}; \
         the text was tokenised with another tokenizer than the model's"
    )]
    IdOutOfRange {
        /// Which item of the batch.
        item: usize,
        /// Which position in it.
        position: usize,
        /// The id found.
        id: u32,
        /// Ids must be below this.
        vocab_size: usize,
    },
    /// The items of one batch do not fit together.
    #[error("batch: {0}")]
    Batch(String),
    /// A label that is not in the label set.
    #[error("unknown label `{found}`{hint}; known are {}", known.join(", "))]
    UnknownLabel {
        /// The label found.
        found: String,
        /// The nearest known one, as a sentence, or nothing.
        hint: String,
        /// The known labels.
        known: Vec<String>,
    },
    /// An argument outside its range.
    #[error("{0}")]
    Argument(String),
}

/// One problem in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; 0 where the problem is the file's as a whole.
    pub line: usize,
    /// What was expected and what was found.
    pub message: String,
}

/// The problems of one file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblems {
    /// The file.
    pub path: PathBuf,
    /// The first [`MAX_LISTED_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub more: usize,
}

impl fmt::Display for FileProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.problems.len() + self.more;
        let (indent, mut separator) = if total > 1 {
            write!(f, "{}: {total} problems", self.path.display())?;
            ("  ", "\n")
        } else {
            ("", "")
        };
        for Problem { line, message } in &self.problems {
            let place = if *line == 0 { String::new() } else { format!(":{line}") };
            write!(f, "{separator}{indent}{}{place}: {message}", self.path.display())?;
            separator = "\n";
        }
        if self.more > 0 {
            write!(f, "\n  and {} more", self.more)?;
        }
        Ok(())
    }
}

/// Collects the problems of one file while it is read.
pub(crate) struct Problems(FileProblems);

impl Problems {
    pub(crate) fn new(path: &Path) -> Self {
        Self(FileProblems { path: path.to_owned(), problems: Vec::new(), more: 0 })
    }

    pub(crate) fn at(&mut self, line: usize, message: impl Into<String>) {
        if self.0.problems.len() < MAX_LISTED_PROBLEMS {
            self.0.problems.push(Problem { line, message: message.into() });
        } else {
            self.0.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.problems.is_empty()
    }

    /// The value, if there was no problem.
    pub(crate) fn finish<T>(mut self, value: T) -> Result<T, DataError> {
        self.0.problems.sort_by_key(|problem| problem.line);
        if self.0.problems.is_empty() { Ok(value) } else { Err(DataError::File(self.0)) }
    }

    /// One problem and nothing else.
    pub(crate) fn only(path: &Path, line: usize, message: impl Into<String>) -> DataError {
        let mut problems = Self::new(path);
        problems.at(line, message);
        DataError::File(problems.0)
    }
}

/// `; did you mean …?` for the name nearest to `wanted`, or nothing where none is near.
pub(crate) fn did_you_mean<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// The error for a file that is not there, with the nearest name in its folder.
pub(crate) fn no_such_file(path: &Path) -> DataError {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let hint = if folder.is_dir() {
        did_you_mean(&wanted, names.iter().map(String::as_str))
    } else {
        format!("; the folder {} does not exist either", folder.display())
    };
    DataError::NoSuchFile { path: path.to_owned(), hint }
}

/// Wraps a system error; a missing file becomes [`DataError::NoSuchFile`].
pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> DataError {
    if source.kind() == std::io::ErrorKind::NotFound && action == "read" {
        return no_such_file(path);
    }
    DataError::Io { action, path: path.to_owned(), source }
}

fn not_found(name: &str, path: &str, searched: &[PathBuf]) -> String {
    let places = match searched {
        [] => "no data folder is known".to_owned(),
        _ => format!(
            "looked at {}",
            searched.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
        ),
    };
    format!(
        "data set `{name}`: `{path}` not found; {places}. \
         Give the folder that holds it with --data-dir or $LOCUS_DATA, or bring it with `locus data fetch {name}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_problem_is_one_line_and_many_are_listed_and_counted() {
        let one = Problems::only(Path::new("a.txt"), 3, "expected 2 columns, found 1");
        assert_eq!(one.to_string(), "a.txt:3: expected 2 columns, found 1");

        let mut many = Problems::new(Path::new("a.txt"));
        for line in 1..=23 {
            many.at(line, "bad");
        }
        let text = many.finish(()).expect_err("23 problems").to_string();
        assert!(text.starts_with("a.txt: 23 problems\n  a.txt:1: bad\n"), "{text}");
        assert!(text.ends_with("a.txt:20: bad\n  and 3 more"), "{text}");
    }

    #[test]
    fn a_missing_file_names_the_nearest() {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::write(dir.path().join("train.conll"), "x").expect("write");
        let error = no_such_file(&dir.path().join("trian.conll")).to_string();
        assert!(error.ends_with("did you mean `train.conll`?"), "{error}");
    }
}
