//! The stated rule, as the documentation has it, and what was seen.

use std::collections::HashSet;

use claviger_domain::{
    clock::Timestamp,
    signature::{SKEW_SECS, SignatureError, nonce::KEPT_SECS},
};
use claviger_service::nonces::NonceRefusal;

use crate::clients::{Id, Request};

/// How far clocks may be apart when a loss is dated, in seconds.
const APART_SECS: i64 = 5;

/// Why a gateway refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    Signature(SignatureError),
    Nonce(NonceRefusal),
}

/// One request at one node.
#[derive(Debug)]
pub struct Told {
    pub request: std::sync::Arc<Request>,
    /// The node's time when its head came, in seconds.
    pub arrived_secs: i64,
    /// And when its body had ended.
    pub judged: Timestamp,
    /// The secret had been refused when the head came.
    pub is_over: bool,
    pub verdict: Result<(), Refused>,
}

#[derive(Debug, Default)]
pub struct Count {
    pub sent: u64,
    pub accepted: u64,
    /// Replays that were refused, by the nonce or by something else.
    pub replays: u64,
    pub replays_by_nonce: u64,
    /// Fresh ones that were refused, by the rule.
    pub by_clock: u64,
    pub by_loss: u64,
    pub by_outage: u64,
    pub by_secret: u64,
    /// Fresh ones that were accepted within two seconds of an edge, and replays that were refused there.
    pub at_edges: u64,
    pub losses: u64,
    pub restarts: u64,
}

/// Knows what was accepted, and when something was lost.
#[derive(Default)]
pub struct Referee {
    accepted: HashSet<Id>,
    /// Nobody told whether these were: the store was away.
    uncertain: HashSet<Id>,
    /// The last loss, at the latest, in seconds.
    lost_secs: Option<i64>,
    pub outage: bool,
    pub count: Count,
    seed: u64,
}

impl Referee {
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Something was lost, not later than this by any clock.
    pub fn lose(&mut self, at_secs: i64) {
        self.lost_secs = Some(at_secs);
    }

    /// Judges what came at the same time.
    pub fn judge(&mut self, all: &[Told]) {
        for told in all.iter().filter(|told| told.verdict.is_ok()) {
            let id = told.request.id;
            assert!(
                self.accepted.insert(id),
                "a replay was accepted: {told:?}, seed {}: {:?}",
                self.seed,
                self.count
            );
            assert!(!out_of_time(told), "accepted out of its time: {told:?}, seed {}", self.seed);
            self.count.accepted += 1;
            self.count.at_edges += u64::from(is_at_an_edge(told));
        }
        for told in all {
            if let Err(refused) = &told.verdict {
                self.refused(told, refused);
            }
        }
    }

    fn refused(&mut self, told: &Told, refused: &Refused) {
        let id = told.request.id;
        if self.accepted.contains(&id) || self.uncertain.contains(&id) {
            self.count.replays += 1;
            self.count.replays_by_nonce += u64::from(*refused == Refused::Nonce(NonceRefusal::Replayed));
            self.count.at_edges += u64::from(is_at_an_edge(told));
            return;
        }
        let fits = match refused {
            Refused::Signature(SignatureError::Skew { .. } | SignatureError::Late)
            | Refused::Nonce(NonceRefusal::Late(_)) => {
                self.count.by_clock += 1;
                out_of_time(told)
            }
            Refused::Signature(SignatureError::Mismatch | SignatureError::NoSigner) => {
                self.count.by_secret += 1;
                told.is_over
            }
            Refused::Nonce(NonceRefusal::Lost { .. }) => {
                self.count.by_loss += 1;
                let until = self.lost_secs.map(|at| at + APART_SECS);
                until.is_some_and(|until| {
                    told.request.made_at_secs <= until + SKEW_SECS
                        && told.request.signer_since.as_secs() <= until
                })
            }
            Refused::Nonce(NonceRefusal::Unavailable) => {
                self.count.by_outage += 1;
                self.uncertain.insert(id);
                self.outage
            }
            Refused::Signature(_) | Refused::Nonce(NonceRefusal::Replayed | NonceRefusal::TooMany { .. }) => {
                false
            }
        };
        assert!(
            fits,
            "fresh, and refused beyond the rule: {told:?}, lost {:?}, seed {}",
            self.lost_secs, self.seed
        );
    }

    /// That all of it really happened.
    pub fn finish(&self, wanted: u64) {
        println!("{:?}", self.count);
        let Count {
            accepted, replays, replays_by_nonce, by_clock, by_loss, at_edges, losses, restarts, ..
        } = self.count;
        assert!(accepted > wanted / 10 && replays > wanted / 5, "{:?}", self.count);
        assert!(replays_by_nonce > wanted / 20 && at_edges > wanted / 40, "{:?}", self.count);
        assert!(by_clock > wanted / 100 && losses > 0 && restarts > 0, "{:?}", self.count);
        assert!(by_loss > 0, "{:?}", self.count);
    }
}

/// Too far from the node's time when it came, or judged too late.
fn out_of_time(told: &Told) -> bool {
    let made = told.request.made_at_secs;
    let judged = told.judged.as_secs();
    (made - told.arrived_secs).abs() > SKEW_SECS || judged - made > KEPT_SECS || made - judged > SKEW_SECS
}

fn is_at_an_edge(told: &Told) -> bool {
    let made = told.request.made_at_secs;
    let (arrived, judged) = (told.arrived_secs - made, told.judged.as_secs() - made);
    (arrived.abs() - SKEW_SECS).abs() <= 2 || (judged - KEPT_SECS).abs() <= 2
}
