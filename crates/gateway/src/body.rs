//! Bodies on their way in: read whole under a byte budget, and sent on as they were.

pub mod budget;
pub mod outgoing;
pub mod spool;

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use self::budget::{BodyBudget, BudgetShare};
use crate::{config::PaceLimits, prove::ProveError};

/// The longest that a body is read only to be thrown away.
const DISCARDING: Duration = Duration::from_secs(60);
/// What a body takes of the budget before any of it has come.
const FIRST_SHARE: usize = 64 * 1024;

/// A body held in memory, with its share of the budget for all such bodies.
#[derive(Debug)]
pub struct Whole {
    /// The bytes as they came.
    pub bytes: Bytes,
    /// Given back when the body is no longer needed.
    _share: BudgetShare,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than its route allows.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// No memory is left for bodies.
    #[error("no memory is left for request bodies")]
    NoMemory,
    /// It came too slowly.
    #[error("the request body came too slowly")]
    TooSlow,
    /// The connection failed, or the framing is broken.
    #[error("the request body could not be read")]
    Broken(#[source] hyper::Error),
    /// It is not what was signed.
    #[error(transparent)]
    Unproven(#[from] ProveError),
    /// The spool file failed.
    #[error("the request body could not be spooled")]
    Spool(#[source] std::io::Error),
}

/// Reads a body of at most `limit` bytes into memory. One that arrives in one piece is not copied.
///
/// # Errors
/// [`BodyError`]; an announced length is refused before anything is read.
pub async fn read_whole(
    mut body: Incoming,
    limit: u64,
    budget: &BodyBudget,
    pace: PaceLimits,
) -> Result<Whole, BodyError> {
    let announced = body.size_hint().exact();
    if announced.is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge { limit });
    }
    let room = announced.and_then(|n| usize::try_from(n).ok()).unwrap_or(FIRST_SHARE);
    // What is announced must fit; what is taken is what has come. Else a few callers could hold it all by announcing.
    if !budget.has_room(room) {
        return Err(BodyError::NoMemory);
    }
    let mut share = budget.take(room.min(FIRST_SHARE)).ok_or(BodyError::NoMemory)?;
    let mut pace = Pace::new(pace);
    let Some(first) = next_data(&mut body, &mut pace).await? else {
        return Ok(Whole { bytes: Bytes::new(), _share: share });
    };
    if !share.grow_to(first.len()) {
        return Err(BodyError::NoMemory);
    }
    if body.is_end_stream() {
        return Ok(Whole { bytes: first, _share: share });
    }
    let mut bytes = BytesMut::with_capacity(room.max(first.len()));
    bytes.extend_from_slice(&first);
    while let Some(data) = next_data(&mut body, &mut pace).await? {
        let length = bytes.len() + data.len();
        if length as u64 > limit {
            return Err(BodyError::TooLarge { limit });
        }
        if !share.grow_to(length) {
            return Err(BodyError::NoMemory);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Whole { bytes: bytes.freeze(), _share: share })
}

/// The next bytes of a body; trailers are dropped.
///
/// # Errors
/// [`BodyError::TooSlow`], [`BodyError::Broken`].
pub async fn next_data(body: &mut Incoming, pace: &mut Pace) -> Result<Option<Bytes>, BodyError> {
    poll_fn(|cx| {
        loop {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(BodyError::Broken(error))),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        pace.came(data.len());
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Poll::Pending => return pace.poll_limit(cx).map(|()| Err(BodyError::TooSlow)),
            }
        }
    })
    .await
}

/// Whether a body comes fast enough: a bucket of time that bytes fill, by [`PaceLimits::least_rate`], and that waiting
/// for more empties. No timer is made for a body that is there already.
#[derive(Debug)]
pub struct Pace {
    limits: PaceLimits,
    /// When it was first waited for.
    began: Option<Instant>,
    /// When it is too slow if nothing comes until then.
    due: Option<Instant>,
    /// Bytes that came since `due` was found.
    fresh: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// A pace that begins with the first wait.
    #[must_use]
    pub const fn new(limits: PaceLimits) -> Self {
        Self { limits, began: None, due: None, fresh: 0, timer: None }
    }

    fn came(&mut self, bytes: usize) {
        self.fresh += bytes as u64;
        self.timer = None;
    }

    fn poll_limit(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let PaceLimits { idle, least_rate, total } = self.limits;
        let began = *self.began.get_or_insert(now);
        let nanos = self.fresh.saturating_mul(1_000_000_000) / u64::from(least_rate.max(1));
        let earned = self.due.unwrap_or(now + idle).checked_add(Duration::from_nanos(nanos));
        let due = earned.unwrap_or(now + idle).min(now + idle).min(began + total);
        self.due = Some(due);
        self.fresh = 0;
        self.timer.get_or_insert_with(|| Box::pin(sleep_until(due))).as_mut().poll(cx)
    }
}

/// Reads on and throws away, so that a client that is still sending gets to read the refusal. Stops after
/// `most` bytes, or when the body is slow.
pub async fn discard(mut body: Incoming, most: u64) {
    let idle = Duration::from_secs(5);
    let mut pace = Pace::new(PaceLimits { idle, total: DISCARDING, ..PaceLimits::default() });
    let mut left = most;
    while let Ok(Some(data)) = next_data(&mut body, &mut pace).await {
        left = left.saturating_sub(data.len() as u64);
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PaceLimits =
        PaceLimits { idle: Duration::from_secs(30), least_rate: 1_000, total: Duration::from_secs(3_600) };

    /// Seconds until a body is given up of which so many bytes come every so often.
    async fn given_up_after(first: usize, then: usize, every: Duration) -> u64 {
        let (mut pace, began) = (Pace::new(LIMITS), Instant::now());
        let late = async |pace: &mut Pace| {
            tokio::time::timeout(every, poll_fn(|cx| pace.poll_limit(cx))).await.is_ok()
        };
        pace.came(first);
        while !late(&mut pace).await {
            pace.came(then);
        }
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_a_trickle_and_an_endless_body_are_given_up() {
        let second = Duration::from_secs(1);
        assert_eq!(given_up_after(0, 0, 3_600 * second).await, 30);
        // Half the rate: every second costs half of one.
        assert_eq!(given_up_after(0, 500, second).await, 59);
        assert_eq!(given_up_after(0, 1, second).await, 30);
        // A start of 32 MB earns nothing: else it would earn hours.
        assert_eq!(given_up_after(32 << 20, 1, second).await, 30);
        assert_eq!(given_up_after(0, 29_000, 29 * second).await, 3_600);
    }
}
