//! `locus train`.

use std::path::{Path, PathBuf};

use burn::tensor::backend::AutodiffBackend;
use locus_backend::device::{Job, resolve, run_on};
use locus_data::ReadOptions;
use locus_train::{Interrupter, Resume};

use super::say;
use super::shell::{quoted, relative};
use crate::UsageError;
use crate::args::TrainArgs;
use crate::experiment::{Ended, Experiment};
use crate::run_file::{DataSection, PairLossName, Source, Task, load};

pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let mut run = load(&Source::find(&args.recipe)?, &args.sets)?;
    if let Some(seed) = args.seed {
        run.train.fit.seed = seed;
    }
    let backend = resolve(args.device.backend.as_deref())?.name();
    let task = run.task;
    let has_pairs = task == Task::Embed && !run.embeds_with(PairLossName::InBatchNegatives);
    let dir = args.data_dir.as_ref().or(run.data.dir.as_ref());
    let scored = file_to_score(&run.data).map(|file| match dir {
        Some(dir) if !file.exists() => dir.join(file),
        _ => file,
    });
    let out = args.out.clone().unwrap_or_else(|| Path::new("runs").join(name_of(&args.recipe)));
    let resume = match args.resume.as_deref() {
        None => Resume::Never,
        Some("auto") => Resume::Auto,
        Some(path) => Resume::From(PathBuf::from(path)),
    };
    let holds_run = ["events.jsonl", "checkpoints", "report.json"].iter().any(|name| out.join(name).exists());
    if matches!(resume, Resume::Never) && holds_run {
        let out = out.display();
        return Err(UsageError(format!(
            "{out} holds a run already: go on with it (--resume auto), choose another folder (--out DIR), or remove it"
        ))
        .into());
    }
    let interrupter = stop_on_ctrl_c();
    let experiment = Experiment {
        run,
        recipe: name_of(&args.recipe),
        command: repeatable(args),
        out: out.clone(),
        data_dir: args.data_dir.clone(),
        resume,
        interrupter,
        backend,
    };
    let job = Train(experiment);
    match run_on(args.device.backend.as_deref(), args.device.device.as_deref(), job)?? {
        Ended::Interrupted { steps } => {
            anyhow::bail!("stopped after step {steps}, as asked; go on with: {}", resumed(args, &out))
        }
        Ended::Done(report) => {
            say(report.text())?;
            say(next_steps(task, has_pairs, &out, scored.as_deref()))
        }
    }
}

struct Train(Experiment);

impl Job for Train {
    type Out = anyhow::Result<Ended>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        self.0.run::<B>(&device)
    }
}

/// A recipe's name, or the stem of a file's.
fn name_of(recipe: &str) -> String {
    Path::new(recipe)
        .file_stem()
        .map_or_else(|| recipe.to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// The first Ctrl-C ends the run after the current step, with a checkpoint; the second ends the program.
fn stop_on_ctrl_c() -> Interrupter {
    let interrupter = Interrupter::new();
    let handle = interrupter.clone();
    let installed = ctrlc::set_handler(move || {
        if handle.should_stop() {
            std::process::exit(130);
        }
        tell!("\nstopping after this step and saving a checkpoint; press Ctrl-C again to stop at once");
        handle.stop(Some("Ctrl-C"));
    });
    if let Err(error) = installed {
        tell!("warning: Ctrl-C will end the run without a checkpoint: {error}");
    }
    interrupter
}

fn resumed(args: &TrainArgs, out: &Path) -> String {
    let mut command = format!(
        "locus train {} --out {} --resume auto",
        quoted(&args.recipe),
        quoted(&out.display().to_string())
    );
    let dir = args.data_dir.as_ref().map(|dir| dir.display().to_string());
    let seed = args.seed.map(|seed| seed.to_string());
    let flags = [
        ("--data-dir", &dir),
        ("--seed", &seed),
        ("--backend", &args.device.backend),
        ("--device", &args.device.device),
    ];
    for (flag, value) in flags {
        if let Some(value) = value {
            command += &format!(" {flag} {}", quoted(value));
        }
    }
    args.sets.iter().for_each(|set| command += &format!(" --set {}", quoted(set)));
    command
}

/// The command for the report: what repeats the run anywhere, so without the folders of this machine.
fn repeatable(args: &TrainArgs) -> String {
    let mut command = format!("locus train {}", quoted(&relative(&args.recipe)));
    if let Some(seed) = args.seed {
        command += &format!(" --seed {seed}");
    }
    if let Some(backend) = &args.device.backend {
        command += &format!(" --backend {backend}");
    }
    for (key, value) in args.sets.iter().filter_map(|set| set.split_once('=')) {
        if key.trim() != "data.dir" {
            command += &format!(" --set {}", quoted(&format!("{key}={}", relative(value))));
        }
    }
    command
}

/// The file that the run was scored on, where `locus eval` reads it without further flags.
fn file_to_score(data: &DataSection) -> Option<PathBuf> {
    data.test.clone().or_else(|| data.dev.clone()).filter(|_| data.read == ReadOptions::default())
}

/// What to do with the model; `has_pairs` where vectors were trained on pairs with a number or a label.
fn next_steps(task: Task, has_pairs: bool, out: &Path, scored: Option<&Path>) -> String {
    let path = |name: &str| quoted(&out.join(name).display().to_string());
    let (model, run) = (path("model"), path("run.toml"));
    let usage = match task {
        Task::Ner => {
            format!("echo 'Anna Keller of Northgate Bank spoke in Lisbon.' | locus predict --model {model}")
        }
        Task::Classify | Task::Multilabel | Task::Regression => {
            format!("echo 'It works very well.' | locus predict --model {model}")
        }
        Task::Rank | Task::MultipleChoice => {
            format!("printf 'a query\\ta candidate\\n' | locus predict --model {model} --pairs")
        }
        Task::Embed if has_pairs => {
            format!(
                "printf 'It rained all day.\\tRain fell all day.\\n' | locus predict --model {model} --pairs"
            )
        }
        Task::Embed => format!("echo 'Where is my order?' | locus embed --model {model}"),
        Task::Mlm => format!("echo 'The [MASK] of the day.' | locus predict --model {model}"),
        Task::ReplacedTokens => {
            format!("locus train ner --set model.from={model} --set data.train=MINE.conll")
        }
        Task::SpanCorruption | Task::Denoising => {
            format!("locus train seq2seq --set model.from={model} --set data.train=PAIRS.tsv")
        }
        Task::SentenceOrder => {
            format!("printf 'It rained.\\tSo we left.\\n' | locus predict --model {model} --pairs")
        }
        Task::Lm | Task::PrefixLm => format!("locus generate --model {model} --prompt 'The '"),
        Task::Qa => {
            format!("locus predict --model {model} --question 'Who …?' --context 'A text that says so.'")
        }
        Task::Seq2seq => format!("locus generate --model {model} --prompt 'a b c' --temperature 0"),
    };
    let eval = scored.map_or_else(String::new, |file| {
        format!("  locus eval --model {model} --data {}\n", quoted(&file.display().to_string()))
    });
    format!(
        "model      {model}\nreport     {}\n\nNext:\n  {usage}\n{eval}  locus train {run} --set model.position=none --out {}\n  \
         (locus is target/release/locus; `cargo xtask <verb>` builds and runs it)",
        path("report.txt"),
        quoted(&format!("{}-none", out.display())),
    )
}
