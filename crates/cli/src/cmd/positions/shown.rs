//! What `positions show` tells: as JSON, and what text and drawing share.

use std::collections::BTreeMap;

use locus_backend::mask::HIDDEN_SCORE;
use locus_embedding::position::{Facts, PositionConfig, PositionShape};
use locus_encoder::{Array, Inspection, Look, Part};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::json;

use super::list::form_name;

/// Everything, with all digits.
pub(super) fn json(config: &PositionConfig, look: &Look, shown: &Inspection) -> serde_json::Result<String> {
    let PositionShape { d_model, n_heads, d_head, max_seq_len, form, .. } = look.shape;
    let Facts { family, does, parameters, paper, .. } = config.facts();
    let head = json!({
        "scheme": config.name(),
        "family": family.to_string(),
        "does": does,
        "n_parameters": parameters,
        "paper": paper,
        "config": config,
        "q": look.q,
        "k": look.k,
        "n_heads": n_heads,
        "d_head": d_head,
        "d_model": d_model,
        "max_seq_len": max_seq_len,
        "form": form_name(form),
        "seed": look.seed,
        "ids": look.ids,
        "segments": look.segments,
        "positions": shown.positions,
    });
    serde_json::to_string(&Whole { head, look, shown })
}

struct Whole<'a> {
    head: serde_json::Value,
    look: &'a Look,
    shown: &'a Inspection,
}

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.head.as_object().into_iter().flatten() {
            map.serialize_entry(key, value)?;
        }
        let parameters: Vec<(&str, Nested<'_>)> =
            self.shown.parameters.iter().map(|(name, array)| (name.as_str(), Nested::of(array))).collect();
        map.serialize_entry("parameters", &Entries(parameters))?;
        for (key, parts) in
            [("input", &self.shown.inputs), ("does_to", &self.shown.parts), ("result", &self.shown.results)]
        {
            map.serialize_entry(key, &Entries(parts.iter().map(|part| (part.name, Tensor(part))).collect()))?;
        }
        let seen: Vec<&[bool]> = self.shown.seen.chunks(self.look.k).collect();
        map.serialize_entry("seen", &seen)?;
        map.end()
    }
}

struct Entries<'a, T>(Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for Entries<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

struct Tensor<'a>(&'a Part);

impl Serialize for Tensor<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("what", self.0.what)?;
        map.serialize_entry("axes", &self.0.array.axes)?;
        map.serialize_entry("values", &Nested::of(&self.0.array))?;
        map.end()
    }
}

/// An array as lists in lists.
struct Nested<'a> {
    dims: &'a [usize],
    values: &'a [f32],
}

impl<'a> Nested<'a> {
    fn of(array: &'a Array) -> Self {
        Self { dims: &array.dims, values: &array.values }
    }
}

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [n, below @ ..] = self.dims else { return self.values.serialize(serializer) };
        if below.is_empty() {
            return self.values.serialize(serializer);
        }
        let mut list = serializer.serialize_seq(Some(*n))?;
        for values in self.values.chunks((self.values.len() / n.max(&1)).max(1)) {
            list.serialize_element(&Nested { dims: below, values })?;
        }
        list.end()
    }
}

/// Whether a score is one that hides its key.
pub(super) fn is_hidden(value: f32) -> bool {
    value < HIDDEN_SCORE / 2.0
}

/// Values by distance, where nothing but the distance of query and key decides: for each distance, ascending, a value
/// for each head. Cells that the mask hides do not count.
pub(super) fn by_distance(array: &Array, shown: &Inspection) -> Option<Vec<(f64, Vec<f32>)>> {
    let [.., q, k] = array.dims[..] else { return None };
    if !array.axes.ends_with(&["query", "key"]) || q * k != shown.seen.len() {
        return None;
    }
    let heads: Vec<&[f32]> = array.values.chunks(q * k).collect();
    let mut found: BTreeMap<i64, (f64, Vec<f32>)> = BTreeMap::new();
    for cell in (0..q * k).filter(|cell| shown.seen[*cell]) {
        let distance = shown.positions[k - q + cell / k] - shown.positions[cell % k];
        let values: Vec<f32> = heads.iter().map(|head| head[cell]).collect();
        // Distances are told apart to a thousandth.
        let known = found.entry((distance * 1e3).round() as i64).or_insert((distance, values.clone()));
        let same = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs().max(b.abs()).max(1.0);
        if !known.1.iter().zip(&values).all(same) {
            return None;
        }
    }
    Some(found.into_values().collect())
}

/// The rotation of pairs, if that is what becomes of unit vectors.
pub(super) struct Turned {
    /// The two dimensions of each pair.
    pub(super) pairs: Vec<(usize, usize)>,
    /// For each view and head: for each token, cosine and sine of each pair.
    pub(super) tables: Vec<Vec<Vec<(f32, f32)>>>,
    pub(super) views: usize,
}

/// Reads cosines and sines from what becomes of unit vectors, `[view, head, token, unit, dimension]`; nothing where they
/// leave a plane.
pub(super) fn turned(array: &Array) -> Option<Turned> {
    let [views, heads, tokens, units, width] = array.dims[..] else { return None };
    if units != width {
        return None;
    }
    let mut partner: Vec<Option<usize>> = vec![None; width];
    for (idx, _) in array.values.iter().enumerate().filter(|(_, value)| **value != 0.0) {
        let (unit, dimension) = (idx / width % units, idx % width);
        if unit != dimension && *partner[unit].get_or_insert(dimension) != dimension {
            return None;
        }
    }
    let mirrored = |(unit, other): (usize, &Option<usize>)| {
        other.is_none_or(|other| partner[other].is_none_or(|p| p == unit))
    };
    if !partner.iter().enumerate().all(mirrored) {
        return None;
    }
    let pairs: Vec<(usize, usize)> = (0..width)
        .filter_map(|unit| partner[unit].filter(|other| unit < *other).map(|other| (unit, other)))
        .collect();
    let table = |block: usize| -> Vec<Vec<(f32, f32)>> {
        let row = |token: usize| {
            let start = (block * tokens + token) * units * width;
            pairs.iter().map(move |(a, b)| {
                let at = start + a * width;
                (array.values[at + a], array.values[at + b])
            })
        };
        (0..tokens).map(|token| row(token).collect()).collect()
    };
    let tables = (0..views * heads).map(table).collect();
    Some(Turned { pairs, tables, views })
}

/// "16 queries of 16 keys, 4 heads of 8, causal, seed 0".
pub(super) fn sizes(look: &Look) -> String {
    let PositionShape { n_heads, d_head, form, .. } = look.shape;
    let form = form_name(form);
    format!("{} queries of {} keys, {n_heads} heads of {d_head}, {form}, seed {}", look.q, look.k, look.seed)
}
