//! An answer that is on its way to its own caller, written down beside.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use claviger_domain::{clock::BootInstant, id::RequestId, money::PicoUsd};

use super::{Answer, Inner, Lead, Piece};

/// What is known of an answer once it is whole.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The request by whose call it was made.
    pub call: RequestId,
    /// The model that made it.
    pub model: String,
    /// What that call cost.
    pub cost: PicoUsd,
}

/// An answer that is being written down. Dropped before its end, it never was: the next in line calls.
pub struct Recording {
    /// `None`: it was too much.
    lead: Option<Lead>,
    head: Vec<(String, Bytes)>,
    body: Vec<u8>,
    pieces: Vec<Piece>,
    began: BootInstant,
    /// Its part of the memory for answers on their way.
    share: Share,
}

/// Given back when it is dropped.
struct Share {
    inner: Arc<Inner>,
    bytes: usize,
}

impl Share {
    /// Takes as much as is held now, unless that is too much.
    fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let most = self.inner.most_recording;
        let fits = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= most);
        let grown = self.inner.recording.fetch_update(Ordering::AcqRel, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes += more;
        }
        grown
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.inner.recording.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Recording {
    /// Begins with the head.
    #[must_use]
    pub fn begin(lead: Lead, head: Vec<(String, Bytes)>) -> Self {
        let inner = Arc::clone(&lead.inner);
        let began = inner.clock.boot();
        let share = Share { inner, bytes: 0 };
        Self { lead: Some(lead), head, body: Vec::new(), pieces: Vec::new(), began, share }
    }

    /// The next bytes. They are copied: what they lie in is larger, and kept for longer than they should be.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.lead.is_none() || bytes.is_empty() {
            return;
        }
        self.body.extend_from_slice(bytes);
        let ms = self.share.inner.clock.boot().micros_since(self.began) / 1_000;
        self.pieces.push(Piece {
            end: u32::try_from(self.body.len()).unwrap_or(u32::MAX),
            at_ms: u32::try_from(ms).unwrap_or(u32::MAX),
        });
        let held = self.body.capacity() + self.pieces.capacity() * size_of::<Piece>();
        let fits = self.body.len() <= self.share.inner.keeping.largest() && self.share.grow_to(held);
        if !fits {
            // Those who wait need not wait for its end.
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        if let Some(lead) = self.lead.take() {
            lead.unkept();
        }
        (self.body, self.pieces) = (Vec::new(), Vec::new());
    }

    /// It is whole, and may be given to others.
    pub fn keep(mut self, kept: Kept) {
        let Some(lead) = self.lead.take() else { return };
        let Kept { call, model, cost } = kept;
        let answer = Answer {
            workspace: lead.asking.workspace.clone(),
            call,
            model,
            cost,
            head: std::mem::take(&mut self.head),
            body: std::mem::take(&mut self.body).into_boxed_slice().into(),
            pieces: std::mem::take(&mut self.pieces).into_boxed_slice(),
            made: self.share.inner.clock.boot(),
            ttl: lead.asking.ttl,
        };
        lead.keep(Arc::new(answer));
    }

    /// It is over, and may not.
    pub fn unkept(mut self) {
        self.give_up();
    }
}
