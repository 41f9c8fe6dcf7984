//! Word vectors from text files, for the tokens of a tokenizer.
//!
//! A line holds a word and its numbers. word2vec and fastText (`.vec`) write the number of words and the width ahead of
//! them, GloVe does not; both are read, also in `.gz` and in `.zip` (`glove.6B.zip!/glove.6B.100d.txt`, or the archive
//! alone where it holds one file). The file is read line by line and only what is wanted is kept, so its size does not
//! matter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::{Problems, io};
use crate::read::place::Place;
use crate::read::source::{place_of, with_reader};
use crate::{DataError, Tokenizer, TokenizerKind};

/// A file of word vectors, whose first line has been read.
#[derive(Debug)]
pub struct WordVectors {
    path: PathBuf,
    place: Place,
    width: usize,
    /// How many words the first line promises; where it does not, it is a word's already.
    promised: Option<usize>,
}

/// The vectors found for the tokens of a tokenizer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenVectors {
    /// By token id; each is as wide as the file's.
    pub rows: BTreeMap<u32, Vec<f32>>,
    /// How many of them differ from the file's word by case.
    pub n_by_case: usize,
    /// How many words the file holds.
    pub n_words: usize,
}

impl WordVectors {
    /// Opens a file and reads its first line.
    ///
    /// # Errors
    /// If the file is missing, or its first line is neither `number width` nor a word and numbers.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let place = place_of(path)?;
        let (line, first) = with_reader(path, &place, |file, _| {
            let mut lines = Lines::of(path, file);
            let first = lines.next()?.unwrap_or_default();
            Ok((lines.number, first))
        })?;
        let fields: Vec<&str> = first.split([' ', '\t']).collect();
        let header = match fields[..] {
            [n_words, width] => n_words.parse().ok().zip(width.parse().ok()),
            _ => None,
        };
        let (promised, width) = match header {
            Some((n_words, width)) => (Some(n_words), width),
            None => (None, fields.len() - 1),
        };
        let is_word = promised.is_some() || fields[1..].iter().all(|field| field.parse::<f32>().is_ok());
        if width == 0 || !is_word {
            let expected = "expected `words width`, or a word and its numbers; a binary file has to be written as text \
                            first (gensim: save_word2vec_format)";
            return Err(Problems::only(path, line, expected));
        }
        Ok(Self { path: path.to_owned(), place, width, promised })
    }

    /// How many numbers a vector has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Reads the vectors of a tokenizer's tokens.
    ///
    /// A token takes the vector of the first of these that the file has: itself; its text without the marks of pieces
    /// (`##ing`, `▁boat` and `Ġboat` are `ing` and `boat`); that in lower case; the file's first word that differs from it
    /// only by case. Of a word that stands twice the first vector counts.
    ///
    /// # Errors
    /// Every line without the right number of numbers, and a file that ends before all promised words.
    pub fn for_tokens(&self, tokenizer: &Tokenizer) -> Result<TokenVectors, DataError> {
        with_reader(&self.path, &self.place, |file, _| self.find(tokenizer, Lines::of(&self.path, file)))
    }

    fn find(&self, tokenizer: &Tokenizer, mut lines: Lines<'_>) -> Result<TokenVectors, DataError> {
        if self.promised.is_some() {
            lines.next()?;
        }
        let tokens: Vec<(u32, Vec<String>)> = (0..tokenizer.vocab_size() as u32)
            .filter_map(|id| Some((id, names(tokenizer, id, tokenizer.token(id)?))))
            .collect();
        let wanted: HashSet<&str> = tokens.iter().flat_map(|(_, names)| names).map(String::as_str).collect();
        // The last name is the one in lower case.
        let folded: HashSet<&str> =
            tokens.iter().filter_map(|(_, names)| names.last()).map(String::as_str).collect();
        let mut exact: HashMap<String, Vec<f32>> = HashMap::new();
        let mut by_case: HashMap<String, Vec<f32>> = HashMap::new();
        let mut problems = Problems::new(&self.path);
        let mut n_words = 0;
        while let Some(line) = lines.next()? {
            n_words += 1;
            let Some((word, numbers)) = split(&line, self.width) else {
                let message = format!("expected a word and {} numbers", self.width);
                problems.at(lines.number, message);
                continue;
            };
            let lower = word.to_lowercase();
            let (is_wanted, is_folded) = (wanted.contains(word), folded.contains(lower.as_str()));
            if !is_wanted && !is_folded {
                continue;
            }
            let vector: Option<Vec<f32>> =
                numbers.map(|number| number.parse().ok().filter(|number: &f32| number.is_finite())).collect();
            let Some(vector) = vector else {
                problems.at(lines.number, format!("`{word}`: expected {} finite numbers", self.width));
                continue;
            };
            if is_folded {
                by_case.entry(lower).or_insert_with(|| vector.clone());
            }
            if is_wanted {
                exact.entry(word.to_owned()).or_insert(vector);
            }
        }
        if let Some(promised) = self.promised.filter(|&promised| promised != n_words) {
            let message =
                format!("the first line says {promised} words, the file has {n_words}; it was cut off?");
            problems.at(0, message);
        }
        let mut found = TokenVectors { n_words, ..TokenVectors::default() };
        for (id, names) in &tokens {
            let (lower, as_written) = match names.split_last() {
                Some(split) => split,
                None => continue,
            };
            let same_case = as_written.iter().find_map(|name| exact.get(name));
            let row = same_case.or_else(|| exact.get(lower)).or_else(|| by_case.get(lower));
            if let Some(row) = row {
                found.n_by_case += usize::from(same_case.is_none());
                found.rows.insert(*id, row.clone());
            }
        }
        problems.finish(found)
    }
}

/// Lines that are not blank, numbered. What is not UTF-8 becomes `U+FFFD`, which no token has.
struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<&'a mut dyn Read>,
    /// The number of the line read last.
    number: usize,
}

impl<'a> Lines<'a> {
    fn of(path: &'a Path, file: &'a mut dyn Read) -> Self {
        Self { path, reader: BufReader::new(file), number: 0 }
    }

    fn next(&mut self) -> Result<Option<String>, DataError> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            self.number += 1;
            let n_bytes =
                self.reader.read_until(b'\n', &mut bytes).map_err(|error| io("read", self.path, error))?;
            if n_bytes == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end();
            if !line.is_empty() {
                return Ok(Some(line.to_owned()));
            }
        }
    }
}

/// Word and numbers. From the right, for there are files with blanks in words.
fn split(line: &str, width: usize) -> Option<(&str, impl Iterator<Item = &str>)> {
    let blank = [' ', '\t'];
    let (at, _) = line.rmatch_indices(blank).nth(width - 1)?;
    Some((&line[..at], line[at + 1..].split(blank)))
}

/// What a token may be called in a file: itself, without marks, and last of all in lower case.
fn names(tokenizer: &Tokenizer, id: u32, token: String) -> Vec<String> {
    let text = tokenizer.decode(&[id]).unwrap_or_default();
    let is_piece = tokenizer.kind() == TokenizerKind::WordPiece;
    let bare = if is_piece { text.strip_prefix("##").unwrap_or(&text) } else { &text }.trim();
    let bare = if bare.is_empty() || bare.contains('\u{FFFD}') { None } else { Some(bare.to_owned()) };
    let lower = bare.as_ref().unwrap_or(&token).to_lowercase();
    [Some(token), bare, Some(lower)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{TokenizerConfig, UnicodeForm};

    const TEXTS: [&str; 2] =
        ["boat boats Paris paris sees the seas", "boat boats Paris Parisian Parisians paris sees the seas"];

    fn tokenizer(kind: TokenizerKind) -> Tokenizer {
        let config =
            TokenizerConfig { kind, vocab_size: 300, unicode: UnicodeForm::Nfkc, ..Default::default() };
        Tokenizer::train_with(&config, TEXTS).expect("trains")
    }

    fn read(name: &str, bytes: &[u8], tokenizer: &Tokenizer) -> Result<TokenVectors, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("write");
        let folder = dir.path().display().to_string() + "/";
        let found = WordVectors::open(&path).and_then(|file| file.for_tokens(tokenizer));
        found.map_err(|error| error.to_string().replace(&folder, ""))
    }

    #[test]
    fn all_formats_give_the_same_rows() {
        let glove = "the 0.5 -1 2e-1\nboat 1 2 3\n. . . 7 8 9\nboat 4 4 4\n";
        let tokenizer = tokenizer(TokenizerKind::Word);
        let found = read("glove.txt", glove.as_bytes(), &tokenizer).expect("reads");
        let id = |token| tokenizer.id(token).expect("known");
        assert_eq!(found.rows, [(id("the"), vec![0.5, -1.0, 0.2]), (id("boat"), vec![1.0, 2.0, 3.0])].into());
        let word2vec = format!("4 3\r\n{}", glove.replace('\n', " \r\n").replace(". . .", "a\u{e9}"));
        assert_eq!(read("a.vec", word2vec.as_bytes(), &tokenizer).as_ref(), Ok(&found));
        let tabs = glove.replace(' ', "\t");
        assert_eq!(read("a.tsv", tabs.as_bytes(), &tokenizer).as_ref(), Ok(&found));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(glove.as_bytes()).expect("pack");
        assert_eq!(read("a.txt.gz", &packed.finish().expect("pack"), &tokenizer).as_ref(), Ok(&found));
        let zip = |members: &[&str]| {
            let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
            for member in members {
                archive.start_file(*member, zip::write::SimpleFileOptions::default()).expect("member");
                archive.write_all(glove.as_bytes()).expect("member");
            }
            archive.finish().expect("archive").into_inner()
        };
        assert_eq!(read("a.zip", &zip(&["a.txt"]), &tokenizer).as_ref(), Ok(&found));
        let error = read("a.zip", &zip(&["50.txt", "100.txt"]), &tokenizer).expect_err("which?");
        assert_eq!(error, "a.zip: the archive holds 50.txt, 100.txt; say which is meant: `a.zip!/50.txt`");
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::write(dir.path().join("a.zip"), zip(&["50.txt", "100.txt"])).expect("write");
        let member = WordVectors::open(&dir.path().join("a.zip!/100.txt"));
        assert_eq!(member.and_then(|file| file.for_tokens(&tokenizer)).ok().as_ref(), Some(&found));
        // A word in another encoding is no token's.
        let odd = [glove.as_bytes(), b"\xe4\xf6 1 2 3\n"].concat();
        assert_eq!(read("a.txt", &odd, &tokenizer).map(|found| found.rows), Ok(found.rows));
    }

    #[test]
    fn marks_and_case_are_looked_through() {
        for kind in
            [TokenizerKind::WordPiece, TokenizerKind::Bpe, TokenizerKind::Unigram, TokenizerKind::Word]
        {
            let tokenizer = tokenizer(kind);
            let id = tokenizer.encode(" Paris").expect("encodes").ids;
            let [id] = id[..] else { panic!("{kind}: {id:?}") };
            let row = |file: &str| {
                let found = read("a.txt", file.as_bytes(), &tokenizer).expect("reads");
                (found.rows.get(&id).map(|row| row[0]), found.n_by_case > 0)
            };
            assert_eq!(row("paris 1 0\nPARIS 2 0\nParis 3 0\n"), (Some(3.0), false), "{kind}");
            assert_eq!(row("PARIS 2 0\nparis 1 0\n"), (Some(1.0), true), "{kind}");
            assert_eq!(row("PARIS 2 0\npAris 1 0\n"), (Some(2.0), true), "{kind}");
        }
        let pieces = tokenizer(TokenizerKind::WordPiece);
        let found = read("a.txt", b"s 1 0\n##s 2 0\n", &pieces).expect("reads");
        let id = |token| pieces.id(token).expect("known");
        assert_eq!((found.rows[&id("s")][0], found.rows[&id("##s")][0]), (1.0, 2.0));
        let found = read("a.txt", b"s 1 0\n", &pieces).expect("reads");
        assert_eq!(found.rows[&id("##s")][0], 1.0);
    }

    #[test]
    fn wrong_lines_are_listed_with_their_number() {
        let tokenizer = tokenizer(TokenizerKind::Word);
        let error = |name: &str, text: &str| read(name, text.as_bytes(), &tokenizer).expect_err("wrong");
        assert_eq!(
            error("a.txt", "a 1 2\n\nboat 1 x\nthe 1\nsees 1 nan\n"),
            "a.txt: 3 problems\n  a.txt:3: `boat`: expected 2 finite numbers\n  a.txt:4: expected a word and 2 numbers\n  \
             a.txt:5: `sees`: expected 2 finite numbers"
        );
        assert!(error("a.vec", "3 2\na 1 2\n").contains("the first line says 3 words, the file has 1"));
        assert!(
            error("a.vec", "3 2\na 1\nb 1 2\nc 1 2\n").contains("a.vec:2: expected a word and 2 numbers")
        );
        for text in ["", "word\n", "a b c\n", "\u{0}\u{1}\n"] {
            assert!(error("a.txt", text).starts_with("a.txt:1: expected `words width`"), "{text}");
        }
    }
}
