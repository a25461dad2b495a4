//! The mail channel of the settings, against a mail server.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use claviger_testkit::eventually;
use serde_json::Value;

use crate::house::Claviger;

/// The first pause between two tries is at most ten seconds.
const RETRIED: Duration = Duration::from_secs(40);

/// One message that a client handed over, whatever it was answered.
#[derive(Debug, Clone, Default)]
struct Mail {
    login: String,
    recipients: Vec<String>,
    text: String,
}

/// A mail server that answers messages as it was told to, and then takes them.
#[derive(Clone, Default)]
struct MailServer {
    answers: Arc<Mutex<VecDeque<&'static str>>>,
    came: Arc<Mutex<Vec<Mail>>>,
}

impl MailServer {
    fn start(answers: &[&'static str]) -> (Self, u16) {
        let server =
            Self { answers: Arc::new(Mutex::new(answers.iter().copied().collect())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, this) = (listener.local_addr().unwrap().port(), server.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                this.talk(stream);
            }
        });
        (server, port)
    }

    /// RFC 5321, as far as one client needs it. A client that goes away ends the conversation.
    fn talk(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut say = move |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).is_ok();
        let mut mail = Mail::default();
        say("220 mail.test ESMTP");
        while let Some(Ok(line)) = lines.next() {
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => say("250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN"),
                "AUTH" => {
                    mail.login = line;
                    say("235 ok")
                }
                "RCPT" => {
                    mail.recipients.push(line.split(['<', '>']).nth(1).unwrap().to_owned());
                    say("250 ok")
                }
                "DATA" => {
                    say("354 go on");
                    let body = lines.by_ref().map_while(Result::ok).take_while(|line| line != ".");
                    mail.text = body.collect::<Vec<_>>().join("\n");
                    self.came.lock().unwrap().push(mail.clone());
                    say(self.answers.lock().unwrap().pop_front().unwrap_or("250 taken"))
                }
                "QUIT" => say("221 bye"),
                _ => say("250 ok"),
            };
        }
    }

    fn came(&self) -> Vec<Mail> {
        self.came.lock().unwrap().clone()
    }
}

fn node(port: u16) -> Claviger {
    let node = Claviger::new();
    let password = node.write("password", "hunter2 hunter2\n");
    let config = node.write(
        "claviger.toml",
        &format!(
            "[smtp]\nhost = \"127.0.0.1\"\nport = {port}\nsecurity = \"plain\"\nusername = \"claviger\"\n\
             password_file = {password:?}\nfrom = \"claviger@example.com\"\nto = [\"ops@example.com\"]\n\
             to_owner = true\n"
        ),
    );
    let mut node = node.with_arguments(&["--config", config.to_str().unwrap()]);
    node.start();
    node
}

fn header<'a>(mail: &'a Mail, name: &str) -> &'a str {
    let line = mail.text.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("no {name} in {}", mail.text))
}

fn delivery(node: &Claviger) -> Value {
    node.json(&["notice", "list"])[0]["deliveries"][0].clone()
}

#[test]
fn a_notice_reaches_people_by_mail_though_the_server_is_busy_at_first() {
    let (server, port) = MailServer::start(&["451 try again later"]);
    let node = node(port);
    node.json(&["owner", "update", "default", "--email", "owner@example.com"]);
    node.json(&["key", "create", "--name", "nightly", "--expires-in", "2d"]);
    node.json(&["job", "run", "daily_check"]);
    eventually("the delivery is noted", RETRIED, || (delivery(&node)["state"] == "delivered").then_some(()));
    let came = server.came();
    assert_eq!((came.len(), &delivery(&node)["attempts"]), (2, &2.into()), "refused once, then taken");
    assert_eq!(header(&came[0], "Message-ID:"), header(&came[1], "Message-ID:"), "the same mail");
    let mail = &came[1];
    assert_eq!(mail.recipients, ["ops@example.com", "owner@example.com"]);
    assert!(mail.login.starts_with("AUTH PLAIN "), "{}", mail.login);
    assert!(mail.text.contains("nightly"), "{}", mail.text);
    assert_eq!(header(mail, "Auto-Submitted:"), "Auto-Submitted: auto-generated");
    assert!(header(mail, "From:").contains("claviger@example.com"));
}

#[test]
fn what_a_mail_server_refuses_for_good_is_listed_and_called_back() {
    let (server, port) = MailServer::start(&["550 not here"]);
    let node = node(port);
    node.json(&["key", "create", "--name", "nightly", "--expires-in", "2d"]);
    node.json(&["job", "run", "daily_check"]);
    let dead = eventually("a dead notice", RETRIED, || {
        node.json(&["notice", "list", "--dead"])[0]["id"].as_str().map(str::to_owned)
    });
    let listed = delivery(&node);
    assert_eq!((&listed["channel"].is_string(), &listed["attempts"]), (&true, &1.into()), "{listed}");
    assert!(listed["last_error"].as_str().unwrap().contains("550"), "{listed}");
    node.json(&["notice", "retry", &dead]);
    eventually("it is delivered", RETRIED, || (delivery(&node)["state"] == "delivered").then_some(()));
    assert_eq!(server.came().len(), 2);
    let tried = node.json(&["channel", "test", "settings"]);
    assert_eq!(tried["ok"], true, "{tried}");
    let refused = node.cli(&["channel", "update", "settings", "--to", "else@example.com"]);
    assert!(refused.code == 4 && refused.stderr.contains("[smtp]"), "{}", refused.stderr);
}
