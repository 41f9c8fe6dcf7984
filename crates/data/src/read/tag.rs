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
            if let Some(problem) = tags::problem(tag) {
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
