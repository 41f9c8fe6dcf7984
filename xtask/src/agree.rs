//! One run on two backends: the losses of the first steps agree, and a model of one says the same on the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chores::scratch;
use crate::run::{built_dir, cargo, code, exe, package, profile, root, target_dir};

/// How many steps are compared, and how closely.
const STEPS: usize = 20;
const TOLERANCE: f64 = 1e-3;

/// Small enough for a software adapter.
const TINY: [&str; 6] = [
    "model.d_model=32",
    "model.n_layers=1",
    "model.n_heads=2",
    "train.batch_size=4",
    "train.log_every_steps=1",
    "train.max_steps=20",
];

/// Builds the program for ndarray and keeps it where a build for another backend does not replace it.
pub(crate) fn keep_ndarray() -> Result<u8, String> {
    match code(cargo().args(["build", "--profile", &profile()]).args(package()))? {
        0 => {}
        failed => return Ok(failed),
    }
    let kept = program("ndarray");
    let folder = kept.parent().map_or(Ok(()), fs::create_dir_all);
    let copied = folder.and_then(|()| fs::copy(built_dir().join(exe("locus")), &kept));
    copied.map(|_| 0).map_err(|error| format!("cannot copy locus to {}: {error}", kept.display()))
}

/// The program for a backend: the one that was kept, or the one that was built along with the tests on wgpu.
fn program(backend: &str) -> PathBuf {
    match backend {
        "ndarray" => target_dir().join("ci").join(exe("locus-ndarray")),
        _ => target_dir().join("debug").join(exe("locus")),
    }
}

fn locus(backend: &str) -> Command {
    let mut locus = Command::new(program(backend));
    locus.current_dir(root());
    locus
}

pub(crate) fn check() -> Result<u8, String> {
    let runs = ["ndarray", "wgpu"].map(|backend| (backend, scratch(&format!("agree-{backend}"))));
    let mut losses = Vec::new();
    for (backend, out) in &runs {
        let out = out.as_ref().map_err(Clone::clone)?;
        let mut train = locus(backend);
        train.args(["train", "first-news", "--backend", backend, "--out"]).arg(out);
        TINY.iter().for_each(|set| {
            train.args(["--set", set]);
        });
        match code(&mut train)? {
            0 => losses.push(step_losses(&out.join("events.jsonl"))?),
            failed => return Ok(failed),
        }
    }
    let [on_ndarray, on_wgpu] = [&losses[0], &losses[1]];
    if on_ndarray.len() != STEPS || on_wgpu.len() != STEPS {
        return Err(format!(
            "expected {STEPS} losses each, found {} and {}",
            on_ndarray.len(),
            on_wgpu.len()
        ));
    }
    let mut worst = 0.0_f64;
    for (a, b) in on_ndarray.iter().zip(on_wgpu) {
        let apart = (a - b).abs() / a.abs();
        if apart.is_nan() || apart > TOLERANCE {
            return Err(format!(
                "losses {a} on ndarray and {b} on wgpu are {apart:e} apart (allowed: {TOLERANCE:e})"
            ));
        }
        worst = worst.max(apart);
    }
    eprintln!("wgpu: {STEPS} losses agree with ndarray's to {worst:.1e} (allowed: {TOLERANCE:.0e})");
    let (model, texts) = trained_on_ndarray()?;
    let answers = ["ndarray", "wgpu"].map(|backend| labels(&model, &texts, backend));
    match answers {
        [Ok(a), Ok(_)] if !a.contains("B-") => {
            Err("the model finds no entity, so agreement says nothing".to_owned())
        }
        [Ok(a), Ok(b)] if a == b => {
            eprintln!("wgpu: a model trained on ndarray gives the same {} bytes of labels", a.len());
            Ok(0)
        }
        [Ok(_), Ok(_)] => Err("a model trained on ndarray predicts other labels on wgpu".to_owned()),
        [Err(error), _] | [_, Err(error)] => Err(error),
    }
}

/// A model that tells entities from other words, and the test sentences, one a line.
fn trained_on_ndarray() -> Result<(PathBuf, PathBuf), String> {
    let out = scratch("agree-model")?;
    let mut train = locus("ndarray");
    train
        .args(["train", "first-news", "--backend", "ndarray", "--set", "train.epochs=15", "--out"])
        .arg(&out);
    if code(train.stdout(std::process::Stdio::null()))? != 0 {
        return Err("the model to compare could not be trained".to_owned());
    }
    let path = root().join("datasets/first-news/test.conll");
    let corpus =
        fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let sentence = |block: &str| {
        let words: Vec<&str> = block.lines().filter_map(|line| line.split(' ').next()).collect();
        words.join(" ")
    };
    let sentences: Vec<String> = corpus.split("\n\n").map(sentence).collect();
    let texts = out.join("sentences.txt");
    fs::write(&texts, sentences.join("\n"))
        .map_err(|error| format!("cannot write {}: {error}", texts.display()))?;
    Ok((out.join("model"), texts))
}

/// The losses of the step events, in order.
fn step_losses(events: &Path) -> Result<Vec<f64>, String> {
    let text =
        fs::read_to_string(events).map_err(|error| format!("cannot read {}: {error}", events.display()))?;
    let steps = text.lines().filter(|line| line.contains("\"event\":\"step\""));
    let loss = |line: &str| {
        let (_, after) = line.split_once("\"loss\":")?;
        after.split([',', '}']).next()?.trim().parse().ok()
    };
    steps.map(|line| loss(line).ok_or_else(|| format!("no loss in the event {line}"))).collect()
}

/// The tags of the texts, without the scores, whose last digits may differ.
fn labels(model: &Path, texts: &Path, backend: &str) -> Result<String, String> {
    let output = locus(backend)
        .args(["predict", "--backend", backend, "--json", "--model"])
        .arg(model)
        .arg("--input")
        .arg(texts)
        .output()
        .map_err(|error| format!("cannot run locus predict: {error}"))?;
    if !output.status.success() {
        return Err(format!("locus predict on {backend}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let tags = text.lines().map(|line| line.split_once("\"tags\":").map_or("", |(_, tags)| tags));
    let tags = tags.map(|tags| tags.split(']').next().unwrap_or_default());
    Ok(tags.collect::<Vec<_>>().join("\n"))
}
