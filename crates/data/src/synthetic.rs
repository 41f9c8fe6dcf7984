//! Made-up sequences that exercise an encoder–decoder: copy and reverse. Every example is a function of seed and number.

use serde::{Deserialize, Serialize};

use crate::{DataError, Pair, random};

/// What the target is made from the source by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// The same letters.
    Copy,
    /// The letters from last to first.
    Reverse,
}

/// Which sequences to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Synthetic {
    /// Copy or reverse.
    pub task: Task,
    /// Shortest source in letters.
    pub min_len: usize,
    /// Longest source in letters.
    pub max_len: usize,
    /// How many different letters are used, at most 26.
    pub letters: usize,
    /// Decides every example.
    pub seed: u64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self { task: Task::Copy, min_len: 3, max_len: 12, letters: 26, seed: 1 }
    }
}

/// `count` examples from number `first` on; letters are separated by spaces, so that each is one word.
///
/// Disjoint number ranges give the parts of a set. Short sequences may repeat across them.
///
/// # Errors
/// If lengths are 0 or reversed, or `letters` is not in 1..=26.
pub fn pairs(config: &Synthetic, first: usize, count: usize) -> Result<Vec<Pair>, DataError> {
    let Synthetic { task, min_len, max_len, letters, seed } = *config;
    if min_len == 0 || max_len < min_len || !(1..=26).contains(&letters) {
        return Err(DataError::Argument(format!(
            "expected 1 <= min_len <= max_len and 1 <= letters <= 26, \
             found min_len = {min_len}, max_len = {max_len}, letters = {letters}"
        )));
    }
    let example = |number: usize| {
        let stream = random::derive(seed, number as u64);
        let len = min_len + random::below(stream, 0, max_len - min_len + 1);
        let mut letters: Vec<String> = (1..=len as u64)
            .map(|at| char::from(b'a' + random::below(stream, at, letters) as u8).to_string())
            .collect();
        let source = letters.join(" ");
        if task == Task::Reverse {
            letters.reverse();
        }
        Pair { source, target: letters.join(" "), line: number + 1 }
    };
    Ok((first..first + count).map(example).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverses_and_copies() {
        let reverse = Synthetic { task: Task::Reverse, ..Synthetic::default() };
        for Pair { source, target, .. } in pairs(&reverse, 0, 50).expect("valid") {
            assert_eq!(source.chars().rev().collect::<String>(), target);
            assert!((3..=12).contains(&source.split(' ').count()));
        }
        let copies = pairs(&Synthetic::default(), 0, 5).expect("valid");
        assert!(copies.iter().all(|pair| pair.source == pair.target));
    }

    #[test]
    fn an_example_depends_on_its_number_only() {
        let config = Synthetic::default();
        assert_eq!(pairs(&config, 0, 9).expect("valid")[4..], pairs(&config, 4, 5).expect("valid"));
        assert_ne!(pairs(&config, 0, 5).expect("valid"), pairs(&config, 5, 5).expect("valid"));
    }

    #[test]
    fn refuses_impossible_sizes() {
        for (min_len, max_len, letters) in [(0, 3, 5), (4, 3, 5), (1, 3, 0), (1, 3, 27)] {
            assert!(pairs(&Synthetic { min_len, max_len, letters, ..Synthetic::default() }, 0, 1).is_err());
        }
    }
}
