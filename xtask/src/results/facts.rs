//! What is kept of runs, and the files that it lies in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use locus_metrics::bootstrap::Interval;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Where evaluations lie among the recipes.
pub(super) const EVALUATIONS: &str = "evaluations";

/// What is kept of a run. `report.json` has these fields among others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) recipe: String,
    pub(super) command: String,
    pub(super) data_set: Option<String>,
    pub(super) position: String,
    pub(super) backend: String,
    pub(super) threads: usize,
    pub(super) seed: u64,
    pub(super) n_params: usize,
    pub(super) score_name: String,
    pub(super) part: String,
    pub(super) n_examples: usize,
    /// Reports of older versions have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) examples_hash: Option<String>,
    pub(super) score: f64,
    pub(super) interval: Option<[f64; 2]>,
    pub(super) dev_score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) difference: Option<Difference>,
    pub(super) train: Training,
}

/// The score less that of another run on the same examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Difference {
    /// The other's variant, or its position schemes.
    pub(super) from: String,
    pub(super) value: f64,
    pub(super) interval: Interval,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Training {
    pub(super) seconds: f64,
}

/// `docs/results/baselines.json`, which `oracle/baselines.py` writes.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Baselines {
    pub(super) sets: BTreeMap<String, Baseline>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Baseline {
    pub(super) method: String,
    pub(super) dev: BTreeMap<String, f64>,
    pub(super) test: BTreeMap<String, f64>,
    pub(super) seconds: f64,
}

/// The loss of a language model in other units.
#[derive(Deserialize)]
pub(super) struct Units {
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) dev_metrics: BTreeMap<String, f64>,
}

/// What is kept of a model scored on a set that it was not trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Scored {
    pub(super) model: String,
    pub(super) command: String,
    pub(super) data_set: String,
    pub(super) part: String,
    pub(super) threads: usize,
    pub(super) score_name: String,
    pub(super) n_examples: usize,
    pub(super) score: f64,
    pub(super) interval: Option<[f64; 2]>,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) seconds: f64,
}

/// One run of `docs/results/references.json`, which `oracle/finetune.py` writes.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Reference {
    pub(super) set: String,
    pub(super) method: String,
    pub(super) position: String,
    pub(super) seed: u64,
    pub(super) dev: BTreeMap<String, f64>,
    pub(super) test: BTreeMap<String, f64>,
    pub(super) train_s: f64,
    pub(super) threads: usize,
    pub(super) command: String,
}

/// What the runs of a set stand beside.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) baselines: Baselines,
    pub(super) references: Vec<Reference>,
}

/// The runs of each recipe by variant.
pub(super) type Runs = BTreeMap<String, BTreeMap<String, Vec<Run>>>;

pub(super) fn all_evaluations(dir: &Path) -> Result<Vec<Scored>, String> {
    entries(dir)?.iter().filter(|path| is_json(path)).map(|file| parse(file)).collect()
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|ext| ext == "json")
}

pub(super) fn all_runs(dir: &Path) -> Result<Runs, String> {
    let mut runs = Runs::new();
    let recipes = entries(dir)?.into_iter().filter(|path| path.is_dir() && !path.ends_with(EVALUATIONS));
    for recipe in recipes {
        for file in entries(&recipe)?.into_iter().filter(|path| is_json(path)) {
            runs.entry(stem(&recipe)).or_default().insert(stem(&file), parse(&file)?);
        }
    }
    Ok(runs)
}

pub(super) fn keep(path: &Path, what: &impl Serialize) -> Result<(), String> {
    let json = serde_json::to_string_pretty(what).map_err(|error| error.to_string())?;
    write(path, &(json + "\n"))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

fn stem(path: &Path) -> String {
    path.with_extension("").file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What lies in a folder, which need not be there, in order.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, String> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let wrong = |error| format!("cannot list {}: {error}", dir.display());
    let entries = fs::read_dir(dir).map_err(wrong)?.map(|entry| entry.map(|entry| entry.path()));
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    entries.sort();
    Ok(entries)
}

pub(super) fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    serde_json::from_str(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

/// The same of a file that need not be there.
pub(super) fn parse_there<T: DeserializeOwned + Default>(path: &Path) -> Result<T, String> {
    if path.exists() { parse(path) } else { Ok(T::default()) }
}

pub(super) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    let wrong = |error| format!("cannot write {}: {error}", path.display());
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(wrong)?;
    fs::write(path, text).map_err(wrong)
}

/// Facts to try it on.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub(in super::super) fn run(seed: u64, score: f64) -> Run {
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

    pub(in super::super) fn scored() -> Scored {
        Scored {
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
        }
    }
}
