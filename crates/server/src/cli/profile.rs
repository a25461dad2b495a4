//! Where this user is logged in: what `claviger login` keeps and every other command reads.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::output::CliError;

/// One login. It holds a secret, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The control plane: `https://…`, or `unix:` and the path of a socket.
    pub url: String,
    /// The session's token.
    pub token: String,
    /// When the token ends (RFC 3339).
    pub expires_at: Option<String>,
    /// A certificate authority to be believed beside the system's, PEM.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ca_file: Option<PathBuf>,
}

/// `$XDG_CONFIG_HOME/claviger/login.json`; `None` when no variable names a home.
#[must_use]
pub fn path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").filter(|p| p.is_absolute());
    config.or_else(|| set("HOME").map(|p| p.join(".config"))).map(|p| p.join("claviger/login.json"))
}

impl Profile {
    /// The login of this user, if there is one.
    ///
    /// # Errors
    /// [`CliError`] when the file cannot be read, or others can.
    pub fn load() -> Result<Option<Self>, CliError> {
        path().map_or(Ok(None), |path| Self::read(&path))
    }

    /// Likewise, from a file.
    fn read(path: &Path) -> Result<Option<Self>, CliError> {
        let bad = |why: String| CliError::usage(format!("{}: {why}", path.display()));
        let mode = match fs::metadata(path) {
            Ok(about) => about.mode(),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(bad(e.to_string())),
        };
        if mode & 0o077 != 0 {
            return Err(bad("others may read this login; `chmod 600` it, or log in again".to_owned()));
        }
        let text = fs::read(path).map_err(|e| bad(e.to_string()))?;
        // What a parser says may quote the token.
        serde_json::from_slice(&text).map(Some).map_err(|_| bad("not a login; log in again".to_owned()))
    }

    /// Keeps it for this user alone, in place of the one before, whole or not at all.
    ///
    /// # Errors
    /// [`CliError`] as the file system says.
    pub fn save(&self) -> Result<(), CliError> {
        let path =
            path().ok_or_else(|| CliError::usage("no place for the login: set XDG_CONFIG_HOME or HOME"))?;
        self.write(&path).map_err(|e| CliError::failed(format!("{}: {e}", path.display())))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let new = path.with_extension("json.new");
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, path)
    }

    /// Forgets the login; whether there was one.
    ///
    /// # Errors
    /// [`CliError`] as the file system says.
    pub fn forget() -> Result<bool, CliError> {
        let Some(path) = path() else { return Ok(false) };
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(CliError::failed(format!("{}: {e}", path.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn profile(token: &str) -> Profile {
        let url = "https://claviger.example.com:8788".to_owned();
        Profile { url, token: token.to_owned(), expires_at: None, ca_file: None }
    }

    #[test]
    fn a_login_is_kept_for_its_user_alone_and_replaced_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("claviger/login.json");
        assert!(Profile::read(&path).unwrap().is_none());
        for token in ["one", "two"] {
            profile(token).write(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
            assert!(Profile::read(&path).unwrap() == Some(profile(token)));
        }
    }

    #[test]
    fn a_login_that_others_can_read_is_refused_and_a_broken_one_shows_no_token() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("login.json");
        profile("secret-token").write(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Profile::read(&path).err().is_some_and(|e| e.message.contains("chmod 600")));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "{\"token\":\"secret-token\"").unwrap();
        assert!(Profile::read(&path).err().is_some_and(|e| !e.message.contains("secret-token")));
    }
}
