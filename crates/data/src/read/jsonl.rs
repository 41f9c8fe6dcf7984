//! JSON lines: one object per line, its meaning told by its keys.
//!
//! Words with tags, a text with a label, a source with a target, or a text alone. The first object decides which; every
//! other must have the same keys. Labels and tags may be numbers where `labels` gives their names.

use std::path::Path;

use serde_json::{Map, Value};

use super::source::Source;
use super::table::{LABEL, PAIR, SOURCE, TARGET, TEXT};
use super::tag::{Sentence, to_iob2};
use crate::error::Problems;
use crate::{Column, Columns, DataError, Examples, Kind, Labelled, Pair, ReadOptions};

const WORDS: [&str; 2] = ["words", "tokens"];
const TAGS: [&str; 3] = ["tags", "ner_tags", "labels"];

pub(super) fn read(path: &Path, options: &ReadOptions) -> Result<Examples, DataError> {
    let source = Source::open(path)?;
    let mut problems = Problems::new(path);
    let objects: Vec<(usize, Map<String, Value>)> = source
        .lines()
        .filter(|(_, text)| !text.trim().is_empty())
        .filter_map(|(line, text)| {
            parse(text).map_err(|message| problems.at(line, message)).ok().map(|o| (line, o))
        })
        .collect();
    let Some((line, first)) = objects.first() else { return problems.finish(Examples::Text(Vec::new())) };
    let keys = match Keys::find(first, options) {
        Ok(keys) => keys,
        Err(message) => {
            problems.at(*line, message);
            return problems.finish(Examples::Text(Vec::new()));
        }
    };
    let examples = keys.read(&objects, options, &mut problems);
    problems.finish(examples)
}

fn parse(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(format!("expected a JSON object, found {}", describe(&other))),
        Err(error) => Err(format!("column {}: not JSON: {error}", error.column())),
    }
}

/// The keys that hold the parts of an example.
enum Keys {
    Tagged { words: String, tags: String },
    Labelled { text: String, pair: Option<String>, label: String },
    Pairs { source: String, target: String },
    Text { text: String },
}

impl Keys {
    fn find(object: &Map<String, Value>, options: &ReadOptions) -> Result<Self, String> {
        let Columns { word, tag, text, pair, label, source, target } = &options.columns;
        let key = |wanted: &Option<Column>, usual: &[&str], is_list: bool| match wanted {
            Some(Column::Name(name)) => Some(name.clone()),
            Some(Column::Index(_)) => None,
            None => usual
                .iter()
                .find(|&&name| object.get(name).is_some_and(|value| value.is_array() == is_list))
                .map(|&name| name.to_owned()),
        };
        let tagged = key(word, &WORDS, true).zip(key(tag, &TAGS, true));
        let text = key(text, &TEXT, false);
        let labelled = text.clone().zip(key(label, &LABEL, false));
        let pairs = key(source, &SOURCE, false).zip(key(target, &TARGET, false));
        let pair = key(pair, &PAIR, false);
        let wanted = |kind: Kind| options.kind.is_none_or(|wanted| wanted == kind);
        if let Some((words, tags)) = tagged.filter(|_| wanted(Kind::Tagged)) {
            Ok(Self::Tagged { words, tags })
        } else if let Some((text, label)) = labelled.filter(|_| wanted(Kind::Labelled)) {
            Ok(Self::Labelled { text, pair, label })
        } else if let Some((source, target)) = pairs.filter(|_| wanted(Kind::Pairs)) {
            Ok(Self::Pairs { source, target })
        } else if let Some(text) = text.filter(|_| wanted(Kind::Text)) {
            Ok(Self::Text { text })
        } else {
            let found: Vec<&str> = object.keys().map(String::as_str).collect();
            Err(format!(
                "expected the keys text and label, words and tags, source and target, or text, found {}; \
                 name yours with columns.text, columns.label, …",
                found.join(", ")
            ))
        }
    }

    fn read(
        &self,
        objects: &[(usize, Map<String, Value>)],
        options: &ReadOptions,
        problems: &mut Problems,
    ) -> Examples {
        let mut row = |line: usize, result: Result<Vec<String>, String>| match result {
            Ok(fields) => fields,
            Err(message) => {
                problems.at(line, message);
                Vec::new()
            }
        };
        match self {
            Self::Tagged { words, tags } => {
                let sentences = objects
                    .iter()
                    .filter_map(|(line, object)| {
                        match sentence(object, words, tags, &options.labels, *line) {
                            Ok(sentence) => Some(sentence),
                            Err(message) => {
                                problems.at(*line, message);
                                None
                            }
                        }
                    })
                    .collect();
                Examples::Tagged(to_iob2(sentences, options, problems))
            }
            Self::Labelled { text, pair, label } => Examples::Labelled(
                objects
                    .iter()
                    .filter_map(|(line, object)| {
                        let fields =
                            row(*line, labelled(object, text, pair.as_deref(), label, &options.labels));
                        let mut fields = fields.into_iter();
                        let (text, label) = (fields.next()?, fields.next()?);
                        Some(Labelled { text, label, pair: fields.next(), line: *line })
                    })
                    .collect(),
            ),
            Self::Pairs { source, target } => Examples::Pairs(
                objects
                    .iter()
                    .filter_map(|(line, object)| {
                        let both = string(object, source)
                            .and_then(|source| Ok(vec![source, string(object, target)?]));
                        let mut fields = row(*line, both).into_iter();
                        Some(Pair { source: fields.next()?, target: fields.next()?, line: *line })
                    })
                    .collect(),
            ),
            Self::Text { text } => Examples::Text(
                objects
                    .iter()
                    .flat_map(|(line, object)| row(*line, string(object, text).map(|text| vec![text])))
                    .collect(),
            ),
        }
    }
}

fn labelled(
    object: &Map<String, Value>,
    text: &str,
    pair: Option<&str>,
    label: &str,
    names: &[String],
) -> Result<Vec<String>, String> {
    let mut fields = vec![string(object, text)?, name(get(object, label)?, label, names)?];
    if let Some(pair) = pair {
        fields.push(string(object, pair)?);
    }
    Ok(fields)
}

fn sentence(
    object: &Map<String, Value>,
    words: &str,
    tags: &str,
    names: &[String],
    line: usize,
) -> Result<Sentence, String> {
    let found = list(object, words)?;
    let words: Vec<String> = found
        .iter()
        .map(|word| match word {
            Value::String(word) if !word.trim().is_empty() => Ok(word.clone()),
            other => Err(format!("expected words in `{words}`, found {}", describe(other))),
        })
        .collect::<Result<_, _>>()?;
    let tags: Vec<String> =
        list(object, tags)?.iter().map(|tag| name(tag, tags, names)).collect::<Result<_, _>>()?;
    if words.len() != tags.len() {
        return Err(format!(
            "expected one tag for each word, found {} words and {} tags",
            words.len(),
            tags.len()
        ));
    }
    if words.is_empty() {
        return Err("expected words, found an empty sentence".to_owned());
    }
    Ok(Sentence { lines: vec![line; words.len()], words, tags })
}

fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a Value, String> {
    object.get(key).ok_or_else(|| {
        let found: Vec<&str> = object.keys().map(String::as_str).collect();
        format!("expected the key `{key}`, found {}", found.join(", "))
    })
}

fn string(object: &Map<String, Value>, key: &str) -> Result<String, String> {
    match get(object, key)? {
        Value::String(text) if text.trim().is_empty() => {
            Err(format!("expected a text in `{key}`, found nothing"))
        }
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("expected a text in `{key}`, found {}", describe(other))),
    }
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a Vec<Value>, String> {
    let value = get(object, key)?;
    value.as_array().ok_or_else(|| format!("expected a list in `{key}`, found {}", describe(value)))
}

/// A label's name: text as it stands, a number by its place in `names`, or as text where there are none.
fn name(value: &Value, key: &str, names: &[String]) -> Result<String, String> {
    match value {
        Value::String(label) if !label.trim().is_empty() => Ok(label.clone()),
        Value::Number(number) if names.is_empty() => Ok(number.to_string()),
        Value::Number(number) => number
            .as_u64()
            .and_then(|id| names.get(usize::try_from(id).ok()?))
            .cloned()
            .ok_or_else(|| format!("`{key}` is {number}, but `labels` names {} labels", names.len())),
        Value::Bool(label) => Ok(label.to_string()),
        other => Err(format!("expected a label in `{key}`, found {}", describe(other))),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.trim().is_empty() => "an empty text".to_owned(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::read::testing::read_text;
    use crate::{Columns, Examples, Kind, ReadOptions};

    fn read(text: &str, options: &ReadOptions) -> Result<Examples, String> {
        read_text("a.jsonl", text, options)
    }

    #[test]
    fn keys_tell_what_an_object_is() {
        let options = ReadOptions::default();
        let Ok(Examples::Labelled(list)) = read(
            "\u{FEFF}{\"text\": \"a\", \"label\": 3}\r\n\r\n{\"text\": \"b\", \"label\": true}\r\n",
            &options,
        ) else {
            panic!("labelled")
        };
        assert_eq!((list[0].label.as_str(), list[1].label.as_str(), list[1].line), ("3", "true", 3));
        let Ok(Examples::Tagged(list)) =
            read(r#"{"tokens": ["New", "York"], "labels": ["I-LOC", "I-LOC"]}"#, &options)
        else {
            panic!("tagged")
        };
        assert_eq!(list[0].tags, ["B-LOC", "I-LOC"]);
        assert!(matches!(read(r#"{"source": "a", "target": "b"}"#, &options), Ok(Examples::Pairs(_))));
        assert_eq!(read(r#"{"text": "a"}"#, &options), Ok(Examples::Text(vec!["a".into()])));
    }

    #[test]
    fn numbers_become_names() {
        let labels = ["O", "B-PER", "I-PER"].map(str::to_owned).to_vec();
        let options = ReadOptions { labels, ..Default::default() };
        let Ok(Examples::Tagged(list)) = read(r#"{"words": ["Ada", "L"], "ner_tags": [1, 2]}"#, &options)
        else {
            panic!("tagged")
        };
        assert_eq!(list[0].tags, ["B-PER", "I-PER"]);
        let error = read(r#"{"words": ["Ada"], "ner_tags": [3]}"#, &options).expect_err("no fourth label");
        assert_eq!(error, "a.jsonl:1: `ner_tags` is 3, but `labels` names 3 labels");
    }

    #[test]
    fn problems_come_together_with_their_lines() {
        let text = "{\"words\": [\"a\"], \"tags\": [\"O\"]}\n{\"words\": [\"a\"], \"tags\": []}\n{\"words\": }\n[1]\n\
                    {\"words\": [], \"tags\": []}\n{\"tags\": []}\n{\"words\": [\"a\"], \"tags\": [\"Q-A\"]}\n";
        let error = read(text, &ReadOptions::default()).expect_err("many");
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
    }

    #[test]
    fn unknown_keys_are_an_error_that_lists_them() {
        let error =
            read(r#"{"headline": "a", "verdict": "b"}"#, &ReadOptions::default()).expect_err("unknown");
        assert!(error.contains("found headline, verdict") && error.contains("columns.text"), "{error}");
        let columns =
            Columns { text: Some("headline".into()), label: Some("verdict".into()), ..Default::default() };
        let options = ReadOptions { columns, kind: Some(Kind::Labelled), ..Default::default() };
        assert_eq!(read(r#"{"headline": "a", "verdict": "b"}"#, &options).map(|list| list.len()), Ok(1));
    }
}
