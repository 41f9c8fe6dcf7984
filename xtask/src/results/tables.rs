//! The tables of the page, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use locus_metrics::bootstrap::Interval;

use super::facts::{Baselines, Beside, Difference, Reference, Run, Runs, Scored};

/// Whether all runs are on corpora of the project's own, whose names say that they are the first to try.
fn of_own(variants: &BTreeMap<String, Vec<Run>>) -> bool {
    variants.values().flatten().all(|run| run.data_set.as_ref().is_some_and(|set| set.starts_with("first-")))
}

/// A line for each recipe of a public set: the variant that is best on dev, with the least seed.
pub(super) fn overview(runs: &Runs, baselines: &Baselines) -> String {
    let mut text =
        "| recipe | score | test | 95 % interval | variant | without positions | simple baseline | training |\n\
         |---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for (recipe, variants) in runs.iter().filter(|(_, variants)| !of_own(variants)) {
        let firsts = variants.iter().filter_map(|(variant, runs)| Some((variant, runs.first()?)));
        let firsts: Vec<(&String, &Run)> = firsts.filter(|(_, run)| run.part == "test").collect();
        let worth = |run: &Run| run.dev_score.map(|dev| if is_loss(&run.score_name) { -dev } else { dev });
        // Of equals the first.
        let best = firsts.iter().rev().max_by(|(_, a), (_, b)| {
            worth(a).unwrap_or(f64::NEG_INFINITY).total_cmp(&worth(b).unwrap_or(f64::NEG_INFINITY))
        });
        let Some((variant, run)) = best else { continue };
        let without = firsts.iter().find(|(variant, _)| *variant == "none").map(|(_, run)| run.score);
        let of_set = baselines.sets.iter().find(|(set, _)| is_on(run, set));
        let baseline = of_set.and_then(|(_, baseline)| baseline.test.get(&run.score_name)).copied();
        let _ = writeln!(
            text,
            "| `{recipe}` | {} | {:.4} | {} | `{variant}` | {} | {} | {} |",
            run.score_name.replace('_', " "),
            run.score,
            shown_interval(run.interval),
            number(without),
            number(baseline),
            duration(run.train.seconds),
        );
    }
    text
}

/// Units of a loss that are proportional to it on the same texts.
pub(super) const PROPORTIONAL: [&str; 2] = ["bits_per_byte", "bits_per_char"];

/// Whether less is better.
fn is_loss(score_name: &str) -> bool {
    score_name == "loss" || PROPORTIONAL.contains(&score_name)
}

/// Whether a run is on this set. `lm-wikitext2` reads the files of its set as other parts.
fn is_on(run: &Run, set: &str) -> bool {
    run.data_set
        .as_ref()
        .map_or_else(|| set.strip_prefix(&run.recipe) == Some("-valid-test"), |own| own == set)
}

/// A table of a recipe's runs with the baseline and the reference runs of its data set, and the commands below, which `book`
/// runs where data is.
pub(super) fn table(variants: &BTreeMap<String, Vec<Run>>, beside: &Beside) -> String {
    let mut runs =
        variants.iter().flat_map(|(variant, runs)| runs.iter().map(move |run| (variant, run))).peekable();
    let Some(score_name) = runs.peek().map(|(_, run)| run.score_name.clone()) else { return String::new() };
    let shown = score_name.replace('_', " ");
    let mut text = format!(
        "| variant | position | parameters | seed | dev {shown} | test {shown} | 95 % interval | difference | training \
         (threads) |\n|---|---|---|---|---|---|---|---|---|\n"
    );
    let of_set = |set: &str| variants.values().flatten().any(|run| is_on(run, set));
    for (_, baseline) in beside.baselines.sets.iter().filter(|(set, _)| of_set(set)) {
        if let Some(test) = baseline.test.get(&score_name) {
            let (method, time) = (&baseline.method, duration(baseline.seconds));
            let dev = number(baseline.dev.get(&score_name).copied());
            let _ = writeln!(text, "| baseline: {method} | – | – | – | {dev} | {test:.4} | – | – | {time} |");
        }
    }
    let references: Vec<&Reference> = beside.references.iter().filter(|run| of_set(&run.set)).collect();
    for Reference { method, position, seed, dev, test, train_s, threads, .. } in &references {
        let score = |of: &BTreeMap<String, f64>| number(of.get(&score_name).copied());
        let (dev, test, time) = (score(dev), score(test), duration(*train_s));
        let _ = writeln!(
            text,
            "| reference: {method} | {position} | – | {seed} | {dev} | {test} | – | – | {time} ({threads}) |"
        );
    }
    for (variant, run) in runs {
        let interval = shown_interval(run.interval);
        let difference = run.difference.as_ref().map_or_else(none, |difference| {
            let Difference { from, value, interval: Interval { low, high } } = difference;
            format!("{value:+.4} ({low:+.4} – {high:+.4}) from `{from}`")
        });
        let test = number((run.part == "test").then_some(run.score));
        let _ = writeln!(
            text,
            "| `{variant}` | {} | {} | {} | {} | {test} | {interval} | {difference} | {} ({}) |",
            run.position,
            run.n_params,
            run.seed,
            number(run.dev_score),
            duration(run.train.seconds),
            run.threads,
        );
    }
    let commands = variants.iter().flat_map(|(variant, runs)| {
        runs.iter().map(move |run| {
            // A folder each, so that one can be run after the other.
            let Run { command, recipe, seed, .. } = run;
            let seed = if *seed == 0 { String::new() } else { format!("-{seed}") };
            format!("$ {command} --out runs/{recipe}-{variant}{seed}\n")
        })
    });
    let (from_checkpoint, own): (Vec<_>, Vec<_>) =
        commands.partition(|command| command.contains("model.from="));
    // The corpora of the project's own are built in.
    let needs_data = if of_own(variants) { "" } else { "<!-- needs data -->\n" };
    let compared = references.iter().map(|run| format!("$ {}\n", run.command)).collect();
    let needs_checkpoint = "<!-- not run: needs a checkpoint -->\n";
    for (mark, commands) in [(needs_data, own), (needs_checkpoint, from_checkpoint), ("", compared)] {
        if !commands.is_empty() {
            let _ = write!(text, "\n{mark}```console\n{}```\n", commands.concat());
        }
    }
    text
}

/// A table of models on sets that they were not trained on, and the commands below.
pub(super) fn evaluations_table(evaluations: &[Scored], baselines: &Baselines) -> String {
    let mut text =
        "| data set | model | score | 95 % interval | simple baseline | examples | time (threads) |\n\
                    |---|---|---|---|---|---|---|\n"
            .to_owned();
    for run in evaluations {
        let (set, part, model) = (&run.data_set, &run.part, &run.model);
        let others =
            run.metrics.iter().filter(|(name, _)| **name != run.score_name && !name.ends_with("loss"));
        let scores = std::iter::once((&run.score_name, &run.score)).chain(others);
        let scores: Vec<String> =
            scores.map(|(name, score)| format!("{} {score:.4}", name.replace('_', " "))).collect();
        let baseline = baselines.sets.get(set).and_then(|baseline| {
            let scores = match part.as_str() {
                "dev" => &baseline.dev,
                "test" => &baseline.test,
                _ => return None,
            };
            scores.get(&run.score_name).copied()
        });
        let _ = writeln!(
            text,
            "| `{set}`, {part} | `{model}` | {} | {} | {} | {} | {} ({}) |",
            scores.join(", "),
            shown_interval(run.interval),
            number(baseline),
            run.n_examples,
            duration(run.seconds),
            run.threads
        );
    }
    let commands: Vec<String> = evaluations.iter().map(|run| format!("$ {}\n", run.command)).collect();
    let _ = write!(text, "\n<!-- not run: needs trained models -->\n```console\n{}```\n", commands.concat());
    text
}

pub(super) fn baselines_table(baselines: &Baselines) -> String {
    let mut text =
        "| data set | baseline | score | dev | test | time |\n|---|---|---|---|---|---|\n".to_owned();
    for (set, baseline) in &baselines.sets {
        let (method, time) = (&baseline.method, duration(baseline.seconds));
        for (name, test) in &baseline.test {
            let (shown, dev) = (name.replace('_', " "), number(baseline.dev.get(name).copied()));
            let _ = writeln!(text, "| `{set}` | {method} | {shown} | {dev} | {test:.4} | {time} |");
        }
    }
    text
}

fn number(score: Option<f64>) -> String {
    score.map_or_else(none, |score| format!("{score:.4}"))
}

fn shown_interval(interval: Option<[f64; 2]>) -> String {
    interval.map_or_else(none, |[low, high]| format!("{low:.4} – {high:.4}"))
}

/// What a cell without a number shows.
fn none() -> String {
    "–".to_owned()
}

fn duration(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        10.0..120.0 => format!("{seconds:.0} s"),
        _ => format!("{:.1} min", seconds / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{
        Baseline,
        testing::{run, scored},
    };
    use super::*;

    fn scores(macro_f1: f64) -> BTreeMap<String, f64> {
        BTreeMap::from([("macro_f1".to_owned(), macro_f1), ("micro_f1".to_owned(), 0.9)])
    }

    fn baselines() -> Baselines {
        let cats = Baseline { method: "guess".into(), dev: scores(0.25), test: scores(0.125), seconds: 3.0 };
        Baselines { sets: BTreeMap::from([("cats".to_owned(), cats)]) }
    }

    fn reference(set: &str) -> Reference {
        Reference {
            set: set.into(),
            method: "their trainer".into(),
            position: "learned".into(),
            seed: 5,
            dev: scores(0.375),
            test: scores(0.4375),
            train_s: 60.0,
            threads: 3,
            command: format!("python theirs.py {set}"),
        }
    }

    #[test]
    fn a_table_has_the_baseline_and_each_seed_with_its_command() {
        let interval = Interval { low: 0.0625, high: 0.25 };
        let difference = Some(Difference { from: "none".into(), value: 0.125, interval });
        let runs = vec![Run { difference, ..run(0, 0.625) }, run(3, 0.5)];
        let loaded = Run { command: "locus train pets --set model.from=D".into(), ..run(0, 0.75) };
        let runs = BTreeMap::from([("deep".to_owned(), runs), ("loaded".to_owned(), vec![loaded])]);
        let references = vec![reference("cats"), reference("dogs")];
        assert_eq!(
            table(&runs, &Beside { baselines: baselines(), references }),
            "| variant | position | parameters | seed | dev macro f1 | test macro f1 | 95 % interval | difference | training (threads) |\n\
             |---|---|---|---|---|---|---|---|---|\n\
             | baseline: guess | – | – | – | 0.2500 | 0.1250 | – | – | 3.0 s |\n\
             | reference: their trainer | learned | – | 5 | 0.3750 | 0.4375 | – | – | 60 s (3) |\n\
             | `deep` | rotary | 1234 | 0 | – | 0.6250 | 0.5000 – 0.7500 | +0.1250 (+0.0625 – +0.2500) from `none` | 5.0 min (2) |\n\
             | `deep` | rotary | 1234 | 3 | – | 0.5000 | 0.5000 – 0.7500 | – | 5.0 min (2) |\n\
             | `loaded` | rotary | 1234 | 0 | – | 0.7500 | 0.5000 – 0.7500 | – | 5.0 min (2) |\n\n\
             <!-- needs data -->\n```console\n$ locus train pets --seed 0 --out runs/pets-deep\n\
             $ locus train pets --seed 3 --out runs/pets-deep-3\n```\n\n\
             <!-- not run: needs a checkpoint -->\n```console\n\
             $ locus train pets --set model.from=D --out runs/pets-loaded\n```\n\n\
             ```console\n$ python theirs.py cats\n```\n"
        );
    }

    #[test]
    fn what_a_model_scores_elsewhere_has_a_table_of_its_own() {
        assert_eq!(
            evaluations_table(&[scored()], &baselines()),
            "| data set | model | score | 95 % interval | simple baseline | examples | time (threads) |\n\
             |---|---|---|---|---|---|---|\n\
             | `cats`, test | `runs/pets/model` | macro f1 0.6250, accuracy 0.7500 | 0.5000 – 0.7500 | 0.1250 | 7 | 12 s (2) |\n\n\
             <!-- not run: needs trained models -->\n```console\n\
             $ locus eval --model runs/pets/model --data-set cats --part test\n```\n"
        );
    }

    #[test]
    fn the_overview_has_the_best_variant_of_each_recipe() {
        let of = |dev: f64, test: f64| vec![Run { dev_score: Some(dev), ..run(0, test) }];
        let pets = [("none", of(0.25, 0.375)), ("rotary", of(0.625, 0.5)), ("shaw", of(0.5, 0.875))];
        let pets: BTreeMap<String, Vec<Run>> =
            pets.into_iter().map(|(name, runs)| (name.to_owned(), runs)).collect();
        let losses = |dev, test| {
            vec![Run { score_name: "loss".into(), data_set: Some("dogs".into()), ..of(dev, test).remove(0) }]
        };
        let talk = BTreeMap::from([("a".to_owned(), losses(2.0, 2.5)), ("b".to_owned(), losses(3.0, 1.5))]);
        let mut own = pets.clone();
        own.values_mut().flatten().for_each(|run| run.data_set = Some("first-cats".into()));
        let runs =
            BTreeMap::from([("own".to_owned(), own), ("pets".to_owned(), pets), ("talk".to_owned(), talk)]);
        assert_eq!(
            overview(&runs, &baselines()),
            "| recipe | score | test | 95 % interval | variant | without positions | simple baseline | training |\n\
             |---|---|---|---|---|---|---|---|\n\
             | `pets` | macro f1 | 0.5000 | 0.5000 – 0.7500 | `rotary` | 0.3750 | 0.1250 | 5.0 min |\n\
             | `talk` | loss | 2.5000 | 0.5000 – 0.7500 | `a` | – | – | 5.0 min |\n"
        );
    }
}
