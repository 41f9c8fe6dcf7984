//! Rows into examples: what tables, JSON lines, JSON documents and Parquet files have in common.
//!
//! A row's cells have names (a header, JSON keys) or places. The configured columns are used, else those with usual names.
//! The first row decides what the file gives: words with tags (or a text with spans), a question with its context, a text
//! with a label, several labels or a number, a source with a target, or a text alone; candidates of queries where these are
//! asked for. Every other row must have the same.

use std::path::Path;

use serde_json::Value;

use super::cell::{self, describe};
use super::keys::{Finder, Key};
use super::ranked::{self, Layout};
use super::tag::{Sentence, to_iob2};
use super::{spans, squad};
use crate::error::Problems;
use crate::{Columns, DataError, Examples, Kind, Pair, ReadOptions, Row};

/// Usual names, the most telling first.
const TEXT: [&str; 14] = [
    "text",
    "sentence",
    "sentence1",
    "premise",
    "question1",
    "review",
    "utterance",
    "instruction",
    "query",
    "question",
    "content",
    "comment",
    "tweet",
    "title",
];
const PAIR: [&str; 6] = ["pair", "sentence2", "hypothesis", "question2", "text2", "text_pair"];
const LABEL: [&str; 12] = [
    "label",
    "gold_label",
    "labels",
    "class",
    "category",
    "intent",
    "sentiment",
    "topic",
    "target_label",
    "score",
    "rating",
    "emotions",
];
const SOURCE: [&str; 4] = ["source", "src", "input", "prompt"];
const TARGET: [&str; 6] = ["target", "tgt", "output", "translation", "response", "completion"];
const WORDS: [&str; 2] = ["words", "tokens"];
const TAGS: [&str; 3] = ["tags", "ner_tags", "labels"];
const SPANS: [&str; 3] = ["spans", "entities", "label"];

/// A file's rows as they were found, with their lines.
pub(super) struct Rows {
    /// The names of the columns of a table that has them.
    pub(super) header: Option<Vec<String>>,
    /// Lists of cells, or objects.
    pub(super) rows: Vec<(usize, Value)>,
}

/// Makes examples of rows; `problems` are those of finding them.
pub(super) fn examples(
    path: &Path,
    rows: &Rows,
    options: &ReadOptions,
    mut problems: Problems,
) -> Result<Examples, DataError> {
    let Some((_, first)) = rows.rows.first() else { return problems.finish(Examples::Text(Vec::new())) };
    let finder = Finder { path, header: rows.header.as_deref(), first };
    let examples = match Fields::find(&finder, options) {
        Ok(fields) => fields.read(rows, options, &mut problems)?,
        Err(error) if problems.is_empty() => return Err(error),
        Err(_) => Examples::Text(Vec::new()),
    };
    problems.finish(examples)
}

/// What a row holds, and under which keys.
enum Fields {
    Tagged { words: Key, tags: Key },
    Spans { text: Key, spans: Key },
    Qa,
    Ranked(Layout),
    Labelled { kind: Kind, text: Key, pair: Option<Key>, label: Option<Key> },
    Pairs { source: Key, target: Key },
    Text { text: Key },
}

impl Fields {
    fn find(finder: &Finder<'_>, options: &ReadOptions) -> Result<Self, DataError> {
        let kind = options.kind;
        if kind == Some(Kind::Ranked) {
            return Layout::find(finder, &options.columns).map(Self::Ranked);
        }
        let Columns { word, tag, spans, text, pair, label, source, target, .. } = &options.columns;
        let tags = (finder.find("word", word, &WORDS, Value::is_array)?).zip(finder.find(
            "tag",
            tag,
            &TAGS,
            Value::is_array,
        )?);
        let source = finder.find("source", source, &SOURCE, |_| true)?;
        let target = finder.find("target", target, &TARGET, |_| true)?;
        let text = finder.find("text", text, &TEXT, |_| true)?;
        let spans = finder.find("spans", spans, &SPANS, spans::is_list)?;
        // A list of labels is looked for where a text may have several.
        let is_label = |value: &Value| match kind {
            None | Some(Kind::MultiLabelled) => !value.is_object(),
            _ => !value.is_object() && !value.is_array(),
        };
        let label = match options.label {
            Some(_) => None,
            None => finder.find("label", label, &LABEL, is_label)?,
        };
        // The second text cannot stand where the first does.
        let pair = finder.find("pair", pair, &PAIR, |_| true)?.filter(|pair| Some(pair) != text.as_ref());
        let is_labelled = label.is_some() || options.label.is_some();
        let labelled =
            |kind| Ok(Self::Labelled { kind, text: text.clone().ok_or(())?, pair, label: label.clone() });
        let has = |wanted: Kind| kind.is_none_or(|kind| kind == wanted);
        let has_entities = has(Kind::Tagged) || has(Kind::Spans);
        if let Some((words, tags)) = tags.filter(|_| has_entities) {
            return Ok(Self::Tagged { words, tags });
        }
        if let Some((text, spans)) = text.clone().zip(spans).filter(|_| has_entities) {
            return Ok(Self::Spans { text, spans });
        }
        if has(Kind::Qa) && squad::is_question(finder.first) {
            return Ok(Self::Qa);
        }
        let pairs = source.clone().zip(target.clone());
        let found = match kind {
            Some(kind @ (Kind::Labelled | Kind::MultiLabelled | Kind::Scored)) if is_labelled => {
                labelled(kind)
            }
            Some(Kind::Pairs) => pairs.map(|(source, target)| Self::Pairs { source, target }).ok_or(()),
            Some(Kind::Text) => text.clone().map(|text| Self::Text { text }).ok_or(()),
            None if text.is_some() && is_labelled && pairs.is_some() => {
                return Err(finder.unclear(
                    "could give labelled texts or source–target pairs; set `kind` to `labelled` or `pairs`",
                ));
            }
            None if text.is_some() && is_labelled => {
                let many =
                    label.as_ref().and_then(|label| label.get(finder.first)).is_some_and(Value::is_array);
                labelled(if many { Kind::MultiLabelled } else { Kind::Labelled })
            }
            None => match (pairs, &text) {
                (Some((source, target)), _) => Ok(Self::Pairs { source, target }),
                // A table with a text and no label is more likely to have the label under another name.
                (None, Some(text)) if finder.first.is_object() => Ok(Self::Text { text: text.clone() }),
                _ => Err(()),
            },
            _ => Err(()),
        };
        found.map_err(|()| {
            let keys = |list: &[(&str, bool)]| {
                let missing: Vec<String> =
                    list.iter().filter(|(_, found)| !found).map(|(key, _)| format!("columns.{key}")).collect();
                missing.join(" and ")
            };
            finder.unclear(&match kind {
                Some(Kind::Pairs) => format!(
                    "no column for the pairs; set {}",
                    keys(&[("source", source.is_some()), ("target", target.is_some())])
                ),
                Some(Kind::Text) => format!("no column for the text; set {}", keys(&[("text", text.is_some())])),
                Some(Kind::Tagged | Kind::Spans) if !finder.first.is_object() => {
                    "a table has no tagged words; use format `conll` or `jsonl`".to_owned()
                }
                Some(Kind::Tagged | Kind::Spans) => {
                    "no lists of words and tags, and no text with spans; set columns.word and columns.tag, or \
                     columns.text and columns.spans"
                        .to_owned()
                }
                Some(Kind::Qa) => "expected the keys context, question and answers".to_owned(),
                _ => format!(
                    "no column for the labelled text; set {}",
                    keys(&[("text", text.is_some()), ("label", is_labelled)])
                ),
            })
        })
    }

    fn read(
        &self,
        rows: &Rows,
        options: &ReadOptions,
        problems: &mut Problems,
    ) -> Result<Examples, DataError> {
        let mut each = Each { rows, problems };
        Ok(match self {
            Self::Tagged { words, tags } => {
                let sentences = each.row(|row, line| sentence(row, words, tags, options, line));
                Examples::Tagged(to_iob2(sentences, options, problems))
            }
            Self::Spans { text, spans } if options.kind == Some(Kind::Spans) => Examples::Spans(
                each.row(|row, line| spans::spanned(&cell::text(row, text)?, cell::get(row, spans)?, line)),
            ),
            Self::Spans { text, spans } => Examples::Tagged(
                each.row(|row, line| spans::tagged(&cell::text(row, text)?, cell::get(row, spans)?, line)),
            ),
            Self::Qa => {
                let questions = each.row(squad::question);
                Examples::Qa(squad::aligned(questions, options.known_faults, problems))
            }
            Self::Ranked(Layout::Candidates { query, item, gain, group, features }) => {
                let read = |row: &Value, line| {
                    ranked::candidate(row, line, [query, item, gain], group.as_ref(), features)
                };
                let parts = each.row(read);
                Examples::Ranked(ranked::grouped(parts, problems))
            }
            Self::Ranked(Layout::Choices { query, choices, answer }) => {
                Examples::Ranked(each.row(|row, line| ranked::choices(row, line, query, choices, answer)))
            }
            Self::Labelled { kind, text, pair, label } => {
                let columns = TextColumns { text, pair: pair.as_ref() };
                let names = &options.labels;
                match (kind, label, &options.label) {
                    (Kind::MultiLabelled, Some(label), _) => {
                        let separator = options.label_separator.as_deref().unwrap_or(",");
                        Examples::MultiLabelled(each.row(|row, line| {
                            columns.with(row, line, |row| cell::labels(row, label, separator, names))
                        }))
                    }
                    (Kind::MultiLabelled, None, given) => {
                        let given: Vec<String> = given.iter().cloned().collect();
                        Examples::MultiLabelled(
                            each.row(|row, line| columns.with(row, line, |_| Ok(given.clone()))),
                        )
                    }
                    (Kind::Scored, Some(label), _) => Examples::Scored(
                        each.row(|row, line| columns.with(row, line, |row| cell::score(row, label))),
                    ),
                    (Kind::Scored, None, given) => {
                        let score = cell::number(given.as_deref().unwrap_or_default());
                        let score =
                            score.map_err(|message| DataError::Argument(format!("`label`: {message}")))?;
                        Examples::Scored(each.row(|row, line| columns.with(row, line, |_| Ok(score))))
                    }
                    (_, Some(label), _) => Examples::Labelled(
                        each.row(|row, line| columns.with(row, line, |row| cell::label(row, label, names))),
                    ),
                    (_, None, given) => {
                        let given = given.clone().unwrap_or_default();
                        Examples::Labelled(
                            each.row(|row, line| columns.with(row, line, |_| Ok(given.clone()))),
                        )
                    }
                }
            }
            Self::Pairs { source, target } => Examples::Pairs(each.row(|row, line| {
                Ok(Pair { source: cell::text(row, source)?, target: cell::text(row, target)?, line })
            })),
            Self::Text { text } => Examples::Text(each.row(|row, _| cell::text(row, text))),
        })
    }
}

/// Reads row by row and keeps the problems.
struct Each<'a> {
    rows: &'a Rows,
    problems: &'a mut Problems,
}

impl Each<'_> {
    fn row<T>(&mut self, read: impl Fn(&Value, usize) -> Result<T, String>) -> Vec<T> {
        let width = |row: &Value| row.as_array().map(Vec::len);
        let expected = match &self.rows.header {
            Some(header) => Some(header.len()),
            None => self.rows.rows.first().and_then(|(_, first)| width(first)),
        };
        let mut list = Vec::with_capacity(self.rows.rows.len());
        for (line, row) in &self.rows.rows {
            let result = match (expected, width(row)) {
                (Some(expected), Some(found)) if expected != found => {
                    Err(format!("expected {expected} columns, found {found}"))
                }
                (Some(_), None) => Err(format!("expected a list, found {}", describe(row))),
                (None, _) if !row.is_object() => {
                    Err(format!("expected a JSON object, found {}", describe(row)))
                }
                _ => read(row, *line),
            };
            match result {
                Ok(example) => list.push(example),
                Err(message) => self.problems.at(*line, message),
            }
        }
        list
    }
}

struct TextColumns<'a> {
    text: &'a Key,
    pair: Option<&'a Key>,
}

impl TextColumns<'_> {
    fn with<L>(
        &self,
        row: &Value,
        line: usize,
        label: impl Fn(&Value) -> Result<L, String>,
    ) -> Result<Row<L>, String> {
        Ok(Row {
            text: cell::text(row, self.text)?,
            pair: self.pair.map(|pair| cell::text(row, pair)).transpose()?,
            label: label(row)?,
            line,
        })
    }
}

fn sentence(
    row: &Value,
    words: &Key,
    tags: &Key,
    options: &ReadOptions,
    line: usize,
) -> Result<Sentence, String> {
    let found = cell::list(row, words)?;
    let words: Vec<String> = found
        .iter()
        .map(|word| match word {
            Value::String(word) if !word.trim().is_empty() => Ok(word.clone()),
            other => Err(format!("expected words in {words}, found {}", describe(other))),
        })
        .collect::<Result<_, _>>()?;
    let tags: Vec<String> = cell::list(row, tags)?
        .iter()
        .map(|tag| cell::name(tag, tags, &options.labels))
        .collect::<Result<_, _>>()?;
    if words.len() != tags.len() {
        let (words, tags) = (words.len(), tags.len());
        return Err(format!("expected one tag for each word, found {words} words and {tags} tags"));
    }
    if words.is_empty() {
        return Err("expected words, found an empty sentence".to_owned());
    }
    Ok(Sentence { lines: vec![line; words.len()], words, tags })
}
