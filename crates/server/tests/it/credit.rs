//! Prepaid credit, as operators keep it and callers meet it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{
    house::{Claviger, Sim},
    wire::{self, say},
};

const CLIENTS: usize = 32;
const CALLS: usize = 6;

fn pico(value: &Value) -> i128 {
    value.as_str().expect("a decimal string").parse().expect("an amount")
}

fn ask(node: &Claviger, key: &str, tokens: u64) -> wire::Answer {
    let text = format!("[[sim: usage={{\"input_tokens\":{tokens}}}]]");
    wire::message(node.gateway(), key, &say(&text))
}

/// The account holds: what is settled and held back never passes what was paid in.
fn look(node: &Claviger, account: &str) -> Value {
    let shown = node.json(&["credit", "show", account]);
    let used = pico(&shown["settled_pusd"]) + pico(&shown["reserved_pusd"]);
    assert!(used <= pico(&shown["limit_pusd"]), "{shown}");
    shown
}

#[test]
fn clients_at_once_never_pass_their_credit_and_a_payment_lets_them_on() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let account = node.json(&["credit", "open", "--key", &key.id]);
    let account = account["id"].as_str().unwrap().to_owned();

    let refused = ask(&node, &key.key, 1);
    assert_eq!((refused.status, refused.error().0.as_str()), (429, "billing_error"), "{}", refused.text());
    let expected = format!("the prepaid credit of your key ({account})");
    assert!(refused.error().1.contains(&expected), "{}", refused.text());
    assert!(refused.error().1.contains("and $0 is left."), "{}", refused.text());

    node.json(&["credit", "top-up", &account, "--usd", "1.5", "--reference", "wire:1"]);
    let (answered, turned_away, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..CALLS {
                        match ask(&node, &key.key, 5_000).status {
                            200 => answered.fetch_add(1, Ordering::SeqCst),
                            429 => turned_away.fetch_add(1, Ordering::SeqCst),
                            other => panic!("{other}"),
                        };
                    }
                })
            })
            .collect();
        let watcher = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                look(&node, &account);
            }
        });
        for client in clients {
            client.join().unwrap();
        }
        over.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
    });
    assert!(answered.load(Ordering::SeqCst) > 0 && turned_away.load(Ordering::SeqCst) > 0);
    let shown = look(&node, &account);
    let billed: i128 = sim.bills().iter().map(|bill| bill.cost).sum();
    assert_eq!((pico(&shown["settled_pusd"]), pico(&shown["reserved_pusd"])), (billed, 0));
    assert!(billed <= 1_500_000_000_000);

    // What is left is paid back, and nothing beyond it; then nobody gets an answer until somebody pays.
    let left = shown["left_usd"].as_str().unwrap();
    let more = node.cli(&["credit", "refund", &account, "--usd", "1.6"]);
    assert!(more.code == 4 && more.stderr.contains(&format!("${left} is left")), "{}", more.stderr);
    node.json(&["credit", "refund", &account, "--usd", left]);
    assert_eq!(ask(&node, &key.key, 1).status, 429);
    for replayed in [false, true] {
        let paid = node.json(&["credit", "top-up", &account, "--usd", "2", "--reference", "wire:2"]);
        assert_eq!(paid["replayed"], replayed, "{paid}");
    }
    assert_eq!(ask(&node, &key.key, 5_000).status, 200);

    // It dies, and whatever was not in the book by then comes into it once.
    let before = look(&node, &account);
    node.kill();
    node.start();
    assert_eq!(look(&node, &account)["settled_pusd"], before["settled_pusd"]);
    for _ in 0..2 {
        let verdict = node.json(&["credit", "verify"]);
        let proof = &verdict["accounts"][0];
        assert_eq!(
            (&verdict["ok"], verdict["sum_pusd"].as_str()),
            (&Value::Bool(true), Some("0")),
            "{verdict}"
        );
        for sum in ["booked_pusd", "settled_pusd", "ledger_pusd"] {
            assert_eq!(proof[sum], before["settled_pusd"], "{verdict}");
        }
    }
    let statement = node.json(&["credit", "statement", &account]);
    let kinds: Vec<&str> =
        statement.as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["top_up", "refund", "top_up", "spend"]);
    let plain = node.cli(&["credit", "statement", &account]);
    let first = plain.stdout.lines().next().unwrap();
    assert!(
        first.starts_with("1\t") && first.contains("\ttop_up\tcash\tavailable\t1.5\twire:1\t"),
        "{first}"
    );
}

#[test]
fn what_is_set_aside_is_not_spent_until_it_is_given_back() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&[]);
    let account = node.json(&["credit", "open", "--all"])["id"].as_str().unwrap().to_owned();
    node.json(&["credit", "top-up", &account, "--usd", "5"]);
    let hold = node.json(&["credit", "hold", &account, "--usd", "4.9999"]);
    let hold = hold["entry"]["id"].as_str().unwrap();
    assert_eq!(ask(&node, &key.key, 5_000).status, 429);
    node.json(&["credit", "capture", &account, "--hold", hold, "--usd", "2"]);
    let back = node.json(&["credit", "release", &account, "--hold", hold]);
    assert_eq!((&back["entry"]["amount_usd"], &back["account"]["left_usd"]), (&"2.9999".into(), &"3".into()));
    assert_eq!(ask(&node, &key.key, 5_000).status, 200);
    node.json(&["credit", "adjust", &account, "--down", "100", "--note", "charged back"]);
    assert_eq!(ask(&node, &key.key, 1).status, 429);
    assert_eq!(node.json(&["credit", "verify"])["ok"], true);
    // No budget's command changes what was paid in.
    let raised = node.json(&["budget", "set", "--all", "--usd", "900", "--per", "life"]);
    assert_eq!((&raised["credit_account"], raised["limit_usd"].as_str()), (&Value::Null, Some("900")));
    assert_eq!(ask(&node, &key.key, 1).status, 429);
    let listed = node.json(&["budget", "list"]);
    let accounts: Vec<&Value> = listed.as_array().unwrap().iter().map(|b| &b["credit_account"]).collect();
    assert!(accounts.contains(&&Value::Null) && accounts.contains(&&Value::from(account)), "{listed}");
}

const SECRET: &str = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
const VECTORS: &str = include_str!("../../../domain/src/payment/tests/vectors.json");

/// `webhook-signature`, as other code than ours makes it.
fn sign(text: &str) -> String {
    let script = "import base64, hashlib, hmac, sys; \
                  key = base64.b64decode(sys.argv[1][6:]); \
                  print('v1,' + base64.b64encode(hmac.new(key, sys.argv[2].encode(), hashlib.sha256).digest()).decode())";
    let done = Command::new("python3").args(["-c", script, SECRET, text]).output().expect("python3");
    assert!(done.status.success());
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A notice that is signed now.
fn notice(node: &Claviger, body: &Value, sent: &str) -> wire::Answer {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    let signature = sign(&format!("msg_1.{now}.{body}"));
    let headers = [("webhook-id", "msg_1"), ("webhook-timestamp", &now), ("webhook-signature", &signature)];
    wire::ask(node.control(), &wire::post_with("/payments/v1/notify/shop", &headers, sent))
}

#[test]
fn a_payment_notice_is_booked_once_and_only_if_its_provider_has_signed_it() {
    let mut node = Claviger::new();
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let secret = node.write("shop.secret", SECRET);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    node.write("alipay.pem", vectors["key"].as_str().unwrap());
    let providers = node.write(
        "payments.toml",
        "[[provider]]\nname = \"shop\"\nkind = \"webhook\"\ncurrency = \"EUR\"\nusd_per_unit = \"1.08\"\n\
         secret_file = \"shop.secret\"\n\
         [[provider]]\nname = \"alipay\"\nkind = \"alipay\"\ncurrency = \"CNY\"\nusd_per_unit = \"0.14\"\n\
         public_key_file = \"alipay.pem\"\napp_id = \"2021000000000001\"\n",
    );
    let config = node.write("claviger.toml", &format!("payments = {providers:?}\n"));
    node = node.with_arguments(&["--config", &config.display().to_string()]);
    node.start();
    let account = node.json(&["credit", "open", "--all"])["id"].as_str().unwrap().to_owned();
    let body = json!({"type": "payment.succeeded", "id": "pay_1", "account": account, "amount": "12.50", "currency": "EUR"});
    let sent = body.to_string();

    let forged = notice(&node, &body, &sent.replace("12.50", "92.50"));
    assert_eq!((forged.status, forged.json()["type"].as_str()), (401, Some("notice_not_verified")));
    assert!(!forged.text().contains("whsec_"), "{}", forged.text());
    let unsigned = wire::ask(node.control(), &wire::post_with("/payments/v1/notify/shop", &[], &sent));
    assert_eq!(unsigned.status, 401);
    assert_eq!(node.json(&["credit", "show", &account])["paid_pusd"], "0");

    for _ in 0..2 {
        assert_eq!(notice(&node, &body, &sent).status, 204);
    }
    let other = json!({"type": "payment.failed", "id": "pay_2"});
    assert_eq!(notice(&node, &other, &other.to_string()).status, 204);
    let dollars = json!({"id": "pay_3", "account": account, "amount": "1", "currency": "USD"});
    assert_eq!(notice(&node, &dollars, &dollars.to_string()).status, 400);
    let statement = node.json(&["credit", "statement", &account]);
    let entries = statement.as_array().unwrap();
    assert_eq!(entries.len(), 1, "{statement}");
    let of = |name: &str| entries[0][name].as_str().unwrap();
    assert_eq!(
        [of("kind"), of("amount_usd"), of("reference"), of("note")],
        ["top_up", "13.5", "shop:pay_1", "12.50 EUR"]
    );

    // A true notice of Alipay for an account that is not here, and the same forged.
    let form = vectors["alipay"]["body"].as_str().unwrap();
    let alipay =
        |form: &str| wire::ask(node.control(), &wire::post_with("/payments/v1/notify/alipay", &[], form));
    let (signed, forged) = (alipay(form), alipay(&form.replace("100.05", "900.05")));
    assert_eq!((signed.status, signed.text().as_str()), (404, "fail"));
    assert_eq!((forged.status, forged.text().as_str()), (401, "fail"));
    assert_eq!(
        wire::ask(node.control(), &wire::post_with("/payments/v1/notify/nobody", &[], "")).status,
        404
    );
}
