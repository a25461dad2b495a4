//! Where in the file a setting stands that turned out to be wrong once everything was put together.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{
    ConfigError, ServeArgs,
    file::{Place, place},
};

/// The error with the place of its setting, if the setting comes from the file.
pub(super) fn located(error: ConfigError, args: &ServeArgs) -> ConfigError {
    let name = match &error {
        ConfigError::Setting { name, .. } | ConfigError::Plaintext { name, .. } => *name,
        ConfigError::File(_) | ConfigError::NoDataFolder | ConfigError::At { .. } => return error,
    };
    let Some(path) = args.config.as_deref().filter(|_| !is_flag(args, name)) else { return error };
    let found = std::fs::read_to_string(path).ok().and_then(|text| find(path, &text, name));
    match found {
        Some(place) => ConfigError::At { place, error: Box::new(error) },
        None => error,
    }
}

/// Whether a flag or a variable says it, which wins over the file.
fn is_flag(args: &ServeArgs, name: &str) -> bool {
    match name {
        "listen" => args.listen.is_some(),
        "control" => args.control.is_some(),
        "database" => args.database.is_some(),
        "public_url" => args.public_url.is_some(),
        "trusted_proxies" => args.trusted_proxies.is_some(),
        "workers" => args.workers.is_some(),
        "tls" => args.tls_cert.is_some() || args.tls_key.is_some(),
        "tls.client_ca" => args.tls_client_ca.is_some(),
        "tls.client_auth" => args.tls_client_auth.is_some(),
        "control_tls" => args.control_tls_cert.is_some() || args.control_tls_key.is_some(),
        "upstream" => args.outbound_proxy.is_some(),
        _ => false,
    }
}

/// Where the value of the setting begins, or else the section that it would stand in.
fn find(path: &Path, text: &str, name: &str) -> Option<Place> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut start = None;
    for part in name.split('.') {
        let Some((key, value)) = table.get_key_value(part) else { break };
        match value.get_ref() {
            DeValue::Table(inner) => {
                start = Some(key.span().start);
                table = inner;
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                start = Some(value.span().start);
                break;
            }
        }
    }
    start.map(|start| place(path, text, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_by_its_value_or_its_section() {
        let text = "workers = 0\n\n[tls]\ncert = \"c\"\n";
        let at = |name| find(Path::new("c"), text, name).map(|p| (p.line, p.column));
        assert_eq!(at("workers"), Some((1, 11)));
        assert_eq!(at("tls.cert"), Some((4, 8)));
        assert_eq!(at("tls.client_ca"), Some((3, 2)));
        assert_eq!(at("public_url"), None);
    }
}
