//! Models of SentencePiece as its files hold them (Kudo and Richardson 2018, arXiv:1808.06226): unigram pieces with scores, and
//! how a text is normalised before.
//!
//! Those of most families become a tokenizer of the `tokenizers` crate ([`convert`]). Marian's are applied as they are
//! ([`SentencePiece`]): [`marian`](super::marian) has a vocabulary beside two of them.

mod class;
mod convert;
mod model;
mod normalize;
mod proto;
mod steps;
mod trie;

use std::ops::Range;

pub(super) use convert::load;
use model::{Algorithm, Model, ModelPiece, PieceKind};
use normalize::{Normalized, Normalizer};
use trie::Trie;

/// A blank in a piece.
pub(super) const BLANK: char = '\u{2581}';

/// How much worse an unknown character is than the worst piece.
const UNKNOWN_PENALTY: f32 = 10.0;

/// A unigram model.
#[derive(Debug, Clone)]
pub(super) struct SentencePiece {
    /// The pieces with their scores.
    pieces: Trie,
    /// The score of a character that is no piece.
    unknown: f32,
    normalizer: Normalizer,
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// As it stands in the model; of unknown characters, which stand together, as they are normalised.
    pub(super) text: String,
    /// The bytes of the original text that it stands for.
    pub(super) range: Range<usize>,
}

/// The best way to a place of a text.
#[derive(Debug, Clone, Copy, Default)]
struct Best {
    score: f32,
    /// Where its last piece starts; nowhere as long as there is no way.
    start: Option<usize>,
    is_unknown: bool,
}

impl Best {
    /// Takes a way if it is the first, or better.
    fn offer(&mut self, start: usize, score: f64, is_unknown: bool) {
        if self.start.is_none() || score > f64::from(self.score) {
            *self = Self { score: score as f32, start: Some(start), is_unknown };
        }
    }
}

impl SentencePiece {
    /// Reads a `ModelProto`.
    ///
    /// # Errors
    /// If the bytes are no whole model, or it is of another kind than unigram.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let Model { pieces, algorithm, normalizer } = Model::read(bytes)?;
        if algorithm == Algorithm::Bpe {
            return Err("its pieces are byte-pair pieces; expected a unigram model".to_owned());
        }
        let (mut trie, mut lowest) = (Trie::new(), None);
        for ModelPiece { text, score, kind } in pieces {
            match kind {
                PieceKind::Normal => {
                    trie.insert(&text, score);
                    lowest = Some(lowest.map_or(score, |lowest: f32| lowest.min(score)));
                }
                PieceKind::Unknown | PieceKind::Control | PieceKind::Unused => {}
                PieceKind::UserDefined => {
                    return Err(format!("the piece {text:?} is defined by a user; such pieces are not read"));
                }
                PieceKind::Byte => {
                    return Err(format!(
                        "the piece {text:?} is a byte; models that fall back to bytes are not read"
                    ));
                }
            }
        }
        let lowest = lowest.ok_or("expected a model of SentencePiece; it has no pieces")?;
        Ok(Self { pieces: trie, unknown: lowest - UNKNOWN_PENALTY, normalizer })
    }

    /// The pieces of a text: the way of the highest sum of scores (Viterbi).
    pub(super) fn encode(&self, text: &str) -> Vec<Piece> {
        let Normalized { text, origins } = self.normalizer.normalize(text);
        let mut pieces: Vec<Piece> = Vec::new();
        let mut after_unknown = false;
        for (range, is_unknown) in self.best_way(&text) {
            let (start, end) = (origins[range.start], origins[range.end]);
            match pieces.last_mut().filter(|_| is_unknown && after_unknown) {
                Some(last) => {
                    last.text.push_str(&text[range]);
                    last.range.end = end;
                }
                None => pieces.push(Piece { text: text[range].to_owned(), range: start..end }),
            }
            after_unknown = is_unknown;
        }
        pieces
    }

    // NUMERICS: sums are rounded to f32 at each place, and ways compared before that, as SentencePiece does: ties are its ties.
    fn best_way(&self, text: &str) -> Vec<(Range<usize>, bool)> {
        let mut best = vec![Best::default(); text.len() + 1];
        for (start, first) in text.char_indices() {
            let so_far = best[start].score;
            let mut is_known = false;
            for (n, score) in self.pieces.prefixes(&text[start..]) {
                is_known |= n == first.len_utf8();
                best[start + n].offer(start, f64::from(score) + f64::from(so_far), false);
            }
            if !is_known {
                best[start + first.len_utf8()].offer(start, f64::from(self.unknown + so_far), true);
            }
        }
        let mut way = Vec::new();
        let mut end = text.len();
        while let Some(start) = best[end].start {
            way.push((start..end, best[end].is_unknown));
            end = start;
        }
        way.reverse();
        way
    }
}

#[cfg(test)]
mod tests {
    use super::SentencePiece;

    /// A field of bytes; all lengths here are below 128.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[(number << 3) | 2, bytes.len() as u8][..], bytes].concat()
    }

    fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
        field(
            1,
            &[field(1, text.as_bytes()), vec![21], score.to_le_bytes().to_vec(), vec![24, kind]].concat(),
        )
    }

    fn model() -> Vec<u8> {
        let pieces = [("\u{2581}", -3.0), ("a", -2.0), ("b", -2.5), ("ab", -3.5), ("\u{2581}a", -4.0)];
        let marks = [piece("<unk>", 0.0, 2), piece("</s>", 0.0, 3), piece("aab", 9.0, 5)].concat();
        [marks, pieces.iter().flat_map(|(text, score)| piece(text, *score, 1)).collect()].concat()
    }

    /// A piece of at least 128 bytes, which lengths of two bytes stand before.
    fn long_piece(n: usize) -> Vec<u8> {
        let field = |bytes: &[u8]| {
            let length = [(bytes.len() & 0x7F) as u8 | 0x80, (bytes.len() >> 7) as u8];
            [&[10][..], &length, bytes].concat()
        };
        field(&field("x".repeat(n).as_bytes()))
    }

    fn texts(text: &str) -> Vec<(String, usize, usize)> {
        let model = SentencePiece::read(&model()).expect("a model");
        let pieces = model.encode(text).into_iter();
        pieces.map(|piece| (piece.text, piece.range.start, piece.range.end)).collect()
    }

    fn owned(pieces: &[(&str, usize, usize)]) -> Vec<(String, usize, usize)> {
        pieces.iter().map(|&(text, start, end)| (text.to_owned(), start, end)).collect()
    }

    #[test]
    fn the_best_pieces_with_what_is_unknown_together() {
        // ▁a b is −6.5, ▁ ab is −6.5 too: the first found stays.
        assert_eq!(texts("ab"), owned(&[("\u{2581}", 0, 0), ("ab", 0, 2)]));
        assert_eq!(
            texts("aé☃ b"),
            owned(&[("\u{2581}a", 0, 1), ("é☃", 1, 6), ("\u{2581}", 6, 7), ("b", 7, 8)])
        );
        // The end of a text in a text is text.
        assert_eq!(texts("</s>"), owned(&[("\u{2581}", 0, 0), ("</s>", 0, 4)]));
        assert_eq!(texts(""), []);
    }

    #[test]
    fn what_is_not_read_is_an_error() {
        let error = |bytes: &[u8]| SentencePiece::read(bytes).expect_err("not a model");
        assert!(error(&[]).contains("no pieces"), "{}", error(&[]));
        let whole = model();
        for n in 1..whole.len() {
            // Cut off between pieces, it is a smaller model.
            if let Err(problem) = SentencePiece::read(&whole[..n]) {
                assert!(problem.contains("cut off") || problem.contains("no pieces"), "{n}: {problem}");
            }
        }
        let with = |more: Vec<u8>| error(&[model(), more].concat());
        for (kind, name) in [(4, "user"), (6, "byte"), (9, "kind 9")] {
            assert!(with(piece("x", 0.0, kind)).contains(name), "{kind}");
        }
        assert!(with(piece("x", f32::NAN, 1)).contains("finite"));
        assert!(with(piece("ab", -1.0, 1)).contains("\"ab\" is there twice"));
        assert!(with(long_piece(513)).contains("513 bytes; expected up to 512"));
        assert!(SentencePiece::read(&[model(), long_piece(512)].concat()).is_ok());
        assert!(with(field(2, &[24, 2])).contains("byte-pair"));
        assert!(with(field(2, &[0xC0, 1, 1])).contains("whitespace"));
        assert!(with(field(3, &field(2, &[9]))).contains("precompiled_charsmap"));
    }
}
