//! Bytes to text: UTF-8, UTF-16 where a byte order mark says so, or the encoding that is asked for.
//!
//! Line ends become `\n`: those of Windows always, a lone carriage return where the file has no other line end.

use std::path::Path;

use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::DataError;
use crate::error::Problems;

pub(super) fn decode(path: &Path, bytes: Vec<u8>, encoding: Option<&str>) -> Result<String, DataError> {
    let asked = encoding.map(|name| find(path, name)).transpose()?;
    let (encoding, mark) = Encoding::for_bom(&bytes).unwrap_or((asked.unwrap_or(UTF_8), 0));
    let text = if encoding == UTF_8 {
        let mut bytes = bytes;
        bytes.drain(..mark);
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            invalid(path, UTF_8, asked.is_some(), error.as_bytes(), at)
        })?
    } else {
        if mark == 0 && [UTF_16LE, UTF_16BE].contains(&encoding) && is_rather_utf8(&bytes) {
            let name = encoding.name();
            let message = format!(
                "`encoding` says {name}, but every byte reads as UTF-8 and none is zero; leave `encoding` away"
            );
            return Err(DataError::Format { path: path.to_owned(), message });
        }
        decode_as(path, encoding, asked.is_some(), &bytes[mark..])?
    };
    Ok(line_ends(text))
}

/// Whether bytes that are said to be UTF-16 are UTF-8: line ends and blanks have a zero byte in UTF-16, and what has none
/// (a line of Chinese) is UTF-8 too by chance alone, which a few characters rule out.
fn is_rather_utf8(bytes: &[u8]) -> bool {
    const ENOUGH: usize = 32;
    bytes.len() >= ENOUGH && !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

fn find(path: &Path, name: &str) -> Result<&'static Encoding, DataError> {
    Encoding::for_label(name.as_bytes()).ok_or_else(|| DataError::Format {
        path: path.to_owned(),
        message: format!(
            "unknown encoding `{name}`; expected a name such as utf-8, latin1, windows-1252, gbk, gb18030, big5, \
             shift_jis, euc-kr, utf-16le"
        ),
    })
}

fn decode_as(
    path: &Path,
    encoding: &'static Encoding,
    asked: bool,
    bytes: &[u8],
) -> Result<String, DataError> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text =
        String::with_capacity(decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(0));
    let (result, n_read) = decoder.decode_to_string_without_replacement(bytes, &mut text, true);
    match result {
        DecoderResult::Malformed(bad, ahead) => {
            let at = n_read.saturating_sub(usize::from(bad) + usize::from(ahead));
            Err(invalid(path, encoding, asked, bytes, at))
        }
        DecoderResult::InputEmpty | DecoderResult::OutputFull => Ok(text),
    }
}

/// The error for a byte that the encoding does not know.
fn invalid(path: &Path, encoding: &'static Encoding, asked: bool, bytes: &[u8], at: usize) -> DataError {
    let line_start = bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
    let hint = if asked {
        "is `encoding` the right one?"
    } else {
        "say how the file is written with `encoding`, such as \"latin1\" or \"gbk\", or save it as UTF-8"
    };
    let (byte, name) = (at - line_start + 1, encoding.name());
    let found = bytes.get(at).copied().unwrap_or_default();
    Problems::only(path, line, format!("byte {byte}: expected {name}, found 0x{found:02X}; {hint}"))
}

fn line_ends(text: String) -> String {
    if !text.contains('\r') {
        text
    } else if text.contains('\n') {
        text.replace("\r\n", "\n")
    } else {
        text.replace('\r', "\n")
    }
}

#[cfg(test)]
mod tests {
    use crate::read::testing::read_text;
    use crate::{Examples, ReadOptions};

    fn texts(bytes: &[u8], encoding: Option<&str>) -> Result<Vec<String>, String> {
        let options = ReadOptions {
            encoding: encoding.map(str::to_owned),
            format: Some(crate::Format::Lines),
            ..Default::default()
        };
        read_text("a.txt", bytes, &options).map(|examples| match examples {
            Examples::Text(texts) => texts,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn invalid_utf8_has_line_and_byte_and_names_the_key() {
        let error = texts(b"text\r\nok\r\nna\xEFve,b\r\n", None).expect_err("latin-1");
        assert_eq!(
            error,
            "a.txt:3: byte 3: expected UTF-8, found 0xEF; say how the file is written with `encoding`, such as \
             \"latin1\" or \"gbk\", or save it as UTF-8"
        );
    }

    #[test]
    fn reads_other_encodings() {
        assert_eq!(texts(b"na\xEFve", Some("latin1")), Ok(vec!["naïve".into()]));
        assert_eq!(
            texts(b"\xC4\xE3\xBA\xC3\n\xB1\xB1\xBE\xA9", Some("gbk")),
            Ok(vec!["你好".into(), "北京".into()])
        );
        assert_eq!(texts("\u{FEFF}好".as_bytes(), Some("gbk")), Ok(vec!["好".into()]));
        for utf16 in [&b"\xFF\xFE\x60\x4F\n\0a\0"[..], b"\xFE\xFF\x4F\x60\0\n\0a"] {
            assert_eq!(texts(utf16, None), Ok(vec!["你".into(), "a".into()]));
        }
        let error = texts(b"ab\nc\xFFd", Some("gbk")).expect_err("not GBK");
        assert_eq!(error, "a.txt:2: byte 2: expected GBK, found 0xFF; is `encoding` the right one?");
        let error = texts(b"a", Some("latin-one")).expect_err("unknown");
        assert!(
            error.starts_with("a.txt: unknown encoding `latin-one`; expected a name such as utf-8"),
            "{error}"
        );
    }

    #[test]
    fn utf8_that_is_called_utf16_is_refused() {
        for (text, name) in [
            ("A plain line of text, and more.\n", "utf-16le"),
            ("市长在上海会见了工程师和记者。\n", "utf-16be"),
        ] {
            let error = texts(text.as_bytes(), Some(name)).expect_err("UTF-8");
            let said =
                format!("a.txt: `encoding` says {}, but every byte reads as UTF-8", name.to_uppercase());
            assert!(error.starts_with(&said), "{error}");
            let utf16: Vec<u8> = text
                .encode_utf16()
                .flat_map(|unit| if name == "utf-16le" { unit.to_le_bytes() } else { unit.to_be_bytes() })
                .collect();
            assert_eq!(texts(&utf16, Some(name)), Ok(vec![text.trim().to_owned()]));
        }
    }

    #[test]
    fn all_line_ends_part_lines_and_a_stray_return_does_not() {
        let expected = Ok(vec!["a".to_owned(), "b".to_owned()]);
        for text in ["a\nb\n", "a\r\nb\r\n", "a\rb\r"] {
            assert_eq!(texts(text.as_bytes(), None), expected, "{text:?}");
        }
        assert_eq!(texts(b"a\rx\nb\n", None), Ok(vec!["a\rx".into(), "b".into()]));
    }
}
