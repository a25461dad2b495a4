//! Fresh proofs of the second factor, each bound to one action.

use claviger_domain::{
    audit::{AuditEvent, Digest},
    clock::{MICROS_PER_SEC, Timestamp},
    id::NoticeId,
    notice::{About, Incident, Notice, NoticeRecord},
    operator::{lockout, record::OperatorRecord, token::STEP_UP_SECS, verb::Verb},
    ports::{Change, StoreError, operators::StepUp},
};

use super::{Identity, Operators, totp};
use crate::{Caller, ServiceError, refusals::RefusalSubject};

const WRONG: &str = "the code is wrong, too old, or was used before: wait for the next one";

/// A code that came with a request.
#[derive(Clone, Copy)]
pub struct Code<'a> {
    /// What came.
    pub text: &'a str,
    /// Whether the request is carried out once, however often it is sent: then the code counts for its repetitions.
    pub is_for_repetitions: bool,
}

impl Operators {
    /// Proves the second factor for an action; it counts for five minutes in this session.
    ///
    /// # Errors
    /// [`ServiceError::SecondFactor`], [`ServiceError::LockedOut`].
    pub async fn step_up(
        &self,
        identity: &Identity,
        (verb, action): (Verb, Digest),
        code: &str,
        caller: &Caller,
    ) -> Result<StepUp, ServiceError> {
        let (operator, token) = person(identity)?;
        let at = self.0.deps.clock.now();
        let until = at.plus_micros(STEP_UP_SECS * MICROS_PER_SEC);
        let proof = StepUp { token: token.clone(), action, at, until };
        let event = event(caller, at, operator, verb, action);
        self.spend(operator, code, vec![Change::InsertStepUp(proof.clone())], event).await?;
        Ok(proof)
    }

    /// Whether the action is proved: by a code that came with the request, or by a step-up for it.
    ///
    /// # Errors
    /// [`ServiceError::SecondFactor`] when it is not; [`ServiceError::LockedOut`].
    pub async fn prove(
        &self,
        identity: &Identity,
        (verb, action): (Verb, Digest),
        code: Option<Code<'_>>,
        caller: &Caller,
    ) -> Result<(), ServiceError> {
        let (operator, token) = person(identity)?;
        let now = self.0.deps.clock.now();
        let before = self.0.deps.store.step_up(token, action).await?;
        if before.is_some_and(|p| p.at <= now && now < p.until) {
            return Ok(());
        }
        let Some(code) = code else {
            let why = format!(
                "{} needs a fresh code of your second factor: send it as X-Claviger-TOTP (`--totp CODE`)",
                verb.as_str()
            );
            return Err(ServiceError::SecondFactor { why });
        };
        let until = now.plus_micros(STEP_UP_SECS * MICROS_PER_SEC);
        let proof = StepUp { token: token.clone(), action, at: now, until };
        let kept = code.is_for_repetitions.then(|| Change::InsertStepUp(proof)).into_iter().collect();
        self.spend(operator, code.text, kept, event(caller, now, operator, verb, action)).await
    }

    /// Uses a code up, together with what it is for.
    pub(super) async fn spend(
        &self,
        operator: &OperatorRecord,
        code: &str,
        changes: Vec<Change>,
        event: AuditEvent,
    ) -> Result<(), ServiceError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        let place = format!("second factor of {}", operator.id);
        self.check_lock(&place, now).await?;
        let client_ip = event.client_ip.clone();
        let Some(step) = totp::step_of(operator, code, now, deps.sealer.as_ref())? else {
            return Err(self.wrong_code(&place, operator, &client_ip).await?);
        };
        let mut all = vec![Change::UseTotpStep(operator.id.clone(), step)];
        all.extend(changes);
        match deps.store.apply(all, event).await {
            Ok(_) => self.0.lockouts.passed(&place).await,
            Err(StoreError::Conflict { what: "second factor" }) => {
                Err(self.wrong_code(&place, operator, &client_ip).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn wrong_code(
        &self,
        place: &str,
        operator: &OperatorRecord,
        client_ip: &str,
    ) -> Result<ServiceError, ServiceError> {
        self.failed(place, "second_factor", Some(operator), client_ip).await?;
        Ok(ServiceError::SecondFactor { why: WRONG.to_owned() })
    }

    pub(super) async fn check_lock(&self, place: &str, now: Timestamp) -> Result<(), ServiceError> {
        let locked = self.0.lockouts.locked_until(place, now).await?;
        locked.map_or(Ok(()), |until| {
            let secs = until.micros_since(now).max(0) / MICROS_PER_SEC + 1;
            Err(ServiceError::LockedOut { retry_after_secs: u64::try_from(secs).unwrap_or(1) })
        })
    }

    /// Counts a failed proof, durably; tells people when it locks somebody who exists.
    pub(super) async fn failed(
        &self,
        place: &str,
        reason: &'static str,
        operator: Option<&OperatorRecord>,
        client_ip: &str,
    ) -> Result<(), ServiceError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        let failures = self.0.lockouts.failed(place, now).await?;
        deps.refusals.count(reason, subject(operator, client_ip), now);
        if let Some(operator) = operator
            && failures == lockout::FREE
        {
            let (this, operator, client_ip) = (self.clone(), operator.clone(), client_ip.to_owned());
            deps.tracker.spawn(async move {
                if let Err(error) = this.tell_of_lockout(&operator, &client_ip, now).await {
                    tracing::warn!(%error, operator = %operator.name, "a lockout could not be recorded");
                }
            });
        }
        Ok(())
    }

    async fn tell_of_lockout(
        &self,
        operator: &OperatorRecord,
        client_ip: &str,
        now: Timestamp,
    ) -> Result<(), ServiceError> {
        let notice = Notice::Incident {
            incident: Incident::Lockout,
            what: format!(
                "the operator {} is locked out after {} failed proofs",
                operator.name,
                lockout::FREE
            ),
            client_ip: client_ip.to_owned(),
        };
        let id = NoticeId::generate(self.0.deps.entropy.as_ref())?;
        let notice = NoticeRecord::new(id, About::everyone(), notice, now);
        let mut event = Caller::system().event(now, "operator.locked", operator.id.as_str());
        client_ip.clone_into(&mut event.client_ip);
        self.0.deps.store.apply(vec![Change::RaiseNotice(Box::new(notice))], event).await?;
        Ok(())
    }
}

pub(super) fn subject(operator: Option<&OperatorRecord>, client_ip: &str) -> RefusalSubject {
    let block = client_ip.parse().ok().map(claviger_domain::address::counting_block);
    RefusalSubject::Operator(operator.map(|o| o.id.clone()), block)
}

fn person(
    identity: &Identity,
) -> Result<(&OperatorRecord, &claviger_domain::id::OperatorTokenId), ServiceError> {
    match (&identity.operator, identity.token_id(), identity.kind) {
        (Some(operator), Some(token), super::IdentityKind::Person) => Ok((operator, token)),
        (Some(_) | None, _, _) => Err(ServiceError::forbidden("only people have a second factor: log in")),
    }
}

fn event(
    caller: &Caller,
    at: Timestamp,
    operator: &OperatorRecord,
    verb: Verb,
    action: Digest,
) -> AuditEvent {
    caller
        .event(at, "session.step_up", operator.id.as_str())
        .with("action", action.to_hex())
        .with("verb", verb.as_str())
}
