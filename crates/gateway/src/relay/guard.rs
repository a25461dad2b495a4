//! What a stream comes to while it passes, against what is held back for it. Only budgets in expected mode hold back less
//! than a call can cost: where they do, more is held back when it is needed, and when no more is left the stream is ended.

use claviger_claude_wire::sse::StreamMeter;
use claviger_domain::{budget::OverBudget, money::PicoUsd};

use crate::{reserve::Lease, settle::bill_stream};

/// Output tokens for which is held back ahead.
const AHEAD_TOKENS: i128 = 256;
/// Characters after which is looked again at the latest, where little is held back.
const CLOSE: u64 = 64;

/// Watches one stream.
#[derive(Debug, Default)]
pub struct Guard {
    /// Characters up to which what is held back is enough.
    enough_until: u64,
}

impl Guard {
    /// A guard for a call that can cost more than is held back for it; any other needs none.
    #[must_use]
    pub fn for_call(lease: &Lease) -> Option<Self> {
        lease.room().map(|_| Self::default())
    }

    /// Sees to it that what the stream has come to is held back.
    ///
    /// # Errors
    /// [`OverBudget`]: not as much is left. The stream is to be ended.
    pub fn look(&mut self, meter: &StreamMeter, lease: &mut Lease) -> Result<(), Box<OverBudget>> {
        if !meter.message.has_usage || meter.characters < self.enough_until {
            return Ok(());
        }
        let p = lease.particulars();
        let bill = bill_stream(&lease.shared().prices.load(), meter, p.model.as_deref(), p.at);
        let come_to = bill.cost.min(lease.reservation());
        let output_pico = lease.output_pico().max(1);
        if lease.room().is_some_and(|room| i128::from(come_to.as_pico()) > room) {
            lease.stretch(come_to, PicoUsd::saturating(output_pico.saturating_mul(AHEAD_TOKENS)))?;
        }
        self.enough_until = match lease.room() {
            None => u64::MAX,
            Some(room) => {
                // A token has four characters; it can cost twice its plain price.
                let tokens = (room - i128::from(come_to.as_pico())).max(0) / output_pico;
                let characters = u64::try_from(tokens.saturating_mul(2)).unwrap_or(u64::MAX);
                meter.characters.saturating_add(characters.max(CLOSE))
            }
        };
        Ok(())
    }
}
