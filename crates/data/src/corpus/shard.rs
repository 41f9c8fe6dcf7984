//! Writing one shard: data beside its name, sums on the way, renamed at the end.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::layout::{DOCUMENTS_MAGIC, END_BYTES, HEADER, ShardFacts, TOKENS_MAGIC, header, hex, shard_files};
use crate::DataError;
use crate::error::io as io_error;

const BUFFER: usize = 1 << 20;

/// A shard that is being written.
pub(super) struct ShardWriter {
    name: String,
    /// The files in the end, and until then.
    paths: [PathBuf; 2],
    beside: [PathBuf; 2],
    tokens: BufWriter<File>,
    token_bytes: usize,
    sum: Sha256,
    n_tokens: u64,
    /// Where documents end.
    ends: Vec<u32>,
    bytes: Vec<u8>,
    is_finished: bool,
}

impl ShardWriter {
    pub(super) fn create(dir: &Path, name: String, token_bytes: usize) -> Result<Self, DataError> {
        let [tokens_path, documents_path, _] = shard_files(dir, &name);
        let paths = [tokens_path, documents_path];
        let beside = paths.clone().map(|path| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.tmp", std::process::id()));
            path.with_file_name(name)
        });
        let create = || {
            let mut file = File::create(&beside[0])?;
            file.write_all(&[0; HEADER])?;
            Ok(file)
        };
        let file = create().map_err(|error| io_error("write", &beside[0], error))?;
        Ok(Self {
            name,
            paths,
            beside,
            tokens: BufWriter::with_capacity(BUFFER, file),
            token_bytes,
            sum: Sha256::new(),
            n_tokens: 0,
            ends: Vec::new(),
            bytes: Vec::new(),
            is_finished: false,
        })
    }

    /// Appends tokens, which must be below the vocabulary's size.
    pub(super) fn push(&mut self, ids: &[u32]) -> Result<(), DataError> {
        self.bytes.clear();
        match self.token_bytes {
            2 => self.bytes.extend(ids.iter().flat_map(|&id| (id as u16).to_le_bytes())),
            _ => self.bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes())),
        }
        self.sum.update(&self.bytes);
        self.n_tokens += ids.len() as u64;
        self.tokens.write_all(&self.bytes).map_err(|error| io_error("write", &self.beside[0], error))
    }

    /// The document that is open ends here.
    pub(super) fn end_document(&mut self) -> Result<(), DataError> {
        let end = u32::try_from(self.n_tokens).map_err(|_| {
            DataError::Argument("a shard has more than 2^32 tokens; make shards smaller".to_owned())
        })?;
        self.ends.push(end);
        Ok(())
    }

    /// Flushes the files and gives them their names.
    pub(super) fn finish(mut self, text_bytes: u64) -> Result<ShardFacts, DataError> {
        let head = header(TOKENS_MAGIC, self.token_bytes, self.n_tokens);
        let close = |tokens: &mut BufWriter<File>| -> io::Result<()> {
            tokens.seek(SeekFrom::Start(0))?;
            tokens.write_all(&head)?;
            tokens.flush()?;
            tokens.get_ref().sync_all()
        };
        close(&mut self.tokens).map_err(|error| io_error("write", &self.beside[0], error))?;
        let ends: Vec<u8> = self.ends.iter().flat_map(|end| end.to_le_bytes()).collect();
        let write_ends = || -> io::Result<()> {
            let mut file = File::create(&self.beside[1])?;
            file.write_all(&header(DOCUMENTS_MAGIC, END_BYTES, self.ends.len() as u64))?;
            file.write_all(&ends)?;
            file.sync_all()
        };
        write_ends().map_err(|error| io_error("write", &self.beside[1], error))?;
        for (beside, path) in self.beside.iter().zip(&self.paths) {
            fs::rename(beside, path).map_err(|error| io_error("write", path, error))?;
        }
        self.is_finished = true;
        Ok(ShardFacts {
            name: self.name.clone(),
            n_tokens: self.n_tokens,
            n_documents: self.ends.len() as u64,
            text_bytes,
            tokens_sha256: hex(&self.sum.clone().finalize()),
            documents_sha256: hex(&Sha256::digest(&ends)),
        })
    }
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // Half-written files are of no use; the error that led here is the one to report.
            self.beside.iter().for_each(|path| drop(fs::remove_file(path)));
        }
    }
}
