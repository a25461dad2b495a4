//! The JSON of what is said of money.

use serde_json::json;

use super::shapes::pretty;
use crate::house::Claviger;

#[test]
fn budgets_are_set_shown_and_listed_in_one_shape() {
    let node = Claviger::started();
    let key = node.key(&[]);
    let set = node.json(&["budget", "set", "--key", &key.id, "--usd", "12.50", "--per", "day"]);
    insta::assert_snapshot!(pretty(&set), @r#"
    {
      "credit_account": null,
      "hard": true,
      "id": "bdg_…",
      "left_pusd": "12500000000000",
      "limit_pusd": "12500000000000",
      "limit_usd": "12.5",
      "mode": "strict",
      "overshoot_bound_pusd": "0",
      "period": "day",
      "period_began_at": "TIME",
      "reserved_pusd": "0",
      "resets_at": "TIME",
      "settled_pusd": "0",
      "subject": "key",
      "subject_id": "key_…",
      "tz": "UTC",
      "version": 1
    }
    "#);
    assert_eq!(node.json(&["budget", "show", "--key", &key.id]), set);
    assert_eq!(node.json(&["budget", "list"]), json!([set]));
    // Of several, all.
    let soft = ["--per", "life", "--soft", "--mode", "expected", "--tz", "Europe/Berlin"];
    let second = node.json(&[&["budget", "set", "--key", &key.id, "--usd", "3"][..], &soft].concat());
    assert_eq!(
        ["resets_at", "hard", "mode", "tz", "period"].map(|name| second[name].clone()),
        [json!(null), json!(false), json!("expected"), json!("Europe/Berlin"), json!("life")]
    );
    assert_eq!(node.json(&["budget", "show", "--key", &key.id]), json!([set, second]));
    assert_eq!(node.json(&["budget", "show", "--key", &key.id, "--per", "life"]), second);
}

#[test]
fn prepaid_credit_is_booked_shown_and_proven_in_one_shape() {
    let node = Claviger::started();
    let key = node.key(&[]);
    let opened = node.json(&["credit", "open", "--key", &key.id]);
    insta::assert_snapshot!(pretty(&opened), @r#"
    {
      "adjusted_pusd": "0",
      "captured_pusd": "0",
      "entries": 0,
      "held_pusd": "0",
      "id": "acct_…",
      "left_pusd": "0",
      "left_usd": "0",
      "limit_pusd": "0",
      "opened_at": "TIME",
      "paid_pusd": "0",
      "reserved_pusd": "0",
      "settled_pusd": "0",
      "subject": "key",
      "subject_id": "key_…"
    }
    "#);
    let account = opened["id"].as_str().unwrap();
    let book = |command: &str, more: &[&str]| node.json(&[&["credit", command, account], more].concat());
    let paid = book("top-up", &["--usd", "12.50", "--reference", "invoice-1", "--note", "by wire"]);
    insta::assert_snapshot!(pretty(&paid), @r#"
    {
      "account": {
        "adjusted_pusd": "0",
        "captured_pusd": "0",
        "entries": 1,
        "held_pusd": "0",
        "id": "acct_…",
        "left_pusd": "12500000000000",
        "left_usd": "12.5",
        "limit_pusd": "12500000000000",
        "opened_at": "TIME",
        "paid_pusd": "12500000000000",
        "reserved_pusd": "0",
        "settled_pusd": "0",
        "subject": "key",
        "subject_id": "key_…"
      },
      "entry": {
        "amount_pusd": "12500000000000",
        "amount_usd": "12.5",
        "at": "TIME",
        "from": "cash",
        "hold": null,
        "id": "ent_…",
        "kind": "top_up",
        "note": "by wire",
        "number": 1,
        "reference": "invoice-1",
        "to": "available"
      },
      "replayed": false
    }
    "#);
    let held = book("hold", &["--usd", "3"]);
    insta::assert_snapshot!(pretty(&held), @r#"
    {
      "account": {
        "adjusted_pusd": "0",
        "captured_pusd": "0",
        "entries": 2,
        "held_pusd": "3000000000000",
        "id": "acct_…",
        "left_pusd": "9500000000000",
        "left_usd": "9.5",
        "limit_pusd": "9500000000000",
        "opened_at": "TIME",
        "paid_pusd": "12500000000000",
        "reserved_pusd": "0",
        "settled_pusd": "0",
        "subject": "key",
        "subject_id": "key_…"
      },
      "entry": {
        "amount_pusd": "3000000000000",
        "amount_usd": "3",
        "at": "TIME",
        "from": "available",
        "hold": null,
        "id": "ent_…",
        "kind": "hold",
        "note": "",
        "number": 2,
        "reference": null,
        "to": "held"
      },
      "replayed": false
    }
    "#);
    let hold = held["entry"]["id"].as_str().unwrap();
    let released = book("release", &["--hold", hold, "--usd", "1"]);
    insta::assert_snapshot!(pretty(&released), @r#"
    {
      "account": {
        "adjusted_pusd": "0",
        "captured_pusd": "0",
        "entries": 3,
        "held_pusd": "2000000000000",
        "id": "acct_…",
        "left_pusd": "10500000000000",
        "left_usd": "10.5",
        "limit_pusd": "10500000000000",
        "opened_at": "TIME",
        "paid_pusd": "12500000000000",
        "reserved_pusd": "0",
        "settled_pusd": "0",
        "subject": "key",
        "subject_id": "key_…"
      },
      "entry": {
        "amount_pusd": "1000000000000",
        "amount_usd": "1",
        "at": "TIME",
        "from": "held",
        "hold": "ent_…",
        "id": "ent_…",
        "kind": "release",
        "note": "",
        "number": 3,
        "reference": null,
        "to": "available"
      },
      "replayed": false
    }
    "#);
    let captured = book("capture", &["--hold", hold]);
    insta::assert_snapshot!(pretty(&captured["entry"]), @r#"
    {
      "amount_pusd": "2000000000000",
      "amount_usd": "2",
      "at": "TIME",
      "from": "held",
      "hold": "ent_…",
      "id": "ent_…",
      "kind": "capture",
      "note": "",
      "number": 4,
      "reference": null,
      "to": "captured"
    }
    "#);
    let refunded = book("refund", &["--usd", "0.5"]);
    insta::assert_snapshot!(pretty(&refunded["entry"]), @r#"
    {
      "amount_pusd": "500000000000",
      "amount_usd": "0.5",
      "at": "TIME",
      "from": "available",
      "hold": null,
      "id": "ent_…",
      "kind": "refund",
      "note": "",
      "number": 5,
      "reference": null,
      "to": "cash"
    }
    "#);
    let adjusted = book("adjust", &["--up", "0.25", "--note", "a gift"]);
    insta::assert_snapshot!(pretty(&adjusted["entry"]), @r#"
    {
      "amount_pusd": "250000000000",
      "amount_usd": "0.25",
      "at": "TIME",
      "from": "adjustments",
      "hold": null,
      "id": "ent_…",
      "kind": "adjust_up",
      "note": "a gift",
      "number": 6,
      "reference": null,
      "to": "available"
    }
    "#);

    let shown = node.json(&["credit", "show", account]);
    insta::assert_snapshot!(pretty(&shown), @r#"
    {
      "adjusted_pusd": "250000000000",
      "captured_pusd": "2000000000000",
      "entries": 6,
      "held_pusd": "0",
      "id": "acct_…",
      "left_pusd": "10250000000000",
      "left_usd": "10.25",
      "limit_pusd": "10250000000000",
      "opened_at": "TIME",
      "paid_pusd": "12000000000000",
      "reserved_pusd": "0",
      "settled_pusd": "0",
      "subject": "key",
      "subject_id": "key_…"
    }
    "#);
    assert_eq!(node.json(&["credit", "list"]), json!([shown]));
    let all = [paid, held, released, captured, refunded, adjusted].map(|booked| booked["entry"].clone());
    assert_eq!(node.json(&["credit", "statement", account]), json!(all));
    assert_eq!(node.json(&["credit", "statement", account, "--after", "4"]), json!(all[4..]));
    insta::assert_snapshot!(pretty(&node.json(&["credit", "verify"])), @r#"
    {
      "accounts": [
        {
          "account": "acct_…",
          "booked_pusd": "0",
          "entries": 6,
          "faults": [],
          "ledger_pusd": "0",
          "settled_pusd": "0"
        }
      ],
      "ok": true,
      "sum_pusd": "0"
    }
    "#);
}
