//! `cargo xtask results`: the tables of `docs/results.md`, from the facts of runs that lie in `docs/results/`.
//!
//! `results add DIR` copies what a run's `report.json` says into `docs/results/RECIPE/VARIANT.json`, a list with one run
//! per seed; `--against` another run adds their difference on the same examples. What `locus eval --out DIR` wrote goes into
//! `docs/results/evaluations/VARIANT.json`. `--unit` says a loss in another unit of the report. `results` writes the tables anew, each between `<!-- results NAME -->` and
//! `<!-- end -->`, and leaves the text around them alone; `results --check` fails where they are not what the files give.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use locus_metrics::{bootstrap::Interval, samples::Samples};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::run::root;

const USAGE: &str =
    "usage: cargo xtask results [--check | add DIR [--variant NAME] [--against DIR] [--unit bits_per_byte]]";
const END: &str = "<!-- end -->";
const BASELINES: &str = "baselines";
const EVALUATIONS: &str = "evaluations";

/// What is kept of a run. `report.json` has these fields among others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Run {
    recipe: String,
    command: String,
    data_set: Option<String>,
    position: String,
    backend: String,
    threads: usize,
    seed: u64,
    n_params: usize,
    score_name: String,
    part: String,
    n_examples: usize,
    /// Reports of older versions have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    examples_hash: Option<String>,
    score: f64,
    interval: Option<[f64; 2]>,
    dev_score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
    train: Training,
}

/// The score less that of another run on the same examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Difference {
    /// The other's position schemes.
    from: String,
    value: f64,
    interval: Interval,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Training {
    seconds: f64,
}

/// `docs/results/baselines.json`, which `oracle/baselines.py` writes.
#[derive(Debug, Default, Deserialize)]
struct Baselines {
    sets: BTreeMap<String, Baseline>,
}

#[derive(Debug, Deserialize)]
struct Baseline {
    method: String,
    dev: BTreeMap<String, f64>,
    test: BTreeMap<String, f64>,
    seconds: f64,
}

/// The loss of a language model in other units.
#[derive(Deserialize)]
struct Units {
    metrics: BTreeMap<String, f64>,
    dev_metrics: BTreeMap<String, f64>,
}

/// What is kept of a model scored on a set that it was not trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Scored {
    model: String,
    command: String,
    data_set: String,
    part: String,
    threads: usize,
    score_name: String,
    n_examples: usize,
    score: f64,
    interval: Option<[f64; 2]>,
    metrics: BTreeMap<String, f64>,
    seconds: f64,
}

/// One run of `docs/results/references.json`, which `oracle/finetune.py` writes.
#[derive(Debug, Clone, Deserialize)]
struct Reference {
    set: String,
    method: String,
    seed: u64,
    dev: BTreeMap<String, f64>,
    test: BTreeMap<String, f64>,
    train_s: f64,
    threads: usize,
    command: String,
}

/// What the runs of a set stand beside.
#[derive(Debug, Default)]
struct Beside {
    baselines: Baselines,
    references: Vec<Reference>,
}

/// The runs of each recipe by variant.
type Runs = BTreeMap<String, BTreeMap<String, Vec<Run>>>;

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
        let scored: Scored = parse(&report)?;
        let name = variant.ok_or("an evaluation needs a name: --variant NAME")?;
        check_name(name)?;
        return keep(&dir.join(EVALUATIONS).join(format!("{name}.json")), &scored);
    }
    let mut run: Run = parse(&report)?;
    run.difference = against.map(|other| difference(&run, run_dir, other)).transpose()?;
    if let Some(unit) = unit {
        let Units { metrics, dev_metrics } = parse(&report)?;
        let value = |of: &BTreeMap<String, f64>| of.get(unit).copied();
        let score = value(&metrics).filter(|_| run.score_name == "loss");
        let score = score.ok_or_else(|| format!("--unit {unit}: no loss of the run is said in it"))?;
        run = in_unit(run, unit, score, value(&dev_metrics));
    }
    let variant = variant.map_or_else(|| run.position.replace(" + ", "+"), str::to_owned);
    [&run.recipe, &variant].into_iter().try_for_each(|name| check_name(name))?;
    let path = dir.join(&run.recipe).join(format!("{variant}.json"));
    let mut runs: Vec<Run> = if path.exists() { parse(&path)? } else { Vec::new() };
    runs.retain(|other| other.seed != run.seed);
    runs.push(run);
    runs.sort_by_key(|run| run.seed);
    keep(&path, &runs)
}

/// The run with its loss in a unit that is proportional to it on the same texts.
fn in_unit(run: Run, unit: &str, score: f64, dev_score: Option<f64>) -> Run {
    let factor = score / run.score;
    let difference = run.difference.map(|Difference { from, value, interval: Interval { low, high } }| {
        let interval = Interval { low: factor * low, high: factor * high };
        Difference { from, value: factor * value, interval }
    });
    let interval = run.interval.map(|ends| ends.map(|end| factor * end));
    Run { score_name: unit.to_owned(), score, interval, dev_score, difference, ..run }
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

fn keep(path: &Path, what: &impl Serialize) -> Result<(), String> {
    let json = serde_json::to_string_pretty(what).map_err(|error| error.to_string())?;
    write(path, &(json + "\n"))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

fn difference(run: &Run, run_dir: &Path, other_dir: &Path) -> Result<Difference, String> {
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
    Ok(Difference { from: other.position, value: run.score - other.score, interval })
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
    with_tables(&read(page)?, &tables)
}

fn all_evaluations(dir: &Path) -> Result<Vec<Scored>, String> {
    let mut files = if dir.exists() { entries(dir)? } else { Vec::new() };
    files.sort();
    files.iter().map(|file| parse(file)).collect()
}

fn all_runs(dir: &Path) -> Result<Runs, String> {
    let mut runs = Runs::new();
    let recipes = entries(dir)?.into_iter().filter(|path| path.is_dir() && !path.ends_with(EVALUATIONS));
    for recipe in recipes {
        for file in
            entries(&recipe)?.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        {
            runs.entry(stem(&recipe)).or_default().insert(stem(&file), parse(&file)?);
        }
    }
    Ok(runs)
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

/// Whether all runs are on corpora of the project's own, whose names say that they are the first to try.
fn of_own(variants: &BTreeMap<String, Vec<Run>>) -> bool {
    variants.values().flatten().all(|run| run.data_set.as_ref().is_some_and(|set| set.starts_with("first-")))
}

/// A table of a recipe's runs with the baseline and the reference runs of its data set, and the commands below, which `book`
/// runs where data is.
fn table(variants: &BTreeMap<String, Vec<Run>>, beside: &Beside) -> String {
    let mut runs =
        variants.iter().flat_map(|(variant, runs)| runs.iter().map(move |run| (variant, run))).peekable();
    let Some(score_name) = runs.peek().map(|(_, run)| run.score_name.clone()) else { return String::new() };
    let shown = score_name.replace('_', " ");
    let mut text = format!(
        "| variant | position | parameters | seed | dev {shown} | test {shown} | 95 % interval | difference | training \
         (threads) |\n|---|---|---|---|---|---|---|---|---|\n"
    );
    let of_set = |set: &str| variants.values().flatten().any(|run| run.data_set.as_deref() == Some(set));
    for (_, baseline) in beside.baselines.sets.iter().filter(|(set, _)| of_set(set)) {
        if let Some(test) = baseline.test.get(&score_name) {
            let (method, time) = (&baseline.method, duration(baseline.seconds));
            let dev = number(baseline.dev.get(&score_name).copied());
            let _ = writeln!(text, "| baseline: {method} | – | – | – | {dev} | {test:.4} | – | – | {time} |");
        }
    }
    let references: Vec<&Reference> = beside.references.iter().filter(|run| of_set(&run.set)).collect();
    for Reference { method, seed, dev, test, train_s, threads, .. } in &references {
        let score = |of: &BTreeMap<String, f64>| number(of.get(&score_name).copied());
        let (dev, test, time) = (score(dev), score(test), duration(*train_s));
        let _ = writeln!(
            text,
            "| reference: {method} | learned | – | {seed} | {dev} | {test} | – | – | {time} ({threads}) |"
        );
    }
    for (variant, run) in runs {
        let interval = shown_interval(run.interval);
        let difference = run.difference.as_ref().map_or_else(none, |difference| {
            let Difference { from, value, interval: Interval { low, high } } = difference;
            format!("{value:+.4} ({low:+.4} – {high:+.4}) from `{from}`")
        });
        let test = number((run.part == "test").then_some(run.score));
        let _ = writeln!(
            text,
            "| `{variant}` | {} | {} | {} | {} | {test} | {interval} | {difference} | {} ({}) |",
            run.position,
            run.n_params,
            run.seed,
            number(run.dev_score),
            duration(run.train.seconds),
            run.threads,
        );
    }
    let commands = variants.iter().flat_map(|(variant, runs)| {
        runs.iter().map(move |run| {
            // A folder each, so that one can be run after the other.
            let Run { command, recipe, seed, .. } = run;
            let seed = if *seed == 0 { String::new() } else { format!("-{seed}") };
            format!("$ {command} --out runs/{recipe}-{variant}{seed}\n")
        })
    });
    let (from_checkpoint, own): (Vec<_>, Vec<_>) =
        commands.partition(|command| command.contains("model.from="));
    // The corpora of the project's own are built in.
    let needs_data = if of_own(variants) { "" } else { "<!-- needs data -->\n" };
    let compared = references.iter().map(|run| format!("$ {}\n", run.command)).collect();
    let needs_checkpoint = "<!-- not run: needs a checkpoint -->\n";
    for (mark, commands) in [(needs_data, own), (needs_checkpoint, from_checkpoint), ("", compared)] {
        if !commands.is_empty() {
            let _ = write!(text, "\n{mark}```console\n{}```\n", commands.concat());
        }
    }
    text
}

/// A table of models on sets that they were not trained on, and the commands below.
fn evaluations_table(evaluations: &[Scored], baselines: &Baselines) -> String {
    let mut text = "| data set | model | score | 95 % interval | baseline | examples | time (threads) |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for run in evaluations {
        let (set, part, model) = (&run.data_set, &run.part, &run.model);
        let others =
            run.metrics.iter().filter(|(name, _)| **name != run.score_name && !name.ends_with("loss"));
        let scores = std::iter::once((&run.score_name, &run.score)).chain(others);
        let scores: Vec<String> =
            scores.map(|(name, score)| format!("{} {score:.4}", name.replace('_', " "))).collect();
        let baseline = baselines.sets.get(set).and_then(|baseline| {
            let scores = if part == "dev" { &baseline.dev } else { &baseline.test };
            Some(format!("{:.4} ({})", scores.get(&run.score_name)?, baseline.method))
        });
        let _ = writeln!(
            text,
            "| `{set}`, {part} | `{model}` | {} | {} | {} | {} | {} ({}) |",
            scores.join(", "),
            shown_interval(run.interval),
            baseline.unwrap_or_else(none),
            run.n_examples,
            duration(run.seconds),
            run.threads
        );
    }
    let commands: Vec<String> = evaluations.iter().map(|run| format!("$ {}\n", run.command)).collect();
    let _ = write!(text, "\n<!-- not run: needs trained models -->\n```console\n{}```\n", commands.concat());
    text
}

fn baselines_table(baselines: &Baselines) -> String {
    let mut text =
        "| data set | baseline | score | dev | test | time |\n|---|---|---|---|---|---|\n".to_owned();
    for (set, baseline) in &baselines.sets {
        let (method, time) = (&baseline.method, duration(baseline.seconds));
        for (name, test) in &baseline.test {
            let (shown, dev) = (name.replace('_', " "), number(baseline.dev.get(name).copied()));
            let _ = writeln!(text, "| `{set}` | {method} | {shown} | {dev} | {test:.4} | {time} |");
        }
    }
    text
}

fn number(score: Option<f64>) -> String {
    score.map_or_else(none, |score| format!("{score:.4}"))
}

fn shown_interval(interval: Option<[f64; 2]>) -> String {
    interval.map_or_else(none, |[low, high]| format!("{low:.4} – {high:.4}"))
}

/// What a cell without a number shows.
fn none() -> String {
    "–".to_owned()
}

fn duration(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        10.0..120.0 => format!("{seconds:.0} s"),
        _ => format!("{:.1} min", seconds / 60.0),
    }
}

fn stem(path: &Path) -> String {
    path.with_extension("").file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error| format!("cannot list {}: {error}", dir.display());
    fs::read_dir(dir).map_err(wrong)?.map(|entry| entry.map(|entry| entry.path()).map_err(wrong)).collect()
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    serde_json::from_str(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

/// The same of a file that need not be there.
fn parse_there<T: DeserializeOwned + Default>(path: &Path) -> Result<T, String> {
    if path.exists() { parse(path) } else { Ok(T::default()) }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let wrong = |error| format!("cannot write {}: {error}", path.display());
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(wrong)?;
    fs::write(path, text).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64, score: f64) -> Run {
        Run {
            recipe: "pets".into(),
            command: format!("locus train pets --seed {seed}"),
            data_set: Some("cats".into()),
            position: "rotary".into(),
            backend: "ndarray".into(),
            threads: 2,
            seed,
            n_params: 1234,
            score_name: "macro_f1".into(),
            part: "test".into(),
            n_examples: 7,
            examples_hash: None,
            score,
            interval: Some([0.5, 0.75]),
            dev_score: None,
            difference: None,
            train: Training { seconds: 300.0 },
        }
    }

    fn scores(macro_f1: f64) -> BTreeMap<String, f64> {
        BTreeMap::from([("macro_f1".to_owned(), macro_f1), ("micro_f1".to_owned(), 0.9)])
    }

    fn baselines() -> Baselines {
        let cats = Baseline { method: "guess".into(), dev: scores(0.25), test: scores(0.125), seconds: 3.0 };
        Baselines { sets: BTreeMap::from([("cats".to_owned(), cats)]) }
    }

    fn reference(set: &str) -> Reference {
        Reference {
            set: set.into(),
            method: "their trainer".into(),
            seed: 5,
            dev: scores(0.375),
            test: scores(0.4375),
            train_s: 60.0,
            threads: 3,
            command: format!("python theirs.py {set}"),
        }
    }

    #[test]
    fn a_table_has_the_baseline_and_each_seed_with_its_command() {
        let interval = Interval { low: 0.0625, high: 0.25 };
        let difference = Some(Difference { from: "none".into(), value: 0.125, interval });
        let runs = vec![Run { difference, ..run(0, 0.625) }, run(3, 0.5)];
        let loaded = Run { command: "locus train pets --set model.from=D".into(), ..run(0, 0.75) };
        let runs = BTreeMap::from([("deep".to_owned(), runs), ("loaded".to_owned(), vec![loaded])]);
        let references = vec![reference("cats"), reference("dogs")];
        assert_eq!(
            table(&runs, &Beside { baselines: baselines(), references }),
            "| variant | position | parameters | seed | dev macro f1 | test macro f1 | 95 % interval | difference | training (threads) |\n\
             |---|---|---|---|---|---|---|---|---|\n\
             | baseline: guess | – | – | – | 0.2500 | 0.1250 | – | – | 3.0 s |\n\
             | reference: their trainer | learned | – | 5 | 0.3750 | 0.4375 | – | – | 60 s (3) |\n\
             | `deep` | rotary | 1234 | 0 | – | 0.6250 | 0.5000 – 0.7500 | +0.1250 (+0.0625 – +0.2500) from `none` | 5.0 min (2) |\n\
             | `deep` | rotary | 1234 | 3 | – | 0.5000 | 0.5000 – 0.7500 | – | 5.0 min (2) |\n\
             | `loaded` | rotary | 1234 | 0 | – | 0.7500 | 0.5000 – 0.7500 | – | 5.0 min (2) |\n\n\
             <!-- needs data -->\n```console\n$ locus train pets --seed 0 --out runs/pets-deep\n\
             $ locus train pets --seed 3 --out runs/pets-deep-3\n```\n\n\
             <!-- not run: needs a checkpoint -->\n```console\n\
             $ locus train pets --set model.from=D --out runs/pets-loaded\n```\n\n\
             ```console\n$ python theirs.py cats\n```\n"
        );
    }

    #[test]
    fn what_a_model_scores_elsewhere_has_a_table_of_its_own() {
        let dir = std::env::temp_dir().join(format!("locus-evaluations-{}", std::process::id()));
        let scored = Scored {
            model: "runs/pets/model".into(),
            command: "locus eval --model runs/pets/model --data-set cats --part test".into(),
            data_set: "cats".into(),
            part: "test".into(),
            threads: 2,
            score_name: "macro_f1".into(),
            n_examples: 7,
            score: 0.625,
            interval: Some([0.5, 0.75]),
            metrics: BTreeMap::from([
                ("macro_f1".to_owned(), 0.625),
                ("accuracy".to_owned(), 0.75),
                ("loss".to_owned(), 1.0),
            ]),
            seconds: 12.0,
        };
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
        assert_eq!(
            evaluations_table(&evaluations, &baselines()),
            "| data set | model | score | 95 % interval | baseline | examples | time (threads) |\n\
             |---|---|---|---|---|---|---|\n\
             | `cats`, test | `runs/pets/model` | macro f1 0.6250, accuracy 0.7500 | 0.5000 – 0.7500 | 0.1250 (guess) | 7 | 12 s (2) |\n\n\
             <!-- not run: needs trained models -->\n```console\n\
             $ locus eval --model runs/pets/model --data-set cats --part test\n```\n"
        );
        fs::remove_dir_all(&dir).expect("removes");
    }

    #[test]
    fn a_loss_is_said_in_another_unit() {
        let interval = Interval { low: -0.5, high: 0.25 };
        let difference = Some(Difference { from: "none".into(), value: -0.25, interval });
        let run = Run { score_name: "loss".into(), difference, ..run(0, 0.5) };
        let bits = in_unit(run, "bits_per_byte", 1.0, Some(1.5));
        assert_eq!((bits.score_name.as_str(), bits.score, bits.dev_score), ("bits_per_byte", 1.0, Some(1.5)));
        assert_eq!(bits.interval, Some([1.0, 1.5]));
        let Difference { value, interval, .. } = bits.difference.expect("is there");
        assert_eq!((value, interval.low, interval.high), (-0.5, -1.0, 0.5));
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

        report("theirs", &Run { position: "none".into(), ..run(3, 0.5) }, [[1, 1], [0, 1], [0, 1]]);
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
