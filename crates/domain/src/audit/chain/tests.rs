//! Whatever is done to a chain is found, at the record where it was done or at the one after it.

use proptest::prelude::*;

use super::*;
use crate::{
    audit::canonical::tests::{EVENT_EDITS, ROW_EDITS, event},
    ledger::sample::row,
};

fn control(length: i64) -> Vec<AuditRecord> {
    let mut chain: Vec<AuditRecord> = Vec::new();
    for n in 0..length {
        let head = chain.last().map_or(Digest::EMPTY, |r| r.head);
        chain.push(AuditRecord::append(n, head, event().with("n", n)));
    }
    chain
}

fn node() -> NodeId {
    NodeId::parse("node_a").unwrap()
}

/// Group `n` has `n % 3` rows.
fn data(length: u64) -> Vec<(DataRecord, Vec<LedgerRow>)> {
    let mut head = Digest::EMPTY;
    let mut make = |n: u64| {
        let rows: Vec<LedgerRow> = (0..n % 3).map(|i| row(n * 10 + i)).collect();
        let number = i64::try_from(n).unwrap();
        let record = DataRecord::append(node(), number, Timestamp::from_secs(number), head, &rows);
        head = record.head;
        (record, rows)
    };
    (1..=length).map(&mut make).collect()
}

fn check(chain: &[AuditRecord]) -> Result<ChainVerifier, ChainFault> {
    let mut verifier = ChainVerifier::new();
    chain.iter().try_for_each(|r| verifier.control(r)).map(|()| verifier)
}

fn check_data(chain: &[(DataRecord, Vec<LedgerRow>)]) -> Result<ChainVerifier, ChainFault> {
    let mut verifier = ChainVerifier::new();
    chain.iter().try_for_each(|(r, rows)| verifier.data(&node(), r, RowsAtHand::All(rows))).map(|()| verifier)
}

#[test]
fn leaves_and_links_are_as_documented() {
    // `printf '\x00abc' | sha256sum`
    insta::assert_snapshot!(leaf(b"abc").to_hex(), @"609f6e36d2405585188d5cfd761f407c7cc46a7d3f314c88270469dde315fcd1");
    // `(printf '\x01'; head -c 32 /dev/zero; printf '\0\0\0\0\0\0\0\x01'; head -c 32 /dev/zero) | sha256sum`
    insta::assert_snapshot!(link(Digest::EMPTY, 1, Digest::EMPTY).to_hex(), @"ecf8505ae61c229e50e3c3c7e0710d8a2e7e555b15685dd1bee3395d9195e8c2");
}

#[test]
fn an_untouched_chain_is_good_and_can_be_taken_up_in_the_middle() {
    let chain = control(5);
    let whole = check(&chain).unwrap();
    assert_eq!((whole.length(), whole.head()), (5, chain[4].head));
    let mut half = ChainVerifier::resume(3, chain[2].head);
    chain[3..].iter().for_each(|r| half.control(r).unwrap());
    assert_eq!(half, whole);
    assert_eq!(check_data(&data(7)).unwrap().length(), 7);
}

#[test]
fn every_edit_of_an_event_is_found_where_it_was_made() {
    for (name, edit) in EVENT_EDITS {
        let mut chain = control(4);
        edit(&mut chain[2].event);
        assert_eq!(check(&chain), Err(ChainFault { number: 3, kind: FaultKind::Edited }), "{name}");
    }
}

#[test]
fn every_edit_of_a_ledger_row_is_found_where_it_was_made() {
    for (name, edit) in ROW_EDITS {
        let mut chain = data(6);
        edit(&mut chain[4].1[1]);
        assert_eq!(check_data(&chain), Err(ChainFault { number: 5, kind: FaultKind::Edited }), "{name}");
    }
}

#[test]
fn an_edit_with_a_remade_hash_is_found_at_the_record_itself_or_the_next() {
    let mut chain = control(4);
    chain[1] = AuditRecord { leaf: leaf(b"other"), ..chain[1].clone() };
    assert_eq!(check(&chain).unwrap_err().kind, FaultKind::Edited);
    let mut chain = control(4);
    chain[1] = AuditRecord::append(1, chain[0].head, event().with("n", "forged"));
    assert_eq!(check(&chain), Err(ChainFault { number: 3, kind: FaultKind::Broken }));
}

#[test]
fn rows_that_were_deleted_added_or_swapped_are_found() {
    let fault = |change: fn(&mut Vec<LedgerRow>)| {
        let mut chain = data(6);
        change(&mut chain[4].1);
        check_data(&chain).unwrap_err()
    };
    let count = |found| ChainFault { number: 5, kind: FaultKind::RowCount { expected: 2, found } };
    assert_eq!(fault(|rows| drop(rows.pop())), count(1));
    assert_eq!(fault(|rows| rows.push(row(99))), count(3));
    assert_eq!(fault(|rows| rows.swap(0, 1)).kind, FaultKind::Edited);
}

#[test]
fn a_data_record_stays_proven_when_its_rows_are_gone() {
    let edits: [fn(&mut DataRecord); 4] =
        [|r| r.at = r.at.plus_micros(1), |r| r.rows += 1, |r| r.leaf.0[0] ^= 1, |r| r.head.0[0] ^= 1];
    for edit in edits {
        let chain = data(2);
        let mut verifier = ChainVerifier::new();
        verifier.data(&node(), &chain[0].0, RowsAtHand::Retired).unwrap();
        let mut record = chain[1].0.clone();
        edit(&mut record);
        let fault = verifier.data(&node(), &record, RowsAtHand::Retired).unwrap_err();
        assert_eq!(fault, ChainFault { number: 2, kind: FaultKind::Broken });
        assert_eq!(verifier.length(), 1);
    }
}

#[test]
fn a_record_of_another_chain_is_found() {
    let other = NodeId::parse("node_b").unwrap();
    let moved = DataRecord::append(other, 1, Timestamp::from_secs(1), Digest::EMPTY, &[]);
    let fault = ChainVerifier::new().data(&node(), &moved, RowsAtHand::All(&[])).unwrap_err();
    assert_eq!(fault.kind, FaultKind::OtherChain);
}

proptest! {
    #[test]
    fn a_deleted_record_is_found_where_it_stood(length in 2_i64..12, at in any::<prop::sample::Index>()) {
        let mut chain = control(length);
        let gone = at.index(chain.len() - 1);
        chain.remove(gone);
        let number = i64::try_from(gone).unwrap() + 1;
        let kind = FaultKind::Missing { found: number + 1 };
        prop_assert_eq!(check(&chain), Err(ChainFault { number, kind }));
    }

    #[test]
    fn swapped_records_are_found_with_their_numbers_or_with_new_ones(
        length in 2_i64..12,
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
        renumber in any::<bool>(),
    ) {
        let mut chain = control(length);
        let (a, b) = (a.index(chain.len()), b.index(chain.len()));
        prop_assume!(a != b);
        chain.swap(a, b);
        if renumber {
            let (x, y) = (chain[a].number, chain[b].number);
            (chain[a].number, chain[b].number) = (y, x);
        }
        let fault = check(&chain).unwrap_err();
        prop_assert_eq!(fault.number, i64::try_from(a.min(b)).unwrap() + 1);
    }

    #[test]
    fn any_byte_of_a_record_that_is_changed_is_found(
        which in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        let mut chain = control(4);
        let at = which.index(chain.len());
        let mut json = serde_json::to_vec(&chain[at]).unwrap();
        let byte = byte.index(json.len());
        json[byte] ^= flip;
        // A record that can no longer be read is found by the store; one that reads equal was not changed.
        if let Ok(record) = serde_json::from_slice::<AuditRecord>(&json) && record != chain[at] {
            chain[at] = record;
            prop_assert_eq!(check(&chain).unwrap_err().number, i64::try_from(at).unwrap() + 1);
        }
    }

    #[test]
    fn any_byte_of_a_digest_that_is_changed_is_found(at in 0_usize..5, byte in 0_usize..32, flip in 1_u8..=255, head in any::<bool>()) {
        let mut chain = data(5);
        let record = &mut chain[at].0;
        if head { record.head.0[byte] ^= flip } else { record.leaf.0[byte] ^= flip }
        prop_assert_eq!(check_data(&chain).unwrap_err().number, i64::try_from(at).unwrap() + 1);
    }
}
