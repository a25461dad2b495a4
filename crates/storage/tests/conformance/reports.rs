//! Reports, held against a naive oracle that adds up every row that was ever committed.

use std::collections::BTreeMap;

use claviger_domain::{
    clock::{MICROS_PER_DAY, Timestamp},
    direct_use::CredentialDay,
    key::KeyRecord,
    ledger::{BatchItem, LedgerRow, Outcome, Party, Route, RowFlags, UsageCounts},
    limit::{Tokens, UsedBefore},
    permission::{Access, Endpoint},
    ports::{Change, LedgerStore, RowScan, Store, UsageBy, UsageQuery, UsageTotal, UsedBy},
};
use claviger_storage::Database;

use crate::{
    place::{Place, on_both},
    samples::{Committer, START, Samples, at},
};

on_both!(
    usage_equals_a_naive_oracle,
    usage_of_owners_equals_a_naive_oracle,
    counters_are_exact_after_a_crash,
    an_empty_ledger_reports_an_empty_total,
    every_row_stands_on_exactly_one_page_by_time,
    many_keys_are_asked_for_at_once,
    what_went_through_credentials_is_exact_after_a_crash,
);

const HALF_HOUR: i64 = 1_800;

/// Adds up rows one by one.
pub fn oracle(rows: &[LedgerRow], query: &UsageQuery) -> Vec<UsageTotal> {
    let mut totals: BTreeMap<String, UsageTotal> = BTreeMap::new();
    if query.by.is_none() {
        totals.insert(String::new(), UsageTotal::default());
    }
    let wanted = |row: &&LedgerRow| {
        row.outcome != Outcome::Refused
            && query.key.as_ref().is_none_or(|k| *k == row.party.key)
            && query.workspace.as_ref().is_none_or(|w| *w == row.party.workspace)
            && query.owner.as_ref().is_none_or(|o| *o == row.party.owner)
            && query.from.is_none_or(|t| row.at >= t)
            && query.until.is_none_or(|t| row.at < t)
    };
    for row in rows.iter().filter(wanted) {
        let group = match query.by {
            None => String::new(),
            Some(UsageBy::Key) => row.party.key.to_string(),
            Some(UsageBy::Model) => row.model.clone(),
            Some(UsageBy::Workspace) => row.party.workspace.to_string(),
            Some(UsageBy::Owner) => row.party.owner.to_string(),
            Some(UsageBy::Day) => row.at.to_rfc3339()[..10].to_owned(),
        };
        let t = totals.entry(group.clone()).or_insert(UsageTotal { group, ..UsageTotal::default() });
        t.requests += 1;
        t.errors += u64::from(row.outcome != Outcome::Completed);
        t.input_tokens += row.usage.input_tokens;
        t.cache_write_5m_tokens += row.usage.cache_write_5m_tokens;
        t.cache_write_1h_tokens += row.usage.cache_write_1h_tokens;
        t.cache_read_tokens += row.usage.cache_read_tokens;
        t.output_tokens += row.usage.output_tokens;
        t.web_search_requests += row.usage.web_search_requests;
        t.estimated += u64::from(row.flags.has(RowFlags::ESTIMATED));
        t.recalled += u64::from(row.flags.has(RowFlags::RECALLED));
        t.cost_pusd += i128::from(row.cost.as_pico());
        if row.batch.is_none() {
            let verb = row.api_endpoint.split(' ').next().unwrap();
            let looks = ["GET", "HEAD"].contains(&verb) || row.endpoint == Endpoint::CountTokens;
            t.accesses = t.accesses.with(row.endpoint, if looks { Access::Read } else { Access::Write });
        }
    }
    totals.into_values().collect()
}

/// Questions of every kind, some cutting days apart.
pub fn questions(parties: &[Party], s: &Samples) -> Vec<UsageQuery> {
    let mut questions = Vec::new();
    let groups = [UsageBy::Key, UsageBy::Model, UsageBy::Day, UsageBy::Workspace];
    for by in groups.map(Some).into_iter().chain([None]) {
        for _ in 0..8 {
            let moment = || {
                let secs = i64::try_from(s.number(5 * 48)).unwrap() * HALF_HOUR;
                [None, Some(at(secs)), Some(at(secs - secs % 86_400))][usize::try_from(s.number(3)).unwrap()]
            };
            let party = s.pick(parties);
            questions.push(UsageQuery {
                by,
                key: (s.number(3) == 0).then(|| party.key.clone()),
                workspace: (s.number(3) == 0).then(|| party.workspace.clone()),
                owner: None,
                from: moment(),
                until: moment(),
            });
        }
    }
    questions
}

/// Four days of traffic of three keys in groups of every size; every row.
pub async fn traffic(
    db: &Database,
    c: &mut Committer,
    s: &Samples,
    parties: &[Party],
    days: std::ops::Range<i64>,
) -> Vec<LedgerRow> {
    let mut all = Vec::new();
    for half_hour in days.start * 48..days.end * 48 {
        let now = at(half_hour * HALF_HOUR + 7);
        let rows: Vec<_> = (0..s.number(6))
            .map(|n| {
                // Some arrived long before they ended, on the day before at times.
                let began = now.plus_micros(-i64::try_from(s.number(3_600_000_000)).unwrap());
                let mut row = s.row(&s.pick(parties), began.max(START));
                if s.number(4) == 0 {
                    let custom_id = format!("{half_hour}-{n}");
                    row.batch = Some(BatchItem { batch: "msgbatch_1".to_owned(), custom_id });
                }
                row
            })
            .collect();
        all.extend(rows.clone());
        c.rows(db, now, rows).await;
    }
    all
}

pub fn parties(s: &Samples) -> Vec<Party> {
    let (a, mut b, c) = (s.party(), s.party(), s.party());
    b.workspace = a.workspace.clone();
    vec![a, b, c]
}

async fn usage_equals_a_naive_oracle(place: Place) {
    let s = Samples::new(50);
    let parties = parties(&s);
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    let mut rows = traffic(&db, &mut c, &s, &parties, 0..2).await;
    drop(db);
    // One incarnation died, the next goes on; its newest rows are not in any daily total.
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    rows.extend(traffic(&db, &mut c, &s, &parties, 2..4).await);
    for query in questions(&parties, &s) {
        assert_eq!(db.usage(&query).await.unwrap(), oracle(&rows, &query), "{query:?}");
    }
    db.close_chain(&c.chain, crate::samples::event("audit.chain.close")).await.unwrap();
    for query in questions(&parties, &s) {
        assert_eq!(db.usage(&query).await.unwrap(), oracle(&rows, &query), "closed: {query:?}");
    }
}

async fn usage_of_owners_equals_a_naive_oracle(place: Place) {
    let s = Samples::new(54);
    let db = place.open().await;
    let workspace = s.workspace("team");
    let owners = [s.owner("ann"), s.owner("bob")];
    let keys = [s.key(&owners[0], &workspace), s.key(&owners[0], &workspace), s.key(&owners[1], &workspace)];
    let mut changes = vec![Change::InsertWorkspace(workspace)];
    changes.extend(owners.iter().cloned().map(Change::InsertOwner));
    changes.extend(keys.iter().cloned().map(Box::new).map(Change::InsertKey));
    db.apply(changes, crate::samples::event("test")).await.unwrap();
    let party = |k: &KeyRecord| Party {
        key: k.id.clone(),
        workspace: k.workspace.clone(),
        owner: k.owner.clone(),
        class: k.class,
    };
    let parties = keys.each_ref().map(party);
    let mut c = Committer::open(&db, s.node()).await;
    let rows = traffic(&db, &mut c, &s, &parties, 0..2).await;
    for mut query in questions(&parties, &s) {
        query.by = [None, Some(UsageBy::Owner), query.by][usize::try_from(s.number(3)).unwrap()];
        query.owner = (s.number(2) == 0).then(|| s.pick(&owners).id);
        assert_eq!(db.usage(&query).await.unwrap(), oracle(&rows, &query), "{query:?}");
    }
    // A key that no record is left of has nobody's usage, and none is lost.
    let stranger = s.party();
    c.rows(&db, at(0), vec![LedgerRow { outcome: Outcome::Completed, ..s.row(&stranger, at(0)) }]).await;
    let query = UsageQuery { by: Some(UsageBy::Owner), ..UsageQuery::default() };
    let found = db.usage(&query).await.unwrap();
    assert_eq!((found[0].group.as_str(), found[0].requests, found.len()), ("", 1, 3));
}

async fn counters_are_exact_after_a_crash(place: Place) {
    let s = Samples::new(51);
    let parties = parties(&s);
    let mut rows: Vec<LedgerRow> = Vec::new();
    for day in 0..3 {
        let db = place.open().await;
        let mut c = Committer::open(&db, s.node()).await;
        rows.extend(traffic(&db, &mut c, &s, &parties, day..day + 1).await);
        let counted = |row: &&LedgerRow| row.outcome != Outcome::Refused && row.batch.is_none();
        let keys: Vec<_> = parties.iter().map(|p| p.key.clone()).chain([s.party().key]).collect();
        let uses = db.key_uses(&keys).await.unwrap();
        assert_eq!(uses.len(), 3);
        for (key, found) in uses {
            let mine: Vec<_> = rows.iter().filter(counted).filter(|r| r.party.key == key).collect();
            let newest = mine.iter().max_by_key(|r| r.at).unwrap();
            assert_eq!((found.uses, found.last_used_at), (mine.len() as u64, Some(newest.at)));
            assert_eq!(found.last_used_ip.as_deref(), Some(newest.client_ip.as_str()));
            assert_eq!(found.last_user_agent.as_deref(), Some(newest.user_agent.as_str()));
            for since in [START.plus_micros(day * MICROS_PER_DAY), at(day * 86_400 + 3 * HALF_HOUR)] {
                let recent: Vec<_> = mine.iter().filter(|r| r.at >= since).collect();
                let looks = |r: &LedgerRow| {
                    r.endpoint == Endpoint::CountTokens
                        || matches!(r.api_endpoint.as_bytes(), [b'G' | b'H', ..])
                };
                let look = recent.iter().filter(|r| looks(r)).count() as u64;
                let tokens = rows.iter().filter(|r| r.party.key == key && r.at >= since);
                let tokens_today = tokens.fold(Tokens::default(), |sum, r| {
                    let u = &r.usage;
                    let input = u.input_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens;
                    sum + Tokens { input, output: u.output_tokens }
                });
                let work_today = recent.len() as u64 - look;
                let expected = UsedBefore { work_today, look_today: look, uses: 0, tokens_today };
                assert_eq!(db.used_since(UsedBy::Key(&key), since).await.unwrap(), expected);
            }
        }
        // Dropped without a word, as a crash does.
    }
}

async fn every_row_stands_on_exactly_one_page_by_time(place: Place) {
    let s = Samples::new(55);
    let parties = parties(&s);
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    let mut all = traffic(&db, &mut c, &s, &parties, 0..2).await;
    // Many at the same moment, and of another node.
    let mut other = Committer::open(&db, s.node()).await;
    for _ in 0..3 {
        let rows: Vec<_> = (0..7).map(|_| s.row(&parties[0], at(40_000))).collect();
        all.extend(rows.clone());
        other.rows(&db, at(40_000), rows).await;
    }
    all.sort_by_key(|row| row.at);
    let id = |row: &LedgerRow| (row.at, row.request_id.clone());
    for (limit, party) in [(1, None), (3, Some(&parties[0])), (5, Some(&parties[1])), (4_000, None)] {
        for (from, until) in [(at(0), at(9_999_999)), (at(40_000), at(40_001)), (at(40_000), at(40_000))] {
            let scan = RowScan {
                from,
                until,
                key: party.map(|p| p.key.clone()),
                workspace: party.map(|p| p.workspace.clone()),
                limit,
            };
            let (mut rows, mut after) = (Vec::new(), None);
            loop {
                let page = db.rows_in(&scan, after).await.unwrap();
                assert!(page.rows.len() <= limit as usize);
                rows.extend(page.rows);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert!(rows.is_sorted_by_key(|row| row.at));
            let wanted =
                |row: &&LedgerRow| from <= row.at && row.at < until && party.is_none_or(|p| *p == row.party);
            let mut expected: Vec<_> = all.iter().filter(wanted).map(id).collect();
            let mut found: Vec<_> = rows.iter().map(id).collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "{scan:?}");
        }
    }
}

async fn an_empty_ledger_reports_an_empty_total(place: Place) {
    let db = place.open().await;
    let query = UsageQuery::default();
    assert_eq!(db.usage(&query).await.unwrap(), [UsageTotal::default()]);
    let query = UsageQuery { by: Some(UsageBy::Day), until: Some(Timestamp::from_secs(0)), ..query };
    assert_eq!(db.usage(&query).await.unwrap(), []);
}

async fn many_keys_are_asked_for_at_once(place: Place) {
    let (db, s) = (place.open().await, Samples::new(52));
    let mut c = Committer::open(&db, s.node()).await;
    let keys: Vec<_> = (0..50).map(|_| s.party()).collect();
    for (n, party) in keys.iter().enumerate().take(41) {
        let secs = i64::try_from(n).unwrap();
        let row = LedgerRow { outcome: Outcome::Completed, ..s.row(party, at(secs)) };
        c.rows(&db, at(secs), vec![row]).await;
    }
    let ids: Vec<_> = keys.iter().map(|p| p.key.clone()).collect();
    let found = db.key_uses(&ids).await.unwrap();
    assert_eq!(found.iter().map(|(id, _)| id).collect::<Vec<_>>(), ids[..41].iter().collect::<Vec<_>>());
    assert!(found.iter().all(|(_, used)| used.uses == 1));
    assert!(db.key_uses(&[]).await.unwrap().is_empty());
}

/// Adds up rows one by one, by credential and day.
fn through(rows: &[LedgerRow], days: (i64, i64)) -> Vec<CredentialDay> {
    let mut sums: BTreeMap<_, CredentialDay> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.outcome != Outcome::Refused) {
        let Some(credential) = row.route.credential.clone() else { continue };
        let day = row.at.utc_day();
        if day < days.0 || day >= days.1 {
            continue;
        }
        let new = || CredentialDay {
            credential: credential.clone(),
            day,
            requests: 0,
            estimated: 0,
            usage: UsageCounts::default(),
        };
        let sum = sums.entry((credential.clone(), day)).or_insert_with(new);
        sum.requests += 1;
        sum.estimated += u64::from(row.flags.has(RowFlags::ESTIMATED));
        sum.usage = sum.usage.plus(row.usage);
    }
    sums.into_values().collect()
}

async fn what_went_through_credentials_is_exact_after_a_crash(place: Place) {
    let s = Samples::new(53);
    let party = s.party();
    let routes = [s.route(), s.route(), Route { upstream: None, credential: None }];
    let mut rows = Vec::new();
    for hours in [0..30, 30..60] {
        // The first one is dropped without a word, as a crash does.
        let db = place.open().await;
        let mut c = Committer::open(&db, s.node()).await;
        for hour in hours {
            let now = at(hour * 3_600);
            let row = || LedgerRow { route: s.pick(&routes), ..s.row(&party, now) };
            let some = vec![row(), row()];
            rows.extend(some.clone());
            c.rows(&db, now, some).await;
        }
        let first = START.utc_day();
        for days in [(0, i64::MAX), (first, first + 1), (first + 1, first + 2), (first, first)] {
            assert_eq!(db.credential_days(days).await.unwrap(), through(&rows, days), "{days:?}");
        }
    }
}
