//! What a tagger sees of words: Chinese ones character by character, as raw text is read in prediction.
//!
//! A file may hold segmented Chinese, but text to be tagged comes without word borders. So a word with Chinese characters
//! is split as [`split_words`](locus_data::split_words) splits raw text, its tag is spread over the units, and the spans
//! found over units are carried back to words, which is what scores count.

use std::ops::Range;

use locus_data::{Spanned, Tagged, cjk_units};
use locus_metrics::tags::{Span, TagScheme, is_tag_set, spans};

/// A sentence in units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Units {
    /// The units.
    pub(crate) units: Vec<String>,
    /// The word of each unit.
    word_of: Vec<usize>,
}

impl Units {
    pub(crate) fn of(words: &[String]) -> Self {
        let (mut units, mut word_of) = (Vec::new(), Vec::new());
        for (idx, word) in words.iter().enumerate() {
            for unit in cjk_units(word) {
                units.push(unit.to_owned());
                word_of.push(idx);
            }
        }
        Self { units, word_of }
    }

    /// The tags of the words on their units: after the first unit `B-X` goes on as `I-X`.
    pub(crate) fn spread(&self, tags: &[String]) -> Vec<String> {
        let spread =
            self.word_of.iter().enumerate().map(|(unit, &word)| match tags[word].strip_prefix("B-") {
                Some(label) if !self.is_first(unit) => format!("I-{label}"),
                _ => tags[word].clone(),
            });
        spread.collect()
    }

    /// The tags of units on their words: an entity covers every word that it touches, the first one to touch a word keeps
    /// it. Tags that are no entities' are those of the first units.
    pub(crate) fn gather(&self, tags: &[&str]) -> Vec<String> {
        if !is_tag_set(tags) || self.units.len() == self.n_words() {
            let firsts = (0..tags.len()).filter(|&unit| self.is_first(unit));
            return firsts.map(|unit| tags[unit].to_owned()).collect();
        }
        let mut words = vec!["O".to_owned(); self.n_words()];
        for Span { label, start, end } in spans(tags, TagScheme::Iob2) {
            let mut prefix = 'B';
            for word in &mut words[self.word_of[start]..=self.word_of[end - 1]] {
                if word == "O" {
                    *word = format!("{prefix}-{label}");
                    prefix = 'I';
                }
            }
        }
        words
    }

    /// The units of some words, `start..end`.
    fn of_words(&self, words: Range<usize>) -> Range<usize> {
        let unit = |word: usize| self.word_of.partition_point(|&own| own < word);
        unit(words.start)..unit(words.end)
    }

    /// The entities of the words, `start..end` with a label, on their units.
    pub(crate) fn spread_spans(&self, spans: &[Span]) -> Vec<Span> {
        let spread = spans.iter().map(|span| {
            let units = self.of_words(span.start..span.end);
            Span::new(units.start, units.end, span.label.clone())
        });
        spread.collect()
    }

    /// An entity from one unit to another on all words that it touches.
    pub(crate) fn gather_span(&self, first: usize, last: usize, label: &str) -> Span {
        Span::new(self.word_of[first], self.word_of[last] + 1, label)
    }

    fn is_first(&self, unit: usize) -> bool {
        unit == 0 || self.word_of[unit] != self.word_of[unit - 1]
    }

    fn n_words(&self) -> usize {
        self.word_of.last().map_or(0, |&last| last + 1)
    }
}

/// Tagged sentences in units: what a tagger is trained on, and whose labels it needs.
///
/// ```
/// use locus_data::Tagged;
/// let words = ["在", "北京"].map(str::to_owned).to_vec();
/// let tags = ["O", "B-LOC"].map(str::to_owned).to_vec();
/// let split = locus_pipeline::in_units(&[Tagged { words, tags, line: 1 }]);
/// assert_eq!(split[0].words, ["在", "北", "京"]);
/// assert_eq!(split[0].tags, ["O", "B-LOC", "I-LOC"]);
/// ```
pub fn in_units(sentences: &[Tagged]) -> Vec<Tagged> {
    let split = sentences.iter().map(|sentence| {
        let units = Units::of(&sentence.words);
        Tagged { tags: units.spread(&sentence.tags), words: units.units, line: sentence.line }
    });
    split.collect()
}

/// Sentences with entities in units, likewise.
///
/// ```
/// use locus_data::{Examples, Spanned, Tagged};
/// let words = ["在", "北京"].map(str::to_owned).to_vec();
/// let tags = ["O", "B-LOC"].map(str::to_owned).to_vec();
/// let Examples::Spans(list) = Examples::Tagged(vec![Tagged { words, tags, line: 1 }]).into_spans() else { unreachable!() };
/// let split: Vec<Spanned> = locus_pipeline::spans_in_units(&list);
/// assert_eq!(split[0].words, ["在", "北", "京"]);
/// assert_eq!((split[0].spans[0].start, split[0].spans[0].end), (1, 3));
/// ```
pub fn spans_in_units(sentences: &[Spanned]) -> Vec<Spanned> {
    let split = sentences.iter().map(|sentence| {
        let units = Units::of(&sentence.words);
        Spanned { spans: units.spread_spans(&sentence.spans), words: units.units, line: sentence.line }
    });
    split.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&s| s.to_owned()).collect()
    }

    #[test]
    fn tags_go_to_units_and_back() {
        let units = Units::of(&strings(&["台北市", "的", "IBM", "A股"]));
        assert_eq!(units.units, ["台", "北", "市", "的", "IBM", "A", "股"]);
        let tags = strings(&["B-LOC", "O", "B-ORG", "I-ORG"]);
        let spread = units.spread(&tags);
        assert_eq!(spread, ["B-LOC", "I-LOC", "I-LOC", "O", "B-ORG", "I-ORG", "I-ORG"]);
        let spread: Vec<&str> = spread.iter().map(String::as_str).collect();
        assert_eq!(units.gather(&spread), tags);
    }

    #[test]
    fn an_entity_covers_the_words_it_touches_once() {
        let units = Units::of(&strings(&["北京市", "上海"]));
        // One ends and another begins inside the first word.
        let words = units.gather(&["B-LOC", "I-LOC", "B-ORG", "I-ORG", "O"]);
        assert_eq!(words, ["B-LOC", "B-ORG"]);
        assert_eq!(units.gather(&["O", "B-PER", "O", "O", "O"]), ["B-PER", "O"]);
    }

    #[test]
    fn entities_in_one_another_go_to_units_and_back() {
        let units = Units::of(&strings(&["台北市", "IBM", "A股"]));
        let spans = [Span::new(0, 3, "ORG"), Span::new(0, 1, "LOC"), Span::new(1, 2, "ORG")];
        let spread = units.spread_spans(&spans);
        assert_eq!(spread, [Span::new(0, 6, "ORG"), Span::new(0, 3, "LOC"), Span::new(3, 4, "ORG")]);
        let back: Vec<Span> =
            spread.iter().map(|span| units.gather_span(span.start, span.end - 1, &span.label)).collect();
        assert_eq!(back, spans);
        // A part of a word is the whole word.
        assert_eq!(units.gather_span(1, 1, "LOC"), Span::new(0, 1, "LOC"));
    }

    #[test]
    fn tags_of_whole_words_stay_as_they_are() {
        let units = Units::of(&strings(&["跑步", "fast"]));
        assert_eq!(units.gather(&["VERB", "VERB", "ADV"]), ["VERB", "ADV"]);
    }
}
