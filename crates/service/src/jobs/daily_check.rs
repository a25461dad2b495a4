//! The daily check: whose keys run out soon, which keys break their policy, and which nobody uses any more.

use std::sync::Arc;

use async_trait::async_trait;
use claviger_domain::{
    audit::{Actor, AuditEvent},
    clock::{MICROS_PER_DAY, Timestamp},
    id::KeyId,
    key::{KeyRecord, KeyState, KeyStatus, RevocationReason},
    notice::{About, Notice},
    policy::{Breach, Consequence, Policy, Rule, last_use_of_line},
    ports::{Change, Store, lifecycle::LifePlace},
    schedule::Schedule,
};

use crate::{
    Caller, ServiceError,
    keys::Keys,
    notices::Notices,
    policies::{Policies, PolicyBook},
    scheduler::{Job, Turn},
};

/// Keys that are looked at in one go.
const PAGE: u32 = 500;
/// Notices are kept for so many days.
const NOTICE_DAYS: i64 = 400;

/// Looks at every living key.
pub(crate) struct DailyCheck {
    pub(crate) schedule: Schedule,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) policies: Policies,
    pub(crate) keys: Keys,
    pub(crate) notices: Notices,
}

/// What one run did.
#[derive(Default)]
struct Done {
    keys: u64,
    notices: usize,
    revoked: u64,
}

#[async_trait]
impl Job for DailyCheck {
    fn name(&self) -> &'static str {
        "daily_check"
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    async fn run(&self, turn: &Turn) -> Result<String, ServiceError> {
        let book = self.policies.book().await?;
        let mut done = Done::default();
        // Those that end, from now on, and then those that never do: no dead key is read.
        for mut after in [LifePlace::Ends(turn.now, String::new()), LifePlace::Endless(String::new())] {
            loop {
                let page = self.store.unexpired_keys(&after, PAGE).await?;
                let Some(last) = page.last() else { break };
                let id = last.id.to_string();
                after = last
                    .expires_at
                    .map_or_else(|| LifePlace::Endless(id.clone()), |end| LifePlace::Ends(end, id.clone()));
                self.look_at(&page, &book, turn, &mut done).await?;
            }
        }
        let forgotten =
            self.store.forget_notices(turn.now.plus_micros(-NOTICE_DAYS * MICROS_PER_DAY)).await?;
        let Done { keys, notices, revoked } = done;
        Ok(format!(
            "{keys} keys, {notices} notices, {revoked} revoked as unused, {forgotten} notices forgotten"
        ))
    }
}

impl DailyCheck {
    async fn look_at(
        &self,
        page: &[KeyRecord],
        book: &PolicyBook,
        turn: &Turn,
        done: &mut Done,
    ) -> Result<(), ServiceError> {
        let living: Vec<&KeyRecord> = page.iter().filter(|key| is_living(key, turn.now)).collect();
        let ids: Vec<KeyId> = living.iter().map(|key| key.id.clone()).collect();
        let uses = self.store.key_uses(&ids).await?;
        done.keys += ids.len() as u64;
        let (mut raised, mut unused) = (Vec::new(), Vec::new());
        for key in living {
            let policy = book.of_workspace(&key.workspace);
            let own = uses.iter().find(|(id, _)| *id == key.id).and_then(|(_, used)| used.last_used_at);
            if let Some(days) = policy.notice_due(key, turn.now).filter(|_| key.parent.is_none()) {
                raised.push(self.expiring(key, days)?);
            }
            // The line is read only for keys that look unused by themselves.
            let suspect = policy.unused_until(key, own).is_some_and(|at| at <= turn.now);
            let last_used = if suspect { self.last_used(key).await? } else { own };
            for breach in policy.breaches(key, last_used, turn.now) {
                if breach.consequence == Consequence::Revoked {
                    raised.push(self.unused(key, policy, last_used)?);
                    unused.push(key.id.clone());
                } else {
                    raised.push(self.breach(key, policy, breach)?);
                }
            }
        }
        self.tell(raised, turn, done).await?;
        for id in unused {
            self.keys.revoke(&id, RevocationReason::SecurityPolicy, false, &Caller::system()).await?;
            done.revoked += 1;
        }
        Ok(())
    }

    /// All notices of a page at once. Those that were raised before are left out by the store.
    async fn tell(&self, raised: Vec<Change>, turn: &Turn, done: &mut Done) -> Result<(), ServiceError> {
        if raised.is_empty() {
            return Ok(());
        }
        done.notices += raised.len();
        let event = AuditEvent::new(turn.now, Actor::System, "notice.raise", "daily_check");
        let event = event.with("notices", raised.len());
        let changes = std::iter::once(turn.hold()).chain(raised).collect();
        self.store.apply(changes, event).await?;
        Ok(())
    }

    /// When any key of the line was last used.
    async fn last_used(&self, key: &KeyRecord) -> Result<Option<Timestamp>, ServiceError> {
        let line: Vec<KeyId> = self.store.lineage(&key.lineage).await?.into_iter().map(|k| k.id).collect();
        let uses = self.store.key_uses(&line).await?;
        Ok(last_use_of_line(uses.iter().map(|(_, used)| used)))
    }

    fn expiring(&self, key: &KeyRecord, days: u32) -> Result<Change, ServiceError> {
        let expires_at = key.expires_at.unwrap_or_default();
        self.notices.raise(About::key(key), Notice::KeyExpiring { name: key.name.clone(), expires_at, days })
    }

    fn unused(
        &self,
        key: &KeyRecord,
        policy: &Policy,
        last_used_at: Option<Timestamp>,
    ) -> Result<Change, ServiceError> {
        let unused_days = policy.revoke_unused_days.unwrap_or_default();
        let notice = Notice::UnusedRevoked { name: key.name.clone(), unused_days, last_used_at };
        self.notices.raise(About::key(key), notice)
    }

    fn breach(&self, key: &KeyRecord, policy: &Policy, breach: Breach) -> Result<Change, ServiceError> {
        let what = match breach.rule {
            Rule::RotationDays => {
                format!("It is older than {} days and due for rotation.", policy.rotation_days)
            }
            Rule::RequireIp => "It may be used from any address; its policy demands a list.".to_owned(),
            Rule::Require => "It demands less than its policy.".to_owned(),
            Rule::ForbidCache => "It asks for the response cache, which its policy forbids.".to_owned(),
            Rule::MaxKeys | Rule::RequireMfa | Rule::RevokeUnusedDays | Rule::HandOver => {
                format!("It breaks the rule {}.", breach.rule.as_str())
            }
        };
        let (name, rule) = (key.name.clone(), breach.rule.as_str().to_owned());
        self.notices.raise(About::key(key), Notice::PolicyBreach { name, rule, what, deadline: breach.at })
    }
}

fn is_living(key: &KeyRecord, now: Timestamp) -> bool {
    matches!(key.state, KeyState::Active | KeyState::Suspended) && key.status(now) != KeyStatus::Expired
}

#[cfg(test)]
mod tests;
