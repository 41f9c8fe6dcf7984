//! JSON: one row per line, or a document that holds a list of rows.
//!
//! A row is an object or a list of cells. Which list of a document is meant is told by a JSON pointer after the file's
//! name: `all.json#/train`. The text of a document is kept beside its values, so that every row has its line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::cell::describe;
use super::rows::{self, Rows};
use super::source::Source;
use crate::error::{Problems, did_you_mean};
use crate::{DataError, Examples, ReadOptions};

pub(super) fn read_lines(source: &Source, options: &ReadOptions) -> Result<Examples, DataError> {
    let mut problems = Problems::new(&source.path);
    let mut rows = Vec::new();
    for (line, text) in source.lines().filter(|(_, text)| !text.trim().is_empty()) {
        match serde_json::from_str::<Value>(text) {
            Ok(row @ (Value::Object(_) | Value::Array(_))) => rows.push((line, row)),
            Ok(other) => problems.at(line, format!("expected a JSON object, found {}", describe(&other))),
            Err(error) => problems.at(line, format!("column {}: not JSON: {error}", error.column())),
        }
    }
    rows::examples(&source.path, &Rows { header: None, rows }, options, problems)
}

pub(super) fn read_document(source: &Source, options: &ReadOptions) -> Result<Examples, DataError> {
    let list = list_in(source)?;
    let mut lines = Lines::of(&source.text);
    let rows = list
        .into_iter()
        .map(|raw| Ok((lines.of_part(raw.get()), parse(source, raw.get())?)))
        .collect::<Result<Vec<_>, DataError>>()?;
    rows::examples(&source.path, &Rows { header: None, rows }, options, Problems::new(&source.path))
}

/// Counts lines up to parts of a text, which must be asked for in their order.
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line of a part of the same text.
    pub(super) fn of_part(&mut self, part: &str) -> usize {
        let start = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let between = self.text.as_bytes().get(self.at..start).unwrap_or_default();
        self.line += between.iter().filter(|&&byte| byte == b'\n').count();
        self.at = start.max(self.at);
        self.line
    }
}

/// A part of the source's text as JSON; an error has the line in the file.
pub(super) fn parse<'a, T: serde::Deserialize<'a>>(source: &Source, part: &'a str) -> Result<T, DataError> {
    serde_json::from_str(part).map_err(|error| {
        let line = Lines::of(&source.text).of_part(part) + error.line().max(1) - 1;
        Problems::only(&source.path, line, format!("column {}: {error}", error.column()))
    })
}

/// The list that the pointer leads to; without one the document itself must be a list.
fn list_in(source: &Source) -> Result<Vec<&RawValue>, DataError> {
    let mut part: &RawValue = parse(source, &source.text)?;
    let mut path = String::new();
    for step in source.place.pointer.iter().flat_map(|pointer| pointer[1..].split('/')) {
        let step = step.replace("~1", "/").replace("~0", "~");
        if part.get().starts_with('[') {
            let list: Vec<&RawValue> = parse(source, part.get())?;
            let item = step.parse::<usize>().ok().and_then(|at| list.get(at).copied());
            part =
                item.ok_or_else(|| wrong(source, format!("`#{path}` is a list without an item `{step}`")))?;
        } else if part.get().starts_with('{') {
            let mut object: BTreeMap<Cow<'_, str>, &RawValue> = parse(source, part.get())?;
            part = object.remove(step.as_str()).ok_or_else(|| {
                let keys: Vec<&str> = object.keys().map(AsRef::as_ref).collect();
                let hint = did_you_mean(&step, keys.iter().copied());
                wrong(source, format!("`#{path}/` has no key `{step}`{hint}; it has {}", keys.join(", ")))
            })?;
        } else {
            return Err(wrong(source, format!("`#{path}` has nothing inside that could be `{step}`")));
        }
        path = format!("{path}/{step}");
    }
    if part.get().starts_with('[') {
        return parse(source, part.get());
    }
    let lists = match part.get().starts_with('{') {
        true => parse::<BTreeMap<Cow<'_, str>, &RawValue>>(source, part.get())?,
        false => BTreeMap::new(),
    };
    let lists: Vec<String> = lists
        .iter()
        .filter(|(_, value)| value.get().starts_with('['))
        .map(|(key, _)| {
            format!("{}#{path}/{}", source.place.file_name(), key.replace('~', "~0").replace('/', "~1"))
        })
        .collect();
    Err(wrong(
        source,
        match lists.as_slice() {
            [] => "expected a list of rows, and found no list".to_owned(),
            lists => format!("expected a list of rows; say which list is meant: {}", lists.join(", ")),
        },
    ))
}

fn wrong(source: &Source, message: String) -> DataError {
    DataError::Format { path: source.path.clone(), message }
}

#[cfg(test)]
mod tests {
    use crate::read::testing::read_text;
    use crate::{Columns, Examples, Kind, ReadOptions, read};

    fn read_jsonl(text: &str, options: &ReadOptions) -> Result<Examples, String> {
        read_text("a.jsonl", text, options)
    }

    #[test]
    fn keys_tell_what_an_object_is() {
        let options = ReadOptions::default();
        let Ok(Examples::Labelled(list)) = read_jsonl(
            "\u{FEFF}{\"text\": \"a\", \"label\": 3}\r\n\r\n{\"text\": \"b\", \"label\": true}\r\n",
            &options,
        ) else {
            panic!("labelled")
        };
        assert_eq!((list[0].label.as_str(), list[1].label.as_str(), list[1].line), ("3", "true", 3));
        let Ok(Examples::Tagged(list)) =
            read_jsonl(r#"{"tokens": ["New", "York"], "labels": ["I-LOC", "I-LOC"]}"#, &options)
        else {
            panic!("tagged")
        };
        assert_eq!(list[0].tags, ["B-LOC", "I-LOC"]);
        let Ok(Examples::MultiLabelled(list)) = read_jsonl(
            "{\"text\": \"a\", \"labels\": [\"x\", \"y\"]}\n{\"text\": \"b\", \"labels\": []}",
            &options,
        ) else {
            panic!("several labels")
        };
        assert_eq!((list[0].label.join(" ").as_str(), list[1].label.len()), ("x y", 0));
        assert!(matches!(read_jsonl(r#"{"source": "a", "target": "b"}"#, &options), Ok(Examples::Pairs(_))));
        assert_eq!(read_jsonl(r#"{"text": "a"}"#, &options), Ok(Examples::Text(vec!["a".into()])));
    }

    #[test]
    fn a_number_is_read_where_one_is_wanted() {
        let options = ReadOptions { kind: Some(Kind::Scored), ..Default::default() };
        let text = "{\"sentence1\": \"a\", \"sentence2\": \"b\", \"score\": 4.5}\n\
                    {\"sentence1\": \"a\", \"sentence2\": \"b\", \"score\": \"0,5\"}\n";
        let Ok(Examples::Scored(list)) = read_jsonl(text.lines().next().expect("a line"), &options) else {
            panic!("scored")
        };
        assert_eq!((list[0].label, list[0].pair.as_deref()), (4.5, Some("b")));
        assert_eq!(
            read_jsonl(text, &options).expect_err("decimal comma"),
            "a.jsonl:2: `score`: expected a number, found `0,5`; decimals are written with a point: 0.5"
        );
    }

    #[test]
    fn numbers_become_names() {
        let labels = ["O", "B-PER", "I-PER"].map(str::to_owned).to_vec();
        let options = ReadOptions { labels, ..Default::default() };
        let Ok(Examples::Tagged(list)) =
            read_jsonl(r#"{"words": ["Ada", "L"], "ner_tags": [1, 2]}"#, &options)
        else {
            panic!("tagged")
        };
        assert_eq!(list[0].tags, ["B-PER", "I-PER"]);
        let error =
            read_jsonl(r#"{"words": ["Ada"], "ner_tags": [3]}"#, &options).expect_err("no fourth label");
        assert_eq!(error, "a.jsonl:1: `ner_tags` is 3, but `labels` names 3 labels");
    }

    #[test]
    fn problems_come_together_with_their_lines() {
        let text = "{\"words\": [\"a\"], \"tags\": [\"O\"]}\n{\"words\": [\"a\"], \"tags\": []}\n{\"words\": }\n[1]\n\
                    {\"words\": [], \"tags\": []}\n{\"tags\": []}\n{\"words\": [\"a\"], \"tags\": [\"Q-A\"]}\n";
        let error = read_jsonl(text, &ReadOptions::default()).expect_err("many");
        for expected in [
            "a.jsonl: 6 problems",
            "a.jsonl:2: expected one tag for each word, found 1 words and 0 tags",
            "a.jsonl:3: column 11: not JSON",
            "a.jsonl:4: expected a JSON object, found a list",
            "a.jsonl:5: expected words, found an empty sentence",
            "a.jsonl:6: expected the key `words`, found tags",
            "a.jsonl:7: tag \"Q-A\" has the prefix",
        ] {
            assert!(error.contains(expected), "{expected} not in {error}");
        }
        let lines: Vec<&str> = error.lines().skip(1).map(str::trim).collect();
        assert!(lines.is_sorted(), "{error}");
    }

    #[test]
    fn unknown_keys_are_an_error_that_lists_them() {
        let row = r#"{"headline": "a", "verdict": "b"}"#;
        let error = read_jsonl(row, &ReadOptions::default()).expect_err("unknown");
        assert_eq!(
            error,
            "a.jsonl: no column for the labelled text; set columns.text and columns.label; \
             found keys headline, verdict"
        );
        let columns =
            Columns { text: Some("headline".into()), label: Some("verdict".into()), ..Default::default() };
        let options = ReadOptions { columns, kind: Some(Kind::Labelled), ..Default::default() };
        assert_eq!(read_jsonl(row, &options).map(|list| list.len()), Ok(1));
        let columns = Columns { text: Some("headlin".into()), label: Some(1.into()), ..Default::default() };
        let error = read_jsonl(row, &ReadOptions { columns, ..Default::default() }).expect_err("misspelt");
        assert!(
            error.contains("`headlin` is not a key of the first row; did you mean `headline`?"),
            "{error}"
        );
        let columns = Columns { text: Some(1.into()), ..Default::default() };
        let error = read_jsonl(row, &ReadOptions { columns, ..Default::default() }).expect_err("a place");
        assert!(error.contains("the rows are objects; give the key's name"), "{error}");
    }

    const DOCUMENT: &str = "{\n \"meta\": {\"a/b\": [[\"x\",\n  \"y\"]]},\n \"train\": [\n  [\"one\", \"A\"],\n  [\"two\", \"B\"]\n ]\n}\n";

    fn read_part(pointer: &str, columns: Columns) -> Result<Examples, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::write(dir.path().join("all.json"), DOCUMENT).expect("write");
        let options = ReadOptions { columns, ..Default::default() };
        read(&dir.path().join(format!("all.json{pointer}")), &options)
            .map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn a_document_gives_the_list_that_is_pointed_at() {
        let columns = Columns { text: Some(0.into()), label: Some((-1).into()), ..Default::default() };
        let Ok(Examples::Labelled(list)) = read_part("#/train", columns.clone()) else { panic!("labelled") };
        assert_eq!((list[1].text.as_str(), list[1].label.as_str(), list[1].line), ("two", "B", 6));
        assert_eq!(read_part("#/meta/a~1b", columns.clone()).map(|list| list.len()), Ok(1));
        for (pointer, expected) in [
            ("", "all.json: expected a list of rows; say which list is meant: all.json#/train"),
            (
                "#/meta",
                "all.json#/meta: expected a list of rows; say which list is meant: all.json#/meta/a~1b",
            ),
            ("#/tran", "all.json#/tran: `#/` has no key `tran`; did you mean `train`?; it has meta, train"),
            ("#/train/7", "all.json#/train/7: `#/train` is a list without an item `7`"),
            ("#/train/0/0/x", "all.json#/train/0/0/x: `#/train/0/0` has nothing inside that could be `x`"),
            ("#/train/0/0", "all.json#/train/0/0: expected a list of rows, and found no list"),
        ] {
            assert_eq!(read_part(pointer, columns.clone()).expect_err(pointer), expected);
        }
        let error = read_part("#/train", Columns::default()).expect_err("no columns");
        assert!(
            error.ends_with("set columns.text and columns.label; found 2 columns and no header"),
            "{error}"
        );
    }

    #[test]
    fn problems_in_a_document_have_their_lines() {
        let error = read_text(
            "a.json",
            "[\n {\"text\": \"a\"},\n {\"text\": 3},\n {\"text\": \"\"}\n]",
            &ReadOptions::default(),
        );
        let expected = "a.json: 2 problems\n  a.json:3: expected a text in `text`, found the number 3\n  \
                        a.json:4: expected a text in `text`, found nothing";
        assert_eq!(error.expect_err("two problems"), expected);
        let error = read_text("a.json", "[\n {\"text\": \"a\"},\n {\"text\" 3}\n]", &ReadOptions::default());
        assert!(error.expect_err("not JSON").starts_with("a.json:3: column 10: expected `:`"));
    }
}
