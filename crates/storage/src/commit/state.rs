//! What the writer of a data chain keeps in memory, and how it is found again.

use std::collections::{HashMap, HashSet};

use claviger_domain::{
    audit::{DataRecord, Digest},
    clock::{MICROS_PER_SEC, Timestamp},
    id::{IntentId, NodeId},
    ledger::{Group, Intent, LedgerRow},
    ports::StoreError,
};

use crate::{
    chains::{self, ChainNo, ChainRow, DATA_CHAIN},
    engine::{Db, Tx, args, read},
    failure::Failure,
    fold::Pending,
    intents::{self, OpenIntent},
    ledger, nodes,
};

/// Totals are written about this often.
const FOLD_EVERY_US: i64 = MICROS_PER_SEC;
/// An intent that is open for longer is carried over into the newest group.
const CARRY_AFTER_US: i64 = 30 * MICROS_PER_SEC;

/// Where one chain stands.
#[derive(Debug)]
pub(crate) struct ChainState {
    pub no: ChainNo,
    node: NodeId,
    pub length: i64,
    pub head: Digest,
    /// The id of the newest ledger row.
    pub last_row: i64,
    /// Intents whose end is not known: as many as calls are in flight.
    pub open: HashMap<IntentId, OpenIntent>,
    previous: Digest,
    at: Timestamp,
    folded: i64,
    swept: i64,
    pending: Pending,
    last_fold: Timestamp,
}

/// A settlement of an intent that another incarnation left.
#[derive(Debug, Clone)]
pub(crate) struct Orphan {
    pub id: IntentId,
    /// Nobody settled it before.
    pub first: bool,
}

/// Intents that other incarnations left, and whether this one has settled them.
#[derive(Debug, Default)]
pub(crate) struct Orphans(HashMap<IntentId, bool>);

impl Orphans {
    /// Which of them the group settles.
    pub fn settled_by(&self, group: &Group) -> Vec<Orphan> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let ids = group.rows.iter().filter_map(|row| row.intent.as_ref()).chain(&group.released);
        let known = |id: &IntentId| self.0.get(id).map(|settled| Orphan { id: id.clone(), first: !settled });
        ids.filter_map(known).collect()
    }

    /// Those of an incarnation that was taken over meanwhile.
    pub fn add(&mut self, intents: &[Intent]) {
        for intent in intents {
            self.0.entry(intent.id.clone()).or_default();
        }
    }

    /// Remembers that they are settled now.
    pub fn mark(&mut self, settled: Vec<Orphan>) {
        for orphan in settled {
            self.0.insert(orphan.id, true);
        }
    }
}

/// The one writer of a process. It holds one chain, as there is one a process.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    chain: Option<(NodeId, ChainState)>,
    orphans: Orphans,
}

impl Writer {
    /// What is in memory may not be what is stored.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Lets totals that are due with this group wait until they are due again; whether any were.
    pub fn puts_fold_off(&mut self, group: &Group) -> bool {
        let state = self.chain.as_mut().filter(|(id, _)| *id == group.chain).map(|(_, state)| state);
        let Some(state) = state.filter(|state| state.is_fold_due(group.at)) else { return false };
        state.last_fold = group.at;
        true
    }

    /// These are settled by this incarnation, too.
    pub fn inherit(&mut self, intents: &[Intent]) {
        self.orphans.add(intents);
    }

    /// The chain's state, from memory or from the store.
    pub async fn load(
        &mut self,
        db: &Db,
        chain: &NodeId,
    ) -> Result<(&mut ChainState, &mut Orphans), StoreError> {
        if self.chain.as_ref().is_none_or(|(id, _)| id != chain) {
            let orphans = intents::orphans(db, Some(chain)).await?;
            self.orphans = Orphans(orphans.into_iter().map(|intent| (intent.id, false)).collect());
            self.chain = Some((chain.clone(), ChainState::load(db, chain).await?));
        }
        let (_, state) = self.chain.as_mut().ok_or(StoreError::Conflict { what: DATA_CHAIN })?;
        Ok((state, &mut self.orphans))
    }
}

/// What of a group really went in.
pub(crate) struct Committed<'a> {
    pub record: &'a DataRecord,
    /// Its open intents, packed.
    pub fresh: Vec<(IntentId, Box<[u8]>)>,
    /// Intents of earlier groups that it took over.
    pub carried: &'a HashSet<IntentId>,
    pub rows: &'a [LedgerRow],
}

impl ChainState {
    /// From what is stored. A chain that is not open is a conflict.
    async fn load(db: &Db, chain: &NodeId) -> Result<Self, StoreError> {
        let mut tx = db.snapshot().await?;
        let row = chains::find(&mut tx, chain).await?.filter(|row| row.closed_at.is_none());
        let row = row.ok_or(StoreError::Conflict { what: DATA_CHAIN })?;
        let newest = chains::last_record(&mut tx, row.no).await?;
        let before = match newest {
            Some(newest) => chains::record(&mut tx, row.no, newest.number - 1).await?,
            None => None,
        };
        let open = intents::open_of(&mut tx, &row).await?;
        Ok(Self {
            no: row.no,
            node: chain.clone(),
            length: newest.map_or(0, |r| r.number),
            head: newest.map_or(Digest::EMPTY, |r| r.head),
            last_row: newest.map_or(row.no.base(), |r| r.last_row()),
            open: open.into_iter().map(|(id, (open, _))| (id, open)).collect(),
            previous: before.map_or(Digest::EMPTY, |r| r.head),
            at: newest.map_or(row.opened_at, |r| r.at),
            folded: row.folded,
            swept: row.swept,
            pending: unfolded(&mut tx, &row).await?,
            last_fold: newest.map_or(row.opened_at, |r| r.at),
        })
    }

    /// Whether the group is the newest one that is stored: its commit had succeeded, but nobody was told.
    pub fn is_newest(&self, group: &Group) -> bool {
        self.length > 0
            && group.number == self.length
            && group.at == self.at
            && group.previous == self.previous
    }

    /// Whether there are totals to write at all.
    pub fn is_unfolded(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether it is time to write totals. A clock that went back counts as time passed.
    pub fn is_fold_due(&self, at: Timestamp) -> bool {
        let waits = !self.pending.is_empty() || self.swept < self.length;
        waits && !(0..FOLD_EVERY_US).contains(&at.micros_since(self.last_fold))
    }

    /// Intents that have been open for so long that they are carried over.
    pub fn overdue(&self, at: Timestamp) -> HashSet<IntentId> {
        let old = self.open.iter().filter(|(_, open)| at.micros_since(open.since) >= CARRY_AFTER_US);
        old.map(|(id, _)| id.clone()).collect()
    }

    /// The newest group with everything up to it settled, once these are carried over.
    pub fn swept_after(&self, carried: &HashSet<IntentId>) -> i64 {
        let open = self.open.iter().filter(|(id, _)| !carried.contains(*id));
        open.map(|(_, open)| open.group - 1).min().unwrap_or(self.length).max(self.swept)
    }

    /// Writes the totals of all rows so far, and deletes packed intents that are settled.
    pub async fn write_pending(&self, tx: &mut Tx, swept: i64) -> Result<(), Failure> {
        self.pending.write(tx, &self.node).await?;
        let values = args![self.no.0, self.folded, self.length, self.last_row, swept];
        if tx.execute(chains::SET_FOLDED, values).await? != 1 {
            return Err(StoreError::Conflict { what: DATA_CHAIN }.into());
        }
        if swept > self.swept {
            let values = args![self.no.id(self.swept), self.no.id(swept)];
            tx.execute(intents::DELETE_BETWEEN, values).await?;
        }
        Ok(())
    }

    /// After [`ChainState::write_pending`] was committed.
    pub fn folded_at(&mut self, at: Timestamp, carried: &HashSet<IntentId>) {
        self.swept = self.swept_after(carried);
        self.folded = self.length;
        self.last_fold = at;
        self.pending = Pending::default();
    }

    /// After the group was committed.
    pub fn advance(&mut self, group: &Group, committed: Committed<'_>) {
        let Committed { record, fresh, carried, rows } = committed;
        for id in carried {
            if let Some(open) = self.open.get_mut(id) {
                open.group = group.number;
                open.since = group.at;
            }
        }
        for (id, packed) in fresh {
            self.open.insert(id, OpenIntent { group: group.number, since: group.at, packed });
        }
        for row in &group.rows {
            if let Some(id) = &row.intent {
                self.open.remove(id);
            }
        }
        for id in &group.released {
            self.open.remove(id);
        }
        for row in rows {
            self.pending.add(row);
        }
        self.length = group.number;
        self.previous = group.previous;
        self.head = record.head;
        self.at = group.at;
        self.last_row += record.rows;
    }
}

/// Totals of a chain's rows behind its mark.
pub(crate) async fn unfolded(tx: &mut Tx, chain: &ChainRow) -> Result<Pending, Failure> {
    let mut pending = Pending::default();
    tx.each(ledger::BETWEEN, args![chain.folded_row + 1, chain.no.end()], |row| {
        pending.add(&read("ledger", &row, ledger::record)?);
        Ok(())
    })
    .await?;
    Ok(pending)
}

/// Counts the rows that dead incarnations had not counted yet: about one second of traffic each.
pub(crate) async fn fold_dead(db: &Db) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    for chain in chains::rows(&mut tx, chains::UNFOLDED).await? {
        if !nodes::lives(&mut tx, &chain.chain).await? {
            fold_rest(&mut tx, &chain).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Counts the rows of a chain that nobody writes any more.
pub(crate) async fn fold_rest(tx: &mut Tx, chain: &ChainRow) -> Result<(), Failure> {
    let rest = unfolded(tx, chain).await?;
    let Some(newest) = chains::last_record(tx, chain.no).await? else { return Ok(()) };
    rest.write(tx, &chain.chain).await?;
    let values = args![chain.no.0, chain.folded, newest.number, newest.last_row(), chain.swept];
    match tx.execute(chains::SET_FOLDED, values).await? {
        1 => Ok(()),
        _ => Err(StoreError::Conflict { what: DATA_CHAIN }.into()),
    }
}
