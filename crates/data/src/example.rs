//! What a file holds once it is read: text with labels, before any tokenizer has seen it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use locus_metrics::tags::{self, Span, TagScheme};
use serde::{Deserialize, Serialize};

/// A sentence of words, each with its tag (IOB2 after reading).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The words; never empty.
    pub words: Vec<String>,
    /// One tag for each word.
    pub tags: Vec<String>,
    /// The line of the first word, counted from 1.
    pub line: usize,
}

/// A sentence of words, and its entities, which may share words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned {
    /// The words; never empty.
    pub words: Vec<String>,
    /// The entities, each over some of the words.
    pub spans: Vec<Span>,
    /// The line where the example starts, counted from 1.
    pub line: usize,
}

/// A text, or a pair of texts, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<L> {
    /// The text.
    pub text: String,
    /// The second text of a pair task (inference, paraphrase).
    pub pair: Option<String>,
    /// What is to be said of it.
    pub label: L,
    /// The line where the example starts, counted from 1.
    pub line: usize,
}

/// A text with one label.
pub type Labelled = Row<String>;

/// A text with any number of labels, also none.
pub type MultiLabelled = Row<Vec<String>>;

/// A text with a number: regression. The number is finite after reading.
pub type Scored = Row<f64>;

/// A source text and the text to produce from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What is given.
    pub source: String,
    /// What is to be produced.
    pub target: String,
    /// The line where the example starts, counted from 1.
    pub line: usize,
}

/// A question about a context that holds its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its name.
    pub id: String,
    /// Where the answers stand; shared by the questions about it.
    pub context: Arc<str>,
    /// The question.
    pub question: String,
    /// All answers that count as right; none where the context has no answer.
    pub answers: Vec<Answer>,
    /// The line where the question starts, counted from 1.
    pub line: usize,
}

/// A query with the texts that are to be ranked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// Its name.
    pub id: String,
    /// What is looked for: a question, a search, what a user liked.
    pub query: String,
    /// What is ranked, in the order of the file.
    pub candidates: Vec<Candidate>,
    /// When it was asked, in any unit, where that decides which part of the data it is in.
    pub time: Option<i64>,
    /// The line where its first candidate stands, counted from 1.
    pub line: usize,
}

/// A text to be ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The text.
    pub text: String,
    /// What it is worth: 0 for nothing, else a number above.
    pub gain: f64,
    /// Numbers beside the text; as many in every candidate.
    pub features: Vec<f64>,
}

/// A part of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// The character of the context at which it starts, counted from 0; none where the file names no place.
    pub start: Option<usize>,
}

impl Answer {
    /// Whether the answer stands in the context where it says. Always so after reading.
    pub fn stands_in(&self, context: &str) -> bool {
        let Some(start) = self.start else { return false };
        let place = context.char_indices().map(|(at, _)| at).nth(start);
        !self.text.is_empty() && place.is_some_and(|at| context[at..].starts_with(&self.text))
    }
}

/// The examples of one file.
#[derive(Debug, Clone, PartialEq)]
pub enum Examples {
    /// Words with tags: named entities, slots.
    Tagged(Vec<Tagged>),
    /// Words with entities that may share words: nested named entities.
    Spans(Vec<Spanned>),
    /// Texts with a label: classification, intents, pairs.
    Labelled(Vec<Labelled>),
    /// Texts with any number of labels: emotions, topics.
    MultiLabelled(Vec<MultiLabelled>),
    /// Texts with a number: similarity, ratings.
    Scored(Vec<Scored>),
    /// Documents: language modelling.
    Text(Vec<String>),
    /// Source and target: translation, summaries.
    Pairs(Vec<Pair>),
    /// Questions with their contexts.
    Qa(Vec<Question>),
    /// Queries with their candidates.
    Ranked(Vec<Ranking>),
}

/// The kinds of [`Examples`], for asking for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// [`Examples::Tagged`].
    Tagged,
    /// [`Examples::Spans`].
    Spans,
    /// [`Examples::Labelled`].
    Labelled,
    /// [`Examples::MultiLabelled`].
    MultiLabelled,
    /// [`Examples::Scored`].
    Scored,
    /// [`Examples::Text`].
    Text,
    /// [`Examples::Pairs`].
    Pairs,
    /// [`Examples::Qa`].
    Qa,
    /// [`Examples::Ranked`].
    Ranked,
}

impl Examples {
    /// How many examples there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Tagged(list) => list.len(),
            Self::Spans(list) => list.len(),
            Self::Labelled(list) => list.len(),
            Self::MultiLabelled(list) => list.len(),
            Self::Scored(list) => list.len(),
            Self::Text(list) => list.len(),
            Self::Pairs(list) => list.len(),
            Self::Qa(list) => list.len(),
            Self::Ranked(list) => list.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which kind these are.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Tagged(_) => Kind::Tagged,
            Self::Spans(_) => Kind::Spans,
            Self::Labelled(_) => Kind::Labelled,
            Self::MultiLabelled(_) => Kind::MultiLabelled,
            Self::Scored(_) => Kind::Scored,
            Self::Text(_) => Kind::Text,
            Self::Pairs(_) => Kind::Pairs,
            Self::Qa(_) => Kind::Qa,
            Self::Ranked(_) => Kind::Ranked,
        }
    }

    /// Every text, for training a tokenizer: the words of a sentence joined by spaces, both halves of a pair, each
    /// context and candidate once.
    pub fn texts(&self) -> Vec<String> {
        fn of_rows<L>(list: &[Row<L>]) -> Vec<String> {
            let texts = |row: &Row<L>| std::iter::once(row.text.clone()).chain(row.pair.clone());
            list.iter().flat_map(texts).collect()
        }
        match self {
            Self::Tagged(list) => list.iter().map(|example| example.words.join(" ")).collect(),
            Self::Spans(list) => list.iter().map(|example| example.words.join(" ")).collect(),
            Self::Labelled(list) => of_rows(list),
            Self::MultiLabelled(list) => of_rows(list),
            Self::Scored(list) => of_rows(list),
            Self::Text(list) => list.clone(),
            Self::Pairs(list) => {
                list.iter().flat_map(|example| [example.source.clone(), example.target.clone()]).collect()
            }
            Self::Qa(list) => {
                let is_new = |at: usize| at == 0 || list[at].context != list[at - 1].context;
                let texts = |(at, question): (usize, &Question)| {
                    let context = is_new(at).then(|| question.context.to_string());
                    context.into_iter().chain([question.question.clone()])
                };
                list.iter().enumerate().flat_map(texts).collect()
            }
            Self::Ranked(list) => {
                let mut seen = HashSet::new();
                let texts = |ranking: &Ranking| {
                    let candidates = ranking.candidates.iter().map(|candidate| candidate.text.clone());
                    std::iter::once(ranking.query.clone()).chain(candidates).collect::<Vec<_>>()
                };
                list.iter().flat_map(texts).filter(|text| seen.insert(text.clone())).collect()
            }
        }
    }

    /// The same as texts to find and what they are found by: questions with their contexts become pairs, all others stay.
    ///
    /// ```
    /// use locus_data::{Examples, Pair};
    /// let pairs = Examples::Pairs(vec![Pair { source: "a".into(), target: "b".into(), line: 1 }]);
    /// assert_eq!(pairs.clone().into_pairs(), pairs);
    /// ```
    #[must_use]
    pub fn into_pairs(self) -> Self {
        let Self::Qa(list) = self else { return self };
        let pair = |question: Question| Pair {
            source: question.question,
            target: question.context.to_string(),
            line: question.line,
        };
        Self::Pairs(list.into_iter().map(pair).collect())
    }

    /// The same as words with entities: tags become the entities that they spell, all others stay.
    ///
    /// ```
    /// use locus_data::{Examples, Tagged};
    /// let words = ["New", "York"].map(str::to_owned).to_vec();
    /// let tags = ["B-LOC", "I-LOC"].map(str::to_owned).to_vec();
    /// let tagged = Examples::Tagged(vec![Tagged { words, tags, line: 1 }]);
    /// let Examples::Spans(list) = tagged.into_spans() else { unreachable!() };
    /// assert_eq!((list[0].spans[0].end, list[0].spans[0].label.as_str()), (2, "LOC"));
    /// ```
    #[must_use]
    pub fn into_spans(self) -> Self {
        let Self::Tagged(list) = self else { return self };
        let spanned = |Tagged { words, tags, line }: Tagged| {
            let spans = tags::spans(&tags, TagScheme::Iob2);
            Spanned { words, spans, line }
        };
        Self::Spans(list.into_iter().map(spanned).collect())
    }

    /// The words of an example, where examples have words.
    pub(crate) fn words(&self, at: usize) -> Option<&[String]> {
        match self {
            Self::Tagged(list) => Some(&list[at].words),
            Self::Spans(list) => Some(&list[at].words),
            _ => None,
        }
    }

    /// The examples at `keep`, in that order.
    ///
    /// # Panics
    /// If an index is not below [`Examples::len`].
    pub fn select(&self, keep: &[usize]) -> Self {
        fn pick<T: Clone>(list: &[T], keep: &[usize]) -> Vec<T> {
            keep.iter().map(|&at| list[at].clone()).collect()
        }
        match self {
            Self::Tagged(list) => Self::Tagged(pick(list, keep)),
            Self::Spans(list) => Self::Spans(pick(list, keep)),
            Self::Labelled(list) => Self::Labelled(pick(list, keep)),
            Self::MultiLabelled(list) => Self::MultiLabelled(pick(list, keep)),
            Self::Scored(list) => Self::Scored(pick(list, keep)),
            Self::Text(list) => Self::Text(pick(list, keep)),
            Self::Pairs(list) => Self::Pairs(pick(list, keep)),
            Self::Qa(list) => Self::Qa(pick(list, keep)),
            Self::Ranked(list) => Self::Ranked(pick(list, keep)),
        }
    }

    /// Appends examples of the same kind, such as those of a second file.
    pub fn append(&mut self, more: Self) -> Result<(), crate::DataError> {
        match (self, more) {
            (Self::Tagged(list), Self::Tagged(more)) => list.extend(more),
            (Self::Spans(list), Self::Spans(more)) => list.extend(more),
            (Self::Labelled(list), Self::Labelled(more)) => list.extend(more),
            (Self::MultiLabelled(list), Self::MultiLabelled(more)) => list.extend(more),
            (Self::Scored(list), Self::Scored(more)) => list.extend(more),
            (Self::Text(list), Self::Text(more)) => list.extend(more),
            (Self::Pairs(list), Self::Pairs(more)) => list.extend(more),
            (Self::Qa(list), Self::Qa(more)) => list.extend(more),
            (Self::Ranked(list), Self::Ranked(more)) => list.extend(more),
            (have, more) => {
                return Err(crate::DataError::Argument(format!(
                    "cannot append {} examples to {} examples",
                    more.kind(),
                    have.kind()
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tagged => "tagged",
            Self::Spans => "spans",
            Self::Labelled => "labelled",
            Self::MultiLabelled => "multilabelled",
            Self::Scored => "scored",
            Self::Text => "text",
            Self::Pairs => "pairs",
            Self::Qa => "qa",
            Self::Ranked => "ranked",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_hold_both_halves_of_a_pair() {
        let pairs = Examples::Pairs(vec![Pair { source: "a".into(), target: "b".into(), line: 1 }]);
        assert_eq!(pairs.texts(), ["a", "b"]);
        assert_eq!((pairs.len(), pairs.kind()), (1, Kind::Pairs));
    }

    #[test]
    fn refuses_to_append_another_kind() {
        let mut text = Examples::Text(vec!["a".into(), "b".into()]);
        assert_eq!(text.select(&[1]), Examples::Text(vec!["b".into()]));
        assert!(text.append(Examples::Tagged(Vec::new())).is_err());
    }
}
