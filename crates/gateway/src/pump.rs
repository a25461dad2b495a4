//! Waking many requests at once. A group commit tells many requests of this worker that they may go on; each wake-up
//! from another thread would cost a system call. So they go into a list, and one wake-up empties it.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// One worker's list of requests to be woken.
#[derive(Debug, Default)]
pub struct Pump {
    waiting: Mutex<Vec<Waker>>,
    task: AtomicWaker,
}

/// Wakes one request by way of the pump.
struct Pumped {
    pump: Arc<Pump>,
    request: Waker,
}

impl Wake for Pumped {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut waiting = self.pump.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = waiting.is_empty();
        waiting.push(self.request.clone());
        drop(waiting);
        if is_first {
            self.pump.task.wake();
        }
    }
}

/// One request's way through the pump; it lasts as long as the request's task stays the same.
#[derive(Debug, Default)]
pub struct Spout(Option<(Waker, Waker)>);

impl Spout {
    /// The context in which to poll what other threads complete.
    pub fn polled<T>(
        &mut self,
        pump: &Arc<Pump>,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        let fits = self.0.as_ref().is_some_and(|(request, _)| request.will_wake(cx.waker()));
        if !fits {
            let request = cx.waker().clone();
            let pumped = Pumped { pump: Arc::clone(pump), request: request.clone() };
            self.0 = Some((request, Waker::from(Arc::new(pumped))));
        }
        match &self.0 {
            Some((_, pumped)) => poll(&mut Context::from_waker(pumped)),
            None => poll(cx),
        }
    }
}

impl Pump {
    /// Wakes whatever comes into the list, for ever. To be polled on the worker's own thread.
    pub async fn run(&self) {
        poll_fn(|cx| {
            self.task.register(cx.waker());
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            waiting.into_iter().for_each(Waker::wake);
            Poll::<()>::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
    };

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn many_wake_ups_reach_the_worker_as_one_and_every_request_is_woken() {
        let pump = Arc::new(Pump::default());
        let worker = Arc::new(Count::default());
        let worker_waker = Waker::from(Arc::clone(&worker));
        let mut running = pin!(pump.run());
        assert!(running.as_mut().poll(&mut Context::from_waker(&worker_waker)).is_pending());
        let requests: Vec<_> = (0..5).map(|_| Arc::new(Count::default())).collect();
        let mut spouts: Vec<_> = requests.iter().map(|_| Spout::default()).collect();
        let wakers: Vec<Waker> = requests
            .iter()
            .zip(&mut spouts)
            .map(|(request, spout)| {
                let waker = Waker::from(Arc::clone(request));
                spout.polled(&pump, &mut Context::from_waker(&waker), |cx| cx.waker().clone())
            })
            .collect();
        std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
        assert_eq!(worker.0.load(Ordering::SeqCst), 1);
        assert!(requests.iter().all(|r| r.0.load(Ordering::SeqCst) == 0));
        assert!(running.as_mut().poll(&mut Context::from_waker(&worker_waker)).is_pending());
        assert!(requests.iter().all(|r| r.0.load(Ordering::SeqCst) == 1));
    }
}
