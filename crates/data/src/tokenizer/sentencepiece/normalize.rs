//! What SentencePiece does to a text before it looks for pieces (Kudo and Richardson 2018, arXiv:1808.06226, §3.2): the longest
//! rule at each place, blanks as ▁.

use super::proto::Fields;

/// A blank in a piece.
const BLANK: &str = "\u{2581}";

/// The normaliser of a model.
#[derive(Debug, Clone)]
pub(super) struct Normalizer {
    rules: Option<Rules>,
    /// Whether a text begins with a blank.
    dummy_prefix: bool,
    /// Whether blanks around a text go, and several between words become one.
    removes_blanks: bool,
    /// Whether a blank becomes ▁.
    escapes_blanks: bool,
}

/// A normalised text, and for each of its bytes, and its end, where in the original it comes from.
pub(super) struct Normalized {
    pub(super) text: String,
    pub(super) origins: Vec<usize>,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self { rules: None, dummy_prefix: true, removes_blanks: true, escapes_blanks: true }
    }
}

impl Normalizer {
    /// Reads a `NormalizerSpec`.
    pub(super) fn read(message: &[u8]) -> Result<Self, String> {
        let (mut fields, mut own) = (Fields::of(message), Self::default());
        while let Some((number, value)) = fields.next()? {
            match number {
                2 => own.rules = Rules::read(value.bytes()?)?,
                3 => own.dummy_prefix = value.switch()?,
                4 => own.removes_blanks = value.switch()?,
                5 => own.escapes_blanks = value.switch()?,
                _ => {}
            }
        }
        Ok(own)
    }

    /// Whether it has rules for characters.
    pub(super) fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    pub(super) fn normalize(&self, original: &str) -> Normalized {
        let blank = if self.escapes_blanks { BLANK } else { " " };
        let (mut text, mut origins) = (String::new(), Vec::new());
        let mut add = |text: &mut String, part: &str, at: usize| {
            text.push_str(part);
            origins.resize(text.len(), at);
        };
        let mut at = 0;
        while self.removes_blanks && at < original.len() {
            let (to, n) = self.step(&original[at..]);
            if to != " " {
                break;
            }
            at += n;
        }
        if at < original.len() && self.dummy_prefix {
            add(&mut text, blank, at);
        }
        let mut after_blank = self.removes_blanks;
        while at < original.len() {
            let (to, n) = self.step(&original[at..]);
            let part = if after_blank { to.trim_start_matches(' ') } else { to };
            for c in part.chars() {
                let mut buffer = [0; 4];
                add(&mut text, if c == ' ' { blank } else { &*c.encode_utf8(&mut buffer) }, at);
            }
            if !part.is_empty() {
                after_blank = self.removes_blanks && part.ends_with(' ');
            }
            at += n;
        }
        let mut end = at;
        while self.removes_blanks && text.ends_with(blank) {
            text.truncate(text.len() - blank.len());
            end = origins.get(text.len()).copied().unwrap_or(end);
        }
        origins.truncate(text.len());
        origins.push(end);
        Normalized { text, origins }
    }

    /// What the beginning of a text that is not empty becomes, and how many bytes that is of.
    fn step<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        if let Some(found) = self.rules.as_ref().and_then(|rules| rules.longest(text)) {
            return found;
        }
        let n = text.chars().next().map_or(text.len(), char::len_utf8);
        (&text[..n], n)
    }
}

/// Rules for characters and short runs of them: a double-array trie (Aoe 1989; as Darts-clone lays it out) of what is replaced,
/// and the replacements, each with a zero byte behind it.
#[derive(Debug, Clone)]
struct Rules {
    units: Vec<u32>,
    replacements: String,
}

impl Rules {
    /// Reads a `precompiled_charsmap`; nothing of an empty one.
    fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let damaged = || "the rules of normalisation (precompiled_charsmap) are damaged".to_owned();
        let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| damaged())?;
        let (trie, replacements) = rest.split_at_checked(size).ok_or_else(damaged)?;
        let units = trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        let replacements = std::str::from_utf8(replacements).map_err(|_| damaged())?.to_owned();
        Ok(Some(Self { units: units.collect(), replacements }))
    }

    /// The replacement of the longest rule that a text begins with, and the length of what it replaces.
    fn longest(&self, text: &str) -> Option<(&str, usize)> {
        let mut longest = None;
        let mut place = offset(*self.units.first()?);
        for (at, byte) in text.bytes().enumerate() {
            place ^= usize::from(byte);
            let Some(&unit) = self.units.get(place) else { break };
            if label(unit) != u32::from(byte) {
                break;
            }
            place ^= offset(unit);
            // A rule is of whole characters.
            if has_value(unit) && text.is_char_boundary(at + 1) {
                longest = self.replacement(place).map(|to| (to, at + 1)).or(longest);
            }
        }
        longest
    }

    fn replacement(&self, place: usize) -> Option<&str> {
        let start = usize::try_from(self.units.get(place)? & 0x7FFF_FFFF).ok()?;
        let rest = self.replacements.get(start..)?;
        Some(rest.split('\0').next().unwrap_or(rest))
    }
}

fn label(unit: u32) -> u32 {
    unit & 0x8000_00FF
}

fn has_value(unit: u32) -> bool {
    unit & 0x100 != 0
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 0x200) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::{Normalizer, Rules};

    fn normalized(normalizer: &Normalizer, text: &str) -> (String, Vec<usize>) {
        let normalized = normalizer.normalize(text);
        (normalized.text, normalized.origins)
    }

    #[test]
    fn blanks_are_those_between_words() {
        let usual = Normalizer::default();
        let (text, origins) = normalized(&usual, "  a  b ");
        assert_eq!(text, "\u{2581}a\u{2581}b");
        assert_eq!(origins, [2, 2, 2, 2, 3, 3, 3, 5, 6]);
        for empty in ["", " ", "   "] {
            assert_eq!(normalized(&usual, empty).0, "", "{empty:?}");
        }
        let plain = Normalizer { dummy_prefix: false, removes_blanks: false, ..Normalizer::default() };
        assert_eq!(normalized(&plain, " é ").0, "\u{2581}é\u{2581}");
        let unescaped = Normalizer { escapes_blanks: false, ..Normalizer::default() };
        assert_eq!(normalized(&unescaped, "a b").0, " a b");
    }

    #[test]
    fn damaged_rules_are_errors() {
        assert!(matches!(Rules::read(&[]), Ok(None)));
        for bytes in [&[1][..], &[9, 0, 0, 0, 1, 2], &[0xFF; 4], &[0, 0, 0, 0, 0xFF]] {
            assert!(Rules::read(bytes).is_err(), "{bytes:?}");
        }
        // A trie that leads nowhere has no rule.
        let nowhere = Rules { units: vec![u32::MAX; 3], replacements: String::new() };
        let normalizer = Normalizer { rules: Some(nowhere), ..Normalizer::default() };
        assert_eq!(normalized(&normalizer, "ab").0, "\u{2581}ab");
    }
}
