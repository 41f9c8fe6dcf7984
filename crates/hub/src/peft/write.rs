//! From an adapter to the tensors of a folder.

use locus_heads::{HostAdapter, HostArray, HostChange, RankScaling};
use serde_json::{Map, Value, json};

use super::config::ends_with;
use super::names::{Layer, Names, task_type, transposed};
use super::read::PREFIX;
use crate::tensors::Tensors;

/// What a folder holds.
pub(super) struct Written {
    pub(super) config: Value,
    pub(super) tensors: Tensors,
    /// What is held in another way.
    pub(super) notes: Vec<String>,
}

/// A low-rank change of a layer of `transformers`, in `peft`'s arrangement.
struct LowRank {
    /// `[rank, d_in]`.
    a: Vec<f32>,
    /// `[d_out, rank]`.
    b: Vec<f32>,
    magnitude: Option<Vec<f32>>,
    rank: usize,
    alpha: f64,
    divisor: RankScaling,
}

/// A vector of a layer of `transformers`.
struct Scale {
    vector: Vec<f32>,
    on_input: bool,
}

enum OfLayer {
    LowRank(LowRank),
    Scale(Scale),
}

pub(super) fn write(adapter: &HostAdapter, names: &Names, base_model: &str) -> Result<Written, Vec<String>> {
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    let mut changed: Vec<(&Layer, OfLayer)> = Vec::new();
    for layer in &names.modules {
        let parts: Vec<Option<&HostChange>> =
            layer.paths.iter().map(|path| adapter.changes.get(path)).collect();
        if parts.iter().all(Option::is_none) {
            continue;
        }
        match of_layer(layer, &parts, &mut notes) {
            Ok(change) => changed.push((layer, change)),
            Err(problem) => problems.push(format!("{}: {problem}", layer.name)),
        }
    }
    let known = |path: &String| names.modules.iter().any(|layer| layer.paths.contains(path));
    problems.extend(
        adapter
            .changes
            .keys()
            .filter(|path| !known(path))
            .map(|path| format!("{path} is not a projection of this model")),
    );
    let mut tensors = Tensors::new();
    for (layer, change) in &changed {
        let name = format!("{PREFIX}{}", layer.name);
        let (d_in, d_out) = (layer.d_in(), layer.d_out());
        match change {
            OfLayer::LowRank(change) => {
                let rank = change.rank;
                tensors.insert(format!("{name}.lora_A.weight"), (vec![rank, d_in], change.a.clone()));
                tensors.insert(format!("{name}.lora_B.weight"), (vec![d_out, rank], change.b.clone()));
                if let Some(values) = &change.magnitude {
                    tensors.insert(format!("{name}.lora_magnitude_vector"), (vec![d_out], values.clone()));
                }
            }
            OfLayer::Scale(change) => {
                let shape = if change.on_input { vec![1, d_in] } else { vec![d_out, 1] };
                tensors.insert(format!("{name}.ia3_l"), (shape, change.vector.clone()));
            }
        }
    }
    let saved = saved(adapter, names, &mut tensors, &mut problems);
    let config = config(adapter, names, &changed, saved, base_model, &mut problems);
    if problems.is_empty() { Ok(Written { config, tensors, notes }) } else { Err(problems) }
}

/// The change of a layer that holds these projections, some of which may have none.
fn of_layer(
    layer: &Layer,
    parts: &[Option<&HostChange>],
    notes: &mut Vec<String>,
) -> Result<OfLayer, String> {
    let low_rank = parts.iter().flatten().filter(|part| matches!(part, HostChange::LowRank { .. })).count();
    match low_rank {
        0 => scale(layer, parts).map(OfLayer::Scale),
        n if n == parts.iter().flatten().count() => product(layer, parts, notes).map(OfLayer::LowRank),
        _ => Err("has changes of two kinds".to_owned()),
    }
}

fn scale(layer: &Layer, parts: &[Option<&HostChange>]) -> Result<Scale, String> {
    let mut vectors = Vec::new();
    for part in parts {
        vectors.push(match part {
            Some(HostChange::Scale { vector, on_input }) => Some((vector, *on_input)),
            _ => None,
        });
    }
    let inputs = vectors.iter().filter(|part| part.is_some_and(|(_, on_input)| on_input)).count();
    if inputs > 0 {
        let first = vectors[0];
        if vectors.iter().any(|part| *part != first) {
            return Err("its projections multiply their common input by different numbers".to_owned());
        }
        let vector = first.map(|(vector, _)| vector.clone()).unwrap_or_default();
        return Ok(Scale { vector, on_input: true });
    }
    let mut whole = vec![1.0; layer.d_out()];
    for (part, values) in vectors.iter().enumerate() {
        if let Some((values, _)) = values {
            layer.put(&mut whole, 1, part, values);
        }
    }
    Ok(Scale { vector: whole, on_input: false })
}

/// What a low-rank change is made of.
#[derive(Clone, Copy)]
struct Made<'a> {
    a: &'a HostArray,
    b: &'a HostArray,
    magnitude: Option<&'a Vec<f32>>,
    scaling: f64,
}

/// A low-rank change with its alpha and how the rank divides it; none of another kind.
fn made(change: Option<&HostChange>) -> Option<(Made<'_>, f64, RankScaling)> {
    let whole = change?;
    let HostChange::LowRank { a, b, magnitude, alpha, divisor } = whole else { return None };
    Some((Made { a, b, magnitude: magnitude.as_ref(), scaling: whole.scaling() }, *alpha, *divisor))
}

fn product(layer: &Layer, parts: &[Option<&HostChange>], notes: &mut Vec<String>) -> Result<LowRank, String> {
    let all: Vec<Option<Made<'_>>> = parts.iter().map(|part| made(*part).map(|(made, _, _)| made)).collect();
    let Some((first, first_alpha, divisor)) = parts.iter().find_map(|part| made(*part)) else {
        return Err("has no change".to_owned());
    };
    let present = || all.iter().flatten();
    let is_dora = first.magnitude.is_some();
    if present().any(|part| part.magnitude.is_some() != is_dora)
        || (is_dora && all.iter().any(Option::is_none))
    {
        return Err("DoRA on some of its projections only has no form in peft: target all of them, or none"
            .to_owned());
    }
    let (d_in, d_out) = (layer.d_in(), layer.d_out());
    let shares = present().all(|part| part.a == first.a && part.scaling == first.scaling);
    let ranks: Vec<usize> =
        all.iter().map(|part| part.map_or(0, |part| part.a.shape.get(1).copied().unwrap_or(0))).collect();
    let own_rank = first.a.shape.get(1).copied().unwrap_or(0);
    let rank = if shares { own_rank } else { ranks.iter().sum() };
    if !shares {
        notes.push(format!(
            "{}: its {} projections have an A each, so it is written as one of rank {rank}, block by block, which computes \
             the same",
            layer.name,
            present().count()
        ));
    }
    let growth = rank as f64 / own_rank.max(1) as f64;
    let alpha = match (shares, divisor) {
        (true, _) => first_alpha,
        (false, RankScaling::Rank) => first_alpha * growth,
        (false, RankScaling::SqrtRank) => first_alpha * growth.sqrt(),
    };
    let mut a = Vec::with_capacity(rank * d_in);
    if shares {
        a = transposed(&first.a.values, [d_in, rank]);
    }
    let mut b = vec![0.0; d_out * rank];
    let mut magnitude = is_dora.then(|| vec![0.0; d_out]);
    for (part, change) in all.iter().enumerate() {
        let Some(change) = change else { continue };
        let [_, own_out] = layer.dims[part];
        if shares {
            layer.put(&mut b, rank, part, &change.b.values);
        } else {
            a.extend(transposed(&change.a.values, [d_in, ranks[part]]));
            // Rows before its own are of other projections.
            let start = ranks[..part].iter().sum::<usize>() * own_out;
            let ratio = change.scaling / first.scaling;
            let mut rows = vec![0.0; rank * own_out];
            for (row, value) in rows[start..].iter_mut().zip(&change.b.values) {
                *row = if ratio == 1.0 { *value } else { (f64::from(*value) * ratio) as f32 };
            }
            layer.put(&mut b, rank, part, &rows);
        }
        if let (Some(whole), Some(values)) = (&mut magnitude, change.magnitude) {
            layer.put(whole, 1, part, values);
        }
    }
    Ok(LowRank { a, b, magnitude, rank, alpha, divisor })
}

/// The tensors of the parameters that were trained whole; gives the names of their modules.
fn saved(
    adapter: &HostAdapter,
    names: &Names,
    tensors: &mut Tensors,
    problems: &mut Vec<String>,
) -> Vec<String> {
    let mut modules: Vec<String> = Vec::new();
    for link in &names.links {
        let present = link.ours.iter().filter(|path| adapter.saved.contains_key(*path)).count();
        if present == 0 {
            continue;
        }
        let parts = names.parts(link);
        let Some(shape) = parts.whole().filter(|_| present == link.ours.len()) else {
            problems.push(format!(
                "{} holds {}: train all of them, or none",
                link.theirs,
                link.ours.join(", ")
            ));
            continue;
        };
        let mut whole = vec![0.0; shape.iter().product()];
        for (part, path) in link.ours.iter().enumerate() {
            parts.put(&mut whole, part, &adapter.saved[path].values);
        }
        tensors.insert(format!("{PREFIX}{}", link.theirs), (shape, whole));
        let module = link.theirs.rsplit_once('.').map_or(link.theirs.as_str(), |(module, _)| module);
        if !modules.iter().any(|other| other == module) {
            modules.push(module.to_owned());
        }
    }
    // A module brings those inside it.
    let all = modules.clone();
    modules.retain(|module| !all.iter().any(|other| module.starts_with(&format!("{other}."))));
    modules
}

fn config(
    adapter: &HostAdapter,
    names: &Names,
    changed: &[(&Layer, OfLayer)],
    saved: Vec<String>,
    base_model: &str,
    problems: &mut Vec<String>,
) -> Value {
    let full: Vec<&str> = changed.iter().map(|(layer, _)| layer.name.as_str()).collect();
    let targets = targets(&full, names);
    let mut config = Map::new();
    let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    set("task_type", json!(names.kind.and_then(task_type)));
    set("base_model_name_or_path", json!(base_model));
    set("inference_mode", json!(true));
    set("target_modules", json!(targets));
    set("modules_to_save", if saved.is_empty() { Value::Null } else { json!(saved) });
    set("fan_in_fan_out", json!(changed.iter().any(|(layer, _)| layer.is_conv1d)));
    let low_rank: Vec<(&Layer, &LowRank)> = changed
        .iter()
        .filter_map(|(layer, change)| match change {
            OfLayer::LowRank(change) => Some((*layer, change)),
            OfLayer::Scale(_) => None,
        })
        .collect();
    let Some((_, first)) = low_rank.first() else {
        set("peft_type", json!("IA3"));
        let on_input = |change: &OfLayer| matches!(change, OfLayer::Scale(Scale { on_input: true, .. }));
        let inputs = changed.iter().filter(|(_, change)| on_input(change)).map(|(layer, _)| &layer.name);
        let inputs: Vec<&String> = inputs.collect();
        let of_inputs = targets.iter().filter(|target| inputs.iter().any(|name| ends_with(name, target)));
        set("feedforward_modules", json!(of_inputs.collect::<Vec<_>>()));
        set("init_ia3_weights", json!(true));
        return Value::Object(config);
    };
    let is_dora = first.magnitude.is_some();
    let alike = |change: &LowRank| change.divisor == first.divisor && change.magnitude.is_some() == is_dora;
    if low_rank.len() < changed.len() || !low_rank.iter().all(|(_, change)| alike(change)) {
        problems.push(
            "layers differ in the kind of their change, which peft does not have in one adapter".to_owned(),
        );
    }
    let differing = |differs: &dyn Fn(&LowRank) -> Option<Value>| {
        let entries =
            low_rank.iter().filter_map(|(layer, change)| Some((layer.name.clone(), differs(change)?)));
        Value::Object(entries.collect())
    };
    set("peft_type", json!("LORA"));
    set("r", json!(first.rank));
    set("lora_alpha", number(first.alpha));
    set("lora_dropout", json!(adapter.dropout));
    set("use_rslora", json!(first.divisor == RankScaling::SqrtRank));
    set("use_dora", json!(is_dora));
    set("bias", json!("none"));
    set("init_lora_weights", json!(true));
    let ranks = differing(&|change| (change.rank != first.rank).then(|| json!(change.rank)));
    let alphas = differing(&|change| (change.alpha != first.alpha).then(|| number(change.alpha)));
    set("rank_pattern", ranks);
    set("alpha_pattern", alphas);
    Value::Object(config)
}

/// A number, whole where it is.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

/// Names below the layers, if they mean these modules and no others, or else full names.
fn targets(full: &[&str], names: &Names) -> Vec<String> {
    let below = |name: &str| {
        let parts: Vec<&str> = name.split('.').collect();
        let number = parts.iter().rposition(|part| part.parse::<u64>().is_ok())?;
        Some(parts[number + 1..].join(".")).filter(|rest| !rest.is_empty())
    };
    let mut short: Vec<String> = Vec::new();
    for name in full {
        let Some(rest) = below(name) else { return full.iter().map(|name| (*name).to_owned()).collect() };
        if !short.contains(&rest) {
            short.push(rest);
        }
    }
    let meant = names.modules.iter().filter(|layer| short.iter().any(|end| ends_with(&layer.name, end)));
    if meant.count() == full.len() { short } else { full.iter().map(|name| (*name).to_owned()).collect() }
}
