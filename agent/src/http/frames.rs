//! Several streams in one: Docker's own frames, and some more kinds for what it says otherwise.
//!
//! A frame is its kind, three zero bytes, the length of what follows (big-endian), and that. What
//! Docker has framed already goes through as it came.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

const HEAD_BYTES: usize = 8;
/// Of a frame that has to be whole to be understood.
const WORD_BYTES_MAX: usize = 64 * 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To the command.
    Stdin,
    Stdout,
    Stderr,
    /// A sentence on what went wrong; nothing comes after it. Docker's number for the same.
    Fault,
    /// Rows and columns of the terminal, two bytes each.
    Size,
    /// The exit code, four bytes; nothing comes after it.
    Exit,
    /// No more comes to the command.
    StdinEnd,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Stdin,
        Self::Stdout,
        Self::Stderr,
        Self::Fault,
        Self::Size,
        Self::Exit,
        Self::StdinEnd,
    ];

    const fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Fault => 3,
            Self::Size => 16,
            Self::Exit => 17,
            Self::StdinEnd => 18,
        }
    }

    /// Passed on as it comes, however long the frame is.
    const fn flows(self) -> bool {
        matches!(self, Self::Stdin | Self::Stdout | Self::Stderr)
    }
}

/// One whole frame.
pub(crate) fn frame(kind: Kind, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + payload.len());
    bytes.put_slice(&head(kind, payload.len()));
    bytes.put_slice(payload);
    bytes.freeze()
}

/// What goes before so many bytes.
pub(crate) fn head(kind: Kind, len: usize) -> [u8; HEAD_BYTES] {
    let len = u32::try_from(len).expect("nobody makes frames of 4 GiB");
    let [a, b, c, d] = len.to_be_bytes();
    [kind.number(), 0, 0, 0, a, b, c, d]
}

/// What came is not made of these frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what came is not made of frames; run the same release on all hosts")]
pub(crate) struct Unframed;

/// A part of a frame, or a whole one of a kind that has to be whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    /// It is the first of its frame.
    pub(crate) begins: bool,
    /// It is the last of its frame.
    pub(crate) ends: bool,
    pub(crate) bytes: Bytes,
}

/// Takes frames apart, and holds no more than one word of them.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    came: BytesMut,
    /// The frame that is under way: its kind, how much of it has not come, and whether any has.
    open: Option<(Kind, usize, bool)>,
}

impl Decoder {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.came.extend_from_slice(bytes);
    }

    /// Nothing is left of what was fed, and no frame is under way.
    pub(crate) fn is_between(&self) -> bool {
        self.came.is_empty() && self.open.is_none()
    }

    /// The next piece, as far as there is one; all have to be taken before more is fed.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, Unframed> {
        loop {
            if let Some((kind, left, begins)) = self.open {
                return Ok(self.flow(kind, left, begins));
            }
            let Some(head) = self.came.first_chunk::<HEAD_BYTES>() else {
                return Ok(None);
            };
            let [number, 0, 0, 0, len @ ..] = *head else {
                return Err(Unframed);
            };
            let len = u32::from_be_bytes(len) as usize;
            let kind = Kind::ALL.into_iter().find(|kind| kind.number() == number);
            let kind = kind.ok_or(Unframed)?;
            if kind.flows() {
                self.came.advance(HEAD_BYTES);
                if len == 0 {
                    continue;
                }
                return Ok(self.flow(kind, len, true));
            }
            if len > WORD_BYTES_MAX {
                return Err(Unframed);
            }
            if self.came.len() < HEAD_BYTES + len {
                return Ok(None);
            }
            self.came.advance(HEAD_BYTES);
            let bytes = self.came.split_to(len).freeze();
            return Ok(Some(Piece {
                kind,
                begins: true,
                ends: true,
                bytes,
            }));
        }
    }

    fn flow(&mut self, kind: Kind, left: usize, begins: bool) -> Option<Piece> {
        let len = left.min(self.came.len());
        self.open = (left > len).then_some((kind, left - len, begins && len == 0));
        (len > 0).then(|| Piece {
            kind,
            begins,
            ends: left == len,
            bytes: self.came.split_to(len).freeze(),
        })
    }
}

/// Follows where frames end in what passes by, so that one more can be put between two.
#[derive(Debug, Default)]
pub(crate) struct Seam {
    head: [u8; HEAD_BYTES],
    filled: usize,
    left: usize,
}

impl Seam {
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD_BYTES - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD_BYTES {
                let [.., a, b, c, d] = self.head;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.filled = 0;
            }
        }
    }

    pub(crate) const fn is_between(&self) -> bool {
        self.filled == 0 && self.left == 0
    }

    /// The last frame was one after which nothing comes.
    pub(crate) const fn is_over(&self) -> bool {
        let last = self.head[0];
        self.is_between() && (last == Kind::Fault.number() || last == Kind::Exit.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::rng::Rng;

    fn mixed() -> Vec<u8> {
        let frames = [
            frame(Kind::Stdout, b"one line\n"),
            frame(Kind::Stderr, b""),
            frame(Kind::Size, &[0, 24, 0, 80]),
            frame(Kind::Stderr, &[7; 500]),
            frame(Kind::Exit, &3_i32.to_be_bytes()),
        ];
        frames.concat()
    }

    fn told(bytes: &[u8], cut: impl FnMut() -> usize) -> Result<String, Unframed> {
        let (mut decoder, mut seam, mut told) = (Decoder::default(), Seam::default(), Vec::new());
        let (mut rest, mut cut) = (bytes, cut);
        while !rest.is_empty() {
            let (part, others) = rest.split_at(cut().clamp(1, rest.len()));
            rest = others;
            decoder.feed(part);
            seam.pass(part);
            while let Some(piece) = decoder.next()? {
                match told.last_mut() {
                    Some((kind, len)) if !piece.begins => {
                        assert_eq!(*kind, piece.kind);
                        *len += piece.bytes.len();
                    }
                    _ => told.push((piece.kind, piece.bytes.len())),
                }
            }
            assert_eq!(decoder.is_between(), seam.is_between());
            assert_eq!(seam.is_over(), rest.is_empty());
        }
        Ok(format!("{told:?}"))
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let whole = told(&mixed(), || usize::MAX).unwrap();
        assert_eq!(whole, "[(Stdout, 9), (Size, 4), (Stderr, 500), (Exit, 4)]");
        let mut rng = Rng::new(5);
        for _ in 0..300 {
            let cut = told(&mixed(), || 1 + rng.below(40) as usize);
            assert_eq!(cut, Ok(whole.clone()));
        }
    }

    #[test]
    fn what_is_not_framed_is_refused_and_holds_no_memory() {
        let mut rng = Rng::new(6);
        for _ in 0..2_000 {
            let len = 8 + rng.below(200) as usize;
            let noise: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            let mut decoder = Decoder::default();
            decoder.feed(&noise);
            while let Ok(Some(_)) = decoder.next() {}
        }
        let mut decoder = Decoder::default();
        decoder.feed(&[3, 0, 0, 0, 0xff, 0, 0, 0]);
        assert_eq!(decoder.next(), Err(Unframed));
        decoder = Decoder::default();
        decoder.feed(b"plain text of a container");
        assert_eq!(decoder.next(), Err(Unframed));
    }
}
