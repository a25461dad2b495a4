use claviger_domain::notice::channel::{SmtpSecurity, WebhookTarget};

use super::*;
use crate::fake::{Fate, House};

fn hook(url: &str) -> NewChannel {
    NewChannel {
        name: "hook".to_owned(),
        target: ChannelTarget::Webhook(WebhookTarget { url: url.to_owned(), allow_private: false }),
        secret: None,
        min_severity: Severity::Info,
        workspace: None,
    }
}

fn smtp() -> SmtpTarget {
    SmtpTarget {
        host: "mail.example".to_owned(),
        port: 587,
        security: SmtpSecurity::Starttls,
        username: Some("claviger".to_owned()),
        from: "claviger@example.com".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        to_owner: false,
    }
}

fn password(text: &str) -> Option<Zeroizing<String>> {
    Some(Zeroizing::new(text.to_owned()))
}

#[tokio::test]
async fn a_webhooks_secret_is_shown_once_and_kept_sealed() {
    let house = House::new().await;
    let channels = &house.services.channels;
    let (made, shown) = channels.add(hook("https://hooks.example/"), &Caller::system()).await.unwrap();
    let bytes = STANDARD.decode(shown.unwrap().strip_prefix("whsec_").unwrap()).unwrap();
    assert_eq!(bytes.len(), 32);
    assert!(!made.sealed.windows(8).any(|part| part == &bytes[..8]));
    channels.test("hook", &Caller::system()).await.unwrap().1.unwrap();
    let carried = crate::lock::lock(&house.courier.carried);
    assert_eq!(carried[0].2.as_deref(), Some(&bytes[..]));
}

#[tokio::test]
async fn a_channel_that_cannot_work_is_refused_with_its_field() {
    let house = House::new().await;
    let field = async |new: NewChannel| match house.services.channels.add(new, &Caller::system()).await {
        Err(ServiceError::Invalid { field, .. }) => field,
        other => panic!("{:?}", other.map(|(made, _)| made)),
    };
    assert_eq!(field(NewChannel { name: String::new(), ..hook("https://h.example/") }).await, "name");
    assert_eq!(field(hook("https://10.0.0.1/")).await, "url");
    assert_eq!(
        field(NewChannel { secret: password("whsec_c2hvcnQ="), ..hook("https://h.example/") }).await,
        "secret"
    );
    let mail = |target| NewChannel { target: ChannelTarget::Smtp(target), ..hook("") };
    assert_eq!(field(mail(smtp())).await, "password");
    assert_eq!(field(mail(SmtpTarget { to: Vec::new(), ..smtp() })).await, "to");
    assert!(house.services.channels.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_trial_says_what_is_wrong_and_the_record_says_it_too() {
    let house = House::new().await;
    let channels = &house.services.channels;
    channels.add(hook("https://hooks.example/"), &Caller::system()).await.unwrap();
    let refused = DeliveryError::Transient("answered 500".to_owned());
    house.courier.decide("hook", Some(Fate::Fail(refused.clone())));
    assert_eq!(channels.test("hook", &Caller::system()).await.unwrap().1, Err(refused));
    channels.remove("hook", &Caller::system()).await.unwrap();
    assert!(matches!(channels.find("hook").await, Err(ServiceError::NotFound { .. })));
    let actions = house.actions();
    assert_eq!(&actions[actions.len() - 3..], ["channel.add", "channel.test", "channel.remove"]);
}

#[tokio::test]
async fn the_channel_of_the_settings_follows_them() {
    let house = House::new().await;
    let channels = &house.services.channels;
    let id = async || channels.find(CONFIGURED).await.map(|c| c.id).ok();
    channels.configure(Some((smtp(), password("one")))).await.unwrap();
    let first = id().await;
    channels.configure(Some((smtp(), password("one")))).await.unwrap();
    assert_eq!(id().await, first, "nothing changed");
    channels.configure(Some((smtp(), password("two")))).await.unwrap();
    assert_ne!(id().await, first);
    channels.configure(None).await.unwrap();
    assert_eq!(id().await, None);
}
