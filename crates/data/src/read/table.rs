//! Tables: comma-separated with quotes, or tab-separated without.

use serde_json::Value;

use super::rows::{self, Rows};
use super::source::Source;
use crate::error::Problems;
use crate::{DataError, Examples, ReadOptions};

pub(super) fn read(source: &Source, options: &ReadOptions, delimiter: u8) -> Result<Examples, DataError> {
    let wrong = |message: String| DataError::Format { path: source.path.clone(), message };
    let has_quotes = options.quotes.unwrap_or(delimiter == b',');
    if has_quotes && let Some(line) = open_quote(source.text.as_bytes(), delimiter) {
        let message = "a field begins with a double quote here, and no quote ends it: what follows would be one field. \
                       Close it, or set `quotes = false` where quotes are text";
        return Err(Problems::only(&source.path, line, message.to_owned()));
    }
    let mut table = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(has_quotes)
        // The source's lines end with `\n`; a carriage return inside a field is text.
        .terminator(csv::Terminator::Any(b'\n'))
        .flexible(true)
        .has_headers(false)
        .from_reader(source.text.as_bytes());
    let mut lines = LineCounter { text: source.text.as_bytes(), at: 0, line: 1 };
    let mut rows = Vec::new();
    let mut header = None;
    for record in table.records() {
        let record = record.map_err(|error| wrong(error.to_string()))?;
        if header.is_none() && options.header.unwrap_or(true) {
            header = Some(record.iter().map(|name| name.trim().to_owned()).collect());
            continue;
        }
        let cells = record.iter().map(|cell| Value::String(cell.trim().to_owned())).collect();
        rows.push((lines.line_of(&record), Value::Array(cells)));
    }
    rows::examples(&source.path, &Rows { header, rows }, options, Problems::new(&source.path))
}

/// The line on which a quote opens that nothing closes. A quote opens at the start of a field only, and two quotes in a
/// field stand for one.
fn open_quote(text: &[u8], delimiter: u8) -> Option<usize> {
    #[derive(PartialEq)]
    enum At {
        Start,
        Plain,
        Quoted,
        /// After a quote in a quoted field: its end, or the first of two.
        Closed,
    }
    let (mut at, mut line, mut opened) = (At::Start, 1, 1);
    for &byte in text {
        at = match (at, byte) {
            (At::Start, b'"') => {
                opened = line;
                At::Quoted
            }
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, _) | (At::Closed, b'"') => At::Quoted,
            (_, byte) if byte == delimiter || byte == b'\n' => At::Start,
            _ => At::Plain,
        };
        line += usize::from(byte == b'\n');
    }
    (at == At::Quoted).then_some(opened)
}

/// Counts lines up to a row. The csv crate's own count is one short after blank lines.
struct LineCounter<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl LineCounter<'_> {
    fn line_of(&mut self, row: &csv::StringRecord) -> usize {
        let before = row.position().map_or(0, |position| position.byte() as usize);
        let is_row_start = |at: &usize| self.text.get(*at) != Some(&b'\n');
        let start = (before..=self.text.len()).find(is_row_start).unwrap_or(before);
        self.line += self.text[self.at..start].iter().filter(|&&byte| byte == b'\n').count();
        self.at = start;
        self.line
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
    fn a_quote_that_nothing_closes_is_named_with_its_line() {
        let open = "text,label\n\"one, \"\"two\"\"\n\",good\nnot \"here,bad\n\"and so\non,bad\nmore,good\n";
        let error = labelled("a.csv", open, &ReadOptions::default()).expect_err("open");
        assert!(error.starts_with("a.csv:5: a field begins with a double quote here"), "{error}");
        assert!(error.contains("quotes = false"), "{error}");
        let closed = open.replace("on,bad", "on\",bad");
        assert_eq!(labelled("a.csv", &closed, &ReadOptions::default()).map(|list| list.len()), Ok(4));
        for text in ["text,label\n\"a\",b", "text,label\na,\"b\"", "text,label\n\"a\"\"\",b\n"] {
            assert_eq!(
                labelled("a.csv", text, &ReadOptions::default()).map(|list| list.len()),
                Ok(1),
                "{text}"
            );
        }
        let plain = ReadOptions { quotes: Some(false), ..Default::default() };
        let list = labelled("a.csv", "text,label\n\"a,b\n", &plain).expect("quotes are text");
        assert_eq!(list[0].text, "\"a");
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
    fn several_labels_and_numbers_are_read_where_they_are_wanted() {
        let columns = Columns { text: Some(0.into()), label: Some((-2).into()), ..Default::default() };
        let labels = ["joy", "anger", "fear"].map(str::to_owned).to_vec();
        let options = ReadOptions {
            kind: Some(Kind::MultiLabelled),
            columns: columns.clone(),
            header: Some(false),
            labels,
            ..Default::default()
        };
        let Ok(Examples::MultiLabelled(list)) = read_text("a.tsv", "one\t0,2\tid\ntwo\t\tid\n", &options)
        else {
            panic!("several labels")
        };
        assert_eq!((list[0].label.join(" ").as_str(), list[1].label.len()), ("joy fear", 0));
        let options = ReadOptions { label_separator: Some("|".into()), ..options };
        let error = read_text("a.tsv", "one\t0|2\tid\ntwo\t0|3\tid\n", &options).expect_err("no label 3");
        assert_eq!(error, "a.tsv:2: column 1 is 3, but `labels` names 3 labels");
        let options = ReadOptions { kind: Some(Kind::Scored), labels: Vec::new(), ..options };
        let error = read_text("a.tsv", "one\t0.5\tid\ntwo\tnan\tid\n", &options).expect_err("not finite");
        assert_eq!(error, "a.tsv:2: column 1: expected a finite number, found NaN");
        let columns = Columns { label: Some((-4).into()), ..columns };
        let error =
            read_text("a.tsv", "one\t1\tid\n", &ReadOptions { columns, ..options }).expect_err("too far");
        assert_eq!(
            error,
            "a.tsv: columns.label = -4, but columns are counted from 0, or from the end with -1, and the first line \
             has 3; found 3 columns and no header"
        );
    }

    #[test]
    fn a_file_may_have_one_label() {
        let columns = Columns { text: Some(1.into()), ..Default::default() };
        let options =
            ReadOptions { label: Some("neutral".into()), header: Some(false), columns, ..Default::default() };
        let list = labelled("a.tsv", "9\tYes.\n9\tNo.\n", &options).expect("reads");
        assert_eq!((list.len(), list[1].text.as_str(), list[1].label.as_str()), (2, "No.", "neutral"));
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
