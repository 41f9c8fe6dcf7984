//! Where data lies: a file, a file inside a zip archive (`set.zip!/train.csv`), a list inside a JSON document
//! (`all.json#/train`, a JSON pointer), or both (`set.zip!/all.json#/train`).
//!
//! A name that exists as it stands is never taken apart.

use std::path::{Path, PathBuf};

const MEMBER: &str = "!/";
const POINTER: &str = "#/";

/// A path taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file or folder on disk.
    pub file: PathBuf,
    /// The name of a file inside it, where it is an archive.
    pub member: Option<String>,
    /// The JSON pointer of a list inside the document, with its first `/`.
    pub pointer: Option<String>,
}

impl Place {
    /// Takes a path apart, unless there is something of that name.
    pub fn of(path: &Path) -> Self {
        match path.to_str() {
            Some(text) if !path.exists() => Self::parse(text),
            _ => Self { file: path.to_owned(), member: None, pointer: None },
        }
    }

    /// Takes a name apart, whatever there is.
    pub fn parse(text: &str) -> Self {
        let (rest, pointer) = match text.split_once(POINTER) {
            Some((rest, pointer)) => (rest, Some(format!("/{pointer}"))),
            None => (text, None),
        };
        let (file, member) = match rest.split_once(MEMBER) {
            Some((file, member)) => (file, Some(member.to_owned())),
            None => (rest, None),
        };
        Self { file: PathBuf::from(file), member, pointer }
    }

    /// The name that says what is inside: without folders, and without `.gz` or `.zst`.
    pub fn file_name(&self) -> String {
        let name = match &self.member {
            Some(member) => member.rsplit('/').next().unwrap_or_default().to_owned(),
            None => self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        };
        let unpacked = super::packed::ENDINGS.iter().find_map(|ending| {
            let (stem, found) = name.rsplit_once('.')?;
            (found == *ending).then(|| stem.to_owned())
        });
        unpacked.unwrap_or(name)
    }

    /// The extension of [`Place::file_name`] in lower case; empty where there is none.
    pub fn extension(&self) -> String {
        let name = self.file_name();
        Path::new(&name).extension().map(|ext| ext.to_string_lossy().to_lowercase()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_archives_and_pointers_apart() {
        let place = Place::of(Path::new("a/set.zip!/in/all.JSON.gz#/data/train"));
        assert_eq!(place.file, Path::new("a/set.zip"));
        assert_eq!(place.member.as_deref(), Some("in/all.JSON.gz"));
        assert_eq!(place.pointer.as_deref(), Some("/data/train"));
        assert_eq!((place.file_name().as_str(), place.extension().as_str()), ("all.JSON", "json"));
        let plain = Place::of(Path::new("b/train.csv"));
        assert_eq!(plain, Place { file: "b/train.csv".into(), member: None, pointer: None });
    }

    #[test]
    fn a_file_of_that_name_is_itself() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("odd#/a.txt");
        std::fs::create_dir(dir.path().join("odd#")).expect("folder");
        std::fs::write(&path, "x").expect("write");
        assert_eq!(Place::of(&path).file, path);
    }
}
