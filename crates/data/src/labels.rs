//! The labels of a task, in a fixed order: the order of the head's outputs.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::error::did_you_mean;
use crate::{DataError, Examples};

/// Label names and their ids. Tags have `O` first, then each type's prefixes together; classes are sorted, numbers by
/// value. Serialised as the list of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct LabelSet {
    names: Vec<String>,
    ids: HashMap<String, usize>,
}

/// A label that training has never seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnknownLabel {
    /// Its name.
    pub label: String,
    /// The line where it is first used.
    pub line: usize,
    /// How often it is used.
    pub count: usize,
}

impl LabelSet {
    /// The labels in the given order.
    ///
    /// # Errors
    /// If a name comes twice or is empty, or there is none.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, DataError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(DataError::Argument("a label set needs at least one label".into()));
        }
        let mut ids = HashMap::with_capacity(names.len());
        for (id, name) in names.iter().enumerate() {
            if name.trim().is_empty() {
                return Err(DataError::Argument(format!("label {id} has an empty name")));
            }
            if let Some(first) = ids.insert(name.clone(), id) {
                return Err(DataError::Argument(format!(
                    "label `{name}` is listed twice, as {first} and as {id}"
                )));
            }
        }
        Ok(Self { names, ids })
    }

    /// The labels that occur in the training examples.
    ///
    /// # Errors
    /// If the examples have no labels.
    pub fn from_training(examples: &Examples) -> Result<Self, DataError> {
        let seen: BTreeSet<&str> = each_label(examples).map(|(label, _)| label).collect();
        if seen.is_empty() {
            return Err(DataError::Argument(format!("{} examples have no labels", examples.kind())));
        }
        let mut names: Vec<&str> = seen.into_iter().collect();
        match examples {
            Examples::Tagged(_) => {
                names.retain(|&name| name != "O");
                names.sort_by_key(|name| name.split_once('-').map(|(prefix, kind)| (kind, prefix)));
                names.insert(0, "O");
            }
            _ if names.iter().all(|name| name.parse::<i64>().is_ok()) => {
                names.sort_by_key(|name| name.parse::<i64>().unwrap_or(0));
            }
            _ => {}
        }
        Self::new(names)
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none; never true of a set that was built.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, in the order of their ids.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The id of a label.
    pub fn id(&self, name: &str) -> Option<usize> {
        self.ids.get(name).copied()
    }

    /// The name of an id.
    pub fn name(&self, id: usize) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }

    /// The id of a label.
    ///
    /// # Errors
    /// If it is not in the set; the message names the nearest that is.
    pub fn require(&self, name: &str) -> Result<usize, DataError> {
        self.id(name).ok_or_else(|| DataError::UnknownLabel {
            found: name.to_owned(),
            hint: did_you_mean(name, self.names.iter().map(String::as_str)),
            known: self.names.clone(),
        })
    }

    /// The labels of `examples` that are not in the set, in the order of first use.
    pub fn unknown(&self, examples: &Examples) -> Vec<UnknownLabel> {
        let mut found: Vec<UnknownLabel> = Vec::new();
        for (label, line) in each_label(examples).filter(|(label, _)| self.id(label).is_none()) {
            match found.iter_mut().find(|unknown| unknown.label == label) {
                Some(unknown) => unknown.count += 1,
                None => found.push(UnknownLabel { label: label.to_owned(), line, count: 1 }),
            }
        }
        found
    }
}

impl TryFrom<Vec<String>> for LabelSet {
    type Error = DataError;

    fn try_from(names: Vec<String>) -> Result<Self, DataError> {
        Self::new(names)
    }
}

impl From<LabelSet> for Vec<String> {
    fn from(set: LabelSet) -> Self {
        set.names
    }
}

/// Every label with the line of its example.
pub(crate) fn each_label(examples: &Examples) -> Box<dyn Iterator<Item = (&str, usize)> + '_> {
    match examples {
        Examples::Tagged(list) => Box::new(
            list.iter().flat_map(|example| example.tags.iter().map(|tag| (tag.as_str(), example.line))),
        ),
        Examples::Spans(list) => Box::new(
            list.iter()
                .flat_map(|example| example.spans.iter().map(|span| (span.label.as_str(), example.line))),
        ),
        Examples::Labelled(list) => {
            Box::new(list.iter().map(|example| (example.label.as_str(), example.line)))
        }
        Examples::MultiLabelled(list) => {
            Box::new(list.iter().flat_map(|row| row.label.iter().map(|label| (label.as_str(), row.line))))
        }
        Examples::Scored(_)
        | Examples::Text(_)
        | Examples::Pairs(_)
        | Examples::Qa(_)
        | Examples::Ranked(_) => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labelled, Tagged};

    fn tagged(tags: &[&str], line: usize) -> Tagged {
        Tagged {
            words: tags.iter().map(|_| "w".to_owned()).collect(),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            line,
        }
    }

    fn labelled(label: &str, line: usize) -> Labelled {
        Labelled { text: "t".into(), pair: None, label: label.into(), line }
    }

    #[test]
    fn tags_have_o_first_and_types_together() {
        let examples = Examples::Tagged(vec![tagged(&["I-PER", "B-PER", "B-LOC", "I-A-B"], 1)]);
        let set = LabelSet::from_training(&examples).expect("labels");
        assert_eq!(set.names(), ["O", "I-A-B", "B-LOC", "B-PER", "I-PER"]);
        assert_eq!((set.id("O"), set.id("B-PER"), set.name(2)), (Some(0), Some(3), Some("B-LOC")));
    }

    #[test]
    fn numbers_are_sorted_by_value() {
        let examples = Examples::Labelled(["10", "9", "0"].map(|label| labelled(label, 1)).to_vec());
        assert_eq!(LabelSet::from_training(&examples).expect("labels").names(), ["0", "9", "10"]);
    }

    #[test]
    fn a_text_may_have_many_labels_or_none() {
        let row = |labels: &[&str], line| crate::MultiLabelled {
            text: "t".into(),
            pair: None,
            label: labels.iter().map(|&label| label.to_owned()).collect(),
            line,
        };
        let train = Examples::MultiLabelled(vec![row(&["joy", "anger"], 1), row(&[], 2), row(&["joy"], 3)]);
        let set = LabelSet::from_training(&train).expect("labels");
        assert_eq!(set.names(), ["anger", "joy"]);
        let dev = Examples::MultiLabelled(vec![row(&["joy", "fear"], 5)]);
        assert_eq!(set.unknown(&dev), [UnknownLabel { label: "fear".into(), line: 5, count: 1 }]);
        assert!(LabelSet::from_training(&Examples::MultiLabelled(vec![row(&[], 1)])).is_err());
    }

    #[test]
    fn labels_outside_training_are_listed_with_their_line() {
        let set = LabelSet::new(["O", "B-PER"]).expect("labels");
        let dev = Examples::Tagged(vec![tagged(&["O", "B-ORG"], 4), tagged(&["B-ORG", "B-PER"], 7)]);
        assert_eq!(set.unknown(&dev), [UnknownLabel { label: "B-ORG".into(), line: 4, count: 2 }]);
    }

    #[test]
    fn an_unknown_label_names_the_nearest() {
        let set = LabelSet::new(["positive", "negative"]).expect("labels");
        let error = set.require("Positve").expect_err("misspelt").to_string();
        assert!(error.contains("did you mean `positive`?"), "{error}");
    }

    #[test]
    fn serialises_as_names_and_refuses_duplicates() {
        let set = LabelSet::new(["b", "a"]).expect("labels");
        let json = serde_json::to_string(&set).expect("json");
        assert_eq!(json, r#"["b","a"]"#);
        assert_eq!(serde_json::from_str::<LabelSet>(&json).expect("json"), set);
        let error = serde_json::from_str::<LabelSet>(r#"["a","a"]"#).expect_err("twice").to_string();
        assert!(error.contains("listed twice"), "{error}");
        assert!(LabelSet::new([" "]).is_err());
        assert!(LabelSet::from_training(&Examples::Text(vec!["a".into()])).is_err());
    }
}
