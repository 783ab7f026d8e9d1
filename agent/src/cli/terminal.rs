//! The terminal that a command is run from: its size, and its keys as they are pressed.

use super::failure::Failure;
use rustix::{
    stdio,
    termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr},
};

/// Passes keys on as they are pressed, Ctrl-C too, until it is dropped.
#[derive(Debug)]
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    pub(super) fn begin() -> Result<Self, Failure> {
        if !isatty(stdio::stdin()) {
            return Err(Failure::Usage(
                "standard input is not a terminal; leave --tty out".to_owned(),
            ));
        }
        let failed = |err| Failure::Refused(format!("cannot set up the terminal: {err}"));
        let before = tcgetattr(stdio::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdio::stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // What was typed ahead is the shell's.
        tcsetattr(stdio::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

pub(super) fn is_output_terminal() -> bool {
    isatty(stdio::stdout())
}

/// Rows and columns; `None` where there is no terminal.
pub(super) fn size() -> Option<[u16; 2]> {
    let size = tcgetwinsize(stdio::stdout()).or_else(|_| tcgetwinsize(stdio::stdin()));
    let size = size.ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some([size.ws_row, size.ws_col])
}
