//! Words of raw text, for tasks that label words: blanks and punctuation part words, each Chinese character is one.

use std::ops::Range;

use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

/// Splits raw text into words with their bytes; blanks are in no word.
///
/// ```
/// use locus_data::split_words;
/// let words: Vec<String> = split_words("I'm in 北京.").into_iter().map(|(word, _)| word).collect();
/// assert_eq!(words, ["I", "'", "m", "in", "北", "京", "."]);
/// ```
pub fn split_words(text: &str) -> Vec<(String, Range<usize>)> {
    let mut pieces = PreTokenizedString::from(text);
    let pieces: Vec<Range<usize>> = match BertPreTokenizer.pre_tokenize(&mut pieces) {
        Ok(()) => pieces
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .map(|(_, (start, end), _)| start..end)
            .collect(),
        // Splitting plain text at characters cannot fail; should it, blanks still part words.
        Err(_) => blank_separated(text),
    };
    pieces
        .into_iter()
        .flat_map(|piece| split_cjk(text, piece))
        .filter(|range| !text[range.clone()].trim().is_empty())
        .map(|range| (text[range.clone()].to_owned(), range))
        .collect()
}

/// The parts of a word that [`split_words`] would give for its Chinese characters: each of these, and what stands between.
///
/// ```
/// let units: Vec<&str> = locus_data::cjk_units("A股市").collect();
/// assert_eq!(units, ["A", "股", "市"]);
/// ```
pub fn cjk_units(word: &str) -> impl Iterator<Item = &str> {
    split_cjk(word, 0..word.len()).into_iter().map(|range| &word[range])
}

/// Whether a character is a Chinese one as BERT counts them: no blanks are written around these.
pub fn is_cjk(c: char) -> bool {
    matches!(u32::from(c),
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F
        | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F | 0x2B740..=0x2B81F | 0x2B820..=0x2CEAF)
}

/// Whether running text has a blank between two words: not beside Chinese characters and full-width marks.
pub(super) fn has_blank_between(left: &str, right: &str) -> bool {
    let tight = |c: char| is_cjk(c) || matches!(u32::from(c), 0x3000..=0x303F | 0xFF00..=0xFFEF);
    !left.chars().next_back().is_some_and(tight) && !right.chars().next().is_some_and(tight)
}

fn blank_separated(text: &str) -> Vec<Range<usize>> {
    let start_of = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace().map(|word| start_of(word)..start_of(word) + word.len()).collect()
}

fn split_cjk(text: &str, piece: Range<usize>) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut joins = false;
    for (at, c) in text[piece.clone()].char_indices() {
        let start = piece.start + at;
        let end = start + c.len_utf8();
        match parts.last_mut() {
            Some(last) if joins && !is_cjk(c) => last.end = end,
            _ => parts.push(start..end),
        }
        joins = !is_cjk(c);
    }
    parts
}
