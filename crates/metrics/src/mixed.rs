//! Words of text that mixes Chinese with others, as the evaluation program of CMRC 2018 cuts it: each Chinese character
//! by itself, what stands between by the rules of the Penn Treebank as NLTK has them.

use std::sync::LazyLock;

use crate::text::{Rules, is_space, words};

/// Marks that the program drops. Others, such as `!` and `(`, stay words.
fn is_dropped(c: char) -> bool {
    "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』".contains(c)
}

/// Lower case, without marks and outer space.
pub(crate) fn without_marks(text: &str) -> String {
    let lower = text.to_lowercase();
    lower.trim_matches(is_space).chars().filter(|c| !is_dropped(*c)).collect()
}

/// The words of a text, lower case, without marks.
pub(crate) fn segments(text: &str) -> Vec<String> {
    let (mut segments, mut between) = (Vec::new(), String::new());
    for c in without_marks(text).chars() {
        if matches!(c, '\u{4e00}'..='\u{9fa5}') {
            segments.extend(treebank(&std::mem::take(&mut between)));
            segments.push(c.to_string());
        } else {
            between.push(c);
        }
    }
    segments.extend(treebank(&between));
    segments
}

static OPENING_QUOTES: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(&[
        (r"[«“‘„]|`+", " $0 "),
        (r#"^""#, "``"),
        (r"``", " $0 "),
        (r#"([ \(\[\{<])("|'{2})"#, "$1 `` "),
    ])
});

static MARKS: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(&[
        (r#"([^.])(\.)([\])}>"'»”’ ]*)\s*$"#, "$1 $2 $3 "),
        (r"([:,])(\D)", " $1 $2"),
        (r"[:,]$", " $0 "),
        (r"\.{2,}", " $0 "),
        (r"[;@#$%&]", " $0 "),
        (r"[\u{2012}-\u{2015}]", " $0 "),
        (r#"([^.])(\.)([\])}>"']*)\s*$"#, "$1 $2$3 "),
        (r"[?!]", " $0 "),
        (r"([^'])' ", "$1 ' "),
        (r"\*", " $0 "),
        (r"[\]\[(){}<>]", " $0 "),
        (r"--", " $0 "),
    ])
});

static CLOSING_QUOTES_AND_CONTRACTIONS: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(&[
        (r"[»”’]", " $0 "),
        (r"''", " '' "),
        (r#"""#, " '' "),
        (r"\s+", " "),
        (r"([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "),
        (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
        (r"(?i)\b(can)(not)\b", " $1 $2 "),
        (r"(?i)\b(d)('ye)\b", " $1 $2 "),
        (r"(?i)\b(gim)(me)\b", " $1 $2 "),
        (r"(?i)\b(gon)(na)\b", " $1 $2 "),
        (r"(?i)\b(got)(ta)\b", " $1 $2 "),
        (r"(?i)\b(lem)(me)\b", " $1 $2 "),
        (r"(?i)\b(more)('n)\b", " $1 $2 "),
        (r"(?i)\b(wan)(na)(\s)", " $1 $2 $3"),
        (r"(?i) ('t)(is)\b", " $1 $2 "),
        (r"(?i) ('t)(was)\b", " $1 $2 "),
    ])
});

/// NLTK's `NLTKWordTokenizer`, the whole text as one sentence.
fn treebank(text: &str) -> Vec<String> {
    let text = MARKS.apply(&with_opening_apostrophes_apart(&OPENING_QUOTES.apply(text)));
    let text = CLOSING_QUOTES_AND_CONTRACTIONS.apply(&format!(" {text} "));
    words(&text).map(str::to_owned).collect()
}

/// An apostrophe that begins a word is a quotation mark, unless the word is the rest of a contraction.
fn with_opening_apostrophes_apart(text: &str) -> String {
    const RESTS: [&str; 8] = ["re", "ve", "ll", "m", "t", "s", "d", "n"];
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        out.push(c);
        let follows = text[at + c.len_utf8()..].split(|c| !is_word(c)).next().unwrap_or_default();
        let opens = c == '\'' && !text[..at].ends_with(is_word) && !follows.is_empty();
        if opens && !RESTS.iter().any(|rest| follows.eq_ignore_ascii_case(rest)) {
            out.push(' ');
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    /// CMRC's segments over NLTK's words (`oracle/metrics_text.py`).
    const GOLDEN: &str = include_str!("../tests/golden/cmrc.json");

    #[test]
    fn segments_equal_cmrc() {
        let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
        let case = &golden["cases"][0];
        let texts: Vec<Vec<String>> = serde_json::from_value(case["gold"].clone()).unwrap();
        let want: Vec<Vec<String>> = serde_json::from_value(case["segments"].clone()).unwrap();
        assert!(texts.len() > 50);
        for (texts, want) in texts.iter().zip(want) {
            assert_eq!(segments(&texts[0]), want, "{}", texts[0]);
        }
    }

    #[test]
    fn words_of_the_treebank() {
        let cut = |text: &str| segments(text).join("|");
        assert_eq!(cut("He said \"it's 3.5%, (ok).\""), "he|said|``|it|'s|3.5|%|,|(|ok|)|.|''");
        assert_eq!(cut("'Tis cannot 'so' they'll"), "'|tis|can|not|'|so|'|they|'ll");
        assert_eq!(cut("在iPhone 4s上"), "在|iphone|4s|上");
    }
}
