//! Fetching the files of a set: each is written beside its place, its sum compared, and only then moved there.
//!
//! How bytes come from an address is the caller's: nothing here knows of networks. A file that is there and right is
//! kept, so a fetch that broke off goes on where it was. What fails does not keep the others from being fetched.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::files::{PublicFile, hex};
use super::{Manifest, sha256_of};
use crate::Place;

/// What became of the files of a set, by their paths below the data folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// There already, with the right sum.
    pub kept: Vec<String>,
    /// Fetched.
    pub fetched: Vec<String>,
    /// Not there: a sentence for each.
    pub problems: Vec<String>,
}

/// The bytes of a file, or why there are none.
pub type Opened = Result<Box<dyn Read>, String>;

/// Brings every file of a set into a data folder. `open` gives the bytes of a file; for one inside an archive
/// (`….zip!/name`) it is asked for the archive, once.
pub fn fetch(manifest: &Manifest, data_dir: &Path, open: &dyn Fn(&PublicFile) -> Opened) -> Fetched {
    let mut report = Fetched::default();
    let mut archives = BTreeMap::new();
    for file in manifest.public_files() {
        let to = data_dir.join(&file.path);
        let is_there = match (&file.sha256, to.exists()) {
            (Some(sum), true) => sha256_of(&to).is_ok_and(|found| found == *sum),
            (None, there) => there,
            _ => false,
        };
        if is_there {
            report.kept.push(file.path);
            continue;
        }
        match bring(&file, &to, open, &mut archives) {
            Ok(()) => report.fetched.push(file.path),
            Err(message) => report.problems.push(format!("{}: {message}", file.path)),
        }
    }
    archives.into_values().flatten().for_each(|archive: PathBuf| drop(fs::remove_file(archive)));
    report
}

/// Archives that were fetched for files inside them, by address; none where that failed.
type Archives = BTreeMap<String, Option<PathBuf>>;

fn bring(
    file: &PublicFile,
    to: &Path,
    open: &dyn Fn(&PublicFile) -> Opened,
    archives: &mut Archives,
) -> Result<(), String> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let part = beside(to, "part");
    let inside = file.url.as_deref().and_then(|url| url.split_once("!/"));
    let mut from: Box<dyn Read> = match inside {
        None => open(file)?,
        Some((url, member)) => {
            if !archives.contains_key(url) {
                let whole = PublicFile { url: Some(url.to_owned()), sha256: None, path: file.path.clone() };
                let archive = beside(to, "archive");
                let written = open(&whole).and_then(|mut bytes| write(&mut bytes, &archive));
                archives.insert(url.to_owned(), written.is_ok().then_some(archive));
                written?;
            }
            let Some(Some(archive)) = archives.get(url) else {
                return Err(format!("its archive {url} was not fetched"));
            };
            let place = Place { file: archive.clone(), member: Some(member.to_owned()), pointer: None };
            let bytes =
                crate::read::source::read_bytes(archive, &place).map_err(|error| error.to_string())?;
            Box::new(io::Cursor::new(bytes))
        }
    };
    let found = write(&mut from, &part)?;
    if let Some(expected) = file.sha256.as_ref().filter(|&sum| *sum != found) {
        drop(fs::remove_file(&part));
        return Err(format!("sha256 is {found}, the manifest says {expected}; the source has changed"));
    }
    fs::rename(&part, to).map_err(|error| format!("cannot write {}: {error}", to.display()))
}

/// Writes everything to a file and returns its sum.
fn write(from: &mut dyn Read, to: &Path) -> Result<String, String> {
    let written = (|| {
        let mut file = File::create(to)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    file.write_all(&buffer[..n])?;
                    digest.update(&buffer[..n]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        file.sync_all()?;
        Ok(hex(digest))
    })();
    written.map_err(|error: io::Error| {
        drop(fs::remove_file(to));
        format!("cannot be fetched: {error}")
    })
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> String {
        hex(Sha256::new().chain_update(bytes))
    }

    fn archive() -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, bytes) in [("m/pos", &b"fine\n"[..]), ("m/neg", b"bad\n")] {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).expect("member");
            archive.write_all(bytes).expect("member");
        }
        archive.finish().expect("archive").into_inner()
    }

    fn manifest() -> Manifest {
        let text = format!(
            r#"
name = "mood"
task = "classify"
language = ["en"]
licence = "CC0-1.0"
source = "written for this test"
url = "http://example.org/c"
format = "lines"
[[splits.train]]
path = "mood/m/pos"
url = "m.zip!/m/pos"
label = "good"
sha256 = "{}"
[[splits.train]]
path = "mood/m/neg"
url = "m.zip!/m/neg"
label = "bad"
sha256 = "{}"
[[files]]
path = "mood/README"
sha256 = "{}"
[[files]]
path = "mood/gone"
sha256 = "{}"
"#,
            sum(b"fine\n"),
            sum(b"bad\n"),
            sum(b"read me"),
            sum(b"gone")
        );
        Manifest::parse("mood.toml", &text).expect("valid")
    }

    #[test]
    fn fetches_what_is_missing_and_reports_all_that_fails() {
        let dir = tempfile::tempdir().expect("temp dir");
        let asked = std::cell::RefCell::new(Vec::new());
        let open = |file: &PublicFile| -> Opened {
            let url = file.url.clone().expect("an address");
            asked.borrow_mut().push(url.clone());
            match url.as_str() {
                "http://example.org/c/m.zip" => Ok(Box::new(io::Cursor::new(archive()))),
                "http://example.org/c/README" => Ok(Box::new(&b"changed"[..])),
                other => Err(format!("{other}: 404")),
            }
        };
        let report = fetch(&manifest(), dir.path(), &open);
        assert_eq!(report.fetched, ["mood/m/pos", "mood/m/neg"]);
        assert_eq!(report.problems.len(), 2);
        assert!(report.problems[0].starts_with("mood/README: sha256 is "), "{:?}", report.problems);
        assert_eq!(report.problems[1], "mood/gone: http://example.org/c/gone: 404");
        assert_eq!(asked.borrow().iter().filter(|url| url.ends_with("m.zip")).count(), 1);
        let names: Vec<_> = fs::read_dir(dir.path().join("mood")).expect("folder").flatten().collect();
        assert_eq!(names.len(), 1, "only m: neither parts nor archives stay, {names:?}");

        fs::write(dir.path().join("mood/m/pos"), "cut").expect("write");
        let again = fetch(&manifest(), dir.path(), &open);
        assert_eq!((again.kept, again.fetched), (vec!["mood/m/neg".into()], vec!["mood/m/pos".into()]));
        let lookup = super::super::Lookup { data_dir: Some(dir.path().to_owned()), ..Default::default() };
        assert_eq!(manifest().read_part(crate::Part::Train, &lookup).map(|list| list.len()).ok(), Some(2));
    }

    #[test]
    fn a_stream_that_breaks_leaves_nothing() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "gone"))
            }
        }
        let dir = tempfile::tempdir().expect("temp dir");
        let report = fetch(&manifest(), dir.path(), &|_| Ok(Box::new(Broken)));
        assert_eq!(report.problems.len(), 4);
        assert_eq!(report.problems[2], "mood/README: cannot be fetched: gone");
        let m: Vec<_> = fs::read_dir(dir.path().join("mood/m")).expect("folder").collect();
        assert!(m.is_empty(), "{m:?}");
    }
}
