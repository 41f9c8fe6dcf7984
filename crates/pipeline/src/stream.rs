//! Generated text as it comes: pieces that no later token can change, up to a stop string.

use crate::{Codec, PipelineError};

/// How many tokens of a text decide how the next one is written.
const CONTEXT: usize = 16;

/// Turns tokens into text as they come: a piece is given as soon as no later token can change it.
///
/// A token is decoded together with the last tokens before it, not with the whole text, so the time is linear in the
/// number of tokens. Tokens of single bytes (`<0xE4>`) wait for the token behind them: one byte that is no part of a character
/// makes replacement characters of all that stand together.
///
/// An id that the tokenizer has no token for is a row to spare of the model's table, and has no text.
#[derive(Debug)]
pub struct StreamDecoder<'a> {
    codec: &'a Codec,
    /// The tokens of the last piece, and those whose text has not been given.
    ids: Vec<u32>,
    n_context: usize,
    /// How much of the text of `ids` has been given, in bytes.
    given: usize,
}

impl<'a> StreamDecoder<'a> {
    /// A decoder that goes on from these tokens, which are not given again.
    ///
    /// # Errors
    /// If the tokenizer cannot decode the ids.
    pub fn after(codec: &'a Codec, ids: &[u32]) -> Result<Self, PipelineError> {
        // Bytes that stand together are decoded together.
        let is_within = |&start: &usize| start > 0 && codec.tokenizer.is_byte(ids[start]);
        let start = (0..=ids.len().saturating_sub(CONTEXT)).rev().find(|start| !is_within(start));
        let ids = ids[start.unwrap_or(0)..].to_vec();
        let given = codec.text(&ids)?.len();
        Ok(Self { codec, n_context: ids.len(), ids, given })
    }

    /// The text that this token completes.
    ///
    /// # Errors
    /// If the tokenizer cannot decode the id.
    pub fn push(&mut self, id: u32) -> Result<String, PipelineError> {
        self.ids.push(id);
        if self.codec.tokenizer.is_byte(id) {
            return Ok(String::new());
        }
        let text = self.codec.text(&self.ids)?;
        // A character of several bytes whose tokens have not all come ends in the replacement character.
        let whole = text.trim_end_matches('\u{FFFD}');
        let start = given_of(&text, self.given);
        let piece = whole.get(start..).unwrap_or_default().to_owned();
        if piece.is_empty() || whole.len() < text.len() {
            self.given = start.max(whole.len());
            return Ok(piece);
        }
        self.ids.drain(..self.n_context);
        self.n_context = self.ids.len();
        self.given = self.codec.text(&self.ids)?.len();
        Ok(piece)
    }

    /// The text that was held back.
    ///
    /// # Errors
    /// Never after a successful [`StreamDecoder::push`].
    pub fn finish(self) -> Result<String, PipelineError> {
        let text = self.codec.text(&self.ids)?;
        Ok(text[given_of(&text, self.given)..].to_owned())
    }
}

/// How much of a text has been given. Where a later token has made what was given shorter, what comes is still given.
fn given_of(text: &str, given: usize) -> usize {
    (0..=given.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// A text that ends before the first of its stop strings.
#[derive(Debug)]
pub(crate) struct StoppedText<'a> {
    stops: &'a [String],
    text: String,
    /// How much of it has been given, in bytes: what may be the start of a stop string waits.
    given: usize,
    stopped: bool,
}

impl<'a> StoppedText<'a> {
    pub(crate) fn new(stops: &'a [String]) -> Self {
        Self { stops, text: String::new(), given: 0, stopped: false }
    }

    /// Appends a piece and gives what is certain to be of the text; whether it has ended says [`Self::has_stopped`].
    pub(crate) fn push(&mut self, piece: &str) -> &str {
        if self.stopped {
            return "";
        }
        // What has been given holds no start of a stop string.
        self.text.push_str(piece);
        let open = &self.text[self.given..];
        let end = self.stops.iter().filter_map(|stop| open.find(stop.as_str())).min();
        self.stopped = end.is_some();
        let end = self.given + end.unwrap_or_else(|| open.len() - self.stop_begun(open));
        if self.stopped {
            self.text.truncate(end);
        }
        let certain = &self.text[self.given..end];
        self.given = end;
        certain
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// Gives what has waited.
    pub(crate) fn finish(&mut self) -> &str {
        let rest = &self.text[self.given..];
        self.given = self.text.len();
        rest
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// The length of the longest end of the text that a stop string starts with.
    fn stop_begun(&self, text: &str) -> usize {
        let starts = text.char_indices().map(|(at, _)| &text[at..]);
        let begun = |end: &&str| self.stops.iter().any(|stop| stop.starts_with(end));
        starts.filter(begun).map(str::len).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::StoppedText;

    /// What is given piece by piece, and the text in the end.
    fn read(stops: &[&str], pieces: &[&str]) -> (Vec<String>, String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut text = StoppedText::new(&stops);
        let mut given: Vec<String> = pieces.iter().map(|piece| text.push(piece).to_owned()).collect();
        given.push(text.finish().to_owned());
        let stopped = text.has_stopped();
        (given, text.into_text(), stopped)
    }

    #[test]
    fn a_stop_string_ends_the_text_wherever_the_pieces_break() {
        for pieces in [&["one END two"][..], &["one E", "N", "D two"], &["one ", "EEN", "D", "END"]] {
            let (given, text, stopped) = read(&["END", "two"], pieces);
            assert_eq!(given.concat(), text);
            assert!(stopped && (text == "one " || text == "one E"), "{text:?}");
        }
        // The first in the text counts, not the first in the list.
        assert_eq!(read(&["c", "b"], &["abc"]).1, "a");
        assert_eq!(read(&["好"], &["你", "好吗"]).1, "你");
    }

    #[test]
    fn only_what_may_become_a_stop_string_waits() {
        let (given, text, stopped) = read(&["\n\n"], &["a\n", "b", "\n"]);
        assert_eq!(given, ["a", "\nb", "", "\n"]);
        assert_eq!((text.as_str(), stopped), ("a\nb\n", false));
        assert_eq!(read(&[], &["a", "b"]).0, ["a", "b", ""]);
    }
}
