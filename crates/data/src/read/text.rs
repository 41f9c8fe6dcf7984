//! Plain text: one stream, blank lines and all, or one text per line.

use std::path::Path;

use super::source::Source;
use crate::{DataError, Examples};

/// The whole file as one document; documents separated by blank lines stay one stream, as language models train on.
pub(super) fn read_stream(path: &Path) -> Result<Examples, DataError> {
    let source = Source::open(path)?;
    Ok(Examples::Text(vec![source.text.replace("\r\n", "\n")]))
}

/// One text per line; blank lines are left out.
pub(super) fn read_lines(path: &Path) -> Result<Examples, DataError> {
    let source = Source::open(path)?;
    Ok(Examples::Text(
        source.lines().filter(|(_, line)| !line.trim().is_empty()).map(|(_, line)| line.to_owned()).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use crate::read::testing::read_text;
    use crate::{Examples, Format, ReadOptions};

    #[test]
    fn a_stream_keeps_its_blank_lines() {
        let examples = read_text("a.txt", "\u{FEFF}First:\r\nSpeak.\r\n\r\nAll:\n", &ReadOptions::default());
        assert_eq!(examples, Ok(Examples::Text(vec!["First:\nSpeak.\n\nAll:\n".into()])));
    }

    #[test]
    fn lines_are_texts() {
        let options = ReadOptions { format: Some(Format::Lines), ..Default::default() };
        let examples = read_text("a.txt", "one\r\n\n two\n", &options);
        assert_eq!(examples, Ok(Examples::Text(vec!["one".into(), " two".into()])));
    }
}
