//! Many runs at once, on all cores; each run stays on one.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Does all pieces of work on as many threads as there are cores; what each
/// gave, with its place, in that order.
pub fn work<T: Sync, R: Send>(pieces: &[T], does: impl Fn(&T) -> R + Sync) -> Vec<(usize, R)> {
    let next = AtomicUsize::new(0);
    let (next, does) = (&next, &does);
    let take = move || {
        let place = next.fetch_add(1, Ordering::Relaxed);
        pieces.get(place).map(|piece| (place, does(piece)))
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(move || std::iter::from_fn(take).collect::<Vec<_>>()))
            .collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<_>>| worker.join();
        let done = workers.into_iter().map(join);
        let mut done: Vec<_> = done
            .flat_map(|found| found.expect("failures of runs are caught"))
            .collect();
        done.sort_by_key(|(place, _)| *place);
        done
    })
}
