//! Work done from the network of another process, as a host of the lab or a container would do it.

use nix::sched::{CloneFlags, setns};
use std::{fs::File, thread};

/// Does it in a thread that is in the network namespace of that process, which lives. Needs root.
#[track_caller]
pub fn within<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> T {
    let network = File::open(format!("/proc/{pid}/ns/net")).expect("the process lives");
    thread::scope(|scope| {
        let working = scope.spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).expect("root may");
            work()
        });
        working.join().expect("it does not panic")
    })
}
