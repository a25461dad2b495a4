//! E-mail, delivered to a real server.

use std::{net::TcpListener, sync::Arc, time::Duration};

use claviger_domain::{
    notice::{
        channel::{ChannelTarget, SmtpSecurity, SmtpTarget},
        delivery::DeliveryError,
    },
    ports::notices::{Courier, Letter},
    secret::SecretBytes,
};
use claviger_notify::{Post, SystemLookup};

use crate::{
    certificate::Certificate,
    letters::{channel, letter},
    mail_server::MailServer,
};

fn target(security: SmtpSecurity, port: u16) -> SmtpTarget {
    SmtpTarget {
        host: "localhost".to_owned(),
        port,
        security,
        username: (security != SmtpSecurity::Plain).then(|| "claviger".to_owned()),
        from: "claviger@example.com".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        to_owner: false,
    }
}

fn post(trusted: Option<&Certificate>) -> Post {
    Post::new(Arc::new(SystemLookup), trusted.map(|c| c.pem.as_bytes())).unwrap()
}

async fn send(post: &Post, target: SmtpTarget, password: &str, letter: &Letter) -> Result<(), DeliveryError> {
    let secret = SecretBytes::new(password.as_bytes().to_vec());
    post.deliver(&channel(ChannelTarget::Smtp(target)), Some(&secret), letter).await
}

#[tokio::test]
async fn a_mail_arrives_as_text_and_as_a_page() {
    let Some(server) = MailServer::start("plain", None) else { return };
    let copies = vec!["owner@example.com".to_owned(), "ops@example.com".to_owned(), "no address".to_owned()];
    let letter = Letter { copies, ..letter() };
    send(&post(None), target(SmtpSecurity::Plain, server.port), "", &letter).await.unwrap();
    let mut mail = server.mail();
    let page = mail["html"].take();
    assert_eq!(page.as_str().unwrap().trim_end(), letter.message.html.trim_end());
    mail["headers"].as_object_mut().unwrap().remove("Received");
    insta::assert_json_snapshot!(mail);
}

#[tokio::test]
async fn passwords_travel_under_tls_only() {
    let certificate = Certificate::new();
    for (mode, security) in [("starttls", SmtpSecurity::Starttls), ("implicit", SmtpSecurity::Implicit)] {
        let Some(server) = MailServer::start(mode, Some(&certificate)) else { return };
        let post = post(Some(&certificate));
        send(&post, target(security, server.port), "hunter2", &letter()).await.unwrap();
        let mail = server.mail();
        assert_eq!((&mail["user"], &mail["tls"]), (&"claviger".into(), &true.into()), "{mode}");
        let wrong = send(&post, target(security, server.port), "hunter3", &letter()).await.unwrap_err();
        assert!(matches!(&wrong, DeliveryError::Permanent(why) if why.contains("535")), "{mode}: {wrong:?}");
        assert!(server.is_empty());
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_nothing() {
    let certificate = Certificate::new();
    for (mode, security) in [("starttls", SmtpSecurity::Starttls), ("implicit", SmtpSecurity::Implicit)] {
        let Some(server) = MailServer::start(mode, Some(&certificate)) else { return };
        let refused = send(&post(None), target(security, server.port), "hunter2", &letter()).await;
        assert!(refused.is_err(), "{mode}");
        assert!(server.is_empty());
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_nothing() {
    let Some(server) = MailServer::start("plain", None) else { return };
    let target = target(SmtpSecurity::Starttls, server.port);
    assert!(send(&post(None), target, "hunter2", &letter()).await.is_err());
    assert!(server.is_empty());
}

#[tokio::test]
async fn what_a_server_refuses_for_good_is_told_from_what_it_puts_off() {
    let Some(server) = MailServer::start("plain", None) else { return };
    let to = |user: &str| SmtpTarget {
        to: vec![format!("{user}@example.com")],
        ..target(SmtpSecurity::Plain, server.port)
    };
    let nobody = send(&post(None), to("nobody"), "", &letter()).await.unwrap_err();
    assert!(matches!(nobody, DeliveryError::Permanent(_)), "{nobody:?}");
    let busy = send(&post(None), to("busy"), "", &letter()).await.unwrap_err();
    assert!(matches!(busy, DeliveryError::Transient(_)), "{busy:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = target(SmtpSecurity::Plain, silent.local_addr().unwrap().port());
    let post = post(None).with_timeout(Duration::from_millis(200));
    let late = send(&post, target, "", &letter()).await.unwrap_err();
    assert!(matches!(late, DeliveryError::Transient(_)), "{late:?}");
}
