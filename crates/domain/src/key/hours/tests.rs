//! Windows against the clocks on the wall.

use proptest::prelude::*;

use super::*;

/// Whether the window holds at a UTC moment. 2026-03-02 is a Monday.
fn holds(hours: &str, utc: &str) -> bool {
    let at: jiff::Timestamp = utc.parse().unwrap();
    HoursOfWeek::parse(hours).unwrap().contains(Timestamp::from_micros(at.as_microsecond()))
}

#[test]
fn working_hours_begin_and_end_on_the_minute() {
    let hours = "Mon-Fri 08:30-18 UTC";
    assert!(!holds(hours, "2026-03-02T08:29:59.999999Z"));
    assert!(holds(hours, "2026-03-02T08:30:00Z"));
    assert!(holds(hours, "2026-03-06T17:59:59.999999Z"));
    assert!(!holds(hours, "2026-03-06T18:00:00Z"));
    assert!(!holds(hours, "2026-03-07T12:00:00Z"));
}

#[test]
fn hours_follow_the_wall_through_summer_time() {
    let hours = "Mon-Sun 08-18 Europe/Berlin";
    // Summer time begins on 2026-03-29, 02:00 → 03:00.
    assert!(!holds(hours, "2026-03-28T06:59:00Z") && holds(hours, "2026-03-28T07:00:00Z"));
    assert!(!holds(hours, "2026-03-29T05:59:00Z") && holds(hours, "2026-03-29T06:00:00Z"));
    assert!(holds(hours, "2026-03-29T15:59:00Z") && !holds(hours, "2026-03-29T16:00:00Z"));
    // It ends on 2026-10-25, 03:00 → 02:00: the hour from 2 to 3 is shown twice.
    for utc in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
        assert!(holds("Sun 02-03 Europe/Berlin", utc), "{utc}");
    }
    assert!(!holds("Sun 02-03 Europe/Berlin", "2026-10-25T02:00:00Z"));
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_begins() {
    let hours = "Fri 22-06 UTC";
    assert!(holds(hours, "2026-03-06T22:00:00Z") && holds(hours, "2026-03-07T05:59:00Z"));
    assert!(!holds(hours, "2026-03-06T05:00:00Z") && !holds(hours, "2026-03-07T22:00:00Z"));
    assert!(holds("Sun 22-06", "2026-03-02T01:00:00Z"), "over the end of the week");
}

#[test]
fn several_windows_lists_of_days_and_zones() {
    let hours = "Mon,Wed 08-12, Sat 10-14 Asia/Tokyo; 20-21 UTC";
    assert!(holds(hours, "2026-03-01T23:30:00Z"), "Monday 08:30 in Tokyo");
    assert!(holds(hours, "2026-03-04T02:59:00Z") && !holds(hours, "2026-03-04T03:00:00Z"));
    assert!(holds(hours, "2026-03-07T01:00:00Z"), "Saturday 10:00 in Tokyo");
    assert!(!holds(hours, "2026-03-03T00:00:00Z"), "Tuesday");
    assert!(holds(hours, "2026-03-03T20:00:00Z"), "every day");
    assert!(holds("Sat-Mon 0-24", "2026-03-01T12:00:00Z") && !holds("sat-mon 0-24", "2026-03-03T12:00:00Z"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let window = |text: &str| HoursError::Window(text.to_owned());
    let fault = |text: &str| HoursOfWeek::parse(text).unwrap_err();
    for text in [
        "",
        "Mon",
        "Mon-Fri",
        "Mon 8",
        "Mon 08-25",
        "Mon 24-08",
        "Mon 08-08",
        "Mon 08:60-09",
        "Mox 08-09 UTC",
        "Mon 8-9 UTC x",
        "Mon +8-9",
    ] {
        assert_eq!(fault(text), window(text));
    }
    assert_eq!(fault("08-18 UTC; Tue"), window("Tue"));
    assert_eq!(fault("Mon, 08-18"), window("Mon, 08-18"), "days and then hours of every day");
    assert_eq!(fault("08-18 Mars/Olympus"), HoursError::Zone("Mars/Olympus".into()));
    assert_eq!(fault("08-18 ../../etc"), HoursError::Zone("../../etc".into()));
    assert_eq!(fault(&"08-18;".repeat(100)), HoursError::TooLong);
}

#[test]
fn it_is_kept_as_it_was_written() {
    let hours: HoursOfWeek = serde_json::from_str("\" Mon-Fri 08-18 Europe/Berlin\"").unwrap();
    assert_eq!(serde_json::to_string(&hours).unwrap(), "\"Mon-Fri 08-18 Europe/Berlin\"");
    assert!(serde_json::from_str::<HoursOfWeek>("\"always\"").is_err());
}

proptest! {
    #[test]
    fn a_window_agrees_with_counting_the_minutes_of_the_week(
        first in 0_u16..7, from in 0_u16..1440, until in 0_u16..=1440, minute in 0_u16..10_080,
    ) {
        prop_assume!(from != until);
        let day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][usize::from(first)];
        let clock = |m: u16| format!("{:02}:{:02}", m / 60, m % 60);
        let hours = format!("{day} {}-{}", clock(from), clock(until));
        let monday = Timestamp::from_secs(1_772_409_600);
        let now = monday.plus_micros(i64::from(minute) * 60_000_000);
        let begin = first * 1440 + from;
        let length = if until > from { until - from } else { 1440 - from + until };
        let since = (minute + 10_080 - begin) % 10_080;
        prop_assert_eq!(HoursOfWeek::parse(&hours).unwrap().contains(now), since < length);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}") {
        if let Ok(hours) = HoursOfWeek::parse(&text) {
            prop_assert_eq!(HoursOfWeek::parse(hours.as_str()).unwrap(), hours);
        }
    }
}
