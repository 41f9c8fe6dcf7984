//! `locus positions list`.

use burn::tensor::backend::AutodiffBackend;
use locus_backend::device::{Job, run_on};
use locus_embedding::position::{
    CachePolicy, Cached, Facts, Family, Form, Limit, PositionConfig, PositionShape, Properties,
};
use locus_encoder::StackConfig;
use serde_json::{Value, json};

use super::super::say;

pub(super) fn run(json: bool, markdown: bool) -> anyhow::Result<()> {
    let lines = run_on(None, None, Lines)?;
    if json {
        let all: Vec<Value> = lines.iter().map(Line::json).collect();
        return say(serde_json::to_string_pretty(&all)?);
    }
    let text = if markdown { as_markdown(&lines) } else { as_text(&lines) };
    say(text.trim_end())
}

/// A scheme with its defaults, in the default model.
struct Line {
    config: PositionConfig,
    facts: Facts,
    shape: PositionShape,
    forms: Vec<Form>,
    properties: Properties,
    /// Whether its limit is the length that the model is made for.
    ends_with_model: bool,
}

struct Lines;

impl Job for Lines {
    type Out = Vec<Line>;

    /// By family, and in a family as the crate has them.
    fn run<B: AutodiffBackend>(self, device: B::Device) -> Vec<Line> {
        let schemes = PositionConfig::NAMES.into_iter().filter_map(PositionConfig::named);
        let mut lines: Vec<Line> = schemes.map(|config| Line::new::<B>(config, &device)).collect();
        lines.sort_by_key(|line| line.facts.family);
        lines
    }
}

impl Line {
    fn new<B: AutodiffBackend>(config: PositionConfig, device: &B::Device) -> Self {
        let shape = StackConfig::default().position_shape(Form::Causal);
        let forms = config.forms(&shape);
        let shape = PositionShape { form: forms.last().copied().unwrap_or(Form::Causal), ..shape };
        let properties = config.properties::<B>(&shape, device);
        let limit_at =
            |max_seq_len| config.properties::<B>(&PositionShape { max_seq_len, ..shape }, device).limit;
        let ends_with_model =
            [shape.max_seq_len, 2 * shape.max_seq_len].into_iter().all(|n| limit_at(n) == Limit::Error(n));
        Self { facts: config.facts(), config, shape, forms, properties, ends_with_model }
    }

    fn does(&self) -> String {
        let only = match self.forms[..] {
            [Form::Causal] => "; decoders",
            [Form::Bidirectional] => "; encoders",
            _ => "",
        };
        format!("{}{only}", self.facts.does)
    }

    fn cached(&self) -> String {
        let Cached { policy, key_width, state_width, keeps_all } = self.properties.cached;
        let mut text = match policy {
            CachePolicy::FinalKey => "key".to_owned(),
            CachePolicy::RawKey => "raw key".to_owned(),
        };
        if key_width != self.shape.d_head {
            text += &format!(", {} times as wide", key_width as f64 / self.shape.d_head as f64);
        }
        if state_width > 0 {
            let s = if state_width == 1 { "" } else { "s" };
            text += &format!(" and {state_width} number{s}");
        }
        if !keeps_all {
            text += " of what is seen";
        }
        text
    }

    fn limit(&self) -> String {
        match self.properties.limit {
            Limit::None => "none".to_owned(),
            Limit::Error(_) if self.ends_with_model => "error from `max_seq_len` on".to_owned(),
            Limit::Error(n) => format!("error from {n} on"),
            Limit::Clamp(n) => format!("as {} from {n} on", n.saturating_sub(1)),
        }
    }

    fn json(&self) -> Value {
        let Facts { family, does, parameters, longer_texts, paper } = self.facts;
        let Properties { n_trained, n_fixed, limit, is_relative, cached, extra_width } = &self.properties;
        let (policy, from) = match *limit {
            Limit::None => ("none", None),
            Limit::Error(n) => ("error", Some(n)),
            Limit::Clamp(n) => ("clamp", Some(n)),
        };
        let key = if cached.policy == CachePolicy::FinalKey { "final" } else { "raw" };
        json!({
            "name": self.config.name(),
            "family": family.to_string(),
            "does": does,
            "parameters": parameters,
            "n_trained": n_trained,
            "n_fixed": n_fixed,
            "longer_texts": longer_texts,
            "cached": {
                "key": key,
                "key_width": cached.key_width,
                "state_width": cached.state_width,
                "keeps_all": cached.keeps_all,
            },
            "limit": { "policy": policy, "from": from },
            "is_relative": is_relative,
            "extra_width": extra_width,
            "forms": self.forms.iter().map(|form| form_name(*form)).collect::<Vec<_>>(),
            "paper": paper,
            "config": self.config,
            "model": {
                "d_model": self.shape.d_model,
                "n_heads": self.shape.n_heads,
                "d_head": self.shape.d_head,
                "max_seq_len": self.shape.max_seq_len,
            },
        })
    }
}

pub(super) fn form_name(form: Form) -> &'static str {
    match form {
        Form::Causal => "causal",
        Form::Bidirectional => "bidirectional",
    }
}

fn as_text(lines: &[Line]) -> String {
    let head = ["name", "parameters", "longer texts", "cached", "limit", "paper"].map(str::to_owned);
    let cells = |line: &Line| {
        let Facts { parameters, longer_texts, paper, .. } = line.facts;
        let (cached, limit) = (line.cached(), line.limit());
        let texts = [line.config.name(), parameters, longer_texts, &cached, &limit, paper];
        texts.map(|text| text.replace('`', ""))
    };
    let rows: Vec<[String; 6]> = lines.iter().map(cells).collect();
    let width = |column: usize| {
        rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let show = |row: &[String; 6]| {
        let padded: Vec<String> =
            row.iter().enumerate().map(|(column, text)| format!("{text:<0$}", width(column))).collect();
        format!("  {}\n", padded.join("  ").trim_end())
    };
    let mut text = String::new();
    for family in Family::ALL {
        let of_family = lines.iter().zip(&rows).filter(|(line, _)| line.facts.family == family);
        let shown: String = of_family.map(|(_, row)| show(row)).collect();
        if !shown.is_empty() {
            text +=
                &format!("{family}\n{}{shown}\n", if text.is_empty() { show(&head) } else { String::new() });
        }
    }
    text + "What a scheme does, in numbers: locus positions show NAME"
}

fn as_markdown(lines: &[Line]) -> String {
    let head = "| name | family | what it does | parameters | longer texts | cached | limit | paper |\n\
                |---|---|---|---|---|---|---|---|\n";
    let row = |line: &Line| {
        let Facts { family, parameters, longer_texts, paper, .. } = line.facts;
        // A bar would end the cell.
        let does = line.does().replace('|', "\\|");
        let (name, parameters) = (line.config.name(), formulas(parameters));
        let (cached, limit) = (line.cached(), line.limit());
        format!(
            "| [`{name}`](positions/{name}.md) | {family} | {does} | {parameters} | {longer_texts} | {cached} | {limit} | {paper} |\n"
        )
    };
    head.to_owned() + &lines.iter().map(row).collect::<String>()
}

/// Formulas between backticks.
fn formulas(parameters: &str) -> String {
    let is_formula = |part: &&str| part.contains(['·', '+', '²']);
    let parts = parameters
        .split(", or ")
        .map(|part| if is_formula(&part) { format!("`{part}`") } else { part.to_owned() });
    parts.collect::<Vec<_>>().join(", or ")
}
