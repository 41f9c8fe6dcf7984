//! Rows that rank: candidates of queries, one a row, or a question with its choices in one row.

use std::collections::HashMap;

use serde_json::Value;

use super::cell::{self, describe};
use super::keys::{Finder, Key};
use crate::error::Problems;
use crate::{Candidate, Column, Columns, DataError, Ranking};

/// Usual names, the most telling first.
const QUERY: [&str; 7] = ["query", "question", "context", "premise", "prompt", "user", "text"];
const ITEM: [&str; 6] = ["item", "candidate", "document", "passage", "title", "choice"];
const GAIN: [&str; 5] = ["gain", "relevance", "label", "rating", "score"];
const GROUP: [&str; 4] = ["group", "qid", "query_id", "question_id"];
const FEATURES: [&str; 1] = ["features"];
const CHOICES: [&str; 4] = ["choices", "options", "endings", "candidates"];
const ANSWER: [&str; 3] = ["label", "answer", "gold"];

/// Where the parts of a ranking stand.
pub(super) enum Layout {
    /// A candidate in each row.
    Candidates { query: Key, item: Key, gain: Key, group: Option<Key>, features: Vec<Key> },
    /// A question with its choices in each row.
    Choices { query: Key, choices: Vec<Key>, answer: Key },
}

impl Layout {
    pub(super) fn find(finder: &Finder<'_>, columns: &Columns) -> Result<Self, DataError> {
        let query = finder.find("query", &columns.query, &QUERY, |_| true)?;
        let choices = many(finder, "choices", &columns.choices, &CHOICES, Value::is_array)?;
        if !choices.is_empty() {
            let answer = finder.find("label", &columns.label, &ANSWER, |value| !value.is_array())?;
            let (is_query, is_answer) = (query.is_some(), answer.is_some());
            return query
                .zip(answer)
                .map(|(query, answer)| Self::Choices { query, choices, answer })
                .ok_or_else(|| {
                    finder.unclear(&missing("the choices", &[("query", is_query), ("label", is_answer)]))
                });
        }
        let item =
            finder.find("item", &columns.item, &ITEM, |_| true)?.filter(|item| Some(item) != query.as_ref());
        let gain = finder.find("gain", &columns.gain, &GAIN, |value| !value.is_array())?;
        let group = finder.find("group", &columns.group, &GROUP, |_| true)?;
        let features = many(finder, "features", &columns.features, &FEATURES, |value| !value.is_object())?;
        let found = [("query", query.is_some()), ("item", item.is_some()), ("gain", gain.is_some())];
        match (query, item, gain) {
            (Some(query), Some(item), Some(gain)) => {
                Ok(Self::Candidates { query, item, gain, group, features })
            }
            _ => Err(finder.unclear(&format!(
                "{}, or columns.choices where a row has all candidates",
                missing("the candidates", &found)
            ))),
        }
    }
}

/// The configured columns, or one with a usual name.
fn many(
    finder: &Finder<'_>,
    key: &str,
    wanted: &[Column],
    usual: &[&str],
    fits: impl Fn(&Value) -> bool,
) -> Result<Vec<Key>, DataError> {
    if wanted.is_empty() {
        return Ok(finder.find(key, &None, usual, fits)?.into_iter().collect());
    }
    let mut keys = Vec::with_capacity(wanted.len());
    for column in wanted {
        keys.extend(finder.find(key, &Some(column.clone()), usual, |_| true)?);
    }
    Ok(keys)
}

fn missing(what: &str, keys: &[(&str, bool)]) -> String {
    let missing: Vec<String> =
        keys.iter().filter(|(_, found)| !found).map(|(key, _)| format!("columns.{key}")).collect();
    format!("no column for {what}; set {}", missing.join(" and "))
}

/// A candidate with the query that it belongs to.
pub(super) struct Part {
    group: Option<String>,
    query: String,
    candidate: Candidate,
    line: usize,
}

/// A row with one candidate.
pub(super) fn candidate(
    row: &Value,
    line: usize,
    [query, item, gain]: [&Key; 3],
    group: Option<&Key>,
    features: &[Key],
) -> Result<Part, String> {
    let name = |key: &Key| match cell::get(row, key)? {
        Value::String(name) if !name.trim().is_empty() => Ok(name.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("expected a name or a number in {key}, found {}", describe(other))),
    };
    let worth = cell::score(row, gain)?;
    if worth < 0.0 {
        return Err(format!("expected a number from 0 in {gain}, found {worth}"));
    }
    let candidate =
        Candidate { text: cell::text(row, item)?, gain: worth, features: numbers(row, features)? };
    Ok(Part { group: group.map(name).transpose()?, query: cell::text(row, query)?, candidate, line })
}

fn numbers(row: &Value, keys: &[Key]) -> Result<Vec<f64>, String> {
    let mut numbers = Vec::new();
    for key in keys {
        let Value::Array(list) = cell::get(row, key)? else {
            numbers.push(cell::score(row, key)?);
            continue;
        };
        for value in list {
            let number = value.as_f64().filter(|number| number.is_finite());
            numbers
                .push(number.ok_or_else(|| format!("expected numbers in {key}, found {}", describe(value)))?);
        }
    }
    Ok(numbers)
}

/// The candidates of each query together, in the order in which queries come. Without names of groups equal queries are one.
pub(super) fn grouped(parts: Vec<Part>, problems: &mut Problems) -> Vec<Ranking> {
    let n_features = parts.first().map_or(0, |part| part.candidate.features.len());
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut rankings: Vec<Ranking> = Vec::new();
    for Part { group, query, candidate, line } in parts {
        let found = candidate.features.len();
        if found != n_features {
            problems.at(line, format!("expected {n_features} features as in the first row, found {found}"));
        }
        let id = group.unwrap_or_else(|| query.clone());
        let place = *places.entry(id.clone()).or_insert(rankings.len());
        if place == rankings.len() {
            rankings.push(Ranking { id, query, candidates: vec![candidate], time: None, line });
            continue;
        }
        let ranking = &mut rankings[place];
        if ranking.query != query {
            let first = ranking.line;
            problems.at(
                line,
                format!("group `{id}` has another query on line {first}; expected one for each group"),
            );
        }
        ranking.candidates.push(candidate);
    }
    rankings
}

/// A row with a question and its choices, of which one is right.
pub(super) fn choices(
    row: &Value,
    line: usize,
    query: &Key,
    choices: &[Key],
    answer: &Key,
) -> Result<Ranking, String> {
    let mut texts = Vec::new();
    for key in choices {
        match cell::get(row, key)? {
            Value::Array(list) => {
                for choice in list {
                    let text = choice.as_str().filter(|text| !text.trim().is_empty());
                    let text =
                        text.ok_or_else(|| format!("expected texts in {key}, found {}", describe(choice)))?;
                    texts.push(text.to_owned());
                }
            }
            _ => texts.push(cell::text(row, key)?),
        }
    }
    if texts.len() < 2 {
        return Err(format!("expected at least 2 choices, found {}", texts.len()));
    }
    let right = right(cell::get(row, answer)?, &texts).ok_or_else(|| {
        let found = cell::get(row, answer).map(ToString::to_string).unwrap_or_default();
        format!(
            "expected in {answer} the number of a choice, 0 to {}, its letter from A, or its text; found {found}",
            texts.len() - 1
        )
    })?;
    let candidate = |(at, text): (usize, String)| Candidate {
        text,
        gain: f64::from(u8::from(at == right)),
        features: Vec::new(),
    };
    Ok(Ranking {
        id: line.to_string(),
        query: cell::text(row, query)?,
        candidates: texts.into_iter().enumerate().map(candidate).collect(),
        time: None,
        line,
    })
}

/// Which choice an answer means.
fn right(answer: &Value, texts: &[String]) -> Option<usize> {
    let at = match answer {
        Value::Number(number) => usize::try_from(number.as_u64()?).ok()?,
        Value::String(answer) => {
            let answer = answer.trim();
            let letter = match answer.as_bytes() {
                [letter @ b'A'..=b'Z'] => Some(usize::from(letter - b'A')),
                _ => None,
            };
            texts.iter().position(|text| text.trim() == answer).or(letter).or_else(|| answer.parse().ok())?
        }
        _ => return None,
    };
    (at < texts.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use crate::read::testing::read_text;
    use crate::{Columns, Examples, Kind, Ranking, ReadOptions};

    fn ranked(name: &str, text: &str, columns: Columns) -> Result<Vec<Ranking>, String> {
        let options = ReadOptions { kind: Some(Kind::Ranked), columns, ..Default::default() };
        match read_text(name, text, &options)? {
            Examples::Ranked(list) => Ok(list),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn rows_of_one_group_become_one_ranking() {
        let text = "qid,query,item,relevance,price\n1,tea,green,2,3.5\n2,hat,cap,1,7\n1,tea,cup,0,-1\n";
        let columns = Columns { features: vec!["price".into()], ..Default::default() };
        let list = ranked("a.csv", text, columns).expect("reads");
        let gains =
            |at: usize| list[at].candidates.iter().map(|c| (c.gain, c.features[0])).collect::<Vec<_>>();
        assert_eq!((list.len(), list[0].query.as_str(), list[1].line), (2, "tea", 3));
        assert_eq!((gains(0), gains(1)), (vec![(2.0, 3.5), (0.0, -1.0)], vec![(1.0, 7.0)]));
        // Without groups, equal queries are one; JSON lines may hold lists of features.
        let text = "{\"query\": \"a\", \"item\": \"x\", \"gain\": 1, \"features\": [1, 2.5]}\n\
                    {\"query\": \"a\", \"item\": \"y\", \"gain\": 0, \"features\": [0, 5]}\n";
        let list = ranked("a.jsonl", text, Columns::default()).expect("reads");
        assert_eq!((list.len(), list[0].candidates[1].features.clone()), (1, vec![0.0, 5.0]));
    }

    #[test]
    fn a_row_of_choices_is_a_ranking() {
        for answer in ["1", "\"B\"", "\"cold\"", "\"1\""] {
            let text =
                format!("{{\"question\": \"q\", \"choices\": [\"hot\", \"cold\"], \"label\": {answer}}}\n");
            let list = ranked("a.jsonl", &text, Columns::default()).expect("reads");
            let gains: Vec<f64> = list[0].candidates.iter().map(|c| c.gain).collect();
            assert_eq!(gains, [0.0, 1.0], "{answer}");
        }
        let text = "context,ending0,ending1,label\nq,hot,cold,0\n";
        let columns = Columns { choices: vec!["ending0".into(), "ending1".into()], ..Default::default() };
        let list = ranked("a.csv", text, columns).expect("reads");
        assert_eq!(list[0].candidates[0].gain, 1.0);
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        let error = |text: &str| ranked("a.jsonl", text, Columns::default()).expect_err("wrong");
        let found = error(
            "{\"group\": 1, \"query\": \"a\", \"item\": \"x\", \"gain\": 1}\n\
             {\"group\": 1, \"query\": \"b\", \"item\": \"y\", \"gain\": 0}\n\
             {\"group\": 1, \"query\": \"a\", \"item\": \"z\", \"gain\": -2}\n",
        );
        assert!(found.contains("a.jsonl:2: group `1` has another query on line 1"), "{found}");
        assert!(found.contains("a.jsonl:3: expected a number from 0 in `gain`, found -2"), "{found}");
        let found = error("{\"question\": \"q\", \"choices\": [\"hot\", \"cold\"], \"label\": 2}\n");
        assert!(found.contains("0 to 1, its letter from A, or its text; found 2"), "{found}");
        let found = error("{\"query\": \"a\", \"other\": \"x\"}\n");
        assert!(found.contains("set columns.item and columns.gain, or columns.choices"), "{found}");
    }
}
