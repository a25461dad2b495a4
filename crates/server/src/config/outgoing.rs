//! `[smtp]`, `[jobs]` and `[nonces]`: a mail channel that the settings define, when durable jobs are due, and who
//! remembers signed requests.

use std::path::PathBuf;

use claviger_domain::notice::channel::{SmtpSecurity, SmtpTarget};
use claviger_service::jobs::Schedules;

use super::{
    ConfigError,
    file::{JobsSection, NoncesSection, SmtpSection},
    value::NonceWord,
};

/// The mail channel of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpChannel {
    /// Where mail goes.
    pub target: SmtpTarget,
    /// Where the password is.
    pub password_file: Option<PathBuf>,
}

/// When durable jobs are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTimes {
    /// Cron expression.
    pub daily_check: String,
    /// Cron expression.
    pub weekly_report: String,
    /// The zone that they are meant in.
    pub time_zone: String,
}

/// Who remembers signed requests, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonceSettings {
    /// Who.
    pub store: NonceWord,
    /// Where Redis is.
    pub redis_url: Option<String>,
    /// Of one key, at once.
    pub per_key: u32,
}

impl NoncesSection {
    /// The settings, with defaults for those that are not given.
    ///
    /// # Errors
    /// [`ConfigError::Setting`].
    pub fn resolve(&self) -> Result<NonceSettings, ConfigError> {
        let settings = NonceSettings {
            store: self.store.unwrap_or_default(),
            redis_url: self.redis_url.clone(),
            per_key: self.per_key.unwrap_or(200_000),
        };
        let bad = |name, why: &str| Err(ConfigError::Setting { name, why: why.to_owned() });
        if settings.store == NonceWord::Redis && settings.redis_url.is_none() {
            return bad("nonces.redis_url", "expected an address such as redis://127.0.0.1:6379");
        }
        if settings.per_key == 0 {
            return bad("nonces.per_key", "expected at least 1");
        }
        Ok(settings)
    }
}

impl SmtpSection {
    /// The channel, if a mail server is named.
    ///
    /// # Errors
    /// [`ConfigError::Setting`].
    pub fn resolve(&self) -> Result<Option<SmtpChannel>, ConfigError> {
        let bad = |why: String| ConfigError::Setting { name: "smtp", why };
        let Some(host) = &self.host else { return Ok(None) };
        let word = self.security.as_deref().unwrap_or("starttls");
        let security = SmtpSecurity::parse(word)
            .ok_or_else(|| format!("`{word}`: expected starttls, implicit or plain"))
            .map_err(|why| ConfigError::Setting { name: "smtp.security", why })?;
        if self.username.is_some() != self.password_file.is_some() {
            return Err(bad("username and password_file come together".to_owned()));
        }
        let target = SmtpTarget {
            host: host.clone(),
            port: self.port.unwrap_or(security.default_port()),
            security,
            username: self.username.clone(),
            from: self.from.clone().unwrap_or_else(|| format!("claviger@{host}")),
            to: self.to.clone().unwrap_or_default(),
            to_owner: self.to_owner.unwrap_or(false),
        };
        target.check().map_err(|error| bad(format!("{}: {error}", error.field())))?;
        Ok(Some(SmtpChannel { target, password_file: self.password_file.clone() }))
    }
}

impl JobsSection {
    /// The times, with defaults for those that are not given.
    ///
    /// # Errors
    /// [`ConfigError::Setting`] when one is no cron expression, or the zone is unknown.
    pub fn resolve(&self) -> Result<JobTimes, ConfigError> {
        let or = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
        let times = JobTimes {
            daily_check: or(&self.daily_check, "0 9 * * *"),
            weekly_report: or(&self.weekly_report, "0 9 * * 1"),
            time_zone: or(&self.time_zone, "UTC"),
        };
        times.schedules().map_err(|why| ConfigError::Setting { name: "jobs", why })?;
        Ok(times)
    }
}

impl JobTimes {
    /// The schedules.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn schedules(&self) -> Result<Schedules, String> {
        Schedules::new(&self.daily_check, &self.weekly_report, &self.time_zone).map_err(|e| e.to_string())
    }
}
