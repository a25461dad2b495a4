//! Shares of budgets that were reached are told: each once a period, however often a node is started.

use std::{sync::Arc, time::Duration};

use claviger_domain::{
    audit::{Actor, AuditEvent},
    budget::{BudgetRecord, BudgetSubject, Crossed},
    money::usd_text,
    notice::{About, Notice},
};
use tokio_util::sync::CancellationToken;

use super::Budgets;
use crate::{ServiceError, lock::lock, notices::Notices};

/// How often what was reached is looked for.
const EVERY: Duration = Duration::from_secs(1);

impl Budgets {
    /// Tells until it is stopped, and then what is left.
    pub(crate) async fn tell(self, notices: Notices, stop: CancellationToken) {
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            if let Err(error) = self.tell_crossed(&notices).await {
                tracing::warn!(%error, "shares of budgets that were reached could not be told yet");
            }
            if stopped {
                return;
            }
        }
    }

    /// Raises a notice for each share that was reached since this was done last; what was told before is left out by
    /// the store. On failure all is kept for the next time.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub(crate) async fn tell_crossed(&self, notices: &Notices) -> Result<(), ServiceError> {
        let crossed = self.take_crossed();
        if crossed.is_empty() {
            return Ok(());
        }
        let told = self.raise(notices, &crossed).await;
        if told.is_err() {
            let mut untold = lock(&self.0.crossed);
            for crossed in crossed.into_iter().rev() {
                untold.push_front(crossed);
            }
        }
        told
    }

    /// Shares that were reached since this was asked last.
    pub(super) fn take_crossed(&self) -> Vec<Crossed> {
        lock(&self.0.crossed).drain(..).collect()
    }

    async fn raise(&self, notices: &Notices, crossed: &[Crossed]) -> Result<(), ServiceError> {
        let deps = &self.0.deps;
        let mut changes = Vec::with_capacity(crossed.len());
        for Crossed { record, window, percent, settled } in crossed {
            let (whose, about) = self.whose(record).await?;
            let notice = Notice::Budget {
                budget: record.id.clone(),
                whose,
                period: record.calendar.period(),
                window: *window,
                resets_at: record.calendar.window_at(*window).end,
                percent: *percent,
                limit: record.limit,
                settled_usd: usd_text(*settled),
                hard: record.hard,
            };
            changes.push(notices.raise(about, notice)?);
        }
        let event = AuditEvent::new(deps.clock.now(), Actor::System, "notice.raise", "budgets");
        deps.store.apply(changes, event.with("notices", crossed.len())).await?;
        Ok(())
    }

    /// Whose budget it is, in words and for channels.
    async fn whose(&self, record: &Arc<BudgetRecord>) -> Result<(String, About), ServiceError> {
        let store = &self.0.deps.store;
        Ok(match &record.subject {
            BudgetSubject::Key(id) => match store.key(id).await? {
                Some(key) => (format!("key \"{}\"", key.name), About::key(&key)),
                None => (format!("key {id}"), About { key: Some(id.clone()), ..About::default() }),
            },
            BudgetSubject::Owner(id) => {
                let owners = store.owners().await?;
                let owner = owners.into_iter().find(|owner| owner.id == *id);
                let name = owner.map_or_else(|| id.to_string(), |owner| owner.name);
                (format!("owner \"{name}\""), About { owner: Some(id.clone()), ..About::default() })
            }
            BudgetSubject::Workspace(id) => {
                let workspaces = store.workspaces().await?;
                let workspace = workspaces.into_iter().find(|workspace| workspace.id == *id);
                let name = workspace.map_or_else(|| id.to_string(), |workspace| workspace.name);
                (format!("workspace \"{name}\""), About { workspace: Some(id.clone()), ..About::default() })
            }
            BudgetSubject::All => ("the whole installation".to_owned(), About::everyone()),
        })
    }
}
