//! Layers of a run file, and every key that is unknown or has a value of the wrong kind.

use std::path::Path;

use locus_data::ReadOptions;
use toml::{Table, Value};

use super::{ConfigErrors, Problem, RunFile};
use crate::UsageError;

/// Where the file layer comes from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// A recipe's name or a file's path, for messages.
    pub(crate) origin: String,
    /// The text.
    pub(crate) text: String,
}

/// Reads the layers and checks them.
///
/// # Errors
/// With every problem: keys that are unknown, values of the wrong kind or out of range, in the file and in `--set`.
pub(crate) fn load(source: &Source, sets: &[String]) -> anyhow::Result<RunFile> {
    let mut table: Table = source.text.parse().map_err(|error: toml::de::Error| {
        UsageError(format!("{} is not TOML: {}", source.origin, error.to_string().trim_end()))
    })?;
    let mut problems = Vec::new();
    for assignment in sets {
        match parse_assignment("--set", assignment, "train.epochs=3") {
            Ok((path, value)) => set(&mut table, &path, value),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(wrong_leaves(&table));
    let checked = if problems.is_empty() {
        // Each key is right by itself, so this fails only where keys contradict one another.
        Value::Table(table).try_into::<RunFile>().map_err(|error| {
            vec![Problem::new("run file", error.message().replace('\n', " "), "a valid run file")]
        })
    } else {
        // Values are checked as far as the keys can be read, so that all problems come at once.
        let readable = without_wrong_leaves(table);
        problems
            .extend(Value::Table(readable).try_into::<RunFile>().map(|run| run.check()).unwrap_or_default());
        Err(problems)
    };
    let problems = match checked {
        Ok(run) => match run.check() {
            problems if problems.is_empty() => return Ok(run.with_objective()),
            problems => problems,
        },
        Err(problems) => problems,
    };
    Err(ConfigErrors { origin: source.origin.clone(), problems }.into())
}

/// The options that `key=value` pairs set.
///
/// # Errors
/// With every pair that sets no option, or sets it wrongly.
pub(crate) fn read_options(sets: &[String]) -> Result<ReadOptions, ConfigErrors> {
    let mut table = Table::new();
    let mut problems = Vec::new();
    for assignment in sets {
        let mut one = Table::new();
        match parse_assignment("--read", assignment, "columns.text=1") {
            Ok((path, value)) => {
                set(&mut one, &path, value.clone());
                match Value::Table(one).try_into::<ReadOptions>() {
                    Ok(_) => set(&mut table, &path, value),
                    Err(error) => {
                        let allowed =
                            format!("another key or value ({})", error.message().replace('\n', " "));
                        problems.push(Problem::new("--read", assignment.clone(), &allowed));
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    match Value::Table(table).try_into() {
        Ok(options) if problems.is_empty() => Ok(options),
        _ => Err(ConfigErrors { origin: "--read".to_owned(), problems }),
    }
}

/// `key.path=value`; the value is TOML, or a string where it is not.
pub(crate) fn parse_assignment(
    flag: &str,
    text: &str,
    example: &str,
) -> Result<(Vec<String>, Value), Problem> {
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
        return Err(Problem::new(flag, text, &format!("key=value, for instance {example}")));
    };
    let value = value.trim();
    let parsed = format!("value = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    let path = key.trim().split('.').map(str::to_owned).collect();
    Ok((path, parsed.unwrap_or_else(|| Value::String(value.to_owned()))))
}

/// Puts a value below a path of keys.
pub(crate) fn set(table: &mut Table, path: &[String], value: Value) {
    let [key, rest @ ..] = path else { return };
    if rest.is_empty() {
        table.insert(key.clone(), value);
        return;
    }
    let below = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
    // `position = "alibi"` gives way to `position.rotary.base`, and the table of one choice to that of another.
    let is_choice = [
        "position",
        "embedding_position",
        "embedding_projection",
        "combine",
        "over",
        "between",
        "distances",
        "warmup",
        "clip_norm",
        "objective",
        "adapter",
    ]
    .contains(&key.as_str());
    let other_choice = is_choice && below.as_table().is_some_and(|t| !t.contains_key(&rest[0]));
    if !below.is_table() || other_choice {
        *below = Value::Table(Table::new());
    }
    if let Value::Table(below) = below {
        set(below, rest, value);
    }
}

/// Sections are tables whose keys are checked one by one; what is below a key is one value.
const SECTIONS: [&str; 4] = ["data", "tokenizer", "model", "train"];

fn leaves(table: &Table) -> Vec<(String, Table)> {
    let mut leaves = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(section) if SECTIONS.contains(&key.as_str()) => {
                leaves.extend(section.iter().map(|(leaf, value)| {
                    let section = Table::from_iter([(leaf.clone(), value.clone())]);
                    (format!("{key}.{leaf}"), Table::from_iter([(key.clone(), Value::Table(section))]))
                }));
            }
            _ => leaves.push((key.clone(), Table::from_iter([(key.clone(), value.clone())]))),
        }
    }
    leaves
}

fn wrong_leaves(table: &Table) -> Vec<Problem> {
    leaves(table).into_iter().filter_map(|(key, leaf)| leaf_problem(&key, leaf)).collect()
}

fn leaf_problem(key: &str, leaf: Table) -> Option<Problem> {
    let shown = shown(&leaf);
    let error = Value::Table(leaf).try_into::<RunFile>().err()?;
    let message = error.message().replace('\n', " ");
    let message = message.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    let Some(known) = message.strip_prefix("unknown field ").and_then(|rest| rest.split_once("expected "))
    else {
        return Some(Problem::new(key, shown, &format!("another value ({message})")));
    };
    let wrong = known.0.split('`').nth(1).unwrap_or_default();
    let names: Vec<&str> = known.1.split('`').skip(1).step_by(2).collect();
    let nearest = names.iter().max_by(|a, b| strsim::jaro(a, wrong).total_cmp(&strsim::jaro(b, wrong)));
    // A key of another section, for instance `epochs` without `[train]`.
    let elsewhere = known_keys().into_iter().find(|key| key.rsplit('.').next() == Some(wrong));
    let nearest = elsewhere.or_else(|| nearest.map(|name| (*name).to_owned())).unwrap_or_default();
    let allowed = format!("a known key; nearest to '{wrong}' is '{nearest}'; known: {}", names.join(", "));
    Some(Problem::new(key, shown, &allowed))
}

/// All keys that have a default, with their sections.
fn known_keys() -> Vec<String> {
    let defaults = Table::try_from(RunFile::default()).unwrap_or_default();
    leaves(&defaults).into_iter().map(|(key, _)| key).collect()
}

/// The value under one or two keys.
fn shown(leaf: &Table) -> String {
    let Some((key, value)) = leaf.iter().next() else { return String::new() };
    let value = match value {
        Value::Table(section) if SECTIONS.contains(&key.as_str()) => section.values().next().unwrap_or(value),
        _ => value,
    };
    value.to_string()
}

fn without_wrong_leaves(mut table: Table) -> Table {
    let wrong: Vec<String> = leaves(&table)
        .into_iter()
        .filter_map(|(key, leaf)| Value::Table(leaf).try_into::<RunFile>().is_err().then_some(key))
        .collect();
    for key in wrong {
        match key.split_once('.') {
            Some((section, leaf)) => {
                if let Some(Value::Table(section)) = table.get_mut(section) {
                    section.remove(leaf);
                }
            }
            None => {
                table.remove(&key);
            }
        }
    }
    table
}

impl Source {
    /// A recipe by name, or a file by path.
    ///
    /// # Errors
    /// If there is neither; the message names the nearest recipe.
    pub(crate) fn find(name: &str) -> anyhow::Result<Self> {
        if let Some(recipe) = crate::recipes::find(name) {
            return Ok(Self { origin: format!("recipe '{name}'"), text: recipe.text.to_owned() });
        }
        let path = Path::new(name);
        if path.extension().is_none() && !path.exists() {
            return Err(UsageError(crate::recipes::unknown(name)).into());
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| UsageError(format!("cannot read the run file {name}: {error}")))?;
        Ok(Self { origin: name.to_owned(), text })
    }
}

#[cfg(test)]
mod tests {
    use super::{Source, load};

    const FILE: &str = "task = \"ner\"\n[data]\ntrain = \"x.conll\"\n";

    fn problems(text: &str, sets: &[&str]) -> String {
        let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
        let source = Source { origin: "test.toml".to_owned(), text: text.to_owned() };
        load(&source, &sets).map(|_| String::new()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn all_problems_come_at_once_with_the_nearest_name() {
        let text = format!("{FILE}token_dropout = 2\n[model]\nn_hedas = 3\nd_model = 'wide'\n");
        let sets =
            ["train.epochs=many", "model.position=rotory", "train.gradient_checkpointing=blocks", "novalue"];
        let text = problems(&text, &sets);
        for part in [
            "n_hedas",
            "'n_heads'",
            "model.d_model = \"wide\"",
            "train.epochs",
            "`none` or `block`",
            "'rotary'",
            "novalue",
            "token_dropout",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_set_replaces_the_scheme() {
        let text = format!("{FILE}[model.position.rotary]\nbase = 500.0\n");
        let source = Source { origin: String::new(), text };
        for (set, name) in [("model.position=none", "none"), ("model.position.t5.n_buckets=8", "t5")] {
            let run = load(&source, &[set.to_owned()]).expect("fits");
            assert_eq!(run.model.stack.position.name(), name);
        }
    }

    #[test]
    fn the_resolved_file_reads_back_as_itself() {
        let source = Source { origin: String::new(), text: FILE.to_owned() };
        let sets =
            ["model.n_heads=2", "train.class_weights.B-X=2", "train.class_weights.O=0.5"].map(str::to_owned);
        let run = load(&source, &sets).expect("fits");
        let text = toml::to_string(&run).expect("written");
        assert_eq!(load(&Source { origin: String::new(), text }, &[]).expect("fits"), run);
    }
}
