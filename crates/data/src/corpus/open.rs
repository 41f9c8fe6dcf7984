//! Opening a source: unpacked, from any place on.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::DataError;
use crate::error::io as io_error;
use crate::read::packed::unpacked;

/// How much is read at once.
const BUFFER: usize = 1 << 20;

/// The unpacked bytes of a file from `offset` on. A plain file is sought, a packed one read up to there.
pub(super) fn open_at(path: &Path, offset: u64) -> Result<Box<dyn BufRead>, DataError> {
    let wrong = |error| io_error("read", path, error);
    let file = File::open(path).map_err(wrong)?;
    match unpacked(path, BufReader::with_capacity(BUFFER, file)) {
        Ok(mut stream) => {
            let skipped = io::copy(&mut stream.by_ref().take(offset), &mut io::sink()).map_err(wrong)?;
            if skipped < offset {
                return Err(wrong(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(Box::new(BufReader::with_capacity(BUFFER, stream)))
        }
        Err(mut file) => {
            file.seek(SeekFrom::Start(offset)).map_err(wrong)?;
            Ok(Box::new(file))
        }
    }
}
