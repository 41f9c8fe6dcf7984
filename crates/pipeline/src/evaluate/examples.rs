//! What tells two sets of examples apart.

use locus_backend::rng::Key;
use locus_data::{Examples, Row};

/// 64 bits, in hexadecimal digits, of all texts in their order and of what is to be said of them; not of where they stand in
/// a file.
pub(super) fn fingerprint(examples: &Examples) -> String {
    let key = Key::new(0).named(&examples.kind().to_string());
    let key = match examples {
        Examples::Tagged(sentences) => {
            sentences.iter().fold(key, |key, sentence| texts(texts(key, &sentence.words), &sentence.tags))
        }
        Examples::Spans(sentences) => sentences.iter().fold(key, |key, sentence| {
            let key = texts(key, &sentence.words).child(sentence.spans.len() as u64);
            sentence
                .spans
                .iter()
                .fold(key, |key, span| key.child(span.start as u64).child(span.end as u64).named(&span.label))
        }),
        Examples::Labelled(rows) => of_rows(key, rows, |key, label| key.named(label)),
        Examples::MultiLabelled(rows) => of_rows(key, rows, |key, labels| texts(key, labels)),
        Examples::Scored(rows) => of_rows(key, rows, |key, number| key.child(number.to_bits())),
        Examples::Text(documents) => texts(key, documents),
        Examples::Pairs(pairs) => {
            pairs.iter().fold(key, |key, pair| key.named(&pair.source).named(&pair.target))
        }
        Examples::Qa(questions) => questions.iter().fold(key, |key, question| {
            let key = key.named(&question.context).named(&question.question);
            let n_answers = question.answers.len() as u64;
            question.answers.iter().fold(key.child(n_answers), |key, answer| key.named(&answer.text))
        }),
        Examples::Ranked(rankings) => rankings.iter().fold(key, |key, ranking| {
            let key = key.named(&ranking.query).child(ranking.candidates.len() as u64);
            ranking.candidates.iter().fold(key, |key, candidate| {
                let numbers = std::iter::once(&candidate.gain).chain(&candidate.features);
                numbers.fold(key.named(&candidate.text), |key, number| key.child(number.to_bits()))
            })
        }),
    };
    format!("{:016x}", key.bits(0))
}

fn texts(key: Key, texts: &[String]) -> Key {
    texts.iter().fold(key.child(texts.len() as u64), |key, text| key.named(text))
}

fn of_rows<L>(key: Key, rows: &[Row<L>], label: impl Fn(Key, &L) -> Key) -> Key {
    rows.iter().fold(key, |key, row| {
        let key = key.named(&row.text);
        let key = match &row.pair {
            Some(pair) => key.child(1).named(pair),
            None => key.child(0),
        };
        label(key, &row.label)
    })
}

#[cfg(test)]
mod tests {
    use locus_data::{Pair, Tagged};

    use super::*;

    #[test]
    fn texts_and_labels_and_their_order_count() {
        let texts = |texts: &[&str]| Examples::Text(texts.iter().map(|&text| text.to_owned()).collect());
        let row = |label: &str, line| Row { text: "a".to_owned(), pair: None, label: label.to_owned(), line };
        let pair = |source: &str, target: &str| {
            Examples::Pairs(vec![Pair { source: source.to_owned(), target: target.to_owned(), line: 1 }])
        };
        let words = |words: [&str; 2], tags: [&str; 2]| {
            let (words, tags) = (words.map(str::to_owned).to_vec(), tags.map(str::to_owned).to_vec());
            Examples::Tagged(vec![Tagged { words, tags, line: 1 }])
        };
        let all = [
            texts(&["a", "b"]),
            texts(&["b", "a"]),
            texts(&["ab"]),
            texts(&[]),
            Examples::Labelled(vec![row("x", 1)]),
            Examples::Labelled(vec![row("y", 1)]),
            Examples::Labelled(vec![Row { pair: Some(String::new()), ..row("x", 1) }]),
            pair("a", "b"),
            pair("b", "a"),
            words(["a", "b"], ["O", "O"]),
            words(["a", "b"], ["O", "B-PER"]),
            words(["a", "b"], ["O", "O"]).into_spans(),
            words(["a", "b"], ["O", "B-PER"]).into_spans(),
            words(["a", "b"], ["B-PER", "O"]).into_spans(),
        ];
        let found: std::collections::BTreeSet<String> = all.iter().map(fingerprint).collect();
        assert_eq!(found.len(), all.len());
        assert!(found.iter().all(|hash| hash.len() == 16));
        let at = |line| fingerprint(&Examples::Labelled(vec![row("x", line)]));
        assert_eq!(at(1), at(7), "the line in the file does not count");
    }
}
