//! The book of prepaid credit. Entries are only added; that nobody changes them is the database's business, too.

use async_trait::async_trait;
use claviger_domain::{
    budget::BudgetSubject,
    credit::{AccountRecord, Balances, Entry, EntryKind, Place},
    id::{BudgetId, CreditAccountId, CreditEntryId},
    money::PicoUsd,
    ports::{
        StoreError,
        credit::{CreditStore, NewEntry},
    },
};

use crate::{
    Database,
    apply::expect_one,
    engine::{Arg, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

statements! {
    ACCOUNTS = "SELECT id, subject_kind, subject_id, budget_id, opened_us, entries, cash, available, held, usage, \
                captured, adjustments FROM credit_accounts ORDER BY opened_us, id";
    OPEN = "INSERT INTO credit_accounts (id, subject_kind, subject_id, budget_id, opened_us, entries, cash, available, \
            held, usage, captured, adjustments) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    /// Nobody else's entry came between.
    MOVE = "UPDATE credit_accounts SET entries = $3, cash = $4, available = $5, held = $6, usage = $7, captured = $8, \
            adjustments = $9 WHERE id = $1 AND entries = $2";
    INSERT = "INSERT INTO credit_entries (id, account_id, number, kind, taken_from, given_to, amount_pusd, at_us, \
              reference, hold_id, note) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    ENTRY = "SELECT id, account_id, number, kind, taken_from, given_to, amount_pusd, at_us, reference, hold_id, note \
             FROM credit_entries WHERE id = $1";
    REFERENCE = "SELECT id, account_id, number, kind, taken_from, given_to, amount_pusd, at_us, reference, hold_id, note \
                 FROM credit_entries WHERE reference = $1";
    ENTRIES = "SELECT id, account_id, number, kind, taken_from, given_to, amount_pusd, at_us, reference, hold_id, note \
               FROM credit_entries WHERE account_id = $1 AND number > $2 ORDER BY number LIMIT $3";
    TAKEN = "SELECT id, amount_pusd FROM credit_entries WHERE hold_id = $1";
}

#[async_trait]
impl CreditStore for Database {
    async fn credit_accounts(&self) -> Result<Vec<AccountRecord>, StoreError> {
        let rows = self.db.rows(ACCOUNTS, args![]).await?;
        rows.iter().map(|row| read("credit_accounts", row, account)).collect()
    }

    async fn credit_entry(&self, id: &CreditEntryId) -> Result<Option<Entry>, StoreError> {
        let row = self.db.row(ENTRY, args![id.as_str()]).await?;
        row.map(|row| read("credit_entries", &row, entry)).transpose()
    }

    async fn credit_reference(&self, reference: &str) -> Result<Option<Entry>, StoreError> {
        let row = self.db.row(REFERENCE, args![reference]).await?;
        row.map(|row| read("credit_entries", &row, entry)).transpose()
    }

    async fn credit_entries(
        &self,
        account: &CreditAccountId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let rows = self.db.rows(ENTRIES, args![account.as_str(), after, limit]).await?;
        rows.iter().map(|row| read("credit_entries", row, entry)).collect()
    }

    async fn credit_taken(&self, hold: &CreditEntryId) -> Result<i128, StoreError> {
        let rows = self.db.rows(TAKEN, args![hold.as_str()]).await?;
        let amount = |row: &Row| read("credit_entries", row, |row| row.int("amount_pusd"));
        rows.iter().map(|row| amount(row).map(i128::from)).sum()
    }
}

fn account(row: &Row) -> Result<AccountRecord, Unreadable> {
    let subject = BudgetSubject::from_parts(row.text("subject_kind")?, row.text("subject_id")?);
    let mut amounts = [0; Place::ALL.len()];
    for (place, amount) in Place::ALL.into_iter().zip(&mut amounts) {
        *amount = row.parsed(place.as_str(), |text| text.parse().ok())?;
    }
    Ok(AccountRecord {
        id: row.parsed("id", |t| CreditAccountId::parse(t).ok())?,
        subject: subject.ok_or(Unreadable("subject_id"))?,
        budget: row.parsed("budget_id", |t| BudgetId::parse(t).ok())?,
        opened_at: row.time("opened_us")?,
        balances: Balances::new(amounts),
        entries: row.int("entries")?,
    })
}

fn entry(row: &Row) -> Result<Entry, Unreadable> {
    let kind = row.parsed("kind", EntryKind::parse)?;
    let way = (row.parsed("taken_from", Place::parse)?, row.parsed("given_to", Place::parse)?);
    if way != kind.way() {
        return Err(Unreadable("kind"));
    }
    Ok(Entry {
        id: row.parsed("id", |t| CreditEntryId::parse(t).ok())?,
        account: row.parsed("account_id", |t| CreditAccountId::parse(t).ok())?,
        number: row.int("number")?,
        kind,
        amount: PicoUsd::new(i128::from(row.int("amount_pusd")?)).map_err(|_| Unreadable("amount_pusd"))?,
        at: row.time("at_us")?,
        reference: row.opt_text("reference")?.map(str::to_owned),
        hold: match row.opt_text("hold_id")? {
            None => None,
            Some(text) => Some(CreditEntryId::parse(text).map_err(|_| Unreadable("hold_id"))?),
        },
        note: row.text("note")?.to_owned(),
    })
}

fn amounts(record: &AccountRecord) -> impl Iterator<Item = Arg> + '_ {
    Place::ALL.into_iter().map(|place| Arg::from(record.balances.of(place).to_string()))
}

pub(crate) async fn open(tx: &mut Tx, record: &AccountRecord) -> Result<(), Failure> {
    let mut values = args![
        record.id.as_str(),
        record.subject.kind(),
        record.subject.id(),
        record.budget.as_str(),
        record.opened_at,
        record.entries,
    ];
    values.extend(amounts(record));
    let opened = tx.execute(OPEN, values).await;
    opened.map_err(|error| Failure::Store(error.conflict("credit account"))).map(drop)
}

pub(crate) async fn book(tx: &mut Tx, new: &NewEntry) -> Result<(), Failure> {
    let NewEntry { account, entry } = new;
    let mut values = args![account.id.as_str(), account.entries - 1, account.entries];
    values.extend(amounts(account));
    expect_one(tx.execute(MOVE, values).await?, "credit account")?;
    let (from, to) = entry.kind.way();
    let values = args![
        entry.id.as_str(),
        entry.account.as_str(),
        entry.number,
        entry.kind.as_str(),
        from.as_str(),
        to.as_str(),
        entry.amount.as_pico(),
        entry.at,
        entry.reference.as_deref(),
        entry.hold.as_ref().map(CreditEntryId::as_str),
        entry.note.replace('\0', ""),
    ];
    let booked = tx.execute(INSERT, values).await;
    booked.map_err(|error| Failure::Store(error.conflict("credit entry"))).map(drop)
}
