//! What went through each credential by day. Written together with the other totals ([`crate::fold`]), so that each
//! row of the ledger counts exactly once.

use std::collections::BTreeMap;

use claviger_domain::{
    direct_use::CredentialDay,
    id::CredentialId,
    ledger::{LedgerRow, RowFlags, UsageCounts},
    ports::StoreError,
};

use crate::{
    bulk::Bulk,
    engine::{Arg, Db, Row, Unreadable, args, read, statements},
    fold::ROW_TOKENS_MAX,
    usage,
};

statements! {
    DAYS = "SELECT credential_id AS id, utc_day, requests, estimated, input_tokens, cache_write_5m_tokens, \
            cache_write_1h_tokens, cache_read_tokens, output_tokens, web_search_requests FROM credential_days \
            WHERE utc_day >= $1 AND utc_day < $2 ORDER BY credential_id, utc_day";
}

pub(crate) static ADD: Bulk = Bulk::new(
    "INSERT INTO credential_days (credential_id, utc_day, requests, estimated, input_tokens, \
     cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_search_requests) VALUES ",
    10,
    " ON CONFLICT (credential_id, utc_day) DO UPDATE SET \
     requests = credential_days.requests + excluded.requests, \
     estimated = credential_days.estimated + excluded.estimated, \
     input_tokens = credential_days.input_tokens + excluded.input_tokens, \
     cache_write_5m_tokens = credential_days.cache_write_5m_tokens + excluded.cache_write_5m_tokens, \
     cache_write_1h_tokens = credential_days.cache_write_1h_tokens + excluded.cache_write_1h_tokens, \
     cache_read_tokens = credential_days.cache_read_tokens + excluded.cache_read_tokens, \
     output_tokens = credential_days.output_tokens + excluded.output_tokens, \
     web_search_requests = credential_days.web_search_requests + excluded.web_search_requests",
);

/// What is not written yet.
#[derive(Debug, Default)]
pub(crate) struct Credentials(BTreeMap<CredentialId, BTreeMap<i64, Sum>>);

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    requests: u64,
    estimated: u64,
    usage: UsageCounts,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.estimated += other.estimated;
        self.usage = self.usage.plus(other.usage);
    }
}

impl Credentials {
    /// Counts one row; those that the simulator answered have no credential.
    pub fn add(&mut self, row: &LedgerRow) {
        let Some(credential) = &row.route.credential else { return };
        // No allocation for a credential that was seen before.
        if !self.0.contains_key(credential) {
            self.0.insert(credential.clone(), BTreeMap::new());
        }
        let Some(days) = self.0.get_mut(credential) else { return };
        let estimated = u64::from(row.flags.has(RowFlags::ESTIMATED));
        days.entry(row.at.utc_day()).or_default().add(Sum {
            requests: 1,
            estimated,
            usage: capped(row.usage),
        });
    }

    /// The values of [`ADD`].
    pub fn values(&self) -> Vec<Arg> {
        let each = self.0.iter().flat_map(|(id, days)| days.iter().map(move |(day, sum)| (id, *day, *sum)));
        let values = |(id, day, sum): (&CredentialId, i64, Sum)| {
            let u = sum.usage;
            let counts = [
                sum.requests,
                sum.estimated,
                u.input_tokens,
                u.cache_write_5m_tokens,
                u.cache_write_1h_tokens,
                u.cache_read_tokens,
                u.output_tokens,
                u.web_search_requests,
            ];
            [args![id.as_str(), day], counts.map(|n| Arg::Int(n.cast_signed())).to_vec()].concat()
        };
        each.flat_map(values).collect()
    }
}

/// What no answer exceeds counts for no more, so that no sum of a day overflows its column.
const fn capped(usage: UsageCounts) -> UsageCounts {
    const fn least(count: u64) -> u64 {
        if count < ROW_TOKENS_MAX { count } else { ROW_TOKENS_MAX }
    }
    UsageCounts {
        input_tokens: least(usage.input_tokens),
        cache_write_5m_tokens: least(usage.cache_write_5m_tokens),
        cache_write_1h_tokens: least(usage.cache_write_1h_tokens),
        cache_read_tokens: least(usage.cache_read_tokens),
        output_tokens: least(usage.output_tokens),
        web_search_requests: least(usage.web_search_requests),
    }
}

/// Totals, and rows that no total holds yet, of one state of the database.
pub(crate) async fn list(db: &Db, (from, until): (i64, i64)) -> Result<Vec<CredentialDay>, StoreError> {
    let mut tx = db.snapshot().await?;
    let mut sums: BTreeMap<(CredentialId, i64), Sum> = BTreeMap::new();
    tx.each(DAYS, args![from, until], |row| {
        let (id, day, sum) = read("credential_days", &row, stored)?;
        sums.entry((id, day)).or_default().add(sum);
        Ok(())
    })
    .await?;
    let rest = usage::unfolded_of_all(&mut tx).await?.credentials;
    for (id, days) in rest.0 {
        for (day, sum) in days.range(from..until) {
            sums.entry((id.clone(), *day)).or_default().add(*sum);
        }
    }
    let whole = |((credential, day), sum): ((CredentialId, i64), Sum)| CredentialDay {
        credential,
        day,
        requests: sum.requests,
        estimated: sum.estimated,
        usage: sum.usage,
    };
    Ok(sums.into_iter().map(whole).collect())
}

fn stored(row: &Row) -> Result<(CredentialId, i64, Sum), Unreadable> {
    let count = |column| row.int(column).map(i64::cast_unsigned);
    let usage = UsageCounts {
        input_tokens: count("input_tokens")?,
        cache_write_5m_tokens: count("cache_write_5m_tokens")?,
        cache_write_1h_tokens: count("cache_write_1h_tokens")?,
        cache_read_tokens: count("cache_read_tokens")?,
        output_tokens: count("output_tokens")?,
        web_search_requests: count("web_search_requests")?,
    };
    let sum = Sum { requests: count("requests")?, estimated: count("estimated")?, usage };
    Ok((row.parsed("id", |t| CredentialId::parse(t).ok())?, row.int("utc_day")?, sum))
}
