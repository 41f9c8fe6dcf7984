//! Packed streams: `.gz` and `.zst`, read as they are unpacked.

use std::io::{self, BufRead, Read};
use std::path::Path;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The endings of packed files.
pub(crate) const ENDINGS: [&str; 2] = ["gz", "zst"];

/// The stream inside a packed file, by the ending of its name; none where it is not packed.
pub(crate) fn unpacked<'a, R: BufRead + 'a>(name: &Path, packed: R) -> Result<Box<dyn Read + 'a>, R> {
    let ending = name.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("gz") => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(packed))),
        Some("zst") => Ok(Box::new(Zstd { packed, decoder: FrameDecoder::new(), in_frame: false })),
        _ => Err(packed),
    }
}

/// All frames of a Zstandard stream, one after the other; frames that are to be skipped are skipped.
struct Zstd<R> {
    packed: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    /// Goes on to the next frame; `false` at the end.
    fn start_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.packed.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.init(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut (&mut self.packed).take(u64::from(length)), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    /// Compares the sum of a finished frame, where it has one.
    fn check_sum(&self) -> io::Result<()> {
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(expected), Some(found)) if expected != found => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum of a frame is wrong"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame {
                if !self.start_frame()? {
                    return Ok(0);
                }
                self.in_frame = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.packed, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let n = self.decoder.read(buf)?;
            if n > 0 {
                return Ok(n);
            }
            self.check_sum()?;
            self.in_frame = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn zstd(text: &str) -> Vec<u8> {
        compress_to_vec(text.as_bytes(), CompressionLevel::Fastest)
    }

    fn read(name: &str, bytes: &[u8]) -> io::Result<String> {
        let mut out = String::new();
        let Ok(mut stream) = unpacked(Path::new(name), bytes) else { panic!("not packed") };
        stream.read_to_string(&mut out).map(|_| out)
    }

    #[test]
    fn frames_follow_each_other_and_some_are_skipped() {
        let long = "abcdefg ".repeat(50_000);
        let skipped = [&[0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let bytes = [zstd("one\n"), skipped, zstd(&long), zstd("two")].concat();
        assert_eq!(read("a.txt.zst", &bytes).expect("reads"), format!("one\n{long}two"));
        assert_eq!(read("A.ZST", b"").expect("nothing"), "");
        assert!(unpacked(Path::new("a.txt"), &b"abc"[..]).is_err());
    }

    #[test]
    fn what_is_cut_or_damaged_is_an_error() {
        let bytes = zstd(&"to be or not ".repeat(997));
        assert!(read("a.zst", &bytes[..bytes.len() - 9]).is_err());
        assert!(read("a.zst", b"to be or not to be").is_err());
        let mut damaged = bytes.clone();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(read("a.zst", &damaged).is_err(), "the sum is wrong");
    }
}
