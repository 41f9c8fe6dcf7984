//! Tags for word sequences of any length, well formed where the labels are tags and the model does not say otherwise.

use burn::tensor::backend::Backend;
use locus_data::{Item, LabelSet};
use locus_embedding::position::PositionScheme;
use locus_heads::{Chain, TagDecoding, TokenClassifier};
use locus_metrics::tags::{Span, TagScheme, is_tag_set, spans};

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

/// The entities that the tags of a sentence make. Labels that are no tags name types, and words of one that stand together are an
/// entity, as in `transformers`: `B-` and `I-` alone are prefixes. Scores go by `seqeval`, which takes any first letter for one.
/// Differs: `transformers` shows of another name with a hyphen what is behind it.
pub(crate) fn entity_spans(tags: &[String], labels: &[String]) -> Vec<Span> {
    if is_tag_set(labels) {
        return spans(tags, TagScheme::Iob2);
    }
    let is_tag = |tag: &str| {
        let of_entity = tag.strip_prefix("B-").or_else(|| tag.strip_prefix("I-"));
        tag.is_empty() || tag == "O" || of_entity.is_some_and(|label| !label.is_empty())
    };
    let as_tags = tags.iter().map(|tag| if is_tag(tag) { tag.clone() } else { format!("I-{tag}") });
    spans(&as_tags.collect::<Vec<_>>(), TagScheme::Iob2)
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

#[cfg(test)]
mod tests {
    use super::entity_spans;

    /// Entities as `label start end`, where all labels are those of the tags.
    fn read(tags: &str) -> String {
        let tags: Vec<String> = tags.split(' ').map(str::to_owned).collect();
        let spans = entity_spans(&tags, &tags);
        spans.iter().map(|s| format!("{} {} {}", s.label, s.start, s.end)).collect::<Vec<_>>().join(", ")
    }

    /// As `TokenClassificationPipeline.group_entities` of transformers 4.57.6 groups them.
    #[test]
    fn labels_that_are_no_tags_are_whole() {
        assert_eq!(read("NOUN NOUN VERB ADP NOUN"), "NOUN 0 2, VERB 2 3, ADP 3 4, NOUN 4 5");
        assert_eq!(read("LABEL_0 LABEL_1 LABEL_1"), "LABEL_0 0 1, LABEL_1 1 3");
        assert_eq!(read("ORG O LOC LOC"), "ORG 0 1, LOC 2 4");
        assert_eq!(read("MISC B-LOC I-LOC B-LOC O"), "MISC 0 1, LOC 1 3, LOC 3 4");
        assert_eq!(read("S-PER E-mail X-RAY PER"), "S-PER 0 1, E-mail 1 2, X-RAY 2 3, PER 3 4");
        assert_eq!(read("O O"), "");
        // Tags are read as they are scored.
        assert_eq!(read("S-PER O B-LOC E-LOC"), "PER 0 1, LOC 2 4");
        assert_eq!(read("I-LOC I-LOC B-LOC O"), "LOC 0 2, LOC 2 3");
    }
}
