//! The files of a shard: checked by header and size, mapped into memory, given back to the system.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use super::layout::{DOCUMENTS_MAGIC, END_BYTES, HEADER, ShardFacts, TOKENS_MAGIC, header, shard_files};
use crate::DataError;
use crate::error::io;

/// What is wrong with a shard's files, by their headers and sizes.
pub(super) fn check_shard(dir: &Path, facts: &ShardFacts, token_bytes: usize) -> Vec<String> {
    let [tokens, documents, _] = shard_files(dir, &facts.name);
    let files = [
        (tokens, TOKENS_MAGIC, token_bytes, facts.n_tokens),
        (documents, DOCUMENTS_MAGIC, END_BYTES, facts.n_documents),
    ];
    let mut problems = Vec::new();
    for (path, magic, width, len) in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = (width as u64).checked_mul(len).and_then(|bytes| bytes.checked_add(HEADER as u64));
        let Some(expected) = bytes else {
            problems.push(format!("{name} has {len} numbers by its record, more than a file can hold"));
            continue;
        };
        match read_header(&path) {
            Err(error) => problems.push(format!("{name} cannot be read ({error})")),
            Ok((_, found)) if found != expected => {
                problems.push(format!("{name} has {found} bytes, expected {expected}"));
            }
            Ok((found, _)) if found != header(magic, width, len) => {
                problems.push(format!("{name} has another header than its record says"));
            }
            Ok(_) => {}
        }
    }
    problems
}

fn read_header(path: &Path) -> std::io::Result<([u8; HEADER], u64)> {
    use std::io::Read;
    let mut file = File::open(path)?;
    let mut header = [0; HEADER];
    let len = file.metadata()?.len();
    if len >= HEADER as u64 {
        file.read_exact(&mut header)?;
    }
    Ok((header, len))
}

/// Maps a file into memory.
pub(super) fn map(path: &Path) -> Result<Mmap, DataError> {
    let file = File::open(path).map_err(|error| io("read", path, error))?;
    // SAFETY: the file is only read. Whoever cuts it while it is read ends the program by a signal, as with any mapping.
    unsafe { Mmap::map(&file) }.map_err(|error| io("map", path, error))
}

/// The numbers of a file, of `N` bytes each.
pub(super) fn cells<const N: usize>(file: &Mmap, range: Range<usize>) -> impl Iterator<Item = [u8; N]> {
    let (cells, _) = file[HEADER..].as_chunks::<N>();
    cells[range].iter().copied()
}

/// Where a document ends, by its number in its shard.
pub(super) fn end_at(documents: &Mmap, at: usize) -> u32 {
    let (cells, _) = documents[HEADER..].as_chunks::<END_BYTES>();
    u32::from_le_bytes(cells[at])
}

/// The first index below `n` for which `is_before` is false.
pub(super) fn partition(n: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Gives the pages of a file back to the system; they are read again if need be.
#[cfg(unix)]
pub(super) fn forget(map: &Mmap) {
    // SAFETY: the mapping is of a file and read only, so pages that are dropped come back as they were.
    let dropped = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    // Without it the same numbers are read; only more memory is used.
    dropped.unwrap_or_default();
}

#[cfg(not(unix))]
pub(super) fn forget(_: &Mmap) {}
