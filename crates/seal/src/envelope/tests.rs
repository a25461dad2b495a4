//! Whatever is changed or moved does not open.

use claviger_domain::clock::EntropyError;

use super::*;

/// Counts up, so that every nonce differs and every run is the same.
#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        for byte in out {
            *byte = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes()[0];
        }
        Ok(())
    }
}

struct Dry;

impl Entropy for Dry {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

const SECRET: &[u8] = b"sk-ant-api03-not-a-real-key";
const HERE: SealContext<'static> = SealContext { table: "credentials", column: "sealed", row: "cred_1" };

fn master(byte: u8) -> MasterKey {
    MasterKey::from_bytes(&[byte; 32]).unwrap()
}

fn data_key(version: u32) -> SealedSecret {
    Envelope::new_data_key(&master(1), version, Timestamp::default(), &Counting::default()).unwrap()
}

fn envelope(keys: Vec<SealedSecret>) -> Envelope {
    Envelope::open(&master(1), keys, Arc::new(Counting::default())).unwrap()
}

#[test]
fn what_was_sealed_opens_in_its_place_also_after_a_start() {
    let sealed = envelope(vec![data_key(1)]).seal(HERE, SECRET).unwrap();
    assert_eq!(sealed.len(), 6 + 12 + SECRET.len() + 16);
    assert!(!sealed.windows(8).any(|w| SECRET.windows(8).any(|s| s == w)));
    assert_eq!(envelope(vec![data_key(1)]).open(HERE, &sealed).unwrap().expose(), SECRET);
    let empty = envelope(vec![data_key(1)]).seal(HERE, b"").unwrap();
    assert!(envelope(vec![data_key(1)]).open(HERE, &empty).unwrap().expose().is_empty());
}

#[test]
fn each_flipped_bit_is_found() {
    let envelope = envelope(vec![data_key(1)]);
    let sealed = envelope.seal(HERE, SECRET).unwrap();
    for at in 0..sealed.len() * 8 {
        let mut forged = sealed.clone();
        forged[at / 8] ^= 1 << (at % 8);
        let wanted = match at / 8 {
            2..6 => SealError::UnknownDataKey(u32::from_be_bytes(forged[2..6].try_into().unwrap())),
            _ => SealError::CannotOpen,
        };
        assert_eq!(envelope.open(HERE, &forged).unwrap_err(), wanted, "bit {at}");
    }
}

#[test]
fn what_is_shorter_or_longer_does_not_open() {
    let envelope = envelope(vec![data_key(1)]);
    let sealed = envelope.seal(HERE, SECRET).unwrap();
    for length in 0..sealed.len() {
        assert_eq!(envelope.open(HERE, &sealed[..length]).unwrap_err(), SealError::CannotOpen, "{length}");
    }
    let longer = [sealed.as_slice(), &[0]].concat();
    assert_eq!(envelope.open(HERE, &longer).unwrap_err(), SealError::CannotOpen);
}

#[test]
fn a_value_that_was_moved_does_not_open() {
    let envelope = envelope(vec![data_key(1)]);
    let sealed = envelope.seal(HERE, SECRET).unwrap();
    let places = [
        SealContext { table: "secrets", ..HERE },
        SealContext { column: "hint", ..HERE },
        SealContext { row: "cred_2", ..HERE },
        SealContext { column: "sealedc", row: "red_1", ..HERE },
        SealContext { table: "credentialss", column: "ealed", ..HERE },
    ];
    for place in places {
        assert_eq!(envelope.open(place, &sealed).unwrap_err(), SealError::CannotOpen, "{place:?}");
    }
}

#[test]
fn a_value_does_not_open_under_another_data_key_of_the_same_version_or_a_relabelled_one() {
    let first = envelope(vec![data_key(1)]);
    let mut sealed = first.seal(HERE, SECRET).unwrap();
    let entropy = Counting(AtomicU64::new(77));
    let other = Envelope::new_data_key(&master(1), 1, Timestamp::default(), &entropy).unwrap();
    assert_eq!(envelope(vec![other.clone()]).open(HERE, &sealed).unwrap_err(), SealError::CannotOpen);
    let second = Envelope::new_data_key(&master(1), 2, Timestamp::default(), &entropy).unwrap();
    sealed[5] = 2;
    assert_eq!(envelope(vec![other, second]).open(HERE, &sealed).unwrap_err(), SealError::CannotOpen);
}

#[test]
fn the_newest_data_key_seals_and_older_ones_still_open() {
    let old = envelope(vec![data_key(1)]).seal(HERE, SECRET).unwrap();
    let both = envelope(vec![data_key(2), data_key(1)]);
    assert_eq!((both.current(), both.sealed_since_start()), (2, 0));
    let new = both.seal(HERE, SECRET).unwrap();
    assert_eq!(both.sealed_since_start(), 1);
    assert_eq!(new[..6], [1, 1, 0, 0, 0, 2]);
    for sealed in [&old, &new] {
        assert_eq!(both.open(HERE, sealed).unwrap().expose(), SECRET);
    }
    assert_eq!(envelope(vec![data_key(1)]).open(HERE, &new).unwrap_err(), SealError::UnknownDataKey(2));
}

#[test]
fn two_seals_of_one_value_differ() {
    let envelope = envelope(vec![data_key(1)]);
    assert_ne!(envelope.seal(HERE, SECRET).unwrap(), envelope.seal(HERE, SECRET).unwrap());
}

#[test]
fn another_master_key_is_told_apart_from_damage() {
    let open =
        |master: &MasterKey, keys| Envelope::open(master, keys, Arc::new(Dry)).map(|_| ()).unwrap_err();
    let wrong = OpenError::WrongMasterKey { expected: master(1).id(), given: master(2).id() };
    assert_eq!(open(&master(2), vec![data_key(1)]), wrong);
    for at in 0..data_key(1).sealed.len() {
        let mut key = data_key(1);
        key.sealed[at] ^= 1;
        match open(&master(1), vec![key]) {
            OpenError::WrongMasterKey { .. } => assert!((2..10).contains(&at)),
            OpenError::Damaged(version) => assert_eq!(version, 1),
            OpenError::NoDataKey => panic!("byte {at}"),
        }
    }
    let relabelled = SealedSecret { version: 2, ..data_key(1) };
    assert_eq!(open(&master(1), vec![relabelled]), OpenError::Damaged(2));
    let pepper = SealedSecret { name: "pepper".into(), ..data_key(1) };
    assert_eq!(open(&master(1), vec![pepper]), OpenError::NoDataKey);
}

#[test]
fn without_randomness_nothing_is_sealed() {
    let envelope = Envelope::open(&master(1), vec![data_key(1)], Arc::new(Dry)).unwrap();
    assert_eq!(envelope.seal(HERE, SECRET), Err(SealError::Entropy));
    let made = Envelope::new_data_key(&master(1), 1, Timestamp::default(), &Dry);
    assert_eq!(made.map(|_| ()), Err(SealError::Entropy));
}

#[test]
fn a_worn_out_data_key_seals_no_more_and_still_opens() {
    let envelope = envelope(vec![data_key(1)]);
    let sealed = envelope.seal(HERE, SECRET).unwrap();
    envelope.keys[&1].sealed.store(SEALS_PER_DATA_KEY, Ordering::Relaxed);
    assert_eq!(envelope.seal(HERE, SECRET), Err(SealError::WornOut(1)));
    assert_eq!(envelope.open(HERE, &sealed).unwrap().expose(), SECRET);
}

#[test]
fn debug_shows_no_secret() {
    let id = master(1).id();
    assert_eq!(format!("{:?}", master(1)), format!("MasterKey({id})"));
    assert_eq!(format!("{:?}", envelope(vec![data_key(1)])), "Envelope(data key 1)");
}
