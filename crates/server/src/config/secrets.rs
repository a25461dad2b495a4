//! What the settings hold that no log may show.

use std::fs;

use claviger_domain::secret::SecretBytes;

use super::Config;

impl Config {
    /// Passwords in addresses, as written and as meant, and those in files that the settings name.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretBytes> {
        let addresses = [&self.database, &self.nonces.redis_url, &self.upstream.proxy];
        let written = addresses.into_iter().flatten().flat_map(|address| passwords(address));
        let file = self.smtp.as_ref().and_then(|smtp| smtp.password_file.as_deref());
        // Who needs the file says that it cannot be read.
        let filed = file.and_then(|path| fs::read(path).ok()).map(|text| text.trim_ascii().to_vec());
        written.chain(filed).map(SecretBytes::new).collect()
    }
}

/// `://user:password@` and `password=`.
fn passwords(address: &str) -> Vec<Vec<u8>> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let in_query = query.split('&').filter_map(|pair| pair.split_once('='));
    let in_query = in_query.filter(|(name, _)| name.ends_with("password")).map(|(_, value)| value);
    let all =
        user.and_then(|user| user.split_once(':')).map(|(_, password)| password).into_iter().chain(in_query);
    all.flat_map(|text| [text.as_bytes().to_vec(), percent_decoded(text)]).collect()
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                out.push(b'%');
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::passwords;

    #[test]
    fn passwords_of_an_address_are_found_as_written_and_as_meant() {
        let found = |address: &str| -> Vec<String> {
            passwords(address).into_iter().map(|p| String::from_utf8(p).unwrap()).collect()
        };
        assert_eq!(found("postgres://u:p%40ss%2Fword@h:5432/d"), ["p%40ss%2Fword", "p@ss/word"]);
        assert_eq!(found("redis://:hunter2@h"), ["hunter2", "hunter2"]);
        assert_eq!(found("postgres://h/d?user=u&password=in+query"), ["in+query", "in+query"]);
        assert_eq!(found("http://proxy.example:3128"), Vec::<String>::new());
    }
}
