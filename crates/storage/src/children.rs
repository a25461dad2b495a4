//! Child keys: how many live, and what they did that counts for their parent.

use std::collections::HashSet;

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    id::KeyId,
    limit::{Tokens, UsedBefore},
    ports::{
        StoreError,
        children::{ChildCap, ChildStore},
    },
};

use crate::{
    Database,
    apply::expect_one,
    engine::{Tx, args, read, statements},
    failure::Failure,
    usage,
};

statements! {
    /// Takes the lock of the parent's row, so that what is counted next holds until the end of the transaction.
    HOLD_PARENT = "UPDATE api_keys SET version = version WHERE id = $1 AND state = 'active'";
    /// Living children.
    COUNT_LIVING = "SELECT CAST(COUNT(*) AS BIGINT) AS id FROM api_keys \
                    WHERE parent_id = $1 AND state = 'active' AND expires_us > $2";
    ANY = "SELECT id FROM api_keys WHERE parent_id = $1 LIMIT 1";
    /// Those that may have been used since a moment.
    LATELY = "SELECT id FROM api_keys WHERE parent_id = $1 AND expires_us > $2";
    /// Requests by bucket, and tokens that were not read from the cache, on whole days.
    DAYS = "SELECT CAST(COALESCE(SUM(u.work), 0) AS BIGINT) AS work, CAST(COALESCE(SUM(u.look), 0) AS BIGINT) AS look, \
            CAST(COALESCE(SUM(u.input_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens), 0) AS BIGINT) \
            AS input_tokens, CAST(COALESCE(SUM(u.output_tokens), 0) AS BIGINT) AS output_tokens \
            FROM api_keys k JOIN usage_days u ON u.key_id = k.id WHERE k.parent_id = $1 AND u.utc_day >= $2";
    LAST_USED = "SELECT MAX(u.last_used_us) AS last_used_us \
                 FROM api_keys k JOIN key_uses u ON u.key_id = k.id WHERE k.parent_id = $1";
    USES = "SELECT CAST(COALESCE(SUM(u.uses), 0) AS BIGINT) AS uses \
            FROM api_keys k JOIN key_uses u ON u.key_id = k.id WHERE k.parent_id = $1";
}

/// Fails unless the parent may be used and has no more living children than allowed.
pub(crate) async fn hold(tx: &mut Tx, cap: &ChildCap) -> Result<(), Failure> {
    expect_one(tx.execute(HOLD_PARENT, args![cap.parent.as_str()]).await?, "parent")?;
    let row = tx.row(COUNT_LIVING, args![cap.parent.as_str(), cap.now]).await?;
    let living = row.map(|row| read("api_keys", &row, |row| row.int("id"))).transpose()?.unwrap_or_default();
    let living = u32::try_from(living).unwrap_or(u32::MAX);
    if living > cap.most {
        return Err(StoreError::OverCap { has: living - 1, allowed: cap.most }.into());
    }
    Ok(())
}

#[async_trait]
impl ChildStore for Database {
    async fn used_by_children(&self, parent: &KeyId, since: Timestamp) -> Result<UsedBefore, StoreError> {
        let mut tx = self.db.snapshot().await?;
        if tx.row(ANY, args![parent.as_str()]).await?.is_none() {
            return Ok(UsedBefore::default());
        }
        let mut used = UsedBefore::default();
        if let Some(row) = tx.row(DAYS, args![parent.as_str(), since.utc_day()]).await? {
            let column = |name| read("usage_days", &row, |row| row.int(name)).map(i64::cast_unsigned);
            (used.work_today, used.look_today) = (column("work")?, column("look")?);
            used.tokens_today = Tokens { input: column("input_tokens")?, output: column("output_tokens")? };
        }
        if let Some(row) = tx.row(USES, args![parent.as_str()]).await? {
            used.uses = read("key_uses", &row, |row| row.int("uses"))?.cast_unsigned();
        }
        add_unfolded(&mut tx, parent, since, &mut used).await?;
        Ok(used)
    }

    async fn children_last_used(&self, parent: &KeyId) -> Result<Option<Timestamp>, StoreError> {
        let row = self.db.row(LAST_USED, args![parent.as_str()]).await?;
        Ok(row.map(|row| read("key_uses", &row, |row| row.opt_time("last_used_us"))).transpose()?.flatten())
    }
}

/// What no total holds yet: about one second of traffic.
async fn add_unfolded(
    tx: &mut Tx,
    parent: &KeyId,
    since: Timestamp,
    used: &mut UsedBefore,
) -> Result<(), Failure> {
    let mut children = HashSet::new();
    tx.each(LATELY, args![parent.as_str(), since], |row| {
        children.insert(read("api_keys", &row, |row| row.parsed("id", |t| KeyId::parse(t).ok()))?);
        Ok(())
    })
    .await?;
    if children.is_empty() {
        return Ok(());
    }
    let pending = usage::unfolded_of_all(tx).await?;
    for (day, total) in &pending.days {
        if children.contains(&day.key) && day.day >= since.utc_day() {
            *used = used.plus(total.used());
        }
    }
    used.uses += pending
        .uses
        .iter()
        .filter(|(id, _)| children.contains(id))
        .map(|(_, d)| d.uses.cast_unsigned())
        .sum::<u64>();
    Ok(())
}
