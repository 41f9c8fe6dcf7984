//! Windows over long contexts, each with the whole question before it, as `run_qa.py` of `transformers` makes them.
//!
//! Differs: the last token of a context can be the start of an answer; where several tokens stand for one character, an
//! answer of it covers all of them.

use std::ops::Range;

use locus_data::{Answer, Item, ItemLabels, Question};
use locus_model::QuestionSizes;

use crate::{Codec, Encoded, PipelineError};

/// A question with a part of its context.
#[derive(Clone, Debug)]
pub(crate) struct QuestionWindow {
    /// Its tokens.
    pub(crate) item: Item,
    /// The column that stands for no answer: that of `[CLS]`, or else the first.
    pub(crate) no_answer: usize,
    /// Where the part of the context starts in the item.
    pub(crate) first_column: usize,
    /// The bytes of the context that each token of the part stands for.
    pub(crate) bytes: Vec<Range<usize>>,
}

impl QuestionWindow {
    /// The columns of an answer, both inclusive; those of no answer where a part of it lies outside.
    pub(crate) fn span(&self, answer: Option<&Range<usize>>) -> [i32; 2] {
        let none = [self.no_answer as i32; 2];
        let (Some(answer), Some(first), Some(last)) = (answer, self.bytes.first(), self.bytes.last()) else {
            return none;
        };
        if answer.start < first.start || answer.end > last.end {
            return none;
        }
        let start = self.bytes.iter().rposition(|token| token.start <= answer.start).unwrap_or(0);
        let end = self.bytes.iter().position(|token| token.end >= answer.end).unwrap_or(start);
        [start.min(end), start.max(end)].map(|token| (self.first_column + token) as i32)
    }
}

/// The bytes of an answer in its context.
pub(crate) fn bytes_of(context: &str, answer: &Answer) -> Option<Range<usize>> {
    let (start, _) = context.char_indices().nth(answer.start?)?;
    Some(start..start + answer.text.len())
}

impl Codec {
    /// A question with the windows over its context, at least one, and whether the question was cut.
    pub(crate) fn question_windows(
        &self,
        question: &str,
        context: &str,
    ) -> Result<(Vec<QuestionWindow>, bool), PipelineError> {
        let QuestionSizes { window, stride, query } = self.question_sizes;
        let mut asked = self.tokenizer.encode(question.trim_start())?.ids;
        let is_cut = asked.len() > query;
        asked.truncate(query);
        let read = self.tokenizer.encode(context)?;
        let room = window.saturating_sub(self.tokenizer.frame().n_tokens(true) + asked.len()).max(1);
        let windows = ranges(read.ids.len(), room, stride).into_iter().map(|tokens| {
            let framed = self.tokenizer.assemble(&asked, Some(&read.ids[tokens.clone()]));
            let cls = self.tokenizer.specials().cls;
            let no_answer = framed.ids.iter().position(|&id| Some(id) == cls).unwrap_or(0);
            let first_column = framed.second.map_or(0, |second| second.start);
            let segments = Some(framed.segments);
            let item = Item { ids: framed.ids, segments, ..Item::default() };
            QuestionWindow { item, no_answer, first_column, bytes: read.offsets[tokens].to_vec() }
        });
        // A tokenizer without a frame leaves nothing of a question and a context without text.
        let mut windows: Vec<QuestionWindow> = windows.collect();
        for window in windows.iter_mut().filter(|window| window.item.ids.is_empty()) {
            window.item.ids.push(self.tokenizer.specials().unk.unwrap_or(self.pad_id()));
            window.item.segments = Some(vec![0]);
        }
        Ok((windows, is_cut))
    }

    /// Questions as items to train on: of several answers the first.
    pub(crate) fn questions(&self, questions: &[Question]) -> Result<Encoded, PipelineError> {
        let mut encoded = Encoded::default();
        for question in questions {
            let answer = question.answers.first().and_then(|answer| bytes_of(&question.context, answer));
            let (windows, is_cut) = self.question_windows(&question.question, &question.context)?;
            encoded.n_truncated += usize::from(is_cut);
            encoded.items.extend(windows.into_iter().map(|window| {
                let labels = ItemLabels::Span(window.span(answer.as_ref()));
                Item { labels, ..window.item }
            }));
        }
        Ok(encoded)
    }
}

/// Ranges of at most `room` tokens, of which two neighbours share `stride`, until one reaches the end.
fn ranges(n_tokens: usize, room: usize, stride: usize) -> Vec<Range<usize>> {
    let (mut found, mut start) = (Vec::new(), 0);
    loop {
        let end = n_tokens.min(start + room);
        found.push(start..end);
        if end == n_tokens {
            return found;
        }
        start += room.saturating_sub(stride).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(bytes: &[(usize, usize)]) -> QuestionWindow {
        let bytes = bytes.iter().map(|&(start, end)| start..end).collect();
        QuestionWindow { item: Item::default(), no_answer: 1, first_column: 5, bytes }
    }

    #[test]
    fn windows_overlap_by_the_stride_and_reach_the_end() {
        let of = |n_tokens| -> Vec<(usize, usize)> {
            ranges(n_tokens, 7, 2).into_iter().map(|range| (range.start, range.end)).collect()
        };
        assert_eq!(of(0), [(0, 0)]);
        assert_eq!(of(7), [(0, 7)]);
        assert_eq!(of(8), [(0, 7), (5, 8)]);
        assert_eq!(of(17), [(0, 7), (5, 12), (10, 17)]);
    }

    #[test]
    fn an_answer_has_its_columns_only_where_it_lies_within() {
        let window = window(&[(3, 5), (5, 6), (7, 11), (11, 12)]);
        assert_eq!(window.span(Some(&(5..11))), [6, 7]);
        assert_eq!(window.span(Some(&(8..9))), [7, 7], "a part of a token");
        assert_eq!(window.span(Some(&(11..12))), [8, 8], "the last token");
        for outside in [Some(2..4), Some(11..13), Some(20..21), None] {
            assert_eq!(window.span(outside.as_ref()), [1, 1], "{outside:?}");
        }
    }

    #[test]
    fn a_character_of_several_tokens_is_covered_by_all_of_them() {
        let window = window(&[(0, 1), (1, 4), (1, 4), (1, 4), (4, 5)]);
        assert_eq!(window.span(Some(&(1..4))), [6, 8]);
    }
}
