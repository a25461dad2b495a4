//! Against notices that other code has signed: `tests/vectors.py` made them with Python's `cryptography`.

use proptest::prelude::*;
use serde_json::Value;

use super::{rsa::ProviderKey, *};
use crate::money::PicoUsd;

fn vectors() -> Value {
    serde_json::from_str(include_str!("tests/vectors.json")).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_secs(vectors()["now"].as_i64().unwrap())
}

fn later(secs: i64) -> Timestamp {
    now().plus_micros(secs * crate::clock::MICROS_PER_SEC)
}

fn payment(id: &str, amount: &str, currency: &str) -> Notice {
    Notice::Paid(Payment {
        id: id.to_owned(),
        account: CreditAccountId::parse(text(&vectors(), "account")).unwrap(),
        amount: Decimal::amount(amount).unwrap(),
        currency: currency.to_owned(),
    })
}

mod webhooks {
    use super::*;

    fn read(v: &Value, at: Timestamp) -> Result<Notice, NoticeError> {
        let secret = webhook::Secret::parse(text(v, "secret")).unwrap();
        let headers = webhook::Headers {
            id: text(v, "id"),
            timestamp: text(v, "timestamp"),
            signature: text(v, "signature"),
        };
        webhook::read(&secret, headers, text(v, "body").as_bytes(), at)
    }

    #[test]
    fn a_signed_payment_is_read() {
        let v = &vectors()["webhook"];
        assert_eq!(read(v, now()), Ok(payment("pay_1", "12.50", "EUR")));
        assert_eq!(read(v, later(300)), Ok(payment("pay_1", "12.50", "EUR")));
        assert_eq!(read(v, later(301)), Err(NoticeError::Stale));
        assert_eq!(read(v, later(-301)), Err(NoticeError::Stale));
    }

    #[test]
    fn whatever_is_changed_breaks_the_signature() {
        let v = &vectors()["webhook"];
        let body = text(v, "body");
        for (name, other) in [
            ("id", "msg_2".to_owned()),
            ("timestamp", "1767571201".to_owned()),
            ("body", body.replace("12.50", "92.50")),
            ("body", body.replace("acct_0", "acct_1")),
            ("body", body.replace("EUR", "USD")),
            ("body", body.replace("pay_1", "pay_2")),
            ("body", format!("{body} ")),
            ("secret", "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=".to_owned()),
            ("signature", String::new()),
            ("signature", text(v, "signature").replace("v1,", "v2,")),
        ] {
            let mut changed = v.clone();
            changed[name] = other.into();
            assert_eq!(read(&changed, now()), Err(NoticeError::Signature), "{name}");
        }
    }

    #[test]
    fn a_short_secret_is_refused() {
        for bad in ["", "whsec_", "whsec_AAAA", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="] {
            assert!(webhook::Secret::parse(bad).is_err(), "{bad}");
        }
    }
}

mod alipays {
    use super::*;

    fn merchant(key: &str) -> alipay::Merchant {
        alipay::Merchant {
            key: ProviderKey::parse(text(&vectors(), key)).unwrap(),
            app_id: "2021000000000001".to_owned(),
            seller_id: Some("2088000000000002".to_owned()),
        }
    }

    fn read(which: &str) -> Result<Notice, NoticeError> {
        alipay::read(&merchant("key"), text(&vectors()["alipay"], which).as_bytes())
    }

    #[test]
    fn a_signed_payment_is_read() {
        let expected = Ok(payment("2026010522001400000000000001", "100.05", "CNY"));
        assert_eq!(read("body"), expected);
        assert_eq!(read("passback"), expected);
        assert_eq!(read("closed"), Ok(Notice::Other));
    }

    #[test]
    fn a_notice_for_somebody_else_is_refused() {
        assert_eq!(read("other_app"), Err(NoticeError::NotOurs("app_id")));
        assert_eq!(read("other_seller"), Err(NoticeError::NotOurs("seller_id")));
        assert!(matches!(read("nobody"), Err(NoticeError::Unreadable(_))));
        let body = text(&vectors()["alipay"], "body").to_owned();
        let foreign = alipay::read(&merchant("other_key"), body.as_bytes());
        assert_eq!(foreign, Err(NoticeError::Signature));
    }

    #[test]
    fn whatever_is_changed_added_or_left_out_breaks_the_signature() {
        let body = text(&vectors()["alipay"], "body").to_owned();
        let pairs: Vec<&str> = body.split('&').collect();
        for (n, pair) in pairs.iter().enumerate() {
            let (name, value) = pair.split_once('=').unwrap();
            if matches!(name, "sign" | "sign_type") {
                continue;
            }
            let mut changed = pairs.clone();
            let other = format!("{name}={value}1");
            changed[n] = &other;
            let answer = alipay::read(&merchant("key"), changed.join("&").as_bytes());
            assert_eq!(answer, Err(NoticeError::Signature), "{name}");
            changed.remove(n);
            let answer = alipay::read(&merchant("key"), changed.join("&").as_bytes());
            assert_eq!(answer, Err(NoticeError::Signature), "without {name}");
        }
        let read = |body: String| alipay::read(&merchant("key"), body.as_bytes());
        assert_eq!(read(format!("{body}&extra=1")), Err(NoticeError::Signature));
        assert!(matches!(read(format!("{body}&total_amount=9")), Err(NoticeError::Unreadable(_))));
        assert!(matches!(read(body.replace("RSA2", "RSA")), Err(NoticeError::Unsigned(_))));
        assert!(matches!(read(body.replace("sign=", "sig=")), Err(NoticeError::Unsigned(_))));
        assert!(matches!(read("a=%zz".to_owned()), Err(NoticeError::Unreadable(_))));
    }

    #[test]
    fn a_key_is_read_with_and_without_its_frame() {
        let pem = text(&vectors(), "key").to_owned();
        let bare: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let merchant = alipay::Merchant { key: ProviderKey::parse(&bare).unwrap(), ..merchant("key") };
        assert!(alipay::read(&merchant, text(&vectors()["alipay"], "body").as_bytes()).is_ok());
        for bad in ["", "AAAA", "-----BEGIN PUBLIC KEY-----", &pem.replace("PUBLIC", "PRIVATE")] {
            assert!(ProviderKey::parse(bad).is_err(), "{bad}");
        }
    }
}

mod wechats {
    use super::*;

    fn read_at(v: &Value, at: Timestamp) -> Result<Notice, NoticeError> {
        let all = vectors();
        let merchant = wechat::Merchant {
            key: ProviderKey::parse(text(&all, "key")).unwrap(),
            serial: "PUB_KEY_ID_1".to_owned(),
            api_key: wechat::ApiKey::parse(text(&all["wechat"], "api_key")).unwrap(),
            mchid: "1900000001".to_owned(),
            appid: Some("wx1".to_owned()),
        };
        let headers = wechat::Headers {
            timestamp: text(v, "timestamp"),
            nonce: text(v, "nonce"),
            signature: text(v, "signature"),
            serial: text(v, "serial"),
        };
        wechat::read(&merchant, headers, text(v, "body").as_bytes(), at)
    }

    fn read(which: &str) -> Result<Notice, NoticeError> {
        read_at(&vectors()["wechat"][which], now())
    }

    #[test]
    fn a_signed_payment_is_opened_and_read() {
        let Ok(Notice::Paid(paid)) = read("paid") else { panic!("{:?}", read("paid")) };
        let expected = payment("4200000001202601050000000001", "100.05", "CNY");
        assert_eq!(Notice::Paid(paid), expected);
        assert_eq!(read("refund"), Ok(Notice::Other));
        assert_eq!(read("closed"), Ok(Notice::Other));
        let v = &vectors()["wechat"]["paid"];
        assert_eq!(read_at(v, later(301)), Err(NoticeError::Stale));
        assert_eq!(read_at(v, later(-301)), Err(NoticeError::Stale));
    }

    #[test]
    fn a_notice_for_somebody_else_or_under_another_seal_is_refused() {
        assert_eq!(read("other_merchant"), Err(NoticeError::NotOurs("mchid")));
        assert_eq!(read("other_app"), Err(NoticeError::NotOurs("appid")));
        assert_eq!(read("wrong_aad"), Err(NoticeError::Unreadable("its resource cannot be opened")));
        assert!(matches!(read("nobody"), Err(NoticeError::Unreadable(_))));
    }

    #[test]
    fn whatever_is_changed_breaks_the_signature() {
        let v = &vectors()["wechat"]["paid"];
        let body = text(v, "body");
        for (name, other) in [
            ("timestamp", "1767571201".to_owned()),
            ("nonce", "n1nce".to_owned()),
            ("serial", "PUB_KEY_ID_2".to_owned()),
            ("body", body.replace("TRANSACTION.SUCCESS", "TRANSACTION.SUCCES5")),
            ("body", body.replace("0123456789ab", "0123456789ac")),
            ("body", format!("{body}\n")),
            ("signature", String::new()),
            ("signature", text(&vectors()["wechat"]["refund"], "signature").to_owned()),
        ] {
            let mut changed = v.clone();
            changed[name] = other.into();
            assert_eq!(read_at(&changed, now()), Err(NoticeError::Signature), "{name}");
        }
        assert!(wechat::ApiKey::parse("short").is_err());
    }
}

#[test]
fn an_account_is_found_at_the_beginning_of_an_order() {
    let found = |text| account_in(text).map(|id| id.to_string());
    assert_eq!(found("acct_Ab9"), Some("acct_Ab9".to_owned()));
    assert_eq!(found("acct_Ab9_20260105"), Some("acct_Ab9".to_owned()));
    assert_eq!(found("acct_Ab9-x y"), Some("acct_Ab9".to_owned()));
    for bad in ["", "acct_", "acct__7", "Ab9", "acct_A b", "xacct_Ab9"] {
        assert_eq!(found(bad), None, "{bad}");
    }
}

#[test]
fn an_amount_at_a_rate_is_exact_and_rounded_down_to_a_pico_dollar() {
    let pico = |amount: &str, rate: &str| {
        Decimal::amount(amount).unwrap().at(Decimal::rate(rate).unwrap()).map(PicoUsd::as_pico)
    };
    assert_eq!(pico("100.05", "0.14"), Ok(14_007_000_000_000));
    assert_eq!(pico("12", "1"), Ok(12_000_000_000_000));
    assert_eq!(pico("0.000001", "0.000000999999"), Ok(0));
    assert_eq!(pico("3", "0.333333333333"), Ok(999_999_999_999));
    assert_eq!(pico("0.1", "0.000000000019"), Ok(1));
    assert!(pico("999999999999.999999", "999999.999999999999").is_err());
    assert_eq!(
        Decimal::hundredths(10_005).at(Decimal::rate("0.14").unwrap()).unwrap().as_pico(),
        14_007_000_000_000
    );
    for bad in ["", "-1", "1.", ".5", "1e3", "1,5", "0.0000001", "1000000000000"] {
        assert!(Decimal::amount(bad).is_err(), "{bad}");
    }
    assert_eq!(Decimal::amount("07.50").unwrap().to_string(), "7.50");
}

proptest! {
    /// By another way: both as whole numbers of their smallest unit, divided once.
    #[test]
    fn no_digit_is_lost(whole in 0_i128..9_999, part in 0_i128..1_000_000, rate in 1_i128..10_000_000_000_000) {
        let amount = Decimal::amount(&format!("{whole}.{part:06}")).unwrap();
        let unit = 1_000_000_000_000;
        let per = Decimal::rate(&format!("{}.{:012}", rate / unit, rate % unit)).unwrap();
        let expected = (whole * 1_000_000 + part) * rate / 1_000_000;
        prop_assert_eq!(amount.at(per).unwrap().as_pico(), i64::try_from(expected).unwrap());
    }
}
