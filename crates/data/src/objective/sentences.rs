//! Pairs of segments: in their order or swapped (ALBERT), the second following the first or from elsewhere (BERT).
//!
//! References: Lan et al., "ALBERT", ICLR 2020, section 3.1; Devlin et al., "BERT", NAACL 2019, section 3.1 and
//! `create_pretraining_data.py`: whole sentences are gathered until a row is full, and a random one of their borders parts the
//! two segments. *Differs*: no share of the rows is cut short at random; it is for the caller to ask for less room.

use std::ops::Range;

use super::{ExampleKey, purpose};
use crate::random::Draws;
use crate::{DataError, Encoding, Item, ItemLabels, Tokenizer};

/// The tokens of two segments that follow each other.
pub type Segments = (Vec<u32>, Vec<u32>);

/// Two segments and how they belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentPair {
    /// The first segment's tokens.
    pub first: Vec<u32>,
    /// The second segment's tokens.
    pub second: Vec<u32>,
    /// 0 where the second follows the first, 1 where they are swapped or strangers.
    pub label: i32,
}

impl SegmentPair {
    /// The pair in the tokenizer's frame, with segments and the label of the row. To hide tokens too, hide them in this item's
    /// `ids`: a row has one kind of labels, and two losses need two.
    pub fn item(&self, tokenizer: &Tokenizer) -> Item {
        let framed = tokenizer.assemble(&self.first, Some(&self.second));
        let labels = ItemLabels::Row(self.label);
        Item { ids: framed.ids, segments: Some(framed.segments), labels, ..Item::default() }
    }
}

/// The bytes of each sentence of a text: it ends after `.`, `!`, `?` and their closing quotes where a blank follows, after
/// `。`, `！`, `？`, `…` wherever they stand, and at line ends. Together the sentences are the whole text.
///
/// ```
/// use locus_data::objective::sentences::sentences;
/// let text = "It is 3.5 m. \"So?\" she said. 你好。再见！";
/// let found: Vec<&str> = sentences(text).into_iter().map(|range| text[range].trim()).collect();
/// assert_eq!(found, ["It is 3.5 m.", "\"So?\"", "she said.", "你好。", "再见！"]);
/// ```
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let (mut start, mut ending) = (0, Ending::None);
    for (at, c) in text.char_indices() {
        let ends_here = match ending {
            Ending::None | Ending::Mark => false,
            Ending::Blank => !c.is_whitespace(),
            Ending::Wide => !is_closing(c) && !is_wide_mark(c) && !c.is_whitespace(),
        };
        if ends_here {
            out.push(start..at);
            start = at;
            ending = Ending::None;
        }
        ending = match (ending, c) {
            (_, '\n') => Ending::Blank,
            (Ending::Mark | Ending::Blank, c) if c.is_whitespace() => Ending::Blank,
            (Ending::Mark, c) if is_closing(c) => Ending::Mark,
            (Ending::Wide, c) if is_closing(c) || c.is_whitespace() => Ending::Wide,
            (_, '.' | '!' | '?') => Ending::Mark,
            (_, c) if is_wide_mark(c) => Ending::Wide,
            _ => Ending::None,
        };
    }
    if start < text.len() {
        out.push(start..text.len());
    }
    out
}

/// What of a sentence's end has been seen.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    None,
    /// A mark that ends a sentence if a blank follows.
    Mark,
    /// The blank after it, or a line end: the next character begins a sentence.
    Blank,
    /// A full-width mark: whatever follows begins a sentence, unless it closes quotes.
    Wide,
}

fn is_wide_mark(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '…' | '；')
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '”' | '’' | '」' | '』' | '）' | '》')
}

/// The tokens of each sentence, given the bytes of both; a token belongs to the sentence in which it starts. Sentences without
/// tokens are left out.
pub fn token_sentences(encoding: &Encoding, sentences: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = 0;
    for sentence in sentences {
        let n = encoding.offsets[start..].iter().take_while(|bytes| bytes.start < sentence.end).count();
        if n > 0 {
            out.push(start..start + n);
        }
        start += n;
    }
    out
}

/// The segments of a document, two and two: consecutive sentences that together have at most `room` tokens, parted at a
/// random border of sentences. A longer sentence is cut into pieces first, so that nothing is lost but a last sentence that
/// finds no partner.
///
/// # Errors
/// If `room` is less than two.
pub fn segment_pairs(
    document: &[Vec<u32>],
    room: usize,
    key: ExampleKey,
) -> Result<Vec<Segments>, DataError> {
    if room < 2 {
        return Err(DataError::Argument(format!("two segments need room for two tokens, found {room}")));
    }
    let longest = room / 2;
    let pieces: Vec<&[u32]> = document.iter().flat_map(|sentence| sentence.chunks(longest)).collect();
    let mut draws = key.draws(purpose::PAIR);
    let (mut pairs, mut start) = (Vec::new(), 0);
    while start + 1 < pieces.len() {
        let mut n_tokens = 0;
        let fits = pieces[start..].iter().take_while(|piece| {
            n_tokens += piece.len();
            n_tokens <= room
        });
        let end = start + fits.count();
        let border = start + 1 + draws.below(end - start - 1);
        pairs.push((pieces[start..border].concat(), pieces[border..end].concat()));
        start = end;
    }
    Ok(pairs)
}

/// Sentence order: half of the pairs are swapped, and have label 1.
pub fn sentence_order(first: Vec<u32>, second: Vec<u32>, key: ExampleKey) -> SegmentPair {
    let is_swapped = key.draws(purpose::SPLIT).chance(0.5);
    let (first, second) = if is_swapped { (second, first) } else { (first, second) };
    SegmentPair { first, second, label: i32::from(is_swapped) }
}

/// Next sentence: half of the pairs get the second segment of a pair of another document instead, and have label 1.
///
/// `document_of[pair]` is the document of each of all pairs.
///
/// # Errors
/// If the pair does not exist, or there is no other document.
pub fn next_sentence(
    pairs: &[Segments],
    document_of: &[usize],
    pair: usize,
    key: ExampleKey,
) -> Result<SegmentPair, DataError> {
    let (Some((first, second)), Some(&document)) = (pairs.get(pair), document_of.get(pair)) else {
        let message = format!("pair {pair} of {} with {} documents", pairs.len(), document_of.len());
        return Err(DataError::Argument(message));
    };
    let mut draws = key.draws(purpose::SPLIT);
    if draws.chance(0.5) {
        return Ok(SegmentPair { first: first.clone(), second: second.clone(), label: 0 });
    }
    let stranger = stranger(document_of, document, pairs.len(), &mut draws)?;
    Ok(SegmentPair { first: first.clone(), second: pairs[stranger].1.clone(), label: 1 })
}

/// A random pair of another document.
fn stranger(document_of: &[usize], document: usize, n: usize, draws: &mut Draws) -> Result<usize, DataError> {
    let others: Vec<usize> =
        (0..n.min(document_of.len())).filter(|&other| document_of[other] != document).collect();
    if others.is_empty() {
        let message =
            "next sentences need a second document to take strangers from; use sentence order instead";
        return Err(DataError::Argument(message.to_owned()));
    }
    Ok(others[draws.below(others.len())])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{is_binomial, key};
    use super::*;

    fn document(n: usize) -> Vec<Vec<u32>> {
        let mut next = 10;
        let sentence = |at: usize| {
            let len = 1 + (at as u32 * 5) % 7;
            next += len;
            (next - len..next).collect()
        };
        (0..n).map(sentence).collect()
    }

    #[test]
    fn sentences_are_the_whole_text() {
        for text in ["", "a", "A. B", "A.B. C!\nD? \"E.\" F...  G", "好。”他说。\n\n走！！", " . . "]
        {
            let found = sentences(text);
            let whole: String = found.iter().map(|range| &text[range.clone()]).collect();
            assert_eq!(whole, text);
        }
        let text = "A.B. C!\nD? \"E.\" F... g\nh";
        let found: Vec<&str> = sentences(text).into_iter().map(|range| text[range].trim()).collect();
        assert_eq!(found, ["A.B.", "C!", "D?", "\"E.\"", "F...", "g", "h"]);
        let text = "他说：“好。”走！！真的？";
        let found: Vec<&str> = sentences(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["他说：“好。”", "走！！", "真的？"]);
    }

    #[test]
    fn tokens_find_their_sentences() {
        let encoding =
            Encoding { ids: vec![5; 4], offsets: vec![0..1, 1..2, 3..4, 4..5], words: vec![None; 4] };
        assert_eq!(token_sentences(&encoding, &[0..3, 3..3, 3..5]), [0..2, 2..4]);
    }

    #[test]
    fn segments_follow_each_other_and_fit() {
        let document = document(41);
        let whole = document.concat();
        for example in 0..20 {
            let pairs = segment_pairs(&document, 23, key(example)).expect("room");
            let tokens: Vec<u32> = pairs.iter().flat_map(|(a, b)| [a.as_slice(), b].concat()).collect();
            assert_eq!(whole[..tokens.len()], tokens);
            assert!(whole.len() - tokens.len() <= 11, "at most one piece is left");
            for (first, second) in &pairs {
                assert!(!first.is_empty() && !second.is_empty() && first.len() + second.len() <= 23);
            }
        }
        let cut = segment_pairs(&[(0..100).collect()], 20, key(0)).expect("room");
        assert_eq!(cut.len(), 5);
        assert!(segment_pairs(&document, 1, key(0)).is_err());
    }

    #[test]
    fn half_of_the_pairs_are_swapped() {
        let mut swapped = 0;
        for example in 0..4000 {
            let pair = sentence_order(vec![1, 2], vec![3], key(example));
            let expected: (&[u32], &[u32]) = if pair.label == 1 { (&[3], &[1, 2]) } else { (&[1, 2], &[3]) };
            assert_eq!((&pair.first[..], &pair.second[..]), expected);
            swapped += pair.label as usize;
        }
        assert!(is_binomial(swapped, 4000, 0.5, 4.5), "{swapped}");
    }

    #[test]
    fn strangers_are_of_another_document() {
        let pairs: Vec<Segments> = (0..6).map(|n| (vec![n], vec![10 + n])).collect();
        let document_of = [0, 0, 0, 1, 1, 2];
        let mut seen = [0_usize; 6];
        for example in 0..4000 {
            let pair = next_sentence(&pairs, &document_of, 1, key(example)).expect("documents");
            let second = pair.second[0] as usize - 10;
            assert_eq!(pair.label == 0, second == 1);
            seen[second] += 1;
        }
        assert_eq!((seen[0], seen[2]), (0, 0));
        assert!(is_binomial(seen[1], 4000, 0.5, 4.5), "{seen:?}");
        assert!(seen[3..].iter().all(|&count| is_binomial(count, 4000, 1.0 / 6.0, 4.5)), "{seen:?}");
        let alone = |example| next_sentence(&pairs[..3], &document_of[..3], 1, key(example));
        assert!(
            (0..20)
                .all(|example| alone(example).is_ok_and(|pair| pair.label == 0) || alone(example).is_err())
        );
        assert!((0..20).any(|example| alone(example).is_err()));
        assert!(next_sentence(&pairs, &document_of, 6, key(0)).is_err());
    }
}
