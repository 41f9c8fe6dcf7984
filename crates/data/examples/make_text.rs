//! Writes any number of bytes of made-up English-looking text, the same for the same seed:
//!
//! ```text
//! cargo run --release -p locus-data --example make_text -- FILE BYTES[K|M|G] [SEED]
//! ```
//!
//! Thirty thousand words whose frequencies fall as 1/rank (Zipf), in sentences and paragraphs; blank lines part paragraphs.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use locus_data::random::Draws;

const N_WORDS: usize = 30_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (path, size, seed) = match &args[..] {
        [path, size] => (path, bytes(size)?, 1),
        [path, size, seed] => (path, bytes(size)?, seed.parse()?),
        _ => return Err("expected FILE BYTES[K|M|G] [SEED]".into()),
    };
    let mut draws = Draws::new(seed);
    let words: Vec<String> = (0..N_WORDS).map(|_| word(&mut draws)).collect();
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut left = size;
    while left > 0 {
        let mut text = paragraph(&words, &mut draws);
        text.truncate(usize::try_from(left).unwrap_or(usize::MAX).min(text.len()));
        file.write_all(text.as_bytes())?;
        left -= text.len() as u64;
    }
    file.flush()?;
    Ok(())
}

fn bytes(text: &str) -> Result<u64, Box<dyn Error>> {
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'K')) => (&text[..at], 1 << 10),
        Some((at, 'M')) => (&text[..at], 1 << 20),
        Some((at, 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    Ok(number.parse::<u64>()? * factor)
}

/// One to four syllables.
fn word(draws: &mut Draws) -> String {
    const STARTS: [&str; 17] =
        ["b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "st", "tr", "w", ""];
    const MIDDLES: [&str; 7] = ["a", "e", "i", "o", "u", "ea", "ou"];
    const ENDS: [&str; 7] = ["", "", "n", "r", "s", "t", "nd"];
    let mut text = String::new();
    for _ in 0..1 + draws.weighted(&[0.3, 0.4, 0.2, 0.1]) {
        text += STARTS[draws.below(STARTS.len())];
        text += MIDDLES[draws.below(MIDDLES.len())];
        text += ENDS[draws.below(ENDS.len())];
    }
    text
}

/// Three to nine sentences, and a blank line.
fn paragraph(words: &[String], draws: &mut Draws) -> String {
    let mut text = String::new();
    for sentence in 0..3 + draws.below(7) {
        if sentence > 0 {
            text.push(' ');
        }
        for place in 0..4 + draws.below(20) {
            // The logarithm of the rank is uniform, so frequencies fall as 1/rank.
            let rank = (words.len() as f64).powf(draws.uniform()) as usize - 1;
            let word = &words[rank];
            if place == 0 {
                text.extend(word.chars().next().map(|first| first.to_ascii_uppercase()));
                text += &word[1..];
            } else {
                text += if draws.chance(0.07) { ", " } else { " " };
                text += word;
            }
        }
        text.push('.');
    }
    text + "\n\n"
}
