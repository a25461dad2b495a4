//! Who holds a key and where it opens: what `env`, `exec`, `token` and `whoami` are given.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use clap::Args;
use claviger_domain::token::{Brand, Token, TokenKind, inspect_any_brand};
use http::Uri;

use super::{Context, output::CliError, sender::SenderArgs, signer::SignerArgs};

/// Where a gateway is unless something says otherwise.
pub const DEFAULT_BASE_URL: &str = "http://127.0.0.1:8787";
/// Longer than any key with what an editor adds.
const MAX_KEY_FILE: u64 = 4_096;

/// Which key, and where it opens.
#[derive(Debug, Clone, Args)]
pub struct HolderArgs {
    /// The file that holds the key, or `-` for standard input [default: CLAVIGER_KEY, else ANTHROPIC_API_KEY if it is one of ours]
    #[arg(long, value_name = "FILE|-", env = "CLAVIGER_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// The gateway [default: CLAVIGER_BASE_URL, else ANTHROPIC_BASE_URL, else http://127.0.0.1:8787]
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// What signs.
    #[command(flatten)]
    pub signing: SignerArgs,
    /// What else is shown.
    #[command(flatten)]
    pub sender: SenderArgs,
}

impl HolderArgs {
    /// The key.
    ///
    /// # Errors
    /// [`CliError`] when there is none, or it is not one of ours.
    pub fn key(&self, context: &Context) -> Result<Token, CliError> {
        if let Some(file) = &self.key_file {
            return ours(&read_key_file(context, file)?, &format!("{}", file.display()));
        }
        if let Some(text) = variable("CLAVIGER_KEY") {
            return ours(&text, "CLAVIGER_KEY");
        }
        match variable("ANTHROPIC_API_KEY") {
            Some(text) => ours(&text, "ANTHROPIC_API_KEY"),
            None => Err(CliError::usage(
                "no key: name its file with --key-file, or set CLAVIGER_KEY or ANTHROPIC_API_KEY",
            )),
        }
    }

    /// The gateway that was named, without a slash at its end; `None`: none was.
    ///
    /// # Errors
    /// [`CliError`] when what was named is not an address of a gateway.
    pub fn named_base_url(&self) -> Result<Option<String>, CliError> {
        match &self.base_url {
            Some(url) => base_url(url, "--base-url").map(Some),
            None => named_gateway(),
        }
    }

    /// The gateway.
    ///
    /// # Errors
    /// As [`HolderArgs::named_base_url`].
    pub fn base_url(&self) -> Result<String, CliError> {
        Ok(self.named_base_url()?.unwrap_or_else(|| DEFAULT_BASE_URL.to_owned()))
    }
}

/// The gateway that the environment names, without a slash at its end.
///
/// # Errors
/// [`CliError`] when what is named is not an address of a gateway.
pub fn named_gateway() -> Result<Option<String>, CliError> {
    if let Some(url) = variable("CLAVIGER_BASE_URL") {
        return base_url(&url, "CLAVIGER_BASE_URL").map(Some);
    }
    // The provider's own address is no gateway: a key of ours must not be sent there.
    let url = variable("ANTHROPIC_BASE_URL").filter(|url| !is_providers(url));
    url.map(|url| base_url(&url, "ANTHROPIC_BASE_URL")).transpose()
}

/// A variable of the environment that says something.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

/// Whether an address is the provider's.
pub fn is_providers(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|u| u.host().map(str::to_ascii_lowercase));
    host.is_some_and(|h| h == "anthropic.com" || h.ends_with(".anthropic.com"))
}

/// Checks an address of a gateway and takes what SDKs would add to it off its end.
///
/// # Errors
/// [`CliError`] names where it comes from, and what is wrong with it.
pub fn base_url(text: &str, from: &str) -> Result<String, CliError> {
    let wrong = |why: &str| CliError::usage(format!("{from}: {why}"));
    let uri: Uri = text.parse().map_err(|_| wrong("not a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("expected http:// or https://"));
    }
    if uri.query().is_some() || uri.authority().is_none_or(|a| a.as_str().contains('@')) {
        return Err(wrong("expected a host and nothing secret, such as http://127.0.0.1:8787"));
    }
    if is_providers(text) {
        return Err(wrong("that is the provider, not a gateway: your key would be sent there"));
    }
    let bare = text.trim_end_matches('/');
    Ok(bare.strip_suffix("/v1").unwrap_or(bare).to_owned())
}

fn read_key_file(context: &Context, path: &Path) -> Result<String, CliError> {
    let failed = |e: std::io::Error| CliError::failed(format!("{}: {e}", path.display()));
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(MAX_KEY_FILE).read_to_string(&mut text).map_err(failed)?;
        return Ok(text.trim().to_owned());
    }
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let passing = meta.file_type().is_fifo() || meta.file_type().is_char_device();
    if !passing && meta.mode() & 0o077 != 0 {
        context.out.note(&format!("{} can be read by others: run `chmod 600 {0}`", path.display()));
    }
    file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(failed)?;
    Ok(text.trim().to_owned())
}

/// Takes a text for a key of ours, of whatever brand; never says what the text was.
pub fn ours(text: &str, from: &str) -> Result<Token, CliError> {
    let found = inspect_any_brand(Brand::DEFAULT, text);
    let brand = text.get(..3).and_then(|letters| Brand::parse(letters).ok());
    match (found.kind, brand) {
        (TokenKind::LiveKey | TokenKind::TestKey, Some(brand)) if found.valid => {
            Token::parse(brand, text.as_bytes()).map_err(|e| CliError::usage(format!("{from}: {e}")))
        }
        (
            TokenKind::ProviderApiKey
            | TokenKind::ProviderAdminKey
            | TokenKind::ProviderOauthToken
            | TokenKind::ProviderOther,
            _,
        ) => Err(CliError::refused(format!(
            "{from}: that is the provider's key, not one of Claviger's: seal it with `claviger credential add` and \
             use a key of `claviger key create`"
        ))),
        (
            TokenKind::LiveKey
            | TokenKind::TestKey
            | TokenKind::OperatorToken
            | TokenKind::WrappingToken
            | TokenKind::RefreshToken
            | TokenKind::SigningSecret
            | TokenKind::Unknown,
            _,
        ) => Err(CliError::refused(format!(
            "{from}: not a whole key of Claviger's: `claviger key inspect -` says what is wrong with it"
        ))),
    }
}

/// A key's text.
pub fn text(token: &Token) -> &str {
    // A token is made of ASCII.
    std::str::from_utf8(token.expose()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "cvg_test_0123456789abcdefghijklmnopqrstuvwxyzA1DPuTh";

    #[test]
    fn addresses_are_taken_as_sdks_want_them() {
        for (given, taken) in [
            ("http://127.0.0.1:8787", "http://127.0.0.1:8787"),
            ("https://keys.example.com/", "https://keys.example.com"),
            ("https://keys.example.com/v1/", "https://keys.example.com"),
            ("https://example.com/claude", "https://example.com/claude"),
        ] {
            assert_eq!(base_url(given, "x").unwrap(), taken);
        }
        for given in [
            "127.0.0.1:8787",
            "ftp://h",
            "http://u:p@h",
            "http://h?x=1",
            "https://api.anthropic.com",
            "http://",
            "",
        ] {
            assert_eq!(base_url(given, "x").unwrap_err().code, 2, "{given}");
        }
    }

    #[test]
    fn only_keys_of_ours_are_taken_and_none_is_repeated() {
        assert_eq!(text(&ours(TEST, "x").unwrap()), TEST);
        for wrong in ["sk-ant-api03-abcdefghijklmnop", &TEST[..51], "hello", ""] {
            let error = ours(wrong, "the file").unwrap_err();
            assert_eq!(error.code, 4);
            assert!(error.message.starts_with("the file: "));
            assert!(wrong.is_empty() || !error.message.contains(wrong));
        }
    }
}
