//! A rotation, step by step and under random events: it never loses, doubles or revives a key.

use proptest::prelude::*;

use super::*;
use crate::{
    key::{
        KeyPolicy, Revocation,
        transition::{KeyVerb, decide as decide_key},
    },
    mac::{KeyMac, PepperVersion},
    token::{KeyClass, PublicId},
};

const START: Timestamp = Timestamp::from_secs(1_772_452_800);
const HOUR: i64 = MICROS_PER_HOUR;

fn key(id: &str, expires_in_days: Option<i64>) -> KeyRecord {
    let id = KeyId::parse(id).unwrap();
    KeyRecord {
        public_id: PublicId::of_key(&id).unwrap(),
        lineage: id.clone(),
        id,
        class: KeyClass::Live,
        name: "build".into(),
        owner: OwnerId::parse("own_a").unwrap(),
        workspace: WorkspaceId::parse("ws_a").unwrap(),
        mac: KeyMac::from_bytes([7; 32]),
        pepper_version: PepperVersion(1),
        hint: String::new(),
        state: KeyState::Active,
        policy: KeyPolicy::default(),
        created_at: START,
        not_before: None,
        expires_at: expires_in_days.map(|days| START.plus_micros(days * MICROS_PER_DAY)),
        revocation: None,
        rotated_from: None,
        parent: None,
        deprecation: None,
        version: 1,
    }
}

/// Both keys and their rotation, as the store would hold them, and what was observed.
#[derive(Debug, Clone)]
struct World {
    rotation: RotationRecord,
    old: KeyRecord,
    successor: KeyRecord,
    old_last_used: Option<Timestamp>,
    successor_used: bool,
    unwrapped: bool,
}

impl World {
    fn new() -> Self {
        let (old, successor) = (key("key_0000000001", Some(90)), key("key_0000000002", Some(180)));
        let rotation = RotationRecord {
            id: RotationId::parse("rot_a").unwrap(),
            old: old.id.clone(),
            successor: successor.id.clone(),
            owner: old.owner.clone(),
            workspace: old.workspace.clone(),
            reason: "age".into(),
            state: RotationState::Created,
            overlap_secs: overlap(&old, None, START).unwrap(),
            started_at: START,
            delivered_at: None,
            activated_at: None,
            retiring_at: None,
            ended_at: None,
            hold: None,
            extended_to: None,
            version: 1,
        };
        Self { rotation, old, successor, old_last_used: Some(START), successor_used: false, unwrapped: false }
    }

    fn decide(&self, now: Timestamp) -> Step {
        let seen = Observed {
            old: &self.old,
            successor: &self.successor,
            old_last_used: self.old_last_used,
            successor_used: self.successor_used,
            unwrapped: self.unwrapped,
        };
        decide(&self.rotation, &seen, now)
    }

    /// One turn of the runner: one step, one transaction.
    fn turn(&mut self, now: Timestamp) -> Step {
        let step = self.decide(now);
        if let Some(taken) = take(&self.rotation, &self.old, step, now) {
            self.keep(taken);
        }
        step
    }

    fn keep(&mut self, taken: Taken) {
        self.rotation = RotationRecord { version: self.rotation.version + 1, ..taken.rotation };
        self.old = taken.old.unwrap_or_else(|| self.old.clone());
        self.successor = taken.successor.unwrap_or_else(|| self.successor.clone());
    }

    fn works(key: &KeyRecord, now: Timestamp) -> bool {
        matches!(key.status(now), KeyStatus::Active | KeyStatus::Deprecated)
            && !key.is_refused_by_deprecation()
    }
}

fn at_hour(hour: i64) -> Timestamp {
    START.plus_micros(hour * HOUR)
}

#[test]
fn a_rotation_walks_from_delivery_to_the_old_keys_end() {
    let mut world = World::new();
    assert_eq!(world.turn(at_hour(0)), Step::Wait(world.rotation.deadline()));
    world.unwrapped = true;
    assert_eq!(world.turn(at_hour(1)), Step::Deliver);
    world.successor_used = true;
    assert_eq!(world.turn(at_hour(2)), Step::Activate);
    world.old_last_used = Some(at_hour(10));
    assert_eq!(world.turn(at_hour(11)), Step::Wait(at_hour(34)), "a quiet day after the last use");
    assert_eq!(world.turn(at_hour(34)), Step::Retire);
    assert_eq!(world.old.status(at_hour(34)), KeyStatus::Deprecated);
    for (hour, stage) in [
        (35, DeprecationStage::Limited),
        (58, DeprecationStage::FinalWarning),
        (82, DeprecationStage::Refused),
    ] {
        assert_eq!(world.turn(at_hour(hour)), Step::Rung(stage));
    }
    assert!(!World::works(&world.old, at_hour(83)));
    assert_eq!(world.turn(at_hour(106)), Step::Finish);
    assert_eq!(world.old.revocation.unwrap().reason, RevocationReason::Rotation);
    assert_eq!(world.rotation.state, RotationState::Finished);
    assert_eq!(world.turn(at_hour(10_000)), Step::Wait(Timestamp::MAX));
}

#[test]
fn the_overlap_ends_even_if_nobody_moves() {
    let mut world = World::new();
    let end = world.rotation.deadline();
    assert_eq!(end, at_hour(7 * 24));
    world.successor_used = true;
    assert_eq!(world.turn(at_hour(1)), Step::Activate);
    world.old_last_used = Some(end.plus_micros(-1));
    assert_eq!(world.turn(end.plus_micros(-1)), Step::Wait(end));
    assert_eq!(world.turn(end), Step::Retire);
}

#[test]
fn an_old_key_is_kept_until_its_own_expiry_while_nobody_has_the_successor() {
    let mut world = World::new();
    let (end, expiry) = (world.rotation.deadline(), at_hour(90 * 24));
    assert_eq!(world.turn(end), Step::Hold(HoldReason::Undelivered));
    assert_eq!(world.rotation.hold, Some(Hold { why: HoldReason::Undelivered, since: end }));
    assert_eq!(world.turn(end), Step::Wait(expiry), "told once");
    assert!(World::works(&world.old, at_hour(89 * 24)), "no rung was taken");
    assert_eq!(world.turn(expiry), Step::Close);
    assert_eq!((world.rotation.state, world.rotation.hold), (RotationState::Finished, None));
    assert!(World::works(&world.successor, expiry));
}

#[test]
fn who_adopts_the_successor_late_has_the_whole_overlap_from_then_on() {
    let mut world = World::new();
    let late = at_hour(20 * 24);
    world.turn(late);
    world.unwrapped = true;
    assert_eq!(world.turn(late), Step::Deliver);
    assert_eq!((world.rotation.hold, world.rotation.deadline()), (None, at_hour(27 * 24)));
    assert_eq!(world.turn(at_hour(27 * 24)), Step::Hold(HoldReason::Unused));
    world.successor_used = true;
    assert_eq!(world.turn(at_hour(86 * 24)), Step::Activate);
    assert_eq!(world.rotation.deadline(), at_hour(90 * 24), "not past the old key's own expiry");
}

#[test]
fn no_rung_is_taken_while_the_successor_is_suspended() {
    let mut world = World::new();
    world.successor_used = true;
    world.turn(at_hour(1));
    world.successor.state = KeyState::Suspended;
    assert_eq!(world.turn(at_hour(48)), Step::Hold(HoldReason::Suspended));
    world.successor.state = KeyState::Active;
    assert_eq!(world.turn(at_hour(49)), Step::Release);
    assert_eq!(world.turn(at_hour(49)), Step::Retire);
    world.successor.state = KeyState::Suspended;
    assert_eq!(world.turn(at_hour(49)), Step::Wait(at_hour(50)), "nothing is due");
    for hour in [50, 500] {
        world.turn(at_hour(hour));
        assert!(World::works(&world.old, at_hour(hour)));
    }
    world.successor.state = KeyState::Active;
    assert_eq!(world.turn(at_hour(500)), Step::Release);
    assert_eq!(world.turn(at_hour(500)), Step::Rung(DeprecationStage::Limited));
}

#[test]
fn a_successor_is_delivered_anew_until_it_is_used() {
    let mut world = World::new();
    let now = at_hour(8 * 24);
    world.turn(now);
    let check = |world: &World, used| check_redeliver(&world.rotation, &world.successor, used, now);
    assert_eq!(check(&world, false), Ok(()));
    assert_eq!(check(&world, true), Err(RotationError::InUse), "used, but not seen yet");
    world.rotation = redelivered(&world.rotation, &world.old, now);
    let is = (world.rotation.state, world.rotation.hold, world.rotation.deadline());
    assert_eq!(is, (RotationState::Created, None, at_hour(15 * 24)));
    world.successor_used = true;
    world.turn(now);
    let late = RotationError::TooLate { state: RotationState::Overlapping, what: "delivered anew" };
    assert_eq!(check(&world, true), Err(late));
    let mut dead = World::new();
    dead.successor.state = KeyState::Revoked;
    assert_eq!(check(&dead, false), Err(RotationError::SuccessorDead(KeyStatus::Revoked)));
    let mut closed = World::new();
    closed.old.state = KeyState::Revoked;
    closed.turn(now);
    assert_eq!(check(&closed, false), Ok(()), "its owner has no other key");
    assert_eq!(redelivered(&closed.rotation, &closed.old, now), closed.rotation, "ended is ended");
}

#[test]
fn a_rotation_is_not_cancelled_once_the_old_key_is_dead() {
    let mut world = World::new();
    world.old.state = KeyState::Revoked;
    let refused = check_cancel(&world.rotation, &world.old, at_hour(1));
    assert_eq!(refused, Err(RotationError::OldDead(KeyStatus::Revoked)));
}

#[test]
fn a_key_that_cannot_hand_over_is_refused_with_its_reason() {
    let old = |change: fn(&mut KeyRecord)| {
        let mut old = key("key_0000000001", Some(90));
        change(&mut old);
        overlap(&old, None, START)
    };
    let revoked = |reason| Some(Revocation { at: START, reason, immediate: true });
    assert_eq!(old(|_| ()), Ok(DEFAULT_OVERLAP_SECS));
    assert_eq!(old(|k| k.state = KeyState::Suspended), Err(RotationError::Suspended));
    assert_eq!(old(|k| k.expires_at = Some(START)), Err(RotationError::Dead(KeyStatus::Expired)));
    assert_eq!(old(|k| k.parent = Some(k.id.clone())), Err(RotationError::Child));
    let mut compromised = key("key_0000000001", None);
    compromised.revocation = revoked(RevocationReason::Compromised);
    compromised.state = KeyState::Revoked;
    assert_eq!(overlap(&compromised, None, START), Err(RotationError::Compromised));
    compromised.revocation = revoked(RevocationReason::UserRequest);
    assert_eq!(overlap(&compromised, None, START), Err(RotationError::Dead(KeyStatus::Revoked)));
}

#[test]
fn no_overlap_outlives_the_old_key() {
    let old = key("key_0000000001", Some(2));
    let two_days = 2 * 86_400;
    assert_eq!(overlap(&old, None, START), Ok(two_days));
    assert_eq!(overlap(&old, Some(two_days), START), Ok(two_days));
    let past = overlap(&old, Some(two_days + 1), START);
    assert_eq!(past, Err(RotationError::OverlapPastExpiry(two_days)));
    assert_eq!(overlap(&key("key_0000000001", None), Some(0), START), Err(RotationError::Overlap));
}

#[test]
fn a_successor_lives_as_long_as_its_predecessor_was_meant_to() {
    let now = at_hour(24 * 80);
    let expiry = successor_expiry(&key("key_0000000001", Some(90)), now);
    assert_eq!(expiry, Some(now.plus_micros(90 * MICROS_PER_DAY)));
    assert_eq!(successor_expiry(&key("key_0000000001", None), now), None);
}

#[test]
fn nothing_leads_back_to_a_compromised_key() {
    let mut world = World::new();
    world.successor_used = true;
    world.turn(at_hour(1));
    assert_eq!(check_rollback(&world.rotation, &world.old, at_hour(2)), Ok(()));
    let verb = KeyVerb::Revoke { reason: RevocationReason::Compromised, immediate: true };
    world.old = decide_key(&world.old, &verb, at_hour(2)).unwrap();
    let refused = check_rollback(&world.rotation, &world.old, at_hour(3));
    assert_eq!(refused, Err(RotationError::Compromised));
    assert_eq!(world.turn(at_hour(3)), Step::Close);
    assert!(World::works(&world.successor, at_hour(3)), "the successor stays");
}

#[test]
fn rolling_back_takes_the_old_key_off_the_ladder() {
    let mut world = World::new();
    world.successor_used = true;
    world.turn(at_hour(1));
    world.turn(at_hour(40));
    assert_eq!(world.old.status(at_hour(40)), KeyStatus::Deprecated);
    assert!(check_cancel(&world.rotation, &world.old, at_hour(40)).is_err());
    let taken = roll_back(&world.rotation, &world.old, &world.successor, at_hour(41));
    world.keep(taken);
    assert_eq!(world.old.status(at_hour(41)), KeyStatus::Active);
    assert!(!World::works(&world.successor, at_hour(41)));
    assert!(check_rollback(&world.rotation, &world.old, at_hour(42)).is_err());
}

#[derive(Debug, Clone)]
enum Happening {
    Turn,
    /// A runner decides, and dies before its transaction.
    Crash,
    /// Another runner writes what it decided on before something else happened: the row's version keeps it out.
    Overtaken,
    Redeliver,
    Unwrap,
    UseOld,
    UseSuccessor,
    Cancel,
    RollBack,
    RevokeOld(RevocationReason),
    RevokeSuccessor,
    Suspend,
    Resume,
    SuspendSuccessor,
    ResumeSuccessor,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => Just(Happening::Turn),
        2 => Just(Happening::Crash),
        2 => Just(Happening::Overtaken),
        1 => Just(Happening::Redeliver),
        2 => Just(Happening::Unwrap),
        3 => Just(Happening::UseOld),
        3 => Just(Happening::UseSuccessor),
        1 => Just(Happening::Cancel),
        1 => Just(Happening::RollBack),
        1 => prop_oneof![Just(RevocationReason::Compromised), Just(RevocationReason::UserRequest)]
            .prop_map(Happening::RevokeOld),
        1 => Just(Happening::RevokeSuccessor),
        1 => Just(Happening::Suspend),
        1 => Just(Happening::Resume),
        1 => Just(Happening::SuspendSuccessor),
        1 => Just(Happening::ResumeSuccessor),
    ]
}

impl World {
    fn happen(&mut self, what: &Happening, now: Timestamp) {
        let key_step = |key: &KeyRecord, verb: KeyVerb| decide_key(key, &verb, now).unwrap_or(key.clone());
        match what {
            Happening::Turn => {
                self.turn(now);
            }
            Happening::Crash => drop(take(&self.rotation, &self.old, self.decide(now), now)),
            Happening::Overtaken => {
                let stale = self.clone();
                self.turn(now);
                let late = take(&stale.rotation, &stale.old, stale.decide(now), now);
                // The store takes one write a version.
                if let Some(late) = late.filter(|late| late.rotation.version == self.rotation.version) {
                    self.keep(late);
                }
            }
            Happening::Redeliver => {
                let refused =
                    check_redeliver(&self.rotation, &self.successor, self.successor_used, now).is_err();
                if !refused {
                    self.rotation = redelivered(&self.rotation, &self.old, now);
                    self.rotation.version += 1;
                    self.unwrapped = false;
                }
            }
            Happening::Unwrap => self.unwrapped = true,
            Happening::UseOld if Self::works(&self.old, now) => self.old_last_used = Some(now),
            Happening::UseSuccessor if self.unwrapped && Self::works(&self.successor, now) => {
                self.successor_used = true;
            }
            Happening::UseOld | Happening::UseSuccessor => {}
            Happening::Cancel if check_cancel(&self.rotation, &self.old, now).is_ok() => {
                let taken = cancel(&self.rotation, &self.old, &self.successor, now);
                self.keep(taken);
            }
            Happening::RollBack if check_rollback(&self.rotation, &self.old, now).is_ok() => {
                let taken = roll_back(&self.rotation, &self.old, &self.successor, now);
                self.keep(taken);
            }
            Happening::Cancel | Happening::RollBack => {}
            Happening::RevokeOld(reason) => {
                self.old = key_step(&self.old, KeyVerb::Revoke { reason: *reason, immediate: true });
            }
            Happening::RevokeSuccessor => {
                let reason = RevocationReason::UserRequest;
                self.successor = key_step(&self.successor, KeyVerb::Revoke { reason, immediate: false });
            }
            Happening::Suspend => self.old = key_step(&self.old, KeyVerb::Suspend),
            Happening::Resume => self.old = key_step(&self.old, KeyVerb::Resume),
            Happening::SuspendSuccessor => self.successor = key_step(&self.successor, KeyVerb::Suspend),
            Happening::ResumeSuccessor => self.successor = key_step(&self.successor, KeyVerb::Resume),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_events_and_no_clock_lose_double_or_revive_a_key(
        events in proptest::collection::vec((happening(), -3_i64..30), 1..80),
    ) {
        let (mut world, mut hour) = (World::new(), 0);
        let (mut old_dead, mut successor_dead, mut touched, mut ended) = (false, false, false, false);
        for (what, hours) in events {
            hour = (hour + hours).max(0);
            let now = at_hour(hour);
            touched |= matches!(what, Happening::RevokeOld(_) | Happening::RevokeSuccessor);
            let before = world.clone();
            world.happen(&what, now);
            // Never by us that nothing works: what takes the old key away leaves a successor that somebody has.
            let ours = matches!(what, Happening::Turn | Happening::Overtaken | Happening::Crash);
            if ours && World::works(&before.old, now) && !World::works(&world.old, now) {
                prop_assert!(world.rotation.activated_at.is_some());
                prop_assert!(World::works(&world.successor, now));
            }
            let dead = |key: &KeyRecord| key.state == KeyState::Revoked;
            // Never revived.
            prop_assert!(dead(&world.old) || !old_dead);
            prop_assert!(dead(&world.successor) || !successor_dead);
            (old_dead, successor_dead) = (dead(&world.old), dead(&world.successor));
            // Never lost: unless someone else killed one, at least one of the two lives.
            prop_assert!(touched || !(old_dead && successor_dead));
            // Ended is ended, and then exactly one is left of the two.
            prop_assert!(!(ended && world.rotation.state.is_open()));
            ended = !world.rotation.state.is_open();
            if ended && !touched {
                prop_assert!(old_dead != successor_dead, "{:?}", world.rotation.state);
                prop_assert!(old_dead || world.old.deprecation.is_none());
            }
        }
    }

    #[test]
    fn a_rotation_left_alone_always_ends(start in 0_i64..1_000, used in any::<bool>(), step in 1_i64..200) {
        let mut world = World::new();
        world.unwrapped = used;
        world.successor_used = used;
        let mut hour = start;
        while world.rotation.state.is_open() && hour < 24 * 120 {
            while !matches!(world.turn(at_hour(hour)), Step::Wait(_)) {}
            hour += step;
        }
        prop_assert_eq!(world.rotation.state, RotationState::Finished);
        // While nobody had the successor the old key went on to its own expiry.
        prop_assert_eq!(world.old.state, if used { KeyState::Revoked } else { KeyState::Active });
        prop_assert_eq!(world.successor.state, KeyState::Active);
    }
}
