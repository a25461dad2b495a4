//! Stage 5, admit: may one more request of this key begin?

use claviger_claude_wire::answers::Answer;
use claviger_domain::{
    clock::{MICROS_PER_SEC, Timestamp},
    limit::{Bucket, Exceeded, Headrooms},
};
use claviger_service::{
    Services,
    admission::{Admitted, headrooms},
    grants::LiveGrant,
    recorder::{RecorderFull, Slot},
};

use crate::{authenticate::Caller, refuse::Refusal};

/// Waits longer than this are not for a client to sleep through.
const LONG_WAIT_SECS: i64 = 300;

/// A request that may begin: its place among the key's calls, and in the recorder's queue.
pub struct Admission {
    /// Frees the key's place when it is dropped.
    pub admitted: Admitted,
    /// The place in the queue of records.
    pub slot: Slot,
}

/// A limit binds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {} {} is reached", .exceeded.headroom.limit, .exceeded.headroom.kind.describe())]
pub struct LimitReached {
    /// Which.
    pub exceeded: Exceeded,
    /// When that was.
    pub at: Timestamp,
    /// What is left of the others.
    pub headrooms: Box<Headrooms>,
}

impl LimitReached {
    /// With what is left of the caller's other limits.
    #[must_use]
    pub fn new(live: &LiveGrant, bucket: Bucket, exceeded: Exceeded, at: Timestamp) -> Self {
        Self { exceeded, at, headrooms: Box::new(headrooms(live, bucket, at)) }
    }
}

/// Why a request may not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// A limit binds.
    #[error(transparent)]
    Exceeded(#[from] LimitReached),
    /// There is no place in the queue of records.
    #[error(transparent)]
    Recorder(#[from] RecorderFull),
}

/// Takes the request from the key's limits.
///
/// # Errors
/// [`AdmitError`]; nothing was taken then.
pub async fn admit(
    services: &Services,
    caller: &Caller,
    bucket: Bucket,
    at: Timestamp,
) -> Result<Admission, AdmitError> {
    let slot = services.recorder.slot()?;
    match services.admission.admit_wait(&caller.live, bucket).await {
        Ok(admitted) => Ok(Admission { admitted, slot }),
        Err(exceeded) => {
            slot.release();
            Err(LimitReached::new(&caller.live, bucket, exceeded, at).into())
        }
    }
}

impl From<LimitReached> for Refusal {
    fn from(reached: LimitReached) -> Self {
        let text = reached.to_string();
        let LimitReached { exceeded: Exceeded { headroom, retry_at }, at, headrooms } = reached;
        let wait = retry_at.map(|t| wait_secs(at, t));
        let soon = wait.is_some_and(|w| w <= LONG_WAIT_SECS);
        let answer = if soon { Answer::RateLimited } else { Answer::QuotaExhausted };
        let whose = headroom.subject.describe();
        let message = format!("This request would exceed {whose} limit: {text}.");
        Self {
            retry_after_secs: wait.and_then(|w| u64::try_from(w).ok()),
            headrooms: Some(Box::new(headrooms.bound_by(headroom))),
            ..Self::new(answer, headroom.kind.reason(), message)
        }
    }
}

impl From<AdmitError> for Refusal {
    fn from(error: AdmitError) -> Self {
        let text = error.to_string();
        match error {
            AdmitError::Exceeded(reached) => reached.into(),
            AdmitError::Recorder(RecorderFull::Slots) => Self::new(Answer::Overloaded, "recorder_full", text),
            AdmitError::Recorder(RecorderFull::Disk) => Self::new(Answer::Unavailable, "disk_full", text),
            AdmitError::Recorder(RecorderFull::Stopped) => Self::new(Answer::Unavailable, "stopping", text),
        }
    }
}

/// Whole seconds from `now` to `then`, rounded up, at least one.
pub fn wait_secs(now: Timestamp, then: Timestamp) -> i64 {
    let micros = then.micros_since(now).max(1);
    micros.saturating_add(MICROS_PER_SEC - 1).div_euclid(MICROS_PER_SEC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use claviger_domain::limit::{Headroom, LimitKind, LimitSubject};

    fn refusal(retry_at: Option<i64>) -> Refusal {
        let reset = Timestamp::from_secs(100);
        let (subject, kind) = (LimitSubject::Owner, LimitKind::RequestsPerMinute);
        let headroom = Headroom { subject, kind, limit: 60, remaining: 0, reset };
        let exceeded = Exceeded { headroom, retry_at: retry_at.map(Timestamp::from_micros) };
        let headrooms = Box::new(Headrooms::default());
        LimitReached { exceeded, at: Timestamp::from_micros(0), headrooms }.into()
    }

    #[test]
    fn a_short_wait_is_told_rounded_up_and_a_long_one_forbids_the_retry() {
        let soon = refusal(Some(1_000_001));
        assert_eq!((soon.answer, soon.retry_after_secs), (Answer::RateLimited, Some(2)));
        assert!(soon.message.contains("your key's owner's limit: the limit of 60 requests per minute"));
        assert_eq!(soon.headrooms.unwrap().requests.unwrap().remaining, 0);
        let late = refusal(Some(3_600_000_000));
        assert_eq!((late.answer, late.retry_after_secs), (Answer::QuotaExhausted, Some(3_600)));
        assert_eq!(refusal(None).answer, Answer::QuotaExhausted);
    }
}
