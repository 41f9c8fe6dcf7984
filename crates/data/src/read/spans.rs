//! A text with marked spans, as annotation tools write them, as words with tags, or with entities that may share words.
//!
//! A span is `{"start": 0, "end": 5, "label": "PER"}` (also `start_offset`, `end_offset`, `type`, …) or `[0, 5, "PER"]`;
//! start and end count characters, the end is not part of it. Words are those of [`split_words`]. A span that begins or
//! ends inside a word is an error: its tag could stand on no word. Blanks at the ends of a span are taken off.

use std::ops::Range;

use serde_json::Value;

use super::cell::describe;
use crate::{Spanned, Tagged, split_words};
use locus_metrics::tags::{self, TagScheme};

const START: [&str; 3] = ["start", "start_offset", "begin"];
const END: [&str; 2] = ["end", "end_offset"];
const LABEL: [&str; 5] = ["label", "type", "entity", "tag", "entity_type"];

/// Whether a value can be the spans of a text; an empty list is one without any.
pub(super) fn is_list(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(|span| span.is_object() || span.is_array()))
}

/// The words of a text with the tags of its spans.
pub(super) fn tagged(text: &str, spans: &Value, line: usize) -> Result<Tagged, String> {
    let Spanned { words, spans, line } = spanned(text, spans, line)?;
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    if let Some([a, b]) = spans.windows(2).find(|pair| pair[1].start < pair[0].end) {
        let word = word(b.start);
        return Err(format!(
            "the spans {} and {} both cover `{word}`; a word can have one tag (entities that share words are read where \
             model.decoding = \"span\", or kind = \"spans\")",
            a.label, b.label
        ));
    }
    let tags = tags::encode(&spans, words.len(), TagScheme::Iob2).map_err(|error| error.to_string())?;
    Ok(Tagged { words, tags, line })
}

/// The words of a text with its spans, by their place.
pub(super) fn spanned(text: &str, spans: &Value, line: usize) -> Result<Spanned, String> {
    let list =
        spans.as_array().ok_or_else(|| format!("expected a list of spans, found {}", describe(spans)))?;
    let words = split_words(text);
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let results = list.iter().map(|span| Span::parse(span, text, &ends)?.on_words(text, &words));
    let (found, wrong): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
    if !wrong.is_empty() {
        return Err(wrong.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; "));
    }
    let mut spans: Vec<tags::Span> = found.into_iter().flatten().collect();
    spans.sort_by_key(|span| (span.start, span.end));
    if words.is_empty() {
        return Err("expected words, found none".to_owned());
    }
    Ok(Spanned { words: words.into_iter().map(|(word, _)| word).collect(), spans, line })
}

/// A span in bytes.
struct Span {
    /// As the file gives it.
    chars: [u64; 2],
    bytes: Range<usize>,
    label: String,
}

impl Span {
    /// `ends` are the bytes at which characters start, and the text's length.
    fn parse(value: &Value, text: &str, ends: &[usize]) -> Result<Self, String> {
        let part = |at: usize, names: &[&str]| match value {
            Value::Array(list) => list.get(at),
            _ => names.iter().find_map(|name| value.get(name)),
        };
        let place = |at: usize, names: &[&str]| part(at, names).and_then(Value::as_u64);
        let (start, end) = (place(0, &START), place(1, &END));
        let label = part(2, &LABEL).and_then(Value::as_str).filter(|label| !label.trim().is_empty());
        let (Some(start), Some(end), Some(label)) = (start, end, label) else {
            return Err(format!("expected a span with start, end and label, found {value}"));
        };
        let byte = |at: u64| ends.get(usize::try_from(at).ok()?).copied();
        let bytes = match (byte(start), byte(end)) {
            (Some(start), Some(end)) if start < end => start..end,
            (Some(_), Some(_)) => return Err(format!("the span {start}..{end} ({label}) is empty")),
            _ => {
                let n_chars = ends.len() - 1;
                return Err(format!(
                    "the span {start}..{end} ({label}) ends after the text's {n_chars} characters"
                ));
            }
        };
        let inside = &text[bytes.clone()];
        let start_byte = bytes.start + inside.len() - inside.trim_start().len();
        let bytes = start_byte..(bytes.start + inside.trim_end().len()).max(start_byte);
        Ok(Self { chars: [start, end], bytes, label: label.to_owned() })
    }

    /// The words that it covers.
    fn on_words(self, text: &str, words: &[(String, Range<usize>)]) -> Result<tags::Span, String> {
        let [start, end] = self.chars;
        let first = words.partition_point(|(_, range)| range.end <= self.bytes.start);
        let last = words.partition_point(|(_, range)| range.start < self.bytes.end);
        let cut = words[first..last.max(first)]
            .iter()
            .find(|(_, range)| range.start < self.bytes.start || range.end > self.bytes.end);
        if let Some((word, _)) = cut {
            let label = &self.label;
            let span = &text[self.bytes];
            return Err(format!(
                "the span {start}..{end} ({label}) is `{span}`, which cuts the word `{word}`"
            ));
        }
        if first >= last {
            return Err(format!("the span {start}..{end} ({}) covers no word", self.label));
        }
        Ok(tags::Span::new(first, last, self.label))
    }
}

#[cfg(test)]
mod tests {
    use locus_metrics::tags::Span;

    use crate::read::testing::read_text;
    use crate::{Examples, Kind, ReadOptions};

    fn read(text: &str) -> Result<(String, String), String> {
        match read_text("a.jsonl", text, &ReadOptions::default())? {
            Examples::Tagged(list) => Ok((list[0].words.join(" "), list[0].tags.join(" "))),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn spans_count_characters_and_become_tags() {
        let expected = Ok(("Ada 在 北 京 .".to_owned(), "B-PER O B-LOC I-LOC O".to_owned()));
        for spans in [
            r#""spans": [{"start": 0, "end": 3, "label": "PER"}, {"start": 5, "end": 7, "label": "LOC"}]"#,
            r#""entities": [{"start_offset": 5, "end_offset": 7, "type": "LOC"}, {"start": 0, "end": 4, "tag": "PER"}]"#,
            r#""label": [[0, 3, "PER"], [5, 7, "LOC"]]"#,
        ] {
            assert_eq!(read(&format!("{{\"text\": \"Ada 在北京.\", {spans}}}")), expected, "{spans}");
        }
        assert_eq!(read(r#"{"text": "no names", "spans": []}"#), Ok(("no names".into(), "O O".into())));
    }

    #[test]
    fn entities_that_share_words_are_a_kind_of_their_own() {
        let text =
            r#"{"text": "Bank of New York", "spans": [[8, 16, "LOC"], [0, 16, "ORG"], [8, 16, "LOC"]]}"#;
        let options = ReadOptions { kind: Some(Kind::Spans), ..ReadOptions::default() };
        let Ok(Examples::Spans(list)) = read_text("a.jsonl", text, &options) else { panic!("spans") };
        let span = |start, end, label| Span::new(start, end, label);
        assert_eq!(list[0].spans, [span(0, 4, "ORG"), span(2, 4, "LOC"), span(2, 4, "LOC")]);
        // Tags are read as the entities that they spell.
        let Ok(Examples::Spans(list)) = read_text("a.conll", "New B-LOC\nYork I-LOC\n", &options) else {
            panic!("spans")
        };
        assert_eq!(list[0].spans, [span(0, 2, "LOC")]);
        let wrong = text.replace("[0, 16,", "[0, 15,");
        let error = read_text("a.jsonl", wrong, &options).expect_err("cuts a word");
        assert!(error.contains("which cuts the word `York`"), "{error}");
    }

    #[test]
    fn spans_that_fit_no_word_are_errors_with_their_line() {
        let good = r#"{"text": "New York", "spans": [[0, 8, "LOC"]]}"#;
        for (spans, expected) in [
            (r#"[[1, 8, "LOC"]]"#, "the span 1..8 (LOC) is `ew York`, which cuts the word `New`"),
            (r#"[[0, 6, "LOC"]]"#, "the span 0..6 (LOC) is `New Yo`, which cuts the word `York`"),
            (r#"[[0, 9, "LOC"]]"#, "the span 0..9 (LOC) ends after the text's 8 characters"),
            (r#"[[4, 4, "LOC"]]"#, "the span 4..4 (LOC) is empty"),
            (r#"[[3, 4, "LOC"]]"#, "the span 3..4 (LOC) covers no word"),
            (
                r#"[[0, 8, "LOC"], [4, 8, "ORG"]]"#,
                "the spans LOC and ORG both cover `York`; a word can have one tag (entities that share words are read \
                 where model.decoding = \"span\", or kind = \"spans\")",
            ),
            (r#"[[0, 3]]"#, "expected a span with start, end and label, found [0,3]"),
            (
                r#"[[1, 3, "A"], [5, 6, "B"]]"#,
                "the span 1..3 (A) is `ew`, which cuts the word `New`; the span 5..6 (B) is `o`, which cuts the word `York`",
            ),
        ] {
            let error =
                read(&format!("{good}\n{{\"text\": \"New York\", \"spans\": {spans}}}")).expect_err(spans);
            assert_eq!(error, format!("a.jsonl:2: {expected}"));
        }
    }
}
