//! Plain text: one stream, blank lines and all, or one text per line.

use super::source::Source;
use crate::{DataError, Examples, Kind, Labelled, ReadOptions};

/// The whole file as one document; documents separated by blank lines stay one stream, as language models train on.
pub(super) fn read_stream(source: &Source) -> Result<Examples, DataError> {
    Ok(Examples::Text(vec![source.text.clone()]))
}

/// One text per line, blank lines left out; with the label of the file where it has one. What stands at the ends of every
/// line and is no text, such as a tag, is taken off.
pub(super) fn read_lines(source: &Source, options: &ReadOptions) -> Result<Examples, DataError> {
    let lines = source.lines().map(|(line, text)| (line, strip(text, &options.strip)));
    let texts = lines.filter(|(_, text)| !text.trim().is_empty());
    Ok(match &options.label {
        Some(label) if options.kind.is_none_or(|kind| kind == Kind::Labelled) => Examples::Labelled(
            texts
                .map(|(line, text)| Labelled {
                    text: text.trim().to_owned(),
                    pair: None,
                    label: label.clone(),
                    line,
                })
                .collect(),
        ),
        _ => Examples::Text(texts.map(|(_, text)| text.to_owned()).collect()),
    })
}

fn strip<'a>(line: &'a str, ends: &[String]) -> &'a str {
    ends.iter().fold(line, |text, end| {
        let inner = text.trim();
        match inner.strip_prefix(end.as_str()).or_else(|| inner.strip_suffix(end.as_str())) {
            Some(rest) => rest,
            None => text,
        }
    })
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

    #[test]
    fn lines_of_a_file_may_have_one_label_and_marks_around_them() {
        let options = ReadOptions {
            format: Some(Format::Lines),
            label: Some("con".into()),
            strip: vec!["<Cons>".into(), "</Cons>".into()],
            ..Default::default()
        };
        let examples = read_text("a.txt", "  <Cons>slow</Cons>\n <Cons></Cons>\nheavy \n", &options);
        let Ok(Examples::Labelled(list)) = examples else { panic!("labelled") };
        let seen: Vec<(&str, usize)> = list.iter().map(|row| (row.text.as_str(), row.line)).collect();
        assert_eq!(seen, [("slow", 1), ("heavy", 3)]);
        assert!(list.iter().all(|row| row.label == "con"));
    }
}
