//! The lines of a file or of the standard input, in groups.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, bail};

/// Lines are answered in groups, so that a long input needs little memory.
const LINES: usize = 256;

/// The lines of an input.
pub(super) struct Lines<'a, R> {
    reader: BufReader<R>,
    /// The name of the input, as errors have it.
    pub(super) origin: &'a str,
    number: usize,
}

impl<'a> Lines<'a, Box<dyn Read>> {
    /// Opens a file; - for the standard input.
    pub(super) fn open(origin: &'a str) -> anyhow::Result<Self> {
        let input: Box<dyn Read> = match origin {
            "-" => Box::new(std::io::stdin()),
            path => Box::new(std::fs::File::open(path).with_context(|| format!("cannot read {path}"))?),
        };
        Ok(Self { reader: BufReader::new(input), origin, number: 0 })
    }
}

impl<R: Read> Lines<'_, R> {
    /// The next lines without their ends, as many answers as which are due.
    pub(super) fn next_group(&mut self) -> anyhow::Result<Vec<String>> {
        let mut group = Vec::new();
        // What has been read is answered at once, so that a person or a program at the other end need not wait.
        while group.len() < LINES && (group.is_empty() || !self.reader.buffer().is_empty()) {
            let mut bytes = Vec::new();
            if self
                .reader
                .read_until(b'\n', &mut bytes)
                .with_context(|| format!("cannot read {}", self.origin))?
                == 0
            {
                break;
            }
            self.number += 1;
            let line = String::from_utf8(bytes).map_err(|error| {
                let byte = error.utf8_error().valid_up_to() + 1;
                anyhow::anyhow!(
                    "{}:{}: byte {byte} of the line is not UTF-8; convert the file to UTF-8",
                    self.origin,
                    self.number
                )
            })?;
            let line = if self.number == 1 { line.trim_start_matches('\u{FEFF}') } else { &line };
            group.push(line.trim_end_matches(['\n', '\r']).to_owned());
        }
        Ok(group)
    }

    /// The number of the first line of the last group.
    pub(super) fn first_of(&self, group: &[String]) -> usize {
        self.number + 1 - group.len()
    }

    /// The lines of the last group with their numbers, as errors name them.
    pub(super) fn numbered<'t>(&self, group: &'t [String]) -> impl Iterator<Item = (String, &'t String)> {
        let first = self.first_of(group);
        let origin = self.origin.to_owned();
        (first..).zip(group).map(move |(number, line)| (format!("{origin}:{number}"), line))
    }

    /// The two texts of each line of the last group.
    pub(super) fn in_pairs<'a>(&self, group: &'a [String]) -> anyhow::Result<Vec<(&'a str, &'a str)>> {
        let first = self.first_of(group);
        let pair = |(number, line): (usize, &'a String)| match line.split_once('\t') {
            Some((text, pair)) if !pair.contains('\t') => Ok((text, pair)),
            _ => bail!(
                "{}:{number}: expected two texts with a tab between, found {} tabs",
                self.origin,
                line.matches('\t').count()
            ),
        };
        (first..).zip(group).map(pair).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    /// All lines of an input that gives at most `n_bytes` at a time.
    fn lines(input: &[u8], n_bytes: usize) -> anyhow::Result<Vec<String>> {
        let reader = BufReader::with_capacity(n_bytes, input);
        let mut lines = Lines { reader, origin: "in.txt", number: 0 };
        let mut all = Vec::new();
        loop {
            let group = lines.next_group()?;
            assert!(group.len() <= LINES);
            if group.is_empty() {
                return Ok(all);
            }
            all.extend(group);
        }
    }

    #[test]
    fn pairs_are_parted_and_what_is_none_is_named_with_its_line() {
        let group = |text: &str, number| {
            let lines = Lines { reader: BufReader::new(&b""[..]), origin: "in.txt", number };
            let group: Vec<String> = text.lines().map(str::to_owned).collect();
            lines
                .in_pairs(&group)
                .map(|pairs| pairs.iter().map(|(a, b)| format!("{a}|{b}")).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        assert_eq!(group("a\tb\n\tc\nd\t", 3), Ok(vec!["a|b".into(), "|c".into(), "d|".into()]));
        let said =
            |line, n| Err(format!("in.txt:{line}: expected two texts with a tab between, found {n} tabs"));
        assert_eq!(group("a\tb\nc", 600), said(600, 0));
        assert_eq!(group("a\tb\tc\nd\te", 600), said(599, 2));
    }

    #[test]
    fn every_line_is_read_once_and_in_order() {
        let many: Vec<String> =
            (0..3 * LINES + 7).map(|n| if n % 5 == 0 { String::new() } else { n.to_string() }).collect();
        let long = "x".repeat(100_000);
        for n_bytes in [1, 7, 1 << 16] {
            assert_eq!(lines(many.join("\n").as_bytes(), n_bytes).unwrap(), many);
            let read = |text: &str| lines(text.as_bytes(), n_bytes).unwrap();
            assert_eq!(read(""), [""; 0]);
            assert_eq!(read("\n"), [""]);
            assert_eq!(read("\n\r\n \n"), ["", "", " "]);
            assert_eq!(read("\u{FEFF}a\r\n\r\n\u{FEFF}b"), ["a", "", "\u{FEFF}b"]);
            assert_eq!(read(&format!("a\n{long}\n\nlast")), ["a", &long, "", "last"]);
        }
        let error = lines(b"a\n\nb\xFF\n", 7).unwrap_err().to_string();
        assert!(error.starts_with("in.txt:3: byte 2 of the line is not UTF-8"), "{error}");
    }
}
