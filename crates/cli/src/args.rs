//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Build, pre-train, fine-tune, evaluate and deploy transformers whose position embedding you choose.
#[derive(Debug, Parser)]
#[command(name = "locus", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Threads that compute on a CPU: as many as there are cores unless given.
    #[arg(long, global = true, value_name = "N", env = "LOCUS_THREADS")]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model from a recipe or a run file.
    Train(TrainArgs),
    /// Score a model on a file.
    Eval(EvalArgs),
    /// Compare the scores of two runs on the same examples.
    Compare(CompareArgs),
    /// Answer for each line of a text: entities, a label, tokens for a mask, generated text; or a question about a context.
    Predict(PredictArgs),
    /// A vector for each text, for search and comparison.
    Embed(EmbedArgs),
    /// Continue a prompt, or write the target of a source.
    Generate(GenerateArgs),
    /// Recipes: run files that are built in.
    Recipes(RecipesArgs),
    /// Check or explain a run file.
    Config(ConfigArgs),
    /// Data sets: list, fetch, check, count.
    Data(DataArgs),
    /// Position schemes: list, show what one does.
    Positions(PositionsArgs),
    /// Give a trained model another position scheme.
    Model(ModelArgs),
    /// Hugging Face checkpoints: fetch one, say what one is, write one.
    Hub(HubArgs),
    /// Run a model on token ids and write its outputs.
    Forward(ForwardArgs),
    /// Say what this build and this machine can do.
    Doctor,
}

/// Where to compute.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeviceArgs {
    /// ndarray, flex, wgpu or cuda, out of those built in.
    #[arg(long)]
    pub(crate) backend: Option<String>,
    /// The backend's device: cpu; for wgpu default, cpu, discrete:N, integrated:N, virtual:N; for cuda a number.
    #[arg(long)]
    pub(crate) device: Option<String>,
}

/// How a model is loaded to answer.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InferenceArgs {
    /// Hold the weights of linear layers as f32, as bf16 (half the memory) or as int8 (a quarter; activations are rounded
    /// too): faster on a CPU, with answers that may differ a little. bf16 and int8 need backend ndarray or flex.
    #[arg(long, value_enum, default_value_t = Weights::F32)]
    pub(crate) weights: Weights,
    /// Put an adapter on the model: a folder as peft writes it, or `adapter` of a run. Can be given many times: what several
    /// add is added up, their factors are multiplied.
    #[arg(long = "adapter", value_name = "DIR")]
    pub(crate) adapters: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Weights {
    F32,
    Bf16,
    Int8,
}

/// How files are read, where that is not recognised.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReadArgs {
    /// The layout: conll, csv, tsv, json, jsonl, parquet (in a build with that feature), squad, text, lines, snips; short
    /// for --read format=….
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// A key of a run file's `[data]` section, for instance --read columns.text=1 or --read encoding=gbk. Can be given many
    /// times.
    #[arg(long = "read", value_name = "KEY=VALUE")]
    pub(crate) reads: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TrainArgs {
    /// A recipe's name (`locus recipes ls`) or the path of a run file.
    #[arg(default_value = "first-news")]
    pub(crate) recipe: String,
    /// Where data sets lie; otherwise $LOCUS_DATA, the cache and the built-in samples are searched.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// The run folder; runs/NAME where not given. A folder with an earlier run needs --resume.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Decides initial weights, order and dropout; train.seed of the run file where not given.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Go on from a checkpoint: `auto` for the newest in the run folder, or its path.
    #[arg(long)]
    pub(crate) resume: Option<String>,
    /// Set a key of the run file, for instance --set model.position=alibi. Can be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EvalArgs {
    /// The model folder.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The file or folder to score on.
    #[arg(long)]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Open texts of the search by which targets are written, for a model that writes a text from a text; 1 takes the best
    /// token each time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) beams: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) inference: InferenceArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// The run folder of A.
    pub(crate) run_a: PathBuf,
    /// The run folder of B, whose score is taken from that of A.
    pub(crate) run_b: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PredictArgs {
    /// The model folder.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// A file with one text a line; - for the standard input. For a model that answers questions each line is a JSON object
    /// with question and context.
    #[arg(long, default_value = "-")]
    pub(crate) input: String,
    /// One question instead of an input, for a model that answers questions.
    #[arg(long, value_name = "TEXT", requires = "context", conflicts_with = "input")]
    pub(crate) question: Option<String>,
    /// The text in which its answer stands.
    #[arg(long, value_name = "TEXT", requires = "question")]
    pub(crate) context: Option<String>,
    /// Each line has two texts with a tab between, for a model that was trained on pairs.
    #[arg(long)]
    pub(crate) pairs: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(flatten)]
    pub(crate) inference: InferenceArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EmbedArgs {
    /// A model folder of Locus, a folder of sentence-transformers, or a checkpoint, whose vectors of tokens are averaged.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// A text. Can be given many times.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["input", "jsonl"])]
    pub(crate) text: Vec<String>,
    /// A file with one text a line; - for the standard input.
    #[arg(long, default_value = "-")]
    pub(crate) input: String,
    /// Each line is a JSON object with the text under "text".
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// Put this prompt of the model before each text; its default prompt where not given, if it has one.
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt: Option<String>,
    /// Write the vectors into this file: .safetensors (one matrix, embeddings), .npy, or .jsonl; where not given, they are printed
    /// as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) inference: InferenceArgs,
}

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

#[derive(Debug, clap::Args)]
pub(crate) struct RecipesArgs {
    #[command(subcommand)]
    pub(crate) verb: RecipesVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecipesVerb {
    /// All recipes with a line about each.
    Ls,
    /// Print a recipe.
    Show { name: String },
    /// Copy a recipe into a file of your own.
    Cp { name: String, to: PathBuf },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Report every problem of a recipe or run file.
    Check {
        recipe: String,
        #[arg(long = "set", value_name = "KEY=VALUE")]
        sets: Vec<String>,
    },
    /// Print a recipe or run file with all defaults written out.
    Explain {
        recipe: String,
        #[arg(long = "set", value_name = "KEY=VALUE")]
        sets: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct PositionsArgs {
    #[command(subcommand)]
    pub(crate) verb: PositionsVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PositionsVerb {
    /// All schemes by family, with what is known of each under its defaults.
    List {
        /// Print JSON.
        #[arg(long, conflicts_with = "markdown")]
        json: bool,
        /// Print the table of the book.
        #[arg(long)]
        markdown: bool,
    },
    /// What a scheme does at small sizes: embedding, rotation, bias, score terms, mask, on seeded input.
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// A scheme (`locus positions list`).
    pub(crate) name: String,
    /// Set a key of the scheme, for instance --set base=500. Can be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Number of queries: the last of the tokens.
    #[arg(long, default_value_t = 16)]
    pub(crate) q: usize,
    /// Number of keys: all tokens.
    #[arg(long, default_value_t = 16)]
    pub(crate) k: usize,
    /// Number of heads.
    #[arg(long, default_value_t = 4)]
    pub(crate) heads: usize,
    /// Width of a head; the model is as wide as all heads.
    #[arg(long, default_value_t = 8)]
    pub(crate) d_head: usize,
    /// The longest text that the model is made for; at least K [default: 128, or K].
    #[arg(long, value_name = "N")]
    pub(crate) max_seq_len: Option<usize>,
    /// As in a decoder, where a token sees what came before it. This is the default.
    #[arg(long, conflicts_with = "bidirectional")]
    pub(crate) causal: bool,
    /// As in an encoder.
    #[arg(long)]
    pub(crate) bidirectional: bool,
    /// The ids of the K tokens, separated by commas, for schemes that look at them [default: 0,1,2,…].
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) ids: Option<Vec<u32>>,
    /// The segments of the K tokens, separated by commas, for schemes that look at them [default: none].
    #[arg(long, value_name = "SEGMENTS", value_delimiter = ',')]
    pub(crate) segments: Option<Vec<u32>>,
    /// Decides parameters and input.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print JSON: every number, the input included.
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw it into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    pub(crate) verb: ModelVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelVerb {
    /// The position scheme of a model.
    Positions(ModelPositionsArgs),
    /// Write the model with adapters as part of its weights.
    Merge(MergeArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct MergeArgs {
    /// A model folder of Locus or a checkpoint.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// An adapter: a folder as peft writes it, or `adapter` of a run. Can be given many times: what several add is
    /// added up, their factors are multiplied.
    #[arg(long = "adapter", value_name = "DIR", required = true)]
    pub(crate) adapters: Vec<PathBuf>,
    /// The new model folder, which must not exist.
    #[arg(long)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModelPositionsArgs {
    #[command(subcommand)]
    pub(crate) verb: ModelPositionsVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelPositionsVerb {
    /// Write the model with another scheme, or with other keys of its own, in all layers.
    Convert(ConvertArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConvertArgs {
    /// The model folder.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The new scheme (`locus positions list`).
    #[arg(long)]
    pub(crate) to: String,
    /// Set a key of the new scheme, for instance --set base=500. Can be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// The longest text that the new model takes; as before where not given.
    #[arg(long, value_name = "N")]
    pub(crate) max_seq_len: Option<usize>,
    /// The new model folder, which must not exist.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Decides parameters that begin anew.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HubArgs {
    #[command(subcommand)]
    pub(crate) verb: HubVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HubVerb {
    /// Say what a folder holds, without loading it: family, head, sizes, and the model as Locus configures it.
    Inspect {
        /// The folder, as transformers writes it.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a model so that transformers loads it.
    Export(ExportArgs),
    /// Fetch a model of the Hugging Face Hub into its usual cache, and print the folder, which model.from and --model take.
    Pull(PullArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// The model, as org/name.
    pub(crate) name: String,
    /// A branch, tag or commit [default: main].
    #[arg(long)]
    pub(crate) revision: Option<String>,
    /// Fetch nothing: print the folder of an earlier fetch.
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// A model folder of Locus or a checkpoint.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The new folder, which must not exist.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// The family to write it as (its model_type); the first that has such a model where not given.
    #[arg(long = "as", value_name = "MODEL_TYPE")]
    pub(crate) family: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ForwardArgs {
    /// A model folder of Locus or a checkpoint.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// A JSON file: a list of rows of ids, or an object with input_ids and, if need be, attention_mask (0 at padding),
    /// token_type_ids and decoder_input_ids. Rows are of one length.
    #[arg(long)]
    pub(crate) ids: PathBuf,
    /// Put an adapter on the model: a folder as peft writes it, or `adapter` of a run. Can be given many times: what several
    /// add is added up, their factors are multiplied.
    #[arg(long = "adapter", value_name = "DIR")]
    pub(crate) adapters: Vec<PathBuf>,
    /// Write the vectors of tokens after the last layer too, as last_hidden_state.
    #[arg(long)]
    pub(crate) hidden: bool,
    /// The safetensors file to write.
    #[arg(long)]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    pub(crate) verb: DataVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataVerb {
    /// The sets with a manifest, and whether their files are there.
    List {
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
    /// Bring the files of a set into the data folder and compare their sums.
    Fetch(FetchArgs),
    /// Look for mistakes in a set or in files of your own.
    Check(CheckArgs),
    /// Count examples, tokens and labels.
    Stats(DataFiles),
    /// Tokenise large files once, into a folder that training maps into memory.
    Pack(PackArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct PackArgs {
    /// Files of text, JSONL or Parquet, in the order in which they are packed; also as .gz or .zst.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The tokenizer: its file, or a folder that holds one, such as a model's.
    #[arg(long)]
    pub(crate) tokenizer: PathBuf,
    /// The folder that is made. Where it is there already, what has not changed is kept.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// What one document of a text file is. A row of JSONL or Parquet always is one.
    #[arg(long, value_enum, default_value_t = PackDocuments::File)]
    pub(crate) documents: PackDocuments,
    /// The key or column that holds the text, in JSONL and Parquet.
    #[arg(long, default_value = "text")]
    pub(crate) column: String,
    /// Compare every byte with the sums at the end.
    #[arg(long)]
    pub(crate) verify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum PackDocuments {
    File,
    Line,
    Paragraph,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FetchArgs {
    /// Names of sets (`locus data list`).
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// A folder or an address that has the sets as a data folder has them, instead of their own sources.
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Where they are put; $LOCUS_DATA where not given, or else the cache.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) files: DataFiles,
    /// Find examples of more characters than this; with --model, of more tokens than the model takes.
    #[arg(long, conflicts_with = "model")]
    pub(crate) max_chars: Option<usize>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DataFiles {
    /// A set's name, or files and folders in the order train, dev, test.
    #[arg(required = true)]
    pub(crate) what: Vec<String>,
    /// Where sets lie; otherwise $LOCUS_DATA, the cache and the built-in samples are searched.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// A model folder whose tokenizer counts the tokens; `check` then finds what is longer than the model takes.
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
