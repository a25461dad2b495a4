//! Carrying out what was approved, once, whichever process does it: the operation itself is done under an idempotency
//! key that is the approval's own, so that whoever takes it up later either does it for the first time or learns that it
//! was done.

use claviger_domain::{
    audit::AuditEvent,
    clock::MICROS_PER_SEC,
    operator::approval::{Answer, ApprovalRecord},
    ports::Change,
};

use super::{Approvals, Hold};
use crate::{
    Caller, ServiceError,
    operators::{Identity, IdentityKind},
};

/// What was approved and is not done so long afterwards was left behind by a process that died.
const LEFT_US: i64 = 10 * MICROS_PER_SEC;
/// A secret is kept for whoever asked for so long.
const SECRET_US: i64 = 24 * 3_600 * MICROS_PER_SEC;
/// A larger answer is not kept.
const MAX_ANSWER: usize = 256 << 10;

/// The right to carry out what was approved, in its requester's name. Dropped without an end, it is taken up again.
pub struct Claim {
    /// What was approved.
    pub approval: ApprovalRecord,
    /// Who asked, as they are today.
    pub requester: Identity,
    pub(super) hold: Hold,
}

/// How what was approved went.
pub enum Outcome {
    /// The operation answered.
    Answered {
        /// With this HTTP status,
        status: u16,
        /// and this body,
        body: Vec<u8>,
        /// which holds a secret.
        is_secret: bool,
    },
    /// It was done before, by a process that died before it could keep the answer.
    Unheard,
}

impl Claim {
    /// Notes how it went.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`]; then it is taken up again.
    pub async fn end(self, outcome: Outcome, caller: &Caller) -> Result<ApprovalRecord, ServiceError> {
        let Self { approval, hold, .. } = self;
        let approvals = hold.approvals.clone();
        let (ended, answer) = match outcome {
            Outcome::Unheard => (approval.executed_unheard(), None),
            Outcome::Answered { status, body, is_secret } => {
                let fits = !body.is_empty() && body.len() <= MAX_ANSWER;
                let kind = match (fits, is_secret) {
                    (false, _) => Answer::None,
                    (true, true) => Answer::Secret,
                    (true, false) => Answer::Plain,
                };
                let context = ApprovalRecord::seal_context(&approval.id);
                let sealed = fits.then(|| approvals.0.deps.sealer.seal(context, &body)).transpose()?;
                (approval.executed(status, kind), sealed)
            }
        };
        let answer = answer.map(|sealed| Change::KeepApprovalAnswer(ended.id.clone(), sealed));
        approvals.put(ended, answer, "approval.execute", caller).await
    }
}

impl Approvals {
    /// What was approved and left behind, as claims of this process. What can be done no more is closed on the way: its
    /// time is over, or whoever asked may not any more.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn left_behind(&self, caller: &Caller) -> Result<Vec<Claim>, ServiceError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        let mut claims = Vec::new();
        for approval in deps.store.unfinished_approvals(now.plus_micros(-LEFT_US)).await? {
            let Some(hold) = self.hold(&approval.id) else { continue };
            // It may have been done between the two lines above.
            let still = deps.store.approval(&approval.id).await?.filter(|a| a.version == approval.version);
            let Some(approval) = still else { continue };
            if now >= approval.expires_at {
                self.close(approval, caller).await?;
                continue;
            }
            match deps.operators.requester(&approval).await {
                Ok(requester) => claims.push(Claim { approval, requester, hold }),
                Err(ServiceError::Forbidden(why)) => {
                    let body = serde_json::json!({"type": "forbidden", "status": 403, "detail": why});
                    let refused = approval.executed(403, Answer::Plain);
                    let context = ApprovalRecord::seal_context(&refused.id);
                    let sealed = deps.sealer.seal(context, body.to_string().as_bytes())?;
                    let answer = Change::KeepApprovalAnswer(refused.id.clone(), sealed);
                    self.put(refused, Some(answer), "approval.execute", caller).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(claims)
    }

    /// Nobody does it any more; whether it was done before the process died stands beside its idempotency key.
    async fn close(&self, approval: ApprovalRecord, caller: &Caller) -> Result<(), ServiceError> {
        let key = approval.id.as_str();
        let known = self.0.deps.store.known_request(key, key).await?;
        if known.is_some_and(|known| known.made.is_some()) {
            self.put(approval.executed_unheard(), None, "approval.execute", caller).await?;
        } else {
            self.put(approval.lapsed(), None, "approval.expire", caller).await?;
        }
        Ok(())
    }

    /// Forgets secrets that nobody took within a day.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn forget_untaken(&self, caller: &Caller) -> Result<(), ServiceError> {
        let before = self.0.deps.clock.now().plus_micros(-SECRET_US);
        for approval in self.0.deps.store.untaken_answers(before).await? {
            let nothing = Change::KeepApprovalAnswer(approval.id.clone(), Vec::new());
            self.put(approval.taken(), Some(nothing), "approval.forget", caller).await?;
        }
        Ok(())
    }

    /// What the operation answered, when that holds no secret.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn answer(&self, approval: &ApprovalRecord) -> Result<Option<Vec<u8>>, ServiceError> {
        match approval.answer {
            Answer::Plain => self.open(approval).await,
            Answer::None | Answer::Secret | Answer::Taken => Ok(None),
        }
    }

    /// What the operation answered, to whoever asked for it: a secret once.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Forbidden`] for everyone else,
    /// [`ServiceError::Conflict`] when there is nothing to take.
    pub async fn take(
        &self,
        id: &str,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<(ApprovalRecord, Vec<u8>), ServiceError> {
        let approval = self.show(id, identity).await?;
        if identity.kind != IdentityKind::Person || identity.operator_id() != Some(&approval.requester) {
            return Err(ServiceError::forbidden("the answer is for whoever asked: log in as them"));
        }
        let nothing = |why: &'static str| ServiceError::conflict("approval", why);
        match approval.answer {
            Answer::None => return Err(nothing("there is no answer to take")),
            Answer::Taken => return Err(nothing("its answer was taken, or nobody took it within a day")),
            Answer::Plain | Answer::Secret => {}
        }
        let body = self.open(&approval).await?.ok_or_else(|| nothing("there is no answer to take"))?;
        if approval.answer == Answer::Plain {
            return Ok((approval, body));
        }
        let nothing = Change::KeepApprovalAnswer(approval.id.clone(), Vec::new());
        // Of two at once, the second meets another version.
        let taken = self.put(approval.taken(), Some(nothing), "approval.answer", caller).await?;
        Ok((taken, body))
    }

    async fn open(&self, approval: &ApprovalRecord) -> Result<Option<Vec<u8>>, ServiceError> {
        let deps = &self.0.deps;
        let Some(sealed) = deps.store.approval_answer(&approval.id).await? else { return Ok(None) };
        let opened = deps.sealer.open(ApprovalRecord::seal_context(&approval.id), &sealed)?;
        Ok(Some(opened.expose().to_vec()))
    }

    pub(super) async fn put(
        &self,
        record: ApprovalRecord,
        answer: Option<Change>,
        action: &str,
        caller: &Caller,
    ) -> Result<ApprovalRecord, ServiceError> {
        let event = self.event(&record, action, caller);
        let changes = std::iter::once(Change::UpdateApproval(Box::new(record.clone()))).chain(answer);
        self.0.deps.store.apply(changes.collect(), event).await?;
        Ok(ApprovalRecord { version: record.version + 1, ..record })
    }

    fn event(&self, record: &ApprovalRecord, action: &str, caller: &Caller) -> AuditEvent {
        let event = caller
            .event(self.0.deps.clock.now(), action, record.id.as_str())
            .with("digest", record.frozen.digest().to_hex())
            .with("requester", record.requester.as_str())
            .with("verb", record.frozen.verb.as_str());
        record.status.into_iter().fold(event, |event, status| event.with("status", status))
    }
}
