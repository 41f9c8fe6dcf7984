//! A folder in the manner of SNIPS: `seq.in` has the words, `seq.out` their tags, `label` the intent; one line each.

use std::path::{Path, PathBuf};

use super::source::Source;
use super::tag::{Sentence, to_iob2};
use crate::error::Problems;
use crate::{DataError, Examples, Kind, Labelled, ReadOptions};

pub(super) fn read(folder: &Path, options: &ReadOptions) -> Result<Examples, DataError> {
    let open = |name: &str| Source::open_as(&folder.join(name), options.encoding.as_deref());
    let words = open("seq.in")?;
    match options.kind {
        None | Some(Kind::Tagged | Kind::Spans) => read_tags(&words, &open("seq.out")?, options),
        Some(Kind::Labelled) => read_intents(&words, &open("label")?),
        Some(_) => Ok(Examples::Text(words.text.lines().map(str::to_owned).collect())),
    }
}

fn read_tags(words: &Source, tags: &Source, options: &ReadOptions) -> Result<Examples, DataError> {
    check_lines(words, tags)?;
    let mut problems = Problems::new(&tags.path);
    let mut sentences = Vec::new();
    for ((line, text), (_, tags)) in words.lines().zip(tags.lines()) {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let tags: Vec<String> = tags.split_whitespace().map(str::to_owned).collect();
        if words.len() != tags.len() {
            let (words, tags) = (words.len(), tags.len());
            problems.at(
                line,
                format!("expected one tag for each word of seq.in, found {words} words and {tags} tags"),
            );
        } else if words.is_empty() {
            problems.at(line, "expected words, found an empty sentence");
        } else {
            sentences.push(Sentence { lines: vec![line; words.len()], words, tags });
        }
    }
    let examples = to_iob2(sentences, options, &mut problems);
    problems.finish(Examples::Tagged(examples))
}

fn read_intents(words: &Source, labels: &Source) -> Result<Examples, DataError> {
    check_lines(words, labels)?;
    let mut problems = Problems::new(&labels.path);
    let examples = words
        .lines()
        .zip(labels.lines())
        .map(|((line, text), (_, label))| {
            if text.trim().is_empty() || label.trim().is_empty() {
                problems.at(line, "expected a text and a label, found a blank line");
            }
            Labelled { text: text.trim().to_owned(), pair: None, label: label.trim().to_owned(), line }
        })
        .collect();
    problems.finish(Examples::Labelled(examples))
}

fn check_lines(words: &Source, other: &Source) -> Result<(), DataError> {
    let (expected, found) = (words.lines().count(), other.lines().count());
    if expected == found {
        return Ok(());
    }
    let name =
        |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let message = format!("expected {expected} lines as in {}, found {found}", name(&words.path));
    Err(DataError::Format { path: other.path.clone(), message })
}

#[cfg(test)]
mod tests {
    use crate::{Examples, Kind, ReadOptions, read};

    fn read_folder(words: &str, tags: &str, labels: &str, kind: Option<Kind>) -> Result<Examples, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        for (name, text) in [("seq.in", words), ("seq.out", tags), ("label", labels)] {
            std::fs::write(dir.path().join(name), text).expect("write");
        }
        let options = ReadOptions { kind, ..Default::default() };
        read(dir.path(), &options)
            .map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn gives_tags_or_intents() {
        let (words, tags, labels) = ("play jazz \nstop\n", "O B-genre \nO\n", "PlayMusic\nStop\n");
        let Ok(Examples::Tagged(list)) = read_folder(words, tags, labels, None) else { panic!("tagged") };
        assert_eq!((list[0].words.len(), list[0].tags.join(" ").as_str(), list[1].line), (2, "O B-genre", 2));
        let Ok(Examples::Labelled(list)) = read_folder(words, tags, labels, Some(Kind::Labelled)) else {
            panic!("labelled")
        };
        assert_eq!((list[0].text.as_str(), list[0].label.as_str()), ("play jazz", "PlayMusic"));
    }

    #[test]
    fn misaligned_files_are_an_error() {
        let error = read_folder("a b\nc\n\n", "O\nO\n\n", "x\ny\nz\n", None).expect_err("misaligned");
        let expected = "seq.out: 2 problems\n  \
            seq.out:1: expected one tag for each word of seq.in, found 2 words and 1 tags\n  \
            seq.out:3: expected words, found an empty sentence";
        assert_eq!(error, expected);
        let error = read_folder("a\nb\n", "O\n", "x\ny\n", None).expect_err("a line less");
        assert_eq!(error, "seq.out: expected 2 lines as in seq.in, found 1");
    }
}
