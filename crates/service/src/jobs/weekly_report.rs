//! The weekly rotation report: made, kept and sent in one transaction.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use claviger_domain::{
    audit::{Actor, AuditEvent},
    clock::{Entropy, MICROS_PER_DAY, Timestamp},
    id::{OwnerId, ReportId, WorkspaceId},
    key::{KeyRecord, KeyStatus},
    notice::{About, Notice, delivery::DeliveryState},
    policy::Consequence,
    ports::{
        Change, KeyFilter, Store,
        lifecycle::RotationFilter,
        notices::{NoticeFilter, ReportRecord},
    },
    report::{DirectUseEntry, DirectUseSection, Entry, MAX_ENTRIES, RotationReport},
    schedule::Schedule,
};

use crate::{
    ServiceError,
    direct_use::{DirectUseWish, DirectUses},
    notices::Notices,
    policies::{Policies, PolicyBook},
    scheduler::{Job, Turn},
};

/// Keys that are looked at in one go.
const PAGE: u32 = 1_000;
/// Notices and rotations that are counted at most.
const MOST: u32 = 1_000;
const WEEK_MICROS: i64 = 7 * MICROS_PER_DAY;
/// Keys that expire within so many days are named.
const SOON_DAYS: i64 = 14;

/// Makes the report.
pub(crate) struct WeeklyReport {
    pub(crate) schedule: Schedule,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) policies: Policies,
    pub(crate) notices: Notices,
    pub(crate) direct_uses: DirectUses,
}

/// What keys are judged by.
struct Desk {
    book: PolicyBook,
    owners: HashMap<OwnerId, String>,
    workspaces: HashMap<WorkspaceId, String>,
    from: Timestamp,
    until: Timestamp,
}

#[async_trait]
impl Job for WeeklyReport {
    fn name(&self) -> &'static str {
        "weekly_report"
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    async fn run(&self, turn: &Turn) -> Result<String, ServiceError> {
        let desk = self.desk(turn).await?;
        let report = self.report(&desk).await?;
        let summary = report.summary();
        let record = ReportRecord {
            id: ReportId::generate(self.entropy.as_ref())?,
            from: desk.from,
            until: desk.until,
            made_at: turn.now,
            markdown: report.markdown(),
            html: report.html(),
            json: serde_json::to_string(&report).unwrap_or_default(),
        };
        let notice = Notice::WeeklyReport {
            report: record.id.clone(),
            from: desk.from,
            until: desk.until,
            summary: summary.clone(),
        };
        let event = AuditEvent::new(turn.now, Actor::System, "report.make", record.id.as_str());
        let changes = vec![
            turn.hold(),
            Change::InsertReport(Box::new(record)),
            self.notices.raise(About::everyone(), notice)?,
        ];
        self.store.apply(changes, event).await?;
        Ok(summary)
    }
}

impl WeeklyReport {
    async fn desk(&self, turn: &Turn) -> Result<Desk, ServiceError> {
        let until = turn.lease.slot;
        Ok(Desk {
            book: self.policies.book().await?,
            owners: self.store.owners().await?.into_iter().map(|o| (o.id, o.name)).collect(),
            workspaces: self.store.workspaces().await?.into_iter().map(|w| (w.id, w.name)).collect(),
            from: until.plus_micros(-WEEK_MICROS),
            until,
        })
    }

    async fn report(&self, desk: &Desk) -> Result<RotationReport, ServiceError> {
        let mut report = RotationReport {
            from: desk.from.to_rfc3339(),
            until: desk.until.to_rfc3339(),
            ..RotationReport::default()
        };
        let mut after = None;
        loop {
            let filter = KeyFilter { after: after.clone(), limit: PAGE, ..KeyFilter::default() };
            let page = self.store.keys(&filter).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            // What child keys do is their parents' affair.
            page.iter().filter(|key| key.parent.is_none()).for_each(|key| desk.count(key, &mut report));
        }
        let open = RotationFilter { open: true, limit: MOST, ..RotationFilter::default() };
        for rotation in self.store.rotations(&open).await? {
            let old = self.store.key(&rotation.old).await?;
            let ends = rotation
                .started_at
                .plus_micros(i64::try_from(rotation.overlap_secs).unwrap_or(0) * 1_000_000);
            let note = format!("{}: {}", rotation.state.as_str(), rotation.successor);
            old.iter().for_each(|key| report.under_way.add(|| desk.entry(key, ends, &note)));
        }
        let dead = NoticeFilter { state: Some(DeliveryState::Dead), limit: MOST, ..NoticeFilter::default() };
        report.direct_use = self.direct_use().await;
        report.undelivered = self.store.notices(&dead).await?.len() as u64;
        Ok(report)
    }
}

impl WeeklyReport {
    /// Who uses the provider's keys past us; `None`: there is no account to ask. A provider that does not answer holds
    /// no report up.
    async fn direct_use(&self) -> Option<DirectUseSection> {
        if !self.direct_uses.can_ask() {
            return None;
        }
        let found = match self.direct_uses.report(&DirectUseWish::default()).await {
            Ok(found) => found,
            Err(error) => return Some(DirectUseSection::Unknown { why: error.to_string() }),
        };
        let mut keys: Vec<DirectUseEntry> = Vec::new();
        let mut count = 0;
        for (account, used) in found.passing_by() {
            count += 1;
            if keys.len() == MAX_ENTRIES {
                continue;
            }
            let key = used.api_key.as_ref();
            let day = used.last_direct.unwrap_or_default().saturating_mul(MICROS_PER_DAY);
            keys.push(DirectUseEntry {
                upstream: account.upstream_name.clone(),
                name: key.map_or_else(|| "(no key)".to_owned(), |key| key.name.clone()),
                hint: key.map_or_else(String::new, |key| key.hint.clone()),
                credential: found.sealed_as(used),
                input_tokens: used.direct.all_input_tokens(),
                output_tokens: used.direct.output_tokens,
                last_day: Timestamp::from_micros(day).to_rfc3339().chars().take(10).collect(),
            });
        }
        Some(DirectUseSection::Known { count, keys })
    }
}

impl Desk {
    fn count(&self, key: &KeyRecord, report: &mut RotationReport) {
        let in_week = |at: Timestamp| self.from <= at && at < self.until;
        if in_week(key.created_at) {
            report.created += 1;
            if let Some(old) = &key.rotated_from {
                report.rotated.add(|| self.entry(key, key.created_at, &format!("from {old}")));
            }
        }
        if let Some(revocation) = key.revocation.filter(|r| in_week(r.at)) {
            report.revoked.add(|| self.entry(key, revocation.at, revocation.reason.as_str()));
        }
        let status = key.status(self.until);
        if matches!(status, KeyStatus::Revoked | KeyStatus::Expired | KeyStatus::Purged) {
            return;
        }
        report.live += 1;
        let soon = self.until.plus_micros(SOON_DAYS * MICROS_PER_DAY);
        if let Some(at) = key.expires_at.filter(|at| *at <= soon) {
            report.expiring.add(|| self.entry(key, at, status.as_str()));
        }
        let breaches = self.book.of_workspace(&key.workspace).breaches(key, None, self.until);
        let due = breaches.into_iter().find(|breach| breach.consequence == Consequence::RotationDue);
        if let Some(at) = due.and_then(|breach| breach.at) {
            report.due.add(|| self.entry(key, at, status.as_str()));
        }
    }

    fn entry(&self, key: &KeyRecord, at: Timestamp, note: &str) -> Entry {
        Entry {
            key_id: key.id.to_string(),
            name: key.name.clone(),
            owner: self.owners.get(&key.owner).cloned().unwrap_or_else(|| key.owner.to_string()),
            workspace: self
                .workspaces
                .get(&key.workspace)
                .cloned()
                .unwrap_or_else(|| key.workspace.to_string()),
            at: at.to_rfc3339(),
            note: note.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
