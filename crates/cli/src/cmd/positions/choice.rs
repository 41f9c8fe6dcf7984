//! A scheme from a name and `--set key=value`.

use std::collections::BTreeMap;

use locus_embedding::position::PositionConfig;
use toml::{Table, Value};

use crate::run_file::{Problem, parse_assignment, set};

/// The scheme of this name with these keys and, over them, those that are set.
///
/// # Errors
/// With everything that is wrong with the name and the keys.
pub(crate) fn choose(name: &str, keys: Table, sets: &[String]) -> Result<PositionConfig, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut by_key: BTreeMap<String, (Table, Vec<&str>)> = BTreeMap::new();
    let mut all = keys;
    for assignment in sets {
        match parse_assignment("--set", assignment, "base=500") {
            Ok((path, value)) => {
                let (table, written) = by_key.entry(path[0].clone()).or_default();
                // What is nested lies over what was there.
                if let Some(before) = all.get(&path[0]).filter(|_| table.is_empty() && path.len() > 1) {
                    table.insert(path[0].clone(), before.clone());
                }
                set(table, &path, value);
                written.push(assignment);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if PositionConfig::named(name).is_none() {
        let error = read(name, Table::new()).err().unwrap_or_default();
        problems.push(Problem::new("scheme", name, &format!("one that there is ({error})")));
        return Err(problems);
    }
    for (table, written) in by_key.into_values() {
        match read(name, table.clone()) {
            Ok(_) => all.extend(table),
            Err(error) => {
                problems.push(Problem::new(
                    "--set",
                    written.join(" "),
                    &format!("another key or value ({error})"),
                ));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    read(name, all)
        .map_err(|error| vec![Problem::new("--set", sets.join(" "), &format!("other values ({error})"))])
}

/// The keys of a scheme's configuration, with their values.
pub(crate) fn keys_of(config: &PositionConfig) -> Table {
    let written = Value::try_from(config).ok();
    written.and_then(|value| value.get(config.name())?.as_table().cloned()).unwrap_or_default()
}

fn read(name: &str, keys: Table) -> Result<PositionConfig, String> {
    let table = Table::from_iter([(name.to_owned(), Value::Table(keys))]);
    Value::Table(table).try_into().map_err(|error: toml::de::Error| {
        let message = error.message().replace('\n', " ");
        message.trim_end_matches(|c: char| c == '.' || c.is_whitespace()).to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::{choose, keys_of};

    fn sets(sets: &[&str]) -> Vec<String> {
        sets.iter().map(|&set| set.to_owned()).collect()
    }

    fn problems(name: &str, given: &[&str]) -> String {
        let problems = choose(name, Default::default(), &sets(given)).err().unwrap_or_default();
        problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn keys_that_belong_together_are_read_together() {
        let given = ["base=500", "scaling.type=linear", "scaling.factor=2.0"];
        let config = choose("rotary", Default::default(), &sets(&given)).expect("fits");
        let keys = keys_of(&config);
        assert_eq!(keys["base"].as_float(), Some(500.0));
        assert_eq!(keys["scaling"]["factor"].as_float(), Some(2.0));
        // Keys that were there stay where nothing is set.
        let again = choose("rotary", keys, &sets(&["scaling.factor=4.0"])).expect("fits");
        assert_eq!(keys_of(&again)["scaling"]["factor"].as_float(), Some(4.0));
        assert_eq!(keys_of(&again)["base"].as_float(), Some(500.0));
    }

    #[test]
    fn all_problems_come_at_once() {
        let text = problems("rotary", &["bse=1", "pairing=thirds", "novalue"]);
        for part in ["bse", "`base`", "thirds", "`halves`", "novalue", "base=500"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = problems("rotory", &["novalue"]);
        assert!(text.contains("did you mean 'rotary'") && text.contains("novalue"), "{text}");
        assert!(problems("none", &["base=1"]).contains("base"));
    }
}
