//! BM25: search by words, the baseline of search by vectors (Robertson & Zaragoza 2009, doi:10.1561/1500000019, §3).

use std::collections::HashMap;

use locus_data::tokenizer::is_cjk;

/// How soon more of the same word says nothing new.
const K1: f64 = 1.5;
/// How much the length of a document counts.
const B: f64 = 0.75;

/// An index of documents.
///
/// The score of a document is `Σ idf(t) · tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / mean length))` over the words `t` of the
/// query, with k1 = 1.5 and b = 0.75. `idf(t) = ln(1 + (n − df + 0.5) / (df + 0.5))`, which is never negative.
///
/// ```
/// use locus_pipeline::Bm25;
/// let index = Bm25::new(["The red boat.", "The blue boat.", "A house."].map(Bm25::words));
/// let found = index.search(&Bm25::words("blue boat"), 5);
/// assert_eq!(found.iter().map(|(document, _)| *document).collect::<Vec<_>>(), [1, 0]);
/// ```
#[derive(Clone, Debug)]
pub struct Bm25 {
    /// For each word the documents that have it, and how often.
    postings: HashMap<String, Vec<(usize, f64)>>,
    /// The last factor of each document's denominator.
    lengths: Vec<f64>,
}

impl Bm25 {
    /// The words of a text: runs of letters, digits and `_` in lower case. Of Chinese characters that stand together every two
    /// neighbours are a word, and one alone is.
    ///
    /// ```
    /// use locus_pipeline::Bm25;
    /// assert_eq!(Bm25::words("It's A股, 鸟唱歌!"), ["it", "s", "a", "股", "鸟唱", "唱歌"]);
    /// ```
    pub fn words(text: &str) -> Vec<String> {
        let lower = text.to_lowercase();
        let mut words = Vec::new();
        for run in lower.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
            let run: Vec<char> = run.chars().collect();
            for part in run.chunk_by(|&a, &b| is_cjk(a) == is_cjk(b)) {
                if part.len() > 1 && is_cjk(part[0]) {
                    words.extend(part.windows(2).map(|two| two.iter().collect::<String>()));
                } else {
                    words.push(part.iter().collect());
                }
            }
        }
        words
    }

    /// Indexes documents, each as its words.
    pub fn new<S: Into<String>>(documents: impl IntoIterator<Item = Vec<S>>) -> Self {
        let mut postings: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (number, words) in documents.into_iter().enumerate() {
            lengths.push(words.len() as f64);
            for word in words {
                let places = postings.entry(word.into()).or_default();
                match places.last_mut() {
                    Some((last, count)) if *last == number => *count += 1.0,
                    _ => places.push((number, 1.0)),
                }
            }
        }
        let mean = lengths.iter().sum::<f64>() / lengths.len().max(1) as f64;
        let mean = if mean > 0.0 { mean } else { 1.0 };
        lengths.iter_mut().for_each(|length| *length = K1 * (1.0 - B + B * *length / mean));
        Self { postings, lengths }
    }

    /// The `k` best documents with their scores, the best first; of equal ones the first. Documents without a word of the query
    /// are not among them.
    pub fn search<S: AsRef<str>>(&self, query: &[S], k: usize) -> Vec<(usize, f64)> {
        let n = self.lengths.len() as f64;
        let mut scores = vec![0.0; self.lengths.len()];
        for word in query {
            let Some(places) = self.postings.get(word.as_ref()) else { continue };
            let df = places.len() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
            for &(document, count) in places {
                scores[document] += idf * count * (K1 + 1.0) / (count + self.lengths[document]);
            }
        }
        // What a word adds is above 0.
        let mut found: Vec<(usize, f64)> =
            scores.into_iter().enumerate().filter(|(_, score)| *score > 0.0).collect();
        let by_score = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if (1..found.len()).contains(&k) {
            found.select_nth_unstable_by(k - 1, by_score);
        }
        found.truncate(k);
        found.sort_by(by_score);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_formula() {
        let documents = ["a b b", "a c", "d d d d d"].map(|text| text.split(' ').collect::<Vec<_>>());
        let index = Bm25::new(documents);
        // Worked by hand: 3 documents of 10/3 words on average; b is in one of them, twice, a in two.
        let length = |n: f64| 1.5 * (0.25 + 0.75 * n / (10.0 / 3.0));
        let (idf_a, idf_b) = ((1.0_f64 + 1.5 / 2.5).ln(), (1.0_f64 + 2.5 / 1.5).ln());
        let first = idf_a * 2.5 / (1.0 + length(3.0)) + idf_b * 2.0 * 2.5 / (2.0 + length(3.0));
        let second = idf_a * 2.5 / (1.0 + length(2.0));
        let found = index.search(&["a", "b", "x"], 7);
        assert_eq!(found.iter().map(|(document, _)| *document).collect::<Vec<_>>(), [0, 1]);
        for ((_, found), want) in found.iter().zip([first, second]) {
            assert!((found - want).abs() < 1e-12, "{found}, expected {want}");
        }
        assert_eq!(index.search(&["a"], 1).len(), 1);
        assert!(index.search(&["x"], 3).is_empty());
    }

    #[test]
    fn the_best_of_many_are_in_order() {
        let documents =
            (0..29).map(|n| vec!["a"; n % 7 + 1].into_iter().chain(vec!["b"; 3]).collect::<Vec<_>>());
        let index = Bm25::new(documents);
        let all = index.search(&["a"], 29);
        assert!(all.len() == 29 && all.windows(2).all(|two| two[0].1 >= two[1].1));
        for k in [0, 1, 5, 28, 31] {
            assert_eq!(index.search(&["a"], k), all[..k.min(29)], "{k}");
        }
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        assert!(Bm25::new(Vec::<Vec<String>>::new()).search(&["a"], 3).is_empty());
        assert!(Bm25::new(vec![Vec::<String>::new()]).search(&["a"], 3).is_empty());
    }
}
