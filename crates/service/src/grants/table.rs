//! The table of verified keys. It never goes back: a grant that was read before a change was made known here is not
//! put in after it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use claviger_domain::{
    clock::{BootInstant, Timestamp},
    grant::Grant,
    id::{OwnerId, WorkspaceId},
    key::KeyRecord,
    limit::UsedBefore,
    token::PublicId,
};
use quick_cache::sync::Cache;

use super::{KeyRuntime, LiveGrant, SubjectRuntime};
use crate::lock::lock;

/// Tombstones beyond this many are folded into the floor that holds for every key.
const TOMBSTONES: usize = 4_096;

/// Limit states are kept for at least so many keys, and for twice as many as there are grants.
const RUNTIMES: usize = 4_096;

/// What the store knows of the past of a key, its owner and its workspace.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UsedHere {
    pub(super) key: UsedBefore,
    pub(super) owner: UsedBefore,
    pub(super) workspace: UsedBefore,
}

/// Whose limit state is held already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knows {
    pub(super) key: bool,
    pub(super) owner: bool,
    pub(super) workspace: bool,
}

/// What time it is, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) wall: Timestamp,
    pub(super) boot: BootInstant,
}

pub(super) struct Table {
    grants: Cache<PublicId, Arc<LiveGrant>>,
    capacity: usize,
    known: Mutex<Known>,
}

/// What stays known of keys whose grant is not in the table.
#[derive(Default)]
struct Known {
    /// Every read as of an earlier feed number than this may be out of date.
    floor: i64,
    /// The same for single keys: the number of their last change.
    tombstones: HashMap<PublicId, i64>,
    runtimes: HashMap<PublicId, Arc<KeyRuntime>>,
    /// Of all keys of one owner.
    owners: HashMap<OwnerId, Arc<SubjectRuntime>>,
    /// Of all keys of one workspace.
    workspaces: HashMap<WorkspaceId, Arc<SubjectRuntime>>,
    /// By parent: the children that were used here, for what ends the parent ends their calls.
    families: HashMap<PublicId, Vec<Weak<KeyRuntime>>>,
    /// Revoked keys whose calls in flight are still let finish.
    ending: Vec<Arc<KeyRuntime>>,
}

impl Known {
    fn floor_of(&self, id: PublicId) -> i64 {
        self.tombstones.get(&id).copied().unwrap_or(0).max(self.floor)
    }

    fn bury(&mut self, id: PublicId, seq: i64) {
        if self.tombstones.len() >= TOMBSTONES {
            self.floor = self.tombstones.values().copied().fold(self.floor, i64::max);
            self.tombstones.clear();
        }
        let last = self.tombstones.entry(id).or_insert(seq);
        *last = (*last).max(seq);
    }

    /// Follows a key's revocation on whatever calls it and its children still have.
    fn follow(&mut self, key: &KeyRecord, now: Now) {
        let Some(revocation) = key.revocation else { return };
        let children = self.families.get(&key.public_id).into_iter().flatten().filter_map(Weak::upgrade);
        let own = self.runtimes.get(&key.public_id).map(Arc::clone);
        for runtime in own.into_iter().chain(children) {
            if !runtime.is_cut() && runtime.revoked(revocation, now.wall, now.boot) {
                self.ending.push(runtime);
            }
        }
    }

    /// Notes whose child a runtime is.
    fn join(&mut self, parent: PublicId, child: &Arc<KeyRuntime>) {
        let family = self.families.entry(parent).or_default();
        family.retain(|known| known.strong_count() > 0);
        if !family.iter().any(|known| known.as_ptr() == Arc::as_ptr(child)) {
            family.push(Arc::downgrade(child));
        }
    }

    /// Forgets runtimes that nothing uses once there are far too many. Their day counts come back from the store.
    fn prune(&mut self, most: usize) {
        if self.runtimes.len() > most {
            self.runtimes.retain(|_, runtime| Arc::strong_count(runtime) > 1);
            self.families.retain(|_, family| family.iter().any(|known| known.strong_count() > 0));
        }
        if self.owners.len() > most {
            self.owners.retain(|_, runtime| Arc::strong_count(runtime) > 1);
        }
        if self.workspaces.len() > most {
            self.workspaces.retain(|_, runtime| Arc::strong_count(runtime) > 1);
        }
    }
}

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        Self { grants: Cache::new(capacity.max(1)), capacity, known: Mutex::default() }
    }

    pub(super) fn get(&self, id: &PublicId) -> Option<Arc<LiveGrant>> {
        self.grants.get(id)
    }

    /// How many calls of this key are in flight.
    pub(super) fn in_flight(&self, id: &PublicId) -> u32 {
        lock(&self.known).runtimes.get(id).map_or(0, |runtime| runtime.in_flight())
    }

    /// Whether anything of this key is held, so that its changes matter here.
    pub(super) fn concerns(&self, id: &PublicId) -> bool {
        self.grants.contains_key(id) || self.has_runtime(id)
    }

    pub(super) fn has_runtime(&self, id: &PublicId) -> bool {
        lock(&self.known).runtimes.contains_key(id)
    }

    /// Whether a read of this key as of `as_of` is still true as far as is known here.
    pub(super) fn is_current(&self, id: PublicId, as_of: i64) -> bool {
        as_of >= lock(&self.known).floor_of(id)
    }

    /// Puts a grant in, unless a change that it does not know of was made known here meanwhile.
    pub(super) fn put(&self, grant: Grant, used: UsedHere, now: Now) -> Option<Arc<LiveGrant>> {
        let id = grant.key.public_id;
        let mut known = lock(&self.known);
        if grant.as_of < known.floor_of(id) {
            return None;
        }
        if let Some(present) = self.grants.peek(&id)
            && present.grant.as_of > grant.as_of
        {
            return Some(present);
        }
        known.prune(self.capacity.saturating_mul(2).max(RUNTIMES));
        let made = || Arc::new(KeyRuntime::new(now.wall, used.key));
        let runtime = Arc::clone(known.runtimes.entry(id).or_insert_with(made));
        let group = |used| move || Arc::new(SubjectRuntime::new(now.wall, used));
        let owner = known.owners.entry(grant.key.owner.clone()).or_insert_with(group(used.owner));
        let owner = Arc::clone(owner);
        let workspace = known.workspaces.entry(grant.key.workspace.clone());
        let workspace = Arc::clone(workspace.or_insert_with(group(used.workspace)));
        known.follow(&grant.key, now);
        let live = Arc::new(LiveGrant::new(grant, (runtime, owner, workspace)));
        self.grants.insert(id, Arc::clone(&live));
        Some(live)
    }

    /// A child's grant with its parent's as it is now. What ended the parent meanwhile ends the child's calls, too.
    pub(super) fn adopt(&self, child: &Arc<LiveGrant>, parent: Arc<LiveGrant>, now: Now) -> Arc<LiveGrant> {
        let (id, parent_id) = (child.grant.key.public_id, parent.grant.key.public_id);
        let adopted = Arc::new(child.within(parent));
        let mut known = lock(&self.known);
        known.join(parent_id, &child.runtime);
        if let Some(parent) = self.grants.peek(&parent_id) {
            known.follow(&parent.grant.key, now);
        }
        if self.grants.peek(&id).is_some_and(|present| Arc::ptr_eq(&present, child)) {
            self.grants.insert(id, Arc::clone(&adopted));
        }
        adopted
    }

    /// A change of this key was committed with this feed number; earlier reads of it are out of date.
    pub(super) fn bury(&self, id: PublicId, seq: i64) {
        let mut known = lock(&self.known);
        known.bury(id, seq);
        if self.grants.peek(&id).is_some_and(|present| present.grant.as_of < seq) {
            self.grants.remove(&id);
        }
    }

    /// This node changed the key itself: the change holds before the caller is told so.
    pub(super) fn changed(&self, key: &KeyRecord, seq: i64, now: Now) {
        let id = key.public_id;
        let mut known = lock(&self.known);
        known.bury(id, seq);
        known.follow(key, now);
        let Some(present) = self.grants.peek(&id) else { return };
        if present.grant.as_of < seq {
            let grant = Grant { key: key.clone(), as_of: seq, ..present.grant.clone() };
            self.grants.insert(id, Arc::new(LiveGrant::new(grant, present.runtimes())));
        }
    }

    /// Everything read before this feed number is out of date.
    pub(super) fn forget_before(&self, seq: i64) {
        self.forget(seq, |_| true);
    }

    /// The same for the keys of one workspace.
    pub(super) fn forget_of_workspace(&self, seq: i64, workspace: &WorkspaceId) {
        self.forget(seq, |key| key.workspace == *workspace);
    }

    /// The same for the keys of one owner.
    pub(super) fn forget_of_owner(&self, seq: i64, owner: &OwnerId) {
        self.forget(seq, |key| key.owner == *owner);
    }

    fn forget(&self, seq: i64, concerns: impl Fn(&KeyRecord) -> bool) {
        let mut known = lock(&self.known);
        known.floor = known.floor.max(seq);
        self.grants.retain(|_, live| live.grant.as_of >= seq || !concerns(&live.grant.key));
    }

    /// Whose limit state is held: what was used before is known there.
    pub(super) fn knows(&self, key: &KeyRecord) -> Knows {
        let known = lock(&self.known);
        Knows {
            key: known.runtimes.contains_key(&key.public_id),
            owner: known.owners.contains_key(&key.owner),
            workspace: known.workspaces.contains_key(&key.workspace),
        }
    }

    /// A grant as it would be put in: with the limit states that are held, and others in place of those that are not.
    pub(super) fn look(&self, grant: Grant, used: UsedHere, now: Timestamp) -> LiveGrant {
        let known = lock(&self.known);
        let key = known.runtimes.get(&grant.key.public_id).map(Arc::clone);
        let owner = known.owners.get(&grant.key.owner).map(Arc::clone);
        let workspace = known.workspaces.get(&grant.key.workspace).map(Arc::clone);
        drop(known);
        let group = |used| move || Arc::new(SubjectRuntime::new(now, used));
        let key = key.unwrap_or_else(|| Arc::new(KeyRuntime::new(now, used.key)));
        let owner = owner.unwrap_or_else(group(used.owner));
        LiveGrant::new(grant, (key, owner, workspace.unwrap_or_else(group(used.workspace))))
    }

    /// The keys that may have calls in flight here, or are held.
    pub(super) fn ids(&self) -> Vec<PublicId> {
        let known = lock(&self.known);
        known.runtimes.keys().copied().collect()
    }

    /// Cuts the calls of revoked keys whose grace is over.
    pub(super) fn cut_due(&self, boot: BootInstant) {
        lock(&self.known).ending.retain(|runtime| !runtime.cut_if_due(boot));
    }
}
