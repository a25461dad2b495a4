use super::*;

fn about() -> About {
    About {
        key: Some(KeyId::parse("key_0123456789").unwrap()),
        owner: Some(OwnerId::parse("own_1").unwrap()),
        workspace: Some(WorkspaceId::parse("ws_1").unwrap()),
    }
}

fn expiring(expires: i64, days: u32) -> Notice {
    Notice::KeyExpiring { name: "ci".to_owned(), expires_at: Timestamp::from_secs(expires), days }
}

fn raised(notice: Notice) -> NoticeRecord {
    NoticeRecord::new(NoticeId::parse("ntc_1").unwrap(), about(), notice, Timestamp::from_secs(1_772_452_800))
}

#[test]
fn a_threshold_is_warned_of_once_and_a_later_expiry_anew() {
    let once = |notice: Notice| raised(notice).once.unwrap();
    assert_eq!(once(expiring(9, 14)), once(expiring(9, 14)));
    assert_ne!(once(expiring(9, 14)), once(expiring(9, 7)));
    assert_ne!(once(expiring(9, 14)), once(expiring(10, 14)));
}

#[test]
fn severities_compare_and_read_back() {
    for severity in Severity::ALL {
        assert_eq!(Severity::from_rank(severity.rank()), Some(severity));
        assert_eq!(Severity::parse(severity.as_str()), Some(severity));
    }
    assert!(Severity::Info < Severity::Warning && Severity::Warning < Severity::Critical);
    assert_eq!(raised(expiring(9, 7)).severity, Severity::Info);
    assert_eq!(raised(expiring(9, 3)).severity, Severity::Warning);
}
