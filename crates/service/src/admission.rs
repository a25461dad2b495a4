//! May one more request of this key begin? Rates, day quotas, total uses, concurrency and tokens, of the key, its
//! parent, its owner and its workspace: all or nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use claviger_domain::{
    clock::{Clock, Timestamp},
    limit::{Bucket, Exceeded, Headrooms, LimitKind, LimitSubject, Tokens},
};
use tokio::time::{Instant, timeout_at};

use crate::grants::{LiveGrant, SUBJECTS, Subject, SubjectRuntime};

/// How long a request waits for a place.
const WAIT: Duration = Duration::from_secs(2);
/// When a request that found no place is told to try again, in microseconds: calls end all the time.
const CROWDED_RETRY_US: i64 = 1_000_000;
/// Requests that wait at once for places of one key, owner or workspace.
const WAITING_IN_LINE: u32 = 64;
/// Requests that wait at once in all.
const WAITING: u32 = 1_024;

/// Admission of requests.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    waiting: AtomicU32,
}

/// A request that was admitted. When it is dropped its places among the concurrent calls are free again, and what was
/// held for it and not taken is given back, however it ended.
#[derive(Debug)]
pub struct Admitted {
    /// What is left of the limits that bind most tightly.
    pub headrooms: Headrooms,
    live: Arc<LiveGrant>,
    bucket: Bucket,
    at: Timestamp,
    /// Of tokens: what the call may still take.
    held: Tokens,
    /// What it is known to have taken.
    counted: Tokens,
    end: End,
}

/// How it came to its end.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It was sent.
    Sent,
    /// It took so much.
    Settled(Tokens, Timestamp),
    /// Nothing was sent.
    Unsent,
    /// It was refused after all.
    Refused,
}

impl Admitted {
    /// Whether any limit that holds for the call counts tokens.
    #[must_use]
    pub fn counts_tokens(&self) -> bool {
        self.live.subjects().iter().flatten().any(|subject| subject.rules.limits.count_tokens())
    }

    /// Holds the tokens that the call may take, at all whose limits count tokens, or at none.
    ///
    /// # Errors
    /// [`Exceeded`] names the limit that binds; nothing is held then.
    pub fn hold(&mut self, ask: Tokens, now: Timestamp) -> Result<(), Exceeded> {
        let live = Arc::clone(&self.live);
        let subjects = live.subjects();
        let mut states = subjects.each_ref().map(|s| s.as_ref().map(|s| (s.rules, s.runtime.state())));
        let mut refusal: Option<Exceeded> = None;
        for (rules, state) in states.iter().flatten() {
            if let Err(exceeded) = state.tokens.ask(rules, ask, now)
                && refusal.as_ref().is_none_or(|known| exceeded.binds_longer(known))
            {
                refusal = Some(exceeded);
            }
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        for (rules, state) in states.iter_mut().flatten() {
            state.tokens.hold(ask);
            state.tokens.standing(rules, now, |headroom| self.headrooms.hear(headroom));
        }
        self.held = ask;
        Ok(())
    }

    /// The provider has said how many input tokens the call takes: they are counted, and what was held for them is
    /// given back.
    pub fn learn_input(&mut self, input: u64, now: Timestamp) {
        if self.held.input == 0 {
            return;
        }
        let released = Tokens { input: self.held.input, output: 0 };
        let counted = Tokens { input, output: 0 };
        for Subject { rules, runtime } in self.live.subjects().into_iter().flatten() {
            let mut state = runtime.state();
            state.tokens.release(released);
            state.tokens.count(rules.limits, counted, now);
        }
        self.held.input = 0;
        self.counted = self.counted + counted;
    }

    /// The call is over, and took so much.
    pub fn settle(mut self, taken: Tokens, now: Timestamp) {
        self.end = End::Settled(taken, now);
    }

    /// Nothing was sent for this request: it does not count against the key's total uses.
    pub fn unsent(mut self) {
        self.end = End::Unsent;
    }

    /// The request was refused after it was admitted: it takes nothing from any limit.
    pub fn refused(mut self) {
        self.end = End::Refused;
    }

    /// What is held for the call.
    #[must_use]
    pub const fn held(&self) -> Tokens {
        self.held
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        for Subject { rules, runtime } in self.live.subjects().into_iter().flatten() {
            {
                let mut state = runtime.state();
                state.leave();
                state.tokens.release(self.held);
                match self.end {
                    End::Sent => {}
                    End::Settled(taken, now) => state.tokens.count(rules.limits, taken - self.counted, now),
                    End::Unsent => state.return_use(),
                    End::Refused => state.give_back(rules.limits, self.bucket, self.at),
                }
            }
            runtime.pass_on();
        }
    }
}

impl Admission {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { clock, waiting: AtomicU32::new(0) }))
    }

    /// Takes the request from all limits that hold for its key, or from none; does not wait.
    ///
    /// # Errors
    /// [`Exceeded`] names the limit that binds.
    pub fn admit(&self, live: &Arc<LiveGrant>, bucket: Bucket, now: Timestamp) -> Result<Admitted, Exceeded> {
        take(live, bucket, now, Waited::default())
    }

    /// As [`Admission::admit`], but when only concurrency is in the way, waits up to 2 s for a place; at most 64
    /// requests of one key, owner or workspace and 1,024 in all wait at once. Places are given in the order of arrival.
    ///
    /// # Errors
    /// [`Exceeded`] names the limit that binds.
    pub async fn admit_wait(&self, live: &Arc<LiveGrant>, bucket: Bucket) -> Result<Admitted, Exceeded> {
        let mut refused = match take(live, bucket, self.0.clock.now(), Waited::default()) {
            Err(refused) if refused.headroom.kind == LimitKind::Concurrency => refused,
            decided => return decided,
        };
        let deadline = Instant::now() + WAIT;
        let mut waited = Waited::default();
        loop {
            let subject = refused.headroom.subject;
            waited.note(subject);
            match self.wait(live, bucket, (subject, waited), deadline).await {
                // It has a place there, and lacks another one.
                Some(Err(other))
                    if other.headroom.kind == LimitKind::Concurrency
                        && !waited.has(other.headroom.subject) =>
                {
                    refused = other;
                }
                Some(decided) => return decided,
                None => return Err(refused),
            }
        }
    }

    /// Waits in one line. `None`: it is full, or the wait took too long.
    async fn wait(
        &self,
        live: &Arc<LiveGrant>,
        bucket: Bucket,
        (subject, waited): (LimitSubject, Waited),
        deadline: Instant,
    ) -> Option<Result<Admitted, Exceeded>> {
        let line = line(live, subject)?;
        let waiting = Waiting::enter(&self.0.waiting, line.waiting())?;
        // The first in line asks again at once: a place may have become free before it was seen waiting.
        let mut my_turn = waiting.is_first;
        loop {
            let mut place = std::pin::pin!(line.place().notified());
            place.as_mut().enable();
            if my_turn {
                let decided = take(live, bucket, self.0.clock.now(), waited);
                let same =
                    |e: &Exceeded| e.headroom.kind == LimitKind::Concurrency && e.headroom.subject == subject;
                if !decided.as_ref().is_err_and(same) {
                    // Another limit may have left the place free, or there is a second one: the next in line asks.
                    line.pass_on();
                    return Some(decided);
                }
            }
            timeout_at(deadline, place).await.ok()?;
            my_turn = true;
        }
    }
}

/// In which lines a request has waited.
#[derive(Debug, Clone, Copy, Default)]
struct Waited([bool; SUBJECTS]);

impl Waited {
    const fn note(&mut self, subject: LimitSubject) {
        self.0[subject as usize] = true;
    }

    const fn has(self, subject: LimitSubject) -> bool {
        self.0[subject as usize]
    }
}

fn line(live: &LiveGrant, subject: LimitSubject) -> Option<&SubjectRuntime> {
    live.subjects().into_iter().flatten().find(|s| s.rules.subject == subject).map(|s| s.runtime)
}

fn take(live: &Arc<LiveGrant>, bucket: Bucket, now: Timestamp, waited: Waited) -> Result<Admitted, Exceeded> {
    let headrooms = take_from_all(live, bucket, now, waited).map_err(|refused| {
        match refused.headroom.kind == LimitKind::Concurrency {
            true => Exceeded { retry_at: Some(now.plus_micros(CROWDED_RETRY_US)), ..refused },
            false => refused,
        }
    })?;
    let (held, counted) = (Tokens::default(), Tokens::default());
    Ok(Admitted { headrooms, live: Arc::clone(live), bucket, at: now, held, counted, end: End::Sent })
}

fn take_from_all(
    live: &LiveGrant,
    bucket: Bucket,
    now: Timestamp,
    waited: Waited,
) -> Result<Headrooms, Exceeded> {
    let subjects = live.subjects();
    for subject in subjects.iter().flatten().filter(|s| !waited.has(s.rules.subject)) {
        subject.check_queue(now)?;
    }
    let mut states = subjects.each_ref().map(|s| s.as_ref().map(|s| (s.rules, s.runtime.state())));
    let mut places = [None; SUBJECTS];
    let (mut refusal, mut crowded): (Option<Exceeded>, Option<Exceeded>) = (None, None);
    for (place, (rules, state)) in
        places.iter_mut().zip(states.iter_mut()).filter_map(|(p, s)| Some((p, s.as_mut()?)))
    {
        match state.judge(rules, bucket, now) {
            Ok(judged) => *place = Some(judged),
            // Waiting for a place is worth it only when nothing else stands in the way.
            Err(exceeded) if exceeded.headroom.kind == LimitKind::Concurrency => {
                crowded.get_or_insert(exceeded);
            }
            Err(exceeded) if refusal.as_ref().is_none_or(|known| exceeded.binds_longer(known)) => {
                refusal = Some(exceeded);
            }
            Err(_) => {}
        }
    }
    if let Some(exceeded) = refusal.or(crowded) {
        return Err(exceeded);
    }
    let mut headrooms = Headrooms::default();
    for (place, (_, state)) in
        places.into_iter().zip(states.iter_mut()).filter_map(|(p, s)| Some((p?, s.as_mut()?)))
    {
        state.take(place);
        if let Some(tightest) = place.tightest {
            headrooms.hear(tightest);
        }
    }
    Ok(headrooms)
}

/// What is left of the limits that bind most tightly, as it is now: for an answer that refuses.
#[must_use]
pub fn headrooms(live: &LiveGrant, bucket: Bucket, now: Timestamp) -> Headrooms {
    let mut all = Headrooms::default();
    for counter in live.counters(now).into_iter().filter(|c| c.resets && c.bucket == Some(bucket)) {
        all.hear(counter.headroom);
    }
    all
}

/// A place among those who wait, of one line and in all.
struct Waiting<'a> {
    all: &'a AtomicU32,
    line: &'a AtomicU32,
    is_first: bool,
}

impl<'a> Waiting<'a> {
    fn enter(all: &'a AtomicU32, line: &'a AtomicU32) -> Option<Self> {
        count_up(all, WAITING)?;
        let Some(before) = count_up(line, WAITING_IN_LINE) else {
            all.fetch_sub(1, Ordering::AcqRel);
            return None;
        };
        Some(Self { all, line, is_first: before == 0 })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::AcqRel);
        self.line.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts one more, if there is room; how many there were before.
fn count_up(counter: &AtomicU32, most: u32) -> Option<u32> {
    counter.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < most).then_some(n + 1)).ok()
}

#[cfg(test)]
mod tests;
