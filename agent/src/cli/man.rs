//! `holdfast man DIRECTORY`: the manual pages, made of the same words as `--help`.

use super::{Cli, failure::Failure};
use clap::CommandFactory as _;
use std::path::Path;

/// The directory must be there. A failure may leave some of the pages in it.
pub(super) fn run(directory: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Cli::command(), directory).map_err(|err| {
        let directory = directory.display();
        Failure::Refused(format!("cannot write manual pages into {directory}: {err}"))
    })
}
