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
    /// assert!(TargetScore::Rouge2.lacks(Some("ru")).is_some());
    /// assert!(TargetScore::Bleu.lacks(None).is_some());
    /// ```
    pub fn lacks(self, language: Option<&str>) -> Option<&'static str> {
        match (self, language) {
            (Self::ExactMatch, _) | (Self::Bleu | Self::Chrf, Some(_)) => None,
            (_, None) => Some("the language of targets in data.target_language"),
            (_, Some(language)) if rouge_reads(language) => None,
            (_, Some(language)) if bleu_tokenizer(language) == BleuTokenizer::V13a => {
                Some("targets in Latin letters, the only ones that ROUGE reads; bleu and chrf score these")
            }
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

/// Languages that are not written in Latin letters, by their codes in ISO 639-1 and, where they have none or sets of data use
/// these, ISO 639-3.
const OTHER_LETTERS: &[&str] = &[
    "ab", "am", "amh", "ar", "ara", "arz", "as", "av", "ba", "be", "bel", "ben", "bg", "bn", "bo", "bul",
    "ce", "ckb", "cu", "cv", "dv", "dz", "el", "ell", "fa", "fas", "grc", "gu", "guj", "he", "heb", "hi",
    "hin", "hy", "hye", "iw", "ka", "kan", "kat", "kaz", "khm", "kk", "km", "kn", "ks", "kv", "ky", "lao",
    "lo", "mai", "mal", "mar", "mk", "mkd", "ml", "mn", "mon", "mr", "my", "mya", "ne", "nep", "or", "ori",
    "os", "pa", "pan", "pes", "ps", "ru", "rus", "sa", "san", "sat", "sd", "si", "sin", "syr", "ta", "tam",
    "tat", "te", "tel", "tg", "tgk", "ti", "tt", "udm", "ug", "uig", "uk", "ukr", "ur", "urd", "yi", "yid",
    "zgh",
];

/// Whether ROUGE reads the words of a language: they are written apart, in Latin letters. It takes all but a to z and digits for
/// borders, so that texts in other letters have no words.
pub(crate) fn rouge_reads(language: &str) -> bool {
    let language = language.to_ascii_lowercase();
    let mut subtags = language.split(['-', '_']);
    let primary = subtags.next().unwrap_or_default();
    // Four letters name a script (BCP 47).
    let script = subtags.find(|subtag| subtag.len() == 4 && subtag.bytes().all(|b| b.is_ascii_alphabetic()));
    let is_latin = script.map_or(!OTHER_LETTERS.contains(&primary), |script| script == "latn");
    is_latin && bleu_tokenizer(&language) == BleuTokenizer::V13a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rouge_reads_latin_letters() {
        for language in ["en", "de-AT", "vi", "sr-Latn", "kk_latn_KZ", "sl-1994", ""] {
            assert!(rouge_reads(language), "{language}");
        }
        for language in ["ru", "ar-EG", "el", "hi", "UK", "sr-Cyrl", "pes", "zh", "zh-Latn", "ja", "ko", "th"]
        {
            assert!(!rouge_reads(language), "{language}");
        }
        let lacking = TargetScore::RougeL.lacks(Some("ru")).unwrap();
        assert!(lacking.contains("Latin letters") && TargetScore::Bleu.lacks(Some("ru")).is_none());
        assert!(TargetScore::RougeL.lacks(Some("ja")).unwrap().contains("written apart"));
    }

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
