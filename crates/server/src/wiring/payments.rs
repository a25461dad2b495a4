//! Payment providers, from the file that the settings name.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use claviger_control::payments::{Provider, Providers, Scheme};
use claviger_domain::{
    payment::{Decimal, alipay, rsa::ProviderKey, webhook, wechat},
    secret::SecretBytes,
};
use serde::Deserialize;

use crate::config::Config;

/// Providers in one file, at most.
const MAX_PROVIDERS: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentsFile {
    #[serde(default, rename = "provider")]
    providers: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: String,
    kind: Kind,
    currency: String,
    usd_per_unit: String,
    secret_file: Option<PathBuf>,
    public_key_file: Option<PathBuf>,
    app_id: Option<String>,
    seller_id: Option<String>,
    serial: Option<String>,
    api_key_file: Option<PathBuf>,
    mchid: Option<String>,
    appid: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Webhook,
    Alipay,
    WeChatPay,
}

impl Section {
    /// Settings of other kinds of providers are a mistake, not something to be passed over.
    fn check(&self) -> anyhow::Result<()> {
        let given = [
            ("secret_file", self.secret_file.is_some()),
            ("public_key_file", self.public_key_file.is_some()),
            ("app_id", self.app_id.is_some()),
            ("seller_id", self.seller_id.is_some()),
            ("serial", self.serial.is_some()),
            ("api_key_file", self.api_key_file.is_some()),
            ("mchid", self.mchid.is_some()),
            ("appid", self.appid.is_some()),
        ];
        let known: &[&str] = match self.kind {
            Kind::Webhook => &["secret_file"],
            Kind::Alipay => &["public_key_file", "app_id", "seller_id"],
            Kind::WeChatPay => &["public_key_file", "serial", "api_key_file", "mchid", "appid"],
        };
        for (name, is_given) in given {
            let is_needed = known.contains(&name) && !matches!(name, "seller_id" | "appid");
            if is_needed && !is_given {
                bail!("{name} is missing");
            }
            if is_given && !known.contains(&name) {
                bail!("{name}: not for this kind of provider");
            }
        }
        Ok(())
    }
}

/// The providers of the file; none without one.
///
/// # Errors
/// Says which file, which provider, and what is wrong. No secret is in it.
pub fn load(config: &Config) -> anyhow::Result<Providers> {
    let Some(path) = &config.payments else { return Ok(Arc::new([])) };
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    parse(&text, folder).with_context(|| format!("payments = {}", path.display()))
}

/// What the settings hold that no log may show, with that of the file's providers.
#[must_use]
pub fn secrets(config: &Config) -> Vec<SecretBytes> {
    let filed = config.payments.as_deref().and_then(filed).unwrap_or_default();
    config.secrets().into_iter().chain(filed).collect()
}

/// Who needs a file says that it cannot be read.
fn filed(path: &Path) -> Option<Vec<SecretBytes>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file: PaymentsFile = toml::from_str(&fs::read_to_string(path).ok()?).ok()?;
    let named = file.providers.into_iter().flat_map(|section| [section.secret_file, section.api_key_file]);
    let texts = named.flatten().filter_map(|file| fs::read(folder.join(file)).ok());
    Some(texts.map(|text| SecretBytes::new(text.trim_ascii().to_vec())).collect())
}

fn parse(text: &str, folder: &Path) -> anyhow::Result<Providers> {
    let file: PaymentsFile = toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.message()))?;
    if file.providers.len() > MAX_PROVIDERS {
        bail!("expected at most {MAX_PROVIDERS} providers");
    }
    let mut providers: Vec<Provider> = Vec::with_capacity(file.providers.len());
    for section in file.providers {
        if providers.iter().any(|other| other.name == section.name) {
            bail!("provider {}: there are two of this name", section.name);
        }
        let name = section.name.clone();
        providers.push(provider(section, folder).with_context(|| format!("provider {name}"))?);
    }
    Ok(providers.into())
}

fn provider(section: Section, folder: &Path) -> anyhow::Result<Provider> {
    section.check()?;
    let Section { name, kind, currency, usd_per_unit, .. } = section;
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > 32 || !name.bytes().all(is_name) {
        bail!("name: expected 1 to 32 lower-case letters, digits and hyphens");
    }
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
        bail!("currency: expected three capital letters, such as CNY");
    }
    let usd_per_unit = Decimal::rate(&usd_per_unit).context("usd_per_unit")?;
    if usd_per_unit.is_zero() {
        bail!("usd_per_unit: expected more than nothing");
    }
    let at = |file: Option<PathBuf>| folder.join(file.unwrap_or_default());
    let read = |file: Option<PathBuf>| {
        let file = at(file);
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    };
    let key = |file| ProviderKey::parse(&read(file)?).context("public_key_file");
    let scheme = match kind {
        Kind::Webhook => Scheme::Webhook(Box::new(
            webhook::Secret::parse(&secret(&at(section.secret_file))?).context("secret_file")?,
        )),
        Kind::Alipay => Scheme::Alipay(alipay::Merchant {
            key: key(section.public_key_file)?,
            app_id: section.app_id.unwrap_or_default(),
            seller_id: section.seller_id,
        }),
        Kind::WeChatPay => Scheme::WeChatPay(Box::new(wechat::Merchant {
            key: key(section.public_key_file)?,
            serial: section.serial.unwrap_or_default(),
            api_key: wechat::ApiKey::parse(&secret(&at(section.api_key_file))?).context("api_key_file")?,
            mchid: section.mchid.unwrap_or_default(),
            appid: section.appid,
        })),
    };
    Ok(Provider { name, scheme, currency, usd_per_unit })
}

/// The text of a file that nobody but us may read or write: whoever has it can make payments up.
fn secret(path: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    let mut file = File::open(path).with_context(reading)?;
    let mode = file.metadata().with_context(reading)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "{0} has mode {mode:o}, so that others can read or write it: run `chmod 600 {0}`",
            path.display()
        );
    }
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(reading)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const VECTORS: &str = include_str!("../../../domain/src/payment/tests/vectors.json");

    fn parsed(text: &str) -> Result<Providers, String> {
        with_modes(text, 0o600)
    }

    /// Secrets have this mode; public keys may be read by everybody.
    fn with_modes(text: &str, mode: u32) -> Result<Providers, String> {
        let folder = tempfile::tempdir().unwrap();
        let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        let file = |name: &str, text: &serde_json::Value, mode: u32| {
            let path = folder.path().join(name);
            fs::write(&path, text.as_str().unwrap()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        file("key.pem", &vectors["key"], 0o644);
        file("secret", &vectors["webhook"]["secret"], mode);
        file("v3", &vectors["wechat"]["api_key"], mode);
        parse(text, folder.path()).map_err(|error| format!("{error:#}"))
    }

    fn one(name: &str, rest: &str) -> String {
        format!("[[provider]]\nname = \"{name}\"\ncurrency = \"CNY\"\nusd_per_unit = \"0.14\"\n{rest}\n")
    }

    const WEBHOOK: &str = "kind = \"webhook\"\nsecret_file = \"secret\"";

    const WECHAT: &str = "kind = \"wechatpay\"\npublic_key_file = \"key.pem\"\nserial = \"s\"\napi_key_file = \"v3\"\n\
                          mchid = \"m\"\nappid = \"wx\"";

    #[test]
    fn secrets_that_others_could_read_or_write_are_refused() {
        for (text, file) in [(one("shop", WEBHOOK), "secret"), (one("wechat", WECHAT), "v3")] {
            for mode in [0o640, 0o604, 0o660, 0o666, 0o620] {
                let error = with_modes(&text, mode).unwrap_err();
                let said =
                    format!("{file} has mode {mode:o}, so that others can read or write it: run `chmod 600 ");
                assert!(error.contains(&said), "{error}");
            }
            for mode in [0o600, 0o400] {
                assert_eq!(with_modes(&text, mode).unwrap().len(), 1);
            }
        }
    }

    #[test]
    fn what_providers_share_with_us_is_known_to_the_logs() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("secret", "whsec_a\n"), ("v3", "0123456789")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let path = folder.path().join("payments.toml");
        fs::write(&path, [one("shop", WEBHOOK), one("wechat-pay", WECHAT)].concat()).unwrap();
        let known = filed(&path).unwrap();
        let known: Vec<&[u8]> = known.iter().map(SecretBytes::expose).collect();
        assert_eq!(known, [b"whsec_a".as_slice(), b"0123456789"]);
        assert!(filed(&folder.path().join("none.toml")).is_none());
    }

    #[test]
    fn providers_of_each_kind_are_read() {
        let alipay = "kind = \"alipay\"\npublic_key_file = \"key.pem\"\napp_id = \"a\"";
        let all = [one("shop", WEBHOOK), one("alipay", alipay), one("wechat-pay", WECHAT)].concat();
        let names: Vec<String> = parsed(&all).unwrap().iter().map(|p| p.name.clone()).collect();
        assert_eq!(names, ["shop", "alipay", "wechat-pay"]);
        assert!(parsed("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_without_a_secret() {
        for (text, expected) in [
            (one("Shop", WEBHOOK), "provider Shop: name: expected"),
            ([one("shop", WEBHOOK), one("shop", WEBHOOK)].concat(), "there are two of this name"),
            (one("shop", "kind = \"webhook\"\nsecret_file = \"v3\""), "secret_file: expected whsec_"),
            (one("shop", "kind = \"webhook\"\nsecret_file = \"none\""), "reading "),
            (one("shop", "kind = \"cash\""), "unknown variant `cash`"),
            (one("shop", "kind = \"webhook\""), "secret_file is missing"),
            (one("shop", &format!("{WEBHOOK}\nmchid = \"m\"")), "mchid: not for this kind"),
            (one("shop", &format!("{WEBHOOK}\ncolor = 1")), "color"),
            (one("shop", WEBHOOK).replace("0.14", "0"), "usd_per_unit: expected more than nothing"),
            (one("shop", WEBHOOK).replace("0.14", "1e3"), "usd_per_unit"),
            (one("shop", WEBHOOK).replace("CNY", "yuan"), "currency: expected three capital letters"),
        ] {
            let error = parsed(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("0123456789abcdef"), "{error}");
        }
    }
}
