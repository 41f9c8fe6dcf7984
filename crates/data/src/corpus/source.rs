//! The records of a source, read one after the other, from any place on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::layout::{Documents, Position, Reading};
use super::open::open_at;
use super::parquet;
use crate::DataError;
use crate::error::{Problems, did_you_mean, io};
use crate::read::place::Place;

/// The longest line, in bytes: a record is held in memory.
const MAX_LINE: u64 = 64 << 20;
/// A document of a text file is given in pieces of about this many bytes, which end at line ends.
const PIECE: usize = 64 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A document, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The line it ends with, or its row, counted from 1.
    pub(super) line: u64,
    /// The text, or the line of JSON that holds it.
    pub(super) text: String,
    /// Whether its document ends with it.
    pub(super) ends: bool,
}

/// How a source is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Text(Documents),
    Jsonl,
    Parquet,
}

enum Stream {
    Bytes(Box<dyn BufRead>),
    Rows(Box<dyn Iterator<Item = Result<String, String>>>),
}

/// A source that is read.
pub(super) struct Records {
    path: PathBuf,
    layout: Layout,
    stream: Stream,
    /// The place after the last record.
    at: Position,
    is_done: bool,
}

impl Records {
    /// A source from a place on.
    pub(super) fn open(path: &Path, reading: &Reading, at: Position) -> Result<Self, DataError> {
        let layout = layout(path, reading.documents)?;
        let stream = match layout {
            Layout::Parquet => Stream::Rows(parquet::rows(path, &reading.column, at.offset)?),
            Layout::Text(_) | Layout::Jsonl => Stream::Bytes(open_at(path, at.offset)?),
        };
        Ok(Self { path: path.to_owned(), layout, stream, at, is_done: false })
    }

    /// The place after the last record; whether tokens of an open document have been written is for the writer to say.
    pub(super) fn position(&self) -> Position {
        self.at
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Records of about `bytes` bytes of text; none at the end.
    pub(super) fn chunk(&mut self, bytes: usize) -> Result<Vec<Record>, DataError> {
        let (mut records, mut n_bytes) = (Vec::new(), 0);
        while n_bytes < bytes && !self.is_done {
            let record = match self.layout {
                Layout::Text(Documents::File | Documents::Paragraph) => self.piece()?,
                Layout::Text(Documents::Line) | Layout::Jsonl => self.line_record()?,
                Layout::Parquet => self.row()?,
            };
            if let Some(record) = record {
                n_bytes += record.text.len();
                records.push(record);
            }
        }
        Ok(records)
    }

    /// A line that is not blank.
    fn line_record(&mut self) -> Result<Option<Record>, DataError> {
        let Some(line) = self.line()? else { return Ok(None) };
        let text = line.trim_end_matches('\n');
        let record = Record { line: self.at.line, text: text.to_owned(), ends: true };
        Ok(Some(record).filter(|record| !record.text.trim().is_empty()))
    }

    /// Lines up to the end of a document, or enough of them.
    fn piece(&mut self) -> Result<Option<Record>, DataError> {
        let mut text = String::new();
        while text.len() < PIECE {
            match self.line()? {
                None => break,
                Some(line) if self.layout == Layout::Text(Documents::Paragraph) && line.trim().is_empty() => {
                    if self.at.in_document || !text.is_empty() {
                        self.at.in_document = false;
                        return Ok(Some(Record { line: self.at.line, text, ends: true }));
                    }
                }
                Some(line) => text += &line,
            }
        }
        let ends = self.is_done;
        let is_nothing = text.is_empty() && !self.at.in_document;
        self.at.in_document = !ends;
        Ok((!is_nothing).then_some(Record { line: self.at.line, text, ends }))
    }

    /// The next line with its end, which is `\n`.
    fn line(&mut self) -> Result<Option<String>, DataError> {
        let Stream::Bytes(stream) = &mut self.stream else { return Ok(None) };
        let mut bytes = Vec::new();
        let n = stream
            .take(MAX_LINE + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|error| io("read", &self.path, error))? as u64;
        if n == 0 {
            self.is_done = true;
            return Ok(None);
        }
        let line = self.at.line + 1;
        if n > MAX_LINE {
            let message = format!("a line of more than {} MiB; break it up", MAX_LINE >> 20);
            return Err(self.wrong(line, message));
        }
        if self.at.offset == 0 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        self.at.offset += n;
        self.at.line = line;
        if bytes.ends_with(b"\r\n") {
            bytes.truncate(bytes.len() - 2);
            bytes.push(b'\n');
        }
        String::from_utf8(bytes).map(Some).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let found = error.as_bytes().get(at).copied().unwrap_or_default();
            let message =
                format!("byte {}: expected UTF-8, found 0x{found:02X}; save the file as UTF-8", at + 1);
            self.wrong(line, message)
        })
    }

    fn row(&mut self) -> Result<Option<Record>, DataError> {
        let Stream::Rows(rows) = &mut self.stream else { return Ok(None) };
        let Some(row) = rows.next() else {
            self.is_done = true;
            return Ok(None);
        };
        self.at.offset += 1;
        self.at.line += 1;
        let text = row.map_err(|message| self.wrong(self.at.line, message))?;
        Ok(Some(Record { line: self.at.line, text, ends: true }))
    }

    fn wrong(&self, line: u64, message: String) -> DataError {
        Problems::only(&self.path, usize::try_from(line).unwrap_or(0), message)
    }

    /// The column of a line that holds the text; none where the record is the text.
    pub(super) fn json_column<'a>(&self, reading: &'a Reading) -> Option<&'a str> {
        (self.layout == Layout::Jsonl).then_some(reading.column.as_str())
    }
}

fn layout(path: &Path, documents: Documents) -> Result<Layout, DataError> {
    let place = Place { file: path.to_owned(), member: None, pointer: None };
    match place.extension().as_str() {
        "jsonl" | "ndjson" => Ok(Layout::Jsonl),
        "parquet" => Ok(Layout::Parquet),
        ending @ ("json" | "csv" | "tsv" | "zip" | "tar" | "xz" | "bz2") => Err(DataError::Format {
            path: path.to_owned(),
            message: format!(
                "a large corpus is read from text, JSONL (`.jsonl`) and Parquet, packed as `.gz` or `.zst` or not; found \
                 `.{ending}`"
            ),
        }),
        _ => Ok(Layout::Text(documents)),
    }
}

/// The text in a line of JSON.
pub(super) fn json_text(line: &str, column: &str) -> Result<String, String> {
    let mut row: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(line)
        .map_err(|error| format!("column {}: expected a JSON object: {error}", error.column()))?;
    let Some(value) = row.remove(column) else {
        let keys: Vec<&str> = row.keys().map(AsRef::as_ref).collect();
        let hint = did_you_mean(column, keys.iter().copied());
        return Err(format!("expected the key `{column}`, found {}{hint}", keys.join(", ")));
    };
    serde_json::from_str(value.get()).map_err(|_| {
        let start: String = value.get().chars().take(20).collect();
        format!("expected a text in `{column}`, found {start}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8], documents: Documents) -> Result<Vec<Record>, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("write");
        let reading = Reading { documents, ..Reading::default() };
        let all = || {
            let mut records = Records::open(&path, &reading, Position::default())?;
            let mut all = Vec::new();
            while !records.is_done() {
                let chunk = records.chunk(1)?;
                // From every place the rest is the same.
                let mut rest = Records::open(&path, &reading, records.position())?;
                let left = rest.chunk(usize::MAX)?;
                all.push((chunk, left));
            }
            Ok(all)
        };
        let steps: Vec<(Vec<Record>, Vec<Record>)> = all().map_err(|error: DataError| {
            error.to_string().replace(&format!("{}/", dir.path().display()), "")
        })?;
        let whole: Vec<Record> = steps.iter().flat_map(|(chunk, _)| chunk.clone()).collect();
        let mut n = 0;
        for (chunk, left) in &steps {
            n += chunk.len();
            assert_eq!(whole[n..], left[..]);
        }
        Ok(whole)
    }

    fn texts(records: &[Record]) -> Vec<(&str, bool)> {
        records.iter().map(|record| (record.text.as_str(), record.ends)).collect()
    }

    #[test]
    fn a_text_is_one_document_or_its_lines_or_its_paragraphs() {
        let text = "\u{FEFF}one\r\ntwo\n\n\n  \nthree\n".as_bytes();
        let file = read("a.txt", text, Documents::File).expect("reads");
        assert_eq!(texts(&file), [("one\ntwo\n\n\n  \nthree\n", true)]);
        let lines = read("a.txt", text, Documents::Line).expect("reads");
        assert_eq!(texts(&lines), [("one", true), ("two", true), ("three", true)]);
        assert_eq!(lines[2].line, 6);
        let paragraphs = read("a.txt", text, Documents::Paragraph).expect("reads");
        assert_eq!(texts(&paragraphs), [("one\ntwo\n", true), ("three\n", true)]);
        assert!(read("a.txt", b"", Documents::File).expect("reads").is_empty());
    }

    #[test]
    fn a_long_document_comes_in_pieces() {
        let line = "0123456789abcde\n";
        let text = line.repeat(10_000);
        let pieces = read("a.txt", text.as_bytes(), Documents::File).expect("reads");
        let ends: Vec<bool> = pieces.iter().map(|piece| piece.ends).collect();
        assert_eq!(ends, [false, false, true]);
        let whole: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(whole, text);
        // Exactly one piece long: the end of the document comes after it.
        let exact = read("a.txt", line.repeat(4096).as_bytes(), Documents::Paragraph).expect("reads");
        assert_eq!(
            exact.iter().map(|piece| (piece.text.len(), piece.ends)).collect::<Vec<_>>(),
            [(65_536, false), (0, true)]
        );
    }

    #[test]
    fn json_lines_have_their_text() {
        assert_eq!(json_text(r#"{"id": 1, "text": "a\n\"b\""}"#, "text").as_deref(), Ok("a\n\"b\""));
        let error = json_text(r#"{"id": 1, "txet": "a"}"#, "text").expect_err("no text");
        assert_eq!(error, "expected the key `text`, found id, txet; did you mean `txet`?");
        let error = json_text(r#"{"text": [1, 2]}"#, "text").expect_err("no text");
        assert_eq!(error, "expected a text in `text`, found [1, 2]");
        assert!(json_text("[1]", "text").expect_err("a list").contains("expected a JSON object"));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let error = read("a.txt", b"ok\nna\xEFve\n", Documents::Line).expect_err("latin-1");
        assert_eq!(error, "a.txt:2: byte 3: expected UTF-8, found 0xEF; save the file as UTF-8");
        let error = read("a.csv", b"a,b\n", Documents::Line).expect_err("a table");
        assert!(error.starts_with("a.csv: a large corpus is read from text, JSONL"), "{error}");
        assert!(read("a.jsonl.gz", b"no gzip", Documents::Line).is_err());
    }
}
