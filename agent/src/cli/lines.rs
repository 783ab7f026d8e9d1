//! Puts the lines of a log together again from frames, with when they were said.

use crate::{
    http::frames::{Kind, Piece},
    runtime::timestamp,
};
use bytes::{Bytes, BytesMut};

/// A line that is longer comes in parts.
const LINE_BYTES_MAX: usize = 1_024 * 1_024;
/// When something was said is no longer than this.
const MOMENT_BYTES_MAX: usize = 40;

/// A line without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Nanoseconds since 1970; 0 where it is not told.
    pub(super) at: u64,
    /// As it was told.
    pub(super) moment: Bytes,
    pub(super) is_stderr: bool,
    pub(super) text: Bytes,
}

/// One container's lines. Docker has each in a frame of its own, or a long one in several; of a
/// terminal they come as they come.
#[derive(Debug, Default)]
pub(super) struct Lines {
    is_terminal: bool,
    has_moments: bool,
    out: Open,
    err: Open,
}

/// A line that has not ended.
#[derive(Debug, Default)]
struct Open {
    /// The frame that has not ended.
    frame: BytesMut,
    moment: Bytes,
    text: BytesMut,
}

impl Lines {
    pub(super) fn new(is_terminal: bool, has_moments: bool) -> Self {
        Self {
            is_terminal,
            has_moments,
            ..Self::default()
        }
    }

    pub(super) fn feed(&mut self, piece: &Piece, into: &mut impl Extend<Line>) {
        let is_stderr = piece.kind == Kind::Stderr;
        let open = match is_stderr {
            true => &mut self.err,
            false => &mut self.out,
        };
        open.frame.extend_from_slice(&piece.bytes);
        if self.is_terminal {
            while let Some(end) = open.frame.iter().position(|byte| *byte == b'\n') {
                let line = open.frame.split_to(end + 1).freeze();
                let ended = open.take_in(line, self.has_moments, is_stderr);
                into.extend(ended);
            }
        }
        let is_whole = piece.ends && !self.is_terminal;
        if is_whole || open.frame.len() > LINE_BYTES_MAX {
            let frame = open.frame.split().freeze();
            into.extend(open.take_in(frame, self.has_moments, is_stderr));
        }
    }

    /// What had no end when the log ended.
    pub(super) fn rest(mut self, into: &mut impl Extend<Line>) {
        for (is_stderr, mut open) in [(false, self.out), (true, std::mem::take(&mut self.err))] {
            let frame = open.frame.split().freeze();
            if !frame.is_empty() {
                into.extend(open.take_in(frame, self.has_moments, is_stderr));
            }
            if !open.text.is_empty() {
                into.extend([open.end(is_stderr)]);
            }
        }
    }
}

impl Open {
    /// What Docker has said at once; the line, if that ends it.
    fn take_in(&mut self, mut said: Bytes, has_moment: bool, is_stderr: bool) -> Option<Line> {
        if has_moment {
            let end = said
                .iter()
                .take(MOMENT_BYTES_MAX)
                .position(|byte| *byte == b' ');
            if let Some(end) = end {
                let moment = said.split_to(end + 1).slice(..end);
                // A long line goes on later than it began.
                if self.text.is_empty() {
                    self.moment = moment;
                }
            }
        }
        let ends = said.last() == Some(&b'\n');
        self.text.extend_from_slice(&said);
        (ends || self.text.len() > LINE_BYTES_MAX).then(|| self.end(is_stderr))
    }

    fn end(&mut self, is_stderr: bool) -> Line {
        let mut text = self.text.split().freeze();
        for end in [b"\n", b"\r"] {
            if text.ends_with(end) {
                text.truncate(text.len() - 1);
            }
        }
        Line {
            at: nanoseconds(&self.moment).unwrap_or(0),
            moment: std::mem::take(&mut self.moment),
            is_stderr,
            text,
        }
    }
}

fn nanoseconds(moment: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(moment).ok()?;
    let ms = timestamp::parse(text)?.0;
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction
        .bytes()
        .take_while(u8::is_ascii_digit)
        .count()
        .min(9);
    // The first three are in the milliseconds.
    let rest = fraction[..digits].get(3..).unwrap_or_default();
    let rest: u64 = format!("{rest:0<6}").parse().ok()?;
    ms.checked_mul(1_000_000)?.checked_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::frames::{Decoder, frame};
    use holdfast_core::rng::Rng;

    fn check(is_terminal: bool, frames: &[(Kind, &str)], expected: &str) {
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|(kind, text)| frame(*kind, text.as_bytes()))
            .collect();
        let mut rng = Rng::new(9);
        for _ in 0..50 {
            let (mut decoder, mut lines) = (Decoder::default(), Lines::new(is_terminal, true));
            let (mut told, mut rest): (Vec<Line>, _) = (Vec::new(), &bytes[..]);
            while !rest.is_empty() {
                let (part, others) = rest.split_at(rest.len().min(1 + rng.below(30) as usize));
                rest = others;
                decoder.feed(part);
                while let Some(piece) = decoder.next().unwrap() {
                    lines.feed(&piece, &mut told);
                }
            }
            lines.rest(&mut told);
            let told = told.iter().map(|line| {
                let stream = if line.is_stderr { "err" } else { "out" };
                let text = String::from_utf8_lossy(&line.text);
                format!("{} {stream} {text}", line.at % 1_000_000_000_000)
            });
            assert_eq!(told.collect::<Vec<_>>().join("|"), expected);
        }
    }

    #[test]
    fn lines_are_whole_again_with_when_they_began() {
        check(
            false,
            &[
                (Kind::Stdout, "2026-11-23T02:26:08.000000001Z one\n"),
                (Kind::Stderr, "2026-11-23T02:26:08.000000002Z two\n"),
                // Docker cuts what is longer than 16 KiB.
                (Kind::Stdout, "2026-11-23T02:26:08.000000003Z long "),
                (Kind::Stderr, "2026-11-23T02:26:08.000000004Z\u{20}\n"),
                (Kind::Stdout, "2026-11-23T02:26:08.000000005Z line\n"),
                (Kind::Stdout, "2026-11-23T02:26:08.5Z the end"),
            ],
            "768000000001 out one|768000000002 err two|768000000004 err |\
             768000000003 out long line|768500000000 out the end",
        );
    }

    #[test]
    fn lines_of_a_terminal_end_where_they_end() {
        check(
            true,
            &[
                (Kind::Stdout, "2026-11-23T02:26:08.000000001Z o"),
                (Kind::Stdout, "ne\r\n2026-11-23T02:26:08.00"),
                (
                    Kind::Stdout,
                    "0000002Z two\r\n2026-11-23T02:26:08.000000003Z $ ",
                ),
            ],
            "768000000001 out one|768000000002 out two|768000000003 out $ ",
        );
    }
}
