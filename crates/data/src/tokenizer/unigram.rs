//! Unigram (Kudo 2018, arXiv:1804.10959), trained to the same pieces and scores every time.
//!
//! The crate's trainer takes words in the order of a randomly seeded hash map, sums in as many parts as there are
//! threads, and scores characters that lost their piece in hash order as well. Here words come sorted, one thread sums,
//! and those characters are scored in their own order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::Tokenizer as HfTokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::pre_tokenizers::metaspace::Metaspace;

use super::train::{alphabet, specials};
use super::{SPECIAL_TOKENS, failed};
use crate::DataError;

/// The trainer spreads the scores of characters that lost their piece by this.
const PENALTY_STEP: f64 = 0.0001;
/// Longer words are trained on in parts: a piece has 16 characters at most.
const MAX_WORD_CHARS: usize = 512;

type Piece = (String, f64);

pub(super) fn unigram(counts: &BTreeMap<String, u64>, vocab_size: usize) -> Result<HfTokenizer, DataError> {
    let trainer = UnigramTrainer::builder()
        .vocab_size(u32::try_from(vocab_size).unwrap_or(u32::MAX))
        .special_tokens(specials())
        .unk_token(Some(SPECIAL_TOKENS[1].to_owned()))
        .show_progress(false)
        .build()
        .map_err(|error| failed("cannot build a trainer")(error.to_string().into()))?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .map_err(|error| failed("cannot start a thread")(error.into()))?;
    // One place less than there is: the trainer stops when the vocabulary is just full, not when it is over-full.
    let words = trainable(counts, vocab_size - SPECIAL_TOKENS.len() - 1);
    let mut trained = Unigram::default();
    // The suffix array underneath (esaxx-rs 0.1.10) reads past its end on some texts in which next to nothing repeats.
    let train = AssertUnwindSafe(|| pool.install(|| trainer.do_train(words, &mut trained)));
    let result = catch_unwind(train).map_err(|_| DataError::Tokenizer {
        what: "unigram pieces cannot be found in these texts, in which too little repeats; train on more text, or \
               choose another tokenizer.kind"
            .to_owned(),
        source: None,
    })?;
    result.map_err(failed("cannot train"))?;
    let pieces = trained.iter().skip(SPECIAL_TOKENS.len()).cloned().collect();
    let special = SPECIAL_TOKENS.map(|token| (token.to_owned(), 0.0));
    let vocab = special.into_iter().chain(in_order(pieces)).collect();
    let model = Unigram::from(vocab, Some(1), false).map_err(failed("cannot build a model"))?;
    let mut tokenizer = HfTokenizer::new(model);
    tokenizer.with_decoder(Some(DecoderWrapper::Metaspace(Metaspace::default())));
    Ok(tokenizer)
}

/// Words of the most frequent characters; rare characters part words.
fn trainable(counts: &BTreeMap<String, u64>, room: usize) -> Vec<(String, u32)> {
    let known = alphabet(counts, |_| 1, room);
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    for (word, count) in counts {
        for part in word.split(|c| !known.contains(&c)) {
            let chars: Vec<char> = part.chars().collect();
            for part in chars.chunks(MAX_WORD_CHARS) {
                *words.entry(part.iter().collect()).or_insert(0) += count;
            }
        }
    }
    words.into_iter().map(|(word, count)| (word, u32::try_from(count).unwrap_or(u32::MAX))).collect()
}

/// The pieces by score, then by text.
fn in_order(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let lowest = pieces.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let (mut lost, mut scores) = (Vec::new(), Vec::new());
    let mut penalty = 0.0;
    loop {
        let is_next = |(piece, score): &Piece| *score == lowest + penalty && piece.chars().count() == 1;
        let found = pieces.extract_if(.., |piece| is_next(piece));
        let before = lost.len();
        for (piece, score) in found {
            lost.push(piece);
            scores.push(score);
        }
        if lost.len() == before {
            break;
        }
        penalty += PENALTY_STEP;
    }
    lost.sort_unstable();
    pieces.extend(lost.into_iter().zip(scores));
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    pieces
}
