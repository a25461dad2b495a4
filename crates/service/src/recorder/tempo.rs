//! How briskly records come. Where many come in a row, a commit that waits for a moment takes several of them, and
//! each costs a part of what it costs alone; where few come, nobody is kept waiting.

use std::time::Duration;

use tokio::time::Instant;

/// How long records are counted before their rate is judged.
const WINDOW: Duration = Duration::from_millis(20);
/// Records a second, intents and rows, from which on they are gathered.
const BRISK_PER_SEC: u128 = 1_500;
/// How long they are gathered.
const GATHER: Duration = Duration::from_micros(500);

/// The rate of the records of the last window.
#[derive(Debug)]
pub(super) struct Tempo {
    since: Instant,
    records: u128,
    is_brisk: bool,
}

impl Tempo {
    pub(super) const fn begins(now: Instant) -> Self {
        Self { since: now, records: 0, is_brisk: false }
    }

    /// So many records went into a group.
    pub(super) fn count(&mut self, records: usize, now: Instant) {
        self.records += records as u128;
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            self.is_brisk = self.records * 1_000_000 >= BRISK_PER_SEC * passed.as_micros();
            (self.since, self.records) = (now, 0);
        }
    }

    /// How long the next group should gather; `None`: not at all.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.is_brisk.then_some(GATHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of one record, so many a second for a while.
    fn after(tempo: &mut Tempo, begun: Instant, per_sec: u32) -> (Option<Duration>, Instant) {
        let gap = Duration::from_secs(1) / per_sec;
        let mut now = begun;
        for _ in 0..100 {
            now += gap;
            tempo.count(1, now);
        }
        (tempo.pause(), now)
    }

    #[test]
    fn records_are_gathered_only_while_many_come() {
        let begun = Instant::now();
        let mut tempo = Tempo::begins(begun);
        assert_eq!(tempo.pause(), None);
        let (pause, now) = after(&mut tempo, begun, 1_000);
        assert_eq!(pause, None);
        let (pause, now) = after(&mut tempo, now, 4_000);
        assert_eq!(pause, Some(GATHER));
        assert_eq!(after(&mut tempo, now, 300).0, None);
    }
}
