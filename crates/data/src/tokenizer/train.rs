//! Training a tokenizer on texts, with the trainers of the `tokenizers` crate and a reproducible order of ids.
//!
//! The crate's WordPiece trainer numbers the `##x` pieces in the order of a randomly seeded hash map, so two runs differ.
//! Here words are counted in sorted order and those pieces are given to the trainer up front, sorted.

use std::collections::{BTreeMap, BTreeSet};

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordlevel::{WordLevel, WordLevelTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Tokenizer as HfTokenizer, Trainer, decoders,
};

use super::unigram::unigram;
use super::{SPECIAL_TOKENS, TokenizerConfig, TokenizerKind, failed};
use crate::DataError;

/// Pieces must occur this often to be merged.
const MIN_FREQUENCY: u64 = 2;
/// Words are handed to a trainer with their count in portions of this size.
const PORTION: u64 = 4096;

pub(super) fn train<S: AsRef<str>>(
    config: &TokenizerConfig,
    texts: impl IntoIterator<Item = S>,
) -> Result<HfTokenizer, DataError> {
    let problems: Vec<String> = config.check().iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(DataError::Argument(problems.join("; ")));
    }
    let steps = Steps { normalizer: config.normalizer(), pre_tokenizer: config.pre_tokenizer()? };
    let counts = within_32_bits(steps.count(config.kind, texts)?);
    if counts.is_empty() {
        return Err(DataError::Argument("cannot train a tokenizer on no text".into()));
    }
    let mut tokenizer = match config.kind {
        TokenizerKind::WordPiece => word_piece(counts, config.vocab_size)?,
        TokenizerKind::Bpe => bpe(&counts, config.vocab_size)?,
        TokenizerKind::Unigram => unigram(&counts, config.vocab_size)?,
        TokenizerKind::Char => chars(counts, config.vocab_size)?,
        TokenizerKind::Word => words(&counts, config.vocab_size)?,
    };
    tokenizer.with_normalizer(steps.normalizer);
    tokenizer.with_pre_tokenizer(steps.pre_tokenizer);
    tokenizer.add_special_tokens(&specials());
    let frame = template("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", &[("[CLS]", 2), ("[SEP]", 3)])?;
    tokenizer.with_post_processor(Some(frame));
    Ok(tokenizer)
}

/// The tokens around one text, such as `[CLS] $A [SEP]`, and around two.
pub(super) fn template(
    single: &str,
    pair: &str,
    specials: &[(&str, u32)],
) -> Result<TemplateProcessing, DataError> {
    let wrong = |error: String| failed("cannot build the template")(error.into());
    let specials: Vec<(String, u32)> = specials.iter().map(|&(token, id)| (token.to_owned(), id)).collect();
    TemplateProcessing::builder()
        .try_single(single)
        .and_then(|builder| builder.try_pair(pair))
        .map_err(wrong)?
        .special_tokens(specials)
        .build()
        .map_err(|error| wrong(error.to_string()))
}

pub(super) fn specials() -> Vec<AddedToken> {
    SPECIAL_TOKENS.map(|token| AddedToken::from(token, true)).to_vec()
}

/// What happens to text before the model sees words.
struct Steps {
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
}

impl Steps {
    /// How often each word occurs; for single characters, each character.
    fn count<S: AsRef<str>>(
        &self,
        kind: TokenizerKind,
        texts: impl IntoIterator<Item = S>,
    ) -> Result<BTreeMap<String, u64>, DataError> {
        let mut counts = BTreeMap::new();
        for text in texts {
            // Line by line, so that a book is not held with an offset for every byte.
            for line in text.as_ref().split_inclusive('\n') {
                let words = self.words(line).map_err(failed("cannot split text into words"))?;
                for word in words {
                    if kind == TokenizerKind::Char {
                        word.chars().for_each(|c| *counts.entry(c.to_string()).or_insert(0) += 1);
                    } else {
                        *counts.entry(word).or_insert(0) += 1;
                    }
                }
            }
        }
        Ok(counts)
    }

    fn words(&self, text: &str) -> tokenizers::Result<Vec<String>> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = &self.normalizer {
            normalizer.normalize(&mut normalized)?;
        }
        let mut pieces = PreTokenizedString::from(normalized);
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
        Ok(splits.into_iter().map(|(word, ..)| word.to_owned()).filter(|word| !word.is_empty()).collect())
    }
}

fn word_piece(mut counts: BTreeMap<String, u64>, vocab_size: usize) -> Result<HfTokenizer, DataError> {
    let continuing = limit_alphabet(&mut counts, vocab_size - SPECIAL_TOKENS.len());
    let mut known = specials();
    known.extend(continuing.iter().map(|c| AddedToken::from(format!("##{c}"), false)));
    let mut trainer = WordPieceTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(MIN_FREQUENCY)
        .special_tokens(known)
        .show_progress(false)
        .build();
    let mut model = WordPiece::default();
    fit(&mut trainer, &mut model, &counts)?;
    let mut tokenizer = HfTokenizer::new(model);
    tokenizer.with_decoder(Some(decoders::wordpiece::WordPiece::default()));
    Ok(tokenizer)
}

/// Keeps as many of the most frequent characters as `room` allows, one place as `x` and one as `##x`; words with others
/// are left out, they are unknown anyway. Returns the characters that continue words.
fn limit_alphabet(counts: &mut BTreeMap<String, u64>, room: usize) -> BTreeSet<char> {
    let mut continuing: BTreeSet<char> = counts.keys().flat_map(|word| word.chars().skip(1)).collect();
    let kept = alphabet(counts, |c| 1 + usize::from(continuing.contains(&c)), room);
    counts.retain(|word, _| word.chars().all(|c| kept.contains(&c)));
    continuing.retain(|c| kept.contains(c));
    continuing
}

/// The most frequent characters, as many as there is room for.
pub(super) fn alphabet(
    counts: &BTreeMap<String, u64>,
    places: impl Fn(char) -> usize,
    room: usize,
) -> BTreeSet<char> {
    let mut chars: BTreeMap<char, u64> = BTreeMap::new();
    for (word, count) in counts {
        word.chars().for_each(|c| *chars.entry(c).or_insert(0) += count);
    }
    let mut order: Vec<(char, u64)> = chars.into_iter().collect();
    order.sort_by_key(|&(c, count)| (std::cmp::Reverse(count), c));
    let mut used = 0;
    let fits = |c: &char| {
        used += places(*c);
        used <= room
    };
    order.into_iter().map(|(c, _)| c).take_while(fits).collect()
}

/// The trainers add up in 32 bits; where that is too little, all counts are scaled down.
fn within_32_bits(mut counts: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    const MOST: u64 = 1 << 30;
    let n_chars: u64 = counts.iter().map(|(word, count)| word.chars().count() as u64 * count).sum();
    let scale = n_chars.div_ceil(MOST);
    if scale > 1 {
        counts.values_mut().for_each(|count| *count = count.div_ceil(scale));
    }
    counts
}

fn bpe(counts: &BTreeMap<String, u64>, vocab_size: usize) -> Result<HfTokenizer, DataError> {
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(MIN_FREQUENCY)
        .special_tokens(specials())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let mut model = BPE::default();
    fit(&mut trainer, &mut model, counts)?;
    let mut tokenizer = HfTokenizer::new(model);
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}

/// A pair-merging model without merges: every character is a token.
fn chars(counts: BTreeMap<String, u64>, vocab_size: usize) -> Result<HfTokenizer, DataError> {
    let mut order: Vec<(String, u64)> = counts.into_iter().collect();
    order.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    order.truncate(vocab_size - SPECIAL_TOKENS.len());
    // A limit of 0 stops the trainer before its first merge; the alphabet is added whatever the limit.
    let mut trainer =
        BpeTrainer::builder().vocab_size(0).special_tokens(specials()).show_progress(false).build();
    let mut model =
        BPE::builder().unk_token("[UNK]".to_owned()).build().map_err(failed("cannot build a model"))?;
    fit(&mut trainer, &mut model, &order.into_iter().map(|(c, _)| (c, 1)).collect())?;
    let mut tokenizer = HfTokenizer::new(model);
    tokenizer.with_decoder(Some(decoders::fuse::Fuse::new()));
    Ok(tokenizer)
}

fn words(counts: &BTreeMap<String, u64>, vocab_size: usize) -> Result<HfTokenizer, DataError> {
    let mut trainer = WordLevelTrainer::builder()
        .vocab_size(vocab_size)
        .special_tokens(specials())
        .show_progress(false)
        .build()
        .map_err(|error| failed("cannot build a trainer")(error.to_string().into()))?;
    let mut model =
        WordLevel::builder().unk_token("[UNK]".to_owned()).build().map_err(failed("cannot build a model"))?;
    fit(&mut trainer, &mut model, counts)?;
    Ok(HfTokenizer::new(model))
}

/// Trains on words and their counts. A trainer takes texts only, so each portion travels as `count NUL word`.
fn fit<T: Trainer>(
    trainer: &mut T,
    model: &mut T::Model,
    counts: &BTreeMap<String, u64>,
) -> Result<(), DataError> {
    let portions = counts.iter().flat_map(|(word, &count)| {
        let portion = move |at: u64| format!("{}\0{word}", (count - at * PORTION).min(PORTION));
        (0..count.div_ceil(PORTION)).map(portion)
    });
    let repeat = |portion: &str| {
        let (count, word) = portion.split_once('\0').unwrap_or(("1", portion));
        Ok(vec![word.to_owned(); count.parse()?])
    };
    trainer.feed(portions, repeat).map_err(failed("cannot count words"))?;
    trainer.train(model).map_err(failed("cannot train"))?;
    Ok(())
}
