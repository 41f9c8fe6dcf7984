//! Data-set manifests: one TOML file says what a set is, where it comes from, which files it has and how to read them.
//!
//! Files are looked for in the folder given, in `$LOCUS_DATA`, in the user's cache, and among the project's own samples,
//! in this order; the caller passes these in, nothing here reads the environment. In each of them a file lies at
//! `<set's name>/<path>` or at `<path>`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::io;
use crate::split::{Part, Shares, split};
use crate::{Columns, DataError, Examples, Format, Kind, ReadOptions, read};
use locus_metrics::tags::TagScheme;

/// A data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name; also the name of its folder.
    pub name: String,
}
