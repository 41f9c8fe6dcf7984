//! `locus embed`.

use std::path::Path;

use anyhow::bail;
use burn::tensor::backend::{AutodiffBackend, Backend};
use locus_backend::device::{Job, run_on};
use locus_heads::HeadConfig;
use locus_pipeline::{Embeddings, Pipeline, PipelineError};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::adapters::{load_adapted_embedder, refuse_lost_modules};
use super::lines::Lines;
use super::{load, load_sentence, pack, say, with_tokenizer};
use crate::UsageError;
use crate::args::EmbedArgs;

pub(crate) fn run(args: &EmbedArgs) -> anyhow::Result<()> {
    let file = args.out.as_deref().map(OutFile::of).transpose()?;
    let device = &args.inference.device;
    run_on(device.backend.as_deref(), device.device.as_deref(), Embed { args, file })?
}

struct Embed<'a> {
    args: &'a EmbedArgs,
    file: Option<OutFile<'a>>,
}

impl Job for Embed<'_> {
    type Out = anyhow::Result<()>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Out {
        let args = self.args;
        let pipeline = load_embedder::<B::InnerBackend>(args, &device)?;
        let prompt = pipeline.prompt(args.prompt.as_deref()).map_err(|error| match error {
            PipelineError::UnknownPrompt { .. } => UsageError(format!("--prompt: {error}")).into(),
            error => anyhow::Error::from(error),
        })?;
        let mut answer = Answer { file: self.file, texts: Vec::new(), all: Embeddings::default() };
        if args.text.is_empty() {
            let mut lines = Lines::open(&args.input)?;
            loop {
                let group = lines.next_group()?;
                if group.is_empty() {
                    break;
                }
                let texts = if args.jsonl { texts_of(&lines, &group)? } else { group };
                answer.add(pipeline.embed_with(&texts, prompt)?, texts)?;
            }
        } else {
            answer.add(pipeline.embed_with(&args.text, prompt)?, args.text.clone())?;
        }
        answer.finish()
    }
}

/// Folders of Locus have a head of their own; any other is read as `sentence-transformers` reads it.
fn load_embedder<B: Backend>(args: &EmbedArgs, device: &B::Device) -> anyhow::Result<Pipeline<B>> {
    let (dir, adapters) = (&args.model, &args.inference.adapters);
    let is_theirs = locus_hub::is_sentence_folder(dir) || locus_hub::is_checkpoint(dir);
    let pipeline = if is_theirs {
        let mut pipeline = if adapters.is_empty() {
            load_sentence::<B>(dir, device)?
        } else {
            refuse_lost_modules(dir, adapters)?;
            let (config, model) = load_adapted_embedder::<B>(dir, adapters, device)?;
            with_tokenizer(dir, config, model)?
        };
        pack(&mut pipeline, &args.inference)?;
        pipeline
    } else {
        load::<B>(dir, &args.inference, device)?
    };
    if matches!(pipeline.config.head, HeadConfig::SentenceEmbedding(_)) {
        return Ok(pipeline);
    }
    let task = pipeline.codec.task();
    Err(UsageError(format!(
        "--model: this model does {task}; expected a sentence embedder (`locus train` with task = \"embed\"), a folder of \
         sentence-transformers, or a checkpoint"
    ))
    .into())
}

/// The texts of lines of JSON.
fn texts_of<R: std::io::Read>(lines: &Lines<'_, R>, group: &[String]) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Row {
        text: String,
    }
    let text = |(place, line): (String, &String)| match serde_json::from_str::<Row>(line) {
        Ok(row) => Ok(row.text),
        Err(error) => bail!("{place}: expected a JSON object with a string \"text\": {error}"),
    };
    lines.numbered(group).map(text).collect()
}

/// Where vectors go.
#[derive(Clone, Copy)]
struct OutFile<'a> {
    path: &'a Path,
    format: Format,
}

#[derive(Clone, Copy)]
enum Format {
    Safetensors,
    Npy,
    Jsonl,
}

impl<'a> OutFile<'a> {
    fn of(path: &'a Path) -> Result<Self, UsageError> {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => Format::Safetensors,
            Some("npy") => Format::Npy,
            Some("jsonl") => Format::Jsonl,
            _ => {
                let path = path.display();
                let problem =
                    format!("--out {path}: expected a name that ends in .safetensors, .npy or .jsonl");
                return Err(UsageError(problem));
            }
        };
        Ok(Self { path, format })
    }
}

/// What has been computed.
struct Answer<'a> {
    file: Option<OutFile<'a>>,
    /// Kept where a file holds them.
    texts: Vec<String>,
    all: Embeddings,
}

impl Answer<'_> {
    fn add(&mut self, new: Embeddings, texts: Vec<String>) -> anyhow::Result<()> {
        self.all.n_truncated += new.n_truncated;
        if self.file.is_none() {
            return texts.iter().zip(&new.vectors).try_for_each(|(text, vector)| say(line(text, vector)?));
        }
        self.all.vectors.extend(new.vectors);
        self.texts.extend(texts);
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        if self.all.n_truncated > 0 {
            tell!("note: {} texts were longer than the model reads, and were cut", self.all.n_truncated);
        }
        let Some(file) = self.file else { return Ok(()) };
        let vectors = &self.all.vectors;
        let shape = [vectors.len(), vectors.first().map_or(0, Vec::len)];
        let bytes = match file.format {
            Format::Safetensors => {
                let data = data(vectors);
                let view = TensorView::new(Dtype::F32, shape.to_vec(), &data)?;
                safetensors::serialize([("embeddings", view)], None)?
            }
            Format::Npy => npy(shape, &data(vectors)),
            Format::Jsonl => {
                let rows = self.texts.iter().zip(vectors);
                let lines = rows.map(|(text, vector)| line(text, vector).map(|line| line + "\n"));
                lines.collect::<anyhow::Result<String>>()?.into_bytes()
            }
        };
        locus_model::write_file(file.path, &bytes)?;
        say(format_args!("embeddings {shape:?}"))
    }
}

fn line(text: &str, embedding: &[f32]) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        text: &'a str,
        embedding: &'a [f32],
    }
    Ok(serde_json::to_string(&Line { text, embedding })?)
}

fn data(vectors: &[Vec<f32>]) -> Vec<u8> {
    vectors.iter().flatten().flat_map(|x| x.to_le_bytes()).collect()
}

/// A matrix as a file of NumPy, version 1.0 of the format: magic, length of the header, header, numbers.
fn npy([rows, columns]: [usize; 2], data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // The numbers begin at a multiple of 64 bytes.
    let unpadded = 10 + header.len() + 1;
    header += &" ".repeat(unpadded.next_multiple_of(64) - unpadded);
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\x00"[..], &length[..], header.as_bytes(), data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_numpy_begins_as_its_format_says() {
        let bytes = npy([2, 3], &[7; 24]);
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!((10 + length) % 64, 0);
        let header = String::from_utf8_lossy(&bytes[10..10 + length]).into_owned();
        assert!(
            header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"),
            "{header}"
        );
        assert!(header.ends_with('\n') && bytes[10 + length..] == [7; 24]);
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        assert!(OutFile::of(Path::new("a.npy")).is_ok());
        let error = OutFile::of(Path::new("a.bin")).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("a.bin") && error.contains(".safetensors"), "{error}");
    }
}
