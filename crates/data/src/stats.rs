//! How large a data set is: examples, tokens, types, lengths, labels.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

use crate::labels::each_label;
use crate::split::Part;
use crate::{DataError, Examples, Splits, Tokenizer, split_words};
use locus_metrics::tags::{TagScheme, spans};

/// Upper ends of the length histogram's bins; what is longer is in a last bin.
const BINS: [usize; 10] = [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];

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
    /// How many tokens are of a kind that the training part does not have; none for the training part itself.
    pub unseen: Option<usize>,
    /// How many tokens the tokenizer does not know; none without a tokenizer.
    pub unknown: Option<usize>,
    /// How long they are.
    pub lengths: Lengths,
    /// How many have each label; for tags, how many entities of each type.
    pub labels: BTreeMap<String, usize>,
    /// The numbers to predict, where there are some.
    pub numbers: Option<Numbers>,
}

/// How numbers lie.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbers {
    /// The smallest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation (divided by the count).
    pub std: f64,
    /// The largest.
    pub max: f64,
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
    let mut trained: Option<Counts> = None;
    // Train is the first part, so that the others can be compared with it.
    for (&part, examples) in splits {
        let (lengths, counts) = count(examples, tokenizer)?;
        let unseen = trained.as_ref().map(|trained| {
            counts.iter().filter(|(token, _)| !trained.contains_key(*token)).map(|(_, count)| count).sum()
        });
        let unk = tokenizer.map(|tokenizer| tokenizer.specials().unk.map(Token::Id));
        let stats = PartStats {
            examples: examples.len(),
            tokens: lengths.iter().sum(),
            types: counts.len(),
            unseen,
            unknown: unk.map(|unk| unk.and_then(|unk| counts.get(&unk).copied()).unwrap_or(0)),
            lengths: Lengths::of(lengths),
            labels: label_counts(examples),
            numbers: numbers(examples),
        };
        parts.insert(part, stats);
        if part == Part::Train {
            trained = Some(counts);
        }
    }
    Ok(Stats { unit: if tokenizer.is_some() { "tokens" } else { "words" }, parts })
}

/// A word, or a tokenizer's id.
#[derive(PartialEq, Eq, Hash)]
enum Token {
    Word(String),
    Id(u32),
}

type Counts = HashMap<Token, usize>;

/// How long each example is, and how often each token comes.
fn count(examples: &Examples, tokenizer: Option<&Tokenizer>) -> Result<(Vec<usize>, Counts), DataError> {
    let mut lengths = Vec::with_capacity(examples.len());
    let mut counts = Counts::new();
    let tokens_of = |text: &str, is_target: bool| -> Result<Vec<Token>, DataError> {
        let encoding = match tokenizer {
            Some(tokenizer) if is_target => tokenizer.encode_target(text)?,
            Some(tokenizer) => tokenizer.encode(text)?,
            None => return Ok(split_words(text).into_iter().map(|(word, _)| Token::Word(word)).collect()),
        };
        Ok(encoding.ids.into_iter().map(Token::Id).collect())
    };
    for at in 0..examples.len() {
        let tokens: Vec<Token> = match (examples.words(at), tokenizer) {
            (Some(words), Some(tokenizer)) => {
                tokenizer.encode_words(words)?.ids.into_iter().map(Token::Id).collect()
            }
            (Some(words), None) => words.iter().cloned().map(Token::Word).collect(),
            _ => {
                let mut tokens = Vec::new();
                for (place, text) in examples.select(&[at]).texts().iter().enumerate() {
                    // The second text of a pair is what a decoder writes.
                    let is_target = place > 0 && matches!(examples, Examples::Pairs(_));
                    tokens.extend(tokens_of(text, is_target)?);
                }
                tokens
            }
        };
        lengths.push(tokens.len());
        tokens.into_iter().for_each(|token| *counts.entry(token).or_insert(0) += 1);
    }
    Ok((lengths, counts))
}

fn numbers(examples: &Examples) -> Option<Numbers> {
    let Examples::Scored(list) = examples else { return None };
    let values = || list.iter().map(|row| row.label);
    let n = list.len() as f64;
    let mean = values().sum::<f64>() / n;
    let std = (values().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let (min, max) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
    Some(Numbers { min, mean, std, max })
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
        let counts = self.parts.iter().map(|(&part, stats)| (part, stats.examples, &stats.labels));
        write_counts(f, &counts.collect::<Vec<_>>())?;
        for (at, (part, stats)) in self.parts.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            let PartStats { examples, tokens, types, unseen, unknown, lengths, labels: _, numbers } = stats;
            let Lengths { min, mean, p50, p90, p95, p99, max, histogram } = lengths;
            write!(f, "{part}: {tokens} {}, {types} different", self.unit)?;
            let share = |count: usize| 100.0 * count as f64 / (*tokens).max(1) as f64;
            if let Some(unseen) = unseen {
                write!(f, ", {:.1} % not in train", share(*unseen))?;
            }
            if let Some(unknown) = unknown {
                write!(f, ", {:.2} % unknown to the tokenizer", share(*unknown))?;
            }
            writeln!(f)?;
            if let Some(Numbers { min, mean, std, max }) = numbers {
                writeln!(f, "  number: {min} to {max}, mean {mean:.3}, standard deviation {std:.3}")?;
            }
            writeln!(
                f,
                "  length: {min} to {max}, mean {mean:.1}; 50 % up to {p50}, 90 % {p90}, 95 % {p95}, 99 % {p99}"
            )?;
            for (end, count) in histogram {
                writeln!(f, "  {:>8} {count:>8} {}", format!("≤ {end}"), bar(*count, *examples))?;
            }
        }
        Ok(())
    }
}

fn bar(count: usize, of: usize) -> String {
    "▇".repeat((40 * count).div_ceil(of.max(1)))
}

/// Entities by type for tags and spans, else examples by label.
pub(crate) fn label_counts(examples: &Examples) -> BTreeMap<String, usize> {
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

/// A table of examples and labels by part, the most frequent label first, and a blank line.
pub(crate) fn write_counts(
    f: &mut fmt::Formatter<'_>,
    parts: &[(Part, usize, &BTreeMap<String, usize>)],
) -> fmt::Result {
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    for (label, count) in parts.iter().flat_map(|(_, _, labels)| labels.iter()) {
        *totals.entry(label).or_insert(0) += count;
    }
    let mut order: Vec<&str> = totals.keys().copied().collect();
    order.sort_by_key(|label| std::cmp::Reverse(totals[label]));
    let first = "examples";
    let width = order.iter().chain([&first]).map(|label| label.chars().count()).max().unwrap_or(0);
    let mut row = |name: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>8}")).collect();
        writeln!(f, "{}", format!("{name:<width$}{cells}").trim_end())
    };
    row("", parts.iter().map(|(part, ..)| part.to_string()).collect())?;
    row(first, parts.iter().map(|(_, examples, _)| examples.to_string()).collect())?;
    row("", Vec::new())?;
    for label in &order {
        let count = |labels: &BTreeMap<String, usize>| labels.get(*label).copied().unwrap_or(0).to_string();
        row(label, parts.iter().map(|(_, _, labels)| count(labels)).collect())?;
    }
    if order.is_empty() { Ok(()) } else { writeln!(f) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(text.contains("\ntrain: 5050 words, 1 different\n"), "{text}");
    }

    #[test]
    fn counts_what_train_and_tokenizer_do_not_know_and_how_numbers_lie() {
        let scored = |text: &str, label: f64| crate::Scored { text: text.into(), pair: None, label, line: 1 };
        let train = Examples::Scored(vec![scored("a b", 1.0), scored("a", 4.0)]);
        let dev = Examples::Scored(vec![scored("a c c d", 2.0)]);
        let splits = Splits::from([(Part::Train, train), (Part::Dev, dev)]);
        let words = stats(&splits, None).expect("counts");
        assert_eq!((words.parts[&Part::Train].unseen, words.parts[&Part::Dev].unseen), (None, Some(3)));
        let numbers = words.parts[&Part::Train].numbers.clone().expect("numbers");
        assert_eq!(numbers, Numbers { min: 1.0, mean: 2.5, std: 1.5, max: 4.0 });
        assert!(words.to_string().contains("dev: 4 words, 3 different, 75.0 % not in train"), "{words}");
        let tokenizer = Tokenizer::train(crate::TokenizerKind::Word, 50, true, ["a b"]).expect("trains");
        let tokens = stats(&splits, Some(&tokenizer)).expect("counts");
        assert_eq!(tokens.parts[&Part::Dev].unknown, Some(3));
    }
}
