//! Intents: calls that were sent and whose end is not known yet.
//!
//! All intents of a group are one packed row, and a settled one costs nothing more: that it is settled follows from
//! the ledger rows and releases after it. Groups are deleted once none of their intents is open; one that stays open
//! for long is carried over into a later group, so that what is kept and what a start must read stays small.

use std::collections::HashMap;

use claviger_domain::{
    clock::Timestamp,
    id::{CredentialId, IntentId, KeyId, NodeId, OwnerId, RequestId, UpstreamId, WorkspaceId},
    ledger::{Intent, Party, Route},
    money::PicoUsd,
    permission::Endpoint,
    ports::StoreError,
    token::KeyClass,
};

use crate::{
    chains::{self, ChainNo, ChainRow},
    engine::{Db, Tx, Unreadable, args, read, statements},
    failure::Failure,
    ledger, nodes,
    packing::{Packer, Unpacker},
};

statements! {
    INSERT = "INSERT INTO intent_groups (id, body) VALUES ($1, $2)";
    BETWEEN = "SELECT id, body FROM intent_groups WHERE id > $1 AND id < $2 ORDER BY id";
    DELETE_BETWEEN = "DELETE FROM intent_groups WHERE id > $1 AND id <= $2";
    /// Of an intent that another incarnation left open.
    SETTLE_FOREIGN = "INSERT INTO foreign_settlements (intent) VALUES ($1)";
    IS_FOREIGN_SETTLED = "SELECT intent AS id FROM foreign_settlements WHERE intent = $1";
    /// They only speak of intents that are still kept.
    FORGET_FOREIGN = "DELETE FROM foreign_settlements";
}

/// What a packed row begins with whose intents say which budgets they count against. Older ones begin with their count,
/// which is never so large.
const CHARGED_GROUP: u64 = u64::MAX;

/// An intent whose end is not known, as the writer remembers it.
#[derive(Debug, Clone)]
pub(crate) struct OpenIntent {
    /// The group whose packed row holds it.
    pub group: i64,
    /// When that group was made.
    pub since: Timestamp,
    /// The packed intent, to carry it over.
    pub packed: Box<[u8]>,
}

/// Packs one intent; its id comes first.
pub(crate) fn pack(intent: &Intent) -> Box<[u8]> {
    let mut p = Packer::with_capacity(256);
    p.text(intent.id.as_str());
    p.text(intent.request_id.as_str());
    p.text(intent.party.key.as_str());
    p.text(intent.party.workspace.as_str());
    p.text(intent.party.owner.as_str());
    p.text(intent.party.class.as_str());
    p.opt_text(intent.route.upstream.as_ref().map(UpstreamId::as_str));
    p.opt_text(intent.route.credential.as_ref().map(CredentialId::as_str));
    p.int(intent.at.as_micros());
    p.text(intent.endpoint.as_str());
    p.text(&intent.api_endpoint);
    p.text(&intent.model);
    p.int(intent.reservation.as_pico());
    p.uint(u64::from(intent.attempt));
    p.text(&intent.client_ip);
    ledger::pack_charges(&mut p, &intent.charges);
    p.finish().into_boxed_slice()
}

fn unpack(body: &mut Unpacker<'_>, has_charges: bool) -> Result<Intent, Unreadable> {
    Ok(Intent {
        id: body.parsed(|t| IntentId::parse(t).ok())?,
        request_id: body.parsed(|t| RequestId::parse(t).ok())?,
        party: Party {
            key: body.parsed(|t| KeyId::parse(t).ok())?,
            workspace: body.parsed(|t| WorkspaceId::parse(t).ok())?,
            owner: body.parsed(|t| OwnerId::parse(t).ok())?,
            class: body.parsed(KeyClass::parse)?,
        },
        route: Route {
            upstream: body.opt_parsed(|t| UpstreamId::parse(t).ok())?,
            credential: body.opt_parsed(|t| CredentialId::parse(t).ok())?,
        },
        at: Timestamp::from_micros(body.int()?),
        endpoint: body.parsed(Endpoint::parse)?,
        api_endpoint: body.text()?.to_owned(),
        model: body.text()?.to_owned(),
        reservation: PicoUsd::new(i128::from(body.int()?)).map_err(|_| Unreadable("body"))?,
        attempt: body.small()?,
        client_ip: body.text()?.to_owned(),
        charges: if has_charges { ledger::unpack_charges(body)? } else { Vec::new() },
    })
}

/// One group's packed row; `None` when there is nothing to keep.
pub(crate) fn pack_group<'a>(
    intents: impl ExactSizeIterator<Item = &'a [u8]>,
    released: &[IntentId],
) -> Option<Vec<u8>> {
    if intents.len() == 0 && released.is_empty() {
        return None;
    }
    let mut p = Packer::with_capacity(intents.len() * 256 + released.len() * 32);
    p.uint(CHARGED_GROUP);
    p.uint(intents.len() as u64);
    intents.for_each(|packed| p.raw(packed));
    p.uint(released.len() as u64);
    released.iter().for_each(|id| p.text(id.as_str()));
    Some(p.finish())
}

/// Adds what one packed row holds.
fn unpack_group(
    body: &[u8],
    group: i64,
    open: &mut HashMap<IntentId, (OpenIntent, Intent)>,
    released: &mut Vec<IntentId>,
) -> Result<(), Unreadable> {
    let mut body = Unpacker::new(body, "body");
    let first = body.uint()?;
    let has_charges = first == CHARGED_GROUP;
    for _ in 0..if has_charges { body.uint()? } else { first } {
        let before = body.rest();
        let intent = unpack(&mut body, has_charges)?;
        let packed = &before[..before.len() - body.rest().len()];
        let since = intent.at;
        open.insert(intent.id.clone(), (OpenIntent { group, since, packed: packed.into() }, intent));
    }
    for _ in 0..body.uint()? {
        released.push(body.parsed(|t| IntentId::parse(t).ok())?);
    }
    Ok(())
}

/// The intents of a chain that nothing has settled.
pub(crate) async fn open_of(
    tx: &mut Tx,
    chain: &ChainRow,
) -> Result<HashMap<IntentId, (OpenIntent, Intent)>, Failure> {
    let mut open = HashMap::new();
    let mut released = Vec::new();
    tx.each(BETWEEN, args![chain.no.id(chain.swept), chain.no.end()], |row| {
        Ok(read("intent_groups", &row, |row| {
            unpack_group(row.blob("body")?, ChainNo::position(row.int("id")?), &mut open, &mut released)
        })?)
    })
    .await?;
    for id in released {
        open.remove(&id);
    }
    if open.is_empty() {
        return Ok(open);
    }
    let first = chains::record(tx, chain.no, chain.swept + 1).await?;
    let first_row = first.map_or(chain.no.base(), |record| record.first_row);
    tx.each(ledger::BETWEEN, args![first_row, chain.no.end()], |row| {
        if let Some(id) = read("ledger", &row, ledger::intent_of)? {
            open.remove(&id);
        }
        Ok(())
    })
    .await?;
    for id in open.keys().cloned().collect::<Vec<_>>() {
        if tx.row(IS_FOREIGN_SETTLED, args![id.as_str()]).await?.is_some() {
            open.remove(&id);
        }
    }
    Ok(open)
}

/// Intents that other incarnations left open.
pub(crate) async fn orphans(db: &Db, own: Option<&NodeId>) -> Result<Vec<Intent>, StoreError> {
    let mut tx = db.snapshot().await?;
    let mut orphans = Vec::new();
    for chain in chains::rows(&mut tx, chains::WITH_INTENTS).await? {
        if Some(&chain.chain) != own && !nodes::is_kept(&mut tx, &chain, own).await? {
            orphans.extend(open_of(&mut tx, &chain).await?.into_values().map(|(_, intent)| intent));
        }
    }
    orphans.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(orphans)
}

/// Deletes the packed rows of incarnations that have nothing open any more.
pub(crate) async fn clear_settled(db: &Db) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    let mut all_settled = true;
    for chain in chains::rows(&mut tx, chains::WITH_INTENTS).await? {
        if !nodes::lives(&mut tx, &chain.chain).await? && open_of(&mut tx, &chain).await?.is_empty() {
            tx.execute(DELETE_BETWEEN, args![chain.no.base(), chain.no.end()]).await?;
        } else {
            all_settled = false;
        }
    }
    if all_settled {
        tx.execute(FORGET_FOREIGN, args![]).await?;
    }
    Ok(tx.commit().await?)
}
