//! `locus compare`.

use std::path::Path;

use anyhow::Context;
use locus_metrics::samples::Samples;
use locus_metrics::significance::{Comparison, PairedTest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::say;
use crate::UsageError;
use crate::args::CompareArgs;

pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let (a, b) = (Run::read(&args.run_a)?, Run::read(&args.run_b)?);
    let problems = a.differences(&b);
    if !problems.is_empty() {
        let problems = problems.join("\n  ");
        return Err(UsageError(format!(
            "the runs are not scored by the same measure on the same examples:\n  {problems}"
        ))
        .into());
    }
    if a.examples_hash.is_none() || b.examples_hash.is_none() {
        tell!(
            "note: a report is of an older version and does not say which texts were scored: that they are the same is \
             not checked"
        );
    }
    let of = |dir: &Path| read::<Samples>(&dir.join("samples.json"));
    let comparison = PairedTest::default()
        .compare(&of(&args.run_a)?, &of(&args.run_b)?)
        .with_context(|| format!("cannot compare {} and {}", args.run_a.display(), args.run_b.display()))?;
    let answer = Answer { score_name: a.score_name, part: a.part, data_set: a.data_set, comparison };
    if args.json { say(serde_json::to_string_pretty(&answer)?) } else { say(text(args, &answer)) }
}

/// What `report.json` says of what was scored.
#[derive(Deserialize)]
struct Run {
    score_name: String,
    /// Files that `locus eval` scored are no part of anything.
    part: Option<String>,
    n_examples: usize,
    data_set: Option<String>,
    /// Reports of older versions have none.
    examples_hash: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    score_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_set: Option<String>,
    #[serde(flatten)]
    comparison: Comparison,
}

impl Run {
    fn read(dir: &Path) -> anyhow::Result<Self> {
        read(&dir.join("report.json"))
    }

    /// What keeps the scores from being compared.
    fn differences(&self, other: &Self) -> Vec<String> {
        let hashes = self.examples_hash.as_ref().zip(other.examples_hash.as_ref());
        let mut facts = vec![
            ("score", Some(self.score_name.clone()), Some(other.score_name.clone())),
            ("examples", Some(self.n_examples.to_string()), Some(other.n_examples.to_string())),
        ];
        // The same texts with the same labels are the same, wherever they were read.
        if hashes.is_none_or(|(a, b)| a != b) {
            facts.push(("data set", self.data_set.clone(), other.data_set.clone()));
            facts.push(("part", self.part.clone(), other.part.clone()));
        }
        let differ =
            facts.into_iter().filter_map(|(name, a, b)| Some((name, a?, b?))).filter(|(_, a, b)| a != b);
        let mut differences: Vec<String> =
            differ.map(|(name, a, b)| format!("{name}: {a} in A, {b} in B")).collect();
        if let Some((a, b)) = hashes
            && differences.is_empty()
            && a != b
        {
            differences.push(format!("texts or labels of the examples: hash {a} in A, {b} in B"));
        }
        differences
    }
}

fn text(args: &CompareArgs, answer: &Answer) -> String {
    let Answer { score_name, part, data_set, comparison } = answer;
    let Comparison { score_a, score_b, difference, interval, p_randomisation, p_bootstrap, n_examples } =
        comparison;
    let part = part.as_deref().unwrap_or("a file");
    let of_set = data_set.as_ref().map(|set| format!(" of {set}")).unwrap_or_default();
    format!(
        "{score_name} on {part}{of_set}, {n_examples} examples\n\
         A      {score_a:>9.4}  {}\n\
         B      {score_b:>9.4}  {}\n\
         A - B  {difference:>+9.4}  95 % interval [{:+.4}, {:+.4}]\n\
         p = {p_randomisation:.4} by paired randomisation, {p_bootstrap:.4} by the paired bootstrap",
        args.run_a.display(),
        args.run_b.display(),
        interval.low,
        interval.high,
    )
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = std::fs::read(path).with_context(|| {
        format!(
            "cannot read {}; a run folder of `locus train` with a dev or test part has it, or what `locus eval --out` wrote",
            path.display()
        )
    })?;
    serde_json::from_slice(&bytes).with_context(|| {
        format!("{} is not what `locus train` writes of a run with a dev or test part", path.display())
    })
}
