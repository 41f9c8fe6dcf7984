//! The commands of README and book, run as they stand there, so that a page cannot promise what the program does not do.
//!
//! Of every block marked `console` each line that begins with `$ ` runs in a folder of the page's own; a training stops
//! after two steps. What a page needs is written in it, where a reader of the page does not see it:
//! `<!-- file NAME: PATH -->` copies a file of the repository, `<!-- needs data -->` before a block runs it only where
//! `$LOCUS_DATA` names a folder with data sets, and `<!-- not run: WHY -->` leaves it out. A command whose output begins
//! with `error: ` must fail. The page of results trains only what no page before it did, once; the settings of its other
//! runs are checked alone.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{built_dir, cargo, code, package, profile, root, target_dir};

const PAGES: [&str; 20] = [
    "README.md",
    "docs/guide.md",
    "docs/data.md",
    "docs/tokenizers.md",
    "docs/heads.md",
    "docs/generation.md",
    "docs/metrics.md",
    "docs/positions.md",
    "docs/checkpoints.md",
    "docs/tasks/named-entities.md",
    "docs/tasks/classification.md",
    "docs/tasks/pairs.md",
    "docs/tasks/questions.md",
    "docs/tasks/fill-mask.md",
    "docs/tasks/language-models.md",
    "docs/tasks/sequence-to-sequence.md",
    "docs/tasks/embeddings.md",
    "docs/tasks/ranking.md",
    "docs/tasks/pretraining.md",
    RESULTS,
];

/// Whose trainings are the same but for some settings.
const RESULTS: &str = "docs/results.md";

/// What the commands run: verbs of `locus`.
const VERBS: [&str; 14] = [
    "train",
    "eval",
    "compare",
    "predict",
    "embed",
    "generate",
    "forward",
    "hub",
    "recipes",
    "config",
    "data",
    "positions",
    "model",
    "doctor",
];

pub(crate) fn check() -> Result<u8, String> {
    let built = code(cargo().args(["build", "--profile", &profile()]).args(package()))?;
    if built != 0 {
        return Ok(built);
    }
    let has_data = std::env::var_os("LOCUS_DATA").is_some_and(|dir| !dir.is_empty());
    let (mut failed, mut left_out) = (0_usize, 0_usize);
    let mut trained = HashSet::new();
    for page in PAGES {
        let text =
            fs::read_to_string(root().join(page)).map_err(|error| format!("cannot read {page}: {error}"))?;
        let folder = target_dir().join("book").join(page.replace('/', "-"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        copy(&root().join("datasets"), &folder.join("datasets"))?;
        copy(&root().join("README.md"), &folder.join("README.md"))?;
        let mut ran = HashSet::new();
        for step in steps(&text) {
            match step {
                Step::File { name, from } => copy(&root().join(from), &folder.join(name))?,
                Step::Run { command, fails, needs_data } => {
                    let Some(mut command) = in_smoke_form(&command) else { continue };
                    if !ran.insert(without_seed(&command)) && command.contains(" --seed ") {
                        continue;
                    }
                    let name = recipe(&command).map(str::to_owned);
                    if page == RESULTS && name.as_ref().is_some_and(|name| trained.contains(name)) {
                        command = without_seed(&command).replacen("locus train", "locus config check", 1);
                    }
                    trained.extend(name.filter(|_| !fails));
                    if needs_data && !has_data {
                        left_out += 1;
                    } else if run(&command, &folder, fails)? == fails {
                        eprintln!("{page}: {}: {command}", if fails { "did not fail" } else { "failed" });
                        failed += 1;
                    }
                }
            }
        }
    }
    if left_out > 0 {
        eprintln!("book: {left_out} commands left out: $LOCUS_DATA does not say where data sets lie");
    }
    Ok(u8::from(failed > 0))
}

#[derive(Debug, PartialEq)]
enum Step<'a> {
    File {
        name: &'a str,
        from: &'a str,
    },
    Run {
        command: String,
        /// Whether the page shows it failing.
        fails: bool,
        /// Whether it reads a public set.
        needs_data: bool,
    },
}

fn steps(page: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let (mut in_block, mut runs, mut skip, mut needs_data) = (false, false, false, false);
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let comment = line.trim().strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        if line.starts_with("```") {
            in_block = !in_block;
            runs = in_block && line == "```console" && !skip;
            (skip, needs_data) = (in_block && skip, in_block && needs_data);
        } else if let Some((name, from)) = comment.and_then(|c| c.strip_prefix("file ")?.split_once(": ")) {
            steps.push(Step::File { name, from });
        } else if comment.is_some_and(|comment| comment.starts_with("not run: ")) {
            skip = true;
        } else if comment == Some("needs data") {
            needs_data = true;
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| runs) {
            let mut command = command.to_owned();
            while command.ends_with('\\') {
                command.pop();
                command.push_str(lines.next().unwrap_or_default().trim_start());
            }
            let fails = lines.peek().is_some_and(|line| line.starts_with("error: "));
            steps.push(Step::Run { command, fails, needs_data });
        }
    }
    steps
}

/// The command with `locus` for `cargo xtask`, with two steps of training and few examples to score; nothing for chores and
/// other programs.
fn in_smoke_form(command: &str) -> Option<String> {
    let command = command.replace("cargo xtask ", "locus ");
    let verb = command.split("locus ").nth(1)?.split_whitespace().next()?;
    if !VERBS.contains(&verb) {
        return None;
    }
    Some(if verb == "train" {
        format!("{command} --set train.max_steps=2 --set data.max_eval_examples=64")
    } else {
        command
    })
}

/// What a command trains.
fn recipe(command: &str) -> Option<&str> {
    command.split("locus train ").nth(1)?.split(' ').next()
}

/// The command less its seed and the folder that it writes: two steps with another seed show nothing new.
fn without_seed(command: &str) -> String {
    let mut words = command.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--seed" | "--out" => drop(words.next()),
            word => kept.push(word),
        }
    }
    kept.join(" ")
}

fn run(command: &str, folder: &Path, fails: bool) -> Result<bool, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bin = std::env::current_dir().unwrap_or_default().join(built_dir());
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)))
        .map_err(|error| error.to_string())?;
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .map_err(|error| format!("cannot run sh: {error}"))?;
    if !output.status.success() && !fails {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.status.success())
}

/// Copies a file, or a folder with what is in it.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed =
        |error: std::io::Error| format!("cannot copy {} to {}: {error}", from.display(), to.display());
    if !from.is_dir() {
        return fs::copy(from, to).map(drop).map_err(failed);
    }
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{PAGES, Step, in_smoke_form, recipe, steps, without_seed};
    use crate::run::root;

    #[test]
    fn commands_are_found_with_what_they_need() {
        let page = "<!-- file a.csv: datasets/a.csv -->\n```console\n$ locus train \\\n    a.csv\nout\n$ ls\nerror: no\n```\n\
                    <!-- not run: no network -->\n```console\n$ locus data fetch x\n```\n```toml\n$ no\n```\n\
                    <!-- needs data -->\n```console\n$ locus train x\n```\n```console\n$ locus doctor\n```\n";
        let found = steps(page);
        let run = |command: &str, fails, needs_data| Step::Run { command: command.into(), fails, needs_data };
        assert_eq!(found[0], Step::File { name: "a.csv", from: "datasets/a.csv" });
        let runs = [
            run("locus train a.csv", false, false),
            run("ls", true, false),
            run("locus train x", false, true),
            run("locus doctor", false, false),
        ];
        assert_eq!(found[1..], runs);
    }

    #[test]
    fn trainings_are_short_and_chores_are_left_out() {
        assert_eq!(
            in_smoke_form("cargo xtask train x").as_deref(),
            Some("locus train x --set train.max_steps=2 --set data.max_eval_examples=64")
        );
        assert_eq!(in_smoke_form("echo a | locus predict").as_deref(), Some("echo a | locus predict"));
        assert_eq!(in_smoke_form("cargo xtask test"), None);
        assert_eq!(in_smoke_form("python x.py"), None);
        assert_eq!(
            without_seed("locus train x --seed 3 --set a=1 --out runs/x-3"),
            "locus train x --set a=1"
        );
    }

    /// Those that begin from a checkpoint, which is not there, stand on a page.
    #[test]
    fn every_recipe_is_trained_on_some_page() {
        let (mut trained, mut shown) = (Vec::new(), String::new());
        for page in PAGES {
            let text = fs::read_to_string(root().join(page)).expect("the page is there");
            shown.push_str(&text);
            for step in steps(&text) {
                let Step::Run { command, .. } = step else { continue };
                let command = in_smoke_form(&command).unwrap_or_default();
                trained.extend(recipe(&command).map(str::to_owned));
            }
        }
        for recipe in fs::read_dir(root().join("crates/cli/recipes")).expect("recipes are there") {
            let path = recipe.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("a recipe");
            let from = text.contains("model.from")
                && shown.contains(&format!("$ locus train {name} --set model.from="));
            assert!(from || trained.contains(&name), "no page trains {name}");
        }
    }
}
