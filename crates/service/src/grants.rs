//! Who is this? Verified keys, held in memory and kept true by the change feed.
//!
//! While the view of the feed is fresh, a known key is verified without asking a store and without waiting. A view
//! older than `max_staleness` makes each request ask the store; a store that does not answer makes it 503. A grant
//! that was read before a revocation is never put back after it: tombstones carry the feed's number.

mod cut;
mod lookup;
mod runtime;
mod subject;
mod table;
mod told;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use claviger_domain::{
    clock::{BootInstant, Clock, MICROS_PER_DAY, Timestamp},
    grant::{AuthFailure, Forbidden, Grant},
    id::{KeyId, OwnerId, WorkspaceId},
    key::{KeyRecord, KeyState, cache::CacheTtl},
    limit::UsedBefore,
    mac::Peppers,
    permission::{Access, Endpoint},
    ports::{GrantRow, Sealer, Store, StoreError, UsedBy},
    proof::Proofs,
    signature::Signers,
    token::{PublicId, Token},
};

pub use cut::CutSignal;
use lookup::{Found, Lookups, Turn};
pub use runtime::{KeyRuntime, REVOCATION_GRACE_US};
pub use subject::{Counter, SubjectRuntime};
pub(crate) use subject::{SUBJECTS, Subject};
use table::{Now, Table, UsedHere};
pub use told::Told;

use crate::{ServiceError, signing};

/// How long the store may take to answer a look-up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a look-up is repeated when changes of the same key overtake it.
const LOOKUP_TRIES: u32 = 5;

/// A key as the hot path holds it: what may be done, and what is being done.
#[derive(Debug)]
pub struct LiveGrant {
    /// What the key may do. Its limits are those in force: lower than the record's once the key is far enough down the
    /// ladder of deprecation.
    pub grant: Grant,
    /// Its limit state, calls in flight and cut signal: the same for all grants of one key, across reloads.
    pub runtime: Arc<KeyRuntime>,
    /// Of a child key: its parent, whose rules and limits hold for it, too. Set on whatever [`Grants::verify`] gives
    /// out.
    pub parent: Option<Arc<LiveGrant>>,
    /// Limit state of all keys of its owner.
    owner: Arc<SubjectRuntime>,
    /// Limit state of all keys of its workspace.
    workspace: Arc<SubjectRuntime>,
    /// What every answer to this key's callers says beside; `None`: nothing.
    told: Option<Arc<Told>>,
}

impl LiveGrant {
    fn new(grant: Grant, (runtime, owner, workspace): Runtimes) -> Self {
        let told = Told::of(&grant).map(Arc::new);
        let limits = grant.key.limits_in_force();
        let mut grant = grant;
        grant.key.policy.limits = limits;
        Self { grant, runtime, parent: None, owner, workspace, told }
    }

    /// What outlives it.
    fn runtimes(&self) -> Runtimes {
        (Arc::clone(&self.runtime), Arc::clone(&self.owner), Arc::clone(&self.workspace))
    }

    /// What must be shown beside the key: by its own rules, its workspace's, and its parent's.
    #[must_use]
    pub fn demanded(&self) -> Proofs {
        let own = self.grant.key.policy.require.union(self.grant.demanded);
        self.parent.as_ref().map_or(own, |parent| own.union(parent.demanded()))
    }

    /// How old an answer out of the response cache may be; `None`: it is given none. By its own rules, its workspace's,
    /// and its parent's.
    #[must_use]
    pub fn cache(&self) -> Option<CacheTtl> {
        let own = self.grant.key.policy.cache.filter(|_| !self.grant.forbids_cache)?;
        match &self.parent {
            None => Some(own),
            Some(parent) => parent.cache().map(|ttl| ttl.min(own)),
        }
    }

    /// What its signatures are verified with: a child's with its parent's.
    #[must_use]
    pub fn signers(&self) -> &Signers {
        match &self.parent {
            Some(parent) if self.grant.signers.is_empty() => &parent.grant.signers,
            Some(_) | None => &self.grant.signers,
        }
    }

    /// The same child of this parent.
    fn within(&self, parent: Arc<Self>) -> Self {
        let (runtime, owner, workspace) = self.runtimes();
        let (grant, told) = (self.grant.clone(), self.told.clone());
        Self { grant, runtime, parent: Some(parent), owner, workspace, told }
    }

    /// What every answer to this key's callers says beside: that the key, or its parent, is on its way out.
    #[must_use]
    pub fn told(&self) -> Option<&Told> {
        self.told.as_deref().or_else(|| self.parent.as_ref().and_then(|parent| parent.told.as_deref()))
    }

    /// Whether the key may be used from this address, now, for this; a child, whether its parent may, too.
    ///
    /// # Errors
    /// The first [`Forbidden`].
    pub fn check_use(
        &self,
        ip: IpAddr,
        now: Timestamp,
        endpoint: Endpoint,
        access: Access,
    ) -> Result<(), Forbidden> {
        self.grant.check_use(ip, now, endpoint, access)?;
        self.parent.as_ref().map_or(Ok(()), |parent| parent.grant.check_use(ip, now, endpoint, access))
    }

    /// Whether the key may be used from this address, now, for anything at all; a child, whether its parent may, too.
    ///
    /// # Errors
    /// The first [`Forbidden`].
    pub fn check_place(&self, ip: IpAddr, now: Timestamp) -> Result<(), Forbidden> {
        self.grant.check_place(ip, now)?;
        self.parent.as_ref().map_or(Ok(()), |parent| parent.grant.check_place(ip, now))
    }

    /// Whether the model may be used; by a child, whether its parent may, too.
    #[must_use]
    pub fn allows_model(&self, model: &str) -> bool {
        let allows = |live: &Self| live.grant.key.policy.permissions.allows_model(model);
        allows(self) && self.parent.as_ref().is_none_or(|parent| allows(parent))
    }

    /// Whether there is a model that may not be used.
    #[must_use]
    pub fn limits_models(&self) -> bool {
        let limits = |live: &Self| !live.grant.key.policy.permissions.models.is_empty();
        limits(self) || self.parent.as_ref().is_some_and(|parent| limits(parent))
    }
}

/// What is going on with a key, its owner and its workspace.
type Runtimes = (Arc<KeyRuntime>, Arc<SubjectRuntime>, Arc<SubjectRuntime>);

/// Why a token was not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is not a working key: 401.
    #[error(transparent)]
    Auth(#[from] AuthFailure),
    /// The store would have to be asked and does not answer: 503.
    #[error("keys cannot be verified now: the store does not answer")]
    Unavailable,
    /// Too many unknown ids are being looked up at once: 529.
    #[error("too many unknown keys are being looked up")]
    Busy,
}

/// The table of verified keys.
#[derive(Clone)]
pub struct Grants(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    sealer: Arc<dyn Sealer>,
    clock: Arc<dyn Clock>,
    peppers: ArcSwap<Peppers>,
    table: Table,
    lookups: Lookups,
    max_staleness_us: u64,
    /// Boot time, in microseconds, at which the last poll that brought the view up to date was sent; 0: none yet.
    synced: AtomicU64,
    /// The feed's number up to which the view is true.
    seen: AtomicI64,
}

impl Grants {
    pub(crate) fn new(
        (store, sealer): (Arc<dyn Store>, Arc<dyn Sealer>),
        clock: Arc<dyn Clock>,
        peppers: Peppers,
        capacity: usize,
        max_staleness_us: u64,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            sealer,
            clock,
            peppers: ArcSwap::from_pointee(peppers),
            table: Table::new(capacity),
            lookups: Lookups::new(),
            max_staleness_us,
            synced: AtomicU64::new(0),
            seen: AtomicI64::new(0),
        }))
    }

    /// Finds and checks a key. For a known key and a fresh view no store is asked and nothing is awaited. Every failure
    /// costs the same work: one MAC.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn verify(&self, token: &Token) -> Result<Arc<LiveGrant>, VerifyError> {
        let Some(live) = self.find(token.public_id()).await? else {
            self.0.peppers.load().verify_nothing(token);
            return Err(AuthFailure::Unknown.into());
        };
        let live = self.0.judge(token, live)?;
        match &live.grant.key.parent {
            None => Ok(live),
            Some(parent) => self.with_parent(&live, parent).await,
        }
    }

    /// The key with this id, as it stands: for those who prove it by something that was bought with it. Nothing is
    /// awaited for a known key while the view is fresh.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn by_id(&self, id: &KeyId) -> Result<Arc<LiveGrant>, VerifyError> {
        let found = match PublicId::of_key(id) {
            Some(id) => self.find(id).await?,
            None => None,
        };
        let live = found.ok_or(AuthFailure::Unknown)?;
        live.grant.check_state(self.0.clock.now())?;
        match &live.grant.key.parent {
            None => Ok(live),
            Some(parent) => self.with_parent(&live, parent).await,
        }
    }

    /// Whatever refuses the parent refuses the child. A parent that is not known here is looked up, once.
    async fn with_parent(
        &self,
        live: &Arc<LiveGrant>,
        parent: &KeyId,
    ) -> Result<Arc<LiveGrant>, VerifyError> {
        let found = match PublicId::of_key(parent) {
            Some(id) => self.find(id).await?,
            None => None,
        };
        // Without a parent there is no child.
        let parent = found.ok_or(AuthFailure::Revoked)?;
        parent.grant.check_state(self.0.clock.now())?;
        if live.parent.as_ref().is_some_and(|known| Arc::ptr_eq(known, &parent)) {
            return Ok(Arc::clone(live));
        }
        Ok(self.0.table.adopt(live, parent, self.0.both_clocks()))
    }

    async fn find(&self, id: PublicId) -> Found {
        match self.0.table.get(&id) {
            Some(live) if self.is_fresh() => Ok(Some(live)),
            known => self.ask(id, known.is_some() || self.0.table.has_runtime(&id)).await,
        }
    }

    /// A key as it is held here; `None` when it was not used since the start, so that all its limits are untouched
    /// but for what the store knows of the day.
    #[must_use]
    pub fn held(&self, id: &KeyId) -> Option<Arc<LiveGrant>> {
        self.0.table.get(&PublicId::of_key(id)?)
    }

    /// A key as it stands, for whoever looks: as it is held here, or as it would be at its next use. Looking changes
    /// nothing, and uses no place in the table.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Unavailable`].
    pub async fn look_at(&self, id: &KeyId) -> Result<Arc<LiveGrant>, ServiceError> {
        let live = self.0.seen(id).await?.ok_or_else(|| ServiceError::not_found("key", id))?;
        let Some(parent) = &live.grant.key.parent else { return Ok(live) };
        let parent = self.0.seen(parent).await?;
        Ok(parent.map_or_else(|| Arc::clone(&live), |parent| Arc::new(live.within(parent))))
    }

    /// How many calls of a key are in flight here.
    #[must_use]
    pub fn in_flight(&self, id: &KeyId) -> u32 {
        PublicId::of_key(id).map_or(0, |id| self.0.table.in_flight(&id))
    }

    /// The number of the feed up to which this node's view is true.
    #[must_use]
    pub fn seen(&self) -> i64 {
        self.0.seen.load(Ordering::Acquire)
    }

    /// How long ago, in microseconds, the last successful poll of the feed was sent.
    #[must_use]
    pub fn view_age_us(&self) -> u64 {
        match self.0.synced.load(Ordering::Acquire) {
            0 => u64::MAX,
            sent => self.0.clock.boot().as_micros().saturating_sub(sent),
        }
    }

    /// Whether the view of the feed is within its bound.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.view_age_us() <= self.0.max_staleness_us
    }

    /// Asks the store about one key, or waits for whoever asks already.
    async fn ask(&self, id: PublicId, known: bool) -> Found {
        loop {
            if !known && self.0.lookups.is_absent(&id, self.0.clock.boot()) {
                return Ok(None);
            }
            match self.0.lookups.join(id, known) {
                Turn::Busy if known => return Err(VerifyError::Unavailable),
                Turn::Busy => return Err(VerifyError::Busy),
                Turn::Lead(lead) => {
                    let found = tokio::time::timeout(LOOKUP_TIMEOUT, self.0.load(id)).await;
                    return lead.finish(found.unwrap_or(Err(VerifyError::Unavailable)));
                }
                Turn::Follow(follow) => {
                    if let Some(found) = follow.outcome().await {
                        return found;
                    }
                }
            }
        }
    }
}

// === what keeps the table true: the feed and local changes ===

impl Grants {
    /// The view is up to date as of a poll sent at this moment.
    pub(crate) fn synced(&self, sent: BootInstant) {
        self.0.synced.fetch_max(sent.as_micros().max(1), Ordering::AcqRel);
    }

    /// The view is true up to this number of the feed.
    pub(crate) fn note_seen(&self, seq: i64) {
        self.0.seen.fetch_max(seq, Ordering::AcqRel);
    }

    /// This node committed a change of the key.
    pub(crate) fn key_changed(&self, key: &KeyRecord, seq: i64) {
        self.0.lookups.note_made(&key.public_id);
        self.0.table.changed(key, seq, self.0.both_clocks());
    }

    /// This node committed something that concerns the key beside its record: it is read anew when it is next used.
    pub(crate) fn key_outdated(&self, id: &KeyId, seq: i64) {
        if let Some(id) = PublicId::of_key(id) {
            self.0.table.bury(id, seq);
        }
    }

    /// The feed says that the key changed.
    pub(crate) async fn key_changed_elsewhere(&self, id: PublicId, seq: i64) -> Result<(), StoreError> {
        self.0.lookups.note_made(&id);
        if self.0.table.get(&id).is_some_and(|live| live.grant.as_of >= seq) {
            return Ok(());
        }
        let concerned = self.0.table.concerns(&id);
        self.0.table.bury(id, seq);
        if concerned { self.0.reload(id).await } else { Ok(()) }
    }

    /// A workspace changed: its keys are read anew when they are next used.
    pub(crate) fn workspace_changed(&self, workspace: &WorkspaceId, seq: i64) {
        self.0.table.forget_of_workspace(seq, workspace);
    }

    /// The policy of all workspaces that have none of their own changed: every key is read anew when it is next used.
    pub(crate) fn policy_changed(&self, seq: i64) {
        self.0.table.forget_before(seq);
    }

    /// An owner changed: its keys are read anew when they are next used.
    pub(crate) fn owner_changed(&self, owner: &OwnerId, seq: i64) {
        self.0.table.forget_of_owner(seq, owner);
    }

    /// Part of the feed was missed: nothing read before `head` is believed.
    pub(crate) async fn reload_all(&self, head: i64) -> Result<(), StoreError> {
        self.0.table.forget_before(head);
        for id in self.0.table.ids() {
            self.0.reload(id).await?;
        }
        Ok(())
    }

    /// Cuts the calls of revoked keys whose 30 s are over.
    pub(crate) fn cut_due(&self) {
        self.0.table.cut_due(self.0.clock.boot());
    }

    /// Replaces the peppers.
    pub(crate) fn set_peppers(&self, peppers: Peppers) {
        self.0.peppers.store(Arc::new(peppers));
    }

    /// The pepper for new keys, and older ones.
    pub(crate) fn peppers(&self) -> Arc<Peppers> {
        self.0.peppers.load_full()
    }
}

// === impl Inner ===

impl Inner {
    fn both_clocks(&self) -> Now {
        Now { wall: self.clock.now(), boot: self.clock.boot() }
    }

    /// The MAC first, whatever the state: strangers learn nothing from the time it takes.
    fn judge(&self, token: &Token, live: Arc<LiveGrant>) -> Result<Arc<LiveGrant>, VerifyError> {
        let key = &live.grant.key;
        let genuine = self.peppers.load().verify(token, &key.mac, key.pepper_version);
        if key.state == KeyState::Purged {
            return Err(AuthFailure::Revoked.into());
        }
        if !genuine {
            return Err(AuthFailure::WrongSecret.into());
        }
        live.grant.check_state(self.clock.now())?;
        Ok(live)
    }

    /// A key as it is held, or as it would be; it is not put into the table.
    async fn seen(&self, id: &KeyId) -> Result<Option<Arc<LiveGrant>>, StoreError> {
        let Some(id) = PublicId::of_key(id) else { return Ok(None) };
        if let Some(live) = self.table.get(&id) {
            return Ok(Some(live));
        }
        let (as_of, found) = self.store.key_for_grant(id).await?;
        let Some(found) = found else { return Ok(None) };
        let used = self.used_before(&found.key).await?;
        Ok(Some(Arc::new(self.table.look(self.granted(found, as_of), used, self.clock.now()))))
    }

    /// Reads a key until what was read is still true when it arrives.
    async fn load(&self, id: PublicId) -> Found {
        for _ in 0..LOOKUP_TRIES {
            let asked = self.clock.boot();
            let (as_of, found) = self.store.key_for_grant(id).await.map_err(refused)?;
            let Some(found) = found else {
                if self.table.is_current(id, as_of) {
                    self.lookups.note_absent(id, asked);
                    return Ok(None);
                }
                continue;
            };
            let used = self.used_before(&found.key).await.map_err(refused)?;
            let grant = self.granted(found, as_of);
            if let Some(live) = self.table.put(grant, used, self.both_clocks()) {
                return Ok(Some(live));
            }
        }
        Err(VerifyError::Unavailable)
    }

    async fn reload(&self, id: PublicId) -> Result<(), StoreError> {
        let (as_of, found) = self.store.key_for_grant(id).await?;
        if let Some(found) = found {
            let used = self.used_before(&found.key).await?;
            let grant = self.granted(found, as_of);
            // A change that overtook this read brings its own entry of the feed.
            let _ = self.table.put(grant, used, self.both_clocks());
        }
        Ok(())
    }

    fn granted(&self, row: GrantRow, as_of: i64) -> Grant {
        let GrantRow {
            key,
            workspace_archived,
            owner_limits,
            workspace_limits,
            succession,
            demanded,
            forbids_cache,
            signing,
        } = row;
        let signers = signing::unsealed(self.sealer.as_ref(), signing);
        Grant {
            key,
            workspace_archived,
            owner_limits,
            workspace_limits,
            succession,
            demanded,
            forbids_cache,
            signers,
            as_of,
        }
    }

    /// What a key, its owner and its workspace have used already, if this node meets them for the first time.
    async fn used_before(&self, key: &KeyRecord) -> Result<UsedHere, StoreError> {
        let since = Timestamp::from_micros(self.clock.now().utc_day().saturating_mul(MICROS_PER_DAY));
        let known = self.table.knows(key);
        let group = async |known: bool, by: UsedBy<'_>| match known {
            true => Ok(UsedBefore::default()),
            false => self.store.used_since(by, since).await,
        };
        Ok(UsedHere {
            key: if known.key { UsedBefore::default() } else { self.key_used_before(key, since).await? },
            owner: group(known.owner, UsedBy::Owner(&key.owner)).await?,
            workspace: group(known.workspace, UsedBy::Workspace(&key.workspace)).await?,
        })
    }

    async fn key_used_before(&self, key: &KeyRecord, since: Timestamp) -> Result<UsedBefore, StoreError> {
        let today = self.store.used_since(UsedBy::Key(&key.id), since).await?;
        let uses = self.store.key_uses(std::slice::from_ref(&key.id)).await?;
        let own = UsedBefore { uses: uses.first().map_or(0, |(_, used)| used.uses), ..today };
        if key.parent.is_some() {
            return Ok(own);
        }
        Ok(own.plus(self.store.used_by_children(&key.id, since).await?))
    }
}

fn refused(error: StoreError) -> VerifyError {
    tracing::warn!(%error, "a key could not be looked up");
    VerifyError::Unavailable
}

#[cfg(test)]
mod tests;
