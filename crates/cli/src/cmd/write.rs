//! The options of generation, from the command line.

use locus_heads::generate::{Beams, EarlyStopping, Penalties, Sampling};
use locus_pipeline::{WriteOptions, Written};

use crate::UsageError;
use crate::args::{self, WriteArgs};

/// The options over those of the verb.
///
/// # Errors
/// If any are out of range; all are named.
pub(super) fn options(args: &WriteArgs, verb: &WriteOptions) -> Result<WriteOptions, UsageError> {
    // A search takes the best texts, so what chance a verb has is not meant.
    let sampling = if args.beams.is_some() { Sampling::GREEDY } else { verb.sampling };
    let options = WriteOptions {
        max_new_tokens: args.max_new_tokens.unwrap_or(verb.max_new_tokens),
        min_new_tokens: args.min_new_tokens.unwrap_or(verb.min_new_tokens),
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
        beams: args.beams.map(|width| Beams {
            width,
            length_penalty: args.length_penalty.unwrap_or(1.0),
            early_stopping: match args.early_stopping {
                Some(args::EarlyStopping::Full) => EarlyStopping::Full,
                Some(args::EarlyStopping::Never) => EarlyStopping::Never,
                Some(args::EarlyStopping::Heuristic) | None => EarlyStopping::Heuristic,
            },
        }),
        n_sequences: args.sequences.unwrap_or(verb.n_sequences),
        stop: args.stop.iter().map(|stop| stop.replace("\\n", "\n").replace("\\t", "\t")).collect(),
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

/// A text in one line.
pub(super) fn one_line(written: &Written) -> String {
    written.text.replace('\n', "\\n")
}
