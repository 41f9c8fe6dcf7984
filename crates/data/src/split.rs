//! A fixed train/dev/test split for sets without one: an example's part is a function of its text alone.
//!
//! The first 8 bytes of `sha256(text)`, read big-endian and divided by 2^64, place it on [0, 1): the lowest share is
//! test, the next dev, the rest train. So equal texts never part, and adding examples moves no other example. A pair
//! goes by its first text, a translation by its source, a question by its context, candidates by their query.
//! Where these have times, the latest are test, those before dev. A single stream of text is cut in place instead: train first,
//! then dev, then test, at line ends.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{DataError, Examples};

/// The shares of dev and test; the rest is train.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// Share of dev, such as 0.1.
    pub dev: f64,
    /// Share of test.
    pub test: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { dev: 0.1, test: 0.1 }
    }
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// What the model learns from.
    Train,
    /// What choices are made on.
    Dev,
    /// What is read once.
    Test,
}

impl Part {
    /// All three, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Dev, Self::Test];

    /// Its name: `train`, `dev` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
        }
    }

    /// The part that a text falls into.
    pub fn of(text: &str, shares: Shares) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let head = digest.iter().take(8).fold(0_u64, |acc, &byte| (acc << 8) | u64::from(byte));
        let place = head as f64 / 2_f64.powi(64);
        if place < shares.test {
            Self::Test
        } else if place < shares.test + shares.dev {
            Self::Dev
        } else {
            Self::Train
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Splits examples by the hash of their text; a single document is cut in place.
///
/// # Errors
/// If the shares are negative or leave nothing for train.
pub fn split(examples: &Examples, shares: Shares) -> Result<BTreeMap<Part, Examples>, DataError> {
    if !(shares.dev >= 0.0 && shares.test >= 0.0 && shares.dev + shares.test < 1.0) {
        return Err(DataError::Argument(format!(
            "the shares of dev and test must be at least 0 and together below 1, found {} and {}",
            shares.dev, shares.test
        )));
    }
    if let Examples::Text(documents) = examples
        && let [document] = documents.as_slice()
    {
        return Ok(cut_stream(document, shares));
    }
    if let Examples::Ranked(list) = examples
        && let Some(times) = list.iter().map(|ranking| ranking.time).collect::<Option<Vec<i64>>>()
    {
        return Ok(cut_by_time(examples, &times, shares));
    }
    let keys = keys(examples);
    let mut places: BTreeMap<Part, Vec<usize>> = Part::ALL.map(|part| (part, Vec::new())).into();
    for (at, key) in keys.iter().enumerate() {
        places.entry(Part::of(key, shares)).or_default().push(at);
    }
    Ok(places.into_iter().map(|(part, keep)| (part, examples.select(&keep))).collect())
}

/// The text that decides each example's part.
fn keys(examples: &Examples) -> Vec<String> {
    match examples {
        Examples::Tagged(list) => list.iter().map(|example| example.words.join(" ")).collect(),
        Examples::Spans(list) => list.iter().map(|example| example.words.join(" ")).collect(),
        Examples::Labelled(list) => list.iter().map(|example| example.text.clone()).collect(),
        Examples::MultiLabelled(list) => list.iter().map(|example| example.text.clone()).collect(),
        Examples::Scored(list) => list.iter().map(|example| example.text.clone()).collect(),
        Examples::Text(list) => list.clone(),
        // Questions about one context stay together.
        Examples::Qa(list) => list.iter().map(|question| question.context.to_string()).collect(),
        Examples::Pairs(list) => list.iter().map(|example| example.source.clone()).collect(),
        Examples::Ranked(list) => list.iter().map(|ranking| ranking.query.clone()).collect(),
    }
}

/// Of examples at the same time the first come first.
fn cut_by_time(examples: &Examples, times: &[i64], shares: Shares) -> BTreeMap<Part, Examples> {
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by_key(|&at| times[at]);
    let place = |share: f64| (times.len() as f64 * share) as usize;
    let dev = place(1.0 - shares.dev - shares.test);
    let test = if shares.test > 0.0 { place(1.0 - shares.test).max(dev) } else { times.len() };
    let parts = [(Part::Train, &order[..dev]), (Part::Dev, &order[dev..test]), (Part::Test, &order[test..])];
    parts.into_iter().map(|(part, keep)| (part, examples.select(keep))).collect()
}

fn cut_stream(document: &str, shares: Shares) -> BTreeMap<Part, Examples> {
    let line_end_after = |share: f64| {
        let at = (document.len() as f64 * share) as usize;
        let tail = document.as_bytes().get(at..).unwrap_or_default();
        tail.iter().position(|&byte| byte == b'\n').map_or(document.len(), |newline| at + newline + 1)
    };
    let dev = line_end_after(1.0 - shares.dev - shares.test);
    let test = if shares.test > 0.0 { line_end_after(1.0 - shares.test).max(dev) } else { document.len() };
    let part = |range: std::ops::Range<usize>| {
        let text = &document[range];
        Examples::Text(if text.is_empty() { Vec::new() } else { vec![text.to_owned()] })
    };
    BTreeMap::from([
        (Part::Train, part(0..dev)),
        (Part::Dev, part(dev..test)),
        (Part::Test, part(test..document.len())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Labelled;

    #[test]
    fn the_place_of_a_text_is_its_sha256() {
        // sha256("abc") starts with ba7816bf, which is 0.7284 of the whole.
        assert_eq!(Part::of("abc", Shares { dev: 0.0, test: 0.72 }), Part::Train);
        assert_eq!(Part::of("abc", Shares { dev: 0.0, test: 0.73 }), Part::Test);
        assert_eq!(Part::of("abc", Shares { dev: 0.02, test: 0.72 }), Part::Dev);
    }

    #[test]
    fn equal_texts_stay_together_and_nothing_is_lost() {
        let list: Vec<Labelled> = (0..500)
            .map(|n| Labelled { text: format!("text {}", n / 2), pair: None, label: "a".into(), line: n })
            .collect();
        let parts = split(&Examples::Labelled(list), Shares::default()).expect("valid shares");
        let sizes: Vec<usize> = parts.values().map(Examples::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 500);
        assert!(sizes.iter().all(|size| size % 2 == 0), "{sizes:?}");
        assert!((30..80).contains(&sizes[1]) && (30..80).contains(&sizes[2]), "{sizes:?}");
    }

    #[test]
    fn a_stream_is_cut_at_line_ends() {
        let text = "春眠不觉晓\n".repeat(40);
        let parts = split(&Examples::Text(vec![text.clone()]), Shares::default()).expect("valid shares");
        let texts: Vec<String> = parts.values().map(|part| part.texts().concat()).collect();
        assert_eq!(texts.concat(), text);
        assert!(texts.iter().all(|part| !part.is_empty() && part.ends_with('\n')));
        let lens: Vec<usize> = texts.iter().map(|part| part.lines().count()).collect();
        assert!(lens[0] >= 32 && lens[0] <= 33, "{lens:?}");
    }

    #[test]
    fn refuses_shares_that_leave_no_train() {
        for (dev, test) in [(0.5, 0.5), (-0.1, 0.1), (f64::NAN, 0.1)] {
            assert!(split(&Examples::Text(Vec::new()), Shares { dev, test }).is_err());
        }
    }
}
