//! Notices, channels, deliveries and reports.

use claviger_domain::{
    clock::Timestamp,
    id::{ChannelId, KeyId, NoticeId, OwnerId, ReportId, WorkspaceId},
    notice::{
        About, NoticeRecord, Severity,
        channel::ChannelRecord,
        delivery::{DeliveryRecord, DeliveryState},
    },
    ports::{
        StoreError,
        notices::{NoticeFilter, ReportRecord},
    },
    upstream::ServiceState,
};

use crate::{
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

const CHANNEL: &str = "channel name";
const DELIVERY: &str = "delivery";

statements! {
    LIST_CHANNELS = "SELECT id, name, target, sealed, min_severity, workspace_id, state, created_us, version \
                     FROM channels ORDER BY created_us, id";
    INSERT_CHANNEL = "INSERT INTO channels \
                      (id, name, target, sealed, min_severity, workspace_id, state, created_us, version) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    UPDATE_CHANNEL = "UPDATE channels SET name = $3, target = $4, sealed = $5, min_severity = $6, \
                      workspace_id = $7, state = $8, version = version + 1 WHERE id = $1 AND version = $2";
    /// What waits for a channel that is gone waits for ever.
    DROP_PENDING = "DELETE FROM deliveries WHERE channel_id = $1 AND state = 'pending'";
    RAISE = "INSERT INTO notices (id, kind, severity, key_id, owner_id, workspace_id, once, details, raised_us) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (once) DO NOTHING";
    /// One delivery for each channel that the notice concerns, fixed when it is raised.
    FAN_OUT = "INSERT INTO deliveries \
               (notice_id, channel_id, state, attempts, next_try_us, last_error, version) \
               SELECT n.id, c.id, 'pending', 0, n.raised_us, '', 1 FROM notices n, channels c \
               WHERE n.id = $1 AND c.state = 'active' AND c.min_severity <= n.severity \
               AND (c.workspace_id IS NULL OR c.workspace_id = n.workspace_id)";
    NOTICE = "SELECT id, severity, key_id, owner_id, workspace_id, once, details, raised_us \
              FROM notices WHERE id = $1";
    LIST_NOTICES = "SELECT id, severity, key_id, owner_id, workspace_id, once, details, raised_us FROM notices n \
                    WHERE ($1 = '' OR EXISTS (SELECT 1 FROM notices o WHERE o.id = $1 \
                    AND (n.raised_us < o.raised_us OR (n.raised_us = o.raised_us AND n.id < o.id)))) \
                    AND ($2 = '' OR EXISTS (SELECT 1 FROM deliveries d WHERE d.notice_id = n.id AND d.state = $2)) \
                    ORDER BY raised_us DESC, id DESC LIMIT $3";
    DELIVERIES = "SELECT notice_id AS id, channel_id, state, attempts, next_try_us, last_error, done_us, version \
                  FROM deliveries WHERE notice_id = $1 ORDER BY channel_id";
    DUE_CHANNELS = "SELECT DISTINCT channel_id FROM deliveries WHERE state = 'pending' AND next_try_us <= $1";
    DUE = "SELECT notice_id AS id, channel_id, state, attempts, next_try_us, last_error, done_us, version \
           FROM deliveries WHERE channel_id = $1 AND state = 'pending' AND next_try_us <= $2 \
           ORDER BY next_try_us, notice_id LIMIT $3";
    PUT_DELIVERY = "UPDATE deliveries SET state = $4, attempts = $5, next_try_us = $6, last_error = $7, \
                    done_us = $8, version = version + 1 WHERE notice_id = $1 AND channel_id = $2 AND version = $3";
    INSERT_REPORT = "INSERT INTO reports (id, from_us, until_us, made_us, markdown, html, json) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)";
    REPORT = "SELECT id, from_us, until_us, made_us, markdown, html, json FROM reports \
              WHERE $1 = '' OR id = $1 ORDER BY made_us DESC, id DESC LIMIT 1";
    FORGET_DELIVERIES = "DELETE FROM deliveries WHERE notice_id IN (SELECT n.id FROM notices n \
                         WHERE n.raised_us < $1 AND NOT EXISTS (SELECT 1 FROM deliveries d \
                         WHERE d.notice_id = n.id AND d.state = 'pending'))";
    FORGET_NOTICES = "DELETE FROM notices WHERE raised_us < $1 AND NOT EXISTS (SELECT 1 FROM deliveries d \
                      WHERE d.notice_id = notices.id)";
}

fn json(table: &'static str, id: &str, text: serde_json::Result<String>) -> Result<String, StoreError> {
    text.map_err(|e| StoreError::Corrupt { table, id: id.to_owned(), why: e.to_string() })
}

pub(crate) async fn raise(tx: &mut Tx, n: &NoticeRecord) -> Result<(), Failure> {
    let about = &n.about;
    let args = args![
        n.id.as_str(),
        n.notice.kind(),
        n.severity.rank(),
        about.key.as_ref().map(KeyId::as_str),
        about.owner.as_ref().map(OwnerId::as_str),
        about.workspace.as_ref().map(WorkspaceId::as_str),
        n.once.as_deref(),
        json("notices", n.id.as_str(), serde_json::to_string(&n.notice))?,
        n.raised_at,
    ];
    if tx.execute(RAISE, args).await? == 1 {
        tx.execute(FAN_OUT, args![n.id.as_str()]).await?;
    }
    Ok(())
}

pub(crate) async fn channels(db: &Db) -> Result<Vec<ChannelRecord>, StoreError> {
    let rows = db.rows(LIST_CHANNELS, args![]).await?;
    rows.iter().map(|row| read("channels", row, channel)).collect()
}

fn channel(row: &Row) -> Result<ChannelRecord, Unreadable> {
    Ok(ChannelRecord {
        id: row.parsed("id", |t| ChannelId::parse(t).ok())?,
        name: row.text("name")?.to_owned(),
        target: row.parsed("target", |t| serde_json::from_str(t).ok())?,
        sealed: row.blob("sealed")?.to_vec(),
        min_severity: Severity::from_rank(row.int("min_severity")?).ok_or(Unreadable("min_severity"))?,
        workspace: opt_id(row, "workspace_id", |t| WorkspaceId::parse(t).ok())?,
        state: row.parsed("state", ServiceState::parse)?,
        created_at: row.time("created_us")?,
        version: row.int("version")?,
    })
}

fn opt_id<T>(
    row: &Row,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Unreadable> {
    row.opt_text(column)?.map(|t| parse(t).ok_or(Unreadable(column))).transpose()
}

pub(crate) async fn insert_channel(tx: &mut Tx, c: &ChannelRecord) -> Result<(), Failure> {
    let args = args![
        c.id.as_str(),
        c.name.as_str(),
        json("channels", c.id.as_str(), serde_json::to_string(&c.target))?,
        c.sealed.as_slice(),
        c.min_severity.rank(),
        c.workspace.as_ref().map(WorkspaceId::as_str),
        c.state.as_str(),
        c.created_at,
        c.version,
    ];
    tx.execute(INSERT_CHANNEL, args).await.map(drop).map_err(|e| Failure::Store(e.conflict(CHANNEL)))
}

pub(crate) async fn update_channel(tx: &mut Tx, c: &ChannelRecord) -> Result<(), Failure> {
    let args = args![
        c.id.as_str(),
        c.version,
        c.name.as_str(),
        json("channels", c.id.as_str(), serde_json::to_string(&c.target))?,
        c.sealed.as_slice(),
        c.min_severity.rank(),
        c.workspace.as_ref().map(WorkspaceId::as_str),
        c.state.as_str(),
    ];
    let touched = tx.execute(UPDATE_CHANNEL, args).await.map_err(|e| Failure::Store(e.conflict(CHANNEL)))?;
    expect_one(touched, CHANNEL)?;
    if c.state == ServiceState::Removed {
        tx.execute(DROP_PENDING, args![c.id.as_str()]).await?;
    }
    Ok(())
}

pub(crate) async fn notice(db: &Db, id: &NoticeId) -> Result<Option<NoticeRecord>, StoreError> {
    let row = db.row(NOTICE, args![id.as_str()]).await?;
    row.map(|row| read("notices", &row, record)).transpose()
}

pub(crate) async fn notices(db: &Db, filter: &NoticeFilter) -> Result<Vec<NoticeRecord>, StoreError> {
    let before = filter.before.as_ref().map_or("", NoticeId::as_str);
    let state = filter.state.map_or("", DeliveryState::as_str);
    let rows = db.rows(LIST_NOTICES, args![before, state, filter.limit]).await?;
    rows.iter().map(|row| read("notices", row, record)).collect()
}

fn record(row: &Row) -> Result<NoticeRecord, Unreadable> {
    Ok(NoticeRecord {
        id: row.parsed("id", |t| NoticeId::parse(t).ok())?,
        notice: row.parsed("details", |t| serde_json::from_str(t).ok())?,
        severity: Severity::from_rank(row.int("severity")?).ok_or(Unreadable("severity"))?,
        about: About {
            key: opt_id(row, "key_id", |t| KeyId::parse(t).ok())?,
            owner: opt_id(row, "owner_id", |t| OwnerId::parse(t).ok())?,
            workspace: opt_id(row, "workspace_id", |t| WorkspaceId::parse(t).ok())?,
        },
        once: row.opt_text("once")?.map(str::to_owned),
        raised_at: row.time("raised_us")?,
    })
}

pub(crate) async fn deliveries(db: &Db, notice: &NoticeId) -> Result<Vec<DeliveryRecord>, StoreError> {
    let rows = db.rows(DELIVERIES, args![notice.as_str()]).await?;
    rows.iter().map(|row| read("deliveries", row, delivery)).collect()
}

pub(crate) async fn due_channels(db: &Db, now: Timestamp) -> Result<Vec<ChannelId>, StoreError> {
    let rows = db.rows(DUE_CHANNELS, args![now]).await?;
    let id = |row: &Row| row.parsed("channel_id", |t| ChannelId::parse(t).ok());
    rows.iter().map(|row| read("deliveries", row, id)).collect()
}

pub(crate) async fn due(
    db: &Db,
    channel: &ChannelId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<DeliveryRecord>, StoreError> {
    let rows = db.rows(DUE, args![channel.as_str(), now, limit]).await?;
    rows.iter().map(|row| read("deliveries", row, delivery)).collect()
}

fn delivery(row: &Row) -> Result<DeliveryRecord, Unreadable> {
    Ok(DeliveryRecord {
        notice: row.parsed("id", |t| NoticeId::parse(t).ok())?,
        channel: row.parsed("channel_id", |t| ChannelId::parse(t).ok())?,
        state: row.parsed("state", DeliveryState::parse)?,
        attempts: u32::try_from(row.int("attempts")?).map_err(|_| Unreadable("attempts"))?,
        next_try_at: row.time("next_try_us")?,
        last_error: row.text("last_error")?.to_owned(),
        done_at: row.opt_time("done_us")?,
        version: row.int("version")?,
    })
}

pub(crate) async fn put_delivery(tx: &mut Tx, d: &DeliveryRecord) -> Result<(), Failure> {
    let args = args![
        d.notice.as_str(),
        d.channel.as_str(),
        d.version,
        d.state.as_str(),
        d.attempts,
        d.next_try_at,
        d.last_error.as_str(),
        d.done_at,
    ];
    expect_one(tx.execute(PUT_DELIVERY, args).await?, DELIVERY)
}

pub(crate) async fn keep_delivery(db: &Db, d: &DeliveryRecord) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    put_delivery(&mut tx, d).await?;
    Ok(tx.commit().await?)
}

pub(crate) async fn insert_report(tx: &mut Tx, r: &ReportRecord) -> Result<(), Failure> {
    let args = args![
        r.id.as_str(),
        r.from,
        r.until,
        r.made_at,
        r.markdown.as_str(),
        r.html.as_str(),
        r.json.as_str()
    ];
    tx.execute(INSERT_REPORT, args).await.map(drop)
}

pub(crate) async fn report(db: &Db, id: Option<&ReportId>) -> Result<Option<ReportRecord>, StoreError> {
    let row = db.row(REPORT, args![id.map_or("", ReportId::as_str)]).await?;
    let record = |row: &Row| {
        Ok(ReportRecord {
            id: row.parsed("id", |t| ReportId::parse(t).ok())?,
            from: row.time("from_us")?,
            until: row.time("until_us")?,
            made_at: row.time("made_us")?,
            markdown: row.text("markdown")?.to_owned(),
            html: row.text("html")?.to_owned(),
            json: row.text("json")?.to_owned(),
        })
    };
    row.map(|row| read("reports", &row, record)).transpose()
}

pub(crate) async fn forget(db: &Db, before: Timestamp) -> Result<u64, StoreError> {
    let mut tx = db.begin().await?;
    tx.execute(FORGET_DELIVERIES, args![before]).await?;
    let gone = tx.execute(FORGET_NOTICES, args![before]).await?;
    tx.commit().await?;
    Ok(gone)
}
