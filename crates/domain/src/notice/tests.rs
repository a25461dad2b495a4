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

fn budget(percent: u8) -> Notice {
    Notice::Budget {
        budget: BudgetId::parse("bdg_1").unwrap(),
        whose: "workspace \"blue\"".to_owned(),
        period: Period::Month,
        window: Timestamp::from_secs(1_771_934_400),
        resets_at: Some(Timestamp::from_secs(1_774_612_800)),
        percent,
        limit: PicoUsd::from_usd("12.50").unwrap(),
        settled_usd: "11.3".to_owned(),
        hard: true,
    }
}

#[test]
fn a_share_of_a_budget_is_told_once_a_period_and_a_spent_hard_one_is_critical() {
    let once = |notice: Notice| raised(notice).once.unwrap();
    assert_eq!(once(budget(90)), once(budget(90)));
    assert_ne!(once(budget(90)), once(budget(95)));
    let severity = |percent| raised(budget(percent)).severity;
    assert_eq!(
        (severity(75), severity(90), severity(100)),
        (Severity::Info, Severity::Warning, Severity::Critical)
    );
}

fn reconciled(keys: &[&str]) -> Notice {
    Notice::Reconciled {
        upstream: "anthropic".to_owned(),
        day: "2026-03-02".to_owned(),
        leaked_usd: if keys.is_empty() { "0".to_owned() } else { "12.34".to_owned() },
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        unexplained_usd: keys.is_empty().then(|| "-0.75".to_owned()),
    }
}

#[test]
fn a_leak_of_a_day_is_told_once_and_a_larger_one_anew() {
    let (leak, rest) = (raised(reconciled(&["build"])), raised(reconciled(&[])));
    assert_eq!((leak.notice.kind(), leak.severity), ("cost.leaked", Severity::Critical));
    assert_eq!((rest.notice.kind(), rest.severity), ("cost.unexplained", Severity::Warning));
    assert_eq!(leak.once, raised(reconciled(&["build"])).once);
    assert_ne!(leak.once, rest.once);
}

/// One of each kind, all that texts are made from.
fn all() -> Vec<Notice> {
    let (old, new) = (KeyId::parse("key_0123456789").unwrap(), KeyId::parse("key_abcdefghij").unwrap());
    let at = Timestamp::from_secs(1_772_539_200);
    let rotation = |step| Notice::Rotation {
        rotation: RotationId::parse("rot_1").unwrap(),
        step,
        old_key_id: old.clone(),
        new_key_id: new.clone(),
        reason: "scheduled".to_owned(),
        overlap_secs: 7 * 86_400,
        completion_at: at,
        hold: (step == RotationStep::Held).then_some(HoldReason::Unused),
    };
    let name = || "build <ci> & \"co\"".to_owned();
    vec![
        Notice::KeyExpiring { name: name(), expires_at: at, days: 1 },
        rotation(RotationStep::Started),
        rotation(RotationStep::RolledBack),
        rotation(RotationStep::Held),
        Notice::Deprecation { name: name(), stage: DeprecationStage::FinalWarning, next_at: Some(at) },
        Notice::Revocation {
            name: name(),
            reason: RevocationReason::Compromised,
            immediate: true,
            affected: vec!["2 child keys".to_owned(), "192.0.2.7 (curl)".to_owned()],
        },
        Notice::Incident {
            incident: Incident::SecondUnwrap,
            what: "A wrapping token was opened a second time.".to_owned(),
            client_ip: "192.0.2.7".to_owned(),
        },
        Notice::PolicyBreach {
            name: name(),
            rule: "require_ip".to_owned(),
            what: "It may be used from anywhere.".to_owned(),
            deadline: None,
        },
        Notice::UnusedRevoked { name: name(), unused_days: 180, last_used_at: None },
        Notice::SigningRotation { name: name(), valid_from: at, until: at },
        Notice::SigningOld { name: name(), until: at },
        Notice::WeeklyReport {
            report: ReportId::parse("rpt_1").unwrap(),
            from: Timestamp::from_secs(1_771_934_400),
            until: at,
            summary: "3 keys live, 1 expires soon.".to_owned(),
        },
        budget(90),
        reconciled(&["build sk-ant…4F2x (anthropic-1)"]),
        reconciled(&[]),
        Notice::Trial { channel: "ops".to_owned() },
    ]
}

#[test]
fn every_notice_reads_back_from_the_store() {
    for notice in all() {
        let text = serde_json::to_string(&notice).unwrap();
        assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), notice, "{text}");
    }
}

#[test]
fn what_each_notice_says() {
    let said: Vec<String> = all()
        .into_iter()
        .map(|notice| {
            let message = message::Message::of(&raised(notice));
            format!("Subject: {}\n\n{}\n{:#}\n", message.subject, message.text, message.payload)
        })
        .collect();
    insta::assert_snapshot!(said.join("\n==========\n"));
}

#[test]
fn what_the_mail_page_looks_like() {
    insta::assert_snapshot!(message::Message::of(&raised(all().swap_remove(0))).html);
}

#[test]
fn names_break_out_of_neither_header_nor_page() {
    let name = "a\r\nBcc: x@y <script>".to_owned();
    let message =
        message::Message::of(&raised(Notice::UnusedRevoked { name, unused_days: 1, last_used_at: None }));
    assert!(!message.subject.contains(['\r', '\n']));
    assert!(!message.html.contains("<script"));
}
