//! How far a run has come: a bar on a terminal, a line now and then elsewhere.

use std::{cell::RefCell, io::IsTerminal, time::Duration};

use claviger_domain::money::usd_text;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{board::Board, pace::Pace};
use crate::cli::Context;

/// How often the bar is drawn.
const DRAWN: Duration = Duration::from_millis(250);
/// How often a line is written where nobody looks on.
const WRITTEN: Duration = Duration::from_secs(10);

/// Shows a run.
pub struct Progress<'a> {
    context: &'a Context,
    board: &'a Board,
    pace: &'a Pace,
    bar: Option<ProgressBar>,
    begun: Instant,
    /// What the provider says of its part.
    aside: RefCell<String>,
}

impl<'a> Progress<'a> {
    /// From now on.
    pub fn of(context: &'a Context, board: &'a Board, pace: &'a Pace) -> Self {
        let bar = (std::io::stderr().is_terminal() && !context.out.json).then(|| bar(board.total()));
        Self { context, board, pace, bar, begun: Instant::now(), aside: RefCell::default() }
    }

    /// Shows it again and again; never over.
    pub async fn show(&self) {
        let mut ticks = interval(if self.bar.is_some() { DRAWN } else { WRITTEN });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is at once, and nothing has happened yet.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.draw();
        }
    }

    fn draw(&self) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.board.done() as u64);
                bar.set_message(self.figures());
            }
            None => {
                let (done, total) = (self.board.done(), self.board.total());
                self.context.out.note(&format!("{done} of {total} answered: {}", self.figures()));
            }
        }
    }

    /// Says something beside it.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.context.out.note(text)),
            None => self.context.out.note(text),
        }
    }

    /// What is being waited for elsewhere.
    pub fn aside(&self, text: String) {
        *self.aside.borrow_mut() = text;
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Rate, cost, time left, and what is out of the ordinary.
    fn figures(&self) -> String {
        let done = self.board.done() - self.board.before;
        let rate = ratio(done, self.begun.elapsed());
        let mut parts = vec![format!("{rate:.1}/s"), format!("${}", cents(self.board.cost()))];
        let left = self.board.total() - self.board.done();
        if done > 0 && left > 0 {
            let wait = self.begun.elapsed().mul_f64(fraction(left, done));
            parts.push(format!("{} left", clock(wait)));
        }
        if self.board.failed() > 0 {
            parts.push(format!("{} failed", self.board.failed()));
        }
        if let Some(pause) = self.pace.paused() {
            parts.push(format!("waiting {} for a limit", clock(pause)));
        }
        let aside = self.aside.borrow();
        if !aside.is_empty() {
            parts.push(aside.clone());
        }
        parts.join(" · ")
    }
}

fn bar(total: usize) -> ProgressBar {
    // Draws on standard error.
    let bar = ProgressBar::new(total as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

fn fraction(part: usize, of: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    number(part) / number(of).max(1.0)
}

/// So many in a second.
fn ratio(count: usize, time: Duration) -> f64 {
    fraction(count, 1) / time.as_secs_f64().max(0.001)
}

/// Dollars to the hundredth of a cent: what changes while one looks on.
pub fn cents(pico: i128) -> String {
    let text = usd_text(pico);
    match text.split_once('.') {
        Some((whole, part)) => format!("{whole}.{:0<4}", part.chars().take(4).collect::<String>()),
        None => format!("{text}.0000"),
    }
}

/// Hours, minutes and seconds.
pub fn clock(span: Duration) -> String {
    let secs = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    match (hours, minutes) {
        (0, 0) => format!("{secs} s"),
        (0, _) => format!("{minutes}:{secs:02}"),
        (_, _) => format!("{hours}:{minutes:02}:{secs:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (pico, shown) in [(0, "0.0000"), (1_500_000_000_000, "1.5000"), (123_456_789_012, "0.1234")] {
            assert_eq!(cents(pico), shown);
        }
        for (millis, shown) in [(0, "0 s"), (1_001, "2 s"), (61_000, "1:01"), (3_661_000, "1:01:01")] {
            assert_eq!(clock(Duration::from_millis(millis)), shown);
        }
        assert_eq!(format!("{:.1}", ratio(30, Duration::from_secs(4))), "7.5");
    }
}
