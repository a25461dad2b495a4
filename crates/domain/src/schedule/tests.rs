use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn job(next: Timestamp) -> JobRecord {
    JobRecord {
        name: "daily".to_owned(),
        next_run_at: next,
        running_slot: None,
        lease_owner: String::new(),
        lease_until: Timestamp::default(),
        fencing: 0,
        attempts: 0,
        last_run_at: None,
        last_outcome: String::new(),
    }
}

fn slots(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::cron(expression, zone).unwrap();
    let mut now = at(from);
    let mut next = || {
        now = schedule.next_after(now).unwrap();
        now.to_rfc3339().replace(":00.000000Z", "Z")
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn nine_in_the_morning_is_nine_where_the_operator_lives() {
    let berlin = slots("0 9 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3);
    assert_eq!(berlin, ["2026-03-28T08:00Z", "2026-03-29T07:00Z", "2026-03-30T07:00Z"]);
}

#[test]
fn an_hour_that_is_left_out_is_caught_up_and_one_that_comes_twice_is_run_once() {
    let spring = slots("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
    assert_eq!(spring.len(), 2);
    assert!(spring[0].starts_with("2026-03-29T01:"), "{spring:?}");
    let autumn = slots("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
    assert_eq!(autumn, ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
}

#[test]
fn what_is_no_schedule_is_refused() {
    for bad in ["", "* * * *", "61 * * * *", "* * * * * *", "nine"] {
        assert!(matches!(Schedule::cron(bad, "UTC"), Err(ScheduleError::Cron(_))), "{bad}");
    }
    assert_eq!(
        Schedule::cron("* * * * *", "Mars/Base").unwrap_err(),
        ScheduleError::Zone("Mars/Base".to_owned())
    );
    assert!(matches!(Schedule::cron("0 0 30 2 *", "UTC"), Err(ScheduleError::Never(_))));
    assert_eq!(Schedule::every(0).unwrap_err(), ScheduleError::Interval);
}

#[test]
fn after_downtime_only_the_newest_slot_is_run() {
    let schedule = Schedule::cron("0 9 * * *", "UTC").unwrap();
    let now = at("2026-03-05T12:00:00Z");
    let run = Due::Run { slot: at("2026-03-05T09:00:00Z"), next: at("2026-03-06T09:00:00Z") };
    assert_eq!(due(&schedule, &job(at("2026-03-02T09:00:00Z")), now, 0), run);
}

#[test]
fn jitter_puts_a_run_off_and_does_not_move_its_slot() {
    let schedule = Schedule::cron("0 9 * * *", "UTC").unwrap();
    let (slot, minute) = (at("2026-03-05T09:00:00Z"), 60 * MICROS_PER_SEC);
    assert_eq!(due(&schedule, &job(slot), slot.plus_micros(minute - 1), minute), Due::No);
    let run = Due::Run { slot, next: at("2026-03-06T09:00:00Z") };
    assert_eq!(due(&schedule, &job(slot), slot.plus_micros(minute), minute), run);
}

#[test]
fn a_clock_that_was_wrong_does_not_silence_a_job() {
    let schedule = Schedule::cron("0 9 * * *", "UTC").unwrap();
    let now = at("2026-03-05T12:00:00Z");
    assert_eq!(
        due(&schedule, &job(at("2036-03-06T09:00:00Z")), now, 0),
        Due::Move(at("2026-03-06T09:00:00Z"))
    );
    let held = JobRecord {
        running_slot: Some(at("2036-03-05T09:00:00Z")),
        lease_until: at("2036-03-05T09:01:00Z"),
        ..job(at("2036-03-06T09:00:00Z"))
    };
    assert!(matches!(due(&schedule, &held, now, 0), Due::Run { .. }));
}

#[test]
fn a_slot_is_left_to_its_runner_until_the_lease_lapses() {
    let schedule = Schedule::every(60).unwrap();
    let (slot, next) = (Timestamp::from_secs(600), Timestamp::from_secs(660));
    let held = JobRecord { running_slot: Some(slot), lease_until: Timestamp::from_secs(630), ..job(next) };
    assert_eq!(due(&schedule, &held, Timestamp::from_secs(629), 0), Due::No);
    assert_eq!(due(&schedule, &held, Timestamp::from_secs(630), 0), Due::Run { slot, next });
}

/// What happens to a clock and to runners.
#[derive(Debug, Clone)]
enum Event {
    Pass(i64),
    Jump(i64),
    Die,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_i64..7_200).prop_map(Event::Pass),
        1 => (-400_000_i64..400_000).prop_map(Event::Jump),
        1 => Just(Event::Die),
    ]
}

proptest! {
    #[test]
    fn every_moment_lies_between_its_last_and_its_next_slot(
        secs in 1_767_225_600_i64..1_830_000_000,
        text in prop::sample::select(vec!["0 9 * * *", "30 2 * * *", "7 * * * *", "*/10 * * * *", "0 9 * * 1"]),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Shanghai"]),
    ) {
        let schedule = Schedule::cron(text, zone).unwrap();
        let now = Timestamp::from_secs(secs);
        let (last, next) = (schedule.last_until(now).unwrap(), schedule.next_after(now).unwrap());
        prop_assert!(last <= now && now < next);
        prop_assert_eq!(schedule.last_until(next), Some(next));
        prop_assert_eq!(schedule.next_after(last), Some(next));
    }

    #[test]
    fn no_slot_is_run_twice_and_none_is_waited_for_in_vain(
        events in prop::collection::vec(event(), 1..80),
        jitter in 0_i64..600,
        hourly in any::<bool>(),
    ) {
        let (text, period) = if hourly { ("7 * * * *", 3_600) } else { ("0 9 * * *", 86_400) };
        let schedule = Schedule::cron(text, "Europe/Berlin").unwrap();
        let mut now = at("2026-03-27T12:00:00Z");
        let mut job = job(schedule.next_after(now).unwrap());
        let (mut done, mut begun) = (BTreeSet::new(), BTreeSet::new());
        let mut die = false;
        let calm = std::iter::repeat_n(Event::Pass(300), (period as usize + 600 + 7_200) / 300 + 2);
        let mut done_before_calm = 0;
        let restless = events.len();
        for (n, event) in events.into_iter().chain(calm).enumerate() {
            match event {
                Event::Pass(secs) | Event::Jump(secs) => now = now.plus_micros(secs * MICROS_PER_SEC),
                Event::Die => die = true,
            }
            if n == restless {
                done_before_calm = done.len();
            }
            match due(&schedule, &job, now, jitter * MICROS_PER_SEC) {
                Due::No => {}
                Due::Move(next) => job.next_run_at = next,
                Due::Run { slot, next } => {
                    let resumed = job.running_slot.is_some();
                    job.next_run_at = next;
                    // As the store does: a slot is begun once; one that was begun by a runner that died goes on.
                    if !resumed && !begun.insert(slot) {
                        continue;
                    }
                    job.running_slot = Some(slot);
                    job.lease_until = now.plus_micros(60 * MICROS_PER_SEC);
                    if !std::mem::take(&mut die) {
                        prop_assert!(done.insert(slot), "{:?} twice", slot);
                        job.running_slot = None;
                    }
                }
            }
        }
        // A whole calm period has a slot, unless all of its slots were run before the clock was set back.
        let settled = now.plus_micros(-(jitter + 300) * MICROS_PER_SEC);
        let all_known = schedule.last_until(settled).is_some_and(|slot| done.contains(&slot));
        prop_assert!(done.len() > done_before_calm || all_known);
    }
}
