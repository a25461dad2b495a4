//! Finds what of a group the store refuses for good, so that the rest can be written.

use std::ops::Range;

use claviger_domain::{
    ledger::Group,
    ports::{LedgerStore, StoreError},
};

/// What of a group is left out: places in its lists, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LeftOut {
    pub(super) rows: Vec<usize>,
    pub(super) intents: Vec<usize>,
    pub(super) resources: Vec<usize>,
}

/// One thing that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Intent(usize),
    Row(usize),
    Resource(usize),
}

impl LeftOut {
    pub(super) const fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.intents.is_empty() && self.resources.is_empty()
    }

    fn of(mut pieces: Vec<Piece>) -> Self {
        let mut left_out = Self::default();
        for piece in pieces.drain(..) {
            match piece {
                Piece::Intent(i) => left_out.intents.push(i),
                Piece::Row(i) => left_out.rows.push(i),
                Piece::Resource(i) => left_out.resources.push(i),
            }
        }
        left_out
    }

    /// The group without it. The intents of its rows are released: what is set aside says what became of them, and a
    /// later start would only be refused the same row again.
    pub(super) fn taken_from(&self, group: &Group) -> Group {
        let ends = self.rows.iter().filter_map(|i| group.rows.get(*i)?.intent.clone());
        Group {
            intents: without(&group.intents, &self.intents),
            rows: without(&group.rows, &self.rows),
            released: group.released.iter().cloned().chain(ends).collect(),
            resources: without(&group.resources, &self.resources),
            ..bare(group)
        }
    }
}

fn without<T: Clone>(all: &[T], places: &[usize]) -> Vec<T> {
    let kept = all.iter().enumerate().filter(|(i, _)| places.binary_search(i).is_err());
    kept.map(|(_, one)| one.clone()).collect()
}

fn bare(group: &Group) -> Group {
    let (intents, rows, released, resources) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Group { chain: group.chain.clone(), intents, rows, released, resources, ..*group }
}

/// What the store refuses of a group that it has refused. Asks about halves, so that one bad row among `n` costs about
/// `2 log n` questions.
pub(super) async fn sift(ledger: &dyn LedgerStore, group: &Group) -> Result<LeftOut, StoreError> {
    let pieces: Vec<Piece> = (0..group.intents.len())
        .map(Piece::Intent)
        .chain((0..group.rows.len()).map(Piece::Row))
        .chain((0..group.resources.len()).map(Piece::Resource))
        .collect();
    let mut good = Group { released: group.released.clone(), ..bare(group) };
    if !takes(ledger, &good).await? {
        return Err(StoreError::Unavailable("the store refuses even an empty group".to_owned()));
    }
    let mut bad = Vec::new();
    let mut open: Vec<Range<usize>> = std::iter::once(0..pieces.len()).collect();
    while let Some(range) = open.pop() {
        let Some(some) = pieces.get(range.clone()).filter(|some| !some.is_empty()) else { continue };
        let wider = with(&good, group, some);
        if takes(ledger, &wider).await? {
            good = wider;
        } else if let [piece] = some {
            bad.push(*piece);
        } else {
            let middle = range.start + some.len() / 2;
            open.extend([middle..range.end, range.start..middle]);
        }
    }
    Ok(LeftOut::of(bad))
}

async fn takes(ledger: &dyn LedgerStore, group: &Group) -> Result<bool, StoreError> {
    match ledger.would_take(group).await {
        Ok(()) => Ok(true),
        Err(StoreError::Refused { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

fn with(good: &Group, group: &Group, pieces: &[Piece]) -> Group {
    let mut wider = good.clone();
    for piece in pieces {
        match *piece {
            Piece::Intent(i) => wider.intents.extend(group.intents.get(i).cloned()),
            Piece::Row(i) => wider.rows.extend(group.rows.get(i).cloned()),
            Piece::Resource(i) => wider.resources.extend(group.resources.get(i).cloned()),
        }
    }
    wider
}
