//! Which clients used a key, as the newest rows of the ledger tell. The ledger has no index by key: that would cost
//! every commit something for a question that is seldom asked, so the answer looks through so many rows and no more.

use std::collections::{HashMap, HashSet};

use claviger_domain::{
    clock::Timestamp,
    id::KeyId,
    ports::{ClientUse, Clients, StoreError},
};

use crate::{
    engine::{Db, args, read, statements},
    ledger,
};

statements! {
    NEWEST = "SELECT id, at_us, key_id, body FROM ledger WHERE at_us >= $1 ORDER BY at_us DESC LIMIT $2";
}

/// More clients than this are not told apart.
const MOST: usize = 1_000;

pub(crate) async fn since(
    db: &Db,
    keys: &[KeyId],
    since: Timestamp,
    rows: u32,
) -> Result<Clients, StoreError> {
    let wanted: HashSet<&str> = keys.iter().map(KeyId::as_str).collect();
    let mut seen: HashMap<(String, String), ClientUse> = HashMap::new();
    let (mut looked_through, mut truncated_at) = (0, None);
    let mut tx = db.snapshot().await?;
    tx.each(NEWEST, args![since, rows.saturating_add(1)], |row| {
        looked_through += 1;
        let (at, client) = read("ledger", &row, |row| {
            let is_wanted = looked_through <= rows && wanted.contains(row.text("key_id")?);
            Ok((row.time("at_us")?, is_wanted.then(|| ledger::client_of(row)).transpose()?))
        })?;
        let is_full = seen.len() >= MOST;
        match client.map(|client| (seen.contains_key(&client), client)) {
            Some((false, _)) if is_full => truncated_at = truncated_at.max(Some(at)),
            Some((_, client)) => {
                let (client_ip, user_agent) = client.clone();
                let new = ClientUse { client_ip, user_agent, requests: 0, last_used_at: at };
                seen.entry(client).or_insert(new).requests += 1;
            }
            None if looked_through > rows => truncated_at = truncated_at.max(Some(at)),
            None => {}
        }
        Ok(())
    })
    .await?;
    let mut seen: Vec<ClientUse> = seen.into_values().collect();
    seen.sort_by(|a, b| {
        (b.last_used_at, &a.client_ip, &a.user_agent).cmp(&(a.last_used_at, &b.client_ip, &b.user_agent))
    });
    Ok(Clients { seen, truncated_at })
}
