//! Data-set manifests: one TOML file says what a set is, where it comes from, which files it has and how to read them.
//!
//! Files are looked for in the folder given, in `$LOCUS_DATA`, in the user's cache, and among the project's own samples,
//! in this order, at `<folder>/<path>`. The caller passes the folders in; nothing here reads the environment. A file
//! whose sha256 is not the manifest's is refused.

mod fetch;
mod files;

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

pub use fetch::{Fetched, Opened, fetch};
pub use files::{Files, Lookup, PublicFile, Sha256Sum, SplitFile, sha256_of, verify};

use crate::error::did_you_mean;
use crate::labels::each_label;
use crate::split::{Part, Shares, split};
use crate::{
    Columns, DataError, Examples, FileProblems, Format, Kind, Place, Problem, ReadOptions, Splits, read,
};
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
    /// Candidates of queries: [`Kind::Ranked`].
    Rank,
    /// Nothing that is read here yet: dialogues, vocabularies. The set can be listed, fetched and verified.
    Other,
}

impl Task {
    /// The kind of its examples; none where they cannot be read.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Ner => Some(Kind::Tagged),
            Self::Classify => Some(Kind::Labelled),
            Self::Multilabel => Some(Kind::MultiLabelled),
            Self::Regression => Some(Kind::Scored),
            Self::Lm => Some(Kind::Text),
            Self::Seq2seq => Some(Kind::Pairs),
            Self::Qa => Some(Kind::Qa),
            Self::Rank => Some(Kind::Ranked),
            Self::Other => None,
        }
    }

    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ner => "ner",
            Self::Classify => "classify",
            Self::Multilabel => "multilabel",
            Self::Regression => "regression",
            Self::Lm => "lm",
            Self::Seq2seq => "seq2seq",
            Self::Qa => "qa",
            Self::Rank => "rank",
            Self::Other => "other",
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
    /// The address below which the source has its files, at one commit; unset where files name their own, or have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How they are laid out; unset where they cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
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
    /// How they are encoded; unset: UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// What stands between several labels in one field; unset: a comma.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_separator: Option<String>,
    /// What is taken off the ends of each line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strip: Vec<String>,
    /// Where things stand in a row.
    #[serde(default)]
    pub columns: Columns,
    /// The files of each part. A set without dev has one cut from train by hash, and a test part too if it has neither.
    #[serde(default)]
    pub splits: BTreeMap<Part, Files>,
    /// Files that belong to the set and are not read: its licence, what its parts were made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SplitFile>,
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

    /// How a file of it is read.
    pub fn options(&self, file: &SplitFile) -> ReadOptions {
        ReadOptions {
            format: self.format,
            kind: self.task.kind(),
            columns: file.columns.clone().unwrap_or_else(|| self.columns.clone()),
            header: self.header,
            quotes: self.quotes,
            scheme: self.scheme,
            encoding: self.encoding.clone(),
            label: file.label.clone(),
            label_separator: self.label_separator.clone(),
            strip: self.strip.clone(),
            known_faults: file.known_faults,
            // A file may write classes as numbers; it cannot do so with types that lack their prefix.
            labels: if matches!(self.task, Task::Classify | Task::Multilabel) {
                self.labels.clone()
            } else {
                Vec::new()
            },
            skip_examples: self.skip_examples.clone(),
        }
    }

    /// Reads every part. A set without dev has one cut from train by hash, and a test part too if it lacks both.
    ///
    /// # Errors
    /// If a file is missing, changed or wrong anywhere, or a label is not one of the manifest's.
    pub fn read_all(&self, lookup: &Lookup) -> Result<Splits, DataError> {
        if self.task.kind().is_none() {
            return Err(DataError::Argument(format!(
                "data set `{}` can be listed, fetched and verified, but nothing here reads its kind of examples yet",
                self.name
            )));
        }
        let mut splits = Splits::new();
        for &part in self.splits.keys() {
            splits.insert(part, self.read_part(part, lookup)?);
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

    /// Reads the files of one part, checks their sums, their counts and their labels.
    ///
    /// # Errors
    /// As [`Manifest::read_all`]; also if the manifest names no file for the part.
    pub fn read_part(&self, part: Part, lookup: &Lookup) -> Result<Examples, DataError> {
        let files = self.splits.get(&part).map(|files| files.0.as_slice()).unwrap_or_default();
        let mut all: Option<Examples> = None;
        for file in files {
            let examples = self.read_file(file, lookup)?;
            match &mut all {
                Some(all) => all.append(examples)?,
                None => all = Some(examples),
            }
        }
        all.ok_or_else(|| {
            let have: Vec<&str> = self.splits.keys().map(|part| part.name()).collect();
            DataError::Argument(format!(
                "data set `{}` has no file for {part}; it has {}",
                self.name,
                have.join(", ")
            ))
        })
    }

    fn read_file(&self, file: &SplitFile, lookup: &Lookup) -> Result<Examples, DataError> {
        let path = lookup.find(&self.name, &file.path)?;
        if let Some(sum) = &file.sha256 {
            verify(&Place::of(&path).file, sum)?;
        }
        let examples = read(&path, &self.options(file))?;
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

    /// Every file of the set once, with the address that its source has it at.
    pub fn public_files(&self) -> Vec<PublicFile> {
        let listed = self.splits.values().flat_map(|files| &files.0).chain(&self.files);
        let mut files: Vec<PublicFile> = Vec::new();
        for file in listed.flat_map(|file| file.public(self.url.as_deref())) {
            if !files.iter().any(|known| known.path == file.path) {
                files.push(file);
            }
        }
        files
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
        if self.task == Task::Other {
            if self.files.is_empty() || !self.splits.is_empty() || self.format.is_some() {
                problems.push("task `other` has `files`, and neither `splits` nor `format`".to_owned());
            }
        } else if self.splits.is_empty() {
            problems.push("`splits` needs at least one part".to_owned());
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
        let split = self
            .splits
            .iter()
            .flat_map(|(part, files)| files.0.iter().map(move |file| (format!("splits.{part}"), file)));
        let listed = self.files.iter().map(|file| ("files".to_owned(), file));
        for (key, file) in split.chain(listed) {
            if file.public(self.url.as_deref()).iter().any(|file| !is_below(&file.path)) {
                problems
                    .push(format!("`{key}.path` is {:?}; expected a path below the data folder", file.path));
            }
            for (name, sum) in file.sha256.iter().flat_map(Sha256Sum::files) {
                let name = if name.is_empty() { name } else { format!(".{name}") };
                if sum.len() != 64 || !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    problems.push(format!("`{key}.sha256{name}` is {sum:?}; expected 64 hexadecimal digits"));
                }
            }
        }
        problems
    }
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
            manifest.read_part(Part::Train, &lookup).expect_err("missing").to_string(),
            "data set `pets`: `pets/train.csv` not found; looked at a/pets/train.csv, b/pets/train.csv. \
             Give the folder that holds it with --data-dir or $LOCUS_DATA, or bring it with `locus data fetch pets`"
        );
        let error = manifest.read_part(Part::Dev, &lookup).expect_err("no dev").to_string();
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
        let error = parse_error(&PETS.replace("\npath", "\npaht"));
        assert!(error.contains("unknown field `paht`"), "{error}");
        let error = parse_error(&PETS.replace("train]", "trian]"));
        assert!(error.contains("unknown variant `trian`"), "{error}");
        assert!(parse_error(&PETS.replace("[columns]", "[columns")).contains("line 10"));
    }

    #[test]
    fn a_part_may_have_several_files_each_with_its_label() {
        let text = r#"
name = "mood"
task = "classify"
language = ["en"]
licence = "CC0-1.0"
source = "written for this test"
format = "lines"
labels = ["bad", "good"]
[[splits.train]]
path = "mood/good.txt"
label = "good"
[[splits.train]]
path = "mood/bad.txt"
label = "bad"
[splits.dev]
path = "mood/good.txt"
label = "godo"
"#;
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(dir.path().join("mood")).expect("folder");
        std::fs::write(dir.path().join("mood/good.txt"), "fine\n\nwell\n").expect("write");
        std::fs::write(dir.path().join("mood/bad.txt"), "ill\n").expect("write");
        let lookup = Lookup { env: Some(dir.path().to_owned()), ..Lookup::default() };
        let manifest = Manifest::parse("mood.toml", text).expect("valid");
        let Ok(Examples::Labelled(list)) = manifest.read_part(Part::Train, &lookup) else {
            panic!("labelled")
        };
        let labels: Vec<&str> = list.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(labels, ["good", "good", "bad"]);
        let error = manifest.read_part(Part::Dev, &lookup).expect_err("misspelt").to_string();
        assert!(error.contains("label `godo` is not among") && error.contains("`good`?"), "{error}");
    }

    #[test]
    fn a_set_that_cannot_be_read_says_so() {
        let text = "name = \"ratings\"\ntask = \"other\"\nlanguage = []\nlicence = \"x\"\nsource = \"y\"\n";
        assert!(parse_error(text).contains("task `other` has `files`"));
        let manifest =
            Manifest::parse("r.toml", &format!("{text}[[files]]\npath = \"r/a.csv\"\n")).expect("valid");
        let error = manifest.read_all(&Lookup::default()).expect_err("unread").to_string();
        assert!(error.contains("`ratings` can be listed, fetched and verified"), "{error}");
    }
}
