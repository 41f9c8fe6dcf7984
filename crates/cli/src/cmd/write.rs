//! The options of generation, from the command line.

use std::path::Path;

use locus_heads::generate::{Beams, EarlyStopping, Penalties, Sampling};
use locus_pipeline::{ModelOptions, WriteOptions, Written};

use super::read_config;
use crate::UsageError;
use crate::args::{self, WriteArgs};

/// The options of the command line over those of the model, and these over those of the verb. What the model decides is told.
///
/// # Errors
/// If any options are out of range, which are all named, or the model cannot be read.
pub(super) fn options(model: &Path, args: &WriteArgs, verb: WriteOptions) -> anyhow::Result<WriteOptions> {
    let config = match read_config(model) {
        Ok(config) => config,
        Err(error) => {
            // A slip of the pen is told first.
            over(args, &verb)?;
            return Err(error);
        }
    };
    let ModelOptions { options, taken, passed_over } = verb.of_model(&config)?;
    if !taken.is_empty() {
        tell!("note: the checkpoint says how to generate: {}", taken.join(", "));
    }
    if !passed_over.is_empty() {
        tell!("note: the checkpoint says so, but it is not done: {}", passed_over.join("; "));
    }
    Ok(over(args, &options)?)
}

/// The options of the command line over others.
fn over(args: &WriteArgs, verb: &WriteOptions) -> Result<WriteOptions, UsageError> {
    let beams = match args.beams {
        Some(width) => Some(search(args, width, verb.beams.unwrap_or_default())),
        // Who asks for chance does not want a model's search.
        None => verb.beams.filter(|_| args.temperature.is_none_or(|temperature| temperature == 0.0)),
    };
    // A search takes the best texts, so what chance a verb has is not meant.
    let sampling = if beams.is_some() { Sampling::GREEDY } else { verb.sampling };
    let max_new_tokens = args.max_new_tokens.unwrap_or(verb.max_new_tokens);
    let options = WriteOptions {
        max_new_tokens,
        min_new_tokens: args.min_new_tokens.unwrap_or(verb.min_new_tokens.min(max_new_tokens)),
        sampling: Sampling {
            temperature: args.temperature.unwrap_or(sampling.temperature),
            top_k: args.top_k.unwrap_or(sampling.top_k),
            top_p: args.top_p.unwrap_or(sampling.top_p),
            min_p: args.min_p.unwrap_or(sampling.min_p),
        },
        penalties: Penalties {
            repetition: args.repetition_penalty.unwrap_or(verb.penalties.repetition),
            presence: args.presence_penalty.unwrap_or(verb.penalties.presence),
            frequency: args.frequency_penalty.unwrap_or(verb.penalties.frequency),
            no_repeat_ngram: args.no_repeat_ngram.unwrap_or(verb.penalties.no_repeat_ngram),
        },
        beams,
        n_sequences: args.sequences.unwrap_or(verb.n_sequences),
        stop: args.stop.iter().map(|stop| stop.replace("\\n", "\n").replace("\\t", "\t")).collect(),
        parse_special: args.parse_special,
        log_probs: args.log_probs,
        seed: args.seed.unwrap_or(verb.seed),
    };
    let problems = options.problems();
    match problems.len() {
        0 => Ok(options),
        1 => Err(UsageError(problems.concat())),
        n => Err(UsageError(format!("{n} problems\n  - {}", problems.join("\n  - ")))),
    }
}

/// A search of this width, otherwise as the command line has it, or else the model.
fn search(args: &WriteArgs, width: usize, of_model: Beams) -> Beams {
    Beams {
        width,
        length_penalty: args.length_penalty.unwrap_or(of_model.length_penalty),
        early_stopping: match args.early_stopping {
            Some(args::EarlyStopping::Full) => EarlyStopping::Full,
            Some(args::EarlyStopping::Heuristic) => EarlyStopping::Heuristic,
            Some(args::EarlyStopping::Never) => EarlyStopping::Never,
            None => of_model.early_stopping,
        },
    }
}

/// A text in one line.
pub(super) fn one_line(written: &Written) -> String {
    written.text.replace('\n', "\\n")
}
