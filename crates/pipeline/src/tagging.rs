//! Tags for word sequences of any length, well formed where the labels are tags and the model does not say otherwise.

use burn::tensor::backend::Backend;
use locus_data::{Item, LabelSet};
use locus_embedding::position::PositionScheme;
use locus_heads::{Chain, TagDecoding, TokenClassifier};
use locus_metrics::tags::is_tag_set;

use crate::decode::Rules;
use crate::{Codec, PipelineError};

/// The tag of one word.
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedWord {
    /// The number of the label.
    pub label: usize,
    /// Its probability; with a CRF its share of all sequences.
    pub probability: f64,
    /// The log-probabilities of all labels, likewise.
    pub log_probs: Vec<f64>,
}

/// Tags every word of every sentence, once: long sentences are read in overlapping windows.
///
/// # Errors
/// If a text cannot be tokenised or the model cannot take it.
pub fn tag<B: Backend, P: PositionScheme<B>>(
    model: &TokenClassifier<B, P>,
    codec: &Codec,
    sentences: &[Vec<String>],
    batch_size: usize,
) -> Result<Vec<Vec<TaggedWord>>, PipelineError> {
    let mut scores: Vec<Vec<Option<Vec<f32>>>> =
        sentences.iter().map(|words| vec![None; words.len()]).collect();
    let mut windows = Vec::new();
    for (sentence, words) in sentences.iter().enumerate() {
        windows.extend(codec.windows(words, None)?.into_iter().map(|window| (sentence, window)));
    }
    // Similar lengths together, so that little is padding.
    windows.sort_by_key(|(_, window)| window.item.ids.len());
    for chunk in windows.chunks(batch_size.max(1)) {
        let items: Vec<&Item> = chunk.iter().map(|(_, window)| &window.item).collect();
        let batch = codec.batch(&items)?;
        let logits = model.logits(&batch.tokens, None)?; // [batch, seq, n_labels]
        let [_, seq, n_labels] = logits.dims();
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        for (row, (sentence, window)) in chunk.iter().enumerate() {
            for &(word, column) in &window.columns {
                let start = (row * seq + column) * n_labels;
                scores[*sentence][word] = Some(logits[start..start + n_labels].to_vec());
            }
        }
    }
    let missing = || unreachable!("every word has one owner among the windows");
    let scored = scores.into_iter().map(|words| words.into_iter().map(|word| word.unwrap_or_else(missing)));
    let decoder = Decoder::of(model, codec);
    Ok(scored.map(|words| decoder.decode(words.collect())).collect())
}

/// How the scores of a sentence become its tags.
struct Decoder {
    /// None where words are decoded one by one.
    chain: Option<Chain>,
    /// Whether the probabilities are those of the chain.
    is_learned: bool,
}

impl Decoder {
    fn of<B: Backend, P: PositionScheme<B>>(model: &TokenClassifier<B, P>, codec: &Codec) -> Self {
        let labels = codec.labels.as_ref().map(LabelSet::names).unwrap_or_default();
        let mut chain = match (&model.crf, model.decoding) {
            (Some(crf), _) => Some(crf.chain()),
            (None, TagDecoding::Independent) => None,
            (None, _) => is_tag_set(labels).then(|| Chain::free(labels.len())),
        };
        if let Some(chain) = chain.as_mut().filter(|_| is_tag_set(labels)) {
            let rules = Rules::of(labels);
            chain.forbid(|from, to| rules.forbid(from, to));
        }
        Self { chain, is_learned: model.crf.is_some() }
    }

    /// The tags of a sentence from the logits of its words.
    fn decode(&self, logits: Vec<Vec<f32>>) -> Vec<TaggedWord> {
        let mut words: Vec<TaggedWord> = logits.iter().map(|logits| best(logits)).collect();
        let Some(chain) = &self.chain else { return words };
        let scores: Vec<f64> = if self.is_learned {
            logits.iter().flatten().map(|&x| f64::from(x)).collect()
        } else {
            words.iter().flat_map(|word| word.log_probs.iter().copied()).collect()
        };
        if self.is_learned {
            let marginals = chain.marginals(&scores);
            for (word, marginals) in words.iter_mut().zip(marginals.chunks(chain.start.len())) {
                // A label that is ruled out, or next to it, keeps a finite loss.
                word.log_probs = marginals.iter().map(|p| p.max(f64::MIN_POSITIVE).ln()).collect();
            }
        }
        for (word, label) in words.iter_mut().zip(chain.best(&scores)) {
            word.label = label;
            word.probability = word.log_probs[label].exp();
        }
        words
    }
}

/// The best label of a row of logits.
pub(crate) fn best(logits: &[f32]) -> TaggedWord {
    let log_probs = log_softmax(logits);
    let label = (0..log_probs.len()).max_by(|&a, &b| log_probs[a].total_cmp(&log_probs[b]).then(b.cmp(&a)));
    let label = label.unwrap_or(0);
    TaggedWord { label, probability: log_probs[label].exp(), log_probs }
}

pub(crate) fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    logits.iter().map(|&x| f64::from(x - max) - total.ln()).collect()
}
