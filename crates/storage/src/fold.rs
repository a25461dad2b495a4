//! From rows to daily totals and key counters, once a second, exactly once a row.
//!
//! Totals wait in memory and are written with a later group, together with the mark up to which rows are counted. A
//! crash loses only what is in memory; the rows behind the mark are counted again from the ledger.

use std::collections::BTreeMap;

use claviger_domain::{
    clock::Timestamp,
    id::{KeyId, NodeId, WorkspaceId},
    ledger::{LedgerRow, Outcome, RowFlags},
    limit::{Tokens, UsedBefore},
    money::PICO_PER_USD,
    permission::{Access, Endpoint, Scopes},
    ports::UsageTotal,
};

use crate::{
    blocks,
    budgets::{self, Charged},
    bulk::Bulk,
    credential_days::{self, Credentials},
    engine::{Arg, Row, Tx, Unreadable, args},
    failure::Failure,
};

/// A row's tokens of one class count for at most this many in daily totals: no answer has so many, and 9 million such
/// rows a day fit into the column.
pub(crate) const ROW_TOKENS_MAX: u64 = 1_000_000_000_000;

/// What a daily total is filed under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DayKey {
    pub key: KeyId,
    pub day: i64,
    pub model: String,
    pub workspace: WorkspaceId,
}

/// One daily total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DayTotal {
    pub requests: i64,
    pub errors: i64,
    /// Requests of the bucket that spends; batch items are none.
    pub work: i64,
    /// Requests of the bucket that only looks.
    pub look: i64,
    /// Input, 5-minute write, 1-hour write, cache read, output, web searches.
    pub counts: [i64; 6],
    pub estimated: i64,
    /// Answers out of the response cache.
    pub recalled: i64,
    pub cost_pusd: i128,
    /// Which endpoints were read and written.
    pub accesses: Scopes,
}

/// How much a key was used since the last writing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct UseDelta {
    pub uses: i64,
    pub last_used: Timestamp,
    pub ip: String,
    pub agent: String,
}

/// Totals that are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub days: BTreeMap<DayKey, DayTotal>,
    pub uses: BTreeMap<KeyId, UseDelta>,
    pub credentials: Credentials,
    pub charged: Charged,
}

impl Pending {
    /// Counts one row.
    pub fn add(&mut self, row: &LedgerRow) {
        if row.outcome == Outcome::Refused {
            return;
        }
        let day = DayKey {
            key: row.party.key.clone(),
            day: row.at.utc_day(),
            model: row.model.clone(),
            workspace: row.party.workspace.clone(),
        };
        self.days.entry(day).or_default().add(row);
        self.credentials.add(row);
        self.charged.add(row);
        if row.batch.is_none() {
            let delta = self.uses.entry(row.party.key.clone()).or_default();
            delta.uses += 1;
            if delta.last_used <= row.at {
                delta.last_used = row.at;
                delta.ip.clone_from(&row.client_ip);
                delta.agent.clone_from(&row.user_agent);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Adds everything to what is stored; in the order of keys, so that two writers cannot deadlock. What calls have cost
    /// leaves the node's blocks.
    pub async fn write(&self, tx: &mut Tx, node: &NodeId) -> Result<(), Failure> {
        let mut values = Vec::with_capacity(self.days.len() * DAY_COLUMNS);
        for (day, total) in &self.days {
            total.values(day, &mut values);
        }
        ADD_DAYS.execute(tx, values).await?;
        let uses = |(key, delta): (&KeyId, &UseDelta)| {
            // PostgreSQL keeps no NUL in a text, and no total may be refused for one.
            let [ip, agent] = [&delta.ip, &delta.agent].map(|text| text.replace('\0', ""));
            args![key.as_str(), delta.uses, delta.last_used, ip, agent]
        };
        ADD_USES.execute(tx, self.uses.iter().flat_map(uses).collect()).await?;
        credential_days::ADD.execute(tx, self.credentials.values()).await?;
        self.charged.write(tx).await?;
        blocks::leave(tx, node, self.charged.periods()).await
    }
}

impl DayTotal {
    fn add(&mut self, row: &LedgerRow) {
        self.requests += 1;
        self.errors += i64::from(row.outcome != Outcome::Completed);
        if row.batch.is_none() {
            let looks = row.endpoint == Endpoint::CountTokens
                || row.api_endpoint.starts_with("GET ")
                || row.api_endpoint.starts_with("HEAD ");
            let access = if looks { Access::Read } else { Access::Write };
            self.accesses = self.accesses.with(row.endpoint, access);
            *(if looks { &mut self.look } else { &mut self.work }) += 1;
        }
        let u = row.usage;
        let counts = [
            u.input_tokens,
            u.cache_write_5m_tokens,
            u.cache_write_1h_tokens,
            u.cache_read_tokens,
            u.output_tokens,
            u.web_search_requests,
        ];
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += count.min(ROW_TOKENS_MAX).cast_signed();
        }
        self.estimated += i64::from(row.flags.has(RowFlags::ESTIMATED));
        self.recalled += i64::from(row.flags.has(RowFlags::RECALLED));
        self.cost_pusd += i128::from(row.cost.as_pico());
    }

    /// Money goes into two columns, whole dollars and the rest: a column grows by less than 10^12 a writing, so even
    /// one a second of 80 nodes for a day stays below 2^63.
    fn values(&self, day: &DayKey, values: &mut Vec<Arg>) {
        let unit = i128::from(PICO_PER_USD);
        let dollars = i64::try_from(self.cost_pusd.div_euclid(unit)).unwrap_or(i64::MAX);
        let rest = i64::try_from(self.cost_pusd.rem_euclid(unit)).unwrap_or(0);
        values.extend(args![
            day.key.as_str(),
            day.day,
            day.model.as_str(),
            day.workspace.as_str(),
            self.requests,
            self.errors,
            self.work,
            self.look,
        ]);
        values.extend(self.counts.map(Arg::Int));
        values.extend(args![self.estimated, dollars, rest, self.accesses.bits(), self.recalled]);
    }

    /// Reads a stored total.
    pub fn read(row: &Row) -> Result<Self, Unreadable> {
        Ok(Self {
            requests: row.int("requests")?,
            errors: row.int("errors")?,
            work: row.int("work")?,
            look: row.int("look")?,
            counts: [
                row.int("input_tokens")?,
                row.int("cache_write_5m_tokens")?,
                row.int("cache_write_1h_tokens")?,
                row.int("cache_read_tokens")?,
                row.int("output_tokens")?,
                row.int("web_search_requests")?,
            ],
            estimated: row.int("estimated")?,
            recalled: row.int("recalled")?,
            cost_pusd: i128::from(row.int("cost_usd")?) * i128::from(PICO_PER_USD)
                + i128::from(row.int("cost_rest_pusd")?),
            accesses: Scopes::from_bits(row.int("accesses")?),
        })
    }

    /// What of it limits count.
    pub fn used(&self) -> UsedBefore {
        let [input, write_5m, write_1h, _, output, _] = self.counts.map(i64::cast_unsigned);
        UsedBefore {
            work_today: self.work.cast_unsigned(),
            look_today: self.look.cast_unsigned(),
            uses: 0,
            tokens_today: Tokens { input: input + write_5m + write_1h, output },
        }
    }

    /// Adds it to a report's row.
    pub fn add_to(&self, total: &mut UsageTotal) {
        let [input, write_5m, write_1h, read, output, searches] = self.counts.map(i64::cast_unsigned);
        total.requests += self.requests.cast_unsigned();
        total.errors += self.errors.cast_unsigned();
        total.input_tokens += input;
        total.cache_write_5m_tokens += write_5m;
        total.cache_write_1h_tokens += write_1h;
        total.cache_read_tokens += read;
        total.output_tokens += output;
        total.web_search_requests += searches;
        total.estimated += self.estimated.cast_unsigned();
        total.recalled += self.recalled.cast_unsigned();
        total.cost_pusd += self.cost_pusd;
        total.accesses = total.accesses.and(self.accesses);
    }
}

/// How many values a daily total has.
const DAY_COLUMNS: usize = 19;

static ADD_DAYS: Bulk = Bulk::new(
    "INSERT INTO usage_days (key_id, utc_day, model, workspace_id, requests, errors, work, look, input_tokens, \
     cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, web_search_requests, \
     estimated, cost_usd, cost_rest_pusd, accesses, recalled) VALUES ",
    DAY_COLUMNS,
    " ON CONFLICT (key_id, utc_day, model, workspace_id) DO UPDATE SET \
     requests = usage_days.requests + excluded.requests, errors = usage_days.errors + excluded.errors, \
     work = usage_days.work + excluded.work, look = usage_days.look + excluded.look, \
     input_tokens = usage_days.input_tokens + excluded.input_tokens, \
     cache_write_5m_tokens = usage_days.cache_write_5m_tokens + excluded.cache_write_5m_tokens, \
     cache_write_1h_tokens = usage_days.cache_write_1h_tokens + excluded.cache_write_1h_tokens, \
     cache_read_tokens = usage_days.cache_read_tokens + excluded.cache_read_tokens, \
     output_tokens = usage_days.output_tokens + excluded.output_tokens, \
     web_search_requests = usage_days.web_search_requests + excluded.web_search_requests, \
     estimated = usage_days.estimated + excluded.estimated, \
     cost_usd = usage_days.cost_usd + excluded.cost_usd, \
     cost_rest_pusd = usage_days.cost_rest_pusd + excluded.cost_rest_pusd, \
     accesses = usage_days.accesses | excluded.accesses, \
     recalled = usage_days.recalled + excluded.recalled",
);

static ADD_USES: Bulk = Bulk::new(
    "INSERT INTO key_uses (key_id, uses, last_used_us, last_used_ip, last_user_agent) VALUES ",
    5,
    " ON CONFLICT (key_id) DO UPDATE SET uses = key_uses.uses + excluded.uses, \
     last_used_ip = CASE WHEN excluded.last_used_us >= key_uses.last_used_us \
     THEN excluded.last_used_ip ELSE key_uses.last_used_ip END, \
     last_user_agent = CASE WHEN excluded.last_used_us >= key_uses.last_used_us \
     THEN excluded.last_user_agent ELSE key_uses.last_user_agent END, \
     last_used_us = CASE WHEN excluded.last_used_us >= key_uses.last_used_us \
     THEN excluded.last_used_us ELSE key_uses.last_used_us END",
);

/// Those that have many rows.
pub(crate) static BULKS: [(&str, &Bulk); 4] = [
    ("ADD_DAYS", &ADD_DAYS),
    ("ADD_USES", &ADD_USES),
    ("ADD_CREDENTIAL_DAYS", &credential_days::ADD),
    ("ADD_BUDGET_TOTALS", &budgets::ADD),
];
