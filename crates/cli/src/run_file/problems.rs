//! Problems of a configuration, reported together.

use std::fmt;

/// One problem: which key, what it is, what it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    key: String,
    found: String,
    allowed: String,
}

impl Problem {
    pub(crate) fn new(key: &str, found: impl ToString, allowed: &str) -> Self {
        Self { key: key.to_owned(), found: found.to_string(), allowed: allowed.to_owned() }
    }

    /// A problem where the value does not fit.
    pub(super) fn unless(fits: bool, key: &str, found: impl ToString, allowed: &str) -> Option<Self> {
        (!fits).then(|| Self::new(key, found, allowed))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: expected {}", self.key, self.found, self.allowed)
    }
}

/// All problems of a configuration.
#[derive(Debug)]
pub(crate) struct ConfigErrors {
    pub(crate) origin: String,
    pub(crate) problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.problems.len();
        write!(f, "{} has {n} problem{}", self.origin, if n == 1 { "" } else { "s" })?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for ConfigErrors {}
