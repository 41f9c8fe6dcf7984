//! A text file in memory: UTF-8 checked, byte order mark taken off, lines numbered.

use std::path::{Path, PathBuf};

use crate::DataError;
use crate::error::{Problems, io};

/// A whole file.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// Reads a file; it must be UTF-8 and hold something.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let bytes = std::fs::read(path).map_err(|error| io("read", path, error))?;
        let text = decode(path, bytes)?;
        if text.trim().is_empty() {
            return Err(DataError::Format { path: path.to_owned(), message: "the file is empty".into() });
        }
        Ok(Self { path: path.to_owned(), text })
    }

    /// Lines without their ends, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<String, DataError> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(Problems::only(path, 1, "expected UTF-8, found UTF-16; save the file as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line_start = bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
        let byte = at - line_start + 1;
        Problems::only(
            path,
            line,
            format!("byte {byte}: expected UTF-8, found 0x{:02X}; save the file as UTF-8", bytes[at]),
        )
    })?;
    Ok(match text.strip_prefix('\u{FEFF}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use crate::ReadOptions;
    use crate::read::testing::read_text;

    #[test]
    fn invalid_utf8_has_line_and_byte() {
        let error = read_text("a.csv", b"text,label\r\nok,b\r\nna\xEFve,b\r\n", &ReadOptions::default());
        assert_eq!(
            error.expect_err("latin-1"),
            "a.csv:3: byte 3: expected UTF-8, found 0xEF; save the file as UTF-8"
        );
        let error = read_text("a.csv", b"\xFF\xFEt\0", &ReadOptions::default()).expect_err("UTF-16");
        assert_eq!(error, "a.csv:1: expected UTF-8, found UTF-16; save the file as UTF-8");
    }

    #[test]
    fn an_empty_file_is_an_error() {
        for text in ["", "\n\r\n", "\u{FEFF}"] {
            let error = read_text("a.csv", text, &ReadOptions::default()).expect_err("empty");
            assert_eq!(error, "a.csv: the file is empty");
        }
    }
}
