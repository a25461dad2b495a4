//! Budgets, what their periods have cost, and what is held back for batches. Totals are written together with the
//! others ([`crate::fold`]), so that each row of the ledger counts exactly once.

use std::collections::BTreeMap;

use async_trait::async_trait;
use claviger_domain::{
    budget::{BudgetMode, BudgetRecord, BudgetSubject, Calendar, Charge, Period},
    clock::Timestamp,
    id::{BudgetId, CreditAccountId, KeyId, NodeId},
    ledger::LedgerRow,
    money::{PICO_PER_USD, PicoUsd},
    ports::{
        StoreError,
        budgets::{BudgetStore, HeldBatch, Learned, NewBudget},
        nodes::SharedStore,
    },
    tenancy::{BatchHold, Resource},
};

use crate::{
    Database,
    apply::expect_one,
    blocks,
    bulk::Bulk,
    engine::{Arg, Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
    usage,
};

statements! {
    LIST = "SELECT id, subject_kind, subject_id, period, zone, limit_pusd, hard, mode, created_us, dropped_us, \
            credit_account, version FROM budgets WHERE dropped_us IS NULL ORDER BY created_us, id";
    INSERT = "INSERT INTO budgets (id, subject_kind, subject_id, period, zone, limit_pusd, hard, mode, created_us, \
              dropped_us, credit_account, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1)";
    UPDATE = "UPDATE budgets SET limit_pusd = $3, hard = $4, mode = $5, dropped_us = $6, version = version + 1 \
              WHERE id = $1 AND version = $2";
    TOTAL = "SELECT budget_id AS id, cost_usd, cost_rest_pusd FROM budget_totals \
             WHERE budget_id = $1 AND window_us = $2";
    KEYS_OF = "SELECT id FROM api_keys WHERE ($1 = 'all') OR ($1 = 'key' AND (lineage = $2 \
               OR parent_id IN (SELECT id FROM api_keys WHERE lineage = $2))) \
               OR ($1 = 'owner' AND owner_id = $2) OR ($1 = 'workspace' AND workspace_id = $2)";
    HELD = "SELECT h.batch AS id, h.held_pusd, h.charges, h.spent_usd, h.spent_rest_pusd FROM batch_holds h \
            JOIN resources r ON r.id = h.batch WHERE r.billed_us IS NULL ORDER BY h.batch";
    HOLD = "INSERT INTO batch_holds (batch, held_pusd, charges, spent_usd, spent_rest_pusd) \
            VALUES ($1, $2, $3, 0, 0) ON CONFLICT (batch) DO NOTHING";
    SPEND = "UPDATE batch_holds SET spent_usd = spent_usd + $2, spent_rest_pusd = spent_rest_pusd + $3 \
             WHERE batch = $1";
    LEARNED = "SELECT key_id AS id, model, known, learned_us FROM learned_costs ORDER BY learned_us DESC LIMIT $1";
    LEARN = "INSERT INTO learned_costs (key_id, model, known, learned_us) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (key_id, model) DO UPDATE SET known = excluded.known, learned_us = excluded.learned_us";
    UNLEARN = "DELETE FROM learned_costs WHERE learned_us < $1";
}

/// What periods have cost more.
pub(crate) static ADD: Bulk = Bulk::new(
    "INSERT INTO budget_totals (budget_id, window_us, cost_usd, cost_rest_pusd) VALUES ",
    4,
    " ON CONFLICT (budget_id, window_us) DO UPDATE SET cost_usd = budget_totals.cost_usd + excluded.cost_usd, \
     cost_rest_pusd = budget_totals.cost_rest_pusd + excluded.cost_rest_pusd",
);

/// What is not written yet.
#[derive(Debug, Default)]
pub(crate) struct Charged {
    periods: BTreeMap<(BudgetId, Timestamp), i128>,
    batches: BTreeMap<String, i128>,
}

impl Charged {
    /// Counts one row. Items of batches are not among what waits: see [`Charged::of_items`].
    pub fn add(&mut self, row: &LedgerRow) {
        if row.batch.is_none() {
            self.count(row);
        }
    }

    /// What items of batches have cost, which is written with them: a batch that is billed to its end holds nothing back
    /// from then on.
    pub fn of_items(rows: &[LedgerRow]) -> Self {
        let mut charged = Self::default();
        rows.iter().filter(|row| row.batch.is_some()).for_each(|row| charged.count(row));
        charged
    }

    /// What it comes to in each period.
    pub fn periods(&self) -> impl Iterator<Item = (&BudgetId, Timestamp, i128)> {
        self.periods.iter().map(|((budget, window), cost)| (budget, *window, *cost))
    }

    fn count(&mut self, row: &LedgerRow) {
        let cost = i128::from(row.cost.as_pico());
        for Charge { budget, window } in &row.charges {
            *self.periods.entry((budget.clone(), *window)).or_default() += cost;
        }
        if let Some(item) = row.batch.as_ref().filter(|_| !row.charges.is_empty()) {
            *self.batches.entry(item.batch.clone()).or_default() += cost;
        }
    }

    /// Adds everything to what is stored, in the order of keys.
    pub async fn write(&self, tx: &mut Tx) -> Result<(), Failure> {
        let values = |((budget, window), cost): (&(BudgetId, Timestamp), &i128)| {
            let (usd, rest) = parts(*cost);
            args![budget.as_str(), *window, usd, rest]
        };
        ADD.execute(tx, self.periods.iter().flat_map(values).collect()).await?;
        for (batch, cost) in &self.batches {
            let (usd, rest) = parts(*cost);
            tx.execute(SPEND, args![batch.as_str(), usd, rest]).await?;
        }
        Ok(())
    }
}

/// Whole dollars, and the rest in pico-dollars.
fn parts(pico: i128) -> (i64, i64) {
    let unit = i128::from(PICO_PER_USD);
    let usd = i64::try_from(pico.div_euclid(unit)).unwrap_or(i64::MAX);
    (usd, i64::try_from(pico.rem_euclid(unit)).unwrap_or(0))
}

fn whole(row: &Row, usd: &'static str, rest: &'static str) -> Result<i128, Unreadable> {
    Ok(i128::from(row.int(usd)?) * i128::from(PICO_PER_USD) + i128::from(row.int(rest)?))
}

#[async_trait]
impl BudgetStore for Database {
    fn shared(&self) -> Option<&dyn SharedStore> {
        match self.db {
            Db::Sqlite { .. } => None,
            Db::Pg(_) => Some(self),
        }
    }

    async fn budgets(&self) -> Result<Vec<BudgetRecord>, StoreError> {
        let rows = self.db.rows(LIST, args![]).await?;
        rows.iter().map(|row| read("budgets", row, budget)).collect()
    }

    async fn budget_totals(&self, periods: &[Charge]) -> Result<Vec<i128>, StoreError> {
        totals(&self.db, periods).await
    }

    async fn keys_of(&self, subject: &BudgetSubject) -> Result<Vec<KeyId>, StoreError> {
        let rows = self.db.rows(KEYS_OF, args![subject.kind(), subject.id()]).await?;
        rows.iter()
            .map(|row| read("api_keys", row, |row| row.parsed("id", |t| KeyId::parse(t).ok())))
            .collect()
    }

    async fn held_batches(&self) -> Result<Vec<HeldBatch>, StoreError> {
        held(&self.db).await
    }

    async fn learned(&self, limit: u32) -> Result<Vec<Learned>, StoreError> {
        let rows = self.db.rows(LEARNED, args![i64::from(limit)]).await?;
        // What a later release has written, or cannot be read, is learned again.
        Ok(rows.iter().filter_map(|row| learned(row).ok()).collect())
    }

    async fn keep_learned(&self, learned: &[Learned], before: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        for Learned { key, model, known, at } in learned {
            let Ok(known) = serde_json::to_string(known) else { continue };
            tx.execute(LEARN, args![key.as_str(), model.as_str(), known, *at]).await?;
        }
        tx.execute(UNLEARN, args![before]).await?;
        Ok(tx.commit().await?)
    }
}

/// Totals, and rows that no total holds yet, of one state of the database.
async fn totals(db: &Db, periods: &[Charge]) -> Result<Vec<i128>, StoreError> {
    let mut tx = db.snapshot().await?;
    let rest = usage::unfolded_of_all(&mut tx).await?.charged;
    let mut totals = Vec::with_capacity(periods.len());
    for Charge { budget, window } in periods {
        let row = tx.row(TOTAL, args![budget.as_str(), *window]).await?;
        let stored = row
            .map(|row| read("budget_totals", &row, |row| whole(row, "cost_usd", "cost_rest_pusd")))
            .transpose()?
            .unwrap_or_default();
        totals.push(stored + rest.periods.get(&(budget.clone(), *window)).copied().unwrap_or_default());
    }
    Ok(totals)
}

async fn held(db: &Db) -> Result<Vec<HeldBatch>, StoreError> {
    let mut tx = db.snapshot().await?;
    let rest = usage::unfolded_of_all(&mut tx).await?.charged;
    let mut batches = Vec::new();
    tx.each(HELD, args![], |row| {
        let mut batch = read("batch_holds", &row, held_batch)?;
        batch.spent += rest.batches.get(&batch.batch).copied().unwrap_or_default();
        batches.push(batch);
        Ok(())
    })
    .await?;
    Ok(batches)
}

fn held_batch(row: &Row) -> Result<HeldBatch, Unreadable> {
    let amount = PicoUsd::new(i128::from(row.int("held_pusd")?)).map_err(|_| Unreadable("held_pusd"))?;
    let charges = serde_json::from_str(row.text("charges")?).map_err(|_| Unreadable("charges"))?;
    Ok(HeldBatch {
        batch: row.text("id")?.to_owned(),
        hold: BatchHold { amount, charges },
        spent: whole(row, "spent_usd", "spent_rest_pusd")?,
    })
}

fn budget(row: &Row) -> Result<BudgetRecord, Unreadable> {
    let subject = BudgetSubject::from_parts(row.text("subject_kind")?, row.text("subject_id")?);
    let period = row.parsed("period", Period::parse)?;
    Ok(BudgetRecord {
        id: row.parsed("id", |t| BudgetId::parse(t).ok())?,
        subject: subject.ok_or(Unreadable("subject_id"))?,
        calendar: Calendar::new(period, row.text("zone")?).map_err(|_| Unreadable("zone"))?,
        limit: PicoUsd::new(i128::from(row.int("limit_pusd")?)).map_err(|_| Unreadable("limit_pusd"))?,
        hard: row.int("hard")? != 0,
        mode: row.parsed("mode", BudgetMode::parse)?,
        created_at: row.time("created_us")?,
        dropped_at: row.opt_time("dropped_us")?,
        credit: match row.text("credit_account")? {
            "" => None,
            text => Some(CreditAccountId::parse(text).map_err(|_| Unreadable("credit_account"))?),
        },
        version: row.int("version")?,
    })
}

fn learned(row: &Row) -> Result<Learned, Unreadable> {
    Ok(Learned {
        key: row.parsed("id", |t| KeyId::parse(t).ok())?,
        model: row.text("model")?.to_owned(),
        known: serde_json::from_str(row.text("known")?).map_err(|_| Unreadable("known"))?,
        at: row.time("learned_us")?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, new: &NewBudget) -> Result<(), Failure> {
    let NewBudget { record, charge, settled } = new;
    let values: Vec<Arg> = args![
        record.id.as_str(),
        record.subject.kind(),
        record.subject.id(),
        record.calendar.period().as_str(),
        record.calendar.zone(),
        record.limit.as_pico(),
        record.hard,
        record.mode.as_str(),
        record.created_at,
        record.dropped_at,
        record.credit.as_ref().map_or("", CreditAccountId::as_str),
    ];
    let inserted = tx.execute(INSERT, values).await;
    inserted.map_err(|error| Failure::Store(error.conflict("budget")))?;
    let (usd, rest) = parts(*settled);
    ADD.execute(tx, args![charge.budget.as_str(), charge.window, usd, rest]).await
}

pub(crate) async fn update(tx: &mut Tx, record: &BudgetRecord) -> Result<(), Failure> {
    let values = args![
        record.id.as_str(),
        record.version,
        record.limit.as_pico(),
        record.hard,
        record.mode.as_str(),
        record.dropped_at
    ];
    expect_one(tx.execute(UPDATE, values).await?, "budget")
}

/// Holds money back for the batches among what was made. Where nodes have blocks, it leaves the block of the one that made
/// them.
pub(crate) async fn hold(tx: &mut Tx, node: &NodeId, resources: &[Resource]) -> Result<(), Failure> {
    for resource in resources {
        let Some(BatchHold { amount, charges }) = &resource.held else { continue };
        let text = serde_json::to_string(charges).map_err(|_| StoreError::Corrupt {
            table: "batch_holds",
            id: resource.id.clone(),
            why: "its charges cannot be written as JSON".to_owned(),
        })?;
        if tx.execute(HOLD, args![resource.id.as_str(), amount.as_pico(), text]).await? == 1 {
            let left = charges.iter().map(|c| (&c.budget, c.window, i128::from(amount.as_pico())));
            blocks::leave(tx, node, left).await?;
        }
    }
    Ok(())
}
