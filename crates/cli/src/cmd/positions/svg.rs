//! What a scheme does, drawn: curves over distance or position, heat maps of what distance alone does not decide.

use std::fmt::Write as _;

use locus_encoder::{Array, Inspection, Look, Part};

use super::shown::{by_distance, is_hidden, sizes, turned};
use super::text::short;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 300.0;
/// The plot inside a panel: left, top, right, bottom.
const PLOT: [f64; 4] = [68.0, 34.0, 290.0, 244.0];
const COLUMNS: usize = 3;
/// A drawing has no more panels; what follows is in the text and in the JSON.
const MOST_PANELS: usize = 60;

/// A name, and points from left to right.
type Curve = (String, Vec<(f64, f64)>);

/// A drawing with a panel for each head of each part.
pub(super) fn draw(name: &str, look: &Look, shown: &Inspection) -> String {
    let parts = shown.parts.iter().enumerate();
    let distinct =
        parts.filter(|(idx, part)| shown.parts[..*idx].iter().all(|before| before.array != part.array));
    let mut panels: Vec<String> = distinct.flat_map(|(_, part)| of_part(part, shown)).collect();
    let left_out = panels.len().saturating_sub(MOST_PANELS);
    panels.truncate(MOST_PANELS);
    let columns = panels.len().clamp(1, COLUMNS);
    let (width, height) =
        (WIDTH * columns as f64, 44.0 + HEIGHT * panels.len().div_ceil(columns).max(1) as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    svg += &text(12.0, 20.0, "start", 14, name);
    let note = if left_out > 0 { format!("; {left_out} more panels are not drawn") } else { String::new() };
    svg += &text(12.0, 36.0, "start", 11, &format!("{}{note}", sizes(look)));
    if panels.is_empty() {
        svg += &text(12.0, 80.0, "start", 12, "Nothing differs from plain attention at these sizes.");
    }
    for (idx, panel) in panels.iter().enumerate() {
        let (x, y) = (WIDTH * (idx % columns) as f64, 44.0 + HEIGHT * (idx / columns) as f64);
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">\n{panel}</g>");
    }
    svg + "</svg>\n"
}

fn of_part(part: &Part, shown: &Inspection) -> Vec<String> {
    let array = &part.array;
    let name = part.name.replace('_', " ");
    match array.axes[..] {
        [axis] => {
            let points = array.values.iter().enumerate().map(|(idx, y)| (idx as f64, f64::from(*y)));
            vec![curves(&name, axis, "value", &[(String::new(), points.collect())])]
        }
        [_, _, _, "unit", _] => rotation(&name, array, shown),
        [.., "query", "key"] => match by_distance(array, shown) {
            Some(values) => {
                let heads = values.first().map_or(0, |(_, values)| values.len());
                let of_head = |head: usize| {
                    let points = values.iter().filter(|(_, values)| !is_hidden(values[head]));
                    let points: Vec<(f64, f64)> =
                        points.map(|(distance, values)| (*distance, f64::from(values[head]))).collect();
                    (if heads > 1 { format!("head {head}") } else { String::new() }, points)
                };
                let lines: Vec<Curve> = (0..heads).map(of_head).collect();
                vec![curves(&name, "distance (query − key)", "value", &lines)]
            }
            None => heat_maps(&name, array, Some(&shown.seen)),
        },
        _ => heat_maps(&name, array, None),
    }
}

/// Cosines over positions where pairs turn.
fn rotation(name: &str, array: &Array, shown: &Inspection) -> Vec<String> {
    let Some(turned) = turned(array).filter(|turned| !turned.pairs.is_empty()) else { return Vec::new() };
    let heads = turned.tables.len() / turned.views.max(1);
    let show = |(block, table): (usize, &Vec<Vec<(f32, f32)>>)| {
        let view = if turned.views > 1 { format!(", view {}", block / heads) } else { String::new() };
        let head = if heads > 1 { format!(", head {}", block % heads) } else { String::new() };
        let of_pair = |(idx, (a, b)): (usize, &(usize, usize))| {
            let points = shown.positions.iter().zip(table).map(|(p, row)| (*p, f64::from(row[idx].0)));
            (format!("pair {a},{b}"), points.collect::<Vec<_>>())
        };
        let lines: Vec<Curve> = turned.pairs.iter().enumerate().map(of_pair).collect();
        curves(&format!("{name}{view}{head}: cosines"), "position", "cosine", &lines)
    };
    turned.tables.iter().enumerate().map(show).collect()
}

/// One for each matrix of the array.
fn heat_maps(name: &str, array: &Array, seen: Option<&[bool]>) -> Vec<String> {
    let [.., rows, columns] = array.dims[..] else { return Vec::new() };
    let axes = &array.axes[array.axes.len() - 2..];
    let cells = (rows * columns).max(1);
    let several = array.values.len() > cells;
    let show = |(head, values): (usize, &[f32])| {
        let title = if several { format!("{name}, head {head}") } else { name.to_owned() };
        let hidden = |cell: usize| seen.is_some_and(|seen| !seen[cell]) || is_hidden(values[cell]);
        heat_map(&title, [axes[0], axes[1]], [rows, columns], values, hidden)
    };
    array.values.chunks(cells).enumerate().map(show).collect()
}

fn heat_map(
    title: &str,
    [vertical, horizontal]: [&str; 2],
    [rows, columns]: [usize; 2],
    values: &[f32],
    hidden: impl Fn(usize) -> bool,
) -> String {
    let [left, top, right, bottom] = PLOT;
    let shown = (0..values.len()).filter(|cell| !hidden(*cell)).map(|cell| f64::from(values[cell]));
    let (low, high) = range(shown);
    let (step_x, step_y) = ((right - left) / columns as f64, (bottom - top) / rows as f64);
    let mut panel = text(left, 22.0, "start", 12, title);
    for (cell, value) in values.iter().enumerate() {
        let fill = if hidden(cell) { "#dddddd".to_owned() } else { colour(f64::from(*value), low, high) };
        let (x, y) = (left + step_x * (cell % columns) as f64, top + step_y * (cell / columns) as f64);
        let _ = writeln!(
            panel,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{step_x:.2}\" height=\"{step_y:.2}\" fill=\"{fill}\" \
             shape-rendering=\"crispEdges\"/>"
        );
    }
    for idx in ticks(columns) {
        panel += &text(left + step_x * (idx as f64 + 0.5), bottom + 14.0, "middle", 10, &idx.to_string());
    }
    for idx in ticks(rows) {
        panel += &text(left - 5.0, top + step_y * (idx as f64 + 0.5) + 3.5, "end", 10, &idx.to_string());
    }
    panel += &axis_names(horizontal, vertical);
    // The scale of colours.
    let (at, n) = (right + 14.0, 32);
    let step = (bottom - top) / f64::from(n);
    for idx in 0..n {
        let fill = colour(high - (high - low) * (f64::from(idx) + 0.5) / f64::from(n), low, high);
        let y = top + step * f64::from(idx);
        let _ = writeln!(
            panel,
            "<rect x=\"{at}\" y=\"{y:.2}\" width=\"10\" height=\"{:.2}\" fill=\"{fill}\"/>",
            step + 0.3
        );
    }
    for (value, y) in [(high, top + 8.0), (low, bottom)] {
        panel += &text(at + 13.0, y, "start", 10, &short(value as f32));
    }
    panel
}

/// Lines with their names.
fn curves(title: &str, horizontal: &str, vertical: &str, lines: &[Curve]) -> String {
    let [left, top, right, bottom] = PLOT;
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (first, last) = range(points().map(|(x, _)| *x));
    let (low, high) = range(points().map(|(_, y)| *y));
    let x = |value: f64| left + (right - left) * share(value, first, last);
    let y = |value: f64| bottom - (bottom - top) * share(value, low, high);
    let mut panel = text(left, 22.0, "start", 12, title);
    let (width, height) = (right - left, bottom - top);
    let _ = writeln!(
        panel,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#999999\"/>"
    );
    for (at, label) in round_numbers(first, last) {
        let x = x(at);
        let _ = writeln!(
            panel,
            "<line x1=\"{x:.2}\" y1=\"{bottom}\" x2=\"{x:.2}\" y2=\"{}\" stroke=\"#999999\"/>",
            bottom + 3.0
        );
        panel += &text(x, bottom + 14.0, "middle", 10, &label);
    }
    for (at, label) in round_numbers(low, high) {
        let y = y(at);
        let _ = writeln!(
            panel,
            "<line x1=\"{left}\" y1=\"{y:.2}\" x2=\"{right}\" y2=\"{y:.2}\" stroke=\"#e5e5e5\"/>"
        );
        panel += &text(left - 5.0, y + 3.5, "end", 10, &label);
    }
    panel += &axis_names(horizontal, vertical);
    for (idx, (name, points)) in lines.iter().enumerate() {
        let stroke = hue(360.0 * idx as f64 / lines.len() as f64 + 210.0);
        let path: Vec<String> =
            points.iter().map(|(px, py)| format!("{:.2},{:.2}", x(*px), y(*py))).collect();
        let _ = writeln!(
            panel,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"1.5\"/>",
            path.join(" ")
        );
        // As many names as there is room for.
        let at = top + 10.0 + 13.0 * idx as f64;
        if !name.is_empty() && at < bottom {
            let _ = writeln!(
                panel,
                "<line x1=\"{0}\" y1=\"{1:.2}\" x2=\"{2}\" y2=\"{1:.2}\" stroke=\"{stroke}\" stroke-width=\"3\"/>",
                right + 6.0,
                at - 3.5,
                right + 16.0
            );
            panel += &text(right + 19.0, at, "start", 10, name);
        }
    }
    panel
}

fn axis_names(horizontal: &str, vertical: &str) -> String {
    let [left, top, right, bottom] = PLOT;
    let middle = (top + bottom) / 2.0;
    text((left + right) / 2.0, bottom + 32.0, "middle", 11, horizontal)
        + &format!(
            "<text transform=\"translate(14 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            escaped(vertical)
        )
}

fn text(x: f64, y: f64, anchor: &str, size: u8, content: &str) -> String {
    let content = escaped(content);
    format!(
        "<text x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{content}</text>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The least and the largest; 0 to 1 where there is none.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    finite.map(|value| (value, value)).reduce(|(a, b), (c, d)| (a.min(c), b.max(d))).unwrap_or((0.0, 1.0))
}

/// Where a value lies between two others; in the middle where these are equal.
fn share(value: f64, low: f64, high: f64) -> f64 {
    if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
}

/// Blue below 0, white at 0, red above.
fn colour(value: f64, low: f64, high: f64) -> String {
    let most = low.abs().max(high.abs());
    let strength = if most > 0.0 { (value / most).clamp(-1.0, 1.0) } else { 0.0 };
    let fade = |to: f64| (255.0 + (to - 255.0) * strength.abs()).round() as u8;
    let full = if strength < 0.0 { [33.0, 102.0, 172.0] } else { [178.0, 24.0, 43.0] };
    let [red, green, blue] = full.map(fade);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// A colour of this hue in degrees, as `hsl(hue, 70%, 42%)`, which older programs do not read.
fn hue(degrees: f64) -> String {
    let (saturation, lightness) = (0.7, 0.42);
    let part = |n: f64| {
        let k = (n + degrees / 30.0) % 12.0;
        let x = lightness - saturation * lightness * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (255.0 * x).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", part(0.0), part(8.0), part(4.0))
}

/// A few round numbers from the least to the largest, as they are written; the number itself where there is one only.
fn round_numbers(low: f64, high: f64) -> Vec<(f64, String)> {
    let at_least = (high - low) / 5.0;
    if at_least <= 0.0 || !at_least.is_normal() {
        return vec![(low, short(low as f32))];
    }
    let power = 10.0_f64.powf(at_least.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|n| n * power).into_iter().find(|step| *step >= at_least);
    let step = step.unwrap_or(10.0 * power);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    let numbers = (first..=last).map(|n| n as f64 * step);
    let written = |x: f64| if decimals > 4 { format!("{x:.1e}") } else { format!("{x:.decimals$}") };
    numbers.map(|x| (x, written(x))).collect()
}

/// At most nine of `0..n`, evenly spaced.
fn ticks(n: usize) -> impl Iterator<Item = usize> {
    (0..n).step_by(n.div_ceil(9).max(1))
}

#[cfg(test)]
mod tests {
    use super::{colour, escaped, hue, range, round_numbers, ticks};

    #[test]
    fn axes_have_round_numbers() {
        let labels = |low, high| round_numbers(low, high).into_iter().map(|(_, l)| l).collect::<Vec<_>>();
        assert_eq!(labels(0.0, 15.0), ["0", "5", "10", "15"]);
        assert_eq!(labels(-0.99, 1.0), ["-0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(labels(0.0, 3e-7), ["0.0e0", "1.0e-7", "2.0e-7", "3.0e-7"]);
        assert_eq!(labels(2.0, 2.0), ["2"]);
    }

    #[test]
    fn hues_are_those_of_hsl() {
        assert_eq!([hue(0.0), hue(120.0), hue(570.0)], ["#b62020", "#20b620", "#206bb6"]);
    }

    #[test]
    fn colours_tell_the_sign() {
        assert_eq!(colour(0.0, -2.0, 1.0), "#ffffff");
        assert_eq!(colour(-2.0, -2.0, 1.0), "#2166ac");
        assert_eq!(colour(1.0, 0.0, 1.0), "#b2182b");
        assert_eq!(colour(0.0, 0.0, 0.0), "#ffffff");
    }

    #[test]
    fn ticks_are_few_and_ranges_finite() {
        assert_eq!(ticks(4).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(ticks(100).count() <= 9);
        assert_eq!(range([f64::NAN, 2.0, -1.0, f64::INFINITY].into_iter()), (-1.0, 2.0));
        assert_eq!(escaped("a < b & c"), "a &lt; b &amp; c");
    }
}
