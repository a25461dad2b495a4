use claviger_domain::{audit::Digest, clock::Timestamp};

use super::*;
use crate::fake::{intent, row};

fn group(number: i64) -> Group {
    Group {
        chain: chain(),
        number,
        at: Timestamp::from_secs(number),
        previous: Digest::EMPTY,
        intents: vec![intent(number as u64)],
        rows: vec![row(&intent(number as u64))],
        released: Vec::new(),
        resources: Vec::new(),
    }
}

fn chain() -> NodeId {
    NodeId::parse("node_1").unwrap()
}

fn filled(dir: &Path, groups: i64) -> Spool {
    let mut spool = Spool::new(dir.to_owned(), chain(), 1 << 20);
    for number in 1..=groups {
        spool.append(&group(number)).unwrap();
    }
    spool
}

fn numbers(dir: &Path) -> Vec<i64> {
    leftovers(dir).unwrap().into_iter().flat_map(|l| l.frames).map(|f| f.number).collect()
}

#[test]
fn a_file_that_is_cut_anywhere_gives_the_groups_before_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let _spool = filled(dir.path(), 3);
    let path = dir.path().join("node_1.spool");
    let whole = fs::read(&path).unwrap();
    let mut last = 0;
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let found = numbers(dir.path());
        assert!(found.iter().copied().eq(1..=found.len() as i64), "cut at {cut}");
        assert!(found.len() >= last && found.len() < 3);
        last = found.len();
    }
    assert_eq!(last, 2);
}

#[test]
fn a_damaged_group_and_what_follows_it_are_not_taken_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let _spool = filled(dir.path(), 2);
    let path = dir.path().join("node_1.spool");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(numbers(dir.path()), [1]);
}

#[test]
fn a_full_spool_refuses_and_stays_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(dir.path().to_owned(), chain(), 2_000);
    let mut fitted = 0;
    while spool.append(&group(fitted + 1)).is_ok() {
        fitted += 1;
    }
    assert!(fitted >= 1);
    assert_eq!(numbers(dir.path()).len() as i64, fitted);
    let taken = spool.oldest().unwrap().unwrap();
    assert_eq!(taken.number, 1);
    assert_eq!(
        taken
            .content
            .into_group(chain(), claviger_domain::ports::ChainHead { length: 0, head: Digest::EMPTY })
            .rows,
        group(1).rows
    );
    for _ in 0..fitted {
        spool.drained_one().unwrap();
    }
    assert!(spool.oldest().unwrap().is_none());
    assert_eq!(spool.waiting(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    spool.append(&group(9)).unwrap();
    assert_eq!(numbers(dir.path()), [9]);
}
