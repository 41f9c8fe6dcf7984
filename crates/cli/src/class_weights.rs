//! `train.class_weights`: how much each label counts in the loss.

use std::collections::BTreeMap;

use anyhow::bail;
use locus_data::{Examples, LabelSet};
use serde::{Deserialize, Serialize};

/// As it stands in the run file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "toml::Value")]
pub(crate) enum ClassWeights {
    /// From the counts of the training examples.
    Auto(Auto),
    /// One per label, in their order.
    List(Vec<f64>),
    /// By name; 1 for labels that are not named.
    ByName(BTreeMap<String, f64>),
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auto {
    /// The only one.
    Auto,
}

impl TryFrom<toml::Value> for ClassWeights {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected \"auto\", a list of numbers in the order of the labels, or a table of numbers by label, found {value}"
            )
        };
        let number =
            |value: &toml::Value| value.as_float().or(value.as_integer().map(|n| n as f64)).ok_or_else(wrong);
        match &value {
            toml::Value::String(word) if word == "auto" => Ok(Self::Auto(Auto::Auto)),
            toml::Value::Array(list) => list.iter().map(number).collect::<Result<_, _>>().map(Self::List),
            toml::Value::Table(table) => {
                let pairs = table.iter().map(|(name, value)| Ok((name.clone(), number(value)?)));
                pairs.collect::<Result<_, _>>().map(Self::ByName)
            }
            _ => Err(wrong()),
        }
    }
}

impl ClassWeights {
    /// The weights that are no weights.
    pub(crate) fn out_of_range(&self) -> Vec<f64> {
        let weights: Vec<f64> = match self {
            Self::Auto(_) => Vec::new(),
            Self::List(list) => list.clone(),
            Self::ByName(table) => table.values().copied().collect(),
        };
        weights.into_iter().filter(|weight| !(weight.is_finite() && *weight >= 0.0)).collect()
    }

    /// One weight per label.
    ///
    /// # Errors
    /// If there is another number of weights than of labels, or a name that is no label.
    pub(crate) fn resolve(&self, labels: &LabelSet, train: &Examples) -> anyhow::Result<Vec<f32>> {
        let weights: Vec<f64> = match self {
            Self::Auto(_) => balanced(labels, train),
            Self::List(list) if list.len() == labels.len() => list.clone(),
            Self::List(list) => bail!(
                "train.class_weights has {} weights, expected one for each of the {} labels: {}",
                list.len(),
                labels.len(),
                labels.names().join(", ")
            ),
            Self::ByName(table) => {
                if let Some(error) = table.keys().find_map(|name| labels.require(name).err()) {
                    bail!("train.class_weights: {error}");
                }
                labels.names().iter().map(|name| table.get(name).copied().unwrap_or(1.0)).collect()
            }
        };
        Ok(weights.into_iter().map(|weight| weight as f32).collect())
    }
}

/// Of one label of several, `n / (labels · count)`, as scikit-learn's `class_weight="balanced"`; where an example may have
/// several, the examples without it over those with it, as PyTorch advises for `pos_weight`.
fn balanced(labels: &LabelSet, train: &Examples) -> Vec<f64> {
    let mut counts = vec![0_usize; labels.len()];
    let mut count = |name: &str| labels.id(name).into_iter().for_each(|id| counts[id] += 1);
    match train {
        Examples::Tagged(list) => list.iter().flat_map(|example| &example.tags).for_each(|tag| count(tag)),
        Examples::Labelled(list) => list.iter().for_each(|example| count(&example.label)),
        Examples::MultiLabelled(list) => {
            list.iter().flat_map(|example| &example.label).for_each(|label| count(label));
        }
        _ => {}
    }
    let total: usize = counts.iter().sum();
    let weight = |&count: &usize| {
        let n = count.max(1) as f64;
        match train {
            Examples::MultiLabelled(list) => (list.len() as f64 - n) / n,
            _ => total as f64 / (labels.len() as f64 * n),
        }
    };
    counts.iter().map(weight).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use locus_data::Row;

    use super::*;

    fn row<L>(label: L) -> Row<L> {
        Row { text: "t".into(), pair: None, label, line: 1 }
    }

    fn parsed(text: &str) -> Result<ClassWeights, String> {
        let table: toml::Table = format!("w = {text}").parse().unwrap();
        table["w"].clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn automatic_weights_balance() {
        let one = Examples::Labelled(["a", "b", "b", "b", "c", "c"].map(|l| row(l.to_owned())).to_vec());
        let labels = LabelSet::from_training(&one).unwrap();
        let auto = parsed("'auto'").unwrap();
        // sklearn.utils.class_weight.compute_class_weight("balanced", …)
        assert_eq!(auto.resolve(&labels, &one).unwrap(), [2.0, 2.0 / 3.0, 1.0]);
        let many = [vec!["a", "b"], vec!["b"], vec!["b", "c"], vec![]];
        let many = many.map(|labels| row(labels.into_iter().map(str::to_owned).collect()));
        let weights = auto.resolve(&labels, &Examples::MultiLabelled(many.to_vec())).unwrap();
        assert_eq!(weights, [3.0, 1.0 / 3.0, 3.0]);
    }

    #[test]
    fn given_weights_fit_the_labels() {
        let none = Examples::Text(Vec::new());
        let labels = LabelSet::new(["joy", "fear"]).unwrap();
        let resolve = |text: &str| parsed(text).unwrap().resolve(&labels, &none);
        assert_eq!(resolve("[2, 0.5]").unwrap(), [2.0, 0.5]);
        assert_eq!(resolve("{ fear = 3 }").unwrap(), [1.0, 3.0]);
        let error = resolve("[1.0]").unwrap_err().to_string();
        assert_eq!(
            error,
            "train.class_weights has 1 weights, expected one for each of the 2 labels: joy, fear"
        );
        let error = resolve("{ faer = 3 }").unwrap_err().to_string();
        assert!(error.contains("train.class_weights") && error.contains("fear"), "{error}");
        for wrong in ["'automatic'", "true", "['a']", "{ a = 'b' }"] {
            let error = parsed(wrong).unwrap_err();
            assert!(error.contains("expected \"auto\", a list"), "{error}");
        }
        assert_eq!(parsed("[1, -2.0]").unwrap().out_of_range(), [-2.0]);
    }
}
