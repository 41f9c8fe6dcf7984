//! Entities that may lie in one another, as spans of words in texts of any length.
//!
//! A long text is read in overlapping windows. A span is scored once, in the window that owns the word in its middle: there it has
//! about as much context on either side as it can have. If that window does not hold it whole, no score is computed for it: it is
//! neither found nor learned. That happens only to spans of more words than two windows share.

use burn::tensor::backend::Backend;
use locus_data::{Item, ItemLabels, Spanned, WordsItem, split_words};
use locus_embedding::position::PositionScheme;
use locus_heads::{LabelledSpan, Labels, ScoredSpan, SpanClassifier, SpanRow, TaskBatch};

use crate::{Codec, Encoded, Entity, Pipeline, PipelineError, Prediction, spans_in_units};

/// A window of a sentence.
pub(crate) struct SpanWindow {
    /// Its tokens and words, with the entities that it owns.
    pub(crate) item: Item,
    /// The number of its first word in the sentence.
    start: usize,
}

/// Entities that a model of spans cannot learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostSpans {
    /// How many have more words than a span may have.
    pub n_long: usize,
    /// How many of the others reach beyond the window that owns the word in their middle.
    pub n_cut: usize,
}

/// Sentences with entities as items.
pub(crate) fn encode(
    codec: &Codec,
    sentences: &[Spanned],
    max_words: usize,
) -> Result<Encoded, PipelineError> {
    let mut encoded = Encoded::default();
    let n_short = |spans: &[[usize; 3]]| {
        spans.iter().filter(|[first, last, _]| last.saturating_sub(*first) < max_words).count()
    };
    for sentence in spans_in_units(sentences) {
        let entities = numbered(codec, &sentence)?;
        let items = span_windows(codec, &sentence.words, &entities)?.into_iter().map(|window| window.item);
        let items: Vec<Item> = items.collect();
        let of_item = |item: &Item| match &item.labels {
            ItemLabels::Words(words) => n_short(&words.entities),
            _ => 0,
        };
        encoded.lost_spans.n_long += entities.len() - n_short(&entities);
        encoded.lost_spans.n_cut += n_short(&entities) - items.iter().map(of_item).sum::<usize>();
        encoded.items.extend(items);
    }
    Ok(encoded)
}

/// The windows of a sentence with entities, `[first word, last word, label]`.
pub(crate) fn span_windows(
    codec: &Codec,
    words: &[String],
    entities: &[[usize; 3]],
) -> Result<Vec<SpanWindow>, PipelineError> {
    let windows = codec.windows(words, None)?.into_iter().map(|window| {
        let start = window.words.first().map_or(0, |&(word, _)| word);
        let end = start + window.words.len();
        let owned = match (window.columns.first(), window.columns.last()) {
            (Some(&(first, _)), Some(&(last, _))) => first - start..last + 1 - start,
            _ => 0..0,
        };
        let own = entities.iter().filter(|[first, last, _]| {
            start <= *first && *last < end && owned.contains(&((first + last) / 2 - start))
        });
        let entities = own.map(|&[first, last, label]| [first - start, last - start, label]).collect();
        let columns = window.words.iter().map(|&(_, column)| column).collect();
        let labels = ItemLabels::Words(WordsItem { columns, owned, entities });
        SpanWindow { item: Item { labels, ..window.item }, start }
    });
    Ok(windows.collect())
}

/// The entities of a sentence with the numbers of their labels.
pub(crate) fn numbered(codec: &Codec, sentence: &Spanned) -> Result<Vec<[usize; 3]>, PipelineError> {
    let spans = sentence.spans.iter();
    spans.map(|span| Ok([span.start, span.end.saturating_sub(1), codec.label_idx(&span.label)?])).collect()
}

/// The words of an item as a head reads them.
pub(crate) fn row_of(item: &Item) -> SpanRow {
    let ItemLabels::Words(WordsItem { columns, owned, entities }) = &item.labels else {
        return SpanRow::default();
    };
    let spans = entities.iter().map(|&[first, last, label]| LabelledSpan { first, last, label }).collect();
    SpanRow { columns: columns.clone(), owned: owned.clone(), spans }
}

/// What a model finds in sentences.
#[derive(Default)]
pub(crate) struct Found {
    /// The entities of each sentence, by their places in it.
    pub(crate) spans: Vec<Vec<ScoredSpan>>,
    /// The summed loss, in nats.
    pub(crate) nats: f64,
    /// What to divide it by.
    pub(crate) weight: f64,
}

/// Reads windows, each with the number of its sentence.
pub(crate) fn read_windows<B: Backend, P: PositionScheme<B>>(
    model: &SpanClassifier<B, P>,
    codec: &Codec,
    mut windows: Vec<(usize, SpanWindow)>,
    n_sentences: usize,
    batch_size: usize,
) -> Result<Found, PipelineError> {
    let mut found = Found { spans: vec![Vec::new(); n_sentences], ..Found::default() };
    // Similar lengths together, so that little is padding.
    windows.sort_by_key(|(_, window)| window.item.ids.len());
    for chunk in windows.chunks(batch_size.max(1)) {
        let items: Vec<&Item> = chunk.iter().map(|(_, window)| &window.item).collect();
        let TaskBatch { tokens, labels } = codec.batch(&items)?;
        let Labels::SpansOfWords(rows) = labels else { unreachable!("the codec of a model of spans") };
        let scores = model.scores(&tokens, &rows, None)?; // [batch, n_labels, words, longest]
        let loss = model.loss_of_scores(scores.clone(), &rows)?;
        found.nats += loss.sum.into_data().iter::<f64>().sum::<f64>();
        found.weight += loss.weight;
        for ((sentence, window), spans) in chunk.iter().zip(model.above_zero(scores, &rows)) {
            let in_sentence = |span: ScoredSpan| ScoredSpan {
                first: span.first + window.start,
                last: span.last + window.start,
                ..span
            };
            found.spans[*sentence].extend(spans.into_iter().map(in_sentence));
        }
    }
    let spans = found.spans.into_iter().map(|spans| model.overlap().choose(spans)).collect();
    Ok(Found { spans, ..found })
}

/// The entities of every sentence, by their first and last words.
///
/// # Errors
/// If a text cannot be tokenised or the model cannot take it.
pub fn find_spans<B: Backend, P: PositionScheme<B>>(
    model: &SpanClassifier<B, P>,
    codec: &Codec,
    sentences: &[Vec<String>],
    batch_size: usize,
) -> Result<Vec<Vec<ScoredSpan>>, PipelineError> {
    let mut windows = Vec::new();
    for (sentence, words) in sentences.iter().enumerate() {
        windows.extend(span_windows(codec, words, &[])?.into_iter().map(|window| (sentence, window)));
    }
    Ok(read_windows(model, codec, windows, sentences.len(), batch_size)?.spans)
}

impl<B: Backend> Pipeline<B> {
    /// The entities of texts, also those that lie in others. The score of one is the sigmoid of what the model gives it.
    pub(crate) fn spans<S: AsRef<str>>(
        &self,
        model: &SpanClassifier<B>,
        texts: &[S],
    ) -> Result<Vec<Prediction>, PipelineError> {
        let split: Vec<_> = texts.iter().map(|text| split_words(text.as_ref())).collect();
        let words: Vec<Vec<String>> =
            split.iter().map(|words| words.iter().map(|(word, _)| word.clone()).collect()).collect();
        let found = find_spans(model, &self.codec, &words, self.batch_size)?;
        let answers =
            texts.iter().zip(&split).zip(words).zip(found).map(|(((text, split), words), found)| {
                let text = text.as_ref();
                let entity = |span: ScoredSpan| {
                    let (start, end) = (split[span.first].1.start, split[span.last].1.end);
                    let label = self.codec.label_name(span.label).to_owned();
                    let score = 1.0 / (1.0 + (-span.score).exp());
                    Entity { label, text: text[start..end].to_owned(), start, end, score }
                };
                let entities = found.into_iter().map(entity).collect();
                Prediction::Spans { text: text.to_owned(), words, entities }
            });
        Ok(answers.collect())
    }
}
