//! Looking at a data set before training does: what would spoil a score is found here, with its line.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use locus_metrics::tags::Span;
use serde::Serialize;

use crate::split::Part;
use crate::stats::{label_counts, write_counts};
use crate::{DataError, Examples, LabelSet, Ranking, Row, Spanned, Tokenizer, UnknownLabel};

/// The examples of each part of a set.
pub type Splits = BTreeMap<Part, Examples>;

/// How many lines of each finding are named.
const LINES_NAMED: usize = 5;

/// A label with fewer training examples than this is named: too few to learn it from.
const RARE: usize = 5;

/// The longest input that is no finding.
#[derive(Debug, Clone, Copy)]
pub enum LengthLimit<'a> {
    /// What a model takes.
    Tokens {
        /// Counts the tokens.
        tokenizer: &'a Tokenizer,
        /// Its frame included.
        max_len: usize,
    },
    /// Characters of both texts of a pair, or of the longer of source and target.
    Chars(usize),
}

/// What [`check()`] found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// The findings of each part.
    pub parts: BTreeMap<Part, PartReport>,
    /// Texts that two parts share.
    pub overlaps: Vec<Overlap>,
}

/// The findings of one part.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PartReport {
    /// How many examples there are.
    pub examples: usize,
    /// How many have each label; for tags, how many entities of each type.
    pub labels: BTreeMap<String, usize>,
    /// Examples whose number of words and of tags differ, or whose token labels could not be placed.
    pub misaligned: Finding,
    /// Examples without any text.
    pub empty: Finding,
    /// Examples that repeat an earlier one, label included.
    pub duplicates: Finding,
    /// Examples that repeat an earlier text with another label.
    pub contradictions: Finding,
    /// Examples longer than the limit, where one was given. They are cut into windows, not dropped.
    pub over_long: Option<Finding>,
    /// Examples with U+FFFD, which stands where some earlier program could not decode a character.
    pub replacements: Finding,
    /// Of the training part: labels with fewer than five examples, and how many they have.
    pub rare_labels: BTreeMap<String, usize>,
    /// Labels that the training part does not have; nobody can predict them.
    pub unknown_labels: Vec<UnknownLabel>,
}

/// How often something was found, and where first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Finding {
    /// How often.
    pub count: usize,
    /// The lines of the first few; 0 where an example has no line.
    pub lines: Vec<usize>,
}

/// Texts that two parts share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// The earlier part.
    pub first: Part,
    /// The later part.
    pub second: Part,
    /// Which examples of the later part are also in the earlier.
    pub found: Finding,
}

/// Looks for mistakes in a set.
///
/// # Errors
/// If the tokenizer cannot encode a text.
pub fn check(splits: &Splits, limit: Option<LengthLimit<'_>>) -> Result<CheckReport, DataError> {
    let trained = splits.get(&Part::Train).and_then(|train| LabelSet::from_training(train).ok());
    let mut parts = BTreeMap::new();
    for (&part, examples) in splits {
        let mut report = part_report(examples);
        if let Some(limit) = limit {
            report.over_long = Some(over_long(examples, limit)?);
        }
        if part == Part::Train {
            let rare = report.labels.iter().filter(|(_, count)| **count < RARE);
            report.rare_labels = rare.map(|(label, &count)| (label.clone(), count)).collect();
        }
        if let Some(labels) = trained.as_ref().filter(|_| part != Part::Train) {
            report.unknown_labels = labels.unknown(examples);
        }
        parts.insert(part, report);
    }
    Ok(CheckReport { parts, overlaps: overlaps(splits) })
}

impl CheckReport {
    /// Whether nothing was found that would spoil a score. Over-long examples, duplicates inside a part, rare labels and
    /// replacement characters are worth knowing and allowed.
    pub fn is_clean(&self) -> bool {
        self.overlaps.is_empty()
            && self.parts.values().all(|part| {
                part.misaligned.count + part.empty.count + part.contradictions.count == 0
                    && part.unknown_labels.is_empty()
            })
    }
}

impl Finding {
    fn add(&mut self, line: usize) {
        self.count += 1;
        if self.lines.len() < LINES_NAMED {
            self.lines.push(line);
        }
    }
}

fn part_report(examples: &Examples) -> PartReport {
    let mut report =
        PartReport { examples: examples.len(), labels: label_counts(examples), ..PartReport::default() };
    let mut seen: HashMap<String, BTreeSet<String>> = HashMap::new();
    for Seen { line, text, label, aligned } in rows(examples) {
        if !aligned {
            report.misaligned.add(line);
        }
        if text.contains(char::REPLACEMENT_CHARACTER) {
            report.replacements.add(line);
        }
        if text.trim().is_empty() {
            report.empty.add(line);
            continue;
        }
        let labels = seen.entry(text).or_default();
        if labels.contains(&label) {
            report.duplicates.add(line);
        } else if !labels.is_empty() && !matches!(examples, Examples::Pairs(_) | Examples::Qa(_)) {
            // A sentence may have several translations; a question may have several answers. A text cannot have two labels.
            report.contradictions.add(line);
        }
        labels.insert(label);
    }
    report
}

/// An example as far as a check looks at it.
struct Seen {
    line: usize,
    text: String,
    label: String,
    aligned: bool,
}

fn rows(examples: &Examples) -> Vec<Seen> {
    fn plain(line: usize, text: &str, label: &str) -> Seen {
        Seen { line, text: text.to_owned(), label: label.to_owned(), aligned: true }
    }
    fn of_rows<L>(list: &[Row<L>], label: impl Fn(&L) -> String) -> Vec<Seen> {
        let seen = |row: &Row<L>| match &row.pair {
            Some(pair) => plain(row.line, &format!("{}\t{pair}", row.text), &label(&row.label)),
            None => plain(row.line, &row.text, &label(&row.label)),
        };
        list.iter().map(seen).collect()
    }
    match examples {
        Examples::Tagged(list) => list
            .iter()
            .map(|example| Seen {
                line: example.line,
                text: example.words.join(" "),
                label: example.tags.join(" "),
                aligned: example.words.len() == example.tags.len(),
            })
            .collect(),
        Examples::Spans(list) => {
            let seen = |example: &Spanned| {
                let spans: BTreeSet<&Span> = example.spans.iter().collect();
                let spans: Vec<String> =
                    spans.iter().map(|span| format!("{}..{} {}", span.start, span.end, span.label)).collect();
                plain(example.line, &example.words.join(" "), &spans.join(", "))
            };
            list.iter().map(seen).collect()
        }
        Examples::Labelled(list) => of_rows(list, String::clone),
        Examples::MultiLabelled(list) => of_rows(list, |labels| {
            let sorted: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
            sorted.into_iter().collect::<Vec<_>>().join(",")
        }),
        Examples::Scored(list) => of_rows(list, f64::to_string),
        Examples::Text(list) => list.iter().map(|text| plain(0, text, "")).collect(),
        Examples::Qa(list) => list
            .iter()
            .map(|question| {
                let answers: Vec<&str> = question.answers.iter().map(|answer| answer.text.as_str()).collect();
                plain(
                    question.line,
                    &format!("{}\t{}", question.context, question.question),
                    &answers.join("\t"),
                )
            })
            .collect(),
        Examples::Ranked(list) => {
            let seen = |ranking: &Ranking| {
                let texts = ranking.candidates.iter().map(|candidate| candidate.text.as_str());
                let texts: Vec<&str> = std::iter::once(ranking.query.as_str()).chain(texts).collect();
                let gains: Vec<String> = ranking.candidates.iter().map(|c| c.gain.to_string()).collect();
                plain(ranking.line, &texts.join("\t"), &gains.join(" "))
            };
            list.iter().map(seen).collect()
        }
        Examples::Pairs(list) => {
            list.iter().map(|example| plain(example.line, &example.source, &example.target)).collect()
        }
    }
}

fn over_long(examples: &Examples, limit: LengthLimit<'_>) -> Result<Finding, DataError> {
    let (LengthLimit::Tokens { max_len, .. } | LengthLimit::Chars(max_len)) = limit;
    let mut found = Finding::default();
    let framed = |text: &str, pair: Option<&str>| -> Result<usize, DataError> {
        let LengthLimit::Tokens { tokenizer, .. } = limit else {
            return Ok(text.chars().count() + pair.map_or(0, |pair| pair.chars().count()));
        };
        let second = pair.map(|pair| tokenizer.encode(pair)).transpose()?.map_or(0, |pair| pair.ids.len());
        Ok(tokenizer.encode(text)?.ids.len() + second + tokenizer.frame().n_tokens(pair.is_some()))
    };
    let of_target = |text: &str| -> Result<usize, DataError> {
        Ok(match limit {
            LengthLimit::Tokens { tokenizer, .. } => {
                tokenizer.encode_target(text)?.ids.len() + tokenizer.frame().n_tokens(false)
            }
            LengthLimit::Chars(_) => text.chars().count(),
        })
    };
    let of_words = |words: &[String]| -> Result<usize, DataError> {
        Ok(match limit {
            LengthLimit::Tokens { tokenizer, .. } => {
                tokenizer.encode_words(words)?.ids.len() + tokenizer.frame().n_tokens(false)
            }
            LengthLimit::Chars(_) => words.join(" ").chars().count(),
        })
    };
    fn of_rows<L>(
        list: &[Row<L>],
        framed: impl Fn(&str, Option<&str>) -> Result<usize, DataError>,
        max_len: usize,
        found: &mut Finding,
    ) -> Result<(), DataError> {
        for row in list {
            if framed(&row.text, row.pair.as_deref())? > max_len {
                found.add(row.line);
            }
        }
        Ok(())
    }
    match examples {
        Examples::Tagged(list) => {
            for example in list {
                if of_words(&example.words)? > max_len {
                    found.add(example.line);
                }
            }
        }
        Examples::Spans(list) => {
            for example in list {
                if of_words(&example.words)? > max_len {
                    found.add(example.line);
                }
            }
        }
        Examples::Labelled(list) => of_rows(list, framed, max_len, &mut found)?,
        Examples::MultiLabelled(list) => of_rows(list, framed, max_len, &mut found)?,
        Examples::Scored(list) => of_rows(list, framed, max_len, &mut found)?,
        Examples::Pairs(list) => {
            for example in list {
                if framed(&example.source, None)?.max(of_target(&example.target)?) > max_len {
                    found.add(example.line);
                }
            }
        }
        Examples::Qa(list) => {
            for question in list {
                if framed(&question.question, Some(&question.context))? > max_len {
                    found.add(question.line);
                }
            }
        }
        Examples::Ranked(list) => {
            for ranking in list {
                let mut longest = 0;
                for candidate in &ranking.candidates {
                    longest = longest.max(framed(&ranking.query, Some(&candidate.text))?);
                }
                if longest > max_len {
                    found.add(ranking.line);
                }
            }
        }
        // A stream is cut into blocks of any length.
        Examples::Text(_) => {}
    }
    Ok(found)
}

fn overlaps(splits: &Splits) -> Vec<Overlap> {
    let texts: BTreeMap<Part, Vec<Seen>> =
        splits.iter().map(|(&part, examples)| (part, rows(examples))).collect();
    let mut found = Vec::new();
    for (&first, earlier) in &texts {
        let known: BTreeSet<&str> = earlier.iter().map(|row| row.text.as_str()).collect();
        for (&second, later) in texts.range(first..).skip(1) {
            let mut finding = Finding::default();
            for row in later.iter().filter(|row| known.contains(row.text.as_str())) {
                finding.add(row.line);
            }
            if finding.count > 0 {
                found.push(Overlap { first, second, found: finding });
            }
        }
    }
    found
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        let lines: Vec<String> = self.lines.iter().filter(|&&line| line > 0).map(usize::to_string).collect();
        match lines.as_slice() {
            [] => Ok(()),
            lines => {
                let more = if self.count > lines.len() { ", …" } else { "" };
                write!(f, " (line {}{more})", lines.join(", "))
            }
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.parts.iter().map(|(&part, report)| (part, report.examples, &report.labels));
        write_counts(f, &counts.collect::<Vec<_>>())?;
        for (part, report) in &self.parts {
            let none = Finding::default();
            let findings = [
                ("words and tags differ in number", &report.misaligned),
                ("without text", &report.empty),
                ("repeated", &report.duplicates),
                ("repeated with another label", &report.contradictions),
                ("with replacement characters (U+FFFD)", &report.replacements),
                ("longer than the limit", report.over_long.as_ref().unwrap_or(&none)),
            ];
            for (what, finding) in findings.into_iter().filter(|(_, finding)| finding.count > 0) {
                writeln!(f, "{part}: {what}: {finding}")?;
            }
            if !report.rare_labels.is_empty() {
                let rare: Vec<String> =
                    report.rare_labels.iter().map(|(label, count)| format!("{label} {count}")).collect();
                writeln!(f, "{part}: labels with fewer than {RARE} examples: {}", rare.join(", "))?;
            }
            for UnknownLabel { label, line, count } in &report.unknown_labels {
                writeln!(f, "{part}: label `{label}` is not in train: {count} times, first on line {line}")?;
            }
        }
        for Overlap { first, second, found } in &self.overlaps {
            writeln!(f, "{second} shares texts with {first}: {found}")?;
        }
        let verdict = if self.is_clean() { "no problems" } else { "problems found" };
        write!(f, "{verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labelled, Tagged, TokenizerKind};

    fn labelled(rows: &[(&str, &str)]) -> Examples {
        let example = |(at, &(text, label)): (usize, &(&str, &str))| Labelled {
            text: text.into(),
            pair: None,
            label: label.into(),
            line: at + 2,
        };
        Examples::Labelled(rows.iter().enumerate().map(example).collect())
    }

    fn splits() -> Splits {
        let train = labelled(&[("a", "x"), ("b", "y"), ("a", "x"), ("b", "x")]);
        let test = labelled(&[("c", "z"), ("a", "x"), (" ", "x")]);
        Splits::from([(Part::Train, train), (Part::Test, test)])
    }

    #[test]
    fn finds_overlap_duplicates_contradictions_and_unknown_labels() {
        let report = check(&splits(), None).expect("checks");
        let train = &report.parts[&Part::Train];
        assert_eq!(train.duplicates, Finding { count: 1, lines: vec![4] });
        assert_eq!(train.contradictions, Finding { count: 1, lines: vec![5] });
        assert_eq!(train.labels["x"], 3);
        let test = &report.parts[&Part::Test];
        assert_eq!(test.unknown_labels, [UnknownLabel { label: "z".into(), line: 2, count: 1 }]);
        assert_eq!(test.empty.lines, [4]);
        assert_eq!(report.overlaps.len(), 1);
        assert_eq!(report.overlaps[0].found, Finding { count: 1, lines: vec![3] });
        assert!(!report.is_clean());
        let text = report.to_string();
        assert!(text.contains("test shares texts with train: 1 (line 3)"), "{text}");
        assert!(text.contains("label `z` is not in train: 1 times, first on line 2"), "{text}");
        assert!(serde_json::to_string(&report).expect("json").contains(r#""test":{"examples":3"#));
    }

    #[test]
    fn finds_misaligned_and_over_long_sentences() {
        let sentence = |words: &[&str], n_tags: usize, line| Tagged {
            words: words.iter().map(|&word| word.to_owned()).collect(),
            tags: vec!["O".to_owned(); n_tags],
            line,
        };
        let dev = Examples::Tagged(vec![sentence(&["a", "b", "c"], 3, 1), sentence(&["a", "b"], 1, 5)]);
        let tokenizer = Tokenizer::train(TokenizerKind::Word, 50, true, ["a b c"]).expect("trains");
        let limit = LengthLimit::Tokens { tokenizer: &tokenizer, max_len: 4 };
        let report = check(&Splits::from([(Part::Dev, dev)]), Some(limit)).expect("checks");
        let dev = &report.parts[&Part::Dev];
        assert_eq!(dev.misaligned, Finding { count: 1, lines: vec![5] });
        assert_eq!(dev.over_long, Some(Finding { count: 1, lines: vec![1] }));
    }

    #[test]
    fn names_rare_labels_replacement_characters_and_texts_of_too_many_characters() {
        let mut rows = vec![("caf\u{FFFD}", "x"), ("too long", "y")];
        rows.extend(["a", "b", "c", "d"].map(|text| (text, "x")));
        let splits = Splits::from([(Part::Train, labelled(&rows))]);
        let report = check(&splits, Some(LengthLimit::Chars(7))).expect("checks");
        let train = &report.parts[&Part::Train];
        assert_eq!(train.replacements, Finding { count: 1, lines: vec![2] });
        assert_eq!(train.over_long, Some(Finding { count: 1, lines: vec![3] }));
        assert_eq!(train.rare_labels, BTreeMap::from([("y".to_owned(), 1)]));
        assert!(report.is_clean());
        let text = report.to_string();
        let expected = "           train\nexamples       6\n\nx              5\ny              1\n\n\
            train: with replacement characters (U+FFFD): 1 (line 2)\n\
            train: longer than the limit: 1 (line 3)\n\
            train: labels with fewer than 5 examples: y 1\nno problems";
        assert_eq!(text, expected);
    }

    #[test]
    fn entities_are_counted_by_type_and_compared_as_sets() {
        let spanned = |spans: &[(usize, usize, &str)], line| {
            let spans = spans.iter().map(|&(start, end, label)| Span::new(start, end, label)).collect();
            Spanned { words: ["Bank", "of", "Lisbon"].map(str::to_owned).to_vec(), spans, line }
        };
        let (outer, inner) = ((0, 3, "ORG"), (2, 3, "LOC"));
        let train = Examples::Spans(vec![
            spanned(&[outer, inner], 1),
            spanned(&[inner, outer], 2),
            spanned(&[outer], 3),
        ]);
        let dev = Examples::Spans(vec![spanned(&[(2, 3, "GPE")], 1)]);
        let splits = [(Part::Train, train), (Part::Dev, dev)].into_iter().collect();
        let report = check(&splits, Some(LengthLimit::Chars(13))).expect("no tokenizer");
        let train = &report.parts[&Part::Train];
        assert_eq!((train.labels["ORG"], train.labels["LOC"]), (3, 2));
        assert_eq!((&train.duplicates.lines[..], &train.contradictions.lines[..]), (&[2][..], &[3][..]));
        assert_eq!((train.over_long.as_ref().map(|found| found.count), train.misaligned.count), (Some(3), 0));
        assert_eq!(report.parts[&Part::Dev].unknown_labels[0].label, "GPE");
    }

    #[test]
    fn a_sentence_may_have_several_translations() {
        let pair = |target: &str, line| crate::Pair { source: "Hi.".into(), target: target.into(), line };
        let train = Examples::Pairs(vec![pair("嗨。", 1), pair("你好。", 2)]);
        assert!(check(&Splits::from([(Part::Train, train)]), None).expect("checks").is_clean());
    }
}
