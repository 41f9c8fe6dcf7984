//! From documents to what an objective makes of them.
//!
//! Documents are cut once into [`Piece`]s that fit the model; the objective makes an item of a piece anew in every epoch, as
//! a function of seed, epoch and the number of the piece. Scores use one key, so that each is of the same task.

use std::ops::Range;

use locus_data::objective::corruption::{CorruptionVocab, SpanCorruption};
use locus_data::objective::denoising::{Denoising, DenoisingVocab};
use locus_data::objective::masked::{MaskUnit, MaskedLm};
use locus_data::objective::prefix::PrefixLm;
use locus_data::objective::replaced::ReplacedTokens;
use locus_data::objective::sentences::{segment_pairs, sentence_order, sentences, token_sentences};
use locus_data::objective::words::{framed_words, token_words};
use locus_data::objective::{ExampleKey, MaskVocab};
use locus_data::{DataError, Item, ItemLabels};

use crate::{Codec, Masking, Objective, PipelineError, Replacing};

/// A part of a document, before the objective makes an item of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    /// Its tokens; of masked ones with the frame, of two segments the first.
    pub(crate) ids: Vec<u32>,
    /// The second of two segments.
    pub(crate) second: Vec<u32>,
    /// The word of each token, where words are hidden.
    words: Option<Vec<Option<usize>>>,
    /// The tokens of each sentence, where sentences change places.
    sentences: Vec<Range<usize>>,
}

/// An objective with the tokens that it needs.
#[derive(Clone, Debug)]
pub(crate) struct Pretraining {
    objective: Objective,
    learner: Learner,
}

#[derive(Clone, Debug)]
enum Learner {
    Masked(MaskedLm, MaskVocab),
    Replaced(ReplacedTokens, MaskVocab),
    Prefix(PrefixLm),
    Corruption(SpanCorruption, CorruptionVocab),
    Denoising(Denoising, DenoisingVocab),
    SentenceOrder,
}

/// What scores are drawn from: an epoch that no training reaches.
fn evaluation_key(example: usize) -> ExampleKey {
    ExampleKey { seed: 0, epoch: u64::MAX, example: example as u64 }
}

impl Pretraining {
    /// An objective for the model of a codec.
    ///
    /// # Errors
    /// If the tokenizer lacks a token that it needs.
    pub(crate) fn new(objective: Objective, codec: &Codec) -> Result<Self, PipelineError> {
        let tokenizer = &codec.tokenizer;
        let learner = match objective {
            Objective::Mlm(masking) => Learner::Masked(masking.hide(), MaskVocab::of(tokenizer)?),
            Objective::ReplacedTokens(replacing) => {
                Learner::Replaced(replacing.hide(), MaskVocab::of(tokenizer)?)
            }
            Objective::PrefixLm(config) => Learner::Prefix(config),
            Objective::SpanCorruption(config) => {
                // What the decoder starts and ends with is the same as in generation.
                let (start, end) = (codec.start_id()?, codec.end_id()?);
                Learner::Corruption(config, CorruptionVocab { start, end, ..CorruptionVocab::of(tokenizer)? })
            }
            Objective::Denoising(config) => Learner::Denoising(config, DenoisingVocab::of(tokenizer)?),
            Objective::SentenceOrder {} => Learner::SentenceOrder,
        };
        Ok(Self { objective, learner })
    }

    pub(crate) fn objective(&self) -> Objective {
        self.objective
    }

    /// How many tokens a piece shares with the one before: the last label of a prefix language model.
    pub(crate) fn overlap(&self) -> usize {
        usize::from(matches!(self.learner, Learner::Prefix(_)))
    }

    /// The most tokens of text that a piece has.
    ///
    /// # Errors
    /// If the model has no room for one.
    pub(crate) fn text_len(&self, codec: &Codec) -> Result<usize, PipelineError> {
        let (longest, frame) = (codec.max_seq_len, codec.tokenizer.frame().n_tokens(false));
        let room = match &self.learner {
            Learner::Masked(..) | Learner::Replaced(..) => codec.room(false),
            // The last token is a label only.
            Learner::Prefix(_) => longest + 1,
            Learner::Corruption(config, vocab) => {
                let fitting = config.text_len(longest, longest, vocab.sentinels.len());
                fitting
                    .map(|(text, _)| text)
                    .ok_or(PipelineError::TooShort { max_seq_len: longest, frame: 2 })?
            }
            // The decoder reads a start token ahead of the text.
            Learner::Denoising(..) => codec.room(false).min(longest.saturating_sub(1)),
            Learner::SentenceOrder => codec.room(true),
        };
        if room < 2 {
            return Err(PipelineError::TooShort { max_seq_len: longest, frame: frame + 1 });
        }
        Ok(room)
    }

    /// The pieces of all documents, in their order.
    pub(crate) fn pieces(&self, codec: &Codec, documents: &[String]) -> Result<Vec<Piece>, PipelineError> {
        let room = self.text_len(codec)?;
        let mut pieces = Vec::new();
        for (number, document) in documents.iter().enumerate() {
            match (&self.learner, self.objective) {
                (
                    Learner::Masked(..) | Learner::Replaced(..),
                    Objective::Mlm(Masking { unit, words, .. })
                    | Objective::ReplacedTokens(Replacing { unit, words, .. }),
                ) if unit != MaskUnit::Token => {
                    let encoding = codec.tokenizer.encode(document)?;
                    let words = token_words(document, &encoding, words.splitter()?);
                    let parts = encoding.ids.chunks(room).zip(words.chunks(room));
                    pieces.extend(parts.map(|(ids, words)| self.piece_of(codec, ids, Some(words))));
                }
                (Learner::Masked(..) | Learner::Replaced(..), _) => {
                    let ids = codec.tokenizer.encode_ids(document)?;
                    pieces.extend(ids.chunks(room).map(|ids| self.piece_of(codec, ids, None)));
                }
                (Learner::Prefix(_), _) => {
                    let mut ids = codec.tokenizer.encode_ids(document)?;
                    ids.extend(codec.tokenizer.specials().eos);
                    let starts = (0..ids.len().saturating_sub(1)).step_by(room - self.overlap());
                    let parts = starts.map(|start| &ids[start..(start + room).min(ids.len())]);
                    pieces.extend(parts.map(|ids| self.piece_of(codec, ids, None)));
                }
                (Learner::Corruption(..), _) => {
                    let ids = codec.tokenizer.encode_ids(document)?;
                    let parts = ids.chunks(room).filter(|ids| ids.len() > 1);
                    pieces.extend(parts.map(|ids| self.piece_of(codec, ids, None)));
                }
                (Learner::Denoising(..), _) => {
                    let (ids, sentences) = tokens_and_sentences(codec, document)?;
                    pieces.extend(gathered(&sentences, room).into_iter().map(|sentences| {
                        let (start, end) = (sentences[0].start, sentences[sentences.len() - 1].end);
                        let moved = sentences.iter().map(|range| range.start - start..range.end - start);
                        Piece {
                            ids: ids[start..end].to_vec(),
                            sentences: moved.collect(),
                            ..Piece::default()
                        }
                    }));
                }
                (Learner::SentenceOrder, _) => {
                    let (ids, sentences) = tokens_and_sentences(codec, document)?;
                    let sentences: Vec<Vec<u32>> =
                        sentences.into_iter().map(|range| ids[range].to_vec()).collect();
                    let pairs = segment_pairs(&sentences, room, evaluation_key(number))?;
                    pieces.extend(pairs.into_iter().map(|(ids, second)| Piece {
                        ids,
                        second,
                        ..Piece::default()
                    }));
                }
            }
        }
        Ok(pieces)
    }

    /// A piece of at most [`text_len`](Self::text_len) tokens, with the word of each where words are hidden.
    pub(crate) fn piece_of(&self, codec: &Codec, ids: &[u32], words: Option<&[usize]>) -> Piece {
        let (Learner::Masked(..) | Learner::Replaced(..)) = &self.learner else {
            return Piece { ids: ids.to_vec(), ..Piece::default() };
        };
        let framed = codec.tokenizer.assemble(ids, None);
        let words = words.map(|words| framed_words(&framed, words, None));
        Piece { ids: framed.ids, words, ..Piece::default() }
    }

    /// The items of pieces by which models are scored: always the same.
    pub(crate) fn evaluation_items(
        &self,
        codec: &Codec,
        documents: &[String],
    ) -> Result<Vec<Item>, PipelineError> {
        let pieces = self.pieces(codec, documents)?;
        let items =
            pieces.iter().enumerate().map(|(number, piece)| self.item(codec, piece, evaluation_key(number)));
        items.collect()
    }

    /// What the objective makes of a piece.
    pub(crate) fn item(&self, codec: &Codec, piece: &Piece, key: ExampleKey) -> Result<Item, PipelineError> {
        Ok(match &self.learner {
            Learner::Masked(hide, vocab) => {
                let item = Item { ids: piece.ids.clone(), ..Item::default() };
                hide.apply(&item, piece.words.as_deref(), vocab, key)?
            }
            Learner::Replaced(hide, vocab) => {
                let item = Item { ids: piece.ids.clone(), ..Item::default() };
                hide.apply(&item, piece.words.as_deref(), vocab, key)?
            }
            Learner::Prefix(config) => config.apply(&piece.ids, key)?,
            Learner::Corruption(config, vocab) => config.apply(&piece.ids, vocab, key)?,
            Learner::Denoising(config, vocab) => {
                let mut item = config.apply(&piece.ids, &piece.sentences, vocab, key)?;
                // Masks that stand for nothing may make it longer than it was: its end is cut, the frame stays.
                let text_end = item.ids.len() - vocab.after.len();
                let end = codec.max_seq_len.saturating_sub(vocab.after.len()).max(vocab.before.len());
                item.ids.drain(end.min(text_end)..text_end);
                item.labels = whole(codec, &piece.ids)?;
                item
            }
            Learner::SentenceOrder => {
                sentence_order(piece.ids.clone(), piece.second.clone(), key).item(&codec.tokenizer)
            }
        })
    }
}

/// A text as the target of a decoder, as translations are.
fn whole(codec: &Codec, text: &[u32]) -> Result<ItemLabels, PipelineError> {
    let (start, end) = (codec.start_id()?, codec.end_id()?);
    let ids = [start].into_iter().chain(text.iter().copied()).collect();
    let labels = text.iter().copied().chain([end]).map(|id| id as i32).collect();
    Ok(ItemLabels::Target { ids, labels })
}

fn tokens_and_sentences(codec: &Codec, document: &str) -> Result<(Vec<u32>, Vec<Range<usize>>), DataError> {
    let encoding = codec.tokenizer.encode(document)?;
    let sentences = token_sentences(&encoding, &sentences(document));
    Ok((encoding.ids, sentences))
}

/// Groups of sentences that together have at most `room` tokens; a longer sentence is cut.
fn gathered(sentences: &[Range<usize>], room: usize) -> Vec<Vec<Range<usize>>> {
    let mut groups: Vec<Vec<Range<usize>>> = Vec::new();
    let parts = sentences.iter().flat_map(|sentence| {
        let end = sentence.end;
        sentence.clone().step_by(room).map(move |start| start..(start + room).min(end))
    });
    for part in parts {
        match groups.last_mut() {
            Some(group) if part.end - group[0].start <= room => group.push(part),
            _ => groups.push(vec![part]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::gathered;

    #[test]
    fn sentences_are_gathered_in_order_and_long_ones_are_cut() {
        let groups = gathered(&[0..3, 3..5, 5..16, 16..17], 5);
        let ends: Vec<Vec<usize>> =
            groups.iter().map(|group| group.iter().map(|range| range.end).collect()).collect();
        assert_eq!(groups.concat().first(), Some(&(0..3)));
        assert_eq!(ends, [vec![3, 5], vec![10], vec![15], vec![16, 17]]);
        assert!(gathered(&[], 5).is_empty());
    }
}
