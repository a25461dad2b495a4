//! A real mail server (aiosmtpd) that keeps what it was given.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use claviger_testkit::skip;
use serde_json::Value;

use crate::certificate::Certificate;

const PROGRAM: &str = include_str!("mail_server.py");

pub struct MailServer {
    child: Child,
    pub port: u16,
    mails: Receiver<Value>,
}

impl MailServer {
    /// Speaks as told: `plain`, `starttls`, `implicit`. `None`: there is no aiosmtpd here, and the test says so.
    pub fn start(mode: &str, certificate: Option<&Certificate>) -> Option<Self> {
        let python = python();
        let found = Command::new(&python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            skip("mail: no aiosmtpd in target/venv");
            return None;
        }
        let mut command = Command::new(python);
        command.args(["-u", "-c", PROGRAM, mode]);
        if let Some(certificate) = certificate {
            command.arg(&certificate.pem_file).arg(&certificate.key_file);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let (sender, mails) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, port, mails })
    }

    /// The next mail that it was given.
    pub fn mail(&self) -> Value {
        self.mails.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    /// Whether it was given nothing up to now.
    pub fn is_empty(&self) -> bool {
        self.mails.try_recv().is_err()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn python() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/python");
    std::env::var_os("CLAVIGER_TEST_PYTHON").map_or_else(own, PathBuf::from)
}
