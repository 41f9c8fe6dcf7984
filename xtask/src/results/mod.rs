//! `cargo xtask results`: the tables of `docs/results.md`, from the facts of runs that lie in `docs/results/`.
//!
//! `results add DIR` copies what a run's `report.json` says into `docs/results/RECIPE/VARIANT.json`, a list with one run
//! per seed; `--against` another run adds their difference on the same examples. What `locus eval --out DIR` wrote goes into
//! `docs/results/evaluations/VARIANT.json`. `--unit` says a loss in another unit of the report. `results` writes the tables
//! anew, each between `<!-- results NAME -->` and `<!-- end -->`, and leaves the text around them alone; `results --check`
//! fails where they are not what the files give.

mod facts;
mod tables;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use locus_metrics::{bootstrap::Interval, samples::Samples};

use crate::run::root;
use facts::{
    Beside, Difference, EVALUATIONS, Run, Scored, Units, all_evaluations, all_runs, keep, parse, parse_there,
    read, write,
};
use tables::{PROPORTIONAL, baselines_table, evaluations_table, overview, table};

const USAGE: &str =
    "usage: cargo xtask results [--check | add DIR [--variant NAME] [--against DIR] [--unit bits_per_byte]]";
const END: &str = "<!-- end -->";
const BASELINES: &str = "baselines";
const OVERVIEW: &str = "overview";

pub(crate) fn run(args: &[String]) -> Result<u8, String> {
    let page = root().join("docs/results.md");
    let dir = root().join("docs/results");
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["--check"] if regenerated(&page, &dir)? == read(&page)? => return Ok(0),
        ["--check"] => {
            return Err("docs/results.md is not what docs/results/ gives; run `cargo xtask results`".into());
        }
        ["add", run_dir, ref options @ ..] => {
            let (mut variant, mut against, mut unit) = (None, None, None);
            for option in options.chunks(2) {
                match *option {
                    ["--variant", name] => variant = Some(name),
                    ["--against", other] => against = Some(Path::new(other)),
                    ["--unit", name] => unit = Some(name),
                    _ => return Err(USAGE.into()),
                }
            }
            add(&dir, Path::new(run_dir), variant, against, unit)?;
        }
        _ => return Err(USAGE.into()),
    }
    write(&page, &regenerated(&page, &dir)?)?;
    Ok(0)
}

fn add(
    dir: &Path,
    run_dir: &Path,
    variant: Option<&str>,
    against: Option<&Path>,
    unit: Option<&str>,
) -> Result<(), String> {
    let report = run_dir.join("report.json");
    if parse::<serde_json::Value>(&report)?.get("recipe").is_none() {
        if against.is_some() || unit.is_some() {
            return Err("--against and --unit are for runs, and this is an evaluation".into());
        }
        let scored: Scored = parse(&report)
            .map_err(|error| format!("{error}; only known sets are kept: locus eval --data-set"))?;
        let name = variant.ok_or("an evaluation needs a name: --variant NAME")?;
        check_name(name)?;
        return keep(&dir.join(EVALUATIONS).join(format!("{name}.json")), &scored);
    }
    let mut run: Run = parse(&report)?;
    let others = all_runs(dir)?.remove(&run.recipe).unwrap_or_default();
    run.difference = against.map(|other| difference(&run, run_dir, other, &others)).transpose()?;
    if let Some(unit) = unit {
        let own = Loss::read(run_dir, unit)?;
        if let Some(other) = against {
            own.check_alike(&Loss::read(other, unit)?)?;
        }
        run = in_unit(run, unit, &own);
    }
    let variant = variant.map_or_else(|| run.position.replace(" + ", "+"), str::to_owned);
    [&run.recipe, &variant].into_iter().try_for_each(|name| check_name(name))?;
    let path = dir.join(&run.recipe).join(format!("{variant}.json"));
    let mut runs: Vec<Run> = parse_there(&path)?;
    if let Some(other) = others.values().flatten().find(|other| other.score_name != run.score_name) {
        let (own, other) = (&run.score_name, &other.score_name);
        return Err(format!("the score is {own}, that of the recipe's other runs {other}; see --unit"));
    }
    runs.retain(|other| other.seed != run.seed);
    runs.push(run);
    runs.sort_by_key(|run| run.seed);
    keep(&path, &runs)
}

/// A loss of a language model and what it is in another unit.
struct Loss {
    loss: f64,
    in_unit: f64,
    dev: Option<f64>,
}

impl Loss {
    fn read(run_dir: &Path, unit: &str) -> Result<Self, String> {
        if !PROPORTIONAL.contains(&unit) {
            return Err(format!("--unit {unit}: expected {}", PROPORTIONAL.join(" or ")));
        }
        let report: Units = parse(&run_dir.join("report.json"))?;
        let value = |name: &str| {
            let what = format!("--unit {unit}: {} has no {name}", run_dir.display());
            report.metrics.get(name).copied().ok_or(what)
        };
        Ok(Self { loss: value("loss")?, in_unit: value(unit)?, dev: report.dev_metrics.get(unit).copied() })
    }

    fn factor(&self) -> f64 {
        self.in_unit / self.loss
    }

    /// That losses per token are of the same tokens.
    fn check_alike(&self, other: &Self) -> Result<(), String> {
        if (self.factor() / other.factor() - 1.0).abs() < 1e-6 {
            return Ok(());
        }
        Err("--against: the other run has other tokens, so that the losses cannot be compared token by token"
            .into())
    }
}

/// The run with its loss in a unit that is proportional to it on the same texts.
fn in_unit(run: Run, unit: &str, loss: &Loss) -> Run {
    let factor = loss.factor();
    let difference = run.difference.map(|Difference { from, value, interval: Interval { low, high } }| {
        let interval = Interval { low: factor * low, high: factor * high };
        Difference { from, value: factor * value, interval }
    });
    let interval = run.interval.map(|ends| ends.map(|end| factor * end));
    Run { score_name: unit.to_owned(), score: loss.in_unit, interval, dev_score: loss.dev, difference, ..run }
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!(
            "'{name}' is no file name of letters, digits, '-', '_', '.' and '+'; use --variant NAME"
        ));
    }
    Ok(())
}

fn difference(
    run: &Run,
    run_dir: &Path,
    other_dir: &Path,
    kept: &BTreeMap<String, Vec<Run>>,
) -> Result<Difference, String> {
    let other: Run = parse(&other_dir.join("report.json"))?;
    let on = |run: &Run| (run.data_set.clone(), run.part.clone(), run.n_examples, run.score_name.clone());
    let hashes = run.examples_hash.as_ref().zip(other.examples_hash.as_ref());
    if on(run) != on(&other) || hashes.is_some_and(|(own, other)| own != other) {
        return Err(format!(
            "the runs are scored on different examples: {:?} in {} and {:?} in {}",
            on(run),
            run_dir.display(),
            on(&other),
            other_dir.display()
        ));
    }
    let samples = |dir: &Path| parse::<Samples>(&dir.join("samples.json"));
    let interval = samples(run_dir)?.difference(&samples(other_dir)?).map_err(|error| error.to_string())?;
    // By the name that it has here, if it has one.
    let is_other = |run: &Run| (run.seed, &run.command) == (other.seed, &other.command);
    let variant = kept.iter().find(|(_, runs)| runs.iter().any(is_other)).map(|(variant, _)| variant.clone());
    let from = variant.unwrap_or(other.position);
    Ok(Difference { from, value: run.score - other.score, interval })
}

fn regenerated(page: &Path, dir: &Path) -> Result<String, String> {
    let runs = all_runs(dir)?;
    let beside = Beside {
        baselines: parse_there(&dir.join("baselines.json"))?,
        references: parse_there(&dir.join("references.json"))?,
    };
    let mut tables: BTreeMap<&str, String> =
        runs.iter().map(|(recipe, variants)| (recipe.as_str(), table(variants, &beside))).collect();
    if !beside.baselines.sets.is_empty() {
        tables.insert(BASELINES, baselines_table(&beside.baselines));
    }
    let evaluations = all_evaluations(&dir.join(EVALUATIONS))?;
    if !evaluations.is_empty() {
        tables.insert(EVALUATIONS, evaluations_table(&evaluations, &beside.baselines));
    }
    if !runs.is_empty() {
        tables.insert(OVERVIEW, overview(&runs, &beside.baselines));
    }
    with_tables(&read(page)?, &tables)
}

/// The page with each table between its marks. A table without marks gets a section at the end.
fn with_tables(page: &str, tables: &BTreeMap<&str, String>) -> Result<String, String> {
    let mut marks = page.lines().filter_map(|line| line.strip_prefix("<!-- results ")?.strip_suffix(" -->"));
    if let Some(name) = marks.find(|name| !tables.contains_key(name)) {
        return Err(format!("docs/results.md has marks for '{name}', of which docs/results/ has nothing"));
    }
    let mut page = page.to_owned();
    for (name, table) in tables {
        let begin = format!("<!-- results {name} -->\n");
        if !page.contains(&begin) {
            let _ = write!(page, "\n## `{name}`\n\n{begin}{END}\n");
        }
        let start = page.find(&begin).unwrap_or_default() + begin.len();
        let len =
            page[start..].find(END).ok_or_else(|| format!("docs/results.md lacks {END} after {begin}"))?;
        page.replace_range(start..start + len, &format!("\n{table}\n"));
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::facts::{
        Runs,
        testing::{self, run},
    };
    use super::*;

    #[test]
    fn an_evaluation_is_added_under_its_name() {
        let dir = std::env::temp_dir().join(format!("locus-evaluations-{}", std::process::id()));
        let scored = testing::scored();
        keep(&dir.join("eval/report.json"), &scored).expect("writes");
        let results = dir.join("results");
        assert!(
            add(&results, &dir.join("eval"), None, None, None)
                .is_err_and(|error| error.contains("--variant"))
        );
        assert!(add(&results, &dir.join("eval"), Some("../x"), None, None).is_err());
        add(&results, &dir.join("eval"), Some("pets-on-cats"), None, None).expect("adds");
        let evaluations = all_evaluations(&results.join(EVALUATIONS)).expect("reads");
        assert_eq!((&evaluations, all_runs(&results)), (&vec![scored], Ok(Runs::new())));
        let refused = add(&results, &dir.join("eval"), Some("x"), None, Some("bits_per_byte"));
        assert!(refused.is_err_and(|error| error.contains("are for runs")));
        fs::remove_dir_all(&dir).expect("removes");
    }

    #[test]
    fn a_loss_is_said_in_another_unit() {
        let dir = std::env::temp_dir().join(format!("locus-units-{}", std::process::id()));
        let report = |name: &str, loss: f64, bits: f64, sums: [f64; 2]| {
            let run = Run { score_name: "loss".into(), interval: Some([loss, 2.0 * loss]), ..run(0, loss) };
            let mut report = serde_json::to_value(&run).expect("serialises");
            let metrics = serde_json::json!({ "loss": loss, "bits_per_byte": bits, "perplexity": 9.0 });
            (report["metrics"], report["dev_metrics"]) = (metrics.clone(), metrics);
            let samples = serde_json::json!({ "formula": "mean", "counts": sums.map(|sum| [sum, 1.0]) });
            write(&dir.join(name).join("report.json"), &report.to_string()).expect("writes");
            write(&dir.join(name).join("samples.json"), &samples.to_string()).expect("writes");
        };
        report("ours", 0.5, 1.0, [0.25, 0.75]);
        report("theirs", 0.75, 1.5, [0.5, 1.0]);
        report("other-tokens", 0.75, 3.0, [0.5, 1.0]);
        let (results, ours) = (dir.join("results"), dir.join("ours"));
        let against = |other: &str, unit| add(&results, &ours, None, Some(&dir.join(other)), Some(unit));
        assert!(against("theirs", "perplexity").is_err_and(|error| error.contains("bits_per_byte or")));
        assert!(against("other-tokens", "bits_per_byte").is_err_and(|error| error.contains("other tokens")));
        against("theirs", "bits_per_byte").expect("adds");
        let kept = all_runs(&results).expect("reads").remove("pets").expect("is there").remove("rotary");
        let bits = kept.expect("is there").remove(0);
        assert_eq!((bits.score_name.as_str(), bits.score, bits.dev_score), ("bits_per_byte", 1.0, Some(1.0)));
        assert_eq!(bits.interval, Some([1.0, 2.0]));
        let Difference { value, interval, .. } = bits.difference.expect("is there");
        assert_eq!((value, interval.low, interval.high), (-0.5, -0.5, -0.5));
        let without = add(&results, &ours, Some("nats"), None, None);
        assert!(without.is_err_and(|error| error.contains("other runs bits_per_byte")));
        fs::remove_dir_all(&dir).expect("removes");
    }

    #[test]
    fn tables_go_between_their_marks_and_nothing_else_changes() {
        let page = "# R\n<!-- results a -->\nold\n<!-- end -->\ntext\n";
        let tables = BTreeMap::from([("a", "new\n".to_owned()), ("b", "more\n".to_owned())]);
        let once = with_tables(page, &tables).expect("marks are right");
        let want = "# R\n<!-- results a -->\n\nnew\n\n<!-- end -->\ntext\n\n## `b`\n\n<!-- results b -->\n\nmore\n\n<!-- end -->\n";
        assert_eq!(once, want);
        assert_eq!(with_tables(&once, &tables).as_deref(), Ok(want), "a second time changes nothing");
    }

    #[test]
    fn marks_without_end_or_results_are_errors() {
        let tables = BTreeMap::from([("a", String::new())]);
        assert!(with_tables("<!-- results a -->\n", &tables).is_err_and(|error| error.contains("lacks")));
        assert!(
            with_tables("<!-- results b -->\n<!-- end -->\n", &tables)
                .is_err_and(|error| error.contains("'b'"))
        );
    }

    #[test]
    fn a_run_is_added_once_per_seed() {
        let dir = std::env::temp_dir().join(format!("locus-results-{}", std::process::id()));
        let report = |name: &str, run: &Run, right: [[u8; 2]; 3]| {
            let mut report = serde_json::to_value(run).expect("serialises");
            report["metrics"] = serde_json::json!({ "macro_f1": run.score });
            let samples = serde_json::json!({ "formula": "mean", "counts": right });
            write(&dir.join(name).join("report.json"), &report.to_string()).expect("writes");
            write(&dir.join(name).join("samples.json"), &samples.to_string()).expect("writes");
        };
        let (results, ours, theirs) = (dir.join("results"), dir.join("ours"), dir.join("theirs"));
        for added in [run(3, 0.5), run(0, 0.25), run(3, 0.75)] {
            report("ours", &added, [[1, 1], [1, 1], [0, 1]]);
            add(&results, &ours, None, None, None).expect("adds");
        }
        let runs = all_runs(&results).expect("reads");
        assert_eq!(runs["pets"]["rotary"], [run(0, 0.25), run(3, 0.75)]);
        assert!(add(&results, &ours, Some("../x"), None, None).is_err_and(|error| error.contains("'../x'")));

        report(
            "theirs",
            &Run { position: "none".into(), command: "x".into(), ..run(3, 0.5) },
            [[1, 1], [0, 1], [0, 1]],
        );
        add(&results, &ours, None, Some(&theirs), None).expect("adds");
        let runs = all_runs(&results).expect("reads");
        let difference = runs["pets"]["rotary"][1].difference.clone().expect("is there");
        assert_eq!((difference.from.as_str(), difference.value), ("none", 0.25));
        assert_eq!((difference.interval.low, difference.interval.high), (0.0, 1.0));
        report("theirs", &Run { n_examples: 8, ..run(3, 0.5) }, [[1, 1]; 3]);
        assert!(
            add(&results, &ours, None, Some(&theirs), None)
                .is_err_and(|error| error.contains("different examples"))
        );
        let hashed = |hash: &str, run: Run| Run { examples_hash: Some(hash.to_owned()), ..run };
        let refused = |own: &str, other: &str| {
            report("ours", &hashed(own, run(3, 0.75)), [[1, 1]; 3]);
            report("theirs", &hashed(other, run(3, 0.5)), [[1, 1], [0, 1], [0, 1]]);
            add(&results, &ours, None, Some(&theirs), None).is_err()
        };
        assert!(refused("a1", "b2") && !refused("a1", "a1"), "other texts");
        fs::remove_dir_all(&dir).expect("removes");
    }
}
