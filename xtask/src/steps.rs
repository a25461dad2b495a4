//! A run made of named steps: each is timed, all are reported, and the closing line counts them.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::output;
use crate::process::{self, Deadline, Ended};

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Whether a step that cannot run here is tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSkip {
    Report,
    Fail,
}

impl OnSkip {
    /// CI must run everything.
    pub fn from_environment() -> Self {
        match std::env::var("CI").as_deref() {
            Ok("true" | "1") => Self::Fail,
            _ => Self::Report,
        }
    }
}

struct Record {
    name: String,
    outcome: Outcome,
    took: Duration,
}

/// The steps of one run so far.
pub struct Steps {
    started: Instant,
    deadline: Deadline,
    on_skip: OnSkip,
    records: Vec<Record>,
}

impl Steps {
    pub fn new(limit: Duration, on_skip: OnSkip) -> Self {
        Self { started: process::now(), deadline: Deadline::after(limit), on_skip, records: Vec::new() }
    }

    /// Runs one step; an error is its failure, not the end of the run.
    pub fn step(&mut self, name: &str, body: impl FnOnce(Deadline) -> anyhow::Result<Outcome>) -> Outcome {
        output::line(&format!("\n=== {name}"));
        let started = process::now();
        let outcome = if self.deadline.is_over() {
            Outcome::Failed("not run: the time for the whole run was up".to_owned())
        } else {
            body(self.deadline).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
        };
        let outcome = self.judge(outcome);
        let took = started.elapsed();
        output::line(&format!("=== {}", described(name, &outcome, took)));
        self.records.push(Record { name: name.to_owned(), outcome: outcome.clone(), took });
        outcome
    }

    /// A step that is one command.
    pub fn command(&mut self, name: &str, command: &mut Command) -> Outcome {
        self.step(name, |deadline| run_as_step(command, deadline))
    }

    /// Prints the table and the closing line.
    pub fn finish(self) -> ExitCode {
        output::line("");
        for record in &self.records {
            output::line(&described(&record.name, &record.outcome, record.took));
        }
        output::line(&format!("took {:.0} s in all", self.started.elapsed().as_secs_f64()));
        let closing = self.closing_line();
        output::line(&closing);
        if self.count(|outcome| matches!(outcome, Outcome::Failed(_))) > 0 {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    fn judge(&self, outcome: Outcome) -> Outcome {
        match (outcome, self.on_skip) {
            (Outcome::Skipped(why), OnSkip::Fail) => {
                Outcome::Failed(format!("skipped, which CI does not allow: {why}"))
            }
            (outcome, _) => outcome,
        }
    }

    fn count(&self, matching: impl Fn(&Outcome) -> bool) -> usize {
        self.records.iter().filter(|record| matching(&record.outcome)).count()
    }

    fn closing_line(&self) -> String {
        let passed = self.count(|outcome| matches!(outcome, Outcome::Passed));
        let failed = self.count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Runs `command` and turns its end into an outcome.
pub fn run_as_step(command: &mut Command, deadline: Deadline) -> anyhow::Result<Outcome> {
    Ok(match process::run(command, deadline)? {
        Ended::Success => Outcome::Passed,
        Ended::Failure(status) => Outcome::Failed(status.to_string()),
        Ended::TimedOut => Outcome::Failed("stopped: its time was up".to_owned()),
    })
}

fn described(name: &str, outcome: &Outcome, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    match outcome {
        Outcome::Passed => format!("{seconds:7.1} s  ok       {name}"),
        Outcome::Failed(why) => format!("{seconds:7.1} s  FAILED   {name}: {why}"),
        Outcome::Skipped(why) => format!("{seconds:7.1} s  skipped  {name}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(on_skip: OnSkip) -> Steps {
        Steps::new(Duration::from_secs(3600), on_skip)
    }

    #[test]
    fn closing_line_counts_every_step_once() {
        let mut steps = hour(OnSkip::Report);
        steps.step("a", |_| Ok(Outcome::Passed));
        steps.step("b", |_| anyhow::bail!("broken"));
        steps.step("c", |_| Ok(Outcome::Skipped("no tool".to_owned())));
        assert_eq!(steps.closing_line(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(steps.finish(), ExitCode::FAILURE);
    }

    #[test]
    fn under_ci_a_skip_is_a_failure() {
        let mut steps = hour(OnSkip::Fail);
        let outcome = steps.step("c", |_| Ok(Outcome::Skipped("no tool".to_owned())));
        assert!(matches!(outcome, Outcome::Failed(_)));
        assert_eq!(steps.closing_line(), "0 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn nothing_starts_after_the_time_is_up() {
        let mut steps = Steps::new(Duration::ZERO, OnSkip::Report);
        let outcome = steps.step("late", |_| panic!("must not run"));
        assert!(matches!(outcome, Outcome::Failed(_)));
    }
}
