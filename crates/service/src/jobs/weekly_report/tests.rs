use std::time::Duration;

use claviger_domain::{
    key::RevocationReason,
    notice::{
        Severity,
        channel::{ChannelTarget, WebhookTarget},
    },
};

use crate::{Caller, ServiceError, channels::NewChannel, fake::House, keys::NewKey, lock::lock};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn the_report_is_made_kept_and_sent_once_a_week() {
    let house = House::new().await;
    let caller = Caller::system();
    let missing = house.services.notices.report(None).await.unwrap_err();
    assert!(matches!(missing, ServiceError::NotFound { .. }));
    let channel = NewChannel {
        name: "hook".to_owned(),
        target: ChannelTarget::Webhook(WebhookTarget {
            url: "https://hooks.example/".to_owned(),
            allow_private: false,
        }),
        secret: None,
        min_severity: Severity::Info,
        workspace: None,
    };
    house.services.channels.add(channel, &caller).await.unwrap();
    let key = async |name: &str| {
        let new = NewKey { name: name.to_owned(), ..NewKey::default() };
        house.services.keys.create(new, &caller).await.unwrap().0
    };
    let (_, gone) = (key("stays").await, key("goes").await);
    house.services.keys.revoke(&gone.id, RevocationReason::UserRequest, false, &caller).await.unwrap();
    house.services.scheduler.tick().await.unwrap();
    // From Monday noon to next Monday, a little after nine.
    house.clock.advance(7 * DAY - Duration::from_secs(3 * 3_600 - 60));
    for _ in 0..3 {
        house.services.scheduler.tick().await.unwrap();
        house.services.deliveries.tick().await.unwrap();
    }
    assert_eq!(lock(&house.store.state).notices.reports.len(), 1);
    let report = house.services.notices.report(None).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&report.json).unwrap();
    assert_eq!(
        (&json["live"], &json["created"], &json["revoked"]["count"]),
        (&1.into(), &2.into(), &1.into())
    );
    assert!(report.markdown.contains("goes") && report.html.contains("USER_REQUEST"), "{}", report.markdown);
    let carried = lock(&house.courier.carried);
    let sent: Vec<_> = carried.iter().filter(|(_, l, _)| l.message.subject.contains("Weekly")).collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1.message.text, report.markdown);
}
