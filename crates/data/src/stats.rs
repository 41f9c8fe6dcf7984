//! How large a data set is: examples, tokens, types, lengths, labels.

use std::collections::{BTreeMap, BTreeSet};
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

/// Entities by type for tags, else examples by label.
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

/// Labels, the most frequent first.
pub(crate) fn write_labels(f: &mut fmt::Formatter<'_>, labels: &BTreeMap<String, usize>) -> fmt::Result {
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
}
