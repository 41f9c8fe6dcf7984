//! Data-set manifests: one TOML file says what a set is, where it comes from, which files it has and how to read them.
//!
//! Files are looked for in the folder given, in `$LOCUS_DATA`, in the user's cache, and among the project's own samples,
//! in this order, at `<folder>/<path>`. The caller passes the folders in; nothing here reads the environment. A file
//! whose sha256 is not the manifest's is refused.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{did_you_mean, io, no_such_file};
use crate::labels::each_label;
use crate::split::{Part, Shares, split};
use crate::{Columns, DataError, Examples, FileProblems, Format, Kind, Problem, ReadOptions, Splits, read};
use locus_metrics::tags::TagScheme;

/// What a set is for; decides which kind of examples it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Named entities or slots: [`Kind::Tagged`].
    Ner,
    /// A label for a text or a pair of texts: [`Kind::Labelled`].
    Classify,
    /// Any number of labels for a text or a pair of texts: [`Kind::MultiLabelled`].
    Multilabel,
    /// A number for a text or a pair of texts: [`Kind::Scored`].
    Regression,
    /// Language modelling: [`Kind::Text`].
    Lm,
    /// A text from a text: [`Kind::Pairs`].
    Seq2seq,
    /// An answer out of a context: [`Kind::Qa`].
    Qa,
}

impl Task {
    /// The kind of its examples.
    pub fn kind(self) -> Kind {
        match self {
            Self::Ner => Kind::Tagged,
            Self::Classify => Kind::Labelled,
            Self::Multilabel => Kind::MultiLabelled,
            Self::Regression => Kind::Scored,
            Self::Lm => Kind::Text,
            Self::Seq2seq => Kind::Pairs,
            Self::Qa => Kind::Qa,
        }
    }
}

/// A data set, as its manifest describes it.
///
/// ```
/// let manifest = locus_data::Manifest::parse("pets.toml", r#"
///     name = "pets"
///     task = "classify"
///     language = ["en"]
///     licence = "CC0-1.0"
///     source = "https://example.org/pets"
///     format = "csv"
///     labels = ["cat", "dog"]
///     [splits.train]
///     path = "pets/train.csv"
/// "#)?;
/// assert_eq!(manifest.splits.len(), 1);
/// # Ok::<(), locus_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name, which is also its folder's.
    pub name: String,
    /// What it is for.
    pub task: Task,
    /// Language codes.
    pub language: Vec<String>,
    /// The licence, by its SPDX name where it has one.
    pub licence: String,
    /// Where the files come from.
    pub source: String,
    /// How they are laid out.
    pub format: Format,
    /// Classes, or entity types without prefix, in the order in which a model numbers them. Others are errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Examples with a text or label that is exactly one of these are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_examples: Vec<String>,
    /// Whether a table's first line names its columns; unset: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// Whether a table's fields may be in quotes; unset: in CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotes: Option<bool>,
    /// How entities are spelled; unset: recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<TagScheme>,
    /// Where things stand in a row.
    #[serde(default)]
    pub columns: Columns,
    /// The files of each part.
    pub splits: BTreeMap<Part, SplitFile>,
}

/// One part's file or folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitFile {
    /// Its path below the data folder.
    pub path: String,
    /// Its sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Sum>,
    /// How many examples it holds, not counted where examples are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
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
        match searched.iter().find(|place| place.exists()) {
            Some(found) => Ok(found.clone()),
            None => Err(DataError::NotFound { name: name.to_owned(), path: path.to_owned(), searched }),
        }
    }
}

impl Manifest {
    /// Reads a manifest; `origin` is its file's name for messages.
    ///
    /// # Errors
    /// If it is not TOML, has unknown or missing keys, or keys that contradict each other, all of these together.
    pub fn parse(origin: &str, text: &str) -> Result<Self, DataError> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let problems = vec![format!("line {line}: {}", error.message().replace('\n', " "))];
            DataError::Manifest { origin: origin.to_owned(), problems }
        })?;
        let problems = manifest.problems();
        if problems.is_empty() {
            Ok(manifest)
        } else {
            Err(DataError::Manifest { origin: origin.to_owned(), problems })
        }
    }

    /// How its files are read.
    pub fn options(&self) -> ReadOptions {
        ReadOptions {
            format: Some(self.format),
            kind: Some(self.task.kind()),
            columns: self.columns.clone(),
            header: self.header,
            quotes: self.quotes,
            scheme: self.scheme,
            // A file may write classes as numbers; it cannot do so with types that lack their prefix.
            labels: if matches!(self.task, Task::Classify | Task::Multilabel) {
                self.labels.clone()
            } else {
                Vec::new()
            },
            skip_examples: self.skip_examples.clone(),
            ..ReadOptions::default()
        }
    }

    /// Reads every part. A set without dev has one cut from train by hash, and a test part too if it lacks both.
    ///
    /// # Errors
    /// If a file is missing, changed or wrong anywhere, or a label is not one of the manifest's.
    pub fn read_all(&self, lookup: &Lookup) -> Result<Splits, DataError> {
        let mut splits = Splits::new();
        for &part in self.splits.keys() {
            splits.insert(part, self.read_file(part, lookup)?);
        }
        if !splits.contains_key(&Part::Dev)
            && let Some(train) = splits.remove(&Part::Train)
        {
            let test = if splits.contains_key(&Part::Test) { 0.0 } else { Shares::default().test };
            for (part, examples) in split(&train, Shares { test, ..Shares::default() })? {
                splits.entry(part).or_insert(examples);
            }
        }
        Ok(splits)
    }

    /// Reads the file of one part, checks its sum, its count and its labels.
    ///
    /// # Errors
    /// As [`Manifest::read_all`]; also if the manifest does not name a file for the part.
    pub fn read_file(&self, part: Part, lookup: &Lookup) -> Result<Examples, DataError> {
        let Some(file) = self.splits.get(&part) else {
            let have: Vec<&str> = self.splits.keys().map(|part| part.name()).collect();
            return Err(DataError::Argument(format!(
                "data set `{}` has no file for {part}; it has {}",
                self.name,
                have.join(", ")
            )));
        };
        let path = lookup.find(&self.name, &file.path)?;
        if let Some(sum) = &file.sha256 {
            verify(&path, sum)?;
        }
        let examples = read(&path, &self.options())?;
        if let Some(expected) =
            file.examples.filter(|&n| n != examples.len() && self.skip_examples.is_empty())
        {
            let found = examples.len();
            let message = format!("expected {expected} examples as the manifest says, found {found}");
            return Err(DataError::Format { path, message });
        }
        self.check_labels(&path, &examples)?;
        Ok(examples)
    }

    /// Labels that the manifest does not list.
    fn check_labels(&self, path: &Path, examples: &Examples) -> Result<(), DataError> {
        if self.labels.is_empty() {
            return Ok(());
        }
        let tagged = examples.kind() == Kind::Tagged;
        let name_of = |label: &'_ str| match label.split_once('-') {
            Some((_, name)) if tagged => name.to_owned(),
            _ => label.to_owned(),
        };
        let mut found = FileProblems { path: path.to_owned(), problems: Vec::new(), more: 0 };
        let mut reported = Vec::new();
        for (label, line) in each_label(examples) {
            let name = name_of(label);
            if (tagged && label == "O") || self.labels.contains(&name) || reported.contains(&name) {
                continue;
            }
            let hint = did_you_mean(&name, self.labels.iter().map(String::as_str));
            let message = format!("label `{name}` is not among the manifest's {}{hint}", self.labels.len());
            found.problems.push(Problem { line, message });
            reported.push(name);
        }
        if found.problems.is_empty() { Ok(()) } else { Err(DataError::File(found)) }
    }

    /// One sentence for each contradiction.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (key, value) in [("name", &self.name), ("licence", &self.licence), ("source", &self.source)] {
            if value.trim().is_empty() {
                problems.push(format!("`{key}` is empty"));
            }
        }
        if !self.splits.contains_key(&Part::Train) && !self.splits.contains_key(&Part::Test) {
            problems.push("`splits` needs at least a train or a test part".to_owned());
        }
        for (at, label) in self.labels.iter().enumerate() {
            if label.trim().is_empty() {
                problems.push(format!("`labels` has an empty name at place {at}"));
            } else if self.labels[..at].contains(label) {
                problems.push(format!("`labels` lists `{label}` twice"));
            } else if self.task == Task::Ner
                && (label == "O" || label.starts_with("B-") || label.starts_with("I-"))
            {
                problems.push(format!("`labels` lists `{label}`; expected entity types without prefix"));
            }
        }
        for (part, file) in &self.splits {
            let key = format!("splits.{part}");
            if !is_below(&file.path) {
                problems
                    .push(format!("`{key}.path` is {:?}; expected a path below the data folder", file.path));
            }
            for (name, sum) in file.sha256.iter().flat_map(Sha256Sum::files) {
                if sum.len() != 64 || !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    problems.push(format!("`{key}.sha256{name}` is {sum:?}; expected 64 hexadecimal digits"));
                }
            }
        }
        problems
    }
}

impl Sha256Sum {
    /// The sums with what to add to the key or path: nothing for a single file.
    fn files(&self) -> Vec<(String, &str)> {
        match self {
            Self::File(sum) => vec![(String::new(), sum)],
            Self::Folder(sums) => sums.iter().map(|(name, sum)| (format!(".{name}"), sum.as_str())).collect(),
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
    let bytes = std::fs::read(path).map_err(|error| io("read", path, error))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn verify_file(path: &Path, expected: &str) -> Result<(), DataError> {
    let found = sha256_of(path)?;
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(DataError::Checksum { path: path.to_owned(), expected: expected.to_owned(), found })
}

/// Whether a path stays inside the folder it is joined to.
fn is_below(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PETS: &str = r#"
name = "pets"
task = "classify"
language = ["en"]
licence = "CC0-1.0"
source = "written for this test"
format = "csv"
labels = ["cat", "dog"]

[columns]
text = "said"

[splits.train]
path = "pets/train.csv"
"#;

    /// A folder with the set's only file.
    fn pets(text: &str) -> (tempfile::TempDir, Lookup) {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(dir.path().join("pets")).expect("folder");
        std::fs::write(dir.path().join("pets/train.csv"), text).expect("write");
        let lookup = Lookup { samples: Some(dir.path().to_owned()), ..Lookup::default() };
        (dir, lookup)
    }

    fn parse_error(text: &str) -> String {
        Manifest::parse("pets.toml", text).expect_err("wrong").to_string()
    }

    #[test]
    fn reads_its_file_and_cuts_dev_and_test_from_train() {
        let manifest = Manifest::parse("pets.toml", PETS).expect("valid");
        let rows: String = (0..200).map(|n| format!("meow {n},cat\n")).collect();
        let (_dir, lookup) = pets(&format!("said,label\n{rows}"));
        let splits = manifest.read_all(&lookup).expect("reads");
        let sizes: Vec<usize> = Part::ALL.iter().map(|part| splits[part].len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 200);
        assert!(sizes[0] > 130 && sizes[1] > 5 && sizes[2] > 5, "{sizes:?}");
    }

    #[test]
    fn a_label_that_is_not_listed_has_its_line() {
        let manifest = Manifest::parse("pets.toml", PETS).expect("valid");
        let (_dir, lookup) = pets("said,label\nmeow,cat\nwoof,dogs\nwoof,dogs\n");
        let error = manifest.read_all(&lookup).expect_err("dogs").to_string();
        assert!(
            error.ends_with("train.csv:3: label `dogs` is not among the manifest's 2; did you mean `dog`?"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_lists_every_place_and_the_flag() {
        let manifest = Manifest::parse("pets.toml", PETS).expect("valid");
        let lookup = Lookup { data_dir: Some("a".into()), cache: Some("b".into()), ..Lookup::default() };
        assert_eq!(
            manifest.read_file(Part::Train, &lookup).expect_err("missing").to_string(),
            "data set `pets`: `pets/train.csv` not found; looked at a/pets/train.csv, b/pets/train.csv. \
             Give the folder that holds it with --data-dir or $LOCUS_DATA"
        );
        let error = manifest.read_file(Part::Dev, &lookup).expect_err("no dev").to_string();
        assert_eq!(error, "data set `pets` has no file for dev; it has train");
    }

    #[test]
    fn a_changed_file_or_count_is_refused() {
        let (_dir, lookup) = pets("said,label\nmeow,cat\n");
        let sum = "0".repeat(64);
        let manifest = Manifest::parse("pets.toml", &format!("{PETS}sha256 = \"{sum}\"\n")).expect("valid");
        let error = manifest.read_all(&lookup).expect_err("another sum").to_string();
        assert!(error.contains(&format!("the manifest says {sum}")), "{error}");
        let manifest = Manifest::parse("pets.toml", &format!("{PETS}examples = 2\n")).expect("valid");
        let error = manifest.read_all(&lookup).expect_err("another count").to_string();
        assert!(error.ends_with("expected 2 examples as the manifest says, found 1"), "{error}");
    }

    #[test]
    fn all_problems_of_a_manifest_come_together() {
        let text = PETS
            .replace("\"written for this test\"", "\"\"")
            .replace("\"dog\"", "\"cat\"")
            .replace("pets/train.csv", "../train.csv");
        assert_eq!(
            parse_error(&format!("{text}sha256 = \"12\"\n")),
            "manifest pets.toml: `source` is empty; `labels` lists `cat` twice; \
             `splits.train.path` is \"../train.csv\"; expected a path below the data folder; \
             `splits.train.sha256` is \"12\"; expected 64 hexadecimal digits"
        );
    }

    #[test]
    fn unknown_keys_have_their_line() {
        let error = parse_error(&PETS.replace("licence", "license"));
        assert!(error.starts_with("manifest pets.toml: line 5: unknown field `license`"), "{error}");
        let error = parse_error(&PETS.replace("train]", "trian]"));
        assert!(error.contains("unknown variant `trian`"), "{error}");
        assert!(parse_error(&PETS.replace("[columns]", "[columns")).contains("line 10"));
    }
}
