//! The one writer of this incarnation's data chain.
//!
//! While the store takes groups, one is committed at a time and the next gathers. When a group is not taken within
//! 2 s, the writer spools it and whatever follows, acknowledges them from there, and brings the oldest to the store
//! again and again until it has everything; then it goes on as before. A commit that was begun is never given up: its
//! outcome would be unknown. One that failed unclearly is found by its number, which nobody else writes.

use std::{collections::VecDeque, pin::Pin, sync::Arc, sync::atomic::Ordering, time::Duration};

use claviger_domain::{
    audit::{Actor, AuditEvent, Digest},
    clock::Clock,
    ledger::Group,
    ports::{ChainHead, LedgerStore, StoreError},
};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    aside::Aside,
    gather::{End, OpenIntents, touched},
    queue::{Batch, Fate, LINGER, Taken},
    sift::{LeftOut, sift},
    spool::Spool,
    tempo::Tempo,
};

/// How long a group may wait for the store before it is spooled.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first pause after a failed commit; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long a stopping writer still tries to bring a backlog to the store. What remains stays in the spool.
const LAST_TRIES: Duration = Duration::from_secs(5);
/// Groups after which a checkpoint is due.
const CHECKPOINT_GROUPS: u64 = 1_000;

type Attempt = Pin<Box<dyn Future<Output = Result<Committed, StoreError>> + Send>>;

/// What a writer is made from.
pub(crate) struct WriterParts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) target: Target,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spool_dir: Option<std::path::PathBuf>,
    pub(crate) spool_max_bytes: u64,
    /// Where the chain stands.
    pub(crate) head: ChainHead,
}

/// The one writer of this incarnation's data chain. Run it on a thread of its own: it blocks when it spools.
pub struct Writer {
    shared: Arc<Shared>,
    target: Target,
    clock: Arc<dyn Clock>,
    spool: Option<Spool>,
    open: OpenIntents,
    /// Where the chain stands in the store.
    head: ChainHead,
    /// The number of the last group that was put together.
    assigned: i64,
    /// Groups that are in neither store nor spool, oldest first.
    pending: VecDeque<Pending>,
}

struct Pending {
    group: Arc<Group>,
    batch: Arc<Batch>,
    ends: Vec<End>,
    freed: usize,
    /// Its intents are in [`Writer::open`].
    is_remembered: bool,
}

impl Writer {
    pub(crate) fn new(parts: WriterParts) -> Self {
        let WriterParts { shared, target, clock, spool_dir, spool_max_bytes, head } = parts;
        let chain = shared.chain.clone();
        let spool = spool_dir.map(|dir| Spool::new(dir, chain, spool_max_bytes));
        let (open, pending) = (OpenIntents::default(), VecDeque::new());
        Self { shared, target, clock, spool, open, head, assigned: head.length, pending }
    }

    /// Commits groups until `stop` is cancelled and the queue is empty, then closes the chain. Stop what settles
    /// requests first: a settlement after this is booked as unknown at the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        let queue = Arc::clone(&self.shared.queue);
        let mut tempo = Tempo::begins(Instant::now());
        loop {
            if let Some(pause) = tempo.pause().filter(|_| queue.is_urgent()) {
                // Far below what the runtime's timers can tell apart; the thread is the writer's own.
                std::thread::sleep(pause);
            }
            if let Some(taken) = queue.take_urgent() {
                tempo.count(taken.gathered.intents.len() + taken.gathered.rows.len(), Instant::now());
                self.commit_now(taken, &stop).await;
                continue;
            }
            tokio::select! {
                biased;
                () = queue.arrived() => continue,
                () = stop.cancelled() => queue.close(),
                () = sleep(LINGER) => {}
            }
            if let Some(taken) = queue.take() {
                self.commit_now(taken, &stop).await;
            } else if queue.is_closed() {
                break;
            } else {
                tokio::select! {
                    () = queue.arrived() => {}
                    () = stop.cancelled() => queue.close(),
                }
            }
        }
        self.close_chain().await;
    }

    /// Makes a group of what has gathered.
    fn gather(&mut self, taken: Taken, remember: bool) {
        let Taken { gathered, batch } = taken;
        let (freed, ends) = (gathered.freed, gathered.ends.clone());
        self.assigned += 1;
        let empty = Group {
            chain: self.shared.chain.clone(),
            number: self.assigned,
            at: self.clock.now(),
            previous: self.head.head,
            intents: Vec::new(),
            rows: Vec::new(),
            released: Vec::new(),
            resources: Vec::new(),
        };
        let group = Arc::new(self.open.settle(gathered, empty));
        if remember {
            self.open.remember(group.intents.iter().cloned());
        }
        self.pending.push_back(Pending { group, batch, ends, freed, is_remembered: remember });
    }

    /// Commits what has gathered as the only pending group; when the store does not take it in time, goes on until it takes everything.
    async fn commit_now(&mut self, taken: Taken, stop: &CancellationToken) {
        self.gather(taken, false);
        let begun = Instant::now();
        let deadline = begun + PATIENCE;
        let mut pause = FIRST_PAUSE;
        while let Some(mut attempt) = self.attempt() {
            match timeout_at(deadline, &mut attempt).await {
                Ok(Ok(committed)) => {
                    drop(attempt);
                    self.shared.commit_us.fetch_add(micros_since(begun), Ordering::Relaxed);
                    return self.committed(committed);
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a group commit failed and is tried again");
                    if timeout_at(deadline, sleep(pause)).await.is_err() {
                        return self.work_off(None, stop).await;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(_) => return self.work_off(Some(attempt), stop).await,
            }
        }
    }

    /// The store is away: acknowledges from the spool and brings the oldest group to the store until it has all.
    async fn work_off(&mut self, mut begun: Option<Attempt>, stop: &CancellationToken) {
        self.leave_the_store();
        let mut pause = FIRST_PAUSE;
        let mut last_tries = None;
        self.absorb();
        while let Some(attempt) = begun.take().or_else(|| self.attempt()) {
            match self.while_absorbing(attempt, stop, &mut last_tries).await {
                Some(Ok(committed)) => {
                    pause = FIRST_PAUSE;
                    self.committed(committed);
                    continue;
                }
                Some(Err(error)) => tracing::warn!(%error, "the store still takes no group commits"),
                None => return self.give_up(),
            }
            if self.while_absorbing(sleep(pause), stop, &mut last_tries).await.is_none() {
                return self.give_up();
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tracing::info!("the store has taken everything that was spooled");
        self.shared.healthy.store(true, Ordering::Relaxed);
    }

    fn leave_the_store(&mut self) {
        tracing::error!("the store takes no group commits: spooling");
        self.shared.healthy.store(false, Ordering::Relaxed);
        if let Some(first) = self.pending.front_mut().filter(|p| !p.is_remembered) {
            first.is_remembered = true;
            self.open.remember(first.group.intents.iter().cloned());
        }
    }

    /// Waits for `what` and meanwhile takes in whatever arrives. `None`: the writer was stopped and has tried for long
    /// enough.
    async fn while_absorbing<F: Future>(
        &mut self,
        what: F,
        stop: &CancellationToken,
        last_tries: &mut Option<Instant>,
    ) -> Option<F::Output> {
        let mut what = std::pin::pin!(what);
        let shared = Arc::clone(&self.shared);
        loop {
            let given_up = async {
                match *last_tries {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => stop.cancelled().await,
                }
            };
            tokio::select! {
                biased;
                done = &mut what => return Some(done),
                () = shared.queue.arrived() => self.absorb(),
                () = given_up => {
                    if last_tries.is_some() {
                        return None;
                    }
                    shared.queue.close();
                    self.absorb();
                    *last_tries = Some(Instant::now() + LAST_TRIES);
                }
            }
        }
    }

    /// Takes in what has arrived and spools whatever is pending. When that fails, its senders are told so; it stays
    /// pending.
    fn absorb(&mut self) {
        while let Some(taken) = self.shared.queue.take() {
            self.gather(taken, true);
        }
        while let Some(first) = self.pending.front() {
            let spooled = match &mut self.spool {
                Some(spool) => spool.append(&first.group),
                None => Err(std::io::Error::other("no spool is configured")),
            };
            if let Err(error) = spooled {
                tracing::error!(%error, groups = self.pending.len(), "groups could not be spooled");
                self.pending.iter().for_each(|p| p.batch.finish(Fate::Late));
                break;
            }
            if let Some(done) = self.pending.pop_front() {
                self.acknowledge(&done, &LeftOut::default());
            }
        }
        self.note_spool();
    }

    /// A try to commit the oldest group; `None`: the store has all.
    fn attempt(&mut self) -> Option<Attempt> {
        let spooled = match self.spool.as_mut().map(Spool::oldest) {
            None | Some(Ok(None)) => None,
            Some(Ok(Some(frame))) => Some(frame),
            Some(Err(error)) => {
                tracing::error!(%error, "the spool cannot be read");
                return Some(Box::pin(async { Err(StoreError::Unavailable("spool unreadable".to_owned())) }));
            }
        };
        let group = match spooled {
            Some(frame) => Arc::new(frame.content.into_group(self.shared.chain.clone(), self.head)),
            None => {
                let first = &mut self.pending.front_mut()?.group;
                // Nobody else holds it: earlier tries have ended.
                if let Some(group) = Arc::get_mut(first) {
                    group.previous = self.head.head;
                }
                Arc::clone(first)
            }
        };
        Some(Box::pin(commit(self.target.clone(), group)))
    }

    /// The store has the oldest group.
    fn committed(&mut self, committed: Committed) {
        let Committed { head, left_out } = committed;
        self.head = ChainHead { length: self.head.length + 1, head };
        let groups = self.shared.groups.fetch_add(1, Ordering::Relaxed) + 1;
        if groups.is_multiple_of(CHECKPOINT_GROUPS) {
            self.shared.checkpoint_due.notify_one();
        }
        if let Some(spool) = self.spool.as_mut().filter(|spool| spool.waiting() > 0) {
            if let Err(error) = spool.drained_one() {
                // Harmless: what the store has is skipped by its number at the next start.
                tracing::warn!(%error, "the spool could not be removed");
            }
            return self.note_spool();
        }
        let Some(done) = self.pending.pop_front() else { return };
        self.acknowledge(&done, &left_out);
        let Pending { group, is_remembered, .. } = done;
        if let Some(group) = Arc::into_inner(group)
            && !is_remembered
        {
            self.open.remember(group.intents);
        }
    }

    /// It is durable: its senders may go on, its slots are free. Whose record is refused must not end its answer.
    fn acknowledge(&self, done: &Pending, left_out: &LeftOut) {
        let rows = done.group.rows.len() - left_out.rows.len();
        self.shared.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.shared.free(done.freed);
        let refused = if left_out.is_empty() { Vec::new() } else { touched(&done.ends, left_out) };
        done.batch.finish_without(refused);
    }

    fn note_spool(&self) {
        let waiting = self.spool.as_ref().map_or(0, Spool::waiting);
        self.shared.spooled_bytes.store(waiting, Ordering::Relaxed);
    }

    fn give_up(&self) {
        let bytes = self.shared.spooled_bytes.load(Ordering::Relaxed);
        tracing::error!(bytes, lost = self.pending.len(), "stopped before the store had everything");
    }

    async fn close_chain(&self) {
        if !self.pending.is_empty() || self.spool.as_ref().is_some_and(|s| s.waiting() > 0) {
            return;
        }
        let event = close_event(self.clock.now(), &self.shared.chain, self.head, "stopped");
        let closing = self.target.ledger.close_chain(&self.shared.chain, event);
        match tokio::time::timeout(LAST_TRIES, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the data chain could not be closed"),
            Err(_) => tracing::warn!("the data chain could not be closed in time"),
        }
    }
}

/// Nobody waits for ever on a writer that is gone.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.close();
        while let Some(taken) = self.shared.queue.take() {
            taken.batch.finish(Fate::Stopped);
        }
        self.pending.iter().for_each(|p| p.batch.finish(Fate::Stopped));
    }
}

/// What the control chain keeps of a chain that has ended: checkpoints need not name it any more.
pub(super) fn close_event(
    at: claviger_domain::clock::Timestamp,
    chain: &claviger_domain::id::NodeId,
    head: ChainHead,
    why: &str,
) -> AuditEvent {
    AuditEvent::new(at, Actor::System, crate::audit::CHAIN_CLOSE, chain.as_str())
        .with("head", head.head.to_hex())
        .with("length", head.length)
        .with("why", why)
}

/// Where groups go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) ledger: Arc<dyn LedgerStore>,
    /// What it refuses for good.
    pub(crate) aside: Arc<Aside>,
}

/// A group that the store has.
pub(super) struct Committed {
    /// The chain's head after it.
    pub(super) head: Digest,
    /// What it refused for good and is set aside.
    pub(super) left_out: LeftOut,
}

/// Commits one group; what the store refuses for good is set aside first, and the rest is committed without it.
pub(super) async fn commit(target: Target, group: Arc<Group>) -> Result<Committed, StoreError> {
    let Target { ledger, aside } = target;
    let head = match commit_whole(&*ledger, &group).await {
        Err(StoreError::Refused { code }) => {
            tracing::error!(chain = %group.chain, number = group.number, %code, "the store refuses a group");
            commit_good(&*ledger, &aside, &group).await?
        }
        done => done?,
    };
    Ok(Committed { head, left_out: aside.left_out_of(&group) })
}

async fn commit_good(ledger: &dyn LedgerStore, aside: &Aside, group: &Group) -> Result<Digest, StoreError> {
    let left_out = sift(ledger, group).await?;
    aside.keep(group, &left_out).map_err(|error| {
        StoreError::Unavailable(format!("what it refuses cannot be set aside: {}", error.kind()))
    })?;
    for row in left_out.rows.iter().filter_map(|i| group.rows.get(*i)) {
        let intent = row.intent.as_ref().map(tracing::field::display);
        tracing::error!(request_id = %row.request_id, key = %row.party.key, intent, "a ledger row is set aside");
    }
    for intent in left_out.intents.iter().filter_map(|i| group.intents.get(*i)) {
        tracing::error!(intent = %intent.id, request_id = %intent.request_id, "an intent is set aside");
    }
    for resource in left_out.resources.iter().filter_map(|i| group.resources.get(*i)) {
        tracing::error!(key = %resource.key, "a resource is set aside");
    }
    match commit_whole(ledger, &left_out.taken_from(group)).await {
        Err(StoreError::Refused { code }) => {
            Err(StoreError::Unavailable(format!("the rest of a group is refused, too ({code})")))
        }
        done => done,
    }
}

/// A conflict means that an earlier try, whose end was unclear, had succeeded: nobody else writes
/// numbers of this chain.
async fn commit_whole(ledger: &dyn LedgerStore, group: &Group) -> Result<Digest, StoreError> {
    let refused = match ledger.commit_group(group).await {
        Err(refused @ StoreError::Conflict { .. }) => refused,
        done => return done,
    };
    let there = ledger.data_after(&group.chain, group.number - 1, 1).await?;
    match there.first().filter(|record| record.number == group.number) {
        Some(record) => Ok(record.head),
        None => Err(refused),
    }
}

fn micros_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}
