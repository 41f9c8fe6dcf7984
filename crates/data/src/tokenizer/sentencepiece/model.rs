//! What the file of a model holds: a `ModelProto`.

use std::collections::HashSet;

use super::normalize::Normalizer;
use super::proto::Fields;

/// No piece has more bytes; those that are trained have some tens. The time that a text takes grows with the longest one.
const LONGEST_PIECE: usize = 512;

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// Text.
    Normal,
    /// What stands for all that is unknown.
    Unknown,
    /// A mark, such as the end of a text.
    Control,
    /// Text that a user named, which is never cut.
    UserDefined,
    /// Text that is not used.
    Unused,
    /// A byte.
    Byte,
}

/// A piece.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelPiece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// How pieces are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The most probable way (Kudo 2018, arXiv:1804.10959).
    Unigram,
    /// Pairs are merged (Sennrich, Haddow and Birch 2016, arXiv:1508.07909).
    Bpe,
}

/// A model as its file holds it.
#[derive(Debug, Clone)]
pub(super) struct Model {
    /// Their places are their ids.
    pub(super) pieces: Vec<ModelPiece>,
    pub(super) algorithm: Algorithm,
    pub(super) normalizer: Normalizer,
}

impl Model {
    /// Reads a `ModelProto`.
    ///
    /// # Errors
    /// If the bytes are no whole model, or it has pieces or rules that cannot be read.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let (mut fields, mut pieces) = (Fields::of(bytes), Vec::new());
        let (mut algorithm, mut normalizer) = (Algorithm::Unigram, Normalizer::default());
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => pieces.push(piece(value.bytes()?)?),
                2 => algorithm = trainer(value.bytes()?)?,
                3 => normalizer = Normalizer::read(value.bytes()?)?,
                5 if Normalizer::read(value.bytes()?)?.has_rules() => {
                    return Err(
                        "it has rules for written text (denormalizer_spec), which are not read".to_owned()
                    );
                }
                _ => {}
            }
        }
        if pieces.is_empty() {
            return Err("expected a model of SentencePiece; it has no pieces".to_owned());
        }
        check_unique(&pieces)?;
        Ok(Self { pieces, algorithm, normalizer })
    }
}

/// That no two pieces have the same text.
pub(super) fn check_unique(pieces: &[ModelPiece]) -> Result<(), String> {
    let mut known = HashSet::with_capacity(pieces.len());
    match pieces.iter().find(|piece| !known.insert(piece.text.as_str())) {
        Some(twice) => Err(format!("the piece {:?} is there twice", twice.text)),
        None => Ok(()),
    }
}

/// A `SentencePiece`.
fn piece(message: &[u8]) -> Result<ModelPiece, String> {
    let (mut fields, mut text, mut score, mut kind) = (Fields::of(message), "", 0.0_f32, 1);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                let bytes = value.bytes()?;
                text = std::str::from_utf8(bytes).map_err(|_| "a piece is not UTF-8".to_owned())?;
            }
            2 => score = value.float()?,
            3 => kind = value.number()?,
            _ => {}
        }
    }
    if text.len() > LONGEST_PIECE {
        let n = text.len();
        return Err(format!("a piece has {n} bytes; expected up to {LONGEST_PIECE}"));
    }
    if text.is_empty() || !score.is_finite() {
        return Err(format!("the piece {text:?} has the score {score}: expected a text and a finite number"));
    }
    let kind = match kind {
        1 => PieceKind::Normal,
        2 => PieceKind::Unknown,
        3 => PieceKind::Control,
        4 => PieceKind::UserDefined,
        5 => PieceKind::Unused,
        6 => PieceKind::Byte,
        other => return Err(format!("the piece {text:?} is of kind {other}; expected 1 to 6")),
    };
    Ok(ModelPiece { text: text.to_owned(), score, kind })
}

/// The algorithm of a `TrainerSpec`, and that nothing in it speaks against how models are read here.
fn trainer(message: &[u8]) -> Result<Algorithm, String> {
    let (mut fields, mut algorithm) = (Fields::of(message), Algorithm::Unigram);
    while let Some((number, value)) = fields.next()? {
        match number {
            3 => {
                algorithm = match value.number()? {
                    1 => Algorithm::Unigram,
                    2 => Algorithm::Bpe,
                    other => {
                        let kind = match other {
                            3 => "word",
                            4 => "character",
                            _ => "other",
                        };
                        let problem =
                            format!("its pieces are {kind} pieces; expected a unigram or byte-pair model");
                        return Err(problem);
                    }
                }
            }
            24 if value.switch()? => {
                return Err(
                    "blanks stand behind words (treat_whitespace_as_suffix); expected them ahead".to_owned()
                );
            }
            _ => {}
        }
    }
    Ok(algorithm)
}
