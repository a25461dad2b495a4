//! What bad input gets: one answer to strangers, a clear one to callers, and nothing is spent.

mod bodies;
mod clients;
mod config;
mod keys;

use crate::{
    house::{Claviger, Key, Sim},
    wire::{self, Answer},
};

/// A gateway before a simulator that must never be asked.
struct Guarded {
    sim: Sim,
    node: Claviger,
    key: Key,
}

impl Guarded {
    fn start() -> Self {
        let sim = Sim::start();
        let node = Claviger::before(&sim, &[]);
        let key = node.key(&[]);
        Self { sim, node, key }
    }

    /// One answer to these bytes.
    fn ask(&self, request: &[u8]) -> Answer {
        wire::ask(self.node.gateway(), request)
    }

    /// Nothing reached the upstream, and the gateway still serves.
    fn nothing_was_spent(&self) {
        assert_eq!(self.sim.log().len(), 0, "something reached the upstream");
        let answer = wire::message(self.node.gateway(), &self.key.key, &wire::say("still there"));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
