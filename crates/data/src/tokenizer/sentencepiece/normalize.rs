//! What SentencePiece does to a text before it looks for pieces (Kudo and Richardson 2018, arXiv:1808.06226, §3.2): the longest
//! rule at each place, blanks as ▁.

use tokenizers::normalizers::Precompiled;

use super::BLANK;
use super::proto::Fields;

/// No rule replaces more bytes, and none puts more in their place: those of SentencePiece put up to 33. A text grows by no more,
/// and takes no longer.
const LONGEST_RULE: usize = 128;

/// The normaliser of a model.
#[derive(Debug, Clone)]
pub(super) struct Normalizer {
    rules: Option<Rules>,
    /// Whether a text begins with a blank.
    pub(super) dummy_prefix: bool,
    /// Whether blanks around a text go, and several between words become one.
    pub(super) removes_blanks: bool,
    /// Whether a blank becomes ▁.
    pub(super) escapes_blanks: bool,
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

    /// The rules as the `tokenizers` crate applies them: at each grapheme of up to five bytes, else at each character, the
    /// shortest.
    ///
    /// # Errors
    /// If the trie leads out of the file, where that crate would look for it.
    pub(super) fn precompiled(&self) -> Result<Option<Precompiled>, String> {
        let Some(rules) = &self.rules else { return Ok(None) };
        if !rules.are_whole() {
            return Err(damaged());
        }
        Precompiled::from(&rules.to_bytes()).map(Some).map_err(|_| damaged())
    }

    pub(super) fn normalize(&self, original: &str) -> Normalized {
        let mut mark = [0; 4];
        let blank = if self.escapes_blanks { &*BLANK.encode_utf8(&mut mark) } else { " " };
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
        let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| damaged())?;
        let (trie, replacements) = rest.split_at_checked(size).ok_or_else(damaged)?;
        let units = trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        let replacements = std::str::from_utf8(replacements).map_err(|_| damaged())?.to_owned();
        let (whole, rest) = replacements.rsplit_once('\0').unwrap_or(("", &replacements));
        if !rest.is_empty() {
            return Err(format!("{}: the last replacement has no end", damaged()));
        }
        if let Some(long) = whole.split('\0').find(|to| to.len() > LONGEST_RULE) {
            let n = long.len();
            return Err(format!("{}: a replacement of {n} bytes; expected up to {LONGEST_RULE}", damaged()));
        }
        Ok(Some(Self { units: units.collect(), replacements }))
    }

    /// As [`Rules::read`] reads them.
    fn to_bytes(&self) -> Vec<u8> {
        let n = u32::try_from(4 * self.units.len()).unwrap_or(u32::MAX);
        let units = self.units.iter().flat_map(|unit| unit.to_le_bytes());
        n.to_le_bytes().into_iter().chain(units).chain(self.replacements.bytes()).collect()
    }

    /// Whether no text leads out of the trie, nor a rule out of the replacements.
    fn are_whole(&self) -> bool {
        let mut places: Vec<usize> = self.units.first().map(|unit| offset(*unit)).into_iter().collect();
        let mut is_seen = vec![false; self.units.len()];
        while let Some(place) = places.pop() {
            // Any byte may come next.
            if place | 0xFF >= self.units.len() {
                return false;
            }
            if std::mem::replace(&mut is_seen[place], true) {
                continue;
            }
            for byte in 1..=0xFF {
                let at = place ^ byte;
                let unit = self.units[at];
                if label(unit) as usize != byte {
                    continue;
                }
                let next = at ^ offset(unit);
                if has_value(unit) && self.replacement(next).is_none() {
                    return false;
                }
                places.push(next);
            }
        }
        !self.units.is_empty()
    }

    /// The replacement of the longest rule that a text begins with, and the length of what it replaces.
    fn longest(&self, text: &str) -> Option<(&str, usize)> {
        let mut longest = None;
        let mut place = offset(*self.units.first()?);
        for (at, byte) in text.bytes().take(LONGEST_RULE).enumerate() {
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

fn damaged() -> String {
    "the rules of normalisation (precompiled_charsmap) are damaged".to_owned()
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
        // A replacement without an end, and one that would make a text very long.
        let with = |replacements: &str| [&[0; 4][..], replacements.as_bytes()].concat();
        let endless = Rules::read(&with("a\0b")).expect_err("no end");
        assert!(endless.contains("precompiled_charsmap") && endless.contains("no end"), "{endless}");
        assert!(Rules::read(&with("a")).is_err());
        let long = Rules::read(&with(&format!("a\0{}\0", "b".repeat(129)))).expect_err("too long");
        assert!(long.contains("129 bytes; expected up to 128"), "{long}");
        assert!(Rules::read(&with(&format!("{}\0", "b".repeat(128)))).is_ok());
        // A trie that leads nowhere has no rule.
        let nowhere = Rules { units: vec![u32::MAX; 3], replacements: String::new() };
        let normalizer = Normalizer { rules: Some(nowhere), ..Normalizer::default() };
        assert_eq!(normalized(&normalizer, "ab").0, "\u{2581}ab");
        assert!(normalizer.precompiled().is_err_and(|problem| problem.contains("damaged")));
    }

    #[test]
    fn a_trie_that_leads_back_into_itself_ends() {
        // The root's child by `A` has itself as its child by `A`.
        let mut units = vec![0; 512];
        units[0] = 256 << 10;
        units[256 + 0x41] = (0x41 << 10) | 0x41;
        let rules = Rules { units, replacements: String::new() };
        let place = 256 + 0x41;
        assert_eq!((place ^ super::offset(rules.units[place])) ^ 0x41, place, "itself");
        let text = "A".repeat(60_000);
        let normalizer = Normalizer { rules: Some(rules), ..Normalizer::default() };
        assert_eq!(normalizer.normalize(&text).text.len(), "\u{2581}".len() + text.len());
    }

    #[test]
    fn rules_of_one_character_are_the_same_in_the_tokenizers_crate() {
        // A root at 0 whose children stand at 256 and on; `A` has a value, which stands at 512.
        let mut units = vec![0; 768];
        units[0] = 256 << 10;
        units[256 + 0x41] = ((256 ^ 0x41 ^ 512) << 10) | 0x100 | 0x41;
        units[512] = 0x8000_0002;
        let rules = Rules { units, replacements: "x\0bc\0".to_owned() };
        assert_eq!(rules.longest("A-"), Some(("bc", 1)));
        let again = Rules::read(&rules.to_bytes()).expect("rules").expect("some");
        assert_eq!((&again.units, &again.replacements), (&rules.units, &rules.replacements));
        let with = |rules: &Rules| Normalizer { rules: Some(rules.clone()), ..Normalizer::default() };
        let crates = with(&rules).precompiled().expect("whole").expect("some");
        assert_eq!((crates.transform("A"), crates.transform("B")), (Some("bc"), None));
        for (at, unit) in [(512, 0x8000_0007), (0, 900 << 10), (256 + 0x41, (2000 << 10) | 0x141)] {
            let mut damaged = rules.clone();
            damaged.units[at] = unit;
            assert!(with(&damaged).precompiled().is_err(), "{at}");
        }
    }
}
