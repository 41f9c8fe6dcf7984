//! What a scheme does, as aligned text.

use locus_embedding::position::{Facts, PositionConfig};
use locus_encoder::{Array, Inspection, Look, Part};

use super::choice::keys_of;
use super::shown::{by_distance, is_hidden, sizes, turned};

/// How many columns and rows of an array are shown.
const COLUMNS: usize = 16;
const ROWS: usize = 32;

pub(super) fn describe(config: &PositionConfig, look: &Look, shown: &Inspection) -> String {
    let Facts { does, paper, .. } = config.facts();
    let mut text = format!("{}: {}; {paper}\n{}\n", config.name(), does.replace('`', ""), sizes(look));
    let keys = keys_of(config);
    if !keys.is_empty() {
        let keys: Vec<String> =
            keys.iter().map(|(key, value)| format!("{key} = {}", on_one_line(value))).collect();
        text += &format!("keys: {}\n", keys.join(", "));
    }
    let parameters: Vec<String> =
        shown.parameters.iter().map(|(name, array)| format!("{name} {:?}", array.dims)).collect();
    text += &format!(
        "parameters: {}\n",
        if parameters.is_empty() { "none".to_owned() } else { parameters.join(", ") }
    );
    for (idx, part) in shown.parts.iter().enumerate() {
        text += &format!("\n{}: {}\n", part.name, part.what);
        match shown.parts[..idx].iter().find(|before| before.array == part.array) {
            Some(before) => text += &format!("  as {}\n", before.name),
            None => text += &numbers(part, look, shown),
        }
    }
    if shown.parts.is_empty() {
        text += "\nNothing differs from plain attention at these sizes.\n";
    }
    text
}

/// A value as TOML writes it, which has texts over several lines.
fn on_one_line(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => serde_json::Value::from(text.as_str()).to_string(),
        toml::Value::Array(values) => {
            format!("[{}]", values.iter().map(on_one_line).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn numbers(part: &Part, look: &Look, shown: &Inspection) -> String {
    let array = &part.array;
    match array.axes[..] {
        [axis] => grid(axis, &["".to_owned()], &labels(array.dims[0]), |row, _| short(array.values[row])),
        [_, _, _, "unit", _] => unit_vectors(array, shown),
        [.., "query", "key"] => match by_distance(array, shown) {
            Some(values) => {
                let heads = array.values.len() / shown.seen.len().max(1);
                let columns: Vec<String> = (0..heads)
                    .map(|h| if heads > 1 { format!("head {h}") } else { "value".into() })
                    .collect();
                let rows: Vec<String> = values.iter().map(|(distance, _)| short(*distance as f32)).collect();
                grid("distance", &columns, &rows, |row, column| short(values[row].1[column]))
            }
            None => scores(array, look, shown),
        },
        [_, _] => matrix(array, &array.values, |_| true),
        _ => {
            let size = array.dims[1..].iter().product::<usize>().max(1);
            let heads = array.values.chunks(size).enumerate();
            let sub =
                Array { axes: array.axes[1..].to_vec(), dims: array.dims[1..].to_vec(), values: Vec::new() };
            heads.map(|(head, values)| format!("head {head}\n{}", matrix(&sub, values, |_| true))).collect()
        }
    }
}

/// Scores that distance alone does not decide.
fn scores(array: &Array, look: &Look, shown: &Inspection) -> String {
    let cells = look.q * look.k;
    let sub = Array { axes: vec!["query", "key"], dims: vec![look.q, look.k], values: Vec::new() };
    let heads = array.values.chunks(cells).enumerate();
    let several = array.values.len() > cells;
    heads
        .map(|(head, values)| {
            let title = if several { format!("head {head}\n") } else { String::new() };
            title + &matrix(&sub, values, |cell| shown.seen[cell])
        })
        .collect()
}

/// A matrix with its rows and columns numbered; what `seen` leaves out is a dot.
fn matrix(array: &Array, values: &[f32], seen: impl Fn(usize) -> bool) -> String {
    let [rows, columns] = array.dims[..] else { return String::new() };
    let corner = format!("{} \\ {}", array.axes[0], array.axes[1]);
    grid(&corner, &labels(columns), &labels(rows), |row, column| {
        let cell = row * columns + column;
        if seen(cell) { short(values[cell]) } else { "·".to_owned() }
    })
}

fn labels(n: usize) -> Vec<String> {
    (0..n).map(|idx| idx.to_string()).collect()
}

/// What becomes of unit vectors: cosines and sines where pairs turn, lengths otherwise.
fn unit_vectors(array: &Array, shown: &Inspection) -> String {
    let [_, heads, tokens, units, width] = array.dims[..] else { return String::new() };
    let rows: Vec<String> = shown.positions.iter().map(|p| short(*p as f32)).collect();
    let title = |block: usize| {
        let (view, head) = (block / heads, block % heads);
        let view = if array.dims[0] > 1 { format!("view {view}") } else { String::new() };
        let head = if heads > 1 { format!("head {head}") } else { String::new() };
        let title = [view, head].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        if title.is_empty() { title } else { title + "\n" }
    };
    if let Some(turned) = turned(array).filter(|turned| !turned.pairs.is_empty()) {
        let columns: Vec<String> =
            turned.pairs.iter().flat_map(|(a, b)| [format!("cos {a},{b}"), format!("sin {a},{b}")]).collect();
        let show = |(block, table): (usize, &Vec<Vec<(f32, f32)>>)| {
            let cell = |row: usize, column: usize| {
                let (cos, sin) = table[row][column / 2];
                short(if column.is_multiple_of(2) { cos } else { sin })
            };
            title(block) + &grid("position", &columns, &rows, cell)
        };
        return turned.tables.iter().enumerate().map(show).collect();
    }
    let columns: Vec<String> = (0..units).map(|unit| format!("unit {unit}")).collect();
    let blocks = array.values.chunks(tokens * units * width).enumerate();
    let shown: String = blocks
        .map(|(block, values)| {
            let length = |row: usize, column: usize| {
                let start = (row * units + column) * width;
                short(values[start..start + width].iter().map(|x| x * x).sum::<f32>().sqrt())
            };
            title(block) + &grid("position", &columns, &rows, length)
        })
        .collect();
    format!("lengths of what becomes of them, {width} numbers each, which --json has\n{shown}")
}

/// Columns of numbers, right-aligned, as many as can be read.
fn grid(corner: &str, columns: &[String], rows: &[String], cell: impl Fn(usize, usize) -> String) -> String {
    let (n_rows, n_columns) = (rows.len().min(ROWS), columns.len().min(COLUMNS));
    let cells: Vec<Vec<String>> =
        (0..n_rows).map(|row| (0..n_columns).map(|column| cell(row, column)).collect()).collect();
    let chars = |text: &String| text.chars().count();
    let first = rows.iter().map(chars).chain([corner.chars().count()]).max().unwrap_or_default();
    let widths: Vec<usize> = (0..n_columns)
        .map(|column| {
            cells.iter().map(|row| chars(&row[column])).chain([chars(&columns[column])]).max().unwrap_or(0)
        })
        .collect();
    let line = |label: &str, cells: &[String]| {
        let cells: String =
            cells.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}")).collect();
        format!("  {label:>first$}{cells}").trim_end().to_owned() + "\n"
    };
    let mut text = line(corner, &columns[..n_columns]);
    cells.iter().zip(rows).for_each(|(cells, label)| text += &line(label, cells));
    let more = [(rows.len() - n_rows, "rows"), (columns.len() - n_columns, "columns")];
    let more: Vec<String> =
        more.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} more {what}")).collect();
    if !more.is_empty() {
        text += &format!("  … {}, which --json has\n", more.join(" and "));
    }
    text
}

/// A number as short as it can be read.
pub(super) fn short(value: f32) -> String {
    let size = value.abs();
    if is_hidden(value) {
        "hidden".to_owned()
    } else if value.fract() == 0.0 && size < 1e5 {
        format!("{}", value as i64)
    } else if (1e-4..1e3).contains(&size) {
        format!("{value:.4}")
    } else {
        format!("{value:.1e}")
    }
}

#[cfg(test)]
mod tests {
    use super::{grid, labels, short};

    #[test]
    fn numbers_are_short_and_columns_aligned() {
        for (value, want) in [(0.0, "0"), (-3.0, "-3"), (0.25, "0.2500"), (1e-7, "1.0e-7"), (-1e30, "hidden")]
        {
            assert_eq!(short(value), want);
        }
        let text = grid("a", &labels(2), &labels(2), |row, column| "x".repeat(1 + row + column));
        assert_eq!(text, "  a   0    1\n  0   x   xx\n  1  xx  xxx\n");
        let text = grid("a", &labels(40), &labels(40), |_, _| "x".to_owned());
        assert!(text.ends_with("… 8 more rows and 24 more columns, which --json has\n"), "{text}");
    }
}
