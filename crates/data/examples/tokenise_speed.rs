//! How fast a text file becomes a corpus, beside the `tokenizers` crate alone, and how much memory it takes:
//!
//! ```text
//! cargo run --release -p locus-data --example tokenise_speed -- FILE DIR [TOKENIZER]
//! ```
//!
//! Without a tokenizer, byte-level BPE of 8 000 pieces is trained on the first two MiB. `DIR` gets the corpus and must not be
//! there. "Alone" is `encode_batch_fast` over the same pieces of text, reading not counted.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use locus_data::corpus::{Corpus, CorpusBuilder, CorpusRows};
use locus_data::{Tokenizer, TokenizerKind};

/// What the builder takes at once.
const PIECE: usize = 64 << 10;
const CHUNK: usize = 8 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (file, dir, tokenizer) = match &args[..] {
        [file, dir] => (file, dir, train(file)?),
        [file, dir, tokenizer] => (file, dir, Tokenizer::from_file(tokenizer)?),
        _ => return Err("expected FILE DIR [TOKENIZER]".into()),
    };
    if dir.exists() {
        return Err(format!("{} is there already", dir.display()).into());
    }
    let mib = fs::metadata(file)?.len() as f64 / f64::from(1 << 20);
    say(&format!("{mib:.0} MiB; {}", tokenizer.summary()))?;

    let start = Instant::now();
    let built = CorpusBuilder::new(&tokenizer, dir).build(std::slice::from_ref(file), &mut |_| ())?;
    let n_tokens = built.corpus.n_tokens();
    report("corpus, read and written", n_tokens, mib, start.elapsed())?;

    rows(built.corpus)?;

    let (n_tokens, elapsed) = alone(&tokenizer, file)?;
    report("tokenizers alone", n_tokens, mib, elapsed)
}

fn train(file: &Path) -> Result<Tokenizer, Box<dyn Error>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(2 << 20).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(Tokenizer::train(TokenizerKind::Bpe, 8000, false, text.lines())?)
}

/// All rows of one shuffled epoch.
fn rows(corpus: Corpus) -> Result<(), Box<dyn Error>> {
    let rows = CorpusRows::new(Arc::new(corpus), 512, 1)?;
    let start = Instant::now();
    let mut n_tokens = 0;
    for place in 0..rows.n_rows() {
        n_tokens += rows.row(rows.number(0, place))?.ids.len() as u64;
    }
    report("rows of 512 in random order", n_tokens, 0.0, start.elapsed())
}

/// The `tokenizers` crate on pieces of the file that end at line ends.
fn alone(tokenizer: &Tokenizer, file: &Path) -> Result<(u64, Duration), Box<dyn Error>> {
    let raw = tokenizers::Tokenizer::from_bytes(tokenizer.to_json()?.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut file = BufReader::new(File::open(file)?);
    let (mut n_tokens, mut elapsed) = (0, Duration::ZERO);
    loop {
        let pieces = pieces(&mut file)?;
        if pieces.is_empty() {
            return Ok((n_tokens, elapsed));
        }
        let start = Instant::now();
        let encodings = raw.encode_batch_fast(pieces, false).map_err(|error| error.to_string())?;
        elapsed += start.elapsed();
        n_tokens += encodings.iter().map(|encoding| encoding.get_ids().len() as u64).sum::<u64>();
    }
}

fn pieces(file: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let (mut pieces, mut n_bytes) = (Vec::new(), 0);
    while n_bytes < CHUNK {
        let mut piece = String::new();
        while piece.len() < PIECE && file.read_line(&mut piece)? > 0 {}
        if piece.is_empty() {
            break;
        }
        n_bytes += piece.len();
        pieces.push(piece);
    }
    Ok(pieces)
}

fn report(what: &str, n_tokens: u64, mib: f64, elapsed: Duration) -> Result<(), Box<dyn Error>> {
    let secs = elapsed.as_secs_f64();
    let speed = if mib > 0.0 { format!(", {:.2} MiB/s", mib / secs) } else { String::new() };
    let per_sec = n_tokens as f64 / secs;
    say(&format!("{what}: {n_tokens} tokens, {secs:.1} s, {per_sec:.0} tokens/s{speed}{}", memory()))
}

/// What the process has and had at most, where the system says so.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    match (value("VmRSS:"), value("VmHWM:")) {
        (Some(now), Some(most)) => format!("; resident {} MiB, at most {} MiB", now >> 10, most >> 10),
        _ => String::new(),
    }
}

fn say(line: &str) -> Result<(), Box<dyn Error>> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
