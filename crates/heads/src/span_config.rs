//! How spans are scored, and which of those found are given.

use locus_embedding::position::{Form, PositionConfig, PositionShape, RotaryConfig};
use locus_encoder::ConfigProblem;
use serde::{Deserialize, Serialize};

/// No projection of words is wider.
const LARGEST_HEAD: usize = 1 << 12;

/// The configuration of a [`SpanClassifier`](crate::SpanClassifier).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpanConfig {
    /// The width of the vectors that the first and the last word of a span are compared by.
    pub head_size: usize,
    /// No span has more words.
    pub max_words: usize,
    /// How these vectors know where their words stand: `rotary` or `none`.
    pub position: PositionConfig,
    /// Which of the spans that are found may share words.
    pub overlap: Overlap,
}

impl Default for SpanConfig {
    fn default() -> Self {
        Self {
            head_size: 64,
            max_words: 32,
            position: PositionConfig::Rotary(RotaryConfig::default()),
            overlap: Overlap::default(),
        }
    }
}

/// Which of the spans of a text may share words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// None: the set with the largest sum of scores in which no two do.
    None,
    /// Those of which one lies in the other, or of which both have the same words. Of two that cross, the one with the larger
    /// score is given.
    #[default]
    Nested,
    /// All.
    Any,
}

/// A span with its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredSpan {
    /// Its first word.
    pub first: usize,
    /// Its last word.
    pub last: usize,
    /// Its label.
    pub label: usize,
    /// Its score, above 0 where it is said to be one.
    pub score: f64,
}

impl Overlap {
    /// The spans that are given of those with a score above 0: by their first word, of those that begin at one word the
    /// longest first.
    ///
    /// ```
    /// use locus_heads::{Overlap, ScoredSpan};
    /// let span = |first, last, score| ScoredSpan { first, last, label: 0, score };
    /// // The best one shares words with two that are better together.
    /// let found = vec![span(0, 1, 2.0), span(1, 2, 3.0), span(2, 3, 2.0)];
    /// assert_eq!(Overlap::None.choose(found.clone()), [found[0], found[2]]);
    /// assert_eq!(Overlap::Nested.choose(found.clone()), [found[1]]);
    /// assert_eq!(Overlap::Any.choose(found.clone()), found);
    /// ```
    pub fn choose(self, mut found: Vec<ScoredSpan>) -> Vec<ScoredSpan> {
        found.retain(|span| span.score > 0.0);
        let mut chosen = match self {
            Self::None => disjoint(found),
            Self::Nested => not_crossing(found),
            Self::Any => found,
        };
        chosen.sort_by_key(|span| (span.first, std::cmp::Reverse(span.last), span.label));
        chosen
    }
}

/// The set of spans without a common word that has the largest sum of scores: weighted interval scheduling (Kleinberg and
/// Tardos 2005, §6.1), in `O(n log n)`.
fn disjoint(mut found: Vec<ScoredSpan>) -> Vec<ScoredSpan> {
    found.sort_by_key(|span| (span.last, span.first, span.label));
    // The best sum of the first so many spans, and whether the last of these is part of it.
    let (mut sums, mut is_taken) = (vec![0.0], Vec::with_capacity(found.len()));
    let before = |span: &ScoredSpan| found.partition_point(|other| other.last < span.first);
    for (idx, span) in found.iter().enumerate() {
        let (without, with) = (sums[idx], sums[before(span)] + span.score);
        is_taken.push(with > without);
        sums.push(f64::max(without, with));
    }
    let (mut chosen, mut n) = (Vec::new(), found.len());
    while n > 0 {
        let span = found[n - 1];
        if is_taken[n - 1] {
            chosen.push(span);
            n = before(&span);
        } else {
            n -= 1;
        }
    }
    chosen
}

/// The best first, each unless it crosses a better one; in as many steps as the spans have words.
fn not_crossing(mut found: Vec<ScoredSpan>) -> Vec<ScoredSpan> {
    found.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then((a.first, a.last, a.label).cmp(&(b.first, b.last, b.label)))
    });
    let n_words = found.iter().map(|span| span.first.max(span.last) + 1).max().unwrap_or(0);
    // Of the chosen spans: the latest last word for each first one, and the earliest first word for each last one.
    let (mut latest_last, mut earliest_first) = (vec![0; n_words], vec![usize::MAX; n_words]);
    found.retain(|&ScoredSpan { first, last, .. }| {
        let reaches_out = |start: usize| latest_last[start] > last;
        let reaches_in = |end: usize| earliest_first[end] < first;
        let crosses = (first + 1..=last).any(reaches_out) || (first..last).any(reaches_in);
        if !crosses {
            latest_last[first] = latest_last[first].max(last);
            earliest_first[last] = earliest_first[last].min(first);
        }
        !crosses
    });
    found
}

impl SpanConfig {
    /// What the position scheme needs to know: one head, over as many words as there are tokens at most.
    pub(crate) fn shape(&self, max_seq_len: usize) -> PositionShape {
        PositionShape {
            d_model: self.head_size,
            n_heads: 1,
            n_kv_heads: 1,
            d_head: self.head_size,
            max_seq_len,
            form: Form::Bidirectional,
        }
    }

    /// Everything that is wrong with it.
    pub(crate) fn check(&self, max_seq_len: usize) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, found: String, allowed: &str| {
            let key = format!("spans.{key}");
            problems.push(ConfigProblem { key, found, allowed: allowed.to_owned() });
        };
        if !(1..=LARGEST_HEAD).contains(&self.head_size) {
            problem("head_size", self.head_size.to_string(), &format!("1 to {LARGEST_HEAD}"));
        }
        if self.max_words == 0 {
            problem("max_words", "0".to_owned(), "at least 1");
        }
        let name = self.position.name();
        match &self.position {
            PositionConfig::None => {}
            PositionConfig::Rotary(rotary) if rotary.window.is_some() => {
                problem(
                    "position.rotary.window",
                    "a window".to_owned(),
                    "none: spans.max_words says how long spans are",
                );
            }
            PositionConfig::Rotary(_) => {
                for p in self.position.check(&self.shape(max_seq_len)) {
                    problem(format!("position.{name}.{}", p.key).trim_end_matches('.'), p.found, &p.allowed);
                }
            }
            _ => {
                problem("position", name.to_owned(), "rotary or none: others do not act on two vectors alone")
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use locus_backend::rng::Key;
    use locus_embedding::position::PositionConfig;

    use super::{Overlap, ScoredSpan, SpanConfig};

    impl ScoredSpan {
        fn shares_words(&self, other: &Self) -> bool {
            self.first <= other.last && other.first <= self.last
        }

        fn crosses(&self, other: &Self) -> bool {
            let lies_in = |a: &Self, b: &Self| b.first <= a.first && a.last <= b.last;
            self.shares_words(other) && !lies_in(self, other) && !lies_in(other, self)
        }
    }

    /// Spans over seven words; some have the same words.
    fn drawn(case: u64) -> Vec<ScoredSpan> {
        let key = Key::new(5).child(case);
        let number = |idx: u64, n: usize| (key.uniform(idx) * n as f64) as usize;
        let span = |idx: u64| {
            let (a, b) = (number(4 * idx, 7), number(4 * idx + 1, 7));
            let score = 2.0 * key.uniform(4 * idx + 2) - 0.25;
            ScoredSpan { first: a.min(b), last: a.max(b), label: number(4 * idx + 3, 3), score }
        };
        (0..11).map(span).collect()
    }

    fn total(spans: &[ScoredSpan]) -> f64 {
        spans.iter().map(|span| span.score).sum()
    }

    /// Whether no two of the spans are as `are` says.
    fn no_two(spans: &[ScoredSpan], are: impl Fn(&ScoredSpan, &ScoredSpan) -> bool) -> bool {
        spans.iter().enumerate().all(|(idx, a)| spans[idx + 1..].iter().all(|b| !are(a, b)))
    }

    #[test]
    fn disjoint_spans_are_the_best_of_all_sets() {
        let mut n_greedy_is_worse = 0;
        for case in 0..60 {
            let found = drawn(case);
            let sets = (0..1_usize << found.len()).map(|set| -> Vec<ScoredSpan> {
                (0..found.len()).filter(|idx| (set >> idx) & 1 == 1).map(|idx| found[idx]).collect()
            });
            let best = sets
                .filter(|set| no_two(set, ScoredSpan::shares_words))
                .map(|set| total(&set))
                .fold(0.0, f64::max);
            let chosen = Overlap::None.choose(found.clone());
            assert!(no_two(&chosen, ScoredSpan::shares_words), "{chosen:?}");
            assert!((total(&chosen) - best).abs() < 1e-12, "case {case}: {} of {best}", total(&chosen));
            // What a choice of the best span first would miss.
            let mut greedy: Vec<ScoredSpan> = Vec::new();
            let mut by_score = found;
            by_score.sort_by(|a, b| b.score.total_cmp(&a.score));
            for span in by_score.into_iter().filter(|span| span.score > 0.0) {
                if !greedy.iter().any(|other| other.shares_words(&span)) {
                    greedy.push(span);
                }
            }
            n_greedy_is_worse += usize::from(total(&greedy) < best - 1e-9);
        }
        assert!(n_greedy_is_worse > 0, "the cases tell the two apart");
    }

    #[test]
    fn nested_spans_do_not_cross_and_each_left_out_crosses_a_better_one() {
        let (mut n_left_out, mut n_nested) = (0, 0);
        for case in 0..60 {
            let found: Vec<ScoredSpan> = drawn(case).into_iter().filter(|span| span.score > 0.0).collect();
            let chosen = Overlap::Nested.choose(found.clone());
            assert!(no_two(&chosen, ScoredSpan::crosses), "{chosen:?}");
            for span in found.iter().filter(|span| !chosen.contains(span)) {
                n_left_out += 1;
                let is_better = |other: &ScoredSpan| other.score > span.score && other.crosses(span);
                assert!(chosen.iter().any(is_better), "{span:?} of {chosen:?}");
            }
            n_nested += usize::from(!no_two(&chosen, ScoredSpan::shares_words));
        }
        assert!(n_left_out > 0 && n_nested > 0);
    }

    /// All spans of up to 31 words of 1511, as an untrained model may find them: too many to compare each with each.
    #[test]
    fn nested_spans_are_chosen_of_very_many() {
        let (key, n_words, max_words) = (Key::new(11), 1511, 31);
        let all = (0..n_words)
            .flat_map(|first| (first..n_words.min(first + max_words)).map(move |last| (first, last)));
        let scored = all.enumerate().map(|(idx, (first, last))| ScoredSpan {
            first,
            last,
            label: 0,
            score: 1.0 - key.uniform(idx as u64),
        });
        let found: Vec<ScoredSpan> = scored.collect();
        assert!(found.len() > 40_000);
        let chosen = Overlap::Nested.choose(found);
        assert!(chosen.len() >= n_words, "a span of one word crosses none");
        // Of neighbours in the order of the text the later one lies in the earlier, or behind it.
        let mut open: Vec<usize> = Vec::new();
        for span in &chosen {
            open.retain(|last| *last >= span.first);
            assert!(open.iter().all(|last| *last >= span.last), "{span:?} crosses one that ends at {open:?}");
            open.push(span.last);
        }
    }

    #[test]
    fn any_gives_what_is_above_zero_in_the_order_of_the_text() {
        let span = |first, last, label, score| ScoredSpan { first, last, label, score };
        let found = vec![
            span(2, 2, 0, 1.0),
            span(0, 1, 1, 0.5),
            span(0, 3, 0, 0.1),
            span(1, 1, 0, -0.5),
            span(0, 3, 1, f64::NAN),
        ];
        assert_eq!(Overlap::Any.choose(found.clone()), [found[2], found[1], found[0]]);
        assert!(Overlap::None.choose(Vec::new()).is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let keys =
            |config: SpanConfig| -> Vec<String> { config.check(64).into_iter().map(|p| p.key).collect() };
        assert!(keys(SpanConfig::default()).is_empty());
        assert!(
            keys(SpanConfig { position: PositionConfig::None, head_size: 7, ..SpanConfig::default() })
                .is_empty()
        );
        let bad = SpanConfig { head_size: 0, max_words: 0, ..SpanConfig::default() };
        assert!(
            ["spans.head_size", "spans.max_words"]
                .iter()
                .all(|key| keys(bad.clone()).iter().any(|k| k == key))
        );
        let odd = keys(SpanConfig { head_size: 7, ..SpanConfig::default() });
        assert!(odd.iter().all(|key| key.starts_with("spans.position.rotary")) && !odd.is_empty(), "{odd:?}");
        let other = PositionConfig::named("alibi").unwrap_or_default();
        assert_eq!(keys(SpanConfig { position: other, ..SpanConfig::default() }), ["spans.position"]);
    }
}
