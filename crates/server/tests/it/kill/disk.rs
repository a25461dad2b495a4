//! A full disk: refused before anything is spent, nothing lost, and well again once there is room.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use claviger_testkit::eventually;
use tempfile::TempDir;

use super::{
    clients::Clients,
    ground::Refused,
    rounds::{request_ids, until_ready},
};
use crate::{
    house::{Claviger, Sim},
    wire::{self, say},
};

/// The time within which a change of free space is noticed.
const NOTICE: Duration = Duration::from_secs(20);

/// A file system in memory with a size of its own.
struct Tmpfs(TempDir);

impl Tmpfs {
    /// `None` where this user cannot mount one; then the test has run elsewhere, or it is listed.
    fn mount(size: &str, test: &'static str) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("claviger-full-").tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        let why = match mounted {
            Ok(done) if done.status.success() => return Some(Self(folder)),
            Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        Refused { test, why, device: None }.go_elsewhere();
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        // The options that stand name owners whom a namespace does not know.
        let mut again = Command::new("mount");
        again.args(["--options-mode", "ignore", "-t", "tmpfs", "-o", &options, "tmpfs"]);
        let done = again.arg(self.path()).status().unwrap();
        assert!(done.success());
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 4096, 1] {
            let bytes = vec![1; size];
            while file.write_all(&bytes).is_ok() {}
        }
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.path()).status());
    }
}

fn disk_of(parts: &serde_json::Value) -> String {
    let parts = parts["parts"].as_array().unwrap();
    parts.iter().find(|p| p["name"] == "disk").unwrap()["state"].as_str().unwrap().to_owned()
}

#[test]
fn full_disk() {
    let Some(small) = Tmpfs::mount("20m", "kill::disk::full_disk") else { return };
    let sim = Sim::start();
    let mut node = Claviger::new().with_data(&small.path().join("data"));
    node.start();
    node.connect(&sim);
    let key = node.key(&[]);
    // 20 MB hold keys and settings, and are too little to take calls on.
    let parts = until_ready(&node, false, NOTICE);
    assert_eq!(disk_of(&parts), "failing", "{parts}");
    let refused = wire::message(node.gateway(), &key.key, &say("hello"));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.error().1.contains("disk"), "{}", refused.text());
    assert_eq!(sim.log().len(), 0, "refused before anything was spent");

    let filler = small.fill();
    assert_eq!(wire::message(node.gateway(), &key.key, &say("hello")).status, 503);
    // The log of the database may have been emptied a moment ago: what fits into it is still taken.
    let failed =
        (0..300).map(|_| node.cli(&["key", "create", "--name", "no room"])).find(|done| done.code != 0);
    let failed = failed.expect("a refusal once the disk is full");
    assert!(!failed.stderr.is_empty() && failed.stdout.is_empty(), "{}{}", failed.stdout, failed.stderr);
    fs::remove_file(filler).unwrap();
    small.resize("500m");
    until_ready(&node, true, NOTICE);
    assert_eq!(wire::message(node.gateway(), &key.key, &say("hello")).status, 200);
    node.key(&[]);
    assert_eq!(node.json(&["audit", "verify"])["ok"], true);
}

#[test]
fn a_disk_that_fills_up_under_load_loses_nothing() {
    let Some(disk) = Tmpfs::mount("500m", "kill::disk::a_disk_that_fills_up_under_load_loses_nothing") else {
        return;
    };
    let sim = Sim::for_load();
    let mut node = Claviger::new().with_data(&disk.path().join("data"));
    node.start();
    node.connect(&sim);
    let key = node.key(&[]);
    let clients = Clients::start(node.gateway(), &key.key);
    eventually("load", NOTICE, || (clients.seen.count() > 200).then_some(()));
    let filler = disk.fill();
    eventually("refusals", NOTICE, || (clients.seen.refused().len() > 20).then_some(()));
    let parts = until_ready(&node, false, NOTICE);
    assert_eq!(disk_of(&parts), "failing", "{parts}");
    fs::remove_file(filler).unwrap();
    until_ready(&node, true, NOTICE);
    let before = clients.seen.count();
    eventually("load again", NOTICE, || (clients.seen.count() > before + 200).then_some(()));
    let seen = clients.stop();
    assert!(seen.refused().iter().all(|(status, _)| *status == 503), "{:?}", seen.refused());
    let url = format!("sqlite:{}", node.data().join("claviger.db").display());
    let (finished, kept) = (seen.finished(), request_ids(&url));
    let lost = finished.iter().filter(|f| !kept.contains(&f.id)).count();
    assert_eq!(lost, 0, "of {}", finished.len());
    assert_eq!(node.json(&["audit", "verify"])["ok"], true);
    assert!(node.stop().success());
}
