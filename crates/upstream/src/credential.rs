//! The provider key, and how it takes the place of ours in a request.

use std::fmt;

use bytes::Bytes;
use claviger_domain::secret::SecretBytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, InvalidHeaderValue},
};

/// The header that older SDKs and Claude Code put the key in.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// In which headers the client showed its key; the provider's key goes into the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialForm {
    /// `x-api-key` only.
    ApiKey,
    /// `Authorization: Bearer` only.
    Bearer,
    /// Both (Claude Code with a key helper).
    Both,
}

impl CredentialForm {
    /// Looks at the client's headers; with neither header it is [`CredentialForm::ApiKey`].
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        match (headers.contains_key(X_API_KEY), headers.contains_key(AUTHORIZATION)) {
            (_, false) => Self::ApiKey,
            (false, true) => Self::Bearer,
            (true, true) => Self::Both,
        }
    }
}

/// A provider key, ready to be sent. Its memory is zeroed when the last request that carries it is gone.
#[derive(Clone)]
pub struct ProviderKey {
    plain: HeaderValue,
    bearer: HeaderValue,
}

impl ProviderKey {
    /// Takes the key as the provider issued it.
    ///
    /// # Errors
    /// When it holds a byte that no header may hold, such as a line break.
    pub fn new(key: SecretBytes) -> Result<Self, InvalidHeaderValue> {
        let mut bearer = Vec::with_capacity(7 + key.expose().len());
        bearer.extend_from_slice(b"Bearer ");
        bearer.extend_from_slice(key.expose());
        Ok(Self { plain: sensitive(key)?, bearer: sensitive(SecretBytes::new(bearer))? })
    }

    /// Removes whatever `x-api-key` and `Authorization` are there and puts the provider's key in their place.
    pub fn apply(&self, headers: &mut HeaderMap, form: CredentialForm) {
        match form {
            CredentialForm::ApiKey => {
                headers.remove(AUTHORIZATION);
                headers.insert(X_API_KEY, self.plain.clone());
            }
            CredentialForm::Bearer => {
                headers.remove(X_API_KEY);
                headers.insert(AUTHORIZATION, self.bearer.clone());
            }
            CredentialForm::Both => {
                headers.insert(X_API_KEY, self.plain.clone());
                headers.insert(AUTHORIZATION, self.bearer.clone());
            }
        }
    }
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderKey")
    }
}

/// Lends the secret's own memory to a header value, so that no copy outlives it unzeroed.
struct Lent(SecretBytes);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

/// A header value that is neither printed nor indexed by HPACK.
pub(crate) fn sensitive(secret: SecretBytes) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Lent(secret)))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-ant-api03-not-a-key";

    fn key() -> ProviderKey {
        ProviderKey::new(SecretBytes::new(KEY.into())).expect("key")
    }

    fn client(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn key_goes_where_the_client_put_its_own() {
        for (sent, form, x_api_key, bearer) in [
            (client(&[("x-api-key", "cvg")]), CredentialForm::ApiKey, true, false),
            (client(&[("authorization", "Bearer cvg")]), CredentialForm::Bearer, false, true),
            (
                client(&[("x-api-key", "cvg"), ("authorization", "Bearer cvg")]),
                CredentialForm::Both,
                true,
                true,
            ),
            (client(&[]), CredentialForm::ApiKey, true, false),
        ] {
            let mut headers = sent;
            assert_eq!(CredentialForm::of(&headers), form);
            key().apply(&mut headers, form);
            assert_eq!(headers.get("x-api-key").is_some_and(|v| v == KEY), x_api_key);
            assert_eq!(headers.get("authorization").is_some_and(|v| v == &format!("Bearer {KEY}")), bearer);
            assert!(headers.values().all(|v| !v.as_bytes().ends_with(b"cvg")));
        }
    }

    #[test]
    fn none_of_the_clients_keys_survives_even_when_repeated() {
        let mut headers = client(&[("authorization", "Bearer cvg")]);
        headers.append("authorization", HeaderValue::from_static("Basic cvg"));
        headers.append("x-api-key", HeaderValue::from_static("cvg"));
        headers.append("x-api-key", HeaderValue::from_static("cvg"));
        key().apply(&mut headers, CredentialForm::Both);
        assert_eq!(headers.get_all("authorization").iter().count(), 1);
        assert_eq!(headers.get_all("x-api-key").iter().count(), 1);
    }

    #[test]
    fn key_is_never_printed() {
        let mut headers = HeaderMap::new();
        key().apply(&mut headers, CredentialForm::Both);
        let shown = format!("{headers:?} {:?}", key());
        assert!(!shown.contains("sk-ant"), "{shown}");
    }

    #[test]
    fn key_with_a_line_break_is_refused() {
        assert!(ProviderKey::new(SecretBytes::new(b"sk-ant\r\nx: y".to_vec())).is_err());
    }
}
