//! Names to addresses: one look-up at a time per name, remembered for a while.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

/// How long a failed look-up is believed: long enough to spare the resolver a burst, short enough not to matter.
const NEGATIVE_TTL: Duration = Duration::from_secs(1);
/// Names remembered; upstreams are few, so this is reached by mistake only. Then the oldest answer goes.
const MAX_NAMES: usize = 256;
/// Addresses kept of one answer.
const MAX_ADDRESSES: usize = 16;

/// Asks for a name's addresses.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// All addresses of the name, in the order in which they should be tried.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|a| a.ip()).collect())
    }
}

type Answer = Result<Arc<[IpAddr]>, Arc<io::Error>>;

/// One name's place. Whoever looks it up holds the lock, so that others wait for the same answer.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<Option<(Answer, Instant)>>);

/// A resolver with a memory, shared by all workers.
pub struct Dns {
    lookup: Arc<dyn Lookup>,
    ttl: Duration,
    names: Mutex<HashMap<Arc<str>, Known>>,
}

/// A name's place, and since when it is remembered.
type Known = (Arc<Slot>, Instant);

impl Dns {
    /// Over a resolver, with the time that its answers are believed.
    #[must_use]
    pub fn new(lookup: Arc<dyn Lookup>, ttl: Duration) -> Self {
        Self { lookup, ttl, names: Mutex::default() }
    }

    /// The name's addresses, from memory if they are fresh. `localhost` is always loopback (RFC 6761, 6.3).
    ///
    /// # Errors
    /// The resolver's error; a name without any address is [`io::ErrorKind::NotFound`].
    pub async fn resolve(&self, name: &Arc<str>) -> Answer {
        if &**name == "localhost" {
            return Ok(Arc::new([
                std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::Ipv6Addr::LOCALHOST.into(),
            ]));
        }
        let slot = self.slot(name);
        let mut place = slot.0.lock().await;
        if let Some((answer, until)) = place.as_ref()
            && Instant::now() < *until
        {
            return answer.clone();
        }
        let answer = self.ask(name).await;
        let ttl = if answer.is_ok() { self.ttl } else { NEGATIVE_TTL.min(self.ttl) };
        *place = Some((answer.clone(), Instant::now() + ttl));
        answer
    }

    /// Forgets a name, because nothing at its addresses answered: they may have moved.
    pub fn forget(&self, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    async fn ask(&self, name: &str) -> Answer {
        let mut found = self.lookup.lookup(name).await.map_err(Arc::new)?;
        found.truncate(MAX_ADDRESSES);
        if found.is_empty() {
            return Err(Arc::new(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
        }
        Ok(found.into())
    }

    fn slot(&self, name: &Arc<str>) -> Arc<Slot> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((slot, _)) = names.get(name) {
            return Arc::clone(slot);
        }
        if names.len() >= MAX_NAMES
            && let Some(oldest) =
                names.iter().min_by_key(|(_, (_, since))| *since).map(|(n, _)| Arc::clone(n))
        {
            names.remove(&oldest);
        }
        let slot = Arc::<Slot>::default();
        names.insert(Arc::clone(name), (Arc::clone(&slot), Instant::now()));
        slot
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers from a list, first come first served, and counts; an exhausted list is an error.
    struct Script(Mutex<Vec<Vec<IpAddr>>>, AtomicUsize);

    impl Script {
        fn new(answers: &[&[&str]]) -> Arc<Self> {
            let parse = |a: &&[&str]| a.iter().map(|t| t.parse().expect("address")).collect();
            Arc::new(Self(Mutex::new(answers.iter().rev().map(parse).collect()), AtomicUsize::new(0)))
        }

        fn asked(&self) -> usize {
            self.1.load(Ordering::SeqCst)
        }
    }

    #[async_trait]
    impl Lookup for Script {
        async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            self.1.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.0.lock().expect("lock").pop().ok_or_else(|| io::Error::other("no answer"))
        }
    }

    fn name() -> Arc<str> {
        "api.example".into()
    }

    const TTL: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn answer_is_believed_for_its_ttl_and_no_longer() {
        let script = Script::new(&[&["1.1.1.1"], &["1.0.0.1"]]);
        let dns = Dns::new(script.clone(), TTL);
        assert_eq!(*dns.resolve(&name()).await.expect("first"), ["1.1.1.1".parse::<IpAddr>().expect("ip")]);
        tokio::time::advance(TTL - Duration::from_millis(1)).await;
        dns.resolve(&name()).await.expect("remembered");
        assert_eq!(script.asked(), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(*dns.resolve(&name()).await.expect("second"), ["1.0.0.1".parse::<IpAddr>().expect("ip")]);
    }

    #[tokio::test(start_paused = true)]
    async fn failure_is_believed_for_a_second_at_most() {
        let script = Script::new(&[]);
        let dns = Dns::new(script.clone(), TTL);
        dns.resolve(&name()).await.expect_err("no answer");
        dns.resolve(&name()).await.expect_err("remembered");
        assert_eq!(script.asked(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        dns.resolve(&name()).await.expect_err("asked again");
        assert_eq!(script.asked(), 2);
    }

    #[tokio::test]
    async fn a_burst_asks_once() {
        let script = Script::new(&[&["1.1.1.1"], &["1.0.0.1"]]);
        let dns = Dns::new(script.clone(), TTL);
        let name = name();
        let (a, b, c) = tokio::join!(dns.resolve(&name), dns.resolve(&name), dns.resolve(&name));
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert_eq!(script.asked(), 1);
    }

    #[tokio::test]
    async fn a_forgotten_name_is_asked_again() {
        let script = Script::new(&[&["1.1.1.1"], &["1.0.0.1"]]);
        let dns = Dns::new(script.clone(), TTL);
        dns.resolve(&name()).await.expect("first");
        dns.forget("api.example");
        dns.resolve(&name()).await.expect("second");
        assert_eq!(script.asked(), 2);
    }

    #[tokio::test]
    async fn localhost_is_loopback_without_asking() {
        let script = Script::new(&[]);
        let dns = Dns::new(script.clone(), TTL);
        let found = dns.resolve(&"localhost".into()).await.expect("loopback");
        assert!(found.iter().all(IpAddr::is_loopback) && script.asked() == 0);
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_an_error() {
        let dns = Dns::new(Script::new(&[&[]]), TTL);
        let error = dns.resolve(&name()).await.expect_err("empty");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn memory_of_names_is_bounded() {
        let dns = Dns::new(Script::new(&[]), TTL);
        for n in 0..MAX_NAMES * 2 {
            dns.resolve(&format!("h{n}.example").into()).await.expect_err("no answer");
        }
        assert!(dns.names.lock().expect("lock").len() <= MAX_NAMES);
    }
}
