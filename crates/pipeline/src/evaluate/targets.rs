//! Scores of targets that were written for sources.

use burn::tensor::backend::Backend;
use locus_data::{Item, Pair};
use locus_embedding::position::PositionScheme;
use locus_heads::Seq2Seq;
use locus_heads::generate::Beams;
use locus_metrics::bleu::{Bleu, BleuScorer};
use locus_metrics::chrf::{Chrf, ChrfScorer};
use locus_metrics::rouge::{Rouge, RougeScorer};

use super::{Evaluation, batch_losses, share};
use crate::retrieval::target_ids;
use crate::target_score::{bleu_tokenizer, rouge_reads};
use crate::write::{WriteOptions, translate_texts};
use crate::{Codec, PipelineError, TargetScore};

/// Whole targets that are right; where their language is known BLEU, which then decides unless the codec says otherwise, and chrF;
/// where it has words, ROUGE.
pub(super) fn texts<B: Backend, P: PositionScheme<B>>(
    model: &Seq2Seq<B, P>,
    codec: &Codec,
    pairs: &[Pair],
    items: &[Item],
    batch_size: usize,
) -> Result<Evaluation, PipelineError> {
    let longest = items.iter().map(|item| target_ids(item).len()).max().unwrap_or(0);
    let beams = (codec.eval_beams > 1).then(|| Beams { width: codec.eval_beams, ..Beams::default() });
    let options = WriteOptions { max_new_tokens: longest + 1, beams, ..WriteOptions::default() };
    let problems = options.problems();
    if !problems.is_empty() {
        return Err(PipelineError::Options(problems));
    }
    let language = codec.target_language.as_deref();
    let usual = if language.is_some() { TargetScore::Bleu } else { TargetScore::ExactMatch };
    let decides = codec.eval_score.unwrap_or(usual);
    if let Some(lacking) = decides.lacks(language) {
        return Err(PipelineError::Options(vec![format!("{} needs {lacking}", decides.name())]));
    }
    let losses = batch_losses::<B, _>(model, codec, items, batch_size)?;
    let nats: f64 = losses.iter().map(|(nats, _)| nats).sum();
    let n_tokens: u64 = losses.iter().map(|(_, n_tokens)| n_tokens).sum();
    let mut exact = Vec::with_capacity(pairs.len());
    let tokenizer = language.map(bleu_tokenizer);
    let mut bleu = BleuScorer::new(Bleu { tokenizer: tokenizer.unwrap_or_default(), ..Bleu::default() });
    let mut chrf = ChrfScorer::new(Chrf::default());
    let mut rouge = language.is_some_and(rouge_reads).then(|| RougeScorer::new(Rouge::default()));
    for chunk in items.chunks(batch_size.max(1)) {
        let sources: Vec<Vec<u32>> = chunk.iter().map(|item| item.ids.clone()).collect();
        let written = translate_texts(model, codec, &sources, &options, &mut ())?;
        for (pair, row) in pairs[exact.len()..].iter().zip(&written) {
            // The whole target: one that is too long for the model cannot be right.
            exact.push(codec.whole_target(&pair.target)? == row.ids);
            if tokenizer.is_some() {
                let text = codec.text(&row.ids)?;
                bleu.add(&text, &[&pair.target])?;
                chrf.add(&text, &[&pair.target])?;
                if let Some(rouge) = &mut rouge {
                    rouge.add(&[&pair.target], &text)?;
                }
            }
        }
    }
    let mut evaluation = Evaluation::new(decides.name());
    let n_exact = exact.iter().filter(|exact| **exact).count();
    evaluation.set("exact_match", n_exact as f64 / pairs.len().max(1) as f64);
    evaluation.set("loss", nats / n_tokens.max(1) as f64);
    if tokenizer.is_some() {
        evaluation.set("bleu", bleu.report().score);
        evaluation.set("chrf", chrf.score());
        evaluation.signatures =
            vec![format!("bleu {}", bleu.signature()), format!("chrf {}", chrf.signature())];
    }
    if let Some(rouge) = &rouge {
        let report = rouge.report();
        let of_words = [("rouge1", report.rouge1), ("rouge2", report.rouge2), ("rougeL", report.rouge_l)];
        of_words.iter().for_each(|(name, score)| evaluation.set(name, score.f1));
    }
    evaluation.samples = match decides {
        TargetScore::ExactMatch => Some(share(&exact)),
        TargetScore::Bleu => Some(bleu.samples()),
        TargetScore::Chrf => Some(chrf.samples()),
        TargetScore::Rouge1 => rouge.map(|rouge| rouge.samples(|scores| scores.rouge1)),
        TargetScore::Rouge2 => rouge.map(|rouge| rouge.samples(|scores| scores.rouge2)),
        TargetScore::RougeL => rouge.map(|rouge| rouge.samples(|scores| scores.rouge_l)),
    };
    Ok(evaluation)
}
