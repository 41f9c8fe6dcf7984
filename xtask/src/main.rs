//! `cargo xtask <verb>`: builds `locus` in release for the chosen backend and runs it, or runs one of the project's chores.
//!
//! It depends on next to nothing, so that it starts at once.

mod agree;
mod book;
mod chores;
mod layers;
mod results;
mod run;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <verb> [--backend B] …

Builds `locus` in release with backend B (ndarray unless given) and runs `locus <verb> …`:
  train [RECIPE|FILE.toml]   train; without an argument the first run, on a small corpus of the project's own
  eval, predict, generate    use a model
  recipes, config, data      look at recipes, run files and data
  positions list|show        look at position schemes
  model positions convert    give a trained model another position scheme
  hub pull|inspect|export    Hugging Face checkpoints: fetch one, what one is, and a model as one
  forward                    raw outputs of a model for rows of token ids
  doctor                     what this build and this machine can do
  (`cargo xtask train --help` prints the flags of a verb)

Chores:
  bench ops|attention|positions|train|forward|generate [--sizes S,M] [--backend B]
                             how long things take; --help prints the flags
  test [--backend B]         all tests on backend B
  ci [STAGE]                 what continuous integration runs: format, layers, clippy, doc, test, run, book, wgpu
  book                       run the commands of README and book, in short form; those that need public sets where
                             $LOCUS_DATA has them
  positions                  write the tables of docs/positions.md and docs/how-we-checked.md from the code
  layers                     check that crates depend one way, as docs/architecture.md says
  results [--check]          write the tables of docs/results.md from docs/results/, or check that they are those
  results add DIR [--variant NAME] [--against DIR] [--unit NAME]
                             add the score of a run, or of an evaluation (locus eval --out DIR), and a run's difference
                             from another on the same examples; the variant is its position unless named, the
                             unit of a loss its own (or bits_per_byte, bits_per_char)
  help                       this text
";

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let Some(verb) = args.first().cloned() else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    let result = match verb.as_str() {
        "positions" if args.len() == 1 => chores::positions(),
        "train" | "eval" | "compare" | "predict" | "embed" | "generate" | "recipes" | "config" | "data"
        | "positions" | "model" | "hub" | "forward" | "doctor" => run::become_locus(&args),
        "bench" => chores::bench(&args[1..]),
        "book" => book::check(),
        "test" => chores::test(&args[1..]),
        "ci" => chores::ci(&args.split_off(1)),
        "layers" => layers::check(),
        "results" => results::run(&args[1..]),
        "help" | "-h" | "--help" => {
            eprint!("{HELP}");
            Ok(0)
        }
        other => {
            eprintln!("error: unknown verb '{other}'\n\n{HELP}");
            Ok(2)
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(1)
        }
    }
}
