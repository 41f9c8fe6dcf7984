//! Looking at a data set before training does: what would spoil a score is found here, with its line.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::Serialize;

use crate::labels::each_label;
use crate::split::Part;
use crate::{DataError, Examples, LabelSet, Tokenizer, UnknownLabel, split_words};
use locus_metrics::tags::{TagScheme, spans};

/// The examples of each part of a set.
pub type Splits = BTreeMap<Part, Examples>;

/// How many lines of each finding are named.
const LINES_NAMED: usize = 5;
/// Upper ends of the length histogram's bins; what is longer is in a last bin.
const BINS: [usize; 10] = [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];

/// The longest input a model takes.
#[derive(Debug, Clone, Copy)]
pub struct LengthLimit<'a> {
    /// Counts the tokens.
    pub tokenizer: &'a Tokenizer,
    /// Its frame included.
    pub max_len: usize,
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
        if let Some(labels) = trained.as_ref().filter(|_| part != Part::Train) {
            report.unknown_labels = labels.unknown(examples);
        }
        parts.insert(part, report);
    }
    Ok(CheckReport { parts, overlaps: overlaps(splits) })
}

impl CheckReport {
    /// Whether nothing was found that would spoil a score. Over-long examples and duplicates inside a part are allowed.
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
    for Row { line, text, label, aligned } in rows(examples) {
        if !aligned {
            report.misaligned.add(line);
        }
        if text.trim().is_empty() {
            report.empty.add(line);
            continue;
        }
        let labels = seen.entry(text).or_default();
        if labels.contains(&label) {
            report.duplicates.add(line);
        } else if !labels.is_empty() && !matches!(examples, Examples::Pairs(_)) {
            // A sentence may have several translations; it cannot have two labels.
            report.contradictions.add(line);
        }
        labels.insert(label);
    }
    report
}

/// An example as far as a check looks at it.
struct Row {
    line: usize,
    text: String,
    label: String,
    aligned: bool,
}

fn rows(examples: &Examples) -> Vec<Row> {
    let plain =
        |line, text: &str, label: &str| Row { line, text: text.into(), label: label.into(), aligned: true };
    match examples {
        Examples::Tagged(list) => list
            .iter()
            .map(|example| Row {
                line: example.line,
                text: example.words.join(" "),
                label: example.tags.join(" "),
                aligned: example.words.len() == example.tags.len(),
            })
            .collect(),
        Examples::Labelled(list) => list
            .iter()
            .map(|example| match &example.pair {
                Some(pair) => plain(example.line, &format!("{}\t{pair}", example.text), &example.label),
                None => plain(example.line, &example.text, &example.label),
            })
            .collect(),
        Examples::Text(list) => list.iter().map(|text| plain(0, text, "")).collect(),
        Examples::Pairs(list) => {
            list.iter().map(|example| plain(example.line, &example.source, &example.target)).collect()
        }
    }
}

/// Entities by type for tags, else examples by label.
fn label_counts(examples: &Examples) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    match examples {
        Examples::Tagged(list) => list
            .iter()
            .flat_map(|example| spans(&example.tags, TagScheme::Iob2))
            .for_each(|span| *counts.entry(span.label).or_insert(0) += 1),
        _ => each_label(examples).for_each(|(label, _)| *counts.entry(label.to_owned()).or_insert(0) += 1),
    }
    counts
}

fn over_long(examples: &Examples, limit: LengthLimit<'_>) -> Result<Finding, DataError> {
    let LengthLimit { tokenizer, max_len } = limit;
    let mut found = Finding::default();
    let framed = |text: &str, pair: Option<&str>| -> Result<usize, DataError> {
        let second = pair.map(|pair| tokenizer.encode(pair)).transpose()?.map_or(0, |pair| pair.ids.len());
        Ok(tokenizer.encode(text)?.ids.len() + second + tokenizer.frame().n_tokens(pair.is_some()))
    };
    match examples {
        Examples::Tagged(list) => {
            for example in list {
                let len =
                    tokenizer.encode_words(&example.words)?.ids.len() + tokenizer.frame().n_tokens(false);
                if len > max_len {
                    found.add(example.line);
                }
            }
        }
        Examples::Labelled(list) => {
            for example in list {
                if framed(&example.text, example.pair.as_deref())? > max_len {
                    found.add(example.line);
                }
            }
        }
        Examples::Pairs(list) => {
            for example in list {
                if framed(&example.source, None)?.max(framed(&example.target, None)?) > max_len {
                    found.add(example.line);
                }
            }
        }
        // A stream is cut into blocks of any length.
        Examples::Text(_) => {}
    }
    Ok(found)
}

fn overlaps(splits: &Splits) -> Vec<Overlap> {
    let texts: BTreeMap<Part, Vec<Row>> =
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
        for (part, report) in &self.parts {
            writeln!(f, "{part}: {} examples", report.examples)?;
            write_labels(f, &report.labels)?;
            let findings = [
                ("words and tags differ in number", &report.misaligned),
                ("without text", &report.empty),
                ("repeated", &report.duplicates),
                ("repeated with another label", &report.contradictions),
            ];
            for (what, finding) in findings.into_iter().filter(|(_, finding)| finding.count > 0) {
                writeln!(f, "  {what}: {finding}")?;
            }
            if let Some(finding) = report.over_long.as_ref().filter(|finding| finding.count > 0) {
                writeln!(f, "  longer than the limit: {finding}")?;
            }
            for UnknownLabel { label, line, count } in &report.unknown_labels {
                writeln!(f, "  label `{label}` is not in train: {count} times, first on line {line}")?;
            }
        }
        for Overlap { first, second, found } in &self.overlaps {
            writeln!(f, "{second} shares texts with {first}: {found}")?;
        }
        let verdict = if self.is_clean() { "no problems" } else { "problems found" };
        write!(f, "{verdict}")
    }
}

/// How large a set is, and how long its examples are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// What is counted as a token: `words`, or `tokens` of a tokenizer.
    pub unit: &'static str,
    /// The numbers of each part.
    pub parts: BTreeMap<Part, PartStats>,
}

/// The numbers of one part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartStats {
    /// How many examples there are.
    pub examples: usize,
    /// How many tokens they have together.
    pub tokens: usize,
    /// How many different tokens.
    pub types: usize,
    /// How long they are.
    pub lengths: Lengths,
    /// How many have each label; for tags, how many entities of each type.
    pub labels: BTreeMap<String, usize>,
}

/// Lengths in tokens. A percentile is the smallest length that so many percent of the examples do not exceed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Lengths {
    /// The shortest.
    pub min: usize,
    /// The mean.
    pub mean: f64,
    /// Half are no longer.
    pub p50: usize,
    /// 90 % are no longer.
    pub p90: usize,
    /// 95 % are no longer.
    pub p95: usize,
    /// 99 % are no longer.
    pub p99: usize,
    /// The longest.
    pub max: usize,
    /// Pairs of a length and how many examples are longer than the last one's and no longer than this.
    pub histogram: Vec<(usize, usize)>,
}

/// Counts a set: in tokens if there is a tokenizer, else in words.
///
/// # Errors
/// If the tokenizer cannot encode a text.
pub fn stats(splits: &Splits, tokenizer: Option<&Tokenizer>) -> Result<Stats, DataError> {
    let mut parts = BTreeMap::new();
    for (&part, examples) in splits {
        parts.insert(part, part_stats(examples, tokenizer)?);
    }
    Ok(Stats { unit: if tokenizer.is_some() { "tokens" } else { "words" }, parts })
}

fn part_stats(examples: &Examples, tokenizer: Option<&Tokenizer>) -> Result<PartStats, DataError> {
    let mut lengths = Vec::with_capacity(examples.len());
    let mut words: BTreeSet<String> = BTreeSet::new();
    let mut ids: BTreeSet<u32> = BTreeSet::new();
    for at in 0..examples.len() {
        let mut len = 0;
        match (examples, tokenizer) {
            (Examples::Tagged(list), Some(tokenizer)) => {
                let found = tokenizer.encode_words(&list[at].words)?.ids;
                len = found.len();
                ids.extend(found);
            }
            (Examples::Tagged(list), None) => {
                len = list[at].words.len();
                words.extend(list[at].words.iter().cloned());
            }
            (_, Some(tokenizer)) => {
                for text in examples.select(&[at]).texts() {
                    let found = tokenizer.encode(&text)?.ids;
                    len += found.len();
                    ids.extend(found);
                }
            }
            (_, None) => {
                for text in examples.select(&[at]).texts() {
                    let found = split_words(&text);
                    len += found.len();
                    words.extend(found.into_iter().map(|(word, _)| word));
                }
            }
        }
        lengths.push(len);
    }
    Ok(PartStats {
        examples: examples.len(),
        tokens: lengths.iter().sum(),
        types: words.len() + ids.len(),
        lengths: Lengths::of(lengths),
        labels: label_counts(examples),
    })
}

impl Lengths {
    fn of(mut lengths: Vec<usize>) -> Self {
        lengths.sort_unstable();
        let (Some(&min), Some(&max)) = (lengths.first(), lengths.last()) else { return Self::default() };
        let percentile = |percent: usize| lengths[(lengths.len() * percent).div_ceil(100).max(1) - 1];
        let mut histogram = Vec::new();
        let mut below = 0;
        for end in BINS.into_iter().filter(|&end| end < max).chain([max]) {
            let up_to = lengths.partition_point(|&len| len <= end);
            histogram.push((end, up_to - below));
            below = up_to;
        }
        Self {
            min,
            mean: lengths.iter().sum::<usize>() as f64 / lengths.len() as f64,
            p50: percentile(50),
            p90: percentile(90),
            p95: percentile(95),
            p99: percentile(99),
            max,
            histogram,
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (part, stats)) in self.parts.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            let PartStats { examples, tokens, types, lengths, labels } = stats;
            let Lengths { min, mean, p50, p90, p95, p99, max, histogram } = lengths;
            writeln!(f, "{part}: {examples} examples, {tokens} {}, {types} different", self.unit)?;
            writeln!(
                f,
                "  length: {min} to {max}, mean {mean:.1}; 50 % up to {p50}, 90 % {p90}, 95 % {p95}, 99 % {p99}"
            )?;
            for (end, count) in histogram {
                writeln!(f, "  {:>8} {count:>8} {}", format!("≤ {end}"), bar(*count, *examples))?;
            }
            write_labels(f, labels)?;
        }
        Ok(())
    }
}

fn bar(count: usize, of: usize) -> String {
    "▇".repeat((40 * count).div_ceil(of.max(1)))
}

/// Labels, the most frequent first.
fn write_labels(f: &mut fmt::Formatter<'_>, labels: &BTreeMap<String, usize>) -> fmt::Result {
    let mut order: Vec<(&String, &usize)> = labels.iter().collect();
    order.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let width = order.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    for (label, count) in order {
        writeln!(f, "  {label:<width$} {count:>8}")?;
    }
    Ok(())
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
        let limit = LengthLimit { tokenizer: &tokenizer, max_len: 4 };
        let report = check(&Splits::from([(Part::Dev, dev)]), Some(limit)).expect("checks");
        let dev = &report.parts[&Part::Dev];
        assert_eq!(dev.misaligned, Finding { count: 1, lines: vec![5] });
        assert_eq!(dev.over_long, Some(Finding { count: 1, lines: vec![1] }));
    }

    #[test]
    fn counts_tokens_types_and_lengths() {
        let text = |n: usize| vec!["word"; n].join(" ");
        let train = Examples::Text((1..=100).map(text).collect());
        let stats = stats(&Splits::from([(Part::Train, train)]), None).expect("counts");
        let part = &stats.parts[&Part::Train];
        assert_eq!((part.examples, part.tokens, part.types), (100, 5050, 1));
        let Lengths { min, p50, p90, p95, p99, max, .. } = part.lengths;
        assert_eq!((min, p50, p90, p95, p99, max), (1, 50, 90, 95, 99, 100));
        let expected = [(4, 4), (8, 4), (16, 8), (32, 16), (64, 32), (100, 36)];
        assert_eq!(part.lengths.histogram, expected);
        let text = stats.to_string();
        assert!(text.starts_with("train: 100 examples, 5050 words, 1 different\n"), "{text}");
    }

    #[test]
    fn a_sentence_may_have_several_translations() {
        let pair = |target: &str, line| crate::Pair { source: "Hi.".into(), target: target.into(), line };
        let train = Examples::Pairs(vec![pair("嗨。", 1), pair("你好。", 2)]);
        assert!(check(&Splits::from([(Part::Train, train)]), None).expect("checks").is_clean());
    }
}
