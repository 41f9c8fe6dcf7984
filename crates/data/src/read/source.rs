//! A text file in memory: unpacked, decoded, lines numbered.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::encoding::decode;
use super::packed::unpacked;
use super::place::Place;
use crate::DataError;
use crate::error::{did_you_mean, io, no_such_file};

/// The most bytes that are unpacked from one file: an archive of a few kilobytes can hold terabytes of zeros.
const MAX_UNPACKED: u64 = 4 << 30;

/// A whole file.
pub(crate) struct Source {
    /// As the user wrote it.
    pub(crate) path: PathBuf,
    /// Its name taken apart.
    pub(crate) place: Place,
    /// Lines end with `\n`.
    pub(crate) text: String,
}

impl Source {
    /// Reads a file in UTF-8; it must hold something.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        Self::open_as(path, None)
    }

    /// Reads a file in an encoding.
    pub(crate) fn open_as(path: &Path, encoding: Option<&str>) -> Result<Self, DataError> {
        let place = place_of(path)?;
        let text = decode(path, read_bytes(path, &place)?, encoding)?;
        if text.trim().is_empty() {
            return Err(DataError::Format { path: path.to_owned(), message: "the file is empty".into() });
        }
        Ok(Self { path: path.to_owned(), place, text })
    }

    /// Lines without their ends, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

/// The path taken apart. An archive that holds one file stands for that file.
///
/// # Errors
/// If it is an archive of several files, or none that can be read.
pub(crate) fn place_of(path: &Path) -> Result<Place, DataError> {
    let place = Place::of(path);
    if place.member.is_some() || !has_extension(&place.file, "zip") || !place.file.is_file() {
        return Ok(place);
    }
    let archive = open_archive(&place.file)?;
    let names = names_in(&archive);
    let [name] = names[..] else {
        let file = place.file_name();
        let shown = match &names[..] {
            [] => "no files".to_owned(),
            [first, ..] => format!("{}; say which is meant: `{file}!/{first}`", listed(&names)),
        };
        return Err(DataError::Format {
            path: path.to_owned(),
            message: format!("the archive holds {shown}"),
        });
    };
    Ok(Place { member: Some(name.to_owned()), ..place })
}

/// The bytes of a file, out of its archive and unpacked.
pub(crate) fn read_bytes(path: &Path, place: &Place) -> Result<Vec<u8>, DataError> {
    with_reader(path, place, |reader, is_packed| {
        if is_packed {
            return unpack(path, reader, MAX_UNPACKED);
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| io("read", path, error))?;
        Ok(bytes)
    })
}

/// Reads a file from its start, out of its archive and unpacked; the second argument of `read` says whether it was packed.
pub(crate) fn with_reader<T>(
    path: &Path,
    place: &Place,
    read: impl FnOnce(&mut dyn Read, bool) -> Result<T, DataError>,
) -> Result<T, DataError> {
    let Some(member) = &place.member else {
        let file = BufReader::new(open_file(&place.file)?);
        return match unpacked(&place.file, file) {
            Ok(mut unpacked) => read(&mut unpacked, true),
            Err(mut file) => read(&mut file, false),
        };
    };
    let wrong = |message: String| DataError::Format { path: path.to_owned(), message };
    let mut archive = open_archive(&place.file)?;
    let index = archive.index_for_name(member).ok_or_else(|| {
        let names = names_in(&archive);
        let hint = did_you_mean(member, names.iter().copied());
        wrong(format!("the archive has no `{member}`{hint}; it holds {}", listed(&names)))
    })?;
    let inner = archive.by_index(index).map_err(|error| wrong(error.to_string()))?;
    match unpacked(Path::new(member), BufReader::new(inner)) {
        Ok(mut unpacked) => read(&mut unpacked, true),
        Err(mut inner) => read(&mut inner, true),
    }
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

fn open_file(path: &Path) -> Result<File, DataError> {
    if !path.exists() {
        return Err(no_such_file(path));
    }
    File::open(path).map_err(|error| io("read", path, error))
}

fn open_archive(path: &Path) -> Result<ZipArchive<BufReader<File>>, DataError> {
    ZipArchive::new(BufReader::new(open_file(path)?))
        .map_err(|error| DataError::Format { path: path.to_owned(), message: error.to_string() })
}

/// The files of an archive, without folders and what macOS adds.
fn names_in(archive: &ZipArchive<BufReader<File>>) -> Vec<&str> {
    archive.file_names().filter(|name| !name.ends_with('/') && !name.starts_with("__MACOSX/")).collect()
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(10).copied().collect::<Vec<_>>().join(", ");
    let more = if names.len() > 10 { format!(" and {} more", names.len() - 10) } else { String::new() };
    shown + &more
}

fn unpack(path: &Path, packed: impl Read, limit: u64) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let wrong = |message: String| DataError::Format { path: path.to_owned(), message };
    packed
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(format!("cannot be unpacked: {error}")))?;
    if bytes.len() as u64 > limit {
        let limit = limit >> 20;
        return Err(wrong(format!("holds more than {limit} MiB; unpack it and give the file itself")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{Examples, ReadOptions, read};

    fn gz(text: &str) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).expect("pack");
        packed.finish().expect("pack")
    }

    fn read_at(path: &Path) -> Result<Examples, String> {
        read(path, &ReadOptions::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_an_error() {
        for text in ["", "\n\r\n", "\u{FEFF}"] {
            let error = crate::read::testing::read_text("a.csv", text, &ReadOptions::default());
            assert_eq!(error.expect_err("empty"), "a.csv: the file is empty");
        }
    }

    #[test]
    fn reads_packed_files_and_files_in_archives() {
        let dir = tempfile::tempdir().expect("temp dir");
        let table = "text,label\nfine,good\n";
        std::fs::write(dir.path().join("a.csv"), table).expect("write");
        let plain = read_at(&dir.path().join("a.csv")).expect("reads");
        std::fs::write(dir.path().join("b.csv.gz"), gz(table)).expect("write");
        assert_eq!(read_at(&dir.path().join("b.csv.gz")).as_ref(), Ok(&plain));
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zst = ruzstd::encoding::compress_to_vec(table.as_bytes(), level);
        std::fs::write(dir.path().join("b.csv.zst"), zst).expect("write");
        assert_eq!(read_at(&dir.path().join("b.csv.zst")).as_ref(), Ok(&plain));

        let mut archive = zip::ZipWriter::new(File::create(dir.path().join("c.zip")).expect("create"));
        let options = zip::write::SimpleFileOptions::default();
        for (name, bytes) in [("in/a.csv", table.as_bytes()), ("in/b.csv.gz", &gz(table))] {
            archive.start_file(name, options).expect("member");
            archive.write_all(bytes).expect("member");
        }
        archive.finish().expect("archive");
        for name in ["c.zip!/in/a.csv", "c.zip!/in/b.csv.gz"] {
            assert_eq!(read_at(&dir.path().join(name)).as_ref(), Ok(&plain), "{name}");
        }
        let error = read_at(&dir.path().join("c.zip")).expect_err("two files");
        assert!(
            error.ends_with("the archive holds in/a.csv, in/b.csv.gz; say which is meant: `c.zip!/in/a.csv`"),
            "{error}"
        );
        let error = read_at(&dir.path().join("c.zip!/in/a.cvs")).expect_err("no such member");
        assert!(
            error.ends_with(
                "the archive has no `in/a.cvs`; did you mean `in/a.csv`?; it holds in/a.csv, in/b.csv.gz"
            ),
            "{error}"
        );
        let error = read_at(&dir.path().join("d.zip!/a.csv")).expect_err("no archive");
        assert!(error.ends_with("d.zip: no such file; did you mean `c.zip`?"), "{error}");
        let error = read_at(&dir.path().join("a.csv!/b")).expect_err("no archive");
        assert!(error.contains("a.csv: ") && error.to_lowercase().contains("zip"), "{error}");
    }

    #[test]
    fn an_archive_of_one_file_is_that_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let zip = |name: &str, members: &[&str]| {
            let mut archive = zip::ZipWriter::new(File::create(dir.path().join(name)).expect("create"));
            archive.add_directory("in/", zip::write::SimpleFileOptions::default()).expect("folder");
            for member in members {
                archive.start_file(*member, zip::write::SimpleFileOptions::default()).expect("member");
                archive.write_all(b"text,label\nfine,good\n").expect("member");
            }
            archive.finish().expect("archive");
        };
        zip("one.zip", &["in/a.csv", "__MACOSX/in/._a.csv"]);
        assert!(matches!(read_at(&dir.path().join("one.zip")), Ok(Examples::Labelled(_))));
        zip("none.zip", &[]);
        let error = read_at(&dir.path().join("none.zip")).expect_err("empty");
        assert!(error.ends_with("none.zip: the archive holds no files"), "{error}");
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let bomb = gz(&"0".repeat((3 << 20) + 1));
        let unpacked = |limit| unpack(Path::new("a.gz"), flate2::read::GzDecoder::new(&bomb[..]), limit);
        let error = unpacked(3 << 20).expect_err("a byte too much").to_string();
        assert_eq!(error, "a.gz: holds more than 3 MiB; unpack it and give the file itself");
        assert_eq!(unpacked((3 << 20) + 1).map(|bytes| bytes.len()).ok(), Some((3 << 20) + 1));
        let broken = unpack(Path::new("a.gz"), flate2::read::GzDecoder::new(&bomb[..40]), 1 << 20);
        assert!(broken.expect_err("cut").to_string().starts_with("a.gz: cannot be unpacked"));
    }
}
