//! In Redis or Valkey: shared by all nodes, quick, and as durable as it is set to be.
//!
//! One script judges and remembers in one round trip, and nothing else may come between. It knows which server
//! answers: a run id belongs to one process, and a connection cannot outlive it. When the mark in the store is not
//! this server's (it was flushed, restarted, or a replica took over that may not have got the last writes) the memory
//! begins anew, for all nodes at once, on the server's own clock.

use std::sync::Arc;

use async_trait::async_trait;
use claviger_domain::{
    clock::{MICROS_PER_SEC, Timestamp},
    ports::signing::{NonceError, NonceStore},
    signature::{
        SKEW_SECS,
        nonce::{Loss, Nonce, NonceUse, NonceVerdict},
    },
    token::PublicId,
};
use redis::{Client, RedisError, Script, aio::MultiplexedConnection};
use tokio::sync::Mutex;

/// How far the clocks of nodes and server may be apart when a loss is dated, in seconds.
const MARGIN_SECS: i64 = 5;
/// Nonces are kept for so much longer, so that a server whose clock is ahead forgets none too early, in seconds.
const SPARE_SECS: i64 = 120;
/// A server whose clock is further off is not believed, in seconds.
const MOST_DRIFT_SECS: i64 = 60;
const MARK: &str = "{claviger:nonces}:mark";

/// Answers a kind and a number: 1 fresh, 0 replayed, -1 lost (when), -2 the clock is off (by how much).
const TAKE: &str = r"
local now = tonumber(redis.call('TIME')[1])
local drift = now - tonumber(ARGV[5])
if math.abs(drift) > tonumber(ARGV[6]) then return {-2, drift} end
local mark = redis.call('GET', KEYS[1])
local whose, lost
if mark then whose, lost = string.match(mark, '^(%w+):(%d+)$') end
if whose ~= ARGV[1] then
  lost = now
  redis.call('SET', KEYS[1], ARGV[1] .. ':' .. string.format('%d', now))
end
lost = tonumber(lost)
local until_ = lost + tonumber(ARGV[7])
if tonumber(ARGV[4]) <= until_ and tonumber(ARGV[2]) <= until_ + tonumber(ARGV[8]) then return {-1, lost} end
if redis.call('SET', KEYS[2], '', 'NX', 'PXAT', ARGV[3]) then return {1, lost} end
return {0, lost}
";

/// Remembers in Redis.
pub struct RedisNonces {
    client: Client,
    script: Script,
    session: Mutex<Option<Session>>,
}

/// A connection, and which server is at its other end.
#[derive(Clone)]
struct Session {
    connection: MultiplexedConnection,
    run_id: Arc<str>,
}

impl RedisNonces {
    /// For `redis://[user:password@]host[:port][/db]`, or `rediss://` over TLS. Nothing is asked yet.
    ///
    /// # Errors
    /// [`NonceError::Unavailable`] when the address cannot be read; it is not repeated, as it may hold a password.
    pub fn new(url: &str) -> Result<Self, NonceError> {
        let client = Client::open(url).map_err(|_| unavailable("the address of Redis cannot be read"))?;
        Ok(Self { client, script: Script::new(TAKE), session: Mutex::default() })
    }

    async fn session(&self) -> Result<Session, NonceError> {
        let mut place = self.session.lock().await;
        if let Some(session) = &*place {
            return Ok(session.clone());
        }
        let mut connection = self.client.get_multiplexed_async_connection().await.map_err(failed)?;
        let run_id = reliable(&mut connection).await?;
        let session = Session { connection, run_id: run_id.into() };
        *place = Some(session.clone());
        Ok(session)
    }

    async fn drop_session(&self) {
        *self.session.lock().await = None;
    }

    async fn ask(
        &self,
        session: &Session,
        used: &NonceUse,
        now: Timestamp,
    ) -> Result<(i64, i64), RedisError> {
        let mut connection = session.connection.clone();
        let until_ms = used.kept_until_secs().saturating_add(SPARE_SECS).saturating_mul(1_000);
        self.script
            .key(MARK)
            .key(format!("{{claviger:nonces}}:{}:{:?}", used.key.as_str(), used.nonce))
            .arg(&*session.run_id)
            .arg(used.made_at_secs)
            .arg(until_ms)
            .arg(used.signer_since.as_micros().div_euclid(MICROS_PER_SEC))
            .arg(now.as_secs())
            .arg(MOST_DRIFT_SECS)
            .arg(MARGIN_SECS)
            .arg(SKEW_SECS)
            .invoke_async(&mut connection)
            .await
    }
}

#[async_trait]
impl NonceStore for RedisNonces {
    async fn take(&self, used: &NonceUse, now: Timestamp) -> Result<NonceVerdict, NonceError> {
        let session = self.session().await?;
        match self.ask(&session, used, now).await {
            Ok((1, _)) => Ok(NonceVerdict::Fresh),
            Ok((0, _)) => Ok(NonceVerdict::Replayed),
            Ok((-1, lost)) => {
                let at = Timestamp::from_secs(lost.saturating_add(MARGIN_SECS));
                Ok(NonceVerdict::Lost(Loss { at }))
            }
            Ok((-2, drift)) => Err(NonceError::Unavailable(format!("the clock of Redis is {drift} s off"))),
            Ok(_) => Err(unavailable("Redis gave an answer that makes no sense")),
            // It may have been remembered or not: nobody can tell, so it is not tried again.
            Err(error) => {
                self.drop_session().await;
                Err(failed(error))
            }
        }
    }

    /// Redis forgets by itself. What is looked at is whether it forgets more than it may.
    /// Who else uses the server, and what it forgot of theirs, nobody knows: its beginning is a loss in any case. It is
    /// one of now, and not of the first signed request.
    async fn begin(&self, now: Timestamp, _: bool) -> Result<(), NonceError> {
        let nobody = PublicId::parse("0000000000");
        let nobody = nobody.ok_or_else(|| NonceError::Unavailable("no id".to_owned()))?;
        let nonce = Nonce::from_bytes([0; 16]);
        // By no secret that could be new: a memory that begins with it does not take it.
        let none = NonceUse {
            key: nobody,
            nonce,
            made_at_secs: now.as_secs(),
            signer_since: Timestamp::from_secs(0),
        };
        self.take(&none, now).await.map(drop)
    }

    async fn forget(&self, _: Timestamp) -> Result<u64, NonceError> {
        let held = self.session.lock().await.clone();
        let Some(mut session) = held else { return Ok(0) };
        if let Err(error) = reliable(&mut session.connection).await {
            self.drop_session().await;
            return Err(error);
        }
        Ok(0)
    }

    fn name(&self) -> &'static str {
        "redis"
    }
}

/// The server's run id, if nonces are safe with it: one that drops keys when its memory is full would let replays
/// through, and a replica takes no writes.
async fn reliable(connection: &mut MultiplexedConnection) -> Result<String, NonceError> {
    let info: String = redis::cmd("INFO").query_async(connection).await.map_err(failed)?;
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .unwrap_or_default()
    };
    if field("maxmemory") != "0" && field("maxmemory_policy") != "noeviction" {
        return Err(unavailable("Redis drops keys when its memory is full: set maxmemory-policy noeviction"));
    }
    if field("role") != "master" {
        return Err(unavailable("this Redis is a replica"));
    }
    let run_id = field("run_id");
    let fits = !run_id.is_empty() && run_id.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits { Ok(run_id.to_owned()) } else { Err(unavailable("Redis does not say which process it is")) }
}

fn unavailable(why: &str) -> NonceError {
    NonceError::Unavailable(why.to_owned())
}

/// What a driver says may hold the address; its kind does not.
fn failed(error: RedisError) -> NonceError {
    NonceError::Unavailable(format!("Redis: {}", error.category()))
}
