//! Vault and OpenBao: where the server is, and what it is shown.

use serde::Serialize;
use zeroize::Zeroizing;

use super::{Call, KmsError, Variables, address, is_path, set};
use crate::secret::SecretBytes;

/// A server of Vault or OpenBao. It holds a credential, so it has no `Debug`.
#[derive(Clone)]
pub struct Vault {
    address: String,
    token: Zeroizing<String>,
    namespace: Option<String>,
}

impl Vault {
    /// By `VAULT_ADDR`, `VAULT_TOKEN` and `VAULT_NAMESPACE`, or `BAO_…`, which come first.
    ///
    /// # Errors
    /// [`KmsError::Unset`], [`KmsError::Address`].
    pub fn from_environment(read: Variables<'_>) -> Result<Self, KmsError> {
        let unset = KmsError::Unset;
        Ok(Self {
            address: address(&set(read, &["BAO_ADDR", "VAULT_ADDR"], unset("VAULT_ADDR"))?)?,
            token: Zeroizing::new(set(read, &["BAO_TOKEN", "VAULT_TOKEN"], unset("VAULT_TOKEN"))?),
            namespace: read("BAO_NAMESPACE").or_else(|| read("VAULT_NAMESPACE")),
        })
    }

    /// A POST to a path below `/v1`.
    #[must_use]
    pub fn post(&self, path: &str, body: &impl Serialize) -> Call {
        let mut headers =
            vec![("x-vault-request", "true".to_owned()), ("x-vault-token", self.token.to_string())];
        headers.extend(self.namespace.iter().map(|name| ("x-vault-namespace", name.clone())));
        // Structures of text are always JSON.
        let body = SecretBytes::new(serde_json::to_vec(body).unwrap_or_default());
        Call { url: format!("{}/v1/{path}", self.address), headers, body }
    }
}

impl Call {
    /// The same, answered by a token that opens the answer once, within this time.
    #[must_use]
    pub fn wrapped(mut self, ttl_secs: u64) -> Self {
        self.headers.push(("x-vault-wrap-ttl", ttl_secs.to_string()));
        self
    }
}

/// Whether a text is a path of names, such as `claviger/ci`: no part of it is empty or leads elsewhere.
#[must_use]
pub fn is_store_path(text: &str) -> bool {
    is_path(text)
}
