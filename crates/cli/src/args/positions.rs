//! The verbs of position schemes: list, show.

use std::path::PathBuf;

use clap::Subcommand;

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
