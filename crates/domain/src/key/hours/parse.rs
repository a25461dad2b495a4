//! Reading weekly windows.

use jiff::tz::TimeZone;

use super::{HoursError, MINUTES_PER_DAY, Window};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const EVERY_DAY: u8 = 0b111_1111;

/// A window whose zone may still follow.
struct Part {
    days: u8,
    from: u16,
    until: u16,
    zone: Option<TimeZone>,
}

pub(super) fn windows(text: &str) -> Result<Vec<Window>, HoursError> {
    let mut parts = Vec::new();
    for group in text.split(';') {
        // Days that a comma parts from their hours, as in `Mon,Wed 08-12`.
        let mut waiting = 0;
        for piece in group.split(',') {
            match piece_of(piece)? {
                Piece::Days(days) => waiting |= days,
                Piece::Window(part) if waiting != 0 && part.days == EVERY_DAY => {
                    return Err(unreadable(group));
                }
                Piece::Window(part) => {
                    parts.push(Part { days: part.days | waiting, ..part });
                    waiting = 0;
                }
            }
        }
        if waiting != 0 {
            return Err(unreadable(group));
        }
    }
    Ok(with_zones(parts))
}

/// A window without a zone has that of the next one that has one.
fn with_zones(parts: Vec<Part>) -> Vec<Window> {
    let mut zone = TimeZone::UTC;
    let mut windows: Vec<Window> = Vec::with_capacity(parts.len());
    for part in parts.into_iter().rev() {
        zone = part.zone.unwrap_or(zone);
        windows.push(Window { days: part.days, from: part.from, until: part.until, zone: zone.clone() });
    }
    windows.reverse();
    windows
}

enum Piece {
    Days(u8),
    Window(Part),
}

fn piece_of(text: &str) -> Result<Piece, HoursError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let days = words.first().and_then(|word| days(word));
    let rest = if days.is_some() { &words[1..] } else { &words[..] };
    let (hours, zone) = match (rest, days) {
        ([], Some(days)) => return Ok(Piece::Days(days)),
        ([hours], _) => (hours, None),
        ([hours, zone], _) => (hours, Some(zone)),
        ([], None) | ([_, _, _, ..], _) => return Err(unreadable(text)),
    };
    let (from, until) = span(hours).ok_or_else(|| unreadable(text))?;
    let zone = zone.map(|name| named_zone(name)).transpose()?;
    Ok(Piece::Window(Part { days: days.unwrap_or(EVERY_DAY), from, until, zone }))
}

/// `Mon` or `Mon-Fri`; `Fri-Mon` goes over the weekend.
fn days(word: &str) -> Option<u8> {
    let day = |text: &str| DAYS.iter().position(|d| d.eq_ignore_ascii_case(text));
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (day(first)?, day(last)?);
    let count = (last + 7 - first) % 7;
    Some((0..=count).fold(0, |set, n| set | 1 << ((first + n) % 7)))
}

fn span(text: &str) -> Option<(u16, u16)> {
    let (from, until) = text.split_once('-')?;
    let (from, until) = (minutes(from)?, minutes(until)?);
    (from < MINUTES_PER_DAY && from != until).then_some((from, until))
}

/// `8`, `08`, `08:30` or `24`.
fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':').unwrap_or((text, "00"));
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let fits = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (number(hour, 1..=2)?, number(minute, 2..=2)?);
    let at = hour * 60 + minute;
    (minute < 60 && at <= MINUTES_PER_DAY).then_some(at)
}

fn named_zone(name: &str) -> Result<TimeZone, HoursError> {
    let legal = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
    let zone = legal.then(|| TimeZone::get(name).ok()).flatten();
    zone.ok_or_else(|| HoursError::Zone(name.to_owned()))
}

fn unreadable(text: &str) -> HoursError {
    HoursError::Window(text.trim().to_owned())
}
