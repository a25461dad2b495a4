//! Many calls, a bounded number at once, with their results in order.

use std::{fmt, future::Future, num::NonZeroUsize};

use futures_util::{StreamExt, stream};

/// How a batch runs.
pub struct BatchOptions<E> {
    /// Calls at once in the first round; every further round halves it, never below 1.
    pub concurrency: NonZeroUsize,
    /// Rounds in all: items that failed in one are run again in the next.
    pub rounds: u32,
    /// Whether an item that failed is worth another round.
    pub again: fn(&E) -> bool,
}

impl<E> Default for BatchOptions<E> {
    /// 10 at once, one round.
    fn default() -> Self {
        let ten = NonZeroUsize::MIN.saturating_add(9);
        Self { concurrency: ten, rounds: 1, again: |_| true }
    }
}

impl<E> fmt::Debug for BatchOptions<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchOptions")
            .field("concurrency", &self.concurrency)
            .field("rounds", &self.rounds)
            .finish_non_exhaustive()
    }
}

/// Runs `call` for every item. One failure does not stop the others; dropping the future stops all. Results are in the
/// order of items.
pub async fn run_batch<T, R, E, F>(
    items: &[T],
    options: BatchOptions<E>,
    call: impl Fn(&T) -> F,
) -> Vec<Result<R, E>>
where
    F: Future<Output = Result<R, E>>,
{
    let mut results: Vec<Option<Result<R, E>>> = items.iter().map(|_| None).collect();
    let mut pending: Vec<usize> = (0..items.len()).collect();
    let mut concurrency = options.concurrency.get();
    for _ in 0..options.rounds.max(1) {
        let call = &call;
        let calls = pending.iter().map(|index| async move { (*index, call(&items[*index]).await) });
        let mut round = stream::iter(calls).buffer_unordered(concurrency);
        while let Some((index, result)) = round.next().await {
            results[index] = Some(result);
        }
        drop(round);
        let again = |index: &usize| matches!(&results[*index], Some(Err(error)) if (options.again)(error));
        pending = pending.iter().copied().filter(again).collect();
        concurrency = (concurrency / 2).max(1);
        if pending.is_empty() {
            break;
        }
    }
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::time::{Instant, sleep};

    use super::*;

    fn at_once<E>(concurrency: usize, rounds: u32) -> BatchOptions<E> {
        BatchOptions { concurrency: NonZeroUsize::new(concurrency).unwrap(), rounds, ..Default::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn results_are_in_order_and_concurrency_is_bounded() {
        let items: Vec<u64> = (0..100).collect();
        let (under, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let call = |item: &u64| {
            let item = *item;
            let (under, most) = (&under, &most);
            async move {
                most.fetch_max(under.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(100 - item)).await;
                under.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, ()>(item * 2)
            }
        };
        let results = run_batch(&items, at_once(7, 1), call).await;
        assert_eq!(results, (0..100).map(|item| Ok(item * 2)).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_items_run_again_with_half_the_concurrency() {
        let began = Instant::now();
        let call = |_: &()| async {
            sleep(Duration::from_secs(60)).await;
            Err::<(), _>("again")
        };
        let results = run_batch(&[(); 8], at_once(4, 4), call).await;
        assert_eq!(results, vec![Err("again"); 8]);
        // Two minutes of four, four of two, eight of one, eight of one.
        assert_eq!(began.elapsed(), Duration::from_secs(22 * 60));
        let tries = AtomicUsize::new(0);
        let final_ones = BatchOptions { again: |_: &&str| false, ..at_once(4, 4) };
        let count = |_: &()| {
            tries.fetch_add(1, Ordering::SeqCst);
            async { Err::<(), _>("never") }
        };
        assert_eq!(run_batch(&[()], final_ones, count).await, [Err("never")]);
        assert_eq!(tries.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn nothing_is_a_batch_too() {
        let none: [(); 0] = [];
        assert!(run_batch(&none, BatchOptions::default(), |()| async { Ok::<(), ()>(()) }).await.is_empty());
    }
}
