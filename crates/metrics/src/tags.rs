//! Entity spans and the tag sequences that spell them: IO, IOB1, IOB2 and BIOES.
//!
//! Reading is lenient in the way of the CoNLL-2000 scorer `conlleval` and of seqeval's default mode (`get_entities`):
//! an `I-PER` after `O` or after another type starts an entity, an `E-PER` ends one, an unknown letter goes on or starts
//! by its type alone. So a tagger that writes an impossible sequence is scored, never refused. The rules look at
//! prefixes only, so the IO and IOB schemes read alike; BIOES adds the BILOU and BMES spellings. Writing is strict.
//! Source: seqeval 1.2.2, `metrics/sequence_labeling.py`, `start_of_chunk` and `end_of_chunk`.
//! Differs: an empty tag reads as `O` (seqeval raises).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::MetricsError;

/// How entities are spelled as one tag per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagScheme {
    /// `I-` on every entity token; neighbours of one type cannot be told apart.
    Io,
    /// `B-` only where an entity follows another of the same type (CoNLL-2003 as first released).
    Iob1,
    /// `B-` on every first token, `I-` on the rest.
    Iob2,
    /// `B-` first, `I-` inside, `E-` last, `S-` alone. Read also as BILOU (`L`, `U`) and BMES (`M`).
    Bioes,
}

impl TagScheme {
    /// The names that configuration files use.
    pub const NAMES: [&'static str; 4] = ["io", "iob1", "iob2", "bioes"];

    /// The letter as this scheme means it: BILOU's and BMES's spellings become BIOES's.
    fn canonical(self, letter: char) -> char {
        match (self, letter) {
            (Self::Bioes, 'L') => 'E',
            (Self::Bioes, 'U') => 'S',
            (Self::Bioes, 'M') => 'I',
            _ => letter,
        }
    }
}

impl fmt::Display for TagScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::NAMES[*self as usize])
    }
}

impl FromStr for TagScheme {
    type Err = MetricsError;

    fn from_str(name: &str) -> Result<Self, MetricsError> {
        match name {
            "io" => Ok(Self::Io),
            "iob1" => Ok(Self::Iob1),
            "iob2" | "bio" => Ok(Self::Iob2),
            "bioes" | "iobes" | "bilou" | "bmes" => Ok(Self::Bioes),
            _ => Err(MetricsError::UnknownScheme { found: name.to_owned() }),
        }
    }
}

/// An entity: the tokens `start..end` and its type. Ordered by place, then by type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// First token.
    pub start: usize,
    /// One past the last token.
    pub end: usize,
    /// Entity type, without prefix.
    pub label: String,
}

impl Span {
    /// A span over the tokens `start..end`.
    pub fn new(start: usize, end: usize, label: impl Into<String>) -> Self {
        Self { start, end, label: label.into() }
    }
}

/// The scheme that `sequences` are most likely written in.
///
/// Any `E S L U M` prefix means BIOES; entities without a single `B-` mean IO. Between IOB1 and IOB2 the one that fewer
/// tags break decides, so that one slip in a large IOB2 file does not turn it into IOB1. Without any entity: IOB2.
/// IOB1 without touching entities is reported as IO, which reads the same.
pub fn detect<S: AsRef<str>>(sequences: &[Vec<S>]) -> TagScheme {
    let (mut n_begin, mut n_inside, mut breaks_iob1, mut breaks_iob2) = (0_usize, 0_usize, 0_usize, 0_usize);
    for sequence in sequences {
        let mut previous = ('O', NO_TYPE);
        for tag in sequence {
            let (letter, label) = split(tag.as_ref());
            let follows_same_type = previous.0 != 'O' && previous.1 == label;
            match letter {
                'E' | 'S' | 'L' | 'U' | 'M' if problem(tag.as_ref()).is_none() => return TagScheme::Bioes,
                'B' => {
                    n_begin += 1;
                    breaks_iob1 += usize::from(!follows_same_type);
                }
                'I' => {
                    n_inside += 1;
                    breaks_iob2 += usize::from(!follows_same_type);
                }
                _ => {}
            }
            previous = (letter, label);
        }
    }
    if n_begin == 0 && n_inside > 0 {
        TagScheme::Io
    } else if breaks_iob1 < breaks_iob2 {
        TagScheme::Iob1
    } else {
        TagScheme::Iob2
    }
}

/// The entities that `tags` spell, in order, read leniently (see the module).
///
/// ```
/// use locus_metrics::tags::{Span, TagScheme, spans};
/// let tags = ["I-PER", "I-PER", "O", "B-LOC", "B-LOC"];
/// assert_eq!(
///     spans(&tags, TagScheme::Iob2),
///     [Span::new(0, 2, "PER"), Span::new(3, 4, "LOC"), Span::new(4, 5, "LOC")],
/// );
/// ```
pub fn spans<S: AsRef<str>>(tags: &[S], scheme: TagScheme) -> Vec<Span> {
    let mut found = Vec::new();
    let mut previous = ('O', NO_TYPE);
    let mut start = 0;
    let closing = ('O', NO_TYPE);
    for (at, current) in tags.iter().map(|tag| split(tag.as_ref())).chain([closing]).enumerate() {
        let current = (scheme.canonical(current.0), current.1);
        if ends(previous, current) {
            found.push(Span::new(start, at, previous.1));
        }
        if starts(previous, current) {
            start = at;
        }
        previous = current;
    }
    found
}

/// The tags of `spans` over a sentence of `len` tokens. The spans may come in any order.
///
/// # Errors
/// If a span is empty, untyped or outside the sentence, if two overlap, or if IO would merge two neighbours.
pub fn encode(spans: &[Span], len: usize, scheme: TagScheme) -> Result<Vec<String>, MetricsError> {
    let mut ordered: Vec<&Span> = spans.iter().collect();
    ordered.sort();
    let mut tags = vec!["O".to_owned(); len];
    let mut previous: Option<&Span> = None;
    for span in ordered {
        let touches = check_place(span, previous, len, scheme)?;
        for (at, tag) in tags[span.start..span.end].iter_mut().enumerate() {
            let letter = letter(scheme, at == 0, span.start + at + 1 == span.end, touches);
            *tag = format!("{letter}-{}", span.label);
        }
        previous = Some(span);
    }
    Ok(tags)
}

/// `tags` in another scheme; malformed transitions come out as the entities they were read as.
///
/// # Errors
/// If `to` is IO and two neighbours of one type would merge.
pub fn convert<S: AsRef<str>>(
    tags: &[S],
    from: TagScheme,
    to: TagScheme,
) -> Result<Vec<String>, MetricsError> {
    encode(&spans(tags, from), tags.len(), to)
}

/// What is wrong with a single tag, or `None`. Readers report it with file and line; scoring tolerates it.
pub fn problem(tag: &str) -> Option<String> {
    if tag == "O" {
        return None;
    }
    let Some((prefix, label)) = tag.split_once('-') else {
        return Some(format!("tag {tag:?} is neither O nor PREFIX-TYPE"));
    };
    if !matches!(prefix, "B" | "I" | "E" | "S" | "L" | "U" | "M") {
        Some(format!("tag {tag:?} has the prefix {prefix:?}; expected one of B I E S L U M"))
    } else if label.trim().is_empty() {
        Some(format!("tag {tag:?} has no entity type after the hyphen"))
    } else {
        None
    }
}

/// What is wrong with a single well-formed tag in a scheme that does not have its prefix, or `None`.
///
/// ```
/// use locus_metrics::tags::{TagScheme, problem_in};
///
/// assert_eq!(problem_in("B-PER", TagScheme::Iob2), None);
/// assert!(problem_in("S-PER", TagScheme::Iob2).is_some_and(|text| text.contains("expected one of B I")));
/// ```
pub fn problem_in(tag: &str, scheme: TagScheme) -> Option<String> {
    let allowed: &[&str] = match scheme {
        TagScheme::Io => &["I"],
        TagScheme::Iob1 | TagScheme::Iob2 => &["B", "I"],
        TagScheme::Bioes => &["B", "I", "E", "S", "L", "U", "M"],
    };
    let (prefix, _) = tag.split_once('-')?;
    let expected = allowed.join(" ");
    (!allowed.contains(&prefix)).then(|| {
        format!("tag {tag:?} has the prefix {prefix:?}, which the scheme {scheme} lacks; expected one of {expected}")
    })
}

/// Whether `labels` are the tags of a tagging task: all well formed, and at least one with a prefix.
pub fn is_tag_set<S: AsRef<str>>(labels: &[S]) -> bool {
    labels.iter().all(|label| problem(label.as_ref()).is_none())
        && labels.iter().any(|label| label.as_ref() != "O")
}

/// The type that seqeval gives to a tag without one, `O` included.
const NO_TYPE: &str = "_";

/// Prefix letter and type of a tag, split as seqeval does: one letter, then what follows the first hyphen.
fn split(tag: &str) -> (char, &str) {
    let mut rest = tag.chars();
    let Some(letter) = rest.next() else { return ('O', NO_TYPE) };
    let rest = rest.as_str();
    let label = rest.split_once('-').map_or(rest, |(_, label)| label);
    (letter, if label.is_empty() { NO_TYPE } else { label })
}

fn ends(previous: (char, &str), current: (char, &str)) -> bool {
    match (previous.0, current.0) {
        ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O') => true,
        ('O' | '.', _) => false,
        _ => previous.1 != current.1,
    }
}

fn starts(previous: (char, &str), current: (char, &str)) -> bool {
    match (previous.0, current.0) {
        (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I') => true,
        (_, 'O' | '.') => false,
        _ => previous.1 != current.1,
    }
}

/// Checks one span against the sentence and the span before it; says whether it touches one of the same type.
fn check_place(
    span: &Span,
    previous: Option<&Span>,
    len: usize,
    scheme: TagScheme,
) -> Result<bool, MetricsError> {
    if span.start >= span.end || span.end > len {
        return Err(MetricsError::SpanOutside { span: span.clone(), len });
    }
    if span.label.is_empty() {
        return Err(MetricsError::EmptyType(span.clone()));
    }
    let Some(previous) = previous else { return Ok(false) };
    if span.start < previous.end {
        return Err(MetricsError::Overlap(previous.clone(), span.clone()));
    }
    let touches = span.start == previous.end && span.label == previous.label;
    if touches && scheme == TagScheme::Io {
        return Err(MetricsError::Touching(previous.clone(), span.clone()));
    }
    Ok(touches)
}

fn letter(scheme: TagScheme, first: bool, last: bool, touches: bool) -> char {
    match (scheme, first, last) {
        (TagScheme::Iob1, true, _) if touches => 'B',
        (TagScheme::Io | TagScheme::Iob1, _, _) => 'I',
        (TagScheme::Bioes, true, true) => 'S',
        (TagScheme::Bioes, false, true) => 'E',
        (TagScheme::Iob2 | TagScheme::Bioes, true, _) => 'B',
        (TagScheme::Iob2 | TagScheme::Bioes, false, _) => 'I',
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    const SCHEMES: [TagScheme; 4] = [TagScheme::Io, TagScheme::Iob1, TagScheme::Iob2, TagScheme::Bioes];

    fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    /// The spans of `line`, each as its type and token range.
    fn read(line: &str) -> String {
        let spans = spans(&words(line), TagScheme::Bioes);
        spans
            .iter()
            .map(|span| format!("{}{}..{}", span.label, span.start, span.end))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Written out by hand from the transition tables of `conlleval.pl` (startOfChunk, endOfChunk).
    #[test]
    fn reads_as_conlleval_does() {
        let cases: [(&str, &str); 17] = [
            ("", ""),
            ("O O", ""),
            ("B-A I-A O", "A0..2"),
            ("I-A I-A O", "A0..2"),
            ("O I-A", "A1..2"),
            ("B-A I-B", "A0..1 B1..2"),
            ("I-A I-B I-A", "A0..1 B1..2 A2..3"),
            ("B-A B-A", "A0..1 A1..2"),
            ("I-A B-A", "A0..1 A1..2"),
            ("B-A I-A E-A", "A0..3"),
            ("E-A", "A0..1"),
            ("E-A E-A", "A0..1 A1..2"),
            ("E-A I-A", "A0..1 A1..2"),
            ("S-A I-A", "A0..1 A1..2"),
            ("B-A S-A", "A0..1 A1..2"),
            ("B-A E-B", "A0..1 B1..2"),
            ("S-A S-A E-A", "A0..1 A1..2 A2..3"),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn keeps_hyphens_in_types() {
        assert_eq!(read("B-per-son I-per-son"), "per-son0..2");
    }

    #[test]
    fn reads_bilou_and_bmes_as_bioes() {
        assert_eq!(read("B-A I-A L-A U-A"), read("B-A I-A E-A S-A"));
        assert_eq!(read("B-A M-A E-A S-A"), read("B-A I-A E-A S-A"));
        assert_eq!(read("U-A U-A"), "A0..1 A1..2");
    }

    #[test]
    fn empty_tag_reads_as_outside() {
        assert_eq!(spans(&["B-A", "", "I-A"], TagScheme::Iob2), [Span::new(0, 1, "A"), Span::new(2, 3, "A")]);
    }

    #[test]
    fn encodes_every_scheme() {
        let given = [Span::new(4, 5, "A"), Span::new(0, 3, "A"), Span::new(3, 4, "B")];
        let expected = [
            "I-A I-A I-A I-B I-A O",
            "I-A I-A I-A I-B I-A O",
            "B-A I-A I-A B-B B-A O",
            "B-A I-A E-A S-B S-A O",
        ];
        for (scheme, line) in SCHEMES.into_iter().zip(expected) {
            assert_eq!(encode(&given, 6, scheme).unwrap(), words(line), "{scheme}");
        }
        let touching = [Span::new(0, 2, "A"), Span::new(2, 4, "A")];
        assert_eq!(encode(&touching, 4, TagScheme::Iob1).unwrap(), words("I-A I-A B-A I-A"));
    }

    #[test]
    fn refuses_spans_that_tags_cannot_hold() {
        let at = |start, end| Span::new(start, end, "A");
        let encode = |spans: &[Span], scheme| encode(spans, 5, scheme).unwrap_err();
        assert_eq!(
            encode(&[at(0, 2), at(2, 3)], TagScheme::Io).to_string(),
            "spans 0..2 and 2..3 of type \"A\" touch, and io tags cannot keep them apart; use iob2"
        );
        assert_eq!(encode(&[at(0, 3), at(2, 4)], TagScheme::Iob2), MetricsError::Overlap(at(0, 3), at(2, 4)));
        assert_eq!(
            encode(&[at(3, 6)], TagScheme::Iob2),
            MetricsError::SpanOutside { span: at(3, 6), len: 5 }
        );
        assert_eq!(
            encode(&[at(2, 2)], TagScheme::Iob2),
            MetricsError::SpanOutside { span: at(2, 2), len: 5 }
        );
        assert_eq!(
            encode(&[Span::new(0, 1, "")], TagScheme::Iob2),
            MetricsError::EmptyType(Span::new(0, 1, ""))
        );
    }

    #[test]
    fn conversion_and_reading_agree() {
        let tags = words("I-A B-A I-A O I-B I-A O B-C");
        let read = spans(&tags, TagScheme::Iob1);
        assert_eq!(read.len(), 5);
        for scheme in [TagScheme::Iob1, TagScheme::Iob2, TagScheme::Bioes] {
            let written = convert(&tags, TagScheme::Iob1, scheme).unwrap();
            assert_eq!(spans(&written, scheme), read, "{scheme}");
            assert_eq!(detect(&[written]), scheme);
        }
    }

    #[test]
    fn detects_by_the_fewer_broken_rules() {
        let scheme = |lines: &[&str]| detect(&lines.iter().map(|line| words(line)).collect::<Vec<_>>());
        assert_eq!(scheme(&["I-A I-A O I-B"]), TagScheme::Io);
        assert_eq!(scheme(&["B-A I-A O", "B-A", "O I-A"]), TagScheme::Iob2);
        assert_eq!(scheme(&["I-A B-A I-A O", "I-B I-B"]), TagScheme::Iob1);
        assert_eq!(scheme(&["B-A O"]), TagScheme::Iob2);
        assert_eq!(scheme(&["O", "B-A U-A"]), TagScheme::Bioes);
        assert_eq!(scheme(&["O O", ""]), TagScheme::Iob2);
    }

    #[test]
    fn names_what_is_wrong_with_a_tag() {
        for tag in ["O", "B-PER", "I-per-son", "U-地点"] {
            assert_eq!(problem(tag), None, "{tag}");
        }
        for tag in ["", "B", "B-", "B- ", "X-PER", "b-PER", "PER", "o", "-PER", "BI-PER"] {
            assert!(problem(tag).unwrap().contains(&format!("{tag:?}")), "{tag}");
        }
    }

    #[test]
    fn tells_tags_from_classes() {
        assert!(is_tag_set(&["O", "B-A", "I-A"]));
        assert!(!is_tag_set(&["O"]));
        assert!(!is_tag_set::<&str>(&[]));
        assert!(!is_tag_set(&["O", "B-A", "positive"]));
    }

    #[test]
    fn scheme_names_round_trip() {
        for scheme in SCHEMES {
            assert_eq!(scheme.to_string().parse::<TagScheme>().unwrap(), scheme);
        }
        assert!("biox".parse::<TagScheme>().unwrap_err().to_string().contains("io, iob1, iob2, bioes"));
    }
}
