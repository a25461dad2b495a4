use super::*;
use crate::{clock::Timestamp, id::UpstreamId};

const KEY: &str = "sk-ant-api03-R2D0123456789igAA";
const OTHER: &str = "sk-ant-api03-XyZ0123456789qqAA";

fn key(id: &str, name: &str, secret: &str) -> ProviderApiKey {
    let hint = format!("{}...{}", &secret[..16], &secret[secret.len() - 4..]);
    ProviderApiKey { id: id.to_owned(), name: name.to_owned(), status: "active".to_owned(), hint }
}

fn credential(n: u8, name: &str, state: ServiceState) -> CredentialRecord {
    CredentialRecord {
        id: CredentialId::parse(&format!("cred_{n:022}")).unwrap(),
        upstream: UpstreamId::parse(&format!("up_{n:022}")).unwrap(),
        purpose: CredentialPurpose::Traffic,
        workspace: None,
        name: name.to_owned(),
        sealed: Vec::new(),
        hint: "sk-ant-a…igAA".to_owned(),
        state,
        created_at: Timestamp::from_secs(0),
        version: 1,
    }
}

fn tokens(input: u64, output: u64) -> UsageCounts {
    UsageCounts { input_tokens: input, output_tokens: output, ..UsageCounts::default() }
}

fn billed(key: Option<&str>, day: i64, input: u64, output: u64) -> Billed {
    Billed { api_key: key.map(str::to_owned), day, usage: tokens(input, output) }
}

fn carried(record: &CredentialRecord, day: i64, input: u64, output: u64) -> CredentialDay {
    let credential = record.id.clone();
    CredentialDay { credential, day, requests: 1, estimated: 0, usage: tokens(input, output) }
}

#[test]
fn what_was_billed_beyond_the_ledger_passed_us_by() {
    let record = credential(1, "prod", ServiceState::Active);
    let secret = SecretBytes::new(KEY.into());
    let sealed = [SealedKey { record: &record, secret: Some(&secret) }];
    let keys = [key("apikey_1", "old drawer key", KEY), key("apikey_2", "laptop", OTHER)];
    let bills =
        [billed(Some("apikey_1"), 9, 100, 40), billed(Some("apikey_1"), 10, 30, 8), billed(None, 9, 5, 5)];
    let rows = compare(&keys, &bills, &[carried(&record, 9, 70, 40), carried(&record, 10, 30, 8)], &sealed);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].api_key.as_ref().unwrap().id, "apikey_1");
    assert_eq!(rows[0].credentials, std::slice::from_ref(&record.id));
    assert_eq!((rows[0].billed, rows[0].direct), (tokens(130, 48), tokens(30, 0)));
    assert_eq!((rows[0].last_seen, rows[0].last_direct), (Some(10), Some(9)));
    assert_eq!((rows[1].api_key.as_ref(), rows[1].direct), (None, tokens(5, 5)));
    assert_eq!((rows[2].last_seen, rows[2].credentials.len()), (None, 0));
    assert!(strangers(&rows, &sealed).is_empty());
}

#[test]
fn a_call_around_midnight_is_no_difference() {
    let record = credential(1, "prod", ServiceState::Active);
    let secret = SecretBytes::new(KEY.into());
    let sealed = [SealedKey { record: &record, secret: Some(&secret) }];
    let keys = [key("apikey_1", "prod", KEY)];
    let rows = compare(&keys, &[billed(Some("apikey_1"), 10, 7, 7)], &[carried(&record, 9, 7, 7)], &sealed);
    assert_eq!((rows[0].direct, rows[0].last_direct), (tokens(0, 0), None));
}

#[test]
fn a_key_sealed_twice_is_one_key() {
    let records = [credential(1, "a", ServiceState::Active), credential(2, "b", ServiceState::Active)];
    let secret = SecretBytes::new(KEY.into());
    let sealed = records.each_ref().map(|record| SealedKey { record, secret: Some(&secret) });
    let through = [carried(&records[0], 9, 1, 1), carried(&records[1], 9, 2, 2)];
    let keys = [key("apikey_1", "prod", KEY)];
    let rows = compare(&keys, &[billed(Some("apikey_1"), 9, 3, 3)], &through, &sealed);
    assert_eq!((rows[0].credentials.len(), rows[0].direct), (2, tokens(0, 0)));
}

#[test]
fn a_removed_credential_is_known_by_its_name_and_hint_together() {
    let record = credential(1, "prod", ServiceState::Removed);
    let sealed = [SealedKey { record: &record, secret: None }];
    let through = [carried(&record, 9, 4, 4)];
    let found = |name: &str, secret: &str| {
        let rows = compare(
            &[key("apikey_1", name, secret)],
            &[billed(Some("apikey_1"), 9, 4, 4)],
            &through,
            &sealed,
        );
        rows[0].credentials.len()
    };
    assert_eq!((found("prod", KEY), found("other", KEY), found("prod", OTHER)), (1, 0, 0));
}

#[test]
fn a_sealed_key_that_the_account_does_not_have_is_named() {
    let record = credential(1, "prod", ServiceState::Active);
    let secret = SecretBytes::new(OTHER.into());
    let sealed = [SealedKey { record: &record, secret: Some(&secret) }];
    let rows = compare(&[key("apikey_1", "prod", KEY)], &[], &[], &sealed);
    assert_eq!(rows[0].credentials.len(), 0);
    assert_eq!(strangers(&rows, &sealed), [&record]);
}

#[test]
fn a_key_in_no_list_is_reported_by_its_id() {
    let rows = compare(&[], &[billed(Some("apikey_9"), 3, 1, 1)], &[], &[]);
    let key = rows[0].api_key.as_ref().unwrap();
    assert_eq!((key.id.as_str(), key.status.as_str(), rows[0].direct), ("apikey_9", "unknown", tokens(1, 1)));
}
