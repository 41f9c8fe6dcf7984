//! Tags as they stand in files, checked one by one and brought to IOB2.

use locus_metrics::tags::{self, TagScheme};

use crate::error::Problems;
use crate::{ReadOptions, Tagged};

/// A sentence as read, with the line of every word.
pub(super) struct Sentence {
    pub(super) words: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) lines: Vec<usize>,
}

/// Checks every tag and converts all sentences from one scheme to IOB2.
pub(super) fn to_iob2(
    sentences: Vec<Sentence>,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Vec<Tagged> {
    for sentence in &sentences {
        for (tag, &line) in sentence.tags.iter().zip(&sentence.lines) {
            let of_scheme = || options.scheme.and_then(|scheme| tags::problem_in(tag, scheme));
            if let Some(problem) = tags::problem(tag).or_else(of_scheme) {
                problems.at(line, problem);
            }
        }
    }
    let scheme = options.scheme.unwrap_or_else(|| {
        let all: Vec<Vec<&str>> =
            sentences.iter().map(|sentence| sentence.tags.iter().map(String::as_str).collect()).collect();
        tags::detect(&all)
    });
    sentences.into_iter().map(|sentence| convert(sentence, scheme, problems)).collect()
}

fn convert(sentence: Sentence, scheme: TagScheme, problems: &mut Problems) -> Tagged {
    let line = sentence.lines.first().copied().unwrap_or(0);
    let tags = tags::convert(&sentence.tags, scheme, TagScheme::Iob2).unwrap_or_else(|error| {
        problems.at(line, error.to_string());
        sentence.tags
    });
    Tagged { words: sentence.words, tags, line }
}

#[cfg(test)]
mod tests {
    use locus_metrics::tags::TagScheme;

    use crate::ReadOptions;
    use crate::read::testing::read_text;

    #[test]
    fn tags_that_the_given_scheme_lacks_are_named_with_their_lines() {
        let text = "Mira S-PER\nsaw O\nNew B-LOC\nYork E-LOC\n";
        let read = |scheme| read_text("a.conll", text, &ReadOptions { scheme, ..Default::default() });
        let error = read(Some(TagScheme::Iob2)).expect_err("no S and E");
        let said =
            "a.conll:1: tag \"S-PER\" has the prefix \"S\", which the scheme iob2 lacks; expected one of B I";
        assert!(
            error.contains("2 problems") && error.contains(said) && error.contains("a.conll:4: "),
            "{error}"
        );
        assert!(read(Some(TagScheme::Io)).expect_err("no B either").contains("3 problems"));
        assert_eq!(read(Some(TagScheme::Bioes)), read(None));
        assert!(read(None).is_ok());
    }
}
