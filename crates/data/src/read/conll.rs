//! CoNLL columns: a word and its tag per line, a blank line between sentences.
//!
//! Columns are separated by tabs if the first word's line has one, else by blanks. Without configuration the word is the
//! first column (the second where the first counts 1, 2, 3 as in CoNLL-U), and the tag the last column that holds tags.
//! `-DOCSTART-` lines are skipped, and so are comment lines (`# …`) ahead of a sentence, unless they have a tag.
//! In files that count words, ranges (`3-4`) and empty words (`5.1`) are skipped as CoNLL-U asks.

use locus_metrics::tags;

use super::keys;
use super::source::Source;
use super::tag::{Sentence, to_iob2};
use crate::error::Problems;
use crate::{Column, DataError, Examples, ReadOptions};

/// How many word lines are looked at to find the columns.
const SAMPLE_LINES: usize = 400;

pub(super) fn read(source: &Source, options: &ReadOptions) -> Result<Examples, DataError> {
    let layout = Layout::find(source, options)?;
    let mut problems = Problems::new(&source.path);
    let mut sentences = sentences(source, &layout, &mut problems);
    settle_known_faults(&mut sentences, &layout, options.known_faults, &mut problems);
    let examples = to_iob2(sentences, options, &mut problems);
    problems.finish(Examples::Tagged(examples))
}

/// Lines with a tag and no word. As many as are known are read as the replacement character, so that the tags of the
/// sentence stay where they are; otherwise each is a problem.
fn settle_known_faults(
    sentences: &mut [Sentence],
    layout: &Layout,
    declared: usize,
    problems: &mut Problems,
) {
    let empty = |sentences: &[Sentence]| -> Vec<usize> {
        let words = sentences.iter().flat_map(|sentence| sentence.words.iter().zip(&sentence.lines));
        words.filter(|(word, _)| word.is_empty()).map(|(_, &line)| line).collect()
    };
    let found = empty(sentences);
    if found.len() != declared && declared > 0 {
        problems.at(0, format!("{} lines have no word, known_faults says {declared}", found.len()));
    }
    if found.len() != declared {
        let message = format!("expected a word in column {}, found nothing; remove the line", layout.word);
        found.into_iter().for_each(|line| problems.at(line, message.clone()));
    }
    for word in sentences.iter_mut().flat_map(|sentence| &mut sentence.words).filter(|word| word.is_empty()) {
        *word = char::REPLACEMENT_CHARACTER.to_string();
    }
}

/// Where word and tag stand.
struct Layout {
    tabs: bool,
    n_columns: usize,
    word: usize,
    tag: usize,
    counted: bool,
}

impl Layout {
    fn find(source: &Source, options: &ReadOptions) -> Result<Self, DataError> {
        let wrong = |message: String| DataError::Format { path: source.path.clone(), message };
        let tabs = source
            .lines()
            .find(|(_, line)| !is_skipped(line) && !line.starts_with("# "))
            .is_some_and(|(_, line)| line.trim_end().contains('\t'));
        let rows: Vec<Vec<&str>> = source
            .lines()
            .map(|(_, line)| line)
            .filter(|line| !(is_skipped(line) || line.starts_with("# ") && comment(line, tabs)))
            .map(|line| fields(line, tabs))
            .take(SAMPLE_LINES)
            .collect();
        let Some(first) = rows.first() else { return Err(wrong("holds no words".into())) };
        let n_columns = first.len();
        if n_columns < 2 {
            return Err(wrong(format!(
                "expected a word and a tag on each line, found one column in `{}`; \
                 set `format` if these are not CoNLL columns",
                first.join(" ")
            )));
        }
        let counted = n_columns > 2 && is_counted(&rows);
        let place = |column: &Option<Column>, name: &str| match column {
            None => Ok(None),
            Some(Column::Index(at)) if keys::place(*at, n_columns).is_some() => {
                Ok(keys::place(*at, n_columns))
            }
            Some(column) => Err(wrong(format!(
                "columns.{name} = {column}, but CoNLL columns are counted from 0, or from the end with -1, and this file \
                 has {n_columns}"
            ))),
        };
        let (word, tag) = (place(&options.columns.word, "word")?, place(&options.columns.tag, "tag")?);
        // Where the tag comes first, the word is beside it.
        let word = word.unwrap_or(usize::from(counted) + usize::from(tag == Some(usize::from(counted))));
        let tag = match tag {
            Some(tag) if tag == word => {
                return Err(wrong(format!("columns.word and columns.tag both name column {word}")));
            }
            Some(tag) => tag,
            None => find_tags(&rows, word).ok_or_else(|| {
                wrong(format!(
                    "no column of `{}` holds tags such as O or B-PER; set columns.tag, counted from 0",
                    first.join(" ")
                ))
            })?,
        };
        Ok(Self { tabs, n_columns, word, tag, counted })
    }
}

/// The last column in which most values are well-formed tags.
fn find_tags(rows: &[Vec<&str>], word: usize) -> Option<usize> {
    let n_columns = rows.first()?.len();
    (0..n_columns).rev().filter(|&column| column != word).find(|&column| {
        let values = rows.iter().filter_map(|row| row.get(column));
        2 * values.filter(|value| tags::problem(value).is_none()).count() >= rows.len()
    })
}

/// Whether the first column counts words: only numbers, 1 among the first two rows.
fn is_counted(rows: &[Vec<&str>]) -> bool {
    rows.iter().all(|row| row[0].starts_with(|c: char| c.is_ascii_digit()))
        && rows.iter().take(2).any(|row| row[0] == "1")
}

fn sentences(source: &Source, layout: &Layout, problems: &mut Problems) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    let mut open = Open::default();
    for (line, text) in source.lines() {
        if is_skipped(text) {
            open.close(&mut sentences, problems);
        } else if open.words.is_empty() && text.starts_with("# ") && comment(text, layout.tabs) {
            open.comment.get_or_insert(line);
        } else {
            open.push(line, text, layout, problems);
        }
    }
    open.close(&mut sentences, problems);
    sentences
}

/// The sentence being read.
#[derive(Default)]
struct Open {
    words: Vec<String>,
    tags: Vec<String>,
    lines: Vec<usize>,
    /// The first comment line ahead of it.
    comment: Option<usize>,
    /// Whether a line of it was wrong, so that a lack of words is no further problem.
    broken: bool,
}

impl Open {
    fn push(&mut self, line: usize, text: &str, layout: &Layout, problems: &mut Problems) {
        let fields = fields(text, layout.tabs);
        if layout.counted && fields[0].contains(['-', '.']) {
            return;
        }
        if fields.len() != layout.n_columns {
            let separator = if layout.tabs { "tab-separated" } else { "blank-separated" };
            let expected = layout.n_columns;
            problems.at(
                line,
                format!("expected {expected} {separator} columns, found {}: `{text}`", fields.len()),
            );
            self.broken = true;
            return;
        }
        let (word, tag) = (fields[layout.word], fields[layout.tag]);
        self.words.push(word.to_owned());
        self.tags.push(tag.to_owned());
        self.lines.push(line);
    }

    fn close(&mut self, sentences: &mut Vec<Sentence>, problems: &mut Problems) {
        let Self { words, tags, lines, comment, broken } = std::mem::take(self);
        if !words.is_empty() {
            sentences.push(Sentence { words, tags, lines });
        } else if let Some(line) = comment
            && !broken
        {
            problems.at(line, "expected words after the comment, found an empty sentence");
        }
    }
}

fn is_skipped(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with("-DOCSTART-")
}

/// Whether a line that starts with `# ` is a comment and not the word `#` with its tag.
fn comment(line: &str, tabs: bool) -> bool {
    if tabs {
        return !line.contains('\t');
    }
    let fields: Vec<&str> = line.split_whitespace().collect();
    fields.len() < 2 || fields.last().is_none_or(|last| tags::problem(last).is_some())
}

fn fields(line: &str, tabs: bool) -> Vec<&str> {
    if tabs {
        line.trim_end().split('\t').map(str::trim).collect()
    } else {
        line.split_whitespace().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::read::testing::read_text;
    use crate::{Column, Columns, Examples, ReadOptions, Tagged};

    fn read(text: &str) -> Result<Vec<Tagged>, String> {
        read_with(text, &ReadOptions::default())
    }

    fn read_with(text: &str, options: &ReadOptions) -> Result<Vec<Tagged>, String> {
        match read_text("a.conll", text, options)? {
            Examples::Tagged(list) => Ok(list),
            other => Err(format!("{other:?}")),
        }
    }

    fn tags(list: &[Tagged]) -> String {
        list.iter().map(|example| example.tags.join(" ")).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn reads_tabs_and_blanks_with_windows_line_ends() {
        let expected = read("-DOCSTART- -X- O\n\nJohn B-PER\nSmith I-PER\n\nis O\n").expect("reads");
        assert_eq!(expected[0].words, ["John", "Smith"]);
        assert_eq!((expected[0].line, expected[1].line), (3, 6));
        let tabs = read("\u{FEFF}-DOCSTART-\tO\r\n\r\nJohn\tB-PER\r\nSmith\tI-PER\r\n\t\r\nis\tO\r\n");
        assert_eq!(tabs.expect("reads"), expected);
    }

    #[test]
    fn every_scheme_becomes_iob2() {
        let cases = [
            ("a I-A\nb I-A\n\nc I-B\n", "B-A I-A | B-B"),
            ("a I-A\nb B-A\nc I-A\n\nd I-B\n", "B-A B-A I-A | B-B"),
            ("a B-A\nb E-A\nc S-B\n", "B-A I-A B-B"),
            ("a B-A\nb I-A\nc O\n", "B-A I-A O"),
        ];
        for (text, expected) in cases {
            assert_eq!(tags(&read(text).expect("reads")), expected, "{text}");
        }
    }

    #[test]
    fn reads_the_universal_ner_layout() {
        let text = "# sent_id = 1\n# text = 北京 B\n1\t北京\tB-LOC\t-\t-\n2-3\t一下\t_\t_\t_\n2\t一\tO\t-\t-\n\
                    3\t下\tO\t-\t-\n\n# text = x\n1\t#\tO\t-\t-\n";
        let list = read(text).expect("reads");
        assert_eq!((list[0].words.join(" "), tags(&list)), ("北京 一 下".into(), "B-LOC O O | O".into()));
        assert_eq!((list[0].line, list[1].line), (3, 9));
    }

    #[test]
    fn a_hash_with_a_tag_is_a_word() {
        let list = read("# O\n#BREAKING O\nA B-ORG\n").expect("reads");
        assert_eq!(list[0].words, ["#", "#BREAKING", "A"]);
        let list = read("# a comment\nA B-ORG\n# O\n").expect("reads");
        assert_eq!(list[0].words, ["A", "#"]);
    }

    #[test]
    fn columns_can_be_chosen() {
        let text = "O John NNP B-PER\nO runs VBZ O\n";
        let columns =
            Columns { word: Some(Column::Index(1)), tag: Some(Column::Index(3)), ..Default::default() };
        let options = ReadOptions { columns: columns.clone(), ..Default::default() };
        assert_eq!(read_with(text, &options).expect("reads")[0].words, ["John", "runs"]);
        let from_end = Columns { word: Some((-3).into()), tag: Some((-1).into()), ..Default::default() };
        let by_place = read_with(text, &options);
        assert_eq!(read_with(text, &ReadOptions { columns: from_end, ..Default::default() }), by_place);
        let columns = Columns { tag: Some(Column::Index(4)), ..columns };
        let error = read_with(text, &ReadOptions { columns, ..Default::default() }).expect_err("no column 4");
        assert!(error.contains("columns.tag = 4, but") && error.contains("has 4"), "{error}");
    }

    #[test]
    fn where_the_tag_comes_first_the_word_is_beside_it() {
        let with =
            |columns| read_with("B-PER John\nO runs\n", &ReadOptions { columns, ..Default::default() });
        let tag = Some(Column::Index(0));
        let sentences = with(Columns { tag: tag.clone(), ..Default::default() }).expect("reads");
        assert_eq!(sentences[0].words, ["John", "runs"]);
        let error = with(Columns { word: tag.clone(), tag, ..Default::default() }).expect_err("one column");
        assert!(error.contains("columns.word and columns.tag both name column 0"), "{error}");
    }

    #[test]
    fn problems_come_together_with_their_lines() {
        let error = read("a O\nb B-A I-A\nc\nd X-PER\ne B-\nf O\n").expect_err("four problems");
        let expected = "a.conll: 4 problems\n  \
            a.conll:2: expected 2 blank-separated columns, found 3: `b B-A I-A`\n  \
            a.conll:3: expected 2 blank-separated columns, found 1: `c`\n  \
            a.conll:4: tag \"X-PER\" has the prefix \"X\"; expected one of B I E S L U M\n  \
            a.conll:5: tag \"B-\" has no entity type after the hyphen";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_comment_without_words_is_an_empty_sentence() {
        let error = read("# text = a\n1\ta\tO\n\n# text = b\n\n# text = c\n1\tc\tO\n").expect_err("empty");
        assert_eq!(error, "a.conll:4: expected words after the comment, found an empty sentence");
    }

    #[test]
    fn an_empty_word_is_an_error() {
        assert_eq!(
            read("a\tO\n\tO\n").expect_err("no word"),
            "a.conll:2: expected a word in column 0, found nothing; remove the line"
        );
        let options = ReadOptions { known_faults: 1, ..Default::default() };
        assert_eq!(read_with("a\tO\n\tO\n", &options).expect("as declared")[0].words, ["a", "\u{FFFD}"]);
        let error = read_with("a\tO\nb\tO\n", &options).expect_err("none is empty");
        assert_eq!(error, "a.conll: 0 lines have no word, known_faults says 1");
    }

    #[test]
    fn a_file_without_tags_says_which_key_to_set() {
        let error = read("John NNP\nruns VBZ\n").expect_err("no tags");
        assert!(
            error.contains("no column of `John NNP` holds tags") && error.contains("columns.tag"),
            "{error}"
        );
        let error = read("John\nruns\n").expect_err("one column");
        assert!(error.contains("found one column in `John`"), "{error}");
    }
}
