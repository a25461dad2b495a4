//! Keys: their records. How much they are used is in [`crate::usage`].

use claviger_domain::{
    clock::Timestamp,
    id::{KeyId, OwnerId, WorkspaceId},
    key::{KeyRecord, KeyState, Revocation, RevocationReason},
    mac::{KeyMac, PepperVersion},
    policy::Policy,
    ports::{
        GrantRow, KeyFilter, StoreError,
        lifecycle::{LifePlace, UncertifiedKey},
    },
    proof::Proofs,
    rotation::{Succession, deadline},
    token::{KeyClass, PublicId},
};

use crate::{
    engine::{Arg, Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
    signing, tenants,
};

macro_rules! columns {
    ($prefix:literal) => {
        concat!(
            $prefix,
            "id, ",
            $prefix,
            "class, ",
            $prefix,
            "name, ",
            $prefix,
            "owner_id, ",
            $prefix,
            "workspace_id, ",
            $prefix,
            "mac, ",
            $prefix,
            "pepper_version, ",
            $prefix,
            "hint, ",
            $prefix,
            "state, ",
            $prefix,
            "policy, ",
            $prefix,
            "created_us, ",
            $prefix,
            "not_before_us, ",
            $prefix,
            "expires_us, ",
            $prefix,
            "revoked_us, ",
            $prefix,
            "revoke_reason, ",
            $prefix,
            "revoke_immediate, ",
            $prefix,
            "rotated_from, ",
            $prefix,
            "lineage, ",
            $prefix,
            "parent_id, ",
            $prefix,
            "deprecation, ",
            $prefix,
            "version"
        )
    };
}

/// A page of keys. One statement for each way to ask: with the filter left open (`$1 IS NULL OR …`) no engine would
/// use the index that fits it.
macro_rules! listed {
    ($filter:literal, $limit:literal) => {
        concat!("SELECT ", columns!(""), " FROM api_keys ", $filter, "ORDER BY created_us, id LIMIT ", $limit)
    };
}

statements! {
    /// One key.
    GET = concat!("SELECT ", columns!(""), " FROM api_keys WHERE id = $1");
    /// The feed's number, and the key with its workspace and its open rotation as of that number: one statement sees
    /// one state.
    GET_FOR_GRANT = concat!(
        "SELECT f.seq, w.archived_us, r.successor_id, r.started_us, r.overlap_secs, r.extended_us, \
         COALESCE(p.body, d.body) AS demands, w.limits AS workspace_limits, o.limits AS owner_limits, ",
        columns!("k."),
        " FROM feed_head f LEFT JOIN api_keys k ON k.id = $1 LEFT JOIN workspaces w ON w.id = k.workspace_id \
         LEFT JOIN owners o ON o.id = k.owner_id \
         LEFT JOIN rotations r ON r.old_key_id = $1 AND r.ended_us IS NULL \
         LEFT JOIN policies p ON p.id = k.workspace_id LEFT JOIN policies d ON d.id = ''"
    );
    /// Keys by creation.
    LIST = listed!("", "$1");
    /// A workspace's keys.
    LIST_OF_WORKSPACE = listed!("WHERE workspace_id = $2 ", "$1");
    /// An owner's keys.
    LIST_OF_OWNER = listed!("WHERE owner_id = $2 ", "$1");
    /// An owner's keys in a workspace.
    LIST_OF_BOTH = listed!("WHERE owner_id = $2 AND workspace_id = $3 ", "$1");
    /// Likewise, after the key that was made at that time and has that id.
    LIST_AFTER = listed!("WHERE (created_us, id) > ($2, $3) ", "$1");
    LIST_OF_WORKSPACE_AFTER = listed!("WHERE workspace_id = $4 AND (created_us, id) > ($2, $3) ", "$1");
    LIST_OF_OWNER_AFTER = listed!("WHERE owner_id = $4 AND (created_us, id) > ($2, $3) ", "$1");
    LIST_OF_BOTH_AFTER =
        listed!("WHERE owner_id = $4 AND workspace_id = $5 AND (created_us, id) > ($2, $3) ", "$1");
    /// Revoked keys without a certificate, the oldest revocation first.
    UNCERTIFIED = concat!(
        "SELECT u.seq, u.audit_number, ", columns!("k."), " FROM uncertified u JOIN api_keys k ON k.id = u.key_id \
         ORDER BY u.audit_number, u.key_id LIMIT $1"
    );
    /// Living keys by their end, which is after this one; children end with their parents.
    UNEXPIRED = concat!(
        "SELECT ", columns!(""), " FROM api_keys WHERE state IN ('active', 'suspended') AND parent_id IS NULL \
         AND (expires_us, id) > ($2, $3) ORDER BY expires_us, id LIMIT $1"
    );
    /// Those without an end.
    ENDLESS = concat!(
        "SELECT ", columns!(""), " FROM api_keys WHERE state IN ('active', 'suspended') AND parent_id IS NULL \
         AND expires_us IS NULL AND id > $2 ORDER BY expires_us, id LIMIT $1"
    );
    /// Found in one index, whatever there is.
    WORKING = "SELECT COUNT(*) AS n FROM api_keys WHERE state = 'active' \
               AND (expires_us IS NULL OR expires_us > $1) AND (not_before_us IS NULL OR not_before_us <= $1)";
    /// Keys that one key minted and that work still.
    LIVING_CHILDREN = concat!(
        "SELECT ", columns!(""), " FROM api_keys WHERE parent_id = $1 AND state IN ('active', 'suspended') \
         AND (expires_us IS NULL OR expires_us > $2) ORDER BY created_us, id"
    );
    /// Keys that one key minted.
    CHILDREN = concat!("SELECT ", columns!(""), " FROM api_keys WHERE parent_id = $1 ORDER BY created_us, id");
    /// A line of successors.
    LINEAGE = concat!("SELECT ", columns!(""), " FROM api_keys WHERE lineage = $1 ORDER BY created_us, id");
    CREATED = "SELECT id, created_us FROM api_keys WHERE id = $1";
    INSERT = concat!(
        "INSERT INTO api_keys (", columns!(""), ") \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)"
    );
    /// Whatever may change; never id, class and time of creation.
    UPDATE = "UPDATE api_keys SET name = $3, owner_id = $4, workspace_id = $5, mac = $6, pepper_version = $7, \
              hint = $8, state = $9, policy = $10, not_before_us = $11, expires_us = $12, revoked_us = $13, \
              revoke_reason = $14, revoke_immediate = $15, rotated_from = $16, \
              lineage = $17, parent_id = $18, deprecation = $19, version = version + 1 \
              WHERE id = $1 AND version = $2";
}

pub(crate) async fn get(db: &Db, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
    let row = db.row(GET, args![id.as_str()]).await?;
    row.map(|row| read("api_keys", &row, record)).transpose()
}

pub(crate) async fn get_for_grant(db: &Db, id: PublicId) -> Result<(i64, Option<GrantRow>), StoreError> {
    let row = db.row(GET_FOR_GRANT, args![format!("key_{}", id.as_str())]).await?;
    let row = row.ok_or_else(crate::feed::no_head)?;
    let seq = read("feed_head", &row, |row| row.int("seq"))?;
    if read("api_keys", &row, |row| row.opt_text("id").map(|id| id.is_none()))? {
        return Ok((seq, None));
    }
    // Read after the key: what is newer than the feed's number brings an entry of its own.
    let signing = signing::living(db, id).await?;
    let found = read("api_keys", &row, |row| {
        let (demanded, forbids_cache) = demands(row)?;
        Ok(GrantRow {
            key: record(row)?,
            workspace_archived: row.opt_int("archived_us")?.is_some(),
            owner_limits: tenants::limits(row, "owner_limits")?,
            workspace_limits: tenants::limits(row, "workspace_limits")?,
            succession: succession(row)?,
            demanded,
            forbids_cache,
            signing,
        })
    })?;
    Ok((seq, Some(found)))
}

/// What of its workspace's policy holds for a key with every request.
fn demands(row: &Row) -> Result<(Proofs, bool), Unreadable> {
    let Some(body) = row.opt_text("demands")? else { return Ok((Proofs::NONE, false)) };
    let policy: Policy = serde_json::from_str(body).map_err(|_| Unreadable("body"))?;
    Ok((policy.require, policy.forbid_cache))
}

fn succession(row: &Row) -> Result<Option<Succession>, Unreadable> {
    let Some(successor) = opt_key(row, "successor_id")? else { return Ok(None) };
    let overlap_secs = u64::try_from(row.int("overlap_secs")?).map_err(|_| Unreadable("overlap_secs"))?;
    let agreed = deadline(row.time("started_us")?, overlap_secs);
    Ok(Some(Succession { successor, deadline: row.opt_time("extended_us")?.unwrap_or(agreed) }))
}

pub(crate) async fn list(db: &Db, filter: &KeyFilter) -> Result<Vec<KeyRecord>, StoreError> {
    let workspace = filter.workspace.as_ref().map(WorkspaceId::as_str);
    let owner = filter.owner.as_ref().map(OwnerId::as_str);
    let mut values = args![filter.limit];
    if let Some(after) = &filter.after {
        // A cursor that no key has: nothing comes after it.
        let Some(row) = db.row(CREATED, args![after.as_str()]).await? else { return Ok(Vec::new()) };
        let created_at = read("api_keys", &row, |row| row.time("created_us"))?;
        values.extend(args![created_at, after.as_str()]);
    }
    values.extend([owner, workspace].into_iter().flatten().map(Arg::from));
    let statement = match (owner, workspace, &filter.after) {
        (None, None, None) => LIST,
        (None, Some(_), None) => LIST_OF_WORKSPACE,
        (Some(_), None, None) => LIST_OF_OWNER,
        (Some(_), Some(_), None) => LIST_OF_BOTH,
        (None, None, Some(_)) => LIST_AFTER,
        (None, Some(_), Some(_)) => LIST_OF_WORKSPACE_AFTER,
        (Some(_), None, Some(_)) => LIST_OF_OWNER_AFTER,
        (Some(_), Some(_), Some(_)) => LIST_OF_BOTH_AFTER,
    };
    let rows = db.rows(statement, values).await?;
    rows.iter().map(|row| read("api_keys", row, record)).collect()
}

pub(crate) async fn uncertified(db: &Db, limit: u32) -> Result<Vec<UncertifiedKey>, StoreError> {
    let rows = db.rows(UNCERTIFIED, args![limit]).await?;
    let one = |row: &Row| {
        Ok(UncertifiedKey { key: record(row)?, seq: row.int("seq")?, audit_number: row.int("audit_number")? })
    };
    rows.iter().map(|row| read("api_keys", row, one)).collect()
}

pub(crate) async fn unexpired(db: &Db, after: &LifePlace, limit: u32) -> Result<Vec<KeyRecord>, StoreError> {
    let rows = match after {
        LifePlace::Ends(at, id) => db.rows(UNEXPIRED, args![limit, *at, id.as_str()]).await?,
        LifePlace::Endless(id) => db.rows(ENDLESS, args![limit, id.as_str()]).await?,
    };
    rows.iter().map(|row| read("api_keys", row, record)).collect()
}

pub(crate) async fn working(db: &Db, now: Timestamp) -> Result<u64, StoreError> {
    let row = db.row(WORKING, args![now]).await?;
    let count = row.map(|row| read("api_keys", &row, |row| row.int("n"))).transpose()?.unwrap_or(0);
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(crate) async fn living_children(
    db: &Db,
    parent: &KeyId,
    now: Timestamp,
) -> Result<Vec<KeyRecord>, StoreError> {
    let rows = db.rows(LIVING_CHILDREN, args![parent.as_str(), now]).await?;
    rows.iter().map(|row| read("api_keys", row, record)).collect()
}

pub(crate) async fn children(db: &Db, parent: &KeyId) -> Result<Vec<KeyRecord>, StoreError> {
    let rows = db.rows(CHILDREN, args![parent.as_str()]).await?;
    rows.iter().map(|row| read("api_keys", row, record)).collect()
}

pub(crate) async fn lineage(db: &Db, lineage: &KeyId) -> Result<Vec<KeyRecord>, StoreError> {
    let rows = db.rows(LINEAGE, args![lineage.as_str()]).await?;
    rows.iter().map(|row| read("api_keys", row, record)).collect()
}

pub(crate) async fn insert(tx: &mut Tx, key: &KeyRecord) -> Result<(), Failure> {
    let mut args = args![key.id.as_str(), key.class.as_str(), key.name.as_str()];
    args.extend(body(key)?);
    // The list of columns has the time of creation among those that may change.
    args.insert(10, key.created_at.into());
    args.push(key.version.into());
    tx.execute(INSERT, args).await.map(drop).map_err(|e| Failure::Store(e.conflict("key")))
}

pub(crate) async fn update(tx: &mut Tx, key: &KeyRecord) -> Result<(), Failure> {
    let mut args = args![key.id.as_str(), key.version, key.name.as_str()];
    args.extend(body(key)?);
    let touched = tx.execute(UPDATE, args).await?;
    crate::apply::expect_one(touched, "key")
}

/// What insert and update share: from the owner to the ladder.
fn body(key: &KeyRecord) -> Result<Vec<Arg>, Failure> {
    let policy = written(key, "policy", serde_json::to_string(&key.policy))?;
    let deprecation =
        key.deprecation.map(|d| written(key, "deprecation", serde_json::to_string(&d))).transpose()?;
    Ok(args![
        key.owner.as_str(),
        key.workspace.as_str(),
        key.mac.as_bytes().as_slice(),
        key.pepper_version.0,
        key.hint.as_str(),
        key.state.as_str(),
        policy,
        key.not_before,
        key.expires_at,
        key.revocation.map(|r| r.at),
        key.revocation.map(|r| r.reason.as_str()),
        key.revocation.map(|r| i64::from(r.immediate)),
        key.rotated_from.as_ref().map(KeyId::as_str),
        key.lineage.as_str(),
        key.parent.as_ref().map(KeyId::as_str),
        deprecation.as_deref(),
    ])
}

fn written(key: &KeyRecord, what: &str, json: Result<String, serde_json::Error>) -> Result<String, Failure> {
    let unwritable = |_| StoreError::Corrupt {
        table: "api_keys",
        id: key.id.to_string(),
        why: format!("its {what} cannot be written as JSON"),
    };
    Ok(json.map_err(unwritable)?)
}

fn record(row: &Row) -> Result<KeyRecord, Unreadable> {
    let id = row.parsed("id", |t| KeyId::parse(t).ok())?;
    let mac = row.blob("mac")?.try_into().map_err(|_| Unreadable("mac"))?;
    let pepper = u32::try_from(row.int("pepper_version")?).map_err(|_| Unreadable("pepper_version"))?;
    Ok(KeyRecord {
        public_id: PublicId::of_key(&id).ok_or(Unreadable("id"))?,
        id,
        class: row.parsed("class", KeyClass::parse)?,
        name: row.text("name")?.to_owned(),
        owner: row.parsed("owner_id", |t| OwnerId::parse(t).ok())?,
        workspace: row.parsed("workspace_id", |t| WorkspaceId::parse(t).ok())?,
        mac: KeyMac::from_bytes(mac),
        pepper_version: PepperVersion(pepper),
        hint: row.text("hint")?.to_owned(),
        state: row.parsed("state", KeyState::parse)?,
        policy: serde_json::from_str(row.text("policy")?).map_err(|_| Unreadable("policy"))?,
        created_at: row.time("created_us")?,
        not_before: row.opt_time("not_before_us")?,
        expires_at: row.opt_time("expires_us")?,
        revocation: revocation(row)?,
        rotated_from: opt_key(row, "rotated_from")?,
        lineage: row.parsed("lineage", |t| KeyId::parse(t).ok())?,
        parent: opt_key(row, "parent_id")?,
        deprecation: match row.opt_text("deprecation")? {
            Some(text) => Some(serde_json::from_str(text).map_err(|_| Unreadable("deprecation"))?),
            None => None,
        },
        version: row.int("version")?,
    })
}

fn opt_key(row: &Row, column: &'static str) -> Result<Option<KeyId>, Unreadable> {
    row.opt_text(column)?.map(|text| KeyId::parse(text).map_err(|_| Unreadable(column))).transpose()
}

fn revocation(row: &Row) -> Result<Option<Revocation>, Unreadable> {
    let Some(at) = row.opt_time("revoked_us")? else { return Ok(None) };
    let reason = row.opt_text("revoke_reason")?.and_then(RevocationReason::parse);
    Ok(Some(Revocation {
        at,
        reason: reason.ok_or(Unreadable("revoke_reason"))?,
        immediate: row.opt_int("revoke_immediate")? == Some(1),
    }))
}

#[cfg(test)]
mod tests;
