//! Tables of a new model from files, and how much of them was found.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::backend::Backend;
use locus_data::{Tokenizer, WordVectors};
use locus_heads::TaskModel;
use locus_model::{HostTable, Table, change_tables, read_positions, read_random_projection, table_shapes};
use serde::Serialize;

use crate::UsageError;
use crate::run_file::{InitSection, PositionFit, VectorScale};

/// What came from files, for the report.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct InitReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    word_vectors: Option<VectorReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    positions: Option<PositionReport>,
}

#[derive(Clone, Debug, Serialize)]
struct VectorReport {
    file: String,
    /// Words in the file.
    words: usize,
    /// Tokens of the vocabulary with a vector.
    found: usize,
    /// How many of them only by another case.
    found_by_case: usize,
    not_found: usize,
    /// The share of the tokens of the training texts that have a vector.
    occurrences_covered: f64,
    frozen: bool,
}

#[derive(Clone, Debug, Serialize)]
struct PositionReport {
    source: String,
    tensor: String,
    rows_in_source: usize,
    rows: usize,
}

/// Fills the tables of a new model as the section says. `ids` are the tokens of the training texts.
pub(crate) fn fill_tables<B: Backend>(
    mut model: TaskModel<B>,
    section: &InitSection,
    init_std: f64,
    tokenizer: &Tokenizer,
    ids: impl Iterator<Item = u32>,
) -> anyhow::Result<(TaskModel<B>, InitReport)> {
    let mut report = InitReport::default();
    if let Some(path) = &section.word_vectors {
        let (filled, vectors) = fill_tokens(model, path, section, init_std, tokenizer, ids)?;
        (model, report.word_vectors) = (filled, Some(vectors));
    }
    if section.positions.is_some() {
        let (filled, positions) = fill_positions(model, section)?;
        (model, report.positions) = (filled, Some(positions));
    }
    Ok((model, report))
}

fn fill_tokens<B: Backend>(
    model: TaskModel<B>,
    path: &Path,
    section: &InitSection,
    init_std: f64,
    tokenizer: &Tokenizer,
    ids: impl Iterator<Item = u32>,
) -> anyhow::Result<(TaskModel<B>, VectorReport)> {
    let file = WordVectors::open(path)?;
    let width = table_shapes(&model, Table::Tokens).first().map_or(0, |[_, width]| *width);
    if file.width() != width {
        return Err(UsageError(format!(
            "model.init.word_vectors = {}: the vectors have {} numbers, a row of the token table has {width}; \
             choose model.d_model so that they agree (d_model less the dimensions that a position scheme appends, \
             and a multiple of model.n_heads), or other vectors",
            path.display(),
            file.width()
        ))
        .into());
    }
    let found = file.for_tokens(tokenizer)?;
    let factor = match section.vector_scale {
        VectorScale::None => 1.0,
        VectorScale::InitStd => init_std / standard_deviation(found.rows.values().flatten()),
    };
    let model = change_tables(model, Table::Tokens, section.freeze_tokens, |table| {
        for (&id, row) in &found.rows {
            let scaled = row.iter().map(|&value| (f64::from(value) * factor) as f32);
            table.row_mut(id as usize).iter_mut().zip(scaled).for_each(|(cell, value)| *cell = value);
        }
    });
    let (mut n_covered, mut n_occurrences) = (0_usize, 0_usize);
    let specials = tokenizer.specials();
    let frame = [specials.pad, specials.cls, specials.sep, specials.bos, specials.eos];
    for id in ids.filter(|&id| !frame.contains(&Some(id))) {
        n_occurrences += 1;
        n_covered += usize::from(found.rows.contains_key(&id));
    }
    let report = VectorReport {
        file: path.display().to_string(),
        words: found.n_words,
        found: found.rows.len(),
        found_by_case: found.n_by_case,
        not_found: tokenizer.vocab_size() - found.rows.len(),
        occurrences_covered: n_covered as f64 / n_occurrences.max(1) as f64,
        frozen: section.freeze_tokens,
    };
    if report.found == 0 {
        tell!("warning: no token has a vector in {}: is it of this language?", path.display());
    }
    Ok((model, report))
}

/// Of all numbers; 1 where there is no spread.
fn standard_deviation<'a>(values: impl Iterator<Item = &'a f32> + Clone) -> f64 {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = values.map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    if variance > 0.0 { variance.sqrt() } else { 1.0 }
}

fn fill_positions<B: Backend>(
    model: TaskModel<B>,
    section: &InitSection,
) -> anyhow::Result<(TaskModel<B>, PositionReport)> {
    let Some((path, tensor)) = section.position_source() else { anyhow::bail!("there is no source") };
    let mut tables: BTreeMap<&str, (Table, HostTable)> = BTreeMap::new();
    let is_learned = !table_shapes(&model, Table::Learned).is_empty();
    let name = if is_learned || tensor.is_some() {
        let (name, table) = read_positions(path, tensor)?;
        let kind = if is_learned { Table::Learned } else { Table::RandomVectors };
        tables.insert("positions", (kind, table));
        name
    } else {
        let [vectors, projection] = read_random_projection(path)?;
        tables.insert("positions", (Table::RandomVectors, vectors));
        tables.insert("projection", (Table::Projection, projection));
        "vectors and projection".to_owned()
    };
    let (kind, source) = &tables["positions"];
    let rows_in_source = source.shape[0];
    let mut model = model;
    let mut rows = 0;
    let wanted = table_shapes(&model, *kind);
    if let Some(&shape) = wanted.first() {
        rows = shape[0];
        let fitted = fit(&source.from_row(section.position_offset), shape, section)?;
        model = change_tables(model, *kind, false, |table| table.values.clone_from(&fitted.values));
    }
    if let Some((kind, projection)) = tables.get("projection") {
        let shape = table_shapes(&model, *kind).first().copied().unwrap_or_default();
        if projection.shape != shape {
            return Err(mismatch(section, "matrix", projection.shape, shape, "model.d_model and m"));
        }
        model = change_tables(model, *kind, false, |table| table.values.clone_from(&projection.values));
    }
    Ok((model, PositionReport { source: path.display().to_string(), tensor: name, rows_in_source, rows }))
}

/// The table with as many rows as the model's.
fn fit(source: &HostTable, shape: [usize; 2], section: &InitSection) -> anyhow::Result<HostTable> {
    let ([found, width], [rows, _]) = (source.shape, shape);
    if width != shape[1] || found == 0 {
        let keys = "model.d_model (for random_projection: m)";
        return Err(mismatch(section, "table", source.shape, shape, keys));
    }
    match section.position_fit {
        _ if found == rows => Ok(source.clone()),
        PositionFit::Cut if found > rows => {
            Ok(HostTable { shape, values: source.values[..rows * width].to_vec() })
        }
        PositionFit::Interpolate => Ok(source.interpolated(rows)),
        PositionFit::Exact | PositionFit::Cut => {
            let keys = "model.max_seq_len, or model.init.position_fit = \"interpolate\" (or \"cut\", to a shorter table),";
            Err(mismatch(section, "table", source.shape, shape, keys))
        }
    }
}

fn mismatch(
    section: &InitSection,
    what: &str,
    found: [usize; 2],
    expected: [usize; 2],
    keys: &str,
) -> anyhow::Error {
    let positions = section.positions.as_deref().unwrap_or_default();
    let message = format!(
        "model.init.positions = {positions}: the {what} has {} rows of {} numbers, the model's has {} of {}; change {keys} \
         so that they agree",
        found[0], found[1], expected[0], expected[1]
    );
    UsageError(message).into()
}

impl InitReport {
    /// Whether nothing came from files.
    pub(crate) fn is_empty(&self) -> bool {
        self.word_vectors.is_none() && self.positions.is_none()
    }

    /// A line for each source.
    pub(crate) fn lines(&self) -> Vec<String> {
        let vectors = self.word_vectors.as_ref().map(|v| {
            let frozen = if v.frozen { "; the token table is not trained" } else { "" };
            format!(
                "word vectors of {}: {} of {} tokens found ({} by another case), {:.1} % of the tokens in train{frozen}",
                v.file,
                v.found,
                v.found + v.not_found,
                v.found_by_case,
                100.0 * v.occurrences_covered
            )
        });
        let positions = self.positions.as_ref().map(|p| {
            format!("positions of {} ({}): {} rows from {}", p.source, p.tensor, p.rows, p.rows_in_source)
        });
        vectors.into_iter().chain(positions).collect()
    }
}
