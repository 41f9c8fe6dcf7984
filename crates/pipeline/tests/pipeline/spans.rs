//! Entities in one another: windows, scores, answers.

use std::collections::BTreeSet;

use burn::tensor::backend::AutodiffBackend;
use locus_data::{Examples, Item, ItemLabels, Spanned, TokenizerKind, WordsItem};
use locus_heads::{HeadConfig, Overlap, SpanConfig, TaskModel, Trainable};
use locus_metrics::tags::Span;
use locus_pipeline::{Entity, LostSpans, Pipeline, Prediction, evaluate, find_spans};
use locus_testkit::on_processors;

use crate::{awkward, folder, words};

fn head(n_labels: usize, overlap: Overlap) -> HeadConfig {
    head_of_words(n_labels, overlap, 3)
}

fn head_of_words(n_labels: usize, overlap: Overlap, max_words: usize) -> HeadConfig {
    let spans = SpanConfig { head_size: 6, max_words, overlap, ..SpanConfig::default() };
    HeadConfig::SpanClassification { n_labels, spans, layers: Default::default() }
}

fn spanned(text: &str, spans: &[(usize, usize, &str)]) -> Spanned {
    let spans = spans.iter().map(|&(start, end, label)| Span::new(start, end, label)).collect();
    Spanned { words: words(text), spans, line: 1 }
}

fn examples() -> Examples {
    Examples::Spans(vec![
        spanned("Bank of Lisbon", &[(0, 3, "ORG"), (2, 3, "LOC")]),
        spanned("Mira visited 北京 today", &[(0, 1, "PER"), (2, 3, "LOC")]),
        spanned("it rained", &[]),
    ])
}

fn an_answer_for_every_input<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    for overlap in [Overlap::None, Overlap::Nested, Overlap::Any] {
        let dir = dir.path().join(format!("{overlap:?}"));
        folder::<B>(&dir, head(3, overlap), TokenizerKind::WordPiece, &examples(), device);
        let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
        let texts = awkward();
        let answers = pipeline.predict(&texts).unwrap();
        assert_eq!(answers.len(), texts.len());
        let (mut n_shared, mut n_crossing) = (0, 0);
        for (given, answer) in texts.iter().zip(&answers) {
            let Prediction::Spans { text, entities, .. } = answer else { panic!("{answer:?}") };
            assert_eq!(text, given);
            for (idx, entity) in entities.iter().enumerate() {
                assert_eq!(entity.text, text[entity.start..entity.end]);
                assert!(entity.score > 0.5 && entity.score <= 1.0, "{entity:?}");
                assert!(["LOC", "ORG", "PER"].contains(&entity.label.as_str()));
                n_shared += entities[..idx].iter().filter(|other| entity.start < other.end).count();
                let crosses = |a: &Entity, b: &Entity| a.start < b.start && b.start < a.end && a.end < b.end;
                n_crossing += entities[..idx]
                    .iter()
                    .filter(|other| crosses(entity, other) || crosses(other, entity))
                    .count();
            }
        }
        match overlap {
            Overlap::None => assert_eq!(n_shared, 0),
            Overlap::Nested => assert_eq!(n_crossing, 0),
            Overlap::Any => assert!(n_shared > 0, "weights that nobody trained find much"),
        }
        let json = answers[2].to_json();
        assert!(json.contains("\"entities\":[") && !json.contains("\"tags\""), "{json}");
    }
}

/// The words of an item, which has a token for each, and its spans as pairs of first and last token.
fn words_of(item: &Item) -> &WordsItem {
    let ItemLabels::Words(words) = &item.labels else { panic!("{:?}", item.labels) };
    words
}

fn a_span_counts_in_one_window<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let text: Vec<String> = (0..50).map(|n| format!("w{n}")).collect();
    // All of three words, in windows of ten that overlap by two.
    let spans: Vec<(usize, usize, &str)> = (0..48).map(|start| (start, start + 3, "X")).collect();
    let examples = Examples::Spans(vec![spanned(&text.join(" "), &spans)]);
    let codec =
        folder::<B>(&dir.path().join("m"), head(1, Overlap::Any), TokenizerKind::Word, &examples, device);
    let items = codec.encode(&examples).unwrap().items;
    assert!(items.len() > 4 && items.iter().all(|item| item.ids.len() <= 12));
    let ends = |item: &Item, [first, last]: [usize; 2]| {
        let columns = &words_of(item).columns;
        (item.ids[columns[first]], item.ids[columns[last]])
    };
    let gold: Vec<_> = items
        .iter()
        .flat_map(|item| words_of(item).entities.iter().map(|&[first, last, _]| ends(item, [first, last])))
        .collect();
    assert_eq!((gold.len(), gold.iter().collect::<BTreeSet<_>>().len()), (48, 48));
    let batch = codec.batch(&items.iter().collect::<Vec<_>>()).unwrap();
    let locus_heads::Labels::SpansOfWords(rows) = &batch.labels else { panic!("{:?}", batch.labels) };
    let counted: Vec<_> = items
        .iter()
        .zip(rows)
        .flat_map(|(item, row)| row.counted(3).map(|span| ends(item, span)).collect::<Vec<_>>())
        .collect();
    assert_eq!((counted.len(), counted.iter().collect::<BTreeSet<_>>().len()), (147, 147));
}

/// Every entity is learned, is longer than any span, or lies whole in no window, and the last two are counted.
fn what_no_window_holds_is_counted<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let text: Vec<String> = (0..50).map(|n| format!("w{n}")).collect();
    let of_length = |n: usize| (0..=50 - n).map(move |start| (start, start + n, "X"));
    // Windows of ten words share two: of five words some lie whole in none, of seven they are longer than spans are.
    let spans: Vec<(usize, usize, &str)> = of_length(5).chain(of_length(7)).chain(of_length(2)).collect();
    let examples = Examples::Spans(vec![spanned(&text.join(" "), &spans)]);
    let head = head_of_words(1, Overlap::Any, 5);
    let codec = folder::<B>(&dir.path().join("m"), head, TokenizerKind::Word, &examples, device);
    let encoded = codec.encode(&examples).unwrap();
    let id = |word: usize| codec.tokenizer.id(&text[word]).unwrap();
    let held = |start: usize, n: usize| {
        encoded
            .items
            .iter()
            .any(|item| item.ids.contains(&id(start)) && item.ids.contains(&id(start + n - 1)))
    };
    let n_cut = (0..=45).filter(|&start| !held(start, 5)).count();
    assert!(n_cut > 0 && (0..=48).all(|start| held(start, 2)), "{n_cut}");
    assert_eq!(encoded.lost_spans, LostSpans { n_long: 44, n_cut });
    let kept = encoded.items.iter().flat_map(|item| &words_of(item).entities);
    assert_eq!(kept.filter(|[first, last, _]| last - first < 5).count(), 46 - n_cut + 49);
    // What fits is lost nowhere.
    let short = Examples::Spans(vec![spanned(&text.join(" "), &of_length(3).collect::<Vec<_>>())]);
    assert_eq!(codec.encode(&short).unwrap().lost_spans, LostSpans::default());
}

fn scores_count_sets_of_spans<B: AutodiffBackend>(device: &B::Device) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("m");
    let codec = folder::<B>(&dir, head(3, Overlap::Any), TokenizerKind::Word, &examples(), device);
    let pipeline = Pipeline::<B::InnerBackend>::from_dir(&dir, device).unwrap();
    // The loss is that of training.
    let items = codec.encode(&examples()).unwrap().items;
    let batch = codec.batch(&items.iter().collect::<Vec<_>>()).unwrap();
    let loss = pipeline.model.loss(&batch, None).unwrap();
    let mean = loss.sum.into_data().iter::<f64>().sum::<f64>() / loss.weight;
    let evaluation = evaluate(&pipeline.model, &codec, &examples(), 2).unwrap();
    assert!((mean - evaluation.metrics["loss"]).abs() < 1e-5, "{mean} and {evaluation}");
    assert_eq!(evaluation.score_name, "entity_f1");
    assert_eq!(evaluation.entity_report.as_ref().unwrap().micro().support, 4);
    // What is found is right where it is what is asked for, and wrong where it is not.
    let TaskModel::SpanClassifier(model) = &pipeline.model else { panic!("another head") };
    let text = words("Bank of Lisbon");
    let found = find_spans(model, &codec, std::slice::from_ref(&text), 1).unwrap().swap_remove(0);
    assert!(!found.is_empty());
    let gold = |left_out: usize| {
        let name = |label: usize| ["LOC", "ORG", "PER"][label];
        let found = found.iter().skip(left_out);
        let spans: Vec<_> = found.map(|span| (span.first, span.last + 1, name(span.label))).collect();
        Examples::Spans(vec![spanned("Bank of Lisbon", &spans)])
    };
    assert_eq!(evaluate(&pipeline.model, &codec, &gold(0), 1).unwrap().value(), 1.0);
    assert!(evaluate(&pipeline.model, &codec, &gold(1), 1).unwrap().value() < 1.0);
    let tagged = crate::tagged_examples();
    let error = evaluate(&pipeline.model, &codec, &tagged, 1).unwrap_err().to_string();
    assert!(error.contains("span classification") && error.contains("words with entities"), "{error}");
}

on_processors!(
    an_answer_for_every_input,
    a_span_counts_in_one_window,
    what_no_window_holds_is_counted,
    scores_count_sets_of_spans,
);
