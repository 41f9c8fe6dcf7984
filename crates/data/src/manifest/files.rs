//! The files of a set: where they lie, what their sums are, where their source has them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::no_such_file;
use crate::{Columns, DataError, Place};

/// A file or folder of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitFile {
    /// Its path below the data folder; `!/` leads into an archive, `#/` to a list in a JSON document.
    pub path: String,
    /// Its sum; an archive's or a document's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Sum>,
    /// How many examples it holds, not counted where examples are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// The label of all its examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where things stand in a row, where that differs from the set's other files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// How many faults of it are known and put up with, as [`ReadOptions::known_faults`](crate::ReadOptions) says.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub known_faults: usize,
    /// Where the source has it: an address, or a path below the set's `url`. Unset: its path without the first folder.
    /// `archive.zip!/name` is a file inside an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A part's files, in order; a single one may stand without brackets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Files(pub Vec<SplitFile>);

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Files;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a file, or a list of files")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Files, A::Error> {
                Ok(Files(vec![SplitFile::deserialize(MapAccessDeserializer::new(map))?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Files, A::Error> {
                Ok(Files(Vec::deserialize(SeqAccessDeserializer::new(seq))?))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// One file as its source has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicFile {
    /// Its path below the data folder.
    pub path: String,
    /// Its address; none where it is public nowhere.
    pub url: Option<String>,
    /// Its sum, in hexadecimal.
    pub sha256: Option<String>,
}

impl SplitFile {
    /// The file, or every file of the folder; `base` is the set's address.
    pub(super) fn public(&self, base: Option<&str>) -> Vec<PublicFile> {
        let place = Place::parse(&self.path);
        let path = place.file.to_string_lossy().into_owned();
        let below = |path: &str| path.split_once('/').map_or(path, |(_, rest)| rest).to_owned();
        let own = self.url.clone().unwrap_or_else(|| below(&path));
        let url = match base {
            _ if own.contains("://") => Some(own),
            Some(base) => Some(format!("{}/{own}", base.trim_end_matches('/'))),
            None => None,
        };
        let Some(sum) = &self.sha256 else { return vec![PublicFile { path, url, sha256: None }] };
        let join = |start: &str, name: &str| {
            if name.is_empty() { start.to_owned() } else { format!("{start}/{name}") }
        };
        sum.files()
            .into_iter()
            .map(|(name, sum)| PublicFile {
                path: join(&path, &name),
                url: url.as_ref().map(|url| join(url, &name)),
                sha256: Some(sum.to_lowercase()),
            })
            .collect()
    }
}

/// The sum of a file, or of each file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sha256Sum {
    /// Of one file, in hexadecimal.
    File(String),
    /// Of a folder's files, by name.
    Folder(BTreeMap<String, String>),
}

/// Where files are looked for, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lookup {
    /// What the user gave: `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// The value of `$LOCUS_DATA`.
    pub env: Option<PathBuf>,
    /// The user's cache.
    pub cache: Option<PathBuf>,
    /// The project's own samples: `datasets/`.
    pub samples: Option<PathBuf>,
}

impl Lookup {
    /// The file or folder at `path` below the first folder that has it.
    ///
    /// # Errors
    /// If none has it; the message lists every place.
    pub fn find(&self, name: &str, path: &str) -> Result<PathBuf, DataError> {
        let searched: Vec<PathBuf> = [&self.data_dir, &self.env, &self.cache, &self.samples]
            .into_iter()
            .flatten()
            .map(|folder| folder.join(path))
            .collect();
        match searched.iter().find(|place| Place::of(place).file.exists()) {
            Some(found) => Ok(found.clone()),
            None => Err(DataError::NotFound { name: name.to_owned(), path: path.to_owned(), searched }),
        }
    }
}

impl Sha256Sum {
    /// The sums with their names in the folder; no name for a single file.
    pub(super) fn files(&self) -> Vec<(String, &str)> {
        match self {
            Self::File(sum) => vec![(String::new(), sum)],
            Self::Folder(sums) => sums.iter().map(|(name, sum)| (name.clone(), sum.as_str())).collect(),
        }
    }
}

/// Compares the sums of a file, or of a folder's files, with the manifest's.
///
/// # Errors
/// If one cannot be read or differs.
pub fn verify(path: &Path, sum: &Sha256Sum) -> Result<(), DataError> {
    match sum {
        Sha256Sum::File(expected) => verify_file(path, expected),
        Sha256Sum::Folder(sums) => {
            sums.iter().try_for_each(|(name, expected)| verify_file(&path.join(name), expected))
        }
    }
}

/// The sha256 of a file in lower-case hexadecimal.
///
/// # Errors
/// If it cannot be read.
pub fn sha256_of(path: &Path) -> Result<String, DataError> {
    if !path.exists() {
        return Err(no_such_file(path));
    }
    let mut digest = Sha256::new();
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut digest))
        .map_err(|error| crate::error::io("read", path, error))?;
    Ok(hex(digest))
}

/// A digest in lower-case hexadecimal.
pub(super) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn verify_file(path: &Path, expected: &str) -> Result<(), DataError> {
    let found = sha256_of(path)?;
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(DataError::Checksum { path: path.to_owned(), expected: expected.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_an_address_below_the_set_or_of_their_own() {
        let file = |path: &str, url: Option<&str>| SplitFile {
            path: path.into(),
            url: url.map(str::to_owned),
            sha256: Some(Sha256Sum::File("AB".into())),
            examples: None,
            label: None,
            columns: None,
            known_faults: 0,
        };
        let address = |file: SplitFile, base: Option<&str>| file.public(base).remove(0).url;
        let base = Some("https://example.org/c/");
        assert_eq!(
            address(file("set/in/a.csv", None), base).as_deref(),
            Some("https://example.org/c/in/a.csv")
        );
        assert_eq!(
            address(file("set/a.json#/dev", None), base).as_deref(),
            Some("https://example.org/c/a.json")
        );
        assert_eq!(
            address(file("set/a", Some("z.zip!/b")), base).as_deref(),
            Some("https://example.org/c/z.zip!/b")
        );
        assert_eq!(address(file("set/a", Some("http://x/y")), None).as_deref(), Some("http://x/y"));
        assert_eq!(address(file("set/a", None), None), None);
        let folder = SplitFile {
            sha256: Some(Sha256Sum::Folder([("seq.in".to_owned(), "AB".to_owned())].into())),
            ..file("set/train", None)
        };
        let public = PublicFile {
            path: "set/train/seq.in".into(),
            url: Some("https://example.org/c/train/seq.in".into()),
            sha256: Some("ab".into()),
        };
        assert_eq!(folder.public(base), [public]);
    }
}
