//! The direction of dependencies: the table below, cargo's own view and the page in `docs/architecture.md` must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::run::{cargo, root};

/// Each crate and the crates of the workspace it may depend on. Development dependencies may also use `locus-testkit`
/// and any crate to the left.
const LAYERS: [(&str, &[&str]); 13] = [
    ("locus-backend", &[]),
    ("locus-metrics", &[]),
    ("locus-embedding", &["locus-backend"]),
    ("locus-encoder", &["locus-backend", "locus-embedding"]),
    ("locus-heads", &["locus-backend", "locus-embedding", "locus-encoder"]),
    ("locus-data", &["locus-metrics"]),
    ("locus-model", &["locus-backend", "locus-encoder", "locus-heads"]),
    (
        "locus-pipeline",
        &["locus-backend", "locus-data", "locus-embedding", "locus-heads", "locus-metrics", "locus-model"],
    ),
    ("locus-hub", &["locus-backend", "locus-embedding", "locus-encoder", "locus-heads", "locus-model"]),
    ("locus-train", &["locus-backend", "locus-heads"]),
    (
        "locus",
        &[
            "locus-backend",
            "locus-data",
            "locus-embedding",
            "locus-encoder",
            "locus-heads",
            "locus-hub",
            "locus-metrics",
            "locus-model",
            "locus-pipeline",
            "locus-train",
        ],
    ),
    ("locus-testkit", &["locus-backend"]),
    ("locus-bench", &["locus-backend", "locus-embedding", "locus-encoder", "locus-train"]),
];

/// Names of crates that must know nothing of tensors.
const WITHOUT_BURN: [&str; 3] = ["locus-data", "locus-metrics", "xtask"];

pub(crate) fn check() -> Result<u8, String> {
    let page = fs::read_to_string(root().join("docs/architecture.md"))
        .map_err(|error| format!("cannot read docs/architecture.md: {error}"))?;
    let mut problems = Vec::new();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        LAYERS.iter().map(|(name, below)| (*name, below.iter().copied().collect())).collect();
    for (name, below) in LAYERS {
        let found = dependencies(name)?;
        let ours: BTreeSet<&str> = found.iter().map(String::as_str).filter(|d| is_ours(d)).collect();
        for extra in ours.difference(&allowed[name]) {
            problems.push(format!("{name} depends on {extra}, which the table does not allow"));
        }
        for unused in allowed[name].difference(&ours) {
            problems.push(format!("{name} no longer depends on {unused}; take it out of the table"));
        }
        let row = format!("| `{name}` | {} |", shown(below));
        if !page.contains(&row) {
            problems.push(format!("docs/architecture.md lacks the row: {row}"));
        }
    }
    for name in WITHOUT_BURN {
        let burn: Vec<String> = dependencies(name)?.into_iter().filter(|d| d.starts_with("burn")).collect();
        if !burn.is_empty() {
            problems.push(format!("{name} must know nothing of burn, but depends on {}", burn.join(", ")));
        }
    }
    problems.iter().for_each(|problem| eprintln!("layers: {problem}"));
    Ok(u8::from(!problems.is_empty()))
}

fn shown(below: &[&str]) -> String {
    if below.is_empty() {
        return "–".to_owned();
    }
    below.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn is_ours(name: &str) -> bool {
    LAYERS.iter().any(|(ours, _)| *ours == name)
}

/// The direct dependencies of a crate, without those of its tests, as cargo sees them.
fn dependencies(package: &str) -> Result<Vec<String>, String> {
    let output = cargo()
        .args([
            "tree",
            "--quiet",
            "--depth",
            "1",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(["--no-default-features", "--package", package])
        .output()
        .map_err(|error| format!("cannot run cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Ok(names.map(str::to_owned).collect())
}
