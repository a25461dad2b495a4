//! `claviger seal-key`

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use clap::Args;
use claviger_domain::{
    clock::{Clock, Entropy},
    kms::{Call, Kms},
    sealed_key::{Binding, Blob, DATA_KEY_LEN, Purpose},
    secret::SecretBytes,
    token::{Brand, TokenKind, inspect_any_brand},
};
use http::{Request, Uri, header};
use http_body_util::Full;
use hyper::body::Bytes;
use zeroize::Zeroizing;

use super::{
    Context, ask,
    holder::variable,
    output::CliError,
    transport::{Answer, Endpoint, NoAnswer, Origin, Tls, exchange},
};
use crate::{clock::SystemClock, entropy::SystemEntropy};

/// What is shown of a service's refusal, in characters.
const MOST_SHOWN: usize = 300;

/// `seal-key`
#[derive(Debug, Args)]
pub struct SealKeyArgs {
    /// Which key of which service wraps it: awskms://[HOST]/KEY[?region=NAME] (AWS KMS; KEY is an id, alias/NAME or an
    /// ARN), hashivault://KEY[?mount=PATH] (the transit engine of Vault or OpenBao)
    #[arg(long, value_name = "URI", env = "CLAVIGER_KMS")]
    kms: String,
    /// The file that holds the key or the signing secret, or `-` for standard input [default: standard input]
    #[arg(long, value_name = "FILE|-")]
    key_file: Option<PathBuf>,
}

/// Seals a key and prints the blob. Nothing asks the gateway.
///
/// # Errors
/// [`CliError`]; nothing was printed.
pub fn run(context: &Context, args: &SealKeyArgs) -> Result<(), CliError> {
    let kms = service(&args.kms)?;
    let piped = !std::io::stdin().is_terminal();
    let file = args.key_file.as_deref().or(piped.then_some(Path::new("-")));
    let text = ask::secret("key", file)?;
    let blob = seal(context, &kms, text.trim())?;
    context.out.line(&blob);
    Ok(())
}

/// The service that a URI names, with what the environment says of reaching it.
///
/// # Errors
/// [`CliError`] says what is missing.
pub fn service(uri: &str) -> Result<Kms, CliError> {
    Kms::from_uri(uri, &variable).map_err(|error| CliError::usage(format!("--kms: {error}")))
}

/// The blob of a key or a signing secret, as one line.
///
/// # Errors
/// [`CliError`]; what is to be sealed is in none.
pub fn seal(context: &Context, kms: &Kms, text: &str) -> Result<String, CliError> {
    let (purpose, id) = about(text)?;
    let mut bytes = Zeroizing::new([0_u8; DATA_KEY_LEN]);
    let entropy = SystemEntropy::default();
    entropy.fill(&mut *bytes).map_err(|error| CliError::failed(error.to_string()))?;
    let data_key = SecretBytes::new(bytes.to_vec());
    let now = SystemClock.now();
    let answer = ask_service(context, kms.wrap(&data_key, &Binding { purpose, id }, now))?;
    let wrapped = kms.read_wrapped(&answer).map_err(|error| CliError::failed(error.to_string()))?;
    let blob = Blob::seal(purpose, text, (&data_key, wrapped), now, &entropy);
    let blob = blob.map_err(|error| CliError::failed(error.to_string()))?;
    serde_json::to_string(&blob).map_err(|error| CliError::failed(error.to_string()))
}

/// What a text is for, and its public id.
///
/// # Errors
/// [`CliError`] for anything else than a key or a signing secret; it is not repeated.
pub fn about(text: &str) -> Result<(Purpose, String), CliError> {
    let found = inspect_any_brand(Brand::DEFAULT, text);
    let purpose = match found.kind {
        TokenKind::LiveKey | TokenKind::TestKey if found.valid => Some(Purpose::ApiKey),
        TokenKind::SigningSecret => Some(Purpose::SigningSecret),
        TokenKind::LiveKey
        | TokenKind::TestKey
        | TokenKind::ProviderApiKey
        | TokenKind::ProviderAdminKey
        | TokenKind::ProviderOauthToken
        | TokenKind::ProviderOther
        | TokenKind::OperatorToken
        | TokenKind::WrappingToken
        | TokenKind::RefreshToken
        | TokenKind::Unknown => None,
    };
    let id = purpose.and_then(|purpose| purpose.id_of(text).map(|id| (purpose, id.to_owned())));
    id.ok_or_else(|| {
        CliError::refused(
            "not a whole key or signing secret of Claviger's: nothing else is sealed for adapters",
        )
    })
}

/// Sends a call to a service and gives its answer.
///
/// # Errors
/// [`CliError`] with the service's words when it refuses.
pub fn ask_service(context: &Context, call: Call) -> Result<Vec<u8>, CliError> {
    let wrong = |error: &dyn std::fmt::Display| CliError::usage(format!("--kms: {error}"));
    let uri: Uri = call.url.parse().map_err(|e| wrong(&e))?;
    let origin = format!(
        "{}://{}",
        uri.scheme_str().unwrap_or_default(),
        uri.authority().map(http::uri::Authority::as_str).unwrap_or_default()
    );
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut request = Request::post(path).header(header::ACCEPT, "application/json");
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    let body = Bytes::copy_from_slice(call.body.expose());
    let request = request.body(Full::new(body)).map_err(|e| wrong(&e))?;
    let tls = Tls::believing(context.ca_file.clone());
    let answer = exchange(&Endpoint::Origin(Origin::parse(&origin)?), &tls, request);
    let answer = answer.map_err(|error| match error {
        NoAnswer::Unreachable(why) => CliError::unreachable(format!("nothing answers on {origin}: {why}")),
        NoAnswer::Broke(why) => CliError::failed(format!("{origin}: the connection broke: {why}")),
        NoAnswer::Wrong(error) => error,
    })?;
    if answer.status.is_success() { Ok(answer.body) } else { Err(refused(&origin, &answer)) }
}

/// What the service says, to whoever seals: it may name the key, never what is sealed.
fn refused(origin: &str, answer: &Answer) -> CliError {
    let said: String = String::from_utf8_lossy(&answer.body).chars().take(MOST_SHOWN).collect();
    let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    CliError::refused(format!("{origin} refuses ({}): {}", answer.status.as_u16(), said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_and_signing_secrets_are_sealed() {
        let live = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";
        assert_eq!(about(live).unwrap(), (Purpose::ApiKey, "0123456789".to_owned()));
        for text in ["", "sk-ant-api03-abcdefghijklmnop", &live.replace("abc", "abd"), &live[..51]] {
            let error = about(text).unwrap_err();
            assert_eq!(error.code, 4);
            assert!(text.is_empty() || !error.message.contains(text));
        }
    }
}
