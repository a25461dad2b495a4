//! Where a test that mounts a file system can run: here, with the rights for it; else in a user namespace of its own,
//! where everybody may mount; else nowhere.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::Command,
};

/// Names the file in which a test that was sent to a namespace says why it cannot run there either.
const SENT: &str = "CLAVIGER_TEST_NAMESPACE";

/// What a test does with what it could not mount.
pub struct Refused {
    /// The whole name of the test.
    pub test: &'static str,
    /// Why it could not.
    pub why: String,
    /// A device that it needs.
    pub device: Option<&'static str>,
}

impl Refused {
    /// Runs the test in a namespace. Where this machine has none, or not the device, the test is listed as left out; when
    /// it has all that is needed and yet cannot, it is a skip like any other, which fails under `CI=true`.
    pub fn go_elsewhere(self) {
        let Self { test, why, device } = self;
        if let Some(answer) = std::env::var_os(SENT) {
            fs::write(PathBuf::from(answer), why).unwrap();
            return;
        }
        let closed = device.filter(|d| OpenOptions::new().read(true).write(true).open(d).is_err());
        if let Some(device) = closed {
            return claviger_testkit::impossible(&format!("{test}: {device} cannot be opened ({why})"));
        }
        let folder = tempfile::tempdir().unwrap();
        if !can_mount_in_namespace(folder.path()) {
            return claviger_testkit::impossible(&format!(
                "{test}: no rights to mount and no namespaces ({why})"
            ));
        }
        let answer = folder.path().join("answer");
        let mut again = namespace();
        again.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]).env(SENT, &answer);
        assert!(again.status().unwrap().success(), "{test} failed in a namespace");
        if let Ok(why) = fs::read_to_string(&answer) {
            claviger_testkit::skip(&format!("{test}: not even in a namespace ({why})"));
        }
    }
}

fn can_mount_in_namespace(at: &Path) -> bool {
    let probe = namespace().args(["mount", "-t", "tmpfs", "tmpfs"]).arg(at).output();
    probe.is_ok_and(|done| done.status.success())
}

fn namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--kill-child", "--"]);
    command
}
