//! A page of the book for each scheme, made from its source, its defaults, what the program prints of it, and the table of
//! "How we checked". `cargo xtask positions` writes them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use locus_embedding::position::PositionConfig;
use serde_json::Value;

use super::source::{self, Source};
use crate::common::Place;

/// What an example needs beside small sizes, for schemes whose defaults are too large to be seen there.
const EXAMPLES: &[(&str, &str)] = &[
    ("randomised", "--max-seq-len 4 --set max=16"),
    ("abacus", "--k 6 --ids 9,1,2,3,9,1 --set digit_ids=[1,2,3] --set max_positions=8 --set max_offset=2"),
    ("bipe", "--k 6 --ids 5,6,7,1,5,6 --set separator_ids=[1] --set max_positions=4"),
    ("random_projection", "--set m=3"),
    ("axial", "--set width=2"),
    ("mrope", "--d-head 8"),
    ("fope", "--d-head 8"),
    ("rerope", "--set window=2"),
    ("self_extend", "--set window=2 --set group=2"),
    ("dual_chunk", "--set chunk=3 --set local=1"),
    ("temperature", "--set floor=2"),
    ("attention_sinks", "--set sinks=1 --set window=2"),
    ("lambda_mask", "--set sinks=1 --set window=2"),
    ("sandwich", "--d-head 8 --set base=10"),
    ("fire", "--set hidden=4 --set threshold=2"),
    ("dynamic_bias", "--set hidden=4"),
    ("t5", "--set n_buckets=4 --set max_distance=8 --set init_std=1"),
    ("tupe", "--set init_std=0.5"),
    ("shaw", "--set max_distance=2 --set init_std=0.5"),
    ("transformer_xl", "--set init_std=0.5"),
    ("xlnet", "--segments 0,0,1,1 --set segments=true --set init_std=0.5"),
    ("deberta", "--set span=4 --set distances.log.max_distance=8 --set init_std=0.5"),
    ("relative_projection", "--set d_rel=2 --set extent=3 --set init_std=0.5"),
    ("cope", "--set n_positions=3 --set init_std=1"),
    ("dape", "--set hidden=3"),
    ("path", "--set rank=2"),
];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The page of a scheme, from its entries in `positions list`, as JSON and in the table of the book.
fn page(scheme: &Value, row: &str, checks: &str) -> String {
    let name = scheme["name"].as_str().unwrap_or_else(|| panic!("no name in {scheme}"));
    let source = Source::of(name);
    let mut text = format!("# `{name}`\n\n{}\n\n", source.title());
    text += &facts(scheme, row);
    text += &format!("\n## Definition\n\n{}\n", source.definition());
    text += &format!("\n## Options\n\n{}", options(name, &source));
    text += &format!("\n## In numbers\n\n```console\n{}```\n", example(name));
    text += &format!("\n## How it was checked\n\n{}", checked(name, checks));
    text + "\nThis page is made from the code by `cargo xtask positions`.\n"
}

/// The facts of the table, one a line.
fn facts(scheme: &Value, row: &str) -> String {
    let row = row.replace("\\|", "\u{1}");
    let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
    let [_, family, does, parameters, longer, cached, limit, paper] = cells[..] else {
        panic!("eight cells expected: {row}")
    };
    let forms: Vec<&str> =
        scheme["forms"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let forms = match forms[..] {
        ["causal"] => "decoders",
        ["bidirectional"] => "encoders",
        _ => "decoders and encoders",
    };
    let does = does.trim_end_matches("; decoders").trim_end_matches("; encoders");
    let (model, shifts) = (&scheme["model"], scheme["is_relative"] == true);
    let counted = format!("{} trained, {} fixed", scheme["n_trained"], scheme["n_fixed"]);
    let sizes = format!(
        "`d_model = {}`, `n_heads = {}`, `d_head = {}`, `max_seq_len = {}`",
        model["d_model"], model["n_heads"], model["d_head"], model["max_seq_len"]
    );
    let lines = [
        ("family", family.to_owned()),
        ("what it does", does.to_owned()),
        ("paper", linked(paper)),
        ("for", forms.to_owned()),
        ("parameters", parameters.to_owned()),
        ("in numbers", format!("{counted}, at {sizes}")),
        ("cached per token", format!("{cached}, and the value")),
        ("shifting all positions", if shifts { "changes nothing" } else { "matters" }.to_owned()),
        ("past its limit", if limit == "none" { "no limit" } else { limit }.to_owned()),
        ("longer texts", longer.to_owned()),
    ];
    let lines: String = lines.iter().map(|(what, is)| format!("| {what} | {is} |\n")).collect();
    format!("| | |\n|---|---|\n{lines}").replace('\u{1}', "\\|")
}

/// With a link for every number of arXiv.
fn linked(paper: &str) -> String {
    let parts = paper.split("arXiv:").enumerate().map(|(idx, part)| {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(part.len());
        let (id, rest) = part.split_at(end);
        if idx == 0 { part.to_owned() } else { format!("[arXiv:{id}](https://arxiv.org/abs/{id}){rest}") }
    });
    parts.collect()
}

/// Defaults as a configuration file writes them, and what each key means.
fn options(name: &str, source: &Source) -> String {
    let block = defaults(name);
    let fields = source.fields();
    if fields.is_empty() {
        return format!("There are none.\n\n```toml\n{block}```\n");
    }
    let mut text = format!("The defaults:\n\n```toml\n{block}```\n\n| key | |\n|---|---|\n");
    for field in fields {
        let _ = writeln!(text, "| `{}` | {} |", field.name, field.doc.replace('|', "\\|"));
    }
    text
}

fn defaults(name: &str) -> String {
    let config = PositionConfig::named(name).unwrap_or_else(|| panic!("{name} is no scheme"));
    let written = toml::Value::try_from(&config).unwrap_or_else(|error| panic!("{name}: {error}"));
    match written.get(name).and_then(toml::Value::as_table).filter(|keys| !keys.is_empty()) {
        None => format!("model.position = \"{name}\"\n"),
        Some(keys) => {
            let keys = keys.iter().map(|(key, value)| format!("{key} = {}\n", source::inline(value)));
            format!("[model.position.{name}]\n{}", keys.collect::<String>())
        }
    }
}

/// A command and what it prints.
fn example(name: &str) -> String {
    let more = EXAMPLES.iter().find(|(of, _)| *of == name).map_or("", |(_, more)| more);
    let size =
        |flag: &str, n: usize| if more.contains(flag) { String::new() } else { format!(" {flag} {n}") };
    let sizes = format!(" --q 3{} --heads 2{}", size("--k", 4), size("--d-head", 4));
    let command = format!("positions show {name}{sizes} {more}");
    let args: Vec<&str> = command.split_whitespace().collect();
    let output = Place::new().run(&args).succeeds().stdout();
    format!("$ locus {}\n{}\n", args.join(" "), output.trim_end())
}

/// The rows of the conformance table.
fn checked(name: &str, checks: &str) -> String {
    let of_scheme = |line: &&str| {
        let row = line.strip_prefix("| `").and_then(|line| line.split('`').next());
        row.is_some_and(|row| row.split('-').next() == Some(name) && !row.contains('/'))
    };
    let rows: Vec<&str> = checks.lines().filter(of_scheme).collect();
    assert!(!rows.is_empty(), "{name} has no row in docs/how-we-checked.md");
    format!(
        "Values and gradients against a program of `oracle/`, and with planted errors, each of which that comparison must \
         notice; what else is tested of every scheme says [How we checked](../how-we-checked.md).\n\n\
         | variant | oracle | planted errors |\n|---|---|---|\n{}\n",
        rows.join("\n")
    )
}

/// Whether pages say the same: numbers are compared as numbers, whose last digits differ between processors.
fn same(a: &str, b: &str) -> bool {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split_whitespace().collect(), b.split_whitespace().collect());
    let near = |(a, b): (&&str, &&str)| {
        let both = a.parse::<f64>().ok().zip(b.parse::<f64>().ok());
        a == b || both.is_some_and(|(a, b)| (a - b).abs() <= 2e-4 * a.abs().max(1.0))
    };
    a.len() == b.len() && a.iter().zip(&b).all(near)
}

fn assert_file(path: &Path, want: &str) {
    let found = fs::read_to_string(path).unwrap_or_default();
    if same(&found, want) {
        return;
    }
    assert!(
        std::env::var_os("LOCUS_WRITE_PAGES").is_some(),
        "{} is not what the code gives; run `cargo xtask positions`. It should be\n{want}",
        path.display()
    );
    fs::write(path, want).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[test]
fn the_pages_of_the_book_are_the_codes() {
    let docs = docs();
    let table = Place::new().run(&["positions", "list", "--markdown"]).succeeds().stdout();
    let checks = read(&docs.join("how-we-checked.md"));
    let mut entries = Vec::new();
    for scheme in super::list() {
        let name = scheme["name"].as_str().unwrap_or_default().to_owned();
        let begins = format!("| [`{name}`]");
        let row = table.lines().find(|line| line.starts_with(&begins));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_file(&docs.join(format!("positions/{name}.md")), &page(&scheme, row, &checks));
        entries.push(format!("  - [{name}](positions/{name}.md)"));
    }
    let summary = read(&docs.join("SUMMARY.md"));
    let mut lines: Vec<&str> = summary.lines().filter(|line| !line.contains("](positions/")).collect();
    let at = lines
        .iter()
        .position(|line| line.contains("(positions.md)"))
        .unwrap_or_else(|| panic!("no page on positions"));
    lines.splice(at + 1..at + 1, entries.iter().map(String::as_str));
    assert_file(&docs.join("SUMMARY.md"), &(lines.join("\n") + "\n"));
    let pages = fs::read_dir(docs.join("positions")).unwrap_or_else(|error| panic!("{error}")).count();
    assert_eq!(pages, entries.len(), "a page of a scheme that is not there");
}

/// What the pages show as defaults is what a configuration file may say, and means the defaults.
#[test]
fn defaults_of_the_pages_can_be_read() {
    for name in PositionConfig::NAMES {
        let table: toml::Table =
            toml::from_str(&defaults(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found: PositionConfig =
            table["model"]["position"].clone().try_into().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Some(found), PositionConfig::named(name));
    }
}

/// Every source says what a page promises.
#[test]
fn every_source_defines_its_scheme() {
    for name in PositionConfig::NAMES {
        let text = Source::of(name).definition();
        for label in ["**Parameters:**", "**Limit:**", "**Cache:**"] {
            assert!(text.contains(label), "{name} lacks {label}:\n{text}");
        }
        assert!(name == "none" || text.contains("**Formula:**"), "{name} lacks a formula:\n{text}");
    }
}

#[test]
fn pages_are_compared_by_their_numbers() {
    assert!(same("a  0.1234 b", "a 0.1235 b") && same("7.8e-6", "7.5e-6"));
    assert!(!same("a 0.1234", "a 0.1334") && !same("a 1", "b 1") && !same("a", "a b"));
}
