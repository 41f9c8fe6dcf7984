//! BLEU: how many runs of one to four words a translation shares with its references, times a penalty for being short
//! (Papineni et al. 2002, doi:10.3115/1073083.1073135).
//!
//! Counts are summed over the corpus before they are divided. A precision without a match is halved once more for each
//! such order (`exp`, the NIST smoothing). Scores lie between 0 and 100.
//! Source: sacreBLEU 2.6.0 `BLEU`; its tokenizers 13a, zh, intl, char and none.
//! Differs: without examples the score is 0, not an error.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::{
    error::MetricsError,
    samples::{Formula, Samples},
    text::{Rules, is_space, ngrams, overlap, words},
};

/// Longest run of words that counts.
pub const MAX_ORDER: usize = 4;

/// How text is cut into words. Scores of different tokenizers do not compare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BleuTokenizer {
    /// That of mteval-v13a, for languages with spaces.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// Each Chinese character by itself, the rest as `13a`.
    #[serde(rename = "zh")]
    Zh,
    /// That of mteval-v14, for any language with spaces.
    #[serde(rename = "intl")]
    Intl,
    /// Each character by itself.
    #[serde(rename = "char")]
    Char,
    /// Words are what stands between spaces: for text that is cut already.
    #[serde(rename = "none")]
    None,
}

impl BleuTokenizer {
    /// The name in signatures.
    pub fn name(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::Zh => "zh",
            Self::Intl => "intl",
            Self::Char => "char",
            Self::None => "none",
        }
    }

    /// The text with spaces between words.
    ///
    /// ```
    /// use locus_metrics::bleu::BleuTokenizer;
    ///
    /// assert_eq!(BleuTokenizer::V13a.tokenize("It costs $1,000.50, he said."), "It costs $ 1,000.50 , he said .");
    /// assert_eq!(BleuTokenizer::Zh.tokenize("我有2台PC。"), "我 有 2 台 PC 。");
    /// ```
    pub fn tokenize(self, text: &str) -> String {
        let cut = match self {
            Self::V13a => WESTERN.apply(&format!(" {} ", unescaped(text))),
            Self::Zh => WESTERN.apply(&spaced(text.trim_matches(is_space), is_chinese)),
            Self::Intl => INTERNATIONAL.apply(text),
            Self::Char => spaced(text, |_| true),
            Self::None => return text.to_owned(),
        };
        words(&cut).collect::<Vec<_>>().join(" ")
    }
}

/// How BLEU is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bleu {
    /// How text is cut into words.
    pub tokenizer: BleuTokenizer,
    /// Whether case is ignored.
    pub lowercase: bool,
}

impl Bleu {
    /// BLEU of one sentence, of the orders that its length allows (`eff:yes`).
    ///
    /// # Errors
    /// If there is no reference.
    pub fn sentence(&self, hypothesis: &str, references: &[&str]) -> Result<f64, MetricsError> {
        let sums = self.counts(0, hypothesis, references)?;
        Ok(BleuReport::new(&sums, true).score)
    }

    fn words(&self, text: &str) -> Vec<String> {
        let lower = if self.lowercase { text.to_lowercase() } else { text.to_owned() };
        words(&self.tokenizer.tokenize(lower.trim_end_matches(is_space))).map(str::to_owned).collect()
    }

    /// Words of hypothesis and of the reference next to it in length, n-grams in common by order, n-grams by order.
    fn counts(&self, at: usize, hypothesis: &str, references: &[&str]) -> Result<Sums, MetricsError> {
        if references.is_empty() {
            let problem = "at least one reference expected, none found".to_owned();
            return Err(MetricsError::BadExample { at, problem });
        }
        let hypothesis = self.words(hypothesis);
        let references: Vec<Vec<String>> = references.iter().map(|text| self.words(text)).collect();
        let n = hypothesis.len();
        let closest = references.iter().map(Vec::len).min_by_key(|&len| (n.abs_diff(len), len)).unwrap_or(0);
        let mut sums = [0.0; 2 + 2 * MAX_ORDER];
        (sums[0], sums[1]) = (n as f64, closest as f64);
        for order in 1..=MAX_ORDER {
            let mut most = ngrams(&references[0], order);
            for reference in &references[1..] {
                for (ngram, count) in ngrams(reference, order) {
                    let most = most.entry(ngram).or_insert(0);
                    *most = count.max(*most);
                }
            }
            sums[1 + order] = f64::from(overlap(&ngrams(&hypothesis, order), &most));
            sums[1 + MAX_ORDER + order] = (n + 1).saturating_sub(order) as f64;
        }
        Ok(sums)
    }
}

type Sums = [f64; 2 + 2 * MAX_ORDER];

/// Adds up the counts of a corpus.
///
/// ```
/// use locus_metrics::bleu::{Bleu, BleuScorer};
///
/// let mut scorer = BleuScorer::new(Bleu::default());
/// scorer.add("the cat sat on the mat", &["the cat sat on a mat"])?;
/// assert_eq!(format!("{:.2}", scorer.report().score), "53.73");
/// assert!(scorer.signature().starts_with("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|impl:locus"));
/// # Ok::<(), locus_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BleuScorer {
    bleu: Bleu,
    rows: Vec<Sums>,
    n_references: References,
}

impl BleuScorer {
    /// A scorer without examples.
    pub fn new(bleu: Bleu) -> Self {
        Self { bleu, rows: Vec::new(), n_references: References::default() }
    }

    /// Adds a sentence and its references.
    ///
    /// # Errors
    /// If there is no reference.
    pub fn add(&mut self, hypothesis: &str, references: &[&str]) -> Result<(), MetricsError> {
        self.rows.push(self.bleu.counts(self.rows.len(), hypothesis, references)?);
        self.n_references.add(references.len());
        Ok(())
    }

    /// The score of all sentences.
    pub fn report(&self) -> BleuReport {
        let mut sums = [0.0; 2 + 2 * MAX_ORDER];
        for row in &self.rows {
            sums.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
        }
        BleuReport::new(&sums, false)
    }

    /// What must be known to compare the score, in sacreBLEU's form; at its end the program and version that scored.
    pub fn signature(&self) -> String {
        format!(
            "nrefs:{}|case:{}|eff:no|tok:{}|smooth:exp|{}",
            self.n_references,
            case(self.bleu.lowercase),
            self.bleu.tokenizer.name(),
            program()
        )
    }

    /// The counts of each sentence.
    pub fn samples(&self) -> Samples {
        Samples::new(Formula::Bleu, self.rows.iter().copied())
    }
}

/// BLEU and what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BleuReport {
    /// From 0 to 100.
    pub score: f64,
    /// Share of n-grams in common in %, of one word to four; 0 for orders that nothing is long enough for.
    pub precisions: [f64; MAX_ORDER],
    /// The factor for being shorter than the references.
    pub brevity_penalty: f64,
    /// Words of all hypotheses.
    pub hypothesis_words: u64,
    /// Words of the references nearest to them in length.
    pub reference_words: u64,
}

impl BleuReport {
    pub(crate) fn new(sums: &Sums, effective_order: bool) -> Self {
        let (hypothesis, reference) = (sums[0], sums[1]);
        let brevity_penalty = match hypothesis {
            0.0 if reference > 0.0 => 0.0,
            n if n < reference => (1.0 - reference / n).exp(),
            _ => 1.0,
        };
        let (matches, totals) = sums[2..].split_at(MAX_ORDER);
        let (mut precisions, mut halved, mut n_orders) = ([0.0; MAX_ORDER], 1.0, 0);
        let none = matches.iter().all(|&count| count == 0.0);
        for ((precision, &count), &total) in precisions.iter_mut().zip(matches).zip(totals) {
            if none || total == 0.0 {
                break;
            }
            n_orders += 1;
            if count == 0.0 {
                halved *= 2.0;
            }
            *precision = 100.0 * if count == 0.0 { 1.0 / halved } else { count } / total;
        }
        let n = if effective_order { n_orders } else { MAX_ORDER };
        let all = !none && n_orders >= n;
        let mean = precisions[..n].iter().map(|precision| precision.ln()).sum::<f64>() / n as f64;
        Self {
            score: if all { brevity_penalty * mean.exp() } else { 0.0 },
            precisions,
            brevity_penalty,
            hypothesis_words: hypothesis as u64,
            reference_words: reference as u64,
        }
    }
}

/// How many references sentences have.
#[derive(Debug, Clone, Default)]
pub(crate) struct References(Option<Option<usize>>);

impl References {
    pub(crate) fn add(&mut self, n: usize) {
        self.0 = Some(if self.0.is_none_or(|known| known == Some(n)) { Some(n) } else { None });
    }
}

impl std::fmt::Display for References {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("0"),
            Some(None) => f.write_str("var"),
            Some(Some(n)) => write!(f, "{n}"),
        }
    }
}

pub(crate) fn case(lowercase: bool) -> &'static str {
    if lowercase { "lc" } else { "mixed" }
}

/// Who computed a score.
pub(crate) fn program() -> &'static str {
    concat!("impl:locus|version:", env!("CARGO_PKG_VERSION"))
}

fn unescaped(text: &str) -> String {
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
}

/// mteval-v13a: symbols by themselves; full stop and comma unless between digits; a dash after a digit.
static WESTERN: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(&[
        (r"[\{-\~\[-` -\&\(-\+:-@/]", " $0 "),
        (r"([^0-9])([.,])", "$1 $2 "),
        (r"([.,])([^0-9])", " $1 $2"),
        (r"([0-9])(-)", "$1 $2 "),
    ])
});

/// mteval-v14: punctuation unless between numbers, symbols by themselves.
static INTERNATIONAL: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(&[(r"(\P{N})(\p{P})", "$1 $2 "), (r"(\p{P})(\P{N})", " $1 $2"), (r"\p{S}", " $0 ")])
});

/// The text with spaces around such characters.
fn spaced(text: &str, alone: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(2 * text.len());
    for c in text.chars() {
        if alone(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// What sacreBLEU takes for Chinese. Its ranges past U+FFFF are written with four digits too many for Python, which reads
/// them as U+2001 to U+2A6D: dashes and quotation marks are cut, rare characters are not.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{3400}'..='\u{4db5}' | '\u{4e00}'..='\u{9fbb}' | '\u{f900}'..='\u{fa2d}' | '\u{fa30}'..='\u{fa6a}'
        | '\u{fa70}'..='\u{fad9}' | '\u{2001}'..='\u{2a6d}' | '\u{ff00}'..='\u{ffef}' | '\u{2e80}'..='\u{2fdf}'
        | '\u{2ff0}'..='\u{303f}' | '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}' | '\u{31c0}'..='\u{31ef}'
        | '\u{3200}'..='\u{33ff}' | '\u{fe10}'..='\u{fe1f}' | '\u{fe30}'..='\u{fe4f}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn nothing_scores_nothing() {
        let mut scorer = BleuScorer::new(Bleu::default());
        assert_eq!(scorer.report().score, 0.0);
        scorer.add("", &[""]).unwrap();
        scorer.add("", &["a b", ""]).unwrap();
        assert_eq!((scorer.report().score, scorer.samples().score()), (0.0, 0.0));
        assert!(scorer.signature().starts_with("nrefs:var|"));
        let error = scorer.add("a", &[]).unwrap_err().to_string();
        assert_eq!(error, "example 2: at least one reference expected, none found");
        assert_eq!(Bleu::default().sentence("", &["a"]).unwrap(), 0.0);
    }

    #[test]
    fn the_reference_itself_scores_100() {
        for text in ["a b c d e", "雪 白 血 红 ！", "x, y. (z)"] {
            for tokenizer in [
                BleuTokenizer::V13a,
                BleuTokenizer::Intl,
                BleuTokenizer::Zh,
                BleuTokenizer::Char,
                BleuTokenizer::None,
            ] {
                let bleu = Bleu { tokenizer, lowercase: false };
                assert!(
                    (bleu.sentence(text, &[text]).unwrap() - 100.0).abs() < 1e-12,
                    "{text} {tokenizer:?}"
                );
            }
        }
    }
}
