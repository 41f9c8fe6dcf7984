//! What a scheme's source file says: the text at its head, and the documented keys of its configuration.

use std::fs;
use std::path::{Path, PathBuf};

/// What paragraphs begin with.
const LABELS: [&str; 14] = [
    "Formula",
    "Papers",
    "Convention",
    "Differs",
    "Difference",
    "Not here",
    "Decoders only",
    "Causal only",
    "Parameters",
    "Limit",
    "Cache",
    "Cost",
    "Longer texts",
    "Trained frequencies",
];

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../embedding/src/position")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) struct Source {
    text: String,
    /// The type of its configuration; none for `none`.
    config: Option<String>,
}

pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) doc: String,
}

impl Source {
    /// The source of the scheme of this name.
    pub(crate) fn of(name: &str) -> Self {
        let file = match name {
            "attention_sinks" | "lambda_mask" => "sinks",
            _ => name,
        };
        let table = read(&dir().join("mod.rs"));
        let config =
            table.split_once(&format!("= \"{name}\": ")).and_then(|(_, rest)| rest.split(" =>").next());
        Self { text: read(&dir().join(format!("{file}.rs"))), config: config.map(str::to_owned) }
    }

    /// The lines at the head.
    fn head(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim_end)
    }

    /// The first paragraph.
    pub(crate) fn title(&self) -> String {
        let lines: Vec<&str> = self.head().take_while(|line| !line.is_empty()).map(str::trim).collect();
        plain_links(&lines.join(" "))
    }

    /// Everything after it, with a paragraph for each label.
    pub(crate) fn definition(&self) -> String {
        let mut paragraphs = vec![String::new()];
        for line in self.head().skip_while(|line| !line.is_empty()) {
            let line = line.strip_prefix(' ').unwrap_or(line);
            let Some(last) = paragraphs.last_mut() else { continue };
            if line.is_empty() {
                paragraphs.push(String::new());
            } else if line.starts_with("- ") || last.is_empty() {
                *last += if last.is_empty() { "" } else { "\n" };
                *last += line;
            } else {
                // What goes on in a list is indented.
                *last += if line.starts_with("  ") { "\n" } else { " " };
                *last += line;
            }
        }
        let labelled = paragraphs.iter().map(|paragraph| labelled(&plain_links(paragraph)));
        labelled.filter(|paragraph| !paragraph.is_empty()).collect::<Vec<_>>().join("\n\n")
    }

    /// The keys of the configuration.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let Some(config) = &self.config else { return Vec::new() };
        let body = body(&self.text, &format!("pub struct {config} {{")).unwrap_or_default();
        let mut fields = Vec::new();
        let mut doc: Vec<&str> = Vec::new();
        for line in body.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("/// ") {
                doc.push(text);
            } else if let Some((name, kind)) =
                line.strip_prefix("pub ").and_then(|line| line.split_once(": "))
            {
                let kind = kind.trim_end_matches(',').trim_start_matches("Option<").trim_end_matches('>');
                let text = plain_links(&doc.join(" ")) + &choices(kind);
                fields.push(Field { name: name.to_owned(), doc: text });
                doc.clear();
            }
        }
        fields
    }
}

/// The variants of a type of choices, wherever in the sources it stands; nothing for other types.
fn choices(kind: &str) -> String {
    let mut files: Vec<PathBuf> = [dir(), dir().join("rotary")]
        .iter()
        .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "rs"))
        .collect();
    files.sort();
    let Some(body) = files.iter().find_map(|file| body(&read(file), &format!("pub enum {kind} {{"))) else {
        return String::new();
    };
    let mut found = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    for line in body.lines() {
        // Deeper lines are fields of a variant.
        let Some(line) = line.strip_prefix("    ").filter(|line| !line.starts_with(' ')) else { continue };
        if let Some(text) = line.strip_prefix("/// ") {
            doc.push(text);
        } else if line.starts_with(char::is_uppercase) {
            let end = line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len());
            let doc = plain_links(&std::mem::take(&mut doc).join(" "));
            found.push(format!("`{}`: {}", snake(&line[..end]), doc.trim_end_matches('.')));
        }
    }
    format!("<br>{}", found.join("<br>"))
}

/// What stands between this line and the next `}` at the beginning of a line.
fn body(text: &str, opening: &str) -> Option<String> {
    let start = text.find(opening)? + opening.len();
    let end = start + text[start..].find("\n}")?;
    Some(text[start..end].to_owned())
}

fn snake(name: &str) -> String {
    let parts = name.char_indices().map(|(idx, c)| {
        let low = c.to_lowercase().to_string();
        if c.is_uppercase() && idx > 0 { format!("_{low}") } else { low }
    });
    parts.collect()
}

/// With names in place of links of rustdoc.
fn plain_links(text: &str) -> String {
    let mut parts = text.split("[`");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let Some((name, rest)) = part.split_once("`]") else { panic!("a link does not end: {part}") };
        let rest = match rest.strip_prefix('(') {
            Some(target) => target.split_once(')').map_or("", |(_, rest)| rest),
            None => rest,
        };
        plain += &format!("`{name}`{rest}");
    }
    plain
}

/// With a paragraph for each label.
fn labelled(paragraph: &str) -> String {
    let mut text = paragraph.to_owned();
    for label in LABELS {
        if let Some(rest) = text.strip_prefix(&format!("{label}: ")) {
            text = format!("**{label}:** {rest}");
        }
        text = text.replace(&format!(" {label}: "), &format!("\n\n**{label}:** "));
    }
    text
}

/// A value as TOML writes it on one line.
pub(crate) fn inline(value: &toml::Value) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        toml::Value::String(text) => serde_json::Value::from(text.as_str()).to_string(),
        toml::Value::Array(values) => format!("[{}]", join(values.iter().map(inline).collect())),
        toml::Value::Table(table) => {
            format!(
                "{{ {} }}",
                join(table.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect())
            )
        }
        other => other.to_string(),
    }
}
