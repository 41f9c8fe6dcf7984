//! By which score written targets are judged.

use locus_metrics::bleu::BleuTokenizer;
use serde::{Deserialize, Serialize};

/// The score of written targets that decides which model is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetScore {
    /// Whole targets that are right.
    ExactMatch,
    /// BLEU.
    Bleu,
    /// chrF.
    Chrf,
    /// F1 of words.
    Rouge1,
    /// F1 of pairs of neighbouring words.
    Rouge2,
    /// F1 of the longest common subsequence of words.
    #[serde(rename = "rougeL")]
    RougeL,
}

impl TargetScore {
    /// Its name among the scores.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact_match",
            Self::Bleu => "bleu",
            Self::Chrf => "chrf",
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rougeL",
        }
    }

    /// Where targets in this language have no such score, what it takes.
    ///
    /// ```
    /// use locus_pipeline::TargetScore;
    /// assert_eq!(TargetScore::Rouge2.lacks(Some("en")), None);
    /// assert!(TargetScore::Rouge2.lacks(Some("zh")).is_some());
    /// assert!(TargetScore::Bleu.lacks(None).is_some());
    /// ```
    pub fn lacks(self, language: Option<&str>) -> Option<&'static str> {
        match (self, language.map(bleu_tokenizer)) {
            (Self::ExactMatch, _) | (Self::Bleu | Self::Chrf, Some(_)) => None,
            (_, None) => Some("the language of targets in data.target_language"),
            (_, Some(BleuTokenizer::V13a)) => None,
            (_, Some(_)) => Some("targets whose words are written apart; bleu and chrf score these"),
        }
    }
}

/// How BLEU cuts the text of a language into words. Japanese, Korean and Thai have other tokenizers in sacreBLEU, which are
/// programs of their own; here they are scored by characters.
pub(crate) fn bleu_tokenizer(language: &str) -> BleuTokenizer {
    // `zh-Hans`, `zh_CN` and `ZH` are Chinese as well: the primary subtag tells (BCP 47).
    let primary = language.split(['-', '_']).next().unwrap_or(language).to_ascii_lowercase();
    match primary.as_str() {
        "zh" | "zho" | "chi" | "cmn" | "yue" | "wuu" | "lzh" => BleuTokenizer::Zh,
        "ja" | "ko" | "th" => BleuTokenizer::Char,
        _ => BleuTokenizer::V13a,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_subtag_decides() {
        for language in ["zh", "zh-Hans", "zh_CN", "ZH-tw", "cmn", "cmn-Hant", "yue-HK", "wuu", "lzh"] {
            assert_eq!(bleu_tokenizer(language), BleuTokenizer::Zh, "{language}");
        }
        assert_eq!(bleu_tokenizer("ja-JP"), BleuTokenizer::Char);
        for language in ["en", "en-zh", "zha", ""] {
            assert_eq!(bleu_tokenizer(language), BleuTokenizer::V13a, "{language}");
        }
    }

    #[test]
    fn names_are_those_of_files() {
        use TargetScore::{Bleu, Chrf, ExactMatch, Rouge1, Rouge2, RougeL};
        for score in [ExactMatch, Bleu, Chrf, Rouge1, Rouge2, RougeL] {
            let written = serde_json::to_value(score).unwrap();
            assert_eq!(written.as_str(), Some(score.name()));
        }
    }
}
