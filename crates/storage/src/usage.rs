//! Reports: daily totals, rows that no total holds yet, and rows of days that are asked for in part.
//!
//! Money is never added up by SQL: totals and rows are folded here, in 128 bits, as they stream in.

use std::collections::{BTreeMap, HashMap, HashSet};

use claviger_domain::{
    clock::{MICROS_PER_DAY, Timestamp},
    id::{KeyId, OwnerId, WorkspaceId},
    key::KeyUse,
    ledger::LedgerRow,
    limit::UsedBefore,
    ports::{StoreError, UsageBy, UsageQuery, UsageTotal, UsedBy},
};

use crate::{
    engine::{Arg, Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
    fold::{DayKey, DayTotal, Pending},
    ledger,
};

macro_rules! columns {
    () => {
        "key_id AS id, utc_day, model, workspace_id, requests, errors, work, look, input_tokens, \
         cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_search_requests, \
         estimated, cost_usd, cost_rest_pusd, accesses, recalled"
    };
}

statements! {
    /// Of all keys.
    DAYS = concat!(
        "SELECT ", columns!(), " FROM usage_days WHERE utc_day >= $1 AND utc_day < $2 \
         AND CAST($3 AS TEXT) IS NULL AND (CAST($4 AS TEXT) IS NULL OR workspace_id = $4)"
    );
    /// Of one key, by the primary key.
    DAYS_OF_KEY = concat!(
        "SELECT ", columns!(), " FROM usage_days WHERE utc_day >= $1 AND utc_day < $2 \
         AND key_id = $3 AND (CAST($4 AS TEXT) IS NULL OR workspace_id = $4)"
    );
    /// Of all keys of an owner.
    DAYS_OF_OWNER = concat!(
        "SELECT ", columns!(), " FROM usage_days WHERE utc_day >= $1 AND utc_day < $2 \
         AND (CAST($3 AS TEXT) IS NULL OR key_id = $3) AND (CAST($4 AS TEXT) IS NULL OR workspace_id = $4) \
         AND key_id IN (SELECT id FROM api_keys WHERE owner_id = $5)"
    );
    /// Whose keys are; a key keeps its owner.
    OWNERS = "SELECT id, owner_id FROM api_keys";
    FIRST_DAY = "SELECT first_day FROM retention WHERE one = 1";
    KEY_USES = "SELECT key_id AS id, uses, last_used_us, last_used_ip, last_user_agent FROM key_uses \
                WHERE key_id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
}

/// How many keys [`KEY_USES`] asks for.
const KEYS_AT_ONCE: usize = 16;
/// A report without an end.
const NEVER: Timestamp = Timestamp::from_micros(i64::MAX);

/// Which days and moments a question covers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cover {
    span: (Timestamp, Timestamp),
    /// Days taken whole, from their totals: from the first, before the second.
    days: (i64, i64),
    /// Stretches of days that are only asked for in part.
    edges: Vec<(Timestamp, Timestamp)>,
}

impl Cover {
    /// Days before `first_day` are only known whole; such a day counts if it begins within the span.
    fn new(from: Timestamp, until: Timestamp, first_day: i64) -> Self {
        let start = |day: i64| Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY));
        let first_whole = if start(from.utc_day()) == from { from.utc_day() } else { from.utc_day() + 1 };
        let mut cover = Self { span: (from, until), days: (first_whole, until.utc_day()), edges: Vec::new() };
        if from >= until {
            cover.days.1 = cover.days.0;
            return cover;
        }
        if from.utc_day() < first_whole && from.utc_day() >= first_day {
            cover.edges.push((from, start(first_whole).min(until)));
        }
        let last = until.utc_day();
        if until == NEVER {
            cover.days.1 = i64::MAX;
        } else if last >= first_whole && start(last) < until {
            if last < first_day {
                cover.days.1 = last + 1;
            } else {
                cover.edges.push((start(last), until));
            }
        }
        cover
    }

    fn holds(&self, at: Timestamp) -> bool {
        self.span.0 <= at && at < self.span.1
    }
}

/// What a report is narrowed to.
#[derive(Debug, Clone, Copy, Default)]
struct Only<'a> {
    key: Option<&'a KeyId>,
    workspace: Option<&'a WorkspaceId>,
    owner: Option<&'a OwnerId>,
}

impl Only<'_> {
    fn args(&self) -> Vec<Arg> {
        args![self.key.map(KeyId::as_str), self.workspace.map(WorkspaceId::as_str)]
    }
}

pub(crate) async fn usage(db: &Db, query: &UsageQuery) -> Result<Vec<UsageTotal>, StoreError> {
    let only =
        Only { key: query.key.as_ref(), workspace: query.workspace.as_ref(), owner: query.owner.as_ref() };
    let span = (query.from.unwrap_or(Timestamp::from_micros(i64::MIN)), query.until.unwrap_or(NEVER));
    let mut totals: BTreeMap<String, UsageTotal> = BTreeMap::new();
    if query.by.is_none() {
        totals.insert(String::new(), UsageTotal::default());
    }
    each_total(db, span, only, |day, total| {
        let group = group_of(query.by, day);
        let sum = totals
            .entry(group)
            .or_insert_with_key(|g| UsageTotal { group: g.clone(), ..UsageTotal::default() });
        total.add_to(sum);
    })
    .await?;
    if query.by == Some(UsageBy::Owner) {
        totals = by_owner(db, totals).await?;
    }
    Ok(totals.into_values().collect())
}

/// Totals of keys as totals of their owners.
async fn by_owner(
    db: &Db,
    of_keys: BTreeMap<String, UsageTotal>,
) -> Result<BTreeMap<String, UsageTotal>, StoreError> {
    let mut totals: BTreeMap<String, UsageTotal> = BTreeMap::new();
    let mut rest = of_keys;
    let mut tx = db.snapshot().await?;
    tx.each(OWNERS, args![], |row| {
        let text = |row: &Row, name| row.text(name).map(str::to_owned);
        let key = read("api_keys", &row, |row| text(row, "id"))?;
        let Some(of_key) = rest.remove(&key) else { return Ok(()) };
        let owner = read("api_keys", &row, |row| text(row, "owner_id"))?;
        let new = UsageTotal { group: owner.clone(), ..UsageTotal::default() };
        totals.entry(owner).or_insert(new).add(&of_key);
        Ok(())
    })
    .await?;
    for of_key in rest.into_values() {
        totals.entry(String::new()).or_default().add(&of_key);
    }
    Ok(totals)
}

fn group_of(by: Option<UsageBy>, day: &DayKey) -> String {
    match by {
        None => String::new(),
        Some(UsageBy::Key | UsageBy::Owner) => day.key.to_string(),
        Some(UsageBy::Model) => day.model.clone(),
        Some(UsageBy::Workspace) => day.workspace.to_string(),
        Some(UsageBy::Day) => {
            let midnight = Timestamp::from_micros(day.day.saturating_mul(MICROS_PER_DAY));
            midnight.to_rfc3339().chars().take_while(|c| *c != 'T').collect()
        }
    }
}

/// What a key, an owner or a workspace has used since the begin of a day. The model's tokens of batches are in it.
pub(crate) async fn used_since(db: &Db, by: UsedBy<'_>, since: Timestamp) -> Result<UsedBefore, StoreError> {
    let only = match by {
        UsedBy::Key(key) => Only { key: Some(key), ..Only::default() },
        UsedBy::Owner(owner) => Only { owner: Some(owner), ..Only::default() },
        UsedBy::Workspace(workspace) => Only { workspace: Some(workspace), ..Only::default() },
    };
    let mut used = UsedBefore::default();
    each_total(db, (since, NEVER), only, |_, total| used = used.plus(total.used())).await?;
    Ok(used)
}

/// Hands over every total that lies in the span, of one state of the database.
async fn each_total(
    db: &Db,
    span: (Timestamp, Timestamp),
    only: Only<'_>,
    mut take: impl FnMut(&DayKey, &DayTotal) + Send,
) -> Result<(), StoreError> {
    let mut tx = db.snapshot().await?;
    let cover = Cover::new(span.0, span.1, first_day(&mut tx).await?);
    let narrowed = |from: i64, until: i64| [args![from, until], only.args()].concat();
    if cover.days.0 < cover.days.1 {
        let mut values = narrowed(cover.days.0, cover.days.1);
        values.extend(only.owner.map(|owner| Arg::from(owner.as_str())));
        let days = match (only.key, only.owner) {
            (_, Some(_)) => DAYS_OF_OWNER,
            (Some(_), None) => DAYS_OF_KEY,
            (None, None) => DAYS,
        };
        tx.each(days, values, |row| {
            let (day, total) = read("usage_days", &row, |row| Ok((day_key(row)?, DayTotal::read(row)?)))?;
            take(&day, &total);
            Ok(())
        })
        .await?;
    }
    let concerns = |row: &LedgerRow| only.owner.is_none_or(|owner| row.party.owner == *owner);
    let mut rest = unfolded(&mut tx, only, |row| cover.holds(row.at) && concerns(row)).await?;
    for (from, until) in cover.edges {
        tx.each(ledger::FOLDED_IN_TIME, narrowed(from.as_micros(), until.as_micros()), |row| {
            let row = read("ledger", &row, ledger::record)?;
            if concerns(&row) {
                rest.add(&row);
            }
            Ok(())
        })
        .await?;
    }
    rest.days.iter().for_each(|(day, total)| take(day, total));
    Ok(())
}

/// Rows that no total holds yet: about one second of traffic.
async fn unfolded(
    tx: &mut Tx,
    only: Only<'_>,
    wanted: impl Fn(&LedgerRow) -> bool + Send + Sync,
) -> Result<Pending, Failure> {
    let mut pending = Pending::default();
    tx.each(ledger::UNFOLDED, only.args(), |row| {
        let row = read("ledger", &row, ledger::record)?;
        if wanted(&row) {
            pending.add(&row);
        }
        Ok(())
    })
    .await?;
    Ok(pending)
}

/// The same of all keys.
pub(crate) async fn unfolded_of_all(tx: &mut Tx) -> Result<Pending, Failure> {
    unfolded(tx, Only::default(), |_| true).await
}

/// Days before this one are only known as totals.
pub(crate) async fn first_day(tx: &mut Tx) -> Result<i64, Failure> {
    let row = tx.row(FIRST_DAY, args![]).await?;
    let day = row.map(|row| read("retention", &row, |row| row.int("first_day"))).transpose()?;
    Ok(day.unwrap_or(i64::MIN))
}

/// All totals of one day.
pub(crate) async fn totals_of_day(tx: &mut Tx, day: i64) -> Result<BTreeMap<DayKey, DayTotal>, Failure> {
    let mut totals = BTreeMap::new();
    let values = vec![Arg::Int(day), Arg::Int(day.saturating_add(1)), Arg::OptText(None), Arg::OptText(None)];
    tx.each(DAYS, values, |row| {
        totals.extend([read("usage_days", &row, |row| Ok((day_key(row)?, DayTotal::read(row)?)))?]);
        Ok(())
    })
    .await?;
    Ok(totals)
}

fn day_key(row: &Row) -> Result<DayKey, Unreadable> {
    Ok(DayKey {
        key: row.parsed("id", |t| KeyId::parse(t).ok())?,
        day: row.int("utc_day")?,
        model: row.text("model")?.to_owned(),
        workspace: row.parsed("workspace_id", |t| WorkspaceId::parse(t).ok())?,
    })
}

/// How much keys were used; those never used are missing.
pub(crate) async fn key_uses(db: &Db, ids: &[KeyId]) -> Result<Vec<(KeyId, KeyUse)>, StoreError> {
    let mut tx = db.snapshot().await?;
    let key = if let [one] = ids { Some(one) } else { None };
    let recent = unfolded(&mut tx, Only { key, ..Only::default() }, |_| true).await?.uses;
    let mut uses: HashMap<KeyId, KeyUse> = HashMap::with_capacity(ids.len());
    for some in ids.chunks(KEYS_AT_ONCE) {
        // The list of the statement is always full: the last id stands in for those that are not there.
        let last = some.last().map_or("", KeyId::as_str);
        let full = some.iter().map(KeyId::as_str).chain(std::iter::repeat(last)).take(KEYS_AT_ONCE);
        for row in tx.rows(KEY_USES, full.map(Arg::from).collect()).await? {
            let (id, found) = read("key_uses", &row, key_use)?;
            uses.insert(id, found);
        }
    }
    let asked: HashSet<&KeyId> = ids.iter().collect();
    for (id, delta) in recent.iter().filter(|(id, _)| asked.contains(id)) {
        let sum = uses.entry(id.clone()).or_default();
        sum.uses += delta.uses.cast_unsigned();
        if sum.last_used_at.is_none_or(|at| at <= delta.last_used) {
            sum.last_used_at = Some(delta.last_used);
            sum.last_used_ip = Some(delta.ip.clone());
            sum.last_user_agent = Some(delta.agent.clone());
        }
    }
    Ok(ids.iter().filter_map(|id| uses.remove(id).map(|found| (id.clone(), found))).collect())
}

fn key_use(row: &Row) -> Result<(KeyId, KeyUse), Unreadable> {
    let found = KeyUse {
        uses: row.int("uses")?.cast_unsigned(),
        last_used_at: Some(row.time("last_used_us")?),
        last_used_ip: Some(row.text("last_used_ip")?.to_owned()),
        last_user_agent: Some(row.text("last_user_agent")?.to_owned()),
    };
    Ok((row.parsed("id", |t| KeyId::parse(t).ok())?, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = MICROS_PER_DAY;

    fn cover(from: i64, until: i64, first_day: i64) -> Cover {
        Cover::new(Timestamp::from_micros(from), Timestamp::from_micros(until), first_day)
    }

    fn edges(cover: &Cover) -> Vec<(i64, i64)> {
        cover.edges.iter().map(|(a, b)| (a.as_micros(), b.as_micros())).collect()
    }

    #[test]
    fn whole_days_come_from_totals_and_the_rest_from_rows() {
        let c = cover(2 * DAY, 5 * DAY, 0);
        assert_eq!((c.days, edges(&c)), ((2, 5), vec![]));
        let c = cover(2 * DAY + 7, 5 * DAY + 9, 0);
        assert_eq!((c.days, edges(&c)), ((3, 5), vec![(2 * DAY + 7, 3 * DAY), (5 * DAY, 5 * DAY + 9)]));
        let c = cover(2 * DAY + 7, 2 * DAY + 9, 0);
        assert_eq!(edges(&c), vec![(2 * DAY + 7, 2 * DAY + 9)]);
        assert!(c.days.0 >= c.days.1);
    }

    #[test]
    fn days_known_only_whole_count_where_they_begin() {
        let c = cover(2 * DAY + 7, 5 * DAY + 9, 100);
        assert_eq!((c.days, edges(&c)), ((3, 6), vec![]));
    }

    #[test]
    fn an_empty_span_holds_nothing() {
        let c = cover(2 * DAY, 2 * DAY, 0);
        assert!(c.days.0 >= c.days.1 && c.edges.is_empty());
    }
}
