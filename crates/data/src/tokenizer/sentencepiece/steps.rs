//! What happens to a text ahead of a converted model, and to pieces behind it.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip as StripBlanks;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{
    Lowercase, NFKD, Prepend, Replace, Sequence as Normalizers, Strip, StripAccents,
};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer as HfTokenizer,
};

use super::super::load::CONVERT;
use super::super::settings::Settings;
use super::BLANK;
use super::class::Class;
use super::normalize::Normalizer;

/// The steps of a tokenizer around its model.
pub(super) struct Steps {
    normalizers: Vec<NormalizerWrapper>,
    pre_tokenizers: Vec<PreTokenizerWrapper>,
    decoder: DecoderWrapper,
}

impl Steps {
    /// The steps of a class.
    pub(super) fn of(class: Class, own: &Normalizer, settings: &Settings) -> tokenizers::Result<Self> {
        if !own.escapes_blanks {
            return Err("its blanks stay blanks (escape_whitespaces = false); expected \u{2581}".into());
        }
        let with_prefix = settings.switch("add_prefix_space").unwrap_or(own.dummy_prefix);
        let is_legacy = settings.switch("legacy").unwrap_or(true);
        if class.merges_pairs() {
            if own.has_rules() || own.removes_blanks {
                let what = if own.has_rules() { "rules for characters" } else { "remove_extra_whitespaces" };
                return Err(format!(
                    "it normalises text ({what}), which models of its class do not; {CONVERT}"
                )
                .into());
            }
            return Self::of_pairs(with_prefix, is_legacy || class == Class::Gemma);
        }
        let scheme = match (with_prefix, class == Class::T5 && !is_legacy) {
            (false, _) => PrependScheme::Never,
            (true, true) => PrependScheme::First,
            (true, false) => PrependScheme::Always,
        };
        let blanks = Metaspace::new(BLANK, scheme, true);
        let mut pre_tokenizers: Vec<PreTokenizerWrapper> = Vec::new();
        if class == Class::Deberta && settings.switch("split_by_punct") == Some(true) {
            // Each part is normalised by itself: a blank ahead of punctuation goes.
            let end = SplitPattern::Regex(r" +\z".to_owned());
            pre_tokenizers.push(Punctuation::new(SplitDelimiterBehavior::Isolated).into());
            pre_tokenizers.push(Split::new(end, SplitDelimiterBehavior::Removed, false)?.into());
        }
        pre_tokenizers.push(blanks.clone().into());
        Ok(Self { normalizers: normalizers(class, own, settings)?, pre_tokenizers, decoder: blanks.into() })
    }

    /// Those of a model of byte pairs.
    fn of_pairs(with_prefix: bool, is_legacy: bool) -> tokenizers::Result<Self> {
        let mut decoders: Vec<DecoderWrapper> =
            vec![Replace::new("\u{2581}", " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
        if with_prefix {
            decoders.push(StripBlanks::new(' ', 1, 0).into());
        }
        let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
        let mut pre_tokenizers: Vec<PreTokenizerWrapper> = Vec::new();
        if is_legacy {
            if with_prefix {
                normalizers.push(Prepend::new(BLANK.to_string()).into());
            }
            normalizers.push(Replace::new(" ", "\u{2581}")?.into());
        } else {
            let scheme = if with_prefix { PrependScheme::First } else { PrependScheme::Never };
            pre_tokenizers.push(Metaspace::new(BLANK, scheme, false).into());
        }
        Ok(Self { normalizers, pre_tokenizers, decoder: Decoders::new(decoders).into() })
    }

    pub(super) fn put_on(self, tokenizer: &mut HfTokenizer) {
        let Self { normalizers, mut pre_tokenizers, decoder } = self;
        if !normalizers.is_empty() {
            tokenizer.with_normalizer(Some(Normalizers::new(normalizers)));
        }
        if pre_tokenizers.len() > 1 {
            tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(pre_tokenizers)));
        } else {
            tokenizer.with_pre_tokenizer(pre_tokenizers.pop());
        }
        tokenizer.with_decoder(Some(decoder));
    }
}

/// What a class does to characters around the model's own rules.
fn normalizers(
    class: Class,
    own: &Normalizer,
    settings: &Settings,
) -> tokenizers::Result<Vec<NormalizerWrapper>> {
    let regex = |pattern: &str, to: &str| Replace::new(ReplacePattern::Regex(pattern.to_owned()), to);
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    match class {
        Class::Albert => {
            if settings.switch("remove_space").unwrap_or(true) {
                steps.push(regex(r"\s+", " ")?.into());
            }
            for quotes in ["``", "''"] {
                steps.push(Replace::new(quotes, "\"")?.into());
            }
            if !settings.switch("keep_accents").unwrap_or(false) {
                steps.extend([NFKD.into(), StripAccents.into()]);
            }
            if settings.switch("do_lower_case").unwrap_or(true) {
                steps.push(Lowercase.into());
            }
        }
        Class::Deberta => {
            if settings.switch("do_lower_case").unwrap_or(false) {
                steps.push(Lowercase.into());
            }
            steps.push(Strip::new(true, true).into());
        }
        Class::T5 | Class::XlmRoberta | Class::Llama | Class::Gemma => {}
    }
    steps.extend(own.precompiled()?.map(NormalizerWrapper::from));
    steps.push(Strip::new(false, true).into());
    steps.push(match class {
        Class::T5 | Class::XlmRoberta => regex(" {2,}", "\u{2581}")?.into(),
        Class::Albert | Class::Deberta | Class::Llama | Class::Gemma => regex(" {2,}", " ")?.into(),
    });
    Ok(steps)
}
