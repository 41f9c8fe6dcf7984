//! Long inputs, cut into overlapping windows so that every word is predicted once, where it has most context.
//!
//! Windows start and end between words, unless a single word is longer than a window. A word belongs to the window in
//! which the shorter of its two contexts is longest; the text's own ends do not count as missing context. Nothing is
//! dropped: every token lies in a window and every word has exactly one owner.

use std::ops::Range;

use crate::DataError;

/// One window over the tokens of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The tokens it holds.
    pub tokens: Range<usize>,
    /// The words whose predictions are taken from it, ascending. A word's first token lies in `tokens`.
    pub words: Vec<usize>,
}

/// Cuts tokens into windows of at most `max_len`, which overlap by about `overlap` tokens.
///
/// `word_of[token]` is the token's word; words ascend from 0 without gaps. `max_len` is what is left for text after the
/// tokenizer's own `[CLS]` and `[SEP]`. An empty text has no windows.
///
/// # Errors
/// If `max_len` is 0, `overlap` is not below it, or `word_of` does not ascend from 0 in steps of one.
///
/// ```
/// use locus_data::windows;
/// # fn main() -> Result<(), locus_data::DataError> {
/// let cut = windows(&[0, 0, 1, 2, 3, 3], 4, 2)?;
/// assert_eq!((cut[0].tokens.clone(), cut[1].tokens.clone()), (0..4, 2..6));
/// assert_eq!((&cut[0].words[..], &cut[1].words[..]), (&[0, 1][..], &[2, 3][..]));
/// # Ok(()) }
/// ```
pub fn windows(word_of: &[usize], max_len: usize, overlap: usize) -> Result<Vec<Window>, DataError> {
    check(word_of, max_len, overlap)?;
    let mut windows: Vec<Window> = ranges(word_of, max_len, overlap)
        .into_iter()
        .map(|tokens| Window { tokens, words: Vec::new() })
        .collect();
    let mut start = 0;
    for (word, tokens) in word_of.chunk_by(|a, b| a == b).enumerate() {
        let span = start..start + tokens.len();
        start = span.end;
        if let Some(owner) = owner(&windows, &span, word_of.len()) {
            windows[owner].words.push(word);
        }
    }
    Ok(windows)
}

fn check(word_of: &[usize], max_len: usize, overlap: usize) -> Result<(), DataError> {
    if overlap >= max_len {
        return Err(DataError::Argument(format!(
            "windows of at most {max_len} tokens cannot overlap by {overlap}; the overlap must be smaller"
        )));
    }
    let ascends = word_of.first().is_none_or(|&first| first == 0)
        && word_of.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1);
    if !ascends {
        return Err(DataError::Argument("the words of the tokens must ascend from 0 without gaps".into()));
    }
    Ok(())
}

/// The token ranges: each ends at a word's end and the next starts at a word's start, if that makes progress.
fn ranges(word_of: &[usize], max_len: usize, overlap: usize) -> Vec<Range<usize>> {
    let len = word_of.len();
    // A place between two tokens where a cut splits no word.
    let between_words = |at: usize| at == 0 || at == len || word_of[at - 1] != word_of[at];
    let mut found: Vec<Range<usize>> = Vec::new();
    let (mut start, mut covered) = (0, 0);
    while covered < len {
        let next_end = (covered + 1..len).find(|&at| between_words(at)).unwrap_or(len);
        if next_end > start + max_len && next_end <= covered + max_len {
            // The next word fits only with less overlap.
            start = (next_end - max_len..=covered).find(|&at| between_words(at)).unwrap_or(start);
        }
        let limit = (start + max_len).min(len);
        let end = (covered + 1..=limit).rev().find(|&at| between_words(at)).unwrap_or(limit);
        found.push(start..end);
        covered = end;
        let last_fit = (len - covered <= max_len - overlap).then(|| len.saturating_sub(max_len));
        let wanted = last_fit.unwrap_or_else(|| end.saturating_sub(overlap)).max(start + 1);
        // From the wanted start on, at the latest where the last window ended.
        start = (wanted..=end).find(|&at| between_words(at)).unwrap_or(wanted);
    }
    found
}

/// The window with most context for the word at `span`: whole before cut, then the longest shorter side, then the first.
fn owner(windows: &[Window], span: &Range<usize>, len: usize) -> Option<usize> {
    (0..windows.len()).filter(|&at| windows[at].tokens.contains(&span.start)).max_by_key(|&at| {
        let tokens = &windows[at].tokens;
        let left = if tokens.start == 0 { len } else { span.start - tokens.start };
        let right = if tokens.end == len { len } else { tokens.end.saturating_sub(span.end) };
        (span.end <= tokens.end, left.min(right), std::cmp::Reverse(at))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(lengths: &[usize]) -> Vec<usize> {
        lengths.iter().enumerate().flat_map(|(word, &len)| std::iter::repeat_n(word, len)).collect()
    }

    #[test]
    fn a_short_text_is_one_window() {
        let cut = windows(&words(&[2, 1, 3]), 6, 2).expect("valid");
        assert_eq!(cut, [Window { tokens: 0..6, words: vec![0, 1, 2] }]);
        assert!(windows(&[], 6, 2).expect("valid").is_empty());
    }

    #[test]
    fn words_are_not_split() {
        // Words at 0..3, 3..6, 6..9: a limit of 5 may hold only one of them whole.
        let cut = windows(&words(&[3, 3, 3]), 5, 1).expect("valid");
        let tokens: Vec<_> = cut.iter().map(|window| window.tokens.clone()).collect();
        assert_eq!(tokens, [0..3, 3..6, 6..9]);
    }

    #[test]
    fn a_word_longer_than_a_window_belongs_to_the_window_of_its_start() {
        let cut = windows(&words(&[1, 9, 1]), 4, 1).expect("valid");
        let owner = cut.iter().find(|window| window.words.contains(&1)).expect("owned");
        assert!(owner.tokens.contains(&1));
        assert_eq!(cut.last().map(|window| window.tokens.end), Some(11));
    }

    #[test]
    fn the_middle_of_an_overlap_is_the_border() {
        let cut = windows(&words(&[1; 10]), 7, 4).expect("valid");
        assert_eq!(cut[0].tokens, 0..7);
        assert_eq!(cut[1].tokens, 3..10);
        assert_eq!(
            (cut[0].words.as_slice(), cut[1].words.as_slice()),
            (&[0, 1, 2, 3, 4][..], &[5, 6, 7, 8, 9][..])
        );
    }

    #[test]
    fn refuses_limits_that_make_no_progress() {
        assert!(windows(&[0], 0, 0).is_err());
        assert!(windows(&[0], 3, 3).is_err());
        assert!(windows(&[0, 2], 3, 1).is_err());
        assert!(windows(&[1], 3, 1).is_err());
    }

    proptest! {
        #[test]
        fn every_word_is_owned_once_and_every_token_covered(
            lengths in prop::collection::vec(1_usize..9, 0..60),
            max_len in 1_usize..24,
            overlap in 0_usize..23,
        ) {
            let overlap = overlap.min(max_len - 1);
            let word_of = words(&lengths);
            let cut = windows(&word_of, max_len, overlap).expect("valid");
            let mut owned: Vec<usize> = cut.iter().flat_map(|window| window.words.clone()).collect();
            owned.sort_unstable();
            prop_assert_eq!(owned, (0..lengths.len()).collect::<Vec<_>>());
            let mut covered = vec![false; word_of.len()];
            for Window { tokens, words } in &cut {
                prop_assert!(!tokens.is_empty() && tokens.len() <= max_len);
                covered[tokens.clone()].fill(true);
                for &word in words {
                    let first = word_of.iter().position(|&of| of == word).expect("has a token");
                    prop_assert!(tokens.contains(&first));
                    let whole = first + lengths[word] <= tokens.end;
                    prop_assert!(whole || lengths[word] > max_len, "{word} cut in {cut:?}");
                }
            }
            prop_assert!(covered.into_iter().all(|seen| seen));
        }
    }
}
