//! Data keys under the master key, values under data keys.
//!
//! ```text
//! value     = 1 | alg | data key version (u32) | nonce (12) | ciphertext | tag (16)
//!             bound to its own header, "claviger/seal/v1", table, column, row
//! data key  = 1 | alg | master key id (8)      | nonce (12) | ciphertext (32) | tag (16)
//!             bound to its own header, "claviger/data-key/v1", its version
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use claviger_domain::{
    clock::{Entropy, Timestamp},
    ports::{SealContext, SealError, SealedSecret, Sealer},
    secret::SecretBytes,
};
use zeroize::Zeroizing;

use crate::{
    aead::{KEY_LEN, Key},
    master::{MasterKey, MasterKeyId},
};

/// The name under which wrapped data keys are kept among the secrets.
pub const DATA_KEY: &str = "data_key";

/// How many values one data key may seal: 0.9 · 2³². With random 96-bit nonces, NIST SP 800-38D (section 8.3) allows
/// 2³². Counted by each process from its start, so several starts of one key must stay below together; credentials and
/// secrets of our own are sealed by the hundred.
pub const SEALS_PER_DATA_KEY: u64 = (1 << 32) / 10 * 9;

const FORMAT: u8 = 1;
const AES_256_GCM: u8 = 1;
const VALUE_HEADER: usize = 2 + 4;
const DATA_KEY_HEADER: usize = 2 + MasterKeyId::LEN;
const VALUE_SCHEMA: &[u8] = b"claviger/seal/v1";
const DATA_KEY_SCHEMA: &[u8] = b"claviger/data-key/v1";

/// Why an envelope cannot be opened. Found before anything is read with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no data key: a new store needs [`Envelope::new_data_key`] first.
    #[error("the store holds no data key")]
    NoDataKey,
    /// The master key is not the one that this store was sealed under.
    #[error(
        "this store is sealed under master key {expected}, but the master key given is {given}: put the right file back"
    )]
    WrongMasterKey {
        /// The id that the store names.
        expected: MasterKeyId,
        /// The id of the key that was given.
        given: MasterKeyId,
    },
    /// A data key cannot be unwrapped though the master key is the right one.
    #[error("data key {0} was changed or damaged: restore it from a backup")]
    Damaged(u32),
}

struct DataKey {
    key: Key,
    sealed: AtomicU64,
}

/// Seals and opens values. The newest data key seals; all of them open.
pub struct Envelope {
    keys: BTreeMap<u32, DataKey>,
    current: u32,
    entropy: Arc<dyn Entropy>,
}

impl Envelope {
    /// Unwraps the data keys among `secrets`; others are passed over.
    ///
    /// # Errors
    /// [`OpenError`]; a master key of another store is told apart from damage.
    pub fn open(
        master: &MasterKey,
        secrets: Vec<SealedSecret>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let wrapped = secrets.iter().filter(|s| s.name == DATA_KEY);
        let keys =
            wrapped.map(|s| Ok((s.version, unwrap(master, s)?))).collect::<Result<BTreeMap<_, _>, _>>()?;
        let current = *keys.last_key_value().ok_or(OpenError::NoDataKey)?.0;
        Ok(Self { keys, current, entropy })
    }

    /// Makes a data key, wrapped, to be kept among the secrets.
    ///
    /// # Errors
    /// [`SealError::Entropy`].
    pub fn new_data_key(
        master: &MasterKey,
        version: u32,
        created_at: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<SealedSecret, SealError> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        entropy.fill(&mut *bytes).map_err(|_| SealError::Entropy)?;
        let mut header = vec![FORMAT, AES_256_GCM];
        header.extend_from_slice(master.id().as_bytes());
        let place: [&[u8]; 2] = [DATA_KEY_SCHEMA, &version.to_be_bytes()];
        let sealed = master.key().seal(&header, &place, &*bytes, entropy)?;
        Ok(SealedSecret { name: DATA_KEY.to_owned(), version, sealed, created_at })
    }

    /// The version of the data key that seals.
    #[must_use]
    pub const fn current(&self) -> u32 {
        self.current
    }

    /// How many values the current data key sealed since this start.
    #[must_use]
    pub fn sealed_since_start(&self) -> u64 {
        self.keys.get(&self.current).map_or(0, |key| key.sealed.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope(data key {})", self.current)
    }
}

fn unwrap(master: &MasterKey, secret: &SealedSecret) -> Result<DataKey, OpenError> {
    let damaged = OpenError::Damaged(secret.version);
    let header = secret.sealed.first_chunk::<DATA_KEY_HEADER>().ok_or(damaged)?;
    let [FORMAT, AES_256_GCM, id @ ..] = *header else { return Err(damaged) };
    let expected = MasterKeyId::from_bytes(id);
    if expected != master.id() {
        return Err(OpenError::WrongMasterKey { expected, given: master.id() });
    }
    let place: [&[u8]; 2] = [DATA_KEY_SCHEMA, &secret.version.to_be_bytes()];
    let plain = master.key().open(DATA_KEY_HEADER, &place, &secret.sealed).map_err(|_| damaged)?;
    let bytes: &[u8; KEY_LEN] = plain.expose().try_into().map_err(|_| damaged)?;
    Ok(DataKey { key: Key::new(bytes).ok_or(damaged)?, sealed: AtomicU64::new(0) })
}

fn place<'a>(context: &SealContext<'a>) -> [&'a [u8]; 4] {
    let SealContext { table, column, row } = context;
    [VALUE_SCHEMA, table.as_bytes(), column.as_bytes(), row.as_bytes()]
}

impl Sealer for Envelope {
    fn seal(&self, context: SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.keys.get(&self.current).ok_or(SealError::UnknownDataKey(self.current))?;
        if key.sealed.fetch_add(1, Ordering::Relaxed) >= SEALS_PER_DATA_KEY {
            return Err(SealError::WornOut(self.current));
        }
        let [a, b, c, d] = self.current.to_be_bytes();
        key.key.seal(&[FORMAT, AES_256_GCM, a, b, c, d], &place(&context), plain, &*self.entropy)
    }

    fn open(&self, context: SealContext<'_>, sealed: &[u8]) -> Result<SecretBytes, SealError> {
        let header = sealed.first_chunk::<VALUE_HEADER>().ok_or(SealError::CannotOpen)?;
        let [FORMAT, AES_256_GCM, version @ ..] = *header else { return Err(SealError::CannotOpen) };
        let version = u32::from_be_bytes(version);
        let key = self.keys.get(&version).ok_or(SealError::UnknownDataKey(version))?;
        key.key.open(VALUE_HEADER, &place(&context), sealed)
    }
}

#[cfg(test)]
mod tests;
