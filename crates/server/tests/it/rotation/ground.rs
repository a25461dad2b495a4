//! A gateway on either engine whose wall clock can be moved.

use std::{cell::Cell, fs, path::PathBuf, time::Duration};

use claviger_testkit::{PostgresDatabase, eventually};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{
    house::{Claviger, Key, Sim},
    wire::{self, Answer, say},
};

/// Steps are looked for every two seconds; the lease of a runner that was killed lapses within 15.
pub const STEP: Duration = Duration::from_secs(45);

pub struct Ground {
    pub node: Claviger,
    _sim: Sim,
    library: PathBuf,
    offset: NamedTempFile,
    hours: Cell<u64>,
    _database: Option<PostgresDatabase>,
}

/// Runs each of the named functions on a ground of either engine.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                if let Some(ground) = $crate::rotation::ground::Ground::sqlite() {
                    super::$name(ground);
                }
            })+
        }
        mod postgres {
            $(#[test]
            fn $name() {
                if let Some(ground) = $crate::rotation::ground::Ground::postgres() {
                    super::$name(ground);
                }
            })+
        }
    };
}
pub(super) use on_both;

impl Ground {
    pub fn sqlite() -> Option<Self> {
        Self::on(None)
    }

    pub fn postgres() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self::on(Some(runtime.block_on(claviger_testkit::postgres())?))
    }

    fn on(database: Option<PostgresDatabase>) -> Option<Self> {
        let Some(library) = faketime() else {
            claviger_testkit::skip("libfaketime is not installed");
            return None;
        };
        let offset = NamedTempFile::new().unwrap();
        fs::write(offset.path(), "+0").unwrap();
        let mut node = Claviger::new()
            .with_environment("FAKETIME_TIMESTAMP_FILE", offset.path().to_str().unwrap())
            .with_environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .with_environment("FAKETIME_NO_CACHE", "1");
        let logins = node.folder().display().to_string();
        node = node.with_environment("XDG_CONFIG_HOME", &logins);
        if let Some(database) = &database {
            node = node.with_arguments(&["--database", database.url()]);
        }
        node.start_preloaded(&library);
        let sim = Sim::start();
        node.connect(&sim);
        Some(Self { node, _sim: sim, library, offset, hours: Cell::new(0), _database: database })
    }

    pub fn ask(&self, key: &Key) -> Answer {
        wire::message(self.node.gateway(), &key.key, &say("hello"))
    }

    /// The gateway's clock goes on by so many hours.
    pub fn pass_hours(&self, hours: u64) {
        self.hours.set(self.hours.get() + hours);
        // At once: a clock that was read from a half-written file would have jumped back.
        let next = self.offset.path().with_extension("next");
        fs::write(&next, format!("+{}h", self.hours.get())).unwrap();
        fs::rename(&next, self.offset.path()).unwrap();
    }

    /// How many hours the gateway's clock is ahead.
    pub fn hours(&self) -> u64 {
        self.hours.get()
    }

    /// kill -9, and another start.
    pub fn restart(&mut self) {
        self.node.kill();
        self.node.start_preloaded(&self.library);
    }

    /// Runs the daily check; after a day has passed it may be under way by itself.
    pub fn check_daily(&self) {
        eventually("the daily check", STEP, || {
            let done = self.node.cli(&["job", "run", "daily_check"]);
            assert!(done.code == 0 || done.stderr.contains("it is being run"), "{}", done.stderr);
            (done.code == 0).then_some(())
        });
    }

    pub fn status(&self, rotation: &str) -> Value {
        self.node.json(&["rotation", "status", rotation])
    }

    /// Waits until a rotation has come to a state.
    pub fn until(&self, rotation: &str, state: &str) -> Value {
        eventually(state, STEP, || Some(self.status(rotation)).filter(|s| s["state"] == state))
    }

    /// Waits until the old key stands on a rung.
    pub fn until_stage(&self, rotation: &str, stage: &str) -> Value {
        eventually(stage, STEP, || Some(self.status(rotation)).filter(|s| s["stage"] == stage))
    }

    /// People heard of each step of the key's finished rotation, and of none twice.
    pub fn each_step_was_told_once(&self, old: &Key) {
        let notices = self.node.json(&["notice", "list", "--limit", "1000"]);
        let notices = notices.as_array().unwrap();
        let of_key: Vec<&Value> = notices.iter().filter(|n| n["key"] == old.id.as_str()).collect();
        let mut kinds: Vec<&str> = of_key.iter().filter_map(|n| n["kind"].as_str()).collect();
        kinds.retain(|kind| kind.starts_with("rotation.") || *kind == "key.deprecated");
        kinds.sort_unstable();
        let expected = [
            "key.deprecated",
            "key.deprecated",
            "key.deprecated",
            "key.deprecated",
            "rotation.activated",
            "rotation.completed",
            "rotation.delivered",
            "rotation.retiring",
            "rotation.started",
        ];
        assert_eq!(kinds, expected, "of {} notices: {of_key:#?}", notices.len());
    }
}

fn faketime() -> Option<PathBuf> {
    let folders =
        ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime"];
    folders.iter().map(|folder| PathBuf::from(folder).join("libfaketime.so.1")).find(|path| path.exists())
}
