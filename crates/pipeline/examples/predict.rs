//! Predictions from a model folder, as a product would make them.
//!
//! `cargo xtask train && cargo run --release -p locus-pipeline --example predict -- runs/first-news/model "Mira Tolland visited Lisbon."`
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;

use locus_backend::device::NdArray;
use locus_pipeline::Pipeline;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(dir), texts) = (args.next(), args.collect::<Vec<_>>()) else {
        return Err("usage: predict MODEL_FOLDER TEXT…".into());
    };
    let pipeline = Pipeline::<NdArray>::from_dir(dir, &Default::default())?;
    for prediction in pipeline.predict(&texts)? {
        println!("{}", prediction.to_json());
    }
    Ok(())
}
