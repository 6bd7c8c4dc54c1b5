//! The same work on many things, a few at a time.

use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does `work` on all `items`, at most `limit` at once, and gives the results in the items' order.
pub(crate) fn map<T: Send, R: Send>(
    items: Vec<T>,
    limit: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let total = items.len();
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || {
        let mut done = Vec::new();
        while let Some((at, item)) = next() {
            done.push((at, work(item)));
        }
        done
    };
    let mut results = thread::scope(|scope| {
        let workers: Vec<_> = (0..limit.min(total)).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
            .collect::<Vec<_>>()
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn everything_is_done_once_and_in_order() {
        for limit in [1, 3, 100] {
            let squares = super::map((0..50).collect(), limit, |n: usize| n * n);
            assert_eq!(squares, (0..50).map(|n| n * n).collect::<Vec<_>>());
        }
        assert!(super::map(Vec::<u8>::new(), 4, |n| n).is_empty());
    }

    #[test]
    fn no_more_than_the_limit_run_at_once() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        super::map((0..40).collect(), 4, |_: usize| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
        });
        assert!(most.into_inner() <= 4);
    }
}
