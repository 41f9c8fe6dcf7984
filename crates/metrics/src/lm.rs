//! Language-model scores from summed loss: perplexity per token, bits per byte and per character.
//!
//! Formulas: `perplexity = exp(nats / tokens)`, `bits per byte = nats / (ln 2 · bytes)`, likewise per character (Unicode
//! scalar value). Perplexity compares only models that share a tokeniser; bits compare any two over the same text.
//! Sums, not means, are added up, so batches of unequal length weigh by their tokens.

use std::{f64::consts::LN_2, fmt};

use serde::Serialize;

use crate::error::MetricsError;

/// Adds up the loss of a language model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LmScorer {
    sum_nats: f64,
    n_tokens: u64,
    n_bytes: u64,
    n_chars: u64,
}

impl LmScorer {
    /// A scorer that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the summed negative log likelihood (in nats) of `n_tokens` predicted tokens.
    pub fn add(&mut self, sum_nats: f64, n_tokens: u64) {
        self.sum_nats += sum_nats;
        self.n_tokens += n_tokens;
    }

    /// Adds a text that the tokens stand for.
    pub fn add_text(&mut self, text: &str) {
        self.n_bytes += text.len() as u64;
        self.n_chars += text.chars().count() as u64;
    }

    /// The scores so far.
    ///
    /// # Errors
    /// If no token has been added.
    pub fn report(&self) -> Result<LmReport, MetricsError> {
        if self.n_tokens == 0 {
            return Err(MetricsError::NoTokens);
        }
        let nats_per_token = self.sum_nats / self.n_tokens as f64;
        let bits_per = |n: u64| (n > 0).then(|| self.sum_nats / LN_2 / n as f64);
        Ok(LmReport {
            n_tokens: self.n_tokens,
            nats_per_token,
            perplexity: nats_per_token.exp(),
            bits_per_byte: bits_per(self.n_bytes),
            bits_per_char: bits_per(self.n_chars),
        })
    }
}

/// Scores of a language model. In JSON a perplexity that is not finite is `null`; `nats_per_token` still tells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LmReport {
    /// Tokens scored.
    pub n_tokens: u64,
    /// Mean loss.
    pub nats_per_token: f64,
    /// `exp` of the mean loss; infinite above 709.78 nats per token, NaN if a loss was NaN.
    pub perplexity: f64,
    /// Loss in bits over the bytes of the text, if that is known.
    pub bits_per_byte: Option<f64>,
    /// Loss in bits over its characters.
    pub bits_per_char: Option<f64>,
}

impl fmt::Display for LmReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_tokens, nats_per_token, perplexity, bits_per_byte, bits_per_char } = self;
        if nats_per_token.is_finite() && perplexity.is_infinite() {
            write!(
                f,
                "perplexity inf (over 1.8e308: a loss of {nats_per_token:.4} nats per token is too large for exp)"
            )?;
        } else {
            write!(f, "perplexity {perplexity:.4} (loss {nats_per_token:.4} nats per token)")?;
        }
        for (bits, unit) in [(bits_per_byte, "byte"), (bits_per_char, "character")] {
            if let Some(bits) = bits {
                write!(f, ", {bits:.4} bits per {unit}")?;
            }
        }
        write!(f, " over {n_tokens} tokens")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn report(sum_nats: f64, n_tokens: u64, text: &str) -> LmReport {
        let mut scorer = LmScorer::new();
        scorer.add(sum_nats, n_tokens);
        scorer.add_text(text);
        scorer.report().unwrap()
    }

    #[test]
    fn uniform_guess_has_the_perplexity_of_the_vocabulary() {
        let report = report(7.0 * 256_f64.ln(), 7, "春a眠");
        assert!((report.perplexity - 256.0).abs() < 1e-9);
        assert!((report.bits_per_byte.unwrap() - 8.0).abs() < 1e-12);
        assert!((report.bits_per_char.unwrap() - 56.0 / 3.0).abs() < 1e-12);
        assert_eq!(
            report.to_string(),
            "perplexity 256.0000 (loss 5.5452 nats per token), 8.0000 bits per byte, 18.6667 bits per character over 7 tokens"
        );
    }

    #[test]
    fn batches_weigh_by_their_tokens() {
        let mut scorer = LmScorer::new();
        scorer.add(10.0, 5);
        scorer.add_text("ab");
        scorer.add(2.0, 3);
        scorer.add_text("c");
        assert_eq!(scorer.report().unwrap(), report(12.0, 8, "abc"));
    }

    #[test]
    fn overflow_is_infinite_and_said() {
        let report = report(8000.0, 10, "");
        assert_eq!(report.perplexity, f64::INFINITY);
        assert_eq!(
            report.to_string(),
            "perplexity inf (over 1.8e308: a loss of 800.0000 nats per token is too large for exp) over 10 tokens"
        );
        assert!(
            serde_json::to_string(&report)
                .unwrap()
                .contains(r#""perplexity":null,"bits_per_byte":null,"bits_per_char":null"#)
        );
    }

    #[test]
    fn nan_loss_stays_nan() {
        assert!(report(f64::NAN, 3, "a").perplexity.is_nan());
    }

    #[test]
    fn nothing_scored_is_an_error() {
        assert_eq!(LmScorer::new().report(), Err(MetricsError::NoTokens));
    }
}
