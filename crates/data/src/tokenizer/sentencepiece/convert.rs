//! A model of SentencePiece as a tokenizer of the `tokenizers` crate: the same pieces and ids, with the normalisation and frame of its
//! [`Class`].

use std::collections::HashMap;
use std::path::Path;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer as HfTokenizer};

use super::super::added::Added;
use super::super::config::MAX_VOCAB_SIZE;
use super::super::load::CONVERT;
use super::super::settings::{Role, Settings};
use super::super::train::template;
use super::class::Class;
use super::model::{Algorithm, Model, ModelPiece, PieceKind, check_unique};
use super::steps::Steps;
use crate::DataError;
use crate::error::io;

/// How many `<extra_id_N>` T5 has where nothing is said.
const EXTRA_IDS: u64 = 100;
/// How much worse ALBERT's pieces of a digit and a comma become, so that text is cut between the two.
const DIGIT_COMMA_PENALTY: f64 = 100.0;

/// Reads a model, with what stands beside it.
pub(in super::super) fn load(path: &Path, settings: &Settings) -> Result<HfTokenizer, DataError> {
    let wrong = |message: String| DataError::Format { path: path.to_owned(), message };
    let bytes = std::fs::read(path).map_err(|error| io("read", path, error))?;
    let model = Model::read(&bytes)
        .map_err(|problem| wrong(format!("{problem}; if it is no model of SentencePiece, {CONVERT}")))?;
    let class = Class::of(path, settings)?;
    let conversion = Conversion { class, settings, model };
    let (pieces, unknown) = conversion.vocabulary().map_err(wrong)?;
    let own = conversion.own_tokens(&pieces);
    let model = conversion.model(pieces, unknown).map_err(|error| wrong(error.to_string()))?;
    let steps = Steps::of(class, &conversion.model.normalizer, settings);
    let steps = steps.map_err(|error| wrong(error.to_string()))?;
    let mut tokenizer = HfTokenizer::new(model);
    steps.put_on(&mut tokenizer);
    tokenizer.add_tokens(&own);
    let roles = conversion.roles();
    let known: Vec<AddedToken> =
        roles.iter().filter(|token| tokenizer.token_to_id(&token.content).is_some()).cloned().collect();
    tokenizer.add_special_tokens(&known);
    Added::beside(path)?.add_to(&mut tokenizer, settings)?;
    tokenizer.add_special_tokens(&roles);
    conversion.frame(&mut tokenizer)?;
    Ok(tokenizer)
}

/// A model, and what it is to become.
struct Conversion<'a> {
    class: Class,
    settings: &'a Settings,
    model: Model,
}

impl Conversion<'_> {
    fn model(&self, pieces: Vec<ModelPiece>, unknown: usize) -> tokenizers::Result<ModelWrapper> {
        check_unique(&pieces)?;
        if pieces.len() > MAX_VOCAB_SIZE {
            return Err(format!("{} tokens; expected at most {MAX_VOCAB_SIZE}", pieces.len()).into());
        }
        match (self.model.algorithm, self.class.merges_pairs()) {
            (Algorithm::Unigram, false) => {
                if let Some(byte) = pieces.iter().find(|piece| piece.kind == PieceKind::Byte) {
                    let problem =
                        format!("the piece `{}` is a byte; expected none in a unigram model", byte.text);
                    return Err(problem.into());
                }
                let scores = pieces.into_iter().map(|piece| (self.score(&piece), piece));
                let vocab = scores.map(|(score, piece)| (piece.text, score)).collect();
                Ok(Unigram::from(vocab, Some(unknown), false)?.into())
            }
            (Algorithm::Bpe, true) => {
                let merges = merges(&pieces);
                let unknown = pieces[unknown].text.clone();
                let vocab: Vocab = (0..).zip(pieces).map(|(id, piece)| (piece.text, id)).collect();
                let model = BPE::builder().vocab_and_merges(vocab, merges).unk_token(unknown);
                Ok(model.fuse_unk(true).byte_fallback(true).build()?.into())
            }
            (_, true) => Err("its pieces are unigram pieces; expected a byte-pair model".into()),
            (_, false) => Err("its pieces are byte-pair pieces; expected a unigram model".into()),
        }
    }

    /// The tokens in the order of their ids, and the id of the unknown one.
    fn vocabulary(&self) -> Result<(Vec<ModelPiece>, usize), String> {
        let mut pieces = self.model.pieces.clone();
        let mark = |text: &str| ModelPiece { text: text.to_owned(), score: 0.0, kind: PieceKind::Control };
        match self.class {
            Class::XlmRoberta => {
                // The file begins with `<unk>`, `<s>`, `</s>`; fairseq has four marks in the place of these three.
                let n = pieces.iter().take_while(|piece| piece.kind != PieceKind::Normal).count();
                if n != 3 {
                    return Err(format!(
                        "{n} marks stand ahead of its pieces; expected `<unk>`, `<s>` and `</s>`, as in XLM-R"
                    ));
                }
                let marks = ["<s>", "<pad>", "</s>", "<unk>"].map(mark);
                let pieces =
                    marks.into_iter().chain(pieces.into_iter().skip(3)).chain([mark("<mask>")]).collect();
                return Ok((pieces, 3));
            }
            Class::T5 => {
                let n = self.settings.count("extra_ids").unwrap_or(EXTRA_IDS);
                if n > MAX_VOCAB_SIZE as u64 {
                    return Err(format!("extra_ids = {n}: expected at most {MAX_VOCAB_SIZE}"));
                }
                let extra = (0..n).rev().map(|number| mark(&format!("<extra_id_{number}>")));
                pieces.extend(extra);
            }
            // Where the tab is no piece, its byte becomes one: pairs are merged with it.
            Class::Gemma if pieces.iter().all(|piece| piece.text != "\t") => {
                if let Some(tab) = pieces.iter_mut().find(|piece| piece.text == "<0x09>") {
                    *tab = ModelPiece { text: "\t".to_owned(), score: 0.0, kind: PieceKind::Normal };
                }
            }
            Class::Albert | Class::Deberta | Class::Llama | Class::Gemma => {}
        }
        let unknown = pieces.iter().position(|piece| piece.kind == PieceKind::Unknown);
        Ok((pieces, unknown.ok_or("it has no piece for what is unknown")?))
    }

    fn score(&self, piece: &ModelPiece) -> f64 {
        let mut last = piece.text.chars().rev();
        let ends_with_number = last.next() == Some(',')
            && last.next().is_some_and(char::is_numeric)
            && self.class == Class::Albert;
        f64::from(piece.score) - if ends_with_number { DIGIT_COMMA_PENALTY } else { 0.0 }
    }

    /// The marks among the pieces, and what users named.
    fn own_tokens(&self, pieces: &[ModelPiece]) -> Vec<AddedToken> {
        let token = |ModelPiece { text, kind, .. }: &ModelPiece| match kind {
            PieceKind::Control => Some(self.special(text)),
            PieceKind::UserDefined => {
                let is_turn = self.class == Class::Gemma
                    && ["<start_of_turn>", "<end_of_turn>"].contains(&text.as_str());
                Some(AddedToken::from(text.as_str(), is_turn).normalized(false))
            }
            PieceKind::Normal | PieceKind::Unknown | PieceKind::Unused | PieceKind::Byte => None,
        };
        pieces.iter().filter_map(token).collect()
    }

    /// The token of a role: as the settings say, else as is usual.
    fn role(&self, key: &str) -> Option<&str> {
        let usual = self.class.usual_roles().iter().find(|(usual, _)| *usual == key).map(|(_, token)| *token);
        match self.settings.role(key) {
            Role::Token(token) => Some(token),
            Role::Unsaid => usual,
            Role::Without => None,
        }
    }

    /// The tokens of all roles.
    fn roles(&self) -> Vec<AddedToken> {
        const KEYS: [&str; 7] =
            ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
        KEYS.into_iter().filter_map(|key| self.role(key)).map(|token| self.special(token)).collect()
    }

    /// A special token; a mask takes the blank ahead of it along.
    fn special(&self, token: &str) -> AddedToken {
        let has_blank = matches!(self.class, Class::Albert | Class::XlmRoberta);
        AddedToken::from(token, true).lstrip(has_blank && self.role("mask_token") == Some(token))
    }

    fn frame(&self, tokenizer: &mut HfTokenizer) -> Result<(), DataError> {
        let [start, end] = self.class.frame_roles().map(|key| self.role(key).unwrap_or_default());
        let Some((single, pair)) = self.class.frame(self.settings, start, end) else { return Ok(()) };
        let ids = [start, end].into_iter().filter_map(|token| Some((token, tokenizer.token_to_id(token)?)));
        let ids: Vec<(&str, u32)> = ids.collect();
        tokenizer.with_post_processor(Some(template(&single, &pair, &ids)?));
        Ok(())
    }
}

/// The pairs that make a piece of two others, the best piece first.
fn merges(pieces: &[ModelPiece]) -> Merges {
    // Marks and bytes are never made of text.
    let is_text = |piece: &&ModelPiece| {
        matches!(piece.kind, PieceKind::Normal | PieceKind::UserDefined | PieceKind::Unused)
    };
    let ids = pieces.iter().enumerate().filter(|(_, piece)| is_text(piece));
    let ids: HashMap<&str, usize> = ids.map(|(id, piece)| (piece.text.as_str(), id)).collect();
    let mut found = Vec::new();
    for ModelPiece { text, score, .. } in pieces.iter().filter(is_text) {
        let parts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        let mut pairs: Vec<_> = parts
            .filter_map(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?, left, right)))
            .collect();
        pairs.sort_unstable();
        found.extend(pairs.into_iter().map(|(_, _, left, right)| (*score, left, right)));
    }
    let length = |text: &str| text.chars().count();
    // Of equal ones the order stays.
    found.sort_by(|(a, a_left, a_right), (b, b_left, b_right)| {
        let by_score = b.total_cmp(a);
        by_score.then(length(b_left).cmp(&length(a_left))).then(length(b_right).cmp(&length(a_right)))
    });
    found.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect()
}
