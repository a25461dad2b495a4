//! Threads that each run one single-threaded runtime: the gateway's workers and the ledger's writer. What belongs to a
//! connection never leaves its thread, so nothing is woken across cores on the way of a request.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use claviger_gateway::{Gateway, bind, bind_first};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// One thread with its runtime.
pub struct Thread {
    done: oneshot::Receiver<()>,
}

impl Thread {
    /// Starts a thread that runs one future to its end.
    ///
    /// # Errors
    /// When the system has no thread or runtime left to give.
    pub fn start<F, T>(name: &str, task: F) -> io::Result<Self>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Future<Output = ()>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (tell, done) = oneshot::channel();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(task());
            // Whoever no longer waits for the end need not hear of it.
            let _ = tell.send(());
        })?;
        Ok(Self { done })
    }

    /// Waits for the thread's end.
    pub async fn join(self) {
        // A sender that is gone is an end as well.
        let _ = self.done.await;
    }
}

/// The gateway's threads.
pub struct Workers {
    threads: Vec<Thread>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Workers {
    /// Opens the address once for each worker and starts them.
    ///
    /// # Errors
    /// When the address is taken or cannot be opened.
    pub fn start(config: &Config, gateway: &Gateway) -> anyhow::Result<Self> {
        let opening = || format!("opening the gateway's address {}", config.listen);
        let first = bind_first(config.listen).with_context(opening)?;
        let address = first.local_addr()?;
        let mut listeners = vec![first];
        for _ in 1..config.workers {
            listeners.push(bind(address)?);
        }
        let stop = CancellationToken::new();
        let mut threads = Vec::with_capacity(listeners.len());
        for (number, listener) in listeners.into_iter().enumerate() {
            let (gateway, stop, drain) = (gateway.clone(), stop.clone(), config.drain_timeout);
            let serve = move || async move {
                if let Err(error) = gateway.serve_worker(listener, stop, drain).await {
                    tracing::error!(%error, "a gateway worker ended");
                }
            };
            threads.push(Thread::start(&format!("gateway-{number}"), serve)?);
        }
        Ok(Self { threads, address, stop })
    }

    /// The address in use.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets calls in flight finish within `drain`, and cuts the rest.
    pub async fn stop(self, drain: Duration) {
        self.stop.cancel();
        let all = async {
            for thread in self.threads {
                thread.join().await;
            }
        };
        if tokio::time::timeout(drain + Duration::from_secs(5), all).await.is_err() {
            tracing::warn!("calls were still in flight after the drain");
        }
    }
}
