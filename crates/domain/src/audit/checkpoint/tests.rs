//! What a checkpoint that was kept outside proves.

use proptest::prelude::*;

use super::*;

fn key() -> CheckpointKey {
    CheckpointKey::from_seed(&[7; 32]).unwrap()
}

fn head(chain: &str, length: i64, byte: u8) -> CheckpointHead {
    CheckpointHead { chain: chain.into(), length, head: Digest([byte; 32]) }
}

fn heads() -> Vec<CheckpointHead> {
    vec![head("node_b", 2, 2), head(CONTROL_CHAIN, 9, 1), head("node_a", 0, 0)]
}

fn signed() -> Checkpoint {
    Checkpoint::sign(&key(), None, Timestamp::from_secs(1_700_000_000), heads())
}

/// RFC 8032, section 7.1, test 2.
#[test]
fn signatures_are_those_of_rfc_8032() {
    let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
    let key = CheckpointKey::from_seed(&seed).unwrap();
    let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    assert_eq!(key.public().to_hex(), public);
    assert_eq!(
        hex::encode(key.sign(&[0x72])),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    );
    assert!(CheckpointKey::from_seed(&[1; 31]).is_none());
    assert!(PublicKey::parse(&public.to_uppercase()).is_err());
    assert_eq!(PublicKey::parse(public).unwrap(), key.public());
}

#[test]
fn the_signed_text_is_frozen() {
    insta::assert_snapshot!(signed().signed_text(), @r"
    claviger/checkpoint/v1
    number 1
    at 1700000000000000
    heads 3
    root 38b418c4b73f2d0213f3aa69ba484df4a3b8df9f9c92720176711de8e3f90d16
    previous 0000000000000000000000000000000000000000000000000000000000000000
    key ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c
    ");
}

#[test]
fn a_signed_checkpoint_verifies_with_its_key_and_no_other() {
    let checkpoint = signed();
    assert_eq!(
        checkpoint.heads.iter().map(|h| h.chain.as_str()).collect::<Vec<_>>(),
        ["control", "node_a", "node_b"]
    );
    checkpoint.verify(&key().public()).unwrap();
    let other = CheckpointKey::from_seed(&[8; 32]).unwrap().public();
    assert_eq!(checkpoint.verify(&other), Err(CheckpointError::OtherKey));
    let renamed = Checkpoint { public_key: other.to_hex(), ..checkpoint };
    assert_eq!(renamed.verify(&other), Err(CheckpointError::Signature));
}

#[test]
fn every_changed_field_is_found() {
    type Edit = fn(&mut Checkpoint);
    let edits: [(Edit, CheckpointError); 11] = [
        (|c| c.number += 1, CheckpointError::Signature),
        (|c| c.at = c.at.plus_micros(1), CheckpointError::Signature),
        (|c| c.heads[0].length += 1, CheckpointError::Root),
        (|c| c.heads[0].head.0[5] ^= 1, CheckpointError::Root),
        (|c| c.heads[2].chain.push('x'), CheckpointError::Root),
        (|c| drop(c.heads.pop()), CheckpointError::Root),
        (|c| c.heads.swap(0, 1), CheckpointError::Order),
        (|c| c.root.0[0] ^= 1, CheckpointError::Root),
        (|c| c.previous.0[0] ^= 1, CheckpointError::Signature),
        (|c| c.public_key.make_ascii_uppercase(), CheckpointError::OtherKey),
        (|c| c.signature.make_ascii_uppercase(), CheckpointError::Signature),
    ];
    for (n, (edit, error)) in edits.into_iter().enumerate() {
        let mut checkpoint = signed();
        edit(&mut checkpoint);
        assert_eq!(checkpoint.verify(&key().public()), Err(error), "edit {n}");
    }
}

#[test]
fn heads_with_a_remade_root_fail_at_the_signature() {
    let mut forged = signed();
    forged.heads[0].length -= 1;
    forged.root = root_of(&forged.heads);
    assert_eq!(forged.verify(&key().public()), Err(CheckpointError::Signature));
}

#[test]
fn checkpoints_are_a_chain() {
    let first = signed();
    let second = Checkpoint::sign(&key(), Some(&first), first.at.plus_micros(1), heads());
    assert_eq!((first.follows(None), second.follows(Some(&first))), (Ok(()), Ok(())));
    assert_eq!(second.follows(None), Err(CheckpointError::Sequence));
    let other = Checkpoint::sign(&key(), None, first.at.plus_micros(5), heads());
    assert_eq!(second.follows(Some(&other)), Err(CheckpointError::Sequence));
}

#[test]
fn a_checkpoint_goes_through_json_unchanged() {
    let json = serde_json::to_string(&signed()).unwrap();
    let read: Checkpoint = serde_json::from_str(&json).unwrap();
    assert_eq!(read, signed());
    read.verify(&key().public()).unwrap();
}

#[test]
fn chains_that_grew_are_covered_and_shorter_or_other_ones_are_not() {
    let then = signed();
    let mut now = vec![head("control", 12, 5), head("node_b", 2, 2), head("node_c", 4, 4)];
    assert_eq!((then.covers(&now), then.unproven(&now)), (Ok(()), 3 + 4));
    now[1].head.0[0] ^= 1;
    assert_eq!(then.covers(&now), Err(AgainstFault::Differs { chain: "node_b".into(), number: 2 }));
    now[1].length = 1;
    let cut = AgainstFault::Cut { chain: "node_b".into(), expected: 2, found: 1 };
    assert_eq!(then.covers(&now), Err(cut));
    now.remove(0);
    let gone = AgainstFault::Cut { chain: "control".into(), expected: 9, found: 0 };
    assert_eq!(then.covers(&now), Err(gone));
}

/// Observes chains of these lengths whose head at a record is the record's number, but for `forged`.
fn replay(then: &Checkpoint, lengths: [i64; 2], forged: Option<i64>) -> Result<(), AgainstFault> {
    let mut against = Against::new(then);
    for (chain, length) in [CONTROL_CHAIN, "node_a"].into_iter().zip(lengths) {
        for number in 1..=length {
            let byte = if forged == Some(number) { 255 } else { u8::try_from(number).unwrap() };
            against.observe(chain, number, Digest([byte; 32]))?;
        }
    }
    against.finish()
}

#[test]
fn a_chain_rewritten_before_the_signed_point_is_found() {
    let then = Checkpoint::sign(&key(), None, Timestamp::default(), vec![head(CONTROL_CHAIN, 5, 5)]);
    let differs = AgainstFault::Differs { chain: CONTROL_CHAIN.into(), number: 5 };
    assert_eq!(replay(&then, [9, 9], Some(5)), Err(differs));
    assert_eq!(replay(&then, [9, 0], None), Ok(()));
}

proptest! {
    #[test]
    fn a_cut_tail_is_found_by_how_much_is_gone(signed in 1_i64..40, now in 0_i64..60, other in 0_i64..5) {
        let byte = u8::try_from(signed).unwrap();
        let then = Checkpoint::sign(&key(), None, Timestamp::default(), vec![head(CONTROL_CHAIN, signed, byte)]);
        let expected = if now >= signed {
            Ok(())
        } else {
            Err(AgainstFault::Cut { chain: CONTROL_CHAIN.into(), expected: signed, found: now })
        };
        prop_assert_eq!(replay(&then, [now, other], None), expected);
    }
}
