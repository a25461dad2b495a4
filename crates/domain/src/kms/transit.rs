//! The transit engine of Vault and OpenBao: `encrypt` and `decrypt` with associated data.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Call, KmsError, Variables, Vault, is_path, parameter};
use crate::sealed_key::Binding;

const DEFAULT_MOUNT: &str = "transit";

#[derive(Clone)]
pub struct Transit {
    vault: Vault,
    mount: String,
    key: String,
}

#[derive(Serialize)]
struct Encrypt<'a> {
    plaintext: &'a str,
    associated_data: String,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    associated_data: String,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: String,
}

impl Transit {
    pub fn from_uri(key: &str, query: &str, read: Variables<'_>) -> Result<Self, KmsError> {
        let mount = parameter(query, "mount")?.unwrap_or(DEFAULT_MOUNT);
        if key.contains('/') || !is_path(key) || !is_path(mount) {
            return Err(KmsError::Uri);
        }
        let vault = Vault::from_environment(read)?;
        Ok(Self { vault, mount: mount.to_owned(), key: key.to_owned() })
    }

    pub fn encrypt(&self, plaintext: &str, binding: &Binding) -> Call {
        let associated_data = STANDARD.encode(binding.associated_data());
        self.call("encrypt", &Encrypt { plaintext, associated_data })
    }

    pub fn decrypt(&self, ciphertext: &str, binding: &Binding) -> Call {
        let associated_data = STANDARD.encode(binding.associated_data());
        self.call("decrypt", &Decrypt { ciphertext, associated_data })
    }

    pub fn encrypted(&self, answer: &[u8]) -> Result<(String, String), KmsError> {
        let read: Answer<Encrypted> = serde_json::from_slice(answer).map_err(|_| KmsError::Answer)?;
        Ok((format!("{}/{}", self.mount, self.key), read.data.ciphertext))
    }

    fn call(&self, verb: &str, body: &impl Serialize) -> Call {
        self.vault.post(&format!("{}/{verb}/{}", self.mount, self.key), body)
    }
}

pub fn decrypted(answer: &[u8]) -> Result<Zeroizing<String>, KmsError> {
    let read: Answer<Decrypted> = serde_json::from_slice(answer).map_err(|_| KmsError::Answer)?;
    Ok(Zeroizing::new(read.data.plaintext))
}
