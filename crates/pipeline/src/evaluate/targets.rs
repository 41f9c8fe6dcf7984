//! Scores of targets that were written for sources.

use burn::tensor::backend::Backend;
use locus_data::{Item, ItemLabels, Pair};
use locus_embedding::position::PositionScheme;
use locus_heads::Seq2Seq;
use locus_heads::generate::Beams;
use locus_metrics::bleu::{Bleu, BleuScorer, BleuTokenizer};
use locus_metrics::chrf::{Chrf, ChrfScorer};

use super::{Evaluation, batch_losses, share};
use crate::write::{WriteOptions, translate_texts};
use crate::{Codec, PipelineError};

/// Whole targets that are right; of translations BLEU, which then decides, and chrF.
pub(super) fn texts<B: Backend, P: PositionScheme<B>>(
    model: &Seq2Seq<B, P>,
    codec: &Codec,
    pairs: &[Pair],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let losses = batch_losses::<B, _>(model, codec, items, batch_size)?;
    let nats: f64 = losses.iter().map(|(nats, _)| nats).sum();
    let n_tokens: u64 = losses.iter().map(|(_, n_tokens)| n_tokens).sum();
    let longest = items.iter().map(|item| target_ids(item).len()).max().unwrap_or(0);
    let beams = (codec.eval_beams > 1).then(|| Beams { width: codec.eval_beams, ..Beams::default() });
    let options = WriteOptions { max_new_tokens: longest + 1, beams, ..WriteOptions::default() };
    let problems = options.problems();
    if !problems.is_empty() {
        return Err(PipelineError::Options(problems));
    }
    let mut exact = Vec::with_capacity(pairs.len());
    let tokenizer = codec.target_language.as_deref().map(bleu_tokenizer);
    let mut bleu = BleuScorer::new(Bleu { tokenizer: tokenizer.unwrap_or_default(), ..Bleu::default() });
    let mut chrf = ChrfScorer::new(Chrf::default());
    for chunk in items.chunks(batch_size.max(1)) {
        let sources: Vec<Vec<u32>> = chunk.iter().map(|item| item.ids.clone()).collect();
        let written = translate_texts(model, codec, &sources, &options, &mut ())?;
        for (pair, row) in pairs[exact.len()..].iter().zip(&written) {
            // The whole target: one that is too long for the model cannot be right.
            exact.push(codec.whole_target(&pair.target)? == row.ids);
            if tokenizer.is_some() {
                let text = codec.tokenizer.decode(&row.ids)?;
                bleu.add(&text, &[&pair.target])?;
                chrf.add(&text, &[&pair.target])?;
            }
        }
    }
    let mut evaluation = Evaluation::new("exact_match");
    let n_exact = exact.iter().filter(|exact| **exact).count();
    evaluation.set("exact_match", n_exact as f64 / pairs.len().max(1) as f64);
    evaluation.set("loss", nats / n_tokens.max(1) as f64);
    evaluation.samples = Some(share(&exact));
    if tokenizer.is_some() {
        evaluation.score_name = "bleu";
        evaluation.set("bleu", bleu.report().score);
        evaluation.set("chrf", chrf.score());
        evaluation.signatures =
            vec![format!("bleu {}", bleu.signature()), format!("chrf {}", chrf.signature())];
        evaluation.samples = Some(bleu.samples());
    }
    Ok(evaluation)
}

/// What the decoder was fed: the start token and the target.
fn target_ids(item: &Item) -> &[u32] {
    match &item.labels {
        ItemLabels::Target { ids, .. } => ids,
        _ => unreachable!("the codec gives pairs a target"),
    }
}

/// How BLEU cuts the text of a language into words. Japanese, Korean and Thai have other tokenizers in sacreBLEU, which are
/// programs of their own; here they are scored by characters.
fn bleu_tokenizer(language: &str) -> BleuTokenizer {
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
    use locus_metrics::bleu::BleuTokenizer;

    use super::bleu_tokenizer;

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
}
