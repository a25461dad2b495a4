//! A backup opens what the original opens.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use claviger_testkit::eventually;

use crate::{
    house::{Claviger, Sim},
    wire::{self, say},
};

#[test]
fn a_backup_is_complete_private_and_starts() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    assert_eq!(wire::message(node.gateway(), &key.key, &say("one")).status, 200);
    eventually("a first checkpoint", Duration::from_secs(20), || {
        (node.cli(&["audit", "checkpoint"]).code == 0).then_some(())
    });
    let to = node.folder().join("backup");
    let report = node.json(&["backup", "--to", to.to_str().unwrap()]);
    assert_eq!(report["to"], to.to_str().unwrap());
    for entry in fs::read_dir(&to).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(node.cli(&["backup", "--to", to.to_str().unwrap()]).code, 4, "never over another backup");
    // What comes after the backup is not in it.
    assert_eq!(wire::message(node.gateway(), &key.key, &say("two")).status, 200);
    node.stop();

    let mut restored = Claviger::new().with_data(&to);
    restored.start();
    assert_eq!(restored.process().lines().len(), 1, "nothing new is made: {:?}", restored.process().lines());
    assert_eq!(wire::message(restored.gateway(), &key.key, &say("three")).status, 200);
    let rows = restored.json(&["usage", "--key", &key.id]);
    assert_eq!(rows[0]["requests"], 2, "{rows}");
    let checkpoint = to.join("checkpoint.json");
    let verdict = restored.json(&["audit", "verify", "--against", checkpoint.to_str().unwrap()]);
    assert_eq!(verdict["ok"], true, "{verdict}");
}
