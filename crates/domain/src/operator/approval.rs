//! Dual control: a request is frozen as it came, and done when a second person says so.

use super::verb::Verb;
use crate::{
    audit::Digest,
    clock::{MICROS_PER_SEC, Timestamp},
    id::{ApprovalId, OperatorId, OperatorTokenId, WorkspaceId},
    ports::SealContext,
};

/// A frozen request waits so long for its second person, in seconds.
pub const TTL_SECS: i64 = 24 * 3_600;
/// Most bytes of a body that can be frozen.
pub const MAX_BODY: usize = 64 << 10;

/// What has become of a frozen request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApprovalState {
    /// It waits.
    Pending,
    /// A second person said yes: it is being done, once. If the process dies now, the next one takes it up.
    Approved,
    /// It was done.
    Executed,
    /// It was done, and refused by the operation itself.
    Failed,
    /// A second person said no, or the requester took it back.
    Denied,
    /// A second person said yes, and it could not be done in time.
    Expired,
}

impl ApprovalState {
    const ALL: [Self; 6] =
        [Self::Pending, Self::Approved, Self::Executed, Self::Failed, Self::Denied, Self::Expired];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Executed => "executed",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }

    /// The reverse of [`ApprovalState::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// What is kept of what an approved operation answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Nothing: it was not done yet, was too large to be kept, or was lost with the process that did it.
    None,
    /// All of it.
    Plain,
    /// All of it, and it holds a secret: whoever asked may take it, once, within a day.
    Secret,
    /// Nothing any more: it was taken, or nobody took it in time.
    Taken,
}

impl Answer {
    const ALL: [Self; 4] = [Self::None, Self::Plain, Self::Secret, Self::Taken];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Plain => "plain",
            Self::Secret => "secret",
            Self::Taken => "taken",
        }
    }

    /// The reverse of [`Answer::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == text)
    }
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// What it does.
    pub verb: Verb,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its `If-Match`, or empty.
    pub if_match: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Frozen {
    /// SHA-256 over verb, method, path and body: what a second factor is bound to, and what a second person approves.
    #[must_use]
    pub fn digest(&self) -> Digest {
        action_digest(self.verb, &self.method, &self.path, &self.body)
    }
}

/// SHA-256 over what is done: verb, method, path with query, and the body's own digest, each with its length.
#[must_use]
pub fn action_digest(verb: Verb, method: &str, path: &str, body: &[u8]) -> Digest {
    digest_of_action(verb, method, path, Digest::of(body))
}

/// [`action_digest`] of a body that is known by its digest only.
#[must_use]
pub fn digest_of_action(verb: Verb, method: &str, path: &str, body: Digest) -> Digest {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in
        [b"cvg/action/v1".as_slice(), verb.as_str().as_bytes(), method.as_bytes(), path.as_bytes(), &body.0]
    {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.0.copy_from_slice(context.finish().as_ref());
    digest
}

/// A request that waits for a second person, or waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRecord {
    /// `apr_…`.
    pub id: ApprovalId,
    /// The request.
    pub frozen: Frozen,
    /// The workspace that it is about, when it is about one.
    pub workspace: Option<WorkspaceId>,
    /// Who asked.
    pub requester: OperatorId,
    /// Their name then.
    pub requester_name: String,
    /// By which token.
    pub token: OperatorTokenId,
    /// When.
    pub created_at: Timestamp,
    /// Nobody can approve it from then on.
    pub expires_at: Timestamp,
    /// What has become of it.
    pub state: ApprovalState,
    /// Who decided.
    pub decided_by: Option<OperatorId>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// The HTTP status of what was done.
    pub status: Option<u16>,
    /// What is kept of its answer.
    pub answer: Answer,
    /// Row version.
    pub version: i64,
}

/// Why a frozen request cannot be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// Whoever asked is not a second person.
    #[error("whoever asked cannot approve: it takes a second person")]
    Requester,
    /// It was decided before.
    #[error("it is {} already", .0.as_str())]
    Decided(ApprovalState),
    /// It waited too long.
    #[error("it has expired: it must be asked for again")]
    Expired,
}

impl ApprovalRecord {
    /// A request of now.
    #[must_use]
    pub fn freeze(
        id: ApprovalId,
        frozen: Frozen,
        (requester, requester_name, token): (OperatorId, String, OperatorTokenId),
        workspace: Option<WorkspaceId>,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            frozen,
            workspace,
            requester,
            requester_name,
            token,
            created_at: now,
            expires_at: now.plus_micros(TTL_SECS * MICROS_PER_SEC),
            state: ApprovalState::Pending,
            decided_by: None,
            decided_at: None,
            status: None,
            answer: Answer::None,
            version: 1,
        }
    }

    /// Whether it still waits.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.state == ApprovalState::Pending && now < self.expires_at
    }

    /// What is shown: a pending request that waited too long is `expired`.
    #[must_use]
    pub fn shown_state(&self, now: Timestamp) -> &'static str {
        if self.state == ApprovalState::Pending && now >= self.expires_at {
            "expired"
        } else {
            self.state.as_str()
        }
    }

    fn decide(&self, by: &OperatorId, state: ApprovalState, now: Timestamp) -> Result<Self, DecideError> {
        match self.state {
            ApprovalState::Pending if now >= self.expires_at => Err(DecideError::Expired),
            ApprovalState::Pending => {
                Ok(Self { state, decided_by: Some(by.clone()), decided_at: Some(now), ..self.clone() })
            }
            ApprovalState::Approved
            | ApprovalState::Executed
            | ApprovalState::Failed
            | ApprovalState::Denied
            | ApprovalState::Expired => Err(DecideError::Decided(self.state)),
        }
    }

    /// A second person says yes.
    ///
    /// # Errors
    /// [`DecideError`].
    pub fn approve(&self, by: &OperatorId, now: Timestamp) -> Result<Self, DecideError> {
        if *by == self.requester {
            return Err(DecideError::Requester);
        }
        self.decide(by, ApprovalState::Approved, now)
    }

    /// A second person says no, or the requester takes it back.
    ///
    /// # Errors
    /// [`DecideError`].
    pub fn deny(&self, by: &OperatorId, now: Timestamp) -> Result<Self, DecideError> {
        self.decide(by, ApprovalState::Denied, now)
    }

    /// It was done, with this status, and so much of the answer is kept.
    #[must_use]
    pub fn executed(&self, status: u16, answer: Answer) -> Self {
        let state =
            if (200..300).contains(&status) { ApprovalState::Executed } else { ApprovalState::Failed };
        Self { state, status: Some(status), answer, ..self.clone() }
    }

    /// It was done by a process that died before it could say how it went.
    #[must_use]
    pub fn executed_unheard(&self) -> Self {
        Self { state: ApprovalState::Executed, ..self.clone() }
    }

    /// It was approved, and not done in time.
    #[must_use]
    pub fn lapsed(&self) -> Self {
        Self { state: ApprovalState::Expired, ..self.clone() }
    }

    /// Its answer was taken, or nobody took it in time.
    #[must_use]
    pub fn taken(&self) -> Self {
        Self { answer: Answer::Taken, ..self.clone() }
    }

    /// Where its answer is sealed.
    #[must_use]
    pub fn seal_context(id: &ApprovalId) -> SealContext<'_> {
        SealContext { table: "approvals", column: "answer", row: id.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(name: &str) -> OperatorId {
        OperatorId::parse(&format!("op_{name}")).unwrap()
    }

    fn pending(now: Timestamp) -> ApprovalRecord {
        let frozen = Frozen {
            verb: Verb::KeyPurge,
            method: "POST".to_owned(),
            path: "/admin/v1/keys/key_1/purge".to_owned(),
            if_match: String::new(),
            body: b"{}".to_vec(),
        };
        let by = (op("ann"), "ann".to_owned(), OperatorTokenId::parse("opt_1").unwrap());
        ApprovalRecord::freeze(ApprovalId::parse("apr_1").unwrap(), frozen, by, None, now)
    }

    #[test]
    fn the_second_person_is_never_the_first_and_decides_once_and_in_time() {
        let now = Timestamp::from_secs(1_000);
        let asked = pending(now);
        assert_eq!(asked.approve(&op("ann"), now), Err(DecideError::Requester));
        let approved = asked.approve(&op("bob"), now).unwrap();
        assert_eq!(approved.approve(&op("eve"), now), Err(DecideError::Decided(ApprovalState::Approved)));
        assert_eq!(approved.deny(&op("eve"), now), Err(DecideError::Decided(ApprovalState::Approved)));
        let late = now.plus_micros(TTL_SECS * MICROS_PER_SEC);
        assert_eq!(asked.approve(&op("bob"), late), Err(DecideError::Expired));
        assert_eq!(asked.shown_state(late), "expired");
        assert_eq!(asked.deny(&op("ann"), now).unwrap().state, ApprovalState::Denied);
    }

    #[test]
    fn an_action_is_bound_to_every_part_of_it() {
        let digest = action_digest(Verb::KeyCreate, "POST", "/admin/v1/keys", b"{}");
        assert_ne!(digest, action_digest(Verb::KeyImport, "POST", "/admin/v1/keys", b"{}"));
        assert_ne!(digest, action_digest(Verb::KeyCreate, "POST", "/admin/v1/key", b"s{}"));
        assert_ne!(digest, action_digest(Verb::KeyCreate, "POST", "/admin/v1/keys?a=b", b"{}"));
        assert_ne!(digest, action_digest(Verb::KeyCreate, "POST", "/admin/v1/keys", b"{ }"));
    }
}
