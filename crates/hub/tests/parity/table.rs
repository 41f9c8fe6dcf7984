//! The table of what is compared, in docs/checkpoints.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use locus_testkit::assert_part;

use super::case::Case;

/// The largest differences of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Of an output, relative to max(1, |output|).
    pub(crate) outputs: f64,
    /// Of a gradient's norm or products, relative to its norm; none where only a part of the outputs can be compared.
    pub(crate) gradients: Option<f64>,
}

/// The bounds of both.
const BOUNDS: [f64; 2] = [1e-5, 1e-4];

const HEAD: &str =
    "| `model_type` | head | variants | compared | outputs | gradients |\n|---|---|---|---|---|---|";

/// What is compared, by family and head.
#[derive(Default)]
pub(crate) struct Table {
    rows: BTreeMap<(String, String), Row>,
}

#[derive(Default)]
struct Row {
    variants: Vec<String>,
    without_gradients: Vec<String>,
    largest: [f64; 2],
}

impl Table {
    #[allow(clippy::print_stdout, reason = "the figures of each case, with --nocapture")]
    pub(crate) fn add(&mut self, case: &Case, figures: Figures) {
        let Figures { outputs, gradients } = figures;
        println!("{:<45} outputs {outputs:.1e} gradients {:.1e}", case.name, gradients.unwrap_or(f64::NAN));
        let key = (case.model_type().to_owned(), case.head.replace('_', " "));
        let row = self.rows.entry(key).or_default();
        let variant = case.variant.replace('_', " ");
        let variant = if variant.is_empty() { "plain".to_owned() } else { variant };
        if gradients.is_none() {
            row.without_gradients.push(variant.clone());
        }
        row.variants.push(variant);
        for (largest, found) in row.largest.iter_mut().zip([Some(outputs), gradients]) {
            *largest = largest.max(found.unwrap_or(0.0));
        }
    }

    /// Checks that the page has these rows, and figures within their bounds: their last digits are those of a processor. With
    /// `LOCUS_WRITE_PAGES` it gets those of this one.
    pub(crate) fn check_page(&self) {
        let rows = self.rows.iter().map(|((family, head), row)| {
            let [outputs, gradients] = row.largest;
            let but = match row.without_gradients.as_slice() {
                [] => String::new(),
                names => format!(" (not of {})", names.join(" and ")),
            };
            let variants = row.variants.join(", ");
            format!(
                "| `{family}` | {head} | {variants} | outputs, gradients{but}, way back | {outputs:.1e} | {gradients:.1e} |"
            )
        });
        let want = format!("{HEAD}\n{}\n", rows.collect::<Vec<_>>().join("\n"));
        if std::env::var_os("LOCUS_WRITE_PAGES").is_some() {
            return assert_part(page(), "checkpoints", &want);
        }
        let text = std::fs::read_to_string(page()).unwrap();
        let (_, part) = text.split_once("<!-- checkpoints -->").unwrap();
        let (part, _) = part.split_once("<!-- end -->").unwrap();
        let problem = difference(part, &want);
        assert!(
            problem.is_none(),
            "docs/checkpoints.md: {}; set LOCUS_WRITE_PAGES=1 to write it",
            problem.unwrap_or_default()
        );
    }
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checkpoints.md")
}

/// What tells two tables apart beside the digits of figures within their bounds.
fn difference(found: &str, want: &str) -> Option<String> {
    let lines = |text: &str| -> Vec<(String, Vec<String>)> {
        let split = |line: &str| {
            let cells: Vec<String> =
                line.trim().trim_matches('|').split('|').map(|x| x.trim().to_owned()).collect();
            let (names, figures) = cells.split_at(cells.len().min(4));
            (names.join("|"), figures.to_vec())
        };
        text.trim().lines().map(split).collect()
    };
    let (found, want) = (lines(found), lines(want));
    if found.len() != want.len() {
        return Some(format!("{} rows, expected {}", found.len(), want.len()));
    }
    for (idx, ((names, figures), (want, _))) in found.iter().zip(&want).enumerate() {
        if names != want {
            return Some(format!("a row of {names}, expected {want}"));
        }
        let within = |(figure, bound): (&String, &f64)| {
            figure.parse::<f64>().is_ok_and(|x| (0.0..=*bound).contains(&x))
        };
        let all_within = figures.len() == BOUNDS.len() && figures.iter().zip(&BOUNDS).all(within);
        // Before the rows come two lines of the table's head.
        if idx > 1 && !all_within {
            return Some(format!("{names} with {figures:?}, expected numbers within {BOUNDS:?}"));
        }
    }
    None
}

#[test]
fn a_table_may_differ_in_figures_only() {
    let table = |row: &str| format!("{HEAD}\n{row}\n");
    let want = table("| `a` | bare | plain | outputs | 1.0e-7 | 2.0e-6 |");
    let found = |row: &str| difference(&table(row), &want);
    assert_eq!(found("| `a` | bare | plain | outputs | 9.9e-6 | 9.9e-5 |"), None);
    for row in [
        "| `a` | bare | plain | outputs | 1.1e-5 | 2.0e-6 |",
        "| `a` | bare | plain | outputs | 1.0e-7 | 1.1e-4 |",
        "| `a` | bare | plain | outputs | NaN | 2.0e-6 |",
        "| `a` | bare | plain | outputs | 1.0e-7 |",
        "| `b` | bare | plain | outputs | 1.0e-7 | 2.0e-6 |",
        "| `a` | bare | plain, other | outputs | 1.0e-7 | 2.0e-6 |",
        "| `a` | bare | plain | outputs | 1.0e-7 | 2.0e-6 |\n| `b` | bare | plain | outputs | 1.0e-7 | 2.0e-6 |",
    ] {
        assert!(found(row).is_some(), "{row}");
    }
}
