//! Pieces by their bytes, so that those a text begins with are found in as many steps as the longest of them has bytes.

use std::collections::HashMap;

/// A trie of texts with scores.
#[derive(Debug, Clone)]
pub(super) struct Trie {
    /// The node that a byte leads to from another one; the root is 0.
    next: HashMap<(usize, u8), usize>,
    /// The score of the text that ends at each node.
    scores: Vec<Option<f32>>,
}

impl Trie {
    /// One without any text.
    pub(super) fn new() -> Self {
        Self { next: HashMap::new(), scores: vec![None] }
    }

    pub(super) fn insert(&mut self, text: &str, score: f32) {
        let mut node = 0;
        for byte in text.bytes() {
            let new = self.scores.len();
            node = *self.next.entry((node, byte)).or_insert(new);
            if node == new {
                self.scores.push(None);
            }
        }
        self.scores[node] = Some(score);
    }

    /// The lengths in bytes and the scores of what a text begins with, the shortest first.
    pub(super) fn prefixes(&self, text: &str) -> impl Iterator<Item = (usize, f32)> {
        let mut node = 0;
        let nodes = text.bytes().map_while(move |byte| {
            node = *self.next.get(&(node, byte))?;
            Some(node)
        });
        nodes.enumerate().filter_map(move |(at, node)| Some((at + 1, self.scores[node]?)))
    }
}

#[cfg(test)]
mod tests {
    use super::Trie;

    #[test]
    fn what_a_text_begins_with() {
        let mut trie = Trie::new();
        for (text, score) in [("ab", -2.0), ("a", -1.0), ("é", -3.0), ("abcd", -4.0), ("b", -5.0)] {
            trie.insert(text, score);
        }
        let found = |text: &str| trie.prefixes(text).collect::<Vec<_>>();
        assert_eq!(found("abcdef"), [(1, -1.0), (2, -2.0), (4, -4.0)]);
        assert_eq!(found("abce"), [(1, -1.0), (2, -2.0)]);
        assert_eq!(found("éa"), [(2, -3.0)]);
        assert_eq!(found("ca"), []);
        assert_eq!(found(""), []);
    }
}
