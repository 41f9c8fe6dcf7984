//! The verbs of data: list, fetch, check, stats, pack.

use std::path::PathBuf;

use clap::Subcommand;

use super::ReadArgs;

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
