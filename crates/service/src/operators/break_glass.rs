//! Break-glass: one sealed code that opens an owner's session for fifteen minutes, once, and is heard of by everyone.

use claviger_domain::{
    audit::Actor,
    clock::{MICROS_PER_DAY, MICROS_PER_SEC},
    id::NoticeId,
    notice::{About, Incident, Notice, NoticeRecord},
    operator::token::{BREAK_GLASS_SECS, OperatorTokenRecord, Review, TokenKind},
    ports::{Change, StoreError},
    token::side::{SideToken, SideUse},
};

use super::{Identity, Opened, Operators, proof::subject, token_id};
use crate::{Caller, ServiceError};

/// A sealed code works for ten years.
const CODE_US: i64 = 3_653 * MICROS_PER_DAY;
/// Most characters of a review.
const NOTE_MOST: usize = 4_096;

const WRONG: &str = "this code does not open anything (any more)";

impl Operators {
    /// Makes the sealed code; an older one stops working. It is returned here and never again.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] while a break-glass session awaits its review.
    pub async fn prepare_break_glass(
        &self,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<(SideToken, OperatorTokenRecord), ServiceError> {
        let _turn = self.0.turn.lock().await;
        let now = self.0.deps.clock.now();
        let tokens = self.0.deps.store.operator_tokens().await?;
        if let Some(used) = tokens.iter().find(|t| t.awaits_review()) {
            let why = format!("{} awaits its review: `claviger operator break-glass review {0}`", used.id);
            return Err(ServiceError::conflict("break-glass", why));
        }
        let (code, mut record) = self.blank_token(TokenKind::BreakGlassCode, now)?;
        record.operator = identity.operator_id().cloned();
        record.expires_at = now.plus_micros(CODE_US);
        let older = tokens.into_iter().filter(|t| t.kind == TokenKind::BreakGlassCode);
        let mut changes: Vec<Change> = older
            .map(|t| Change::UpdateOperatorToken(Box::new(OperatorTokenRecord { ended_at: Some(now), ..t })))
            .collect();
        changes.push(Change::InsertOperatorToken(Box::new(record.clone())));
        let event = caller.event(now, "break_glass.prepare", record.id.as_str());
        self.0.deps.store.apply(changes, event).await?;
        Ok((code, record))
    }

    /// Opens the sealed code: an owner's session of fifteen minutes.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`].
    pub async fn break_glass(&self, code: &[u8], caller: &Caller) -> Result<Opened, ServiceError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        let Some(sealed) = self.sealed_code(code).await? else {
            deps.refusals.count("break_glass", subject(None, &caller.client_ip), now);
            return Err(ServiceError::unauthenticated(WRONG));
        };
        let (token, mut record) = self.blank_token(TokenKind::BreakGlass, now)?;
        record.operator.clone_from(&sealed.operator);
        record.expires_at = now.plus_micros(BREAK_GLASS_SECS * MICROS_PER_SEC);
        let notice = Notice::Incident {
            incident: Incident::BreakGlass,
            what: format!(
                "the sealed code {} was opened: an owner's session of 15 minutes begins",
                sealed.id
            ),
            client_ip: caller.client_ip.clone(),
        };
        let notice_id = NoticeId::generate(deps.entropy.as_ref())?;
        let used = OperatorTokenRecord { ended_at: Some(now), ..sealed.clone() };
        let changes = vec![
            Change::UpdateOperatorToken(Box::new(used)),
            Change::InsertOperatorToken(Box::new(record.clone())),
            Change::RaiseNotice(Box::new(NoticeRecord::new(notice_id, About::everyone(), notice, now))),
        ];
        let mut event =
            caller.event(now, "break_glass.open", record.id.as_str()).with("code", sealed.id.as_str());
        event.actor = Actor::Operator { id: record.id.to_string(), name: "break-glass".to_owned() };
        match deps.store.apply(changes, event).await {
            Ok(_) => {}
            Err(StoreError::Conflict { .. }) => return Err(ServiceError::unauthenticated(WRONG)),
            Err(error) => return Err(error.into()),
        }
        tracing::error!(
            session = %record.id, code = %sealed.id, client_ip = %caller.client_ip,
            "BREAK-GLASS: the sealed code was opened; an owner's session without a second person runs for 15 minutes"
        );
        Ok(Opened { token, record, operator: None })
    }

    async fn sealed_code(&self, code: &[u8]) -> Result<Option<OperatorTokenRecord>, ServiceError> {
        let deps = &self.0.deps;
        let Ok(code) = SideToken::parse(deps.brand, SideUse::Operator, code.trim_ascii()) else {
            return Ok(None);
        };
        let Some(found) = deps.store.operator_token(&token_id(&code)?).await? else { return Ok(None) };
        let is_genuine = self.peppers().verify_side(&code, &found.mac, found.pepper_version);
        let works = found.kind == TokenKind::BreakGlassCode && found.is_alive(deps.clock.now());
        Ok(Some(found).filter(|_| is_genuine && works))
    }

    /// Writes down what a break-glass session did, and why. Only then can a new code be made.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] when it was written down before.
    pub async fn review_break_glass(
        &self,
        id: &str,
        note: &str,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<OperatorTokenRecord, ServiceError> {
        let unknown = || ServiceError::not_found("break-glass session", id);
        let by = identity.operator_id().cloned();
        let by = by.ok_or_else(|| ServiceError::forbidden("a review is written by an operator: log in"))?;
        let tokens = self.0.deps.store.operator_tokens().await?;
        let session = tokens.into_iter().find(|t| t.id.as_str() == id && t.kind == TokenKind::BreakGlass);
        let session = session.ok_or_else(unknown)?;
        if session.review.is_some() {
            return Err(ServiceError::conflict("break-glass", "it was reviewed before"));
        }
        if note.trim().is_empty() || note.chars().count() > NOTE_MOST {
            return Err(ServiceError::invalid(
                "note",
                format!("expected 1 to {NOTE_MOST} characters: what was done, why"),
            ));
        }
        let now = self.0.deps.clock.now();
        let review = Some(Review { by, at: now, note: note.trim().to_owned() });
        // A session that is reviewed is over.
        let ended_at = session.ended_at.or(Some(now));
        let reviewed = OperatorTokenRecord { review, ended_at, ..session };
        let event = caller.event(now, "break_glass.review", id).with("note", note.trim());
        self.0.deps.store.apply(vec![Change::UpdateOperatorToken(Box::new(reviewed.clone()))], event).await?;
        Ok(OperatorTokenRecord { version: reviewed.version + 1, ..reviewed })
    }
}
