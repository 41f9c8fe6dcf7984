//! Which word each token belongs to, for any tokenizer: by where tokens lie in the text, not by how they are spelled.

use std::ops::Range;

use crate::{Encoding, Framed, split_words};

/// Finds the words of a text.
pub trait WordSplitter: Send + Sync {
    /// The bytes of each word, ascending, without overlap; blanks are in none.
    fn words(&self, text: &str) -> Vec<Range<usize>>;
}

/// Words as [`split_words`] gives them: blanks and punctuation part them, each Chinese character is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlainWords;

impl WordSplitter for PlainWords {
    fn words(&self, text: &str) -> Vec<Range<usize>> {
        split_words(text).into_iter().map(|(_, range)| range).collect()
    }
}

/// The word of each token of a text, numbered from 0 in the order of tokens. A token of several words, such as a piece
/// that spans a hyphen, makes one word of them; a token of blanks alone belongs to the word ahead of it.
///
/// ```
/// use locus_data::objective::words::{PlainWords, token_words};
/// use locus_data::{Tokenizer, TokenizerKind};
/// # fn main() -> Result<(), locus_data::DataError> {
/// let tokenizer = Tokenizer::train(TokenizerKind::Char, 100, false, ["to be"])?;
/// let encoding = tokenizer.encode("to be")?;
/// assert_eq!(token_words("to be", &encoding, &PlainWords), [0, 0, 0, 1, 1]);
/// # Ok(()) }
/// ```
pub fn token_words(text: &str, encoding: &Encoding, splitter: &dyn WordSplitter) -> Vec<usize> {
    let words = splitter.words(text);
    let mut out: Vec<usize> = Vec::with_capacity(encoding.offsets.len());
    // The last text word that the current group reaches, and the group's number.
    let (mut reached, mut group): (Option<usize>, Option<usize>) = (None, None);
    for bytes in &encoding.offsets {
        let first = words.partition_point(|word| word.end <= bytes.start);
        let end = words.partition_point(|word| word.start < bytes.end);
        let number = match (group, reached) {
            // Nothing but blanks.
            (Some(group), _) if first >= end => group,
            (Some(group), Some(reached)) if first <= reached => group,
            (Some(group), _) => group + 1,
            (None, _) => 0,
        };
        if first < end {
            reached = reached.max(Some(end - 1));
        }
        group = Some(number);
        out.push(number);
    }
    out
}

/// The words of a framed text or pair: none for the tokens of the frame, those of the second text numbered on.
///
/// # Panics
/// If a text has another number of tokens than words are given for.
pub fn framed_words(framed: &Framed, first: &[usize], second: Option<&[usize]>) -> Vec<Option<usize>> {
    let mut words = vec![None; framed.ids.len()];
    let mut place = |range: Range<usize>, numbers: &[usize], base: usize| {
        assert_eq!(range.len(), numbers.len(), "one word for each token");
        words[range].iter_mut().zip(numbers).for_each(|(word, number)| *word = Some(base + number));
    };
    place(framed.first.clone(), first, 0);
    if let (Some(range), Some(second)) = (framed.second.clone(), second) {
        place(range, second, first.iter().max().map_or(0, |last| last + 1));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tokenizer, TokenizerKind};

    #[test]
    fn every_kind_of_tokenizer_has_the_words_of_the_text() {
        let texts = ["the cat's unbelievable belief, 北京 unbelievable"];
        for kind in
            [TokenizerKind::WordPiece, TokenizerKind::Bpe, TokenizerKind::Unigram, TokenizerKind::Char]
        {
            let tokenizer = Tokenizer::train(kind, 330, false, texts).expect("trains");
            let text = "cat unbelievable, 北京";
            let encoding = tokenizer.encode(text).expect("encodes");
            let words = token_words(text, &encoding, &PlainWords);
            assert_eq!(words.len(), encoding.ids.len());
            // The last byte of every word stands in a token of that word and of no other.
            let plain = PlainWords.words(text);
            assert_eq!(plain.len(), 5, "{kind:?}");
            for pair in words.windows(2) {
                assert!(pair[1] == pair[0] || pair[1] == pair[0] + 1, "{kind:?} {words:?}");
            }
            let of_word = |word: &Range<usize>| {
                let covers = |bytes: &Range<usize>| bytes.start < word.end && word.start < bytes.end;
                let mut found: Vec<usize> = (0..words.len())
                    .filter(|&at| covers(&encoding.offsets[at]))
                    .map(|at| words[at])
                    .collect();
                found.dedup();
                found
            };
            let found: Vec<Vec<usize>> = plain.iter().map(of_word).collect();
            assert!(found.iter().all(|numbers| numbers.len() == 1), "{kind:?} {found:?}");
        }
    }

    #[test]
    fn a_token_of_several_words_joins_them() {
        let offsets = vec![0..2, 2..5, 5..6, 6..7, 7..9];
        let encoding = Encoding { ids: vec![5; 5], offsets, words: vec![None; 5] };
        // Words "ab", "-", "cd", "e": the second token holds "-cd", the fourth a blank.
        assert_eq!(token_words("ab-cdf ef", &encoding, &PlainWords), [0, 1, 1, 1, 2]);
        assert!(token_words("", &Encoding::default(), &PlainWords).is_empty());
    }

    #[test]
    fn the_frame_is_in_no_word() {
        let framed = Framed {
            ids: vec![1, 5, 6, 2, 7, 2],
            segments: vec![0, 0, 0, 0, 1, 1],
            first: 1..3,
            second: Some(4..5),
        };
        let expected = [None, Some(0), Some(0), None, Some(1), None];
        assert_eq!(framed_words(&framed, &[0, 0], Some(&[0])), expected);
    }
}
