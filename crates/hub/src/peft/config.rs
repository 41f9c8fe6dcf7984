//! `adapter_config.json`: what changes the computation is understood or refused by name.

use std::fs;
use std::path::Path;

use locus_heads::RankScaling;
use regex::Regex;
use serde_json::{Map, Value};

use super::CONFIG_FILE;
use super::names::Layer;
use crate::HubError;

/// What a file says.
pub(super) struct AdapterFile {
    pub(super) kind: Kind,
    /// Which layers are changed.
    targets: Matcher,
    excluded: Option<Matcher>,
    /// The numbers of the layers that are changed.
    layers: Option<Vec<u64>>,
    /// The names that a layer's number follows; any where empty.
    layer_names: Vec<String>,
    /// Names of modules that were trained whole.
    pub(super) saved: Vec<String>,
    /// Whether biases were trained.
    pub(super) has_biases: bool,
}

/// What kind of adapter.
pub(super) enum Kind {
    Lora {
        rank: usize,
        alpha: f64,
        rank_pattern: Vec<(Regex, f64)>,
        alpha_pattern: Vec<(Regex, f64)>,
        divisor: RankScaling,
        is_dora: bool,
        dropout: f64,
    },
    /// With the layers whose inputs are multiplied.
    Ia3(Matcher),
}

/// Which modules are meant.
pub(super) enum Matcher {
    Names(Vec<String>),
    Pattern(Regex),
    AllLinear,
}

/// Keys that say how a training was done, or where something lies.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "base_model_class",
    "parent_library",
    "revision",
    "task_type",
    "inference_mode",
    "peft_version",
    "init_ia3_weights",
    "loftq_config",
    "eva_config",
    "corda_config",
    "qalora_group_size",
    "megatron_core",
    "runtime_config",
    "ensure_weight_tying",
    // peft sets it to what the layer is.
    "fan_in_fan_out",
];
const OF_ALL: &[&str] = &[
    "peft_type",
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
];
const OF_LORA: &[&str] = &[
    "r",
    "lora_alpha",
    "lora_dropout",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "bias",
    "init_lora_weights",
];
/// Ways to begin that leave the weight as it is; others change it, and the adapter is of the changed one.
const INITS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

impl AdapterFile {
    pub(super) fn read(dir: &Path) -> Result<Self, HubError> {
        let path = dir.join(CONFIG_FILE);
        if !path.is_file() {
            let reason = format!("expected an adapter of peft, a folder with {CONFIG_FILE}");
            return Err(HubError::NotACheckpoint { path: dir.to_owned(), reason });
        }
        let text = fs::read_to_string(&path).map_err(HubError::io("read", &path))?;
        let json: Map<String, Value> = match serde_json::from_str(&text) {
            Ok(json) => json,
            Err(error) => {
                let reason = format!("expected a JSON object: {error}");
                return Err(HubError::NotACheckpoint { path, reason });
            }
        };
        let mut read = Reader { json: &json, problems: Vec::new() };
        let file = read.file();
        match file.filter(|_| read.problems.is_empty()) {
            Some(file) => Ok(file),
            None => Err(HubError::Config { path, problems: read.problems }),
        }
    }

    /// Whether a layer is changed.
    pub(super) fn changes(&self, layer: &Layer) -> bool {
        let name = layer.name.as_str();
        if self.excluded.as_ref().is_some_and(|excluded| excluded.matches(layer)) {
            return false;
        }
        let Matcher::Names(names) = &self.targets else { return self.targets.matches(layer) };
        // A full name is meant whatever the numbers say.
        if names.iter().any(|target| target == name) {
            return true;
        }
        self.targets.matches(layer) && self.layers.as_ref().is_none_or(|numbers| self.is_in(name, numbers))
    }

    /// Whether the last number in a name, behind one of the names that layers have, is among these.
    fn is_in(&self, name: &str, numbers: &[u64]) -> bool {
        let parts: Vec<&str> = name.split('.').collect();
        let number = (1..parts.len().saturating_sub(1)).rev().find_map(|idx| {
            let fits = match self.layer_names.as_slice() {
                [] => idx > 1,
                names => idx > 1 && names.iter().any(|name| name == parts[idx - 1]),
            };
            parts[idx].parse::<u64>().ok().filter(|_| fits)
        });
        number.is_some_and(|number| numbers.contains(&number))
    }
}

impl Matcher {
    pub(super) fn matches(&self, layer: &Layer) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|name| ends_with(&layer.name, name)),
            Self::Pattern(pattern) => pattern.is_match(&layer.name),
            Self::AllLinear => layer.is_of_stack(),
        }
    }
}

/// Whether a name is another, or ends with it after a dot.
pub(super) fn ends_with(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|start| start.is_empty() || start.ends_with('.'))
}

struct Reader<'a> {
    json: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    fn wrong(&mut self, key: &str, allowed: &str) {
        let found = self.json.get(key).unwrap_or(&Value::Null);
        self.problems.push(format!("{key} = {found}: expected {allowed}"));
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    fn file(&mut self) -> Option<AdapterFile> {
        let is_lora = match self.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => true,
            Some("IA3") => false,
            _ => {
                self.wrong("peft_type", "\"LORA\" (with or without use_dora) or \"IA3\"");
                return None;
            }
        };
        self.check_keys(if is_lora { OF_LORA } else { &["feedforward_modules"] });
        let targets = self.matcher("target_modules");
        if targets.is_none() {
            self.wrong("target_modules", "a list of names, a regular expression, or \"all-linear\"");
        }
        let excluded = self.matcher("exclude_modules");
        let layers = self.layers();
        let layer_names = self.names("layers_pattern");
        if layer_names.iter().any(|name| name.chars().any(|c| !c.is_alphanumeric() && c != '_')) {
            self.wrong("layers_pattern", "plain names");
        }
        let saved = self.names("modules_to_save");
        let bias = self.get("bias").map_or(Some("none"), Value::as_str).unwrap_or_default().to_owned();
        if !["none", "all", "lora_only"].contains(&bias.as_str()) {
            self.wrong("bias", "\"none\", \"all\" or \"lora_only\"");
        }
        let kind = if is_lora {
            self.lora()
        } else {
            Kind::Ia3(self.matcher("feedforward_modules").unwrap_or(Matcher::Names(Vec::new())))
        };
        let has_biases = bias != "none";
        Some(AdapterFile { kind, targets: targets?, excluded, layers, layer_names, saved, has_biases })
    }

    fn lora(&mut self) -> Kind {
        let rank = self.number("r", 8.0, "a whole number from 1 on", |r| r >= 1.0 && r.fract() == 0.0);
        let alpha = self.number("lora_alpha", 8.0, "a finite number", f64::is_finite);
        let dropout = self.number("lora_dropout", 0.0, "0 or more and below 1", |p| (0.0..1.0).contains(&p));
        let init = self.get("init_lora_weights");
        if !init
            .is_none_or(|init| init.is_boolean() || init.as_str().is_some_and(|init| INITS.contains(&init)))
        {
            self.wrong(
                "init_lora_weights",
                "true, false, \"gaussian\", \"eva\" or \"orthogonal\": others change the model's own weights; convert \
                 the adapter with peft's `save_pretrained(…, path_initial_model_for_weight_conversion=…)`",
            );
        }
        let divisor = if self.flag("use_rslora") { RankScaling::SqrtRank } else { RankScaling::Rank };
        Kind::Lora {
            rank: rank as usize,
            alpha,
            rank_pattern: self.pattern("rank_pattern"),
            alpha_pattern: self.pattern("alpha_pattern"),
            divisor,
            is_dora: self.flag("use_dora"),
            dropout,
        }
    }

    /// A key that is neither understood nor off may change anything.
    fn check_keys(&mut self, of_kind: &[&str]) {
        for (key, value) in self.json {
            let known = [WITHOUT_EFFECT, OF_ALL, of_kind].iter().any(|keys| keys.contains(&key.as_str()));
            let is_off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(table) => table.is_empty(),
                _ => false,
            };
            if !known && !is_off {
                self.problems.push(format!("{key} = {value}: expected null or false; it is not supported"));
            }
        }
    }

    fn number(&mut self, key: &str, default: f64, allowed: &str, fits: impl Fn(f64) -> bool) -> f64 {
        match self.get(key).map(Value::as_f64) {
            None => default,
            Some(Some(number)) if fits(number) => number,
            Some(_) => {
                self.wrong(key, allowed);
                default
            }
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.get(key).map(Value::as_bool) {
            None => false,
            Some(Some(flag)) => flag,
            Some(None) => {
                self.wrong(key, "true or false");
                false
            }
        }
    }

    /// A name or a list of names; none where nothing is said.
    fn names(&mut self, key: &str) -> Vec<String> {
        let found = match self.get(key) {
            None => return Vec::new(),
            Some(Value::String(name)) => Some(vec![name.clone()]),
            Some(Value::Array(list)) => list.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        found.unwrap_or_else(|| {
            self.wrong(key, "a list of names");
            Vec::new()
        })
    }

    fn matcher(&mut self, key: &str) -> Option<Matcher> {
        let pattern = match self.get(key)? {
            Value::String(all) if all == "all-linear" => return Some(Matcher::AllLinear),
            Value::String(pattern) => pattern.clone(),
            _ => return Some(Matcher::Names(self.names(key))),
        };
        self.regex(key, &format!("^(?:{pattern})$")).map(Matcher::Pattern)
    }

    fn regex(&mut self, key: &str, pattern: &str) -> Option<Regex> {
        Regex::new(pattern)
            .map_err(|error| self.problems.push(format!("{key}: {pattern:?} cannot be read: {error}")))
            .ok()
    }

    fn layers(&mut self) -> Option<Vec<u64>> {
        let found = match self.get("layers_to_transform")? {
            Value::Array(list) if list.is_empty() => return None,
            Value::Array(list) => list.iter().map(Value::as_u64).collect(),
            value => value.as_u64().map(|layer| vec![layer]),
        };
        if found.is_none() {
            self.wrong("layers_to_transform", "numbers of layers");
        }
        found
    }

    /// Names of modules, which are regular expressions, with a number each.
    fn pattern(&mut self, key: &str) -> Vec<(Regex, f64)> {
        let entries = match self.get(key) {
            None => return Vec::new(),
            Some(Value::Object(table)) => table.clone(),
            Some(_) => {
                self.wrong(key, "a table of numbers by module");
                return Vec::new();
            }
        };
        let mut numbers = Vec::new();
        for (name, value) in &entries {
            let regex = self.regex(key, &format!(r"^(?:.*\.)?(?:{name})$"));
            match value.as_f64().filter(|number| number.is_finite()) {
                Some(number) => numbers.extend(regex.map(|regex| (regex, number))),
                None => self.wrong(key, "finite numbers"),
            }
        }
        numbers
    }
}

/// The number of the first pattern that is the name of a module, or its end.
pub(super) fn number_of(patterns: &[(Regex, f64)], name: &str, default: f64) -> f64 {
    patterns.iter().find(|(regex, _)| regex.is_match(name)).map_or(default, |(_, number)| *number)
}
