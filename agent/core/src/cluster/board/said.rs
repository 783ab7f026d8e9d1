//! When the records that concern something were written.

use super::Board;
use crate::{cluster::body::Key, ids::HostId, time::Wall};

impl Board {
    /// When something was said of the host last, by itself or by others.
    pub fn said_of(&self, host: HostId) -> Wall {
        let keys = [Key::Host(host), Key::Verdict(host), Key::Directive(host)];
        let said = keys.iter().filter_map(|key| self.record(key));
        let at = said.map(|record| record.version.stamp.wall);
        at.max().unwrap_or_default()
    }
}
