//! The verb generate, and how predict writes.

use std::path::PathBuf;

use super::InferenceArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct GenerateArgs {
    /// The model folder.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The text to continue, or the source of an encoder-decoder.
    #[arg(long)]
    pub(crate) prompt: String,
    /// Print a JSON object instead of the text as it comes.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(flatten)]
    pub(crate) inference: InferenceArgs,
}

/// How to generate. What is not given is as the verb has it.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(allow_negative_numbers = true, next_help_heading = "Generation")]
pub(crate) struct WriteArgs {
    /// The most tokens to generate [default: 200 for generate, 128 for predict].
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    /// A text with fewer tokens does not end.
    #[arg(long, value_name = "N")]
    pub(crate) min_new_tokens: Option<usize>,
    /// 0 takes the best token; higher is more varied [default: 0.8 for generate, 0 for predict and with --beams].
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f64>,
    /// Choose among the best K tokens; 0 for all. For predict with a masked language model: give the best K tokens for each
    /// mask [default: 5].
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Choose among the best tokens that together have this probability, above 0 and at most 1 [default: 0.95 for
    /// generate].
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f64>,
    /// Choose among tokens at least this many times as probable as the best, 0 to 1.
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f64>,
    /// Scores of tokens of the prompt and the text are divided by this, above 0; 1 changes nothing.
    #[arg(long, value_name = "X")]
    pub(crate) repetition_penalty: Option<f64>,
    /// Is subtracted from the score of each token of the text, -2 to 2.
    #[arg(long, value_name = "X")]
    pub(crate) presence_penalty: Option<f64>,
    /// Is subtracted from the score of a token for each time it is in the text, -2 to 2.
    #[arg(long, value_name = "X")]
    pub(crate) frequency_penalty: Option<f64>,
    /// No N tokens come twice in this order; 0 for no such rule.
    #[arg(long, value_name = "N")]
    pub(crate) no_repeat_ngram: Option<usize>,
    /// Search for the most probable text with so many open texts, 1 to 1000.
    #[arg(long, value_name = "N")]
    pub(crate) beams: Option<usize>,
    /// Texts compete by log-probability / length^X: above 0 favours long texts [default: 1].
    #[arg(long, value_name = "X", requires = "beams")]
    pub(crate) length_penalty: Option<f64>,
    /// End a search when as many texts have ended as there are beams (full), when no open text would be better
    /// (heuristic), or when none can be (never) [default: heuristic].
    #[arg(long, value_name = "WHEN", requires = "beams")]
    pub(crate) early_stopping: Option<EarlyStopping>,
    /// Write N texts, 1 to 1000: samples, or the best of a search.
    #[arg(long, value_name = "N")]
    pub(crate) sequences: Option<usize>,
    /// End a text before this string, in which \n and \t are a line end and a tab. Can be given many times.
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// Read special tokens in a prompt, such as <|im_start|>, as such, not as text. Only of prompts that you trust.
    #[arg(long)]
    pub(crate) parse_special: bool,
    /// Tell the log-probability of each token, and those of the N best.
    #[arg(long, value_name = "N", requires = "json")]
    pub(crate) log_probs: Option<usize>,
    /// Decides the random choices [default: 0].
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum EarlyStopping {
    Full,
    Heuristic,
    Never,
}
