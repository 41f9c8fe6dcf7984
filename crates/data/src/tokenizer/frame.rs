//! Special tokens: which ids they have, and which of them stand around a text.

use std::ops::Range;

use tokenizers::{Encoding as HfEncoding, PostProcessor, Token, Tokenizer as HfTokenizer};

use super::failed;
use super::settings::{Role, Settings};
use crate::DataError;

/// Ids of the special tokens, as `special_tokens_map.json` or `tokenizer_config.json` beside the tokenizer name them, else
/// found by their usual names; `None` where the tokenizer has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Specials {
    /// Padding.
    pub pad: Option<u32>,
    /// A word or character that is not in the vocabulary.
    pub unk: Option<u32>,
    /// Ahead of a text.
    pub cls: Option<u32>,
    /// After a text.
    pub sep: Option<u32>,
    /// A blank to fill in.
    pub mask: Option<u32>,
    /// Start of a generated text.
    pub bos: Option<u32>,
    /// End of a generated text.
    pub eos: Option<u32>,
}

impl Specials {
    /// What to fill short rows with: padding, or the end of text where a tokenizer has no padding (GPT-2), or 0.
    /// Padding is masked out, so the choice has no effect on results.
    pub fn fill(&self) -> u32 {
        self.pad.or(self.eos).unwrap_or(0)
    }
}

/// The tokens that a model expects around one text and around two.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// Ahead of a single text.
    pub before: Vec<u32>,
    /// After a single text.
    pub after: Vec<u32>,
    /// Ahead of the first of two.
    pub pair_before: Vec<u32>,
    /// Between the two.
    pub between: Vec<u32>,
    /// After the second.
    pub pair_after: Vec<u32>,
    /// Segment of the second text: 1 for BERT, 0 for RoBERTa.
    pub second_segment: u32,
}

impl Frame {
    /// How many tokens the frame adds.
    pub fn n_tokens(&self, pair: bool) -> usize {
        if pair {
            self.pair_before.len() + self.between.len() + self.pair_after.len()
        } else {
            self.before.len() + self.after.len()
        }
    }
}

/// Ids with the frame around them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Framed {
    /// All ids.
    pub ids: Vec<u32>,
    /// Segment of each.
    pub segments: Vec<u32>,
    /// Where the first text lies in `ids`.
    pub first: Range<usize>,
    /// Where the second text lies, if there is one.
    pub second: Option<Range<usize>>,
}

/// How many tokens of two texts fit into `max_len`: the longer one gives way first.
///
/// ```
/// assert_eq!(locus_data::tokenizer::fit_pair(10, 3, 9), (6, 3));
/// assert_eq!(locus_data::tokenizer::fit_pair(10, 9, 9), (5, 4));
/// ```
pub fn fit_pair(first: usize, second: usize, max_len: usize) -> (usize, usize) {
    if first + second <= max_len {
        (first, second)
    } else if second <= max_len / 2 {
        (max_len - second, second)
    } else if first <= max_len.div_ceil(2) {
        (first, max_len - first)
    } else {
        (max_len.div_ceil(2), max_len / 2)
    }
}

/// Each role: its key in a Hugging Face folder, and its usual names, the likeliest first.
pub(super) const ROLES: [(&str, &[&str]); 7] = [
    ("pad_token", &["[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>"]),
    ("unk_token", &["[UNK]", "<unk>", "<|unk|>"]),
    ("cls_token", &["[CLS]", "<cls>", "<s>"]),
    ("sep_token", &["[SEP]", "<sep>", "</s>"]),
    ("mask_token", &["[MASK]", "<mask>", "<|mask|>"]),
    ("bos_token", &["[BOS]", "<bos>", "<s>", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>"]),
    (
        "eos_token",
        &["[EOS]", "<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>", "<|eot_id|>", "<|im_end|>"],
    ),
];

impl Specials {
    fn from_roles(ids: [Option<u32>; 7]) -> Self {
        let [pad, unk, cls, sep, mask, bos, eos] = ids;
        Self { pad, unk, cls, sep, mask, bos, eos }
    }

    /// Each role's key and id.
    pub(super) fn roles(&self) -> [(&'static str, Option<u32>); 7] {
        let ids = [self.pad, self.unk, self.cls, self.sep, self.mask, self.bos, self.eos];
        std::array::from_fn(|at| (ROLES[at].0, ids[at]))
    }
}

/// The special tokens as the settings name them, else by their usual names.
pub(super) fn find_specials(inner: &HfTokenizer, settings: &Settings) -> Result<Specials, DataError> {
    let mut missing = Vec::new();
    let ids = ROLES.map(|(key, usual)| match settings.role(key) {
        Role::Unsaid => usual.iter().find_map(|name| inner.token_to_id(name)),
        Role::Without => None,
        Role::Token(token) => {
            let id = inner.token_to_id(token);
            if id.is_none() {
                missing.push((key, token));
            }
            id
        }
    });
    settings.not_in_vocabulary(&missing)?;
    Ok(Specials::from_roles(ids))
}

/// Classes of `transformers` that frame texts by `add_bos_token`, whatever post-processor `tokenizer.json` has, and whether they do so
/// where nothing is said.
const FRAMING: [(&str, bool); 5] = [
    ("LlamaTokenizer", true),
    ("CodeLlamaTokenizer", true),
    ("GemmaTokenizer", true),
    ("CohereTokenizer", true),
    ("GPTNeoXTokenizer", false),
];

/// What such a class puts ahead of a text; `None` where the file's own post-processor decides.
pub(super) fn start_of_class(settings: &Settings, specials: &Specials) -> Option<Vec<u32>> {
    let class = settings.text("tokenizer_class")?;
    let class = class.strip_suffix("Fast").unwrap_or(class);
    let (_, begins) = FRAMING.iter().find(|(name, _)| *name == class)?;
    if settings.switch("add_eos_token") == Some(true) {
        return None;
    }
    if settings.switch("add_bos_token").unwrap_or(*begins) {
        specials.bos.map(|bos| vec![bos])
    } else {
        Some(Vec::new())
    }
}

/// What the tokenizer's own post-processor puts around texts, seen by giving it texts of one token.
pub(super) fn find_frame(inner: &HfTokenizer, specials: &Specials) -> Result<Frame, DataError> {
    const FIRST: u32 = u32::MAX;
    const SECOND: u32 = u32::MAX - 1;
    let Some(processor) = inner.get_post_processor().filter(|processor| processor.added_tokens(true) > 0)
    else {
        let between = specials.sep.or(specials.eos).into_iter().collect();
        return Ok(Frame { between, ..Frame::default() });
    };
    let text = |id| HfEncoding::from_tokens(vec![Token::new(id, "a".to_owned(), (0, 1))], 0);
    let process =
        |first, second| processor.process(first, second, true).map_err(failed("cannot frame a text"));
    let single = process(text(FIRST), None)?;
    let pair = process(text(FIRST), Some(text(SECOND)))?;
    let place = |ids: &[u32], id| ids.iter().position(|&found| found == id);
    let (one, two) = (single.get_ids(), pair.get_ids());
    let places = place(one, FIRST).zip(place(two, FIRST)).zip(place(two, SECOND));
    let Some(((at, first), second)) = places.filter(|((_, first), second)| first < second) else {
        let what = "its template does not put the first text before the second".to_owned();
        return Err(DataError::Tokenizer { what, source: None });
    };
    Ok(Frame {
        before: one[..at].to_vec(),
        after: one[at + 1..].to_vec(),
        pair_before: two[..first].to_vec(),
        between: two[first + 1..second].to_vec(),
        pair_after: two[second + 1..].to_vec(),
        second_segment: pair.get_type_ids()[second],
    })
}
