//! `locus model`.

use burn::tensor::backend::AutodiffBackend;
use locus_backend::device::{Job, run_on};
use locus_backend::rng::Key;
use locus_embedding::position::{Family, PositionConfig};
use locus_encoder::{ConfigProblem, StackConfig};
use locus_model::{Rule, Step, convert, save};
use locus_pipeline::Pipeline;
use toml::Table;

use super::positions::{choose, keys_of};
use super::say;
use crate::UsageError;
use crate::args::{ConvertArgs, ModelArgs, ModelPositionsVerb, ModelVerb};
use crate::run_file::{ConfigErrors, Problem};

pub(crate) fn run(args: &ModelArgs) -> anyhow::Result<()> {
    let args = match &args.verb {
        ModelVerb::Positions(args) => args,
        ModelVerb::Merge(args) => return super::adapters::merge(args),
    };
    let ModelPositionsVerb::Convert(args) = &args.verb;
    if args.out.exists() {
        return Err(UsageError(format!(
            "--out {}: expected a folder that does not exist yet; choose another name",
            args.out.display()
        ))
        .into());
    }
    run_on(None, None, Convert(args))?
}

struct Convert<'a>(&'a ConvertArgs);

impl Job for Convert<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let args = self.0;
        let Pipeline { config, codec, model, .. } =
            Pipeline::<B::InnerBackend>::from_dir(&args.model, &device)?;
        let old = config.stack.clone();
        let wrong = |problems| {
            let origin = format!("converting {} to {}", args.model.display(), args.to);
            anyhow::Error::from(ConfigErrors { origin, problems })
        };
        let taken_over = unless_named(keys(&old, &args.to), &args.sets);
        let wrong_stack = |problems: Vec<ConfigProblem>| {
            wrong(problems.into_iter().map(|p| Problem::new(&p.key, p.found, &p.allowed)).collect())
        };
        let mut stack = StackConfig {
            position: choose(&args.to, taken_over.clone(), &args.sets).map_err(wrong)?,
            layer_positions: Vec::new(),
            max_seq_len: args.max_seq_len.unwrap_or(old.max_seq_len),
            ..old.clone()
        };
        let missing = stack.find_tokens(&|token| codec.tokenizer.id(token));
        if !missing.is_empty() {
            return Err(wrong_stack(missing));
        }
        let position = stack.position.clone();
        let converted = convert(&config, &model, stack, Key::new(args.seed), &device).map_err(wrong_stack)?;
        save(&args.out, &converted.config, &converted.model, &codec.tokenizer.files()?)?;
        tell(args, &old, &position, &taken_over)?;
        let (tensors, numbers) = converted.n_kept;
        say(format_args!("kept         {tensors} tensors outside the scheme, {numbers} numbers"))?;
        for step in &converted.steps {
            say(line(step, args.seed))?;
        }
        say(format_args!("wrote        {}", args.out.display()))?;
        let is_same = old.schemes().0.iter().all(|scheme| scheme.name() == position.name());
        if is_same && converted.steps.iter().all(|step| step.rule == Rule::Kept) {
            return Ok(());
        }
        say(format_args!(
            "\nThe weights have not seen these positions; to train on: locus train RECIPE --set model.from={}",
            args.out.display()
        ))
    }
}

/// From which schemes, with which keys.
fn tell(
    args: &ConvertArgs,
    old: &StackConfig,
    position: &PositionConfig,
    taken_over: &Table,
) -> anyhow::Result<()> {
    let names: Vec<&str> = old.schemes().0.iter().map(PositionConfig::name).collect();
    say(format_args!(
        "scheme       {} → {}, in all {} layers",
        names.join(" + "),
        position.name(),
        old.n_layers
    ))?;
    let shown = |keys: &Table| {
        let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
    };
    say(format_args!("keys         {}", shown(&keys_of(position))))?;
    if !taken_over.is_empty() {
        say(format_args!("             of the old scheme, unless set: {}", shown(taken_over)))?;
    }
    if let Some(length) = args.max_seq_len {
        say(format_args!("length       {} → {length}", old.max_seq_len))?;
    }
    Ok(())
}

/// The keys that the new scheme has from the old model: all of the same scheme; of another one that turns pairs, what decides
/// how queries and keys were trained to be turned.
fn keys(old: &StackConfig, to: &str) -> Table {
    let (schemes, _) = old.schemes();
    if let Some(same) = schemes.iter().find(|scheme| scheme.name() == to) {
        return keys_of(same);
    }
    let Some(new) = PositionConfig::named(to) else { return Table::new() };
    let known = keys_of(&new);
    // BiPE turns too, though it is of another family.
    let turns = |scheme: &PositionConfig, keys: &Table| {
        scheme.facts().family == Family::Rotary || keys.contains_key("pairing")
    };
    let from = schemes.iter().find(|scheme| turns(scheme, &keys_of(scheme)));
    let (Some(from), true) = (from, turns(&new, &known)) else { return Table::new() };
    keys_of(from)
        .into_iter()
        .filter(|(key, _)| ["base", "pairing"].contains(&key.as_str()) && known.contains_key(key))
        .collect()
}

/// Without the ids of tokens whose names are set: those are looked up.
fn unless_named(mut keys: Table, sets: &[String]) -> Table {
    let of_names = [
        ("separators", &["separator_ids"][..]),
        ("digits", &["digit_ids", "first_digit_ids", "inner_digit_ids"]),
    ];
    for (names, ids) in of_names {
        if sets.iter().any(|set| set.split('=').next().map(str::trim) == Some(names)) {
            ids.iter().for_each(|key| drop(keys.remove(*key)));
        }
    }
    keys
}

fn line(step: &Step, seed: u64) -> String {
    let Step { name, shape, rule } = step;
    let (rule, how) = match rule {
        Rule::Kept => ("kept", String::new()),
        Rule::Interpolated { from, to } => {
            ("interpolated", format!(": {from} positions, on straight lines to {to}"))
        }
        Rule::Extended { from, to } => {
            ("extended", format!(": {from} places, the last of them again up to {to}"))
        }
        Rule::Cut { from, to } => ("cut", format!(": the first {to} of {from} positions")),
        Rule::Drawn => ("new", format!(": begins anew, from seed {seed}")),
        Rule::Dropped => ("dropped", String::new()),
    };
    format!("{rule:<12} {name} {shape:?}{how}")
}
