//! Tables: comma-separated with quotes, or tab-separated without.
//!
//! With a header, columns are found by name: the configured ones, else the usual names. Without one they are counted
//! from 0. A table with source and target gives pairs, one with a label gives labelled texts.

use std::path::Path;

use super::source::Source;
use crate::error::{Problems, did_you_mean};
use crate::{Column, DataError, Examples, Kind, Labelled, Pair, ReadOptions};

/// Usual names, the most telling first.
pub(super) const TEXT: [&str; 14] = [
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
pub(super) const PAIR: [&str; 6] = ["pair", "sentence2", "hypothesis", "question2", "text2", "text_pair"];
pub(super) const LABEL: [&str; 9] =
    ["label", "gold_label", "labels", "class", "category", "intent", "sentiment", "topic", "target_label"];
pub(super) const SOURCE: [&str; 4] = ["source", "src", "input", "prompt"];
pub(super) const TARGET: [&str; 6] = ["target", "tgt", "output", "translation", "response", "completion"];

pub(super) fn read(path: &Path, options: &ReadOptions, delimiter: u8) -> Result<Examples, DataError> {
    let source = Source::open(path)?;
    let mut rows = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(options.quotes.unwrap_or(delimiter == b','))
        .flexible(true)
        .has_headers(false)
        .from_reader(source.text.as_bytes());
    let mut rows = rows.records().map(|row| {
        row.map_err(|error| DataError::Format { path: path.to_owned(), message: error.to_string() })
    });
    let Some(first) = rows.next().transpose()? else {
        return Err(DataError::Format { path: path.to_owned(), message: "the file is empty".into() });
    };
    let has_header = options.header.unwrap_or(true);
    let header: Vec<&str> = if has_header { first.iter().map(str::trim).collect() } else { Vec::new() };
    let layout = Layout::find(path, &header, first.len(), options)?;

    let mut problems = Problems::new(path);
    let mut examples = layout.nothing();
    let mut lines = LineCounter { text: source.text.as_bytes(), at: 0, line: 1 };
    let body = (!has_header).then(|| Ok(first.clone())).into_iter().chain(rows);
    for row in body {
        let row = row?;
        let line = lines.line_of(&row);
        layout.push(&row, line, &mut examples, &mut problems);
    }
    problems.finish(examples)
}

/// Counts lines up to a row. The csv crate's own count is one short after Windows line ends and blank lines.
struct LineCounter<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl LineCounter<'_> {
    fn line_of(&mut self, row: &csv::StringRecord) -> usize {
        let before = row.position().map_or(0, |position| position.byte() as usize);
        let is_row_start = |at: &usize| !matches!(self.text.get(*at), Some(b'\r' | b'\n'));
        let start = (before..=self.text.len()).find(is_row_start).unwrap_or(before);
        self.line += self.text[self.at..start].iter().filter(|&&byte| byte == b'\n').count();
        self.at = start;
        self.line
    }
}

/// Where things stand in a row of `n_columns`.
struct Layout {
    n_columns: usize,
    fields: Fields,
}

enum Fields {
    Labelled { text: usize, pair: Option<usize>, label: usize },
    Pairs { source: usize, target: usize },
    Text { text: usize },
}

impl Layout {
    fn find(
        path: &Path,
        header: &[&str],
        n_columns: usize,
        options: &ReadOptions,
    ) -> Result<Self, DataError> {
        let finder = Finder { path, header, n_columns };
        let columns = &options.columns;
        let source = finder.find("source", &columns.source, &SOURCE)?;
        let target = finder.find("target", &columns.target, &TARGET)?;
        let text = finder.find("text", &columns.text, &TEXT)?;
        let label = finder.find("label", &columns.label, &LABEL)?;
        // The second text cannot stand where the first does.
        let pair = finder.find("pair", &columns.pair, &PAIR)?.filter(|&pair| Some(pair) != text);
        let fields = match (options.kind, text, label, source, target) {
            (Some(Kind::Labelled), Some(text), Some(label), ..) => Fields::Labelled { text, pair, label },
            (Some(Kind::Pairs), _, _, Some(source), Some(target)) => Fields::Pairs { source, target },
            (Some(Kind::Text), Some(text), ..) => Fields::Text { text },
            (None, Some(text), Some(label), None, _) | (None, Some(text), Some(label), _, None) => {
                Fields::Labelled { text, pair, label }
            }
            (None, None, _, Some(source), Some(target)) | (None, _, None, Some(source), Some(target)) => {
                Fields::Pairs { source, target }
            }
            (None, Some(_), Some(_), Some(_), Some(_)) => {
                return Err(finder.unclear(
                    "could give labelled texts or source–target pairs; set `kind` to `labelled` or `pairs`",
                ));
            }
            _ => return Err(finder.unclear(&missing(options.kind, text, label, source, target))),
        };
        Ok(Self { n_columns, fields })
    }

    fn nothing(&self) -> Examples {
        match self.fields {
            Fields::Labelled { .. } => Examples::Labelled(Vec::new()),
            Fields::Pairs { .. } => Examples::Pairs(Vec::new()),
            Fields::Text { .. } => Examples::Text(Vec::new()),
        }
    }

    fn push(&self, row: &csv::StringRecord, line: usize, examples: &mut Examples, problems: &mut Problems) {
        if row.len() != self.n_columns {
            problems.at(line, format!("expected {} columns, found {}", self.n_columns, row.len()));
            return;
        }
        let mut field = |at: usize, name: &str| {
            let text = row.get(at).unwrap_or_default().trim();
            if text.is_empty() {
                problems.at(line, format!("expected a {name} in column {at}, found nothing"));
            }
            text.to_owned()
        };
        match (&self.fields, examples) {
            (Fields::Labelled { text, pair, label }, Examples::Labelled(list)) => list.push(Labelled {
                text: field(*text, "text"),
                pair: pair.map(|pair| field(pair, "second text")),
                label: field(*label, "label"),
                line,
            }),
            (Fields::Pairs { source, target }, Examples::Pairs(list)) => {
                list.push(Pair { source: field(*source, "source"), target: field(*target, "target"), line });
            }
            (Fields::Text { text }, Examples::Text(list)) => list.push(field(*text, "text")),
            _ => {}
        }
    }
}

struct Finder<'a> {
    path: &'a Path,
    header: &'a [&'a str],
    n_columns: usize,
}

impl Finder<'_> {
    /// The configured column, or the first of the usual names that the header has.
    fn find(&self, key: &str, wanted: &Option<Column>, usual: &[&str]) -> Result<Option<usize>, DataError> {
        match wanted {
            None => Ok(usual
                .iter()
                .find_map(|name| self.header.iter().position(|column| column.eq_ignore_ascii_case(name)))),
            Some(Column::Index(at)) if *at < self.n_columns => Ok(Some(*at)),
            Some(Column::Index(at)) => Err(self.unclear(&format!(
                "columns.{key} = {at}, but columns are counted from 0 and the first line has {}",
                self.n_columns
            ))),
            Some(Column::Name(name)) => match self.header.iter().position(|column| column == name) {
                Some(at) => Ok(Some(at)),
                None => Err(self.unclear(&format!(
                    "columns.{key} = `{name}` is not in the header{}",
                    did_you_mean(name, self.header.iter().copied())
                ))),
            },
        }
    }

    fn unclear(&self, message: &str) -> DataError {
        let found = if self.header.is_empty() {
            format!("{} columns and no header", self.n_columns)
        } else {
            format!("columns {}", self.header.join(", "))
        };
        DataError::Format { path: self.path.to_owned(), message: format!("{message}; found {found}") }
    }
}

/// Which keys would make the table readable.
fn missing(
    kind: Option<Kind>,
    text: Option<usize>,
    label: Option<usize>,
    source: Option<usize>,
    target: Option<usize>,
) -> String {
    let keys = |list: &[(&str, Option<usize>)]| {
        let missing: Vec<String> =
            list.iter().filter(|(_, at)| at.is_none()).map(|(key, _)| format!("columns.{key}")).collect();
        missing.join(" and ")
    };
    match kind {
        Some(Kind::Pairs) => {
            format!("no column for the pairs; set {}", keys(&[("source", source), ("target", target)]))
        }
        Some(Kind::Text) => format!("no column for the text; set {}", keys(&[("text", text)])),
        Some(Kind::Tagged) => "a table has no tagged words; use format `conll` or `jsonl`".to_owned(),
        _ => format!("no column for the labelled text; set {}", keys(&[("text", text), ("label", label)])),
    }
}

#[cfg(test)]
mod tests {
    use crate::read::testing::read_text;
    use crate::{Columns, Examples, Kind, Labelled, Pair, ReadOptions};

    fn labelled(name: &str, text: &str, options: &ReadOptions) -> Result<Vec<Labelled>, String> {
        match read_text(name, text, options)? {
            Examples::Labelled(list) => Ok(list),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn finds_the_usual_columns_and_counts_lines_of_quoted_fields() {
        let text = "id,category,text\r\n1,good,\"two\nlines, \"\"quoted\"\"\"\r\n\r\n2,bad,plain\r\n";
        let list = labelled("a.csv", text, &ReadOptions::default()).expect("reads");
        assert_eq!(list[0].text, "two\nlines, \"quoted\"");
        assert_eq!((list[0].line, list[1].line, list[1].label.as_str()), (2, 5, "bad"));
    }

    #[test]
    fn tabs_have_no_quotes_unless_asked_for() {
        let text = "sentence1\tsentence2\tgold_label\n\"a\tb\"\tneutral\n";
        let list = labelled("a.tsv", text, &ReadOptions::default()).expect("reads");
        assert_eq!((list[0].text.as_str(), list[0].pair.as_deref()), ("\"a", Some("b\"")));
        let options = ReadOptions { quotes: Some(true), ..Default::default() };
        let error = labelled("a.tsv", text, &options).expect_err("one field less");
        assert_eq!(error, "a.tsv:2: expected 3 columns, found 2");
    }

    #[test]
    fn columns_by_place_need_no_header() {
        let columns = Columns { label: Some(0.into()), text: Some(1.into()), ..Default::default() };
        let options = ReadOptions { columns, header: Some(false), ..Default::default() };
        let list = labelled("a.tsv", "\u{FEFF}餐馆\t你好\n酒店\t再见\n", &options).expect("reads");
        assert_eq!((list.len(), list[0].label.as_str(), list[0].line), (2, "餐馆", 1));
    }

    #[test]
    fn source_and_target_give_pairs() {
        let pairs = read_text("a.csv", "source,target\na,b\n", &ReadOptions::default());
        assert_eq!(
            pairs,
            Ok(Examples::Pairs(vec![Pair { source: "a".into(), target: "b".into(), line: 2 }]))
        );
        let columns = Columns { source: Some(0.into()), target: Some(1.into()), ..Default::default() };
        let options = ReadOptions { columns, header: Some(false), ..Default::default() };
        assert_eq!(read_text("a.tsv", "Hi.\t嗨。\tCC-BY\n", &options).map(|pairs| pairs.len()), Ok(1));
    }

    #[test]
    fn a_text_column_alone_is_read_if_text_is_wanted() {
        let options = ReadOptions { kind: Some(Kind::Text), ..Default::default() };
        let text = read_text("a.csv", "id,text\n1,a\n2,b\n", &options);
        assert_eq!(text, Ok(Examples::Text(vec!["a".into(), "b".into()])));
        let error = read_text("a.csv", "id,text\n1,a\n", &ReadOptions::default()).expect_err("no label");
        assert_eq!(
            error,
            "a.csv: no column for the labelled text; set columns.label; found columns id, text"
        );
    }

    #[test]
    fn a_misspelt_column_names_the_nearest() {
        let columns = Columns { label: Some("categry".into()), ..Default::default() };
        let options = ReadOptions { columns, ..Default::default() };
        let error = labelled("a.csv", "text,category\na,b\n", &options).expect_err("misspelt");
        assert_eq!(
            error,
            "a.csv: columns.label = `categry` is not in the header; did you mean `category`?; \
             found columns text, category"
        );
    }

    #[test]
    fn an_ambiguous_table_says_which_key_decides() {
        let error = read_text("a.csv", "text,label,source,target\na,b,c,d\n", &ReadOptions::default());
        assert!(error.expect_err("unclear").contains("set `kind` to `labelled` or `pairs`"));
    }

    #[test]
    fn ragged_and_empty_fields_are_reported_together() {
        let error = labelled("a.csv", "text,label\na\n,b\nc,d,e\nf, \n", &ReadOptions::default());
        let expected = "a.csv: 4 problems\n  a.csv:2: expected 2 columns, found 1\n  \
            a.csv:3: expected a text in column 0, found nothing\n  \
            a.csv:4: expected 2 columns, found 3\n  \
            a.csv:5: expected a label in column 1, found nothing";
        assert_eq!(error.expect_err("four problems"), expected);
    }
}
