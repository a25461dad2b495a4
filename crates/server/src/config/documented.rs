//! The settings as `deploy/claviger.toml` and the reference show them: each exists, has the default that it is said to
//! have, and none is missing.

use std::{collections::BTreeSet, path::Path};

use super::{Config, ServeArgs, file::FileConfig};

/// The commented example.
const EXAMPLE: &str = include_str!("../../../../deploy/claviger.toml");
/// The table of all settings.
pub const REFERENCE: &str = include_str!("../../../../docs/src/configuration.md");

/// What has no default that could be written down; the example shows a value that one might give.
const EXAMPLES: [&str; 27] = [
    "data",
    "database",
    "public_url",
    "trusted_proxies",
    "workers",
    "prices",
    "payments",
    "tls.cert",
    "tls.key",
    "tls.client_ca",
    "tls.client_auth",
    "control_tls.cert",
    "control_tls.key",
    "log.format",
    "upstream.ca_file",
    "upstream.proxy",
    "upstream.no_proxy",
    "audit.checkpoint_file",
    "nonces.redis_url",
    "smtp.host",
    "smtp.port",
    "smtp.security",
    "smtp.username",
    "smtp.password_file",
    "smtp.from",
    "smtp.to",
    "smtp.to_owner",
];

/// One setting with the value that the example gives it.
pub struct Setting {
    section: Option<String>,
    key: String,
    value: toml::Value,
}

impl Setting {
    /// `key` or `section.key`.
    pub fn name(&self) -> String {
        self.section.as_ref().map_or_else(|| self.key.clone(), |section| format!("{section}.{}", self.key))
    }

    /// Whether a row of the reference is about it.
    pub fn is_named_in(&self, row: &str) -> bool {
        row.split(" | ").next().is_some_and(|cell| cell.contains(&format!("`{}`", self.name())))
    }

    /// The same setting with another value.
    pub fn changed(&self) -> Self {
        let value = match &self.value {
            toml::Value::Boolean(b) => (!b).into(),
            toml::Value::Integer(n) => (n + 1).into(),
            toml::Value::Array(_) => toml::Value::Array(Vec::new()),
            toml::Value::String(text) => other_text(text).into(),
            odd @ (toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_)) => {
                panic!("{} has a value of a kind that no setting has: {odd}", self.name())
            }
        };
        Self { section: self.section.clone(), key: self.key.clone(), value }
    }

    /// The settings in force with this one in the file and nothing else.
    pub fn resolved(&self) -> Config {
        let line = format!("{} = {}\n", self.key, self.value);
        // What a mail channel needs beside.
        let with = |key: &str| {
            let needed = [
                ("host", "host = \"mail.example\"\n"),
                ("to", "to = [\"ops@example.com\"]\n"),
                ("to_owner", "to_owner = true\n"),
            ];
            needed.iter().filter(|(name, _)| *name != key).map(|(_, line)| *line).collect::<String>()
        };
        let text = match (&self.section, self.key.as_str()) {
            (Some(section), "cert") => format!("[{section}]\n{line}key = \"k\"\n"),
            (Some(section), "key") => format!("[{section}]\n{line}cert = \"c\"\n"),
            (Some(section), "client_ca") => format!("[{section}]\n{line}cert = \"c\"\nkey = \"k\"\n"),
            (Some(section), "client_auth") => {
                format!("[{section}]\n{line}client_ca = \"a\"\ncert = \"c\"\nkey = \"k\"\n")
            }
            (Some(section), "username") => {
                format!("[{section}]\n{line}password_file = \"p\"\n{}", with("username"))
            }
            (Some(section), "password_file") => format!("[{section}]\n{line}username = \"u\"\n{}", with("")),
            (Some(section), key) if section == "smtp" => format!("[{section}]\n{line}{}", with(key)),
            (Some(section), _) => format!("[{section}]\n{line}"),
            (None, _) => line,
        };
        resolved(&text)
    }
}

/// Another value of the same kind.
fn other_text(text: &str) -> String {
    match text {
        "optional" => "required".to_owned(),
        "json" => "human".to_owned(),
        "fsync" => "process".to_owned(),
        "memory" => "database".to_owned(),
        "EdDSA" => "ES256".to_owned(),
        "info" => "debug".to_owned(),
        "cvg" => "abc".to_owned(),
        "starttls" => "implicit".to_owned(),
        "0 9 * * *" => "0 8 * * *".to_owned(),
        "0 9 * * 1" => "0 8 * * 1".to_owned(),
        "UTC" => "Europe/Berlin".to_owned(),
        _ => match text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())) {
            ("", _) => format!("{text}x"),
            (number, unit) if unit.starts_with(char::is_alphabetic) => {
                format!("{}{unit}", number.parse::<u64>().unwrap() + 86_400)
            }
            // An address with its port.
            _ => text.replace(":87", ":97"),
        },
    }
}

fn resolved(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claviger.toml");
    std::fs::write(&path, text).unwrap();
    let args = ServeArgs { config: Some(path), ..ServeArgs::default() };
    let mut config = Config::resolve(None, &args).unwrap_or_else(|e| panic!("{text}: {e}"));
    config.file = None;
    config
}

/// The example with the comment signs of its settings taken off.
fn uncommented() -> String {
    let is_setting = |line: &str| {
        let name = line.split_once(" = ").map(|(name, _)| name);
        name.is_some_and(|n| n.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
    };
    let lines = EXAMPLE.lines().map(|line| line.strip_prefix("# ").filter(|l| is_setting(l)).unwrap_or(line));
    lines.map(|line| format!("{line}\n")).collect()
}

/// All settings of the example.
pub fn settings() -> Vec<Setting> {
    let table: toml::Table = uncommented().parse().unwrap();
    let mut found = Vec::new();
    for (name, value) in table {
        let Some(section) = value.as_table() else {
            found.push(Setting { section: None, key: name, value });
            continue;
        };
        for (key, value) in section {
            found.push(Setting { section: Some(name.clone()), key: key.clone(), value: value.clone() });
        }
    }
    found
}

/// The names that a place in the file may hold, as the refusal of an unknown one lists them.
fn known(section: Option<&str>) -> BTreeSet<String> {
    let head = section.map_or_else(String::new, |s| format!("[{s}]\n"));
    let refused = FileConfig::parse(Path::new("x"), &format!("{head}no_such_setting = 1\n")).unwrap_err();
    let message = refused.to_string();
    let names = message.split('`').skip(1).step_by(2).filter(|name| *name != "no_such_setting");
    names.map(str::to_owned).collect()
}

#[test]
fn the_example_names_every_setting_and_no_other() {
    FileConfig::parse(Path::new("deploy/claviger.toml"), EXAMPLE).unwrap();
    FileConfig::parse(Path::new("deploy/claviger.toml"), &uncommented()).unwrap();
    let table: toml::Table = uncommented().parse().unwrap();
    let named = |table: &toml::Table| table.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(named(&table), known(None));
    for (name, section) in table.iter().filter_map(|(name, value)| Some((name, value.as_table()?))) {
        assert_eq!(named(section), known(Some(name)), "[{name}]");
    }
}

#[test]
fn every_default_is_as_written() {
    let nothing = format!("{:?}", resolved(""));
    for setting in settings() {
        let (name, given) = (setting.name(), format!("{:?}", setting.resolved()));
        if EXAMPLES.contains(&name.as_str()) {
            continue;
        }
        assert_eq!(given, nothing, "deploy/claviger.toml shows another value than the default of {name}");
        let row = REFERENCE.lines().find(|line| line.starts_with("| `") && setting.is_named_in(line));
        let row = row.unwrap_or_else(|| panic!("the reference has no row for {name}"));
        let default = row.split('|').nth(4).unwrap().trim().trim_matches('`');
        let shown = setting.value.as_str().map_or_else(|| setting.value.to_string(), str::to_owned);
        assert_eq!(default, shown, "docs/src/configuration.md and deploy/claviger.toml differ about {name}");
    }
}
