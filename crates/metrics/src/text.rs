//! Words and n-grams of text, as the reference programs, which are written in Python, cut them.

use std::collections::HashMap;
use std::hash::Hash;

use regex::Regex;

/// Replacements of regular expressions, one after the other.
pub(crate) struct Rules(Vec<(Regex, &'static str)>);

impl Rules {
    /// # Panics
    /// If a pattern is none.
    pub(crate) fn new(rules: &[(&str, &'static str)]) -> Self {
        let compiled = |&(pattern, with): &(&str, &'static str)| {
            (Regex::new(pattern).unwrap_or_else(|error| panic!("{error}")), with)
        };
        Self(rules.iter().map(compiled).collect())
    }

    pub(crate) fn apply(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
    }
}

/// Whitespace as Python's `str.split` has it: Unicode's, and the four separators of ASCII.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The words between whitespace.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// How often each run of `n` items occurs.
pub(crate) fn ngrams<T: Eq + Hash>(items: &[T], n: usize) -> HashMap<&[T], u32> {
    let mut counts = HashMap::new();
    for ngram in items.windows(n) {
        *counts.entry(ngram).or_insert(0) += 1;
    }
    counts
}

/// How many n-grams two texts share, each as often as it occurs in both.
pub(crate) fn overlap<T: Eq + Hash>(a: &HashMap<&[T], u32>, b: &HashMap<&[T], u32>) -> u32 {
    a.iter().filter_map(|(ngram, &count)| b.get(ngram).map(|&other| count.min(other))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_ngrams() {
        assert_eq!(words(" a\u{1f}b\u{3000}c\n").collect::<Vec<_>>(), ["a", "b", "c"]);
        let (a, b) = ([1, 2, 1, 2], [2, 1, 2, 1]);
        assert_eq!(ngrams(&a, 2)[&[1, 2][..]], 2);
        assert_eq!(overlap(&ngrams(&a, 2), &ngrams(&b, 2)), 2);
        assert!(ngrams(&a, 5).is_empty());
    }
}
