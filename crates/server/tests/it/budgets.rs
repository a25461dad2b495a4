//! Ceilings on money, as an operator sets them and a caller meets them.

use crate::{
    house::{Claviger, Sim},
    wire::{self, say},
};

/// gateways.md, 3.9: a key's budget was neither kept nor enforced, came into force early, and could not be taken away.
#[test]
fn a_budget_made_with_a_key_is_kept_holds_to_its_amount_and_can_be_taken_away() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &[]);
    let key = node.key(&["--budget", "0.19/life"]);
    let ask = |node: &Claviger, tokens: u64| {
        wire::message(
            node.gateway(),
            &key.key,
            &say(&format!("[[sim: usage={{\"input_tokens\":{tokens}}}]]")),
        )
    };
    let first = ask(&node, 5_000);
    assert_eq!(first.status, 200, "it can cost less than there is: {}", first.text());
    let refused = ask(&node, 5_000);
    assert_eq!((refused.status, refused.error().0.as_str()), (429, "billing_error"), "{}", refused.text());
    let standing = |node: &Claviger| node.json(&["budget", "show", "--key", &key.id]);
    let before = standing(&node);
    node.stop();
    node.start();
    assert_eq!(standing(&node), before);
    assert_eq!(ask(&node, 1).status, 429);
    assert_eq!(sim.bills().len(), 1);
    node.json(&["budget", "drop", "--key", &key.id, "--per", "life"]);
    assert_eq!(ask(&node, 1).status, 200);
}
