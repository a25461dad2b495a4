//! Polling the change feed, which keeps the tables in memory true: once a second, whatever wakes it earlier.

use std::{sync::Arc, time::Duration};

use claviger_domain::{
    access_token::denial::DenialSubject,
    clock::{Clock, Timestamp},
    id::{KeyId, OwnerId, WorkspaceId},
    ports::{FeedEntry, FeedKind, FeedPage, Sealer, Store, StoreError},
    token::PublicId,
};
use tokio_util::sync::CancellationToken;

use crate::{
    ServiceError, bootstrap, budgets::Budgets, grants::Grants, health::Health, routes::Routes, tokens::Tokens,
};

/// How often the feed is polled.
const POLL: Duration = Duration::from_secs(1);
/// How soon a failed poll is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How long one poll may take, with everything that it makes necessary.
const POLL_TIMEOUT: Duration = Duration::from_secs(8);
/// Mutations a page.
const PAGE: u32 = 1_000;

/// The poller of the feed.
pub(crate) struct Feed {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) grants: Grants,
    pub(crate) routes: Routes,
    pub(crate) tokens: Tokens,
    pub(crate) budgets: Budgets,
    pub(crate) health: Health,
    /// The number up to which the tables are true.
    pub(crate) seq: i64,
}

impl Feed {
    /// The first reading: whatever is loaded from now on is at least as new as the feed is now.
    pub(crate) async fn begin(&mut self) -> Result<(), ServiceError> {
        let (sent, asked) = (self.clock.boot(), self.clock.now());
        let page = self.store.feed_after(i64::MAX, 1).await?;
        self.note_clock(asked, page.store_time);
        self.routes.rebuild().await?;
        self.tokens.reload().await?;
        self.seq = page.head;
        self.grants.note_seen(self.seq);
        self.grants.synced(sent);
        Ok(())
    }

    /// Polls until `stop`. A failed poll leaves the view as old as it is and is tried again soon.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let failed = match tokio::time::timeout(POLL_TIMEOUT, self.poll()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the store did not answer in time".to_owned()),
            };
            let pause = if failed.is_some() { RETRY } else { POLL };
            if let Some(error) = &failed {
                tracing::warn!(error, "the change feed could not be followed");
            }
            self.health.note_store(failed);
            self.grants.cut_due();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads what is new and applies it; only then does the view count as new, as of the moment the poll was sent.
    pub(crate) async fn poll(&mut self) -> Result<(), ServiceError> {
        loop {
            let (sent, asked) = (self.clock.boot(), self.clock.now());
            let page = self.store.feed_after(self.seq, PAGE).await?;
            self.note_clock(asked, page.store_time);
            let reached = self.follow(&page).await?;
            self.seq = reached;
            self.grants.note_seen(reached);
            if reached >= page.head {
                self.grants.synced(sent);
                return Ok(());
            }
        }
    }

    /// Applies one page; the number up to which the view is true then.
    async fn follow(&self, page: &FeedPage) -> Result<i64, ServiceError> {
        if !is_gapless(self.seq, page) {
            tracing::warn!(
                seq = self.seq,
                head = page.head,
                "part of the change feed is missing: reloading all"
            );
            self.grants
                .set_peppers(bootstrap::load_peppers(self.store.as_ref(), self.sealer.as_ref()).await?);
            self.grants.reload_all(page.head).await?;
            self.routes.rebuild().await?;
            self.tokens.reload().await?;
            self.budgets.reload().await?;
            return Ok(page.head);
        }
        let mut routes_changed = false;
        let mut secrets_changed = false;
        let mut token_keys_changed = false;
        let mut denied = Vec::new();
        let mut budgets_changed = false;
        for entry in &page.entries {
            match entry.kind {
                FeedKind::Key => self.key_changed(entry).await?,
                FeedKind::Workspace => match WorkspaceId::parse(&entry.id) {
                    Ok(id) => self.grants.workspace_changed(&id, entry.seq),
                    Err(_) => self.grants.reload_all(entry.seq).await?,
                },
                FeedKind::Owner => match OwnerId::parse(&entry.id) {
                    Ok(id) => self.grants.owner_changed(&id, entry.seq),
                    Err(_) => self.grants.reload_all(entry.seq).await?,
                },
                FeedKind::Upstream | FeedKind::Credential => routes_changed = true,
                FeedKind::Secret => secrets_changed = true,
                FeedKind::TokenKey => token_keys_changed = true,
                FeedKind::TokenDenial => denied.extend(DenialSubject::parse(&entry.id)),
                FeedKind::Budget => budgets_changed = true,
            }
        }
        if token_keys_changed {
            self.tokens.keys_changed().await?;
        }
        if !denied.is_empty() {
            self.tokens.denied_elsewhere(&denied).await?;
        }
        if secrets_changed {
            self.grants
                .set_peppers(bootstrap::load_peppers(self.store.as_ref(), self.sealer.as_ref()).await?);
        }
        if budgets_changed {
            self.budgets.reload().await?;
        }
        if routes_changed {
            self.routes.rebuild().await?;
        }
        Ok(page.entries.last().map_or(self.seq, |last| last.seq))
    }

    async fn key_changed(&self, entry: &FeedEntry) -> Result<(), StoreError> {
        let id = KeyId::parse(&entry.id).ok().and_then(|id| PublicId::of_key(&id));
        match id {
            Some(id) => self.grants.key_changed_elsewhere(id, entry.seq).await,
            None => self.grants.reload_all(entry.seq).await,
        }
    }

    /// How far this node's clock is from the store's, judged at the middle of the round trip.
    fn note_clock(&self, asked: Timestamp, store_time: Timestamp) {
        let half = self.clock.now().micros_since(asked) / 2;
        self.health.note_clock_offset(asked.plus_micros(half).micros_since(store_time));
    }
}

/// Whether the page begins right after `seq` and leaves no number out; an empty page must end where we stand.
fn is_gapless(seq: i64, page: &FeedPage) -> bool {
    if page.entries.is_empty() {
        return page.head == seq;
    }
    let follows = |last: &mut i64, entry: &FeedEntry| {
        let fits = entry.seq == *last || entry.seq == *last + 1;
        *last = entry.seq;
        Some(fits)
    };
    page.entries[0].seq == seq + 1 && page.entries.iter().scan(seq, follows).all(|fits| fits)
}

#[cfg(test)]
mod tests;
