//! A page as an LZ4 frame: what version 0.5.1 of the Go package wrote. Read only.

use std::io::{self, Read};

use lz4_flex::frame::FrameDecoder;

/// Why a frame did not give a page.
pub(crate) enum FrameError {
    /// The reader gave an error.
    Read(io::Error),
    /// The frame is not valid, too short, or longer than a page.
    Data(io::Error),
}

/// Decodes one frame into `page`, which it must fill exactly. Reads up to the end of the frame and not beyond.
pub(crate) fn decode(input: impl Read, page: &mut [u8]) -> Result<(), FrameError> {
    let mut frame = FrameDecoder::new(input);
    frame.read_exact(page).map_err(FrameError::from)?;
    // The frame's own end and checksums are read only when asked for more.
    if frame.read(&mut [0])? == 0 {
        Ok(())
    } else {
        Err(FrameError::Data(io::Error::new(
            io::ErrorKind::InvalidData,
            "frame is longer than a page",
        )))
    }
}

impl FrameError {
    /// The error, for input that is in memory and so can have only one kind.
    pub(crate) fn into_inner(self) -> io::Error {
        match self {
            FrameError::Read(error) | FrameError::Data(error) => error,
        }
    }
}

impl From<io::Error> for FrameError {
    /// The decoder gives its own errors as I/O errors too; only one of the reader may be worth a retry.
    fn from(error: io::Error) -> FrameError {
        let of_decoder = error
            .get_ref()
            .is_some_and(|inner| inner.is::<lz4_flex::frame::Error>());
        if of_decoder
            || matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            )
        {
            FrameError::Data(error)
        } else {
            FrameError::Read(error)
        }
    }
}
