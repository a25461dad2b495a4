//! Ledger rows: how one is written and read back exactly.

use claviger_domain::{
    budget::Charge,
    clock::Timestamp,
    id::{BudgetId, CredentialId, IntentId, KeyId, OwnerId, RequestId, SigningId, UpstreamId, WorkspaceId},
    ledger::{BatchItem, LedgerRow, Outcome, Party, Recalled, Route, RowFlags, UsageCounts},
    money::PicoUsd,
    permission::Endpoint,
    signature::{Profile, Role, SignedBy},
    token::KeyClass,
};

use crate::{
    bulk::Bulk,
    engine::{Arg, Row, Unreadable, statements},
    packing::{Packer, Unpacker},
};

macro_rules! columns {
    () => {
        "id, at_us, key_id, workspace_id, model, status, outcome, flags, input_tokens, cache_write_5m_tokens, \
         cache_write_1h_tokens, cache_read_tokens, output_tokens, web_search_requests, cost_pusd, body"
    };
}
pub(crate) use columns;

statements! {
    /// A stretch of one chain.
    BETWEEN = concat!("SELECT ", columns!(), " FROM ledger WHERE id >= $1 AND id < $2 ORDER BY id");
    /// So many of a stretch.
    BETWEEN_SOME = concat!(
        "SELECT ", columns!(), " FROM ledger WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3"
    );
    /// Folded rows of a stretch of time: what daily totals hold as well.
    FOLDED_IN_TIME = concat!(
        "SELECT ", columns!(), " FROM ledger \
         WHERE at_us >= $1 AND at_us < $2 \
         AND (CAST($3 AS TEXT) IS NULL OR key_id = $3) AND (CAST($4 AS TEXT) IS NULL OR workspace_id = $4) \
         AND EXISTS (SELECT 1 FROM data_chains c WHERE c.no = ledger.id / 1099511627776 \
                     AND ledger.id <= c.folded_row AND ledger.id > c.retired_row)"
    );
    /// Rows that no daily total holds yet, of all chains.
    UNFOLDED = concat!(
        "SELECT l.* FROM data_chains c JOIN (SELECT ", columns!(), " FROM ledger) l \
         ON l.id > c.folded_row AND l.id < (c.no + 1) * 1099511627776 \
         WHERE (CAST($1 AS TEXT) IS NULL OR l.key_id = $1) \
         AND (CAST($2 AS TEXT) IS NULL OR l.workspace_id = $2)"
    );
    DELETE_BETWEEN = "DELETE FROM ledger WHERE id > $1 AND id <= $2";
}

/// How many values a row has.
pub(crate) const COLUMNS: usize = 16;
/// Many rows at once.
pub(crate) static INSERT: Bulk =
    Bulk::new(concat!("INSERT INTO ledger (", columns!(), ") VALUES "), COLUMNS, "");

const BODY_VERSION: u64 = 1;
/// With the periods of budgets after all else.
const CHARGED_BODY_VERSION: u64 = 2;
/// With those, be they none, and what signed.
const SIGNED_BODY_VERSION: u64 = 3;
/// With those, be they none, and the call whose answer it was given.
const RECALLED_BODY_VERSION: u64 = 4;
const ID_BYTES: usize = 300;

/// The values of one row, in the order of the columns.
pub(crate) fn values(args: &mut Vec<Arg>, id: i64, row: &LedgerRow) {
    let usage = row.usage;
    args.extend([
        Arg::Int(id),
        row.at.into(),
        row.party.key.as_str().into(),
        row.party.workspace.as_str().into(),
        row.model.as_str().into(),
        Arg::Int(i64::from(row.status)),
        row.outcome.as_str().into(),
        row.flags.0.into(),
        Arg::Int(usage.input_tokens.cast_signed()),
        Arg::Int(usage.cache_write_5m_tokens.cast_signed()),
        Arg::Int(usage.cache_write_1h_tokens.cast_signed()),
        Arg::Int(usage.cache_read_tokens.cast_signed()),
        Arg::Int(usage.output_tokens.cast_signed()),
        Arg::Int(usage.web_search_requests.cast_signed()),
        Arg::Int(row.cost.as_pico()),
        Arg::Blob(body(row)),
    ]);
}

/// The intent stands first, so that it can be read without the rest.
fn body(row: &LedgerRow) -> Vec<u8> {
    let mut p = Packer::with_capacity(ID_BYTES + row.user_agent.len() + row.api_endpoint.len());
    let version = body_version(row);
    p.uint(version);
    p.opt_text(row.intent.as_ref().map(IntentId::as_str));
    p.text(row.request_id.as_str());
    p.text(row.party.owner.as_str());
    p.text(row.party.class.as_str());
    p.opt_text(row.route.upstream.as_ref().map(UpstreamId::as_str));
    p.opt_text(row.route.credential.as_ref().map(CredentialId::as_str));
    p.opt_text(row.batch.as_ref().map(|b| b.batch.as_str()));
    p.opt_text(row.batch.as_ref().map(|b| b.custom_id.as_str()));
    p.text(row.endpoint.as_str());
    p.text(&row.api_endpoint);
    p.uint(u64::from(row.attempts));
    p.opt_text(row.upstream_request_id.as_deref());
    p.int(row.first_byte_us);
    p.int(row.duration_us);
    p.text(&row.client_ip);
    p.text(&row.user_agent);
    p.text(&row.token_scope);
    p.text(&row.detail);
    if version >= CHARGED_BODY_VERSION {
        pack_charges(&mut p, &row.charges);
    }
    if version >= RECALLED_BODY_VERSION {
        p.uint(u64::from(row.signed.is_some()));
    }
    if let Some(SignedBy { profile, secret, role }) = &row.signed {
        p.text(profile.as_str());
        p.text(secret.as_str());
        p.text(role.as_str());
    }
    if let Some(Recalled { call, saved }) = &row.recalled {
        p.text(call.as_str());
        p.int(saved.as_pico());
    }
    p.finish()
}

const fn body_version(row: &LedgerRow) -> u64 {
    match (&row.recalled, &row.signed, row.charges.is_empty()) {
        (Some(_), _, _) => RECALLED_BODY_VERSION,
        (None, Some(_), _) => SIGNED_BODY_VERSION,
        (None, None, false) => CHARGED_BODY_VERSION,
        (None, None, true) => BODY_VERSION,
    }
}

/// What signed a row, if anything did.
fn unpack_signed(version: u64, body: &mut Unpacker<'_>) -> Result<Option<SignedBy>, Unreadable> {
    let is_signed = match version {
        SIGNED_BODY_VERSION => true,
        RECALLED_BODY_VERSION => body.uint()? != 0,
        _ => false,
    };
    if !is_signed {
        return Ok(None);
    }
    Ok(Some(SignedBy {
        profile: body.parsed(Profile::parse)?,
        secret: body.parsed(|t| SigningId::parse(t).ok())?,
        role: body.parsed(Role::parse)?,
    }))
}

fn unpack_recalled(body: &mut Unpacker<'_>) -> Result<Recalled, Unreadable> {
    let call = body.parsed(|t| RequestId::parse(t).ok())?;
    let saved = PicoUsd::new(i128::from(body.int()?)).map_err(|_| Unreadable("body"))?;
    Ok(Recalled { call, saved })
}

/// Periods of budgets.
pub(crate) fn pack_charges(p: &mut Packer, charges: &[Charge]) {
    p.uint(charges.len() as u64);
    for Charge { budget, window } in charges {
        p.text(budget.as_str());
        p.int(window.as_micros());
    }
}

/// The reverse of [`pack_charges`].
pub(crate) fn unpack_charges(body: &mut Unpacker<'_>) -> Result<Vec<Charge>, Unreadable> {
    let mut charges = Vec::new();
    for _ in 0..body.uint()? {
        let budget = body.parsed(|t| BudgetId::parse(t).ok())?;
        charges.push(Charge { budget, window: Timestamp::from_micros(body.int()?) });
    }
    Ok(charges)
}

/// A body, and its version.
fn versioned(bytes: &[u8]) -> Result<(u64, Unpacker<'_>), Unreadable> {
    let mut body = Unpacker::new(bytes, "body");
    match body.uint()? {
        version @ BODY_VERSION..=RECALLED_BODY_VERSION => Ok((version, body)),
        _ => Err(Unreadable("body")),
    }
}

fn unpack_body(bytes: &[u8]) -> Result<Unpacker<'_>, Unreadable> {
    versioned(bytes).map(|(_, body)| body)
}

/// The intent that a row settles, without reading the rest.
pub(crate) fn intent_of(row: &Row) -> Result<Option<IntentId>, Unreadable> {
    unpack_body(row.blob("body")?)?.opt_parsed(|t| IntentId::parse(t).ok())
}

/// The address and the program that a row's request came from, and nothing else of it.
pub(crate) fn client_of(row: &Row) -> Result<(String, String), Unreadable> {
    let mut body = unpack_body(row.blob("body")?)?;
    // Intent, request, owner, class, upstream, credential, batch, item, endpoint, path.
    body.opt_text()?;
    for _ in 0..3 {
        body.text()?;
    }
    for _ in 0..4 {
        body.opt_text()?;
    }
    body.text()?;
    body.text()?;
    body.uint()?;
    body.opt_text()?;
    body.int()?;
    body.int()?;
    Ok((body.text()?.to_owned(), body.text()?.to_owned()))
}

/// A whole row.
pub(crate) fn record(row: &Row) -> Result<LedgerRow, Unreadable> {
    let (version, mut body) = versioned(row.blob("body")?)?;
    let intent = body.opt_parsed(|t| IntentId::parse(t).ok())?;
    let request_id = body.parsed(|t| RequestId::parse(t).ok())?;
    let party = Party {
        key: row.parsed("key_id", |t| KeyId::parse(t).ok())?,
        workspace: row.parsed("workspace_id", |t| WorkspaceId::parse(t).ok())?,
        owner: body.parsed(|t| OwnerId::parse(t).ok())?,
        class: body.parsed(KeyClass::parse)?,
    };
    let route = Route {
        upstream: body.opt_parsed(|t| UpstreamId::parse(t).ok())?,
        credential: body.opt_parsed(|t| CredentialId::parse(t).ok())?,
    };
    let batch = match (body.opt_text()?, body.opt_text()?) {
        (Some(batch), Some(item)) => Some(BatchItem { batch: batch.to_owned(), custom_id: item.to_owned() }),
        (_, None) | (None, _) => None,
    };
    Ok(LedgerRow {
        request_id,
        intent,
        party,
        route,
        batch,
        at: row.time("at_us")?,
        endpoint: body.parsed(Endpoint::parse)?,
        api_endpoint: body.text()?.to_owned(),
        model: row.text("model")?.to_owned(),
        status: u16::try_from(row.int("status")?).map_err(|_| Unreadable("status"))?,
        outcome: row.parsed("outcome", Outcome::parse)?,
        flags: RowFlags(u32::try_from(row.int("flags")?).map_err(|_| Unreadable("flags"))?),
        usage: usage(row)?,
        cost: PicoUsd::new(i128::from(row.int("cost_pusd")?)).map_err(|_| Unreadable("cost_pusd"))?,
        attempts: body.small()?,
        upstream_request_id: body.opt_text()?.map(str::to_owned),
        first_byte_us: body.int()?,
        duration_us: body.int()?,
        client_ip: body.text()?.to_owned(),
        user_agent: body.text()?.to_owned(),
        token_scope: body.text()?.to_owned(),
        detail: body.text()?.to_owned(),
        charges: if version >= CHARGED_BODY_VERSION { unpack_charges(&mut body)? } else { Vec::new() },
        signed: unpack_signed(version, &mut body)?,
        recalled: if version >= RECALLED_BODY_VERSION { Some(unpack_recalled(&mut body)?) } else { None },
    })
}

fn usage(row: &Row) -> Result<UsageCounts, Unreadable> {
    let count = |column| row.int(column).map(i64::cast_unsigned);
    Ok(UsageCounts {
        input_tokens: count("input_tokens")?,
        cache_write_5m_tokens: count("cache_write_5m_tokens")?,
        cache_write_1h_tokens: count("cache_write_1h_tokens")?,
        cache_read_tokens: count("cache_read_tokens")?,
        output_tokens: count("output_tokens")?,
        web_search_requests: count("web_search_requests")?,
    })
}
