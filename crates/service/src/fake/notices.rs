//! The fake store's notices and jobs.

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    id::{ChannelId, NoticeId, ReportId},
    notice::{
        NoticeRecord,
        channel::ChannelRecord,
        delivery::{DeliveryRecord, DeliveryState},
    },
    ports::{
        Change, StoreError,
        jobs::{JobClaim, JobEnd, JobLease, JobRecord, JobRun, JobStore},
        notices::{NoticeFilter, NoticeStore, ReportRecord},
    },
    upstream::ServiceState,
};

use super::{FakeStore, conflict};
use crate::lock::lock;

#[derive(Default)]
pub(crate) struct NoticeState {
    pub(crate) channels: Vec<ChannelRecord>,
    pub(crate) notices: Vec<NoticeRecord>,
    pub(crate) deliveries: Vec<DeliveryRecord>,
    pub(crate) reports: Vec<ReportRecord>,
    pub(crate) jobs: Vec<JobRecord>,
    pub(crate) runs: Vec<(String, JobRun)>,
}

impl NoticeState {
    /// Writes what is a notice's; gives back what is not.
    pub(super) fn write(&mut self, change: Change) -> Result<Option<Change>, StoreError> {
        match change {
            Change::RaiseNotice(notice) => self.raise(*notice),
            Change::InsertChannel(channel) => {
                if self.active().any(|c| c.name == channel.name) {
                    return Err(conflict("channel name"));
                }
                self.channels.push(*channel);
            }
            Change::UpdateChannel(mut channel) => {
                let place = self.channels.iter_mut().find(|c| c.id == channel.id);
                let place = place.filter(|c| c.version == channel.version).ok_or(conflict("channel name"))?;
                channel.version += 1;
                *place = *channel;
            }
            Change::UpdateDelivery(delivery) => self.put(&delivery)?,
            Change::InsertReport(report) => self.reports.push(*report),
            Change::HoldLease(lease) => {
                let holds = |j: &JobRecord| j.fencing == lease.fencing && j.running_slot == Some(lease.slot);
                if !self.jobs.iter().any(|j| j.name == lease.name && holds(j)) {
                    return Err(conflict("job lease"));
                }
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    fn active(&self) -> impl Iterator<Item = &ChannelRecord> {
        self.channels.iter().filter(|c| c.state == ServiceState::Active)
    }

    fn raise(&mut self, notice: NoticeRecord) {
        if notice.once.is_some() && self.notices.iter().any(|n| n.once == notice.once) {
            return;
        }
        let concerned = |c: &&ChannelRecord| {
            c.min_severity <= notice.severity
                && (c.workspace.is_none() || c.workspace == notice.about.workspace)
        };
        let deliveries: Vec<DeliveryRecord> = self
            .active()
            .filter(concerned)
            .map(|c| DeliveryRecord {
                notice: notice.id.clone(),
                channel: c.id.clone(),
                state: DeliveryState::Pending,
                attempts: 0,
                next_try_at: notice.raised_at,
                last_error: String::new(),
                done_at: None,
                version: 1,
            })
            .collect();
        self.deliveries.extend(deliveries);
        self.notices.push(notice);
    }

    fn put(&mut self, delivery: &DeliveryRecord) -> Result<(), StoreError> {
        let same = |d: &&mut DeliveryRecord| d.notice == delivery.notice && d.channel == delivery.channel;
        let place = self.deliveries.iter_mut().find(same).filter(|d| d.version == delivery.version);
        *place.ok_or(conflict("delivery"))? =
            DeliveryRecord { version: delivery.version + 1, ..delivery.clone() };
        Ok(())
    }

    fn due(&self, now: Timestamp) -> impl Iterator<Item = &DeliveryRecord> {
        self.deliveries.iter().filter(move |d| d.state == DeliveryState::Pending && d.next_try_at <= now)
    }

    fn held(&mut self, lease: &JobLease) -> Option<&mut JobRecord> {
        let held = |j: &&mut JobRecord| {
            j.name == lease.name && j.fencing == lease.fencing && j.running_slot.is_some()
        };
        self.jobs.iter_mut().find(held)
    }
}

#[async_trait]
impl NoticeStore for FakeStore {
    async fn channels(&self) -> Result<Vec<ChannelRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).notices.channels.clone())
    }

    async fn notice(&self, id: &NoticeId) -> Result<Option<NoticeRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).notices.notices.iter().find(|n| n.id == *id).cloned())
    }

    async fn notices(&self, filter: &NoticeFilter) -> Result<Vec<NoticeRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let newest = state.notices.notices.iter().rev();
        Ok(newest.take(filter.limit as usize).cloned().collect())
    }

    async fn deliveries(&self, notice: &NoticeId) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        Ok(state.notices.deliveries.iter().filter(|d| d.notice == *notice).cloned().collect())
    }

    async fn due_channels(&self, now: Timestamp) -> Result<Vec<ChannelId>, StoreError> {
        self.up()?;
        let mut due: Vec<ChannelId> = lock(&self.state).notices.due(now).map(|d| d.channel.clone()).collect();
        due.sort();
        due.dedup();
        Ok(due)
    }

    async fn due_deliveries(
        &self,
        channel: &ChannelId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let due = state.notices.due(now).filter(|d| d.channel == *channel);
        Ok(due.take(limit as usize).cloned().collect())
    }

    async fn put_delivery(&self, delivery: &DeliveryRecord) -> Result<(), StoreError> {
        self.up()?;
        lock(&self.state).notices.put(delivery)
    }

    async fn report(&self, id: Option<&ReportId>) -> Result<Option<ReportRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let wanted = |r: &&ReportRecord| id.is_none_or(|id| r.id == *id);
        Ok(state.notices.reports.iter().rev().find(wanted).cloned())
    }

    async fn forget_notices(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.up()?;
        let mut state = lock(&self.state);
        let all = state.notices.notices.len();
        state.notices.notices.retain(|n| n.raised_at >= before);
        Ok((all - state.notices.notices.len()) as u64)
    }
}

#[async_trait]
impl JobStore for FakeStore {
    async fn jobs(&self) -> Result<Vec<JobRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).notices.jobs.clone())
    }

    async fn job_runs(&self, name: &str, limit: u32) -> Result<Vec<JobRun>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let mut runs: Vec<JobRun> =
            state.notices.runs.iter().filter(|(job, _)| job == name).map(|(_, run)| run.clone()).collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.slot));
        runs.truncate(limit as usize);
        Ok(runs)
    }

    async fn add_job(&self, name: &str, next_run_at: Timestamp) -> Result<(), StoreError> {
        self.up()?;
        let jobs = &mut lock(&self.state).notices.jobs;
        if !jobs.iter().any(|j| j.name == name) {
            jobs.push(JobRecord {
                name: name.to_owned(),
                next_run_at,
                running_slot: None,
                lease_owner: String::new(),
                lease_until: Timestamp::default(),
                fencing: 0,
                attempts: 0,
                last_run_at: None,
                last_outcome: String::new(),
            });
        }
        Ok(())
    }

    async fn move_job(&self, seen: &JobRecord, next_run_at: Timestamp) -> Result<(), StoreError> {
        self.up()?;
        let jobs = &mut lock(&self.state).notices.jobs;
        if let Some(job) = jobs.iter_mut().find(|j| *j == seen && j.running_slot.is_none()) {
            job.next_run_at = next_run_at;
        }
        Ok(())
    }

    async fn claim_job(&self, claim: &JobClaim) -> Result<Option<JobLease>, StoreError> {
        self.up()?;
        let notices = &mut lock(&self.state).notices;
        let seen = &claim.seen;
        let same = |j: &&mut JobRecord| {
            j.name == seen.name && j.fencing == seen.fencing && j.next_run_at == seen.next_run_at
        };
        let Some(job) = notices.jobs.iter_mut().find(same) else { return Ok(None) };
        job.fencing += 1;
        job.next_run_at = claim.next_run_at;
        let fresh = job.running_slot.is_none();
        if fresh && notices.runs.iter().any(|(name, run)| *name == seen.name && run.slot == claim.slot) {
            return Ok(None);
        }
        job.attempts = if fresh { 1 } else { job.attempts + 1 };
        job.running_slot = Some(claim.slot);
        job.lease_owner = claim.owner.to_string();
        job.lease_until = claim.until;
        let lease = JobLease {
            name: seen.name.clone(),
            slot: claim.slot,
            fencing: job.fencing,
            attempts: job.attempts,
        };
        if fresh {
            let run =
                JobRun { slot: claim.slot, started_at: claim.now, finished_at: None, outcome: String::new() };
            notices.runs.push((seen.name.clone(), run));
        }
        Ok(Some(lease))
    }

    async fn renew_job(&self, lease: &JobLease, until: Timestamp) -> Result<bool, StoreError> {
        self.up()?;
        Ok(lock(&self.state).notices.held(lease).map(|job| job.lease_until = until).is_some())
    }

    async fn end_job(&self, lease: &JobLease, end: &JobEnd, now: Timestamp) -> Result<bool, StoreError> {
        self.up()?;
        let notices = &mut lock(&self.state).notices;
        let Some(job) = notices.held(lease) else { return Ok(false) };
        job.lease_owner.clear();
        match end {
            JobEnd::Done { outcome } => {
                (job.running_slot, job.attempts, job.lease_until) = (None, 0, Timestamp::default());
                (job.last_run_at, job.last_outcome) = (Some(now), outcome.clone());
                let run = notices.runs.iter_mut().find(|(j, r)| *j == lease.name && r.slot == lease.slot);
                if let Some((_, run)) = run {
                    (run.finished_at, run.outcome) = (Some(now), outcome.clone());
                }
            }
            JobEnd::Again { at, outcome } => {
                (job.lease_until, job.last_outcome) = (*at, outcome.clone());
            }
        }
        Ok(true)
    }
}
