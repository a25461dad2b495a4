//! Families under clients that ask twice, lose answers, steal and wait, and a server that dies in between.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn family() -> Family {
    let new = Beginning {
        id: TokenFamilyId::parse("fam_a").unwrap(),
        key: KeyId::parse("key_0123456789").unwrap(),
        workspace: WorkspaceId::parse("ws_a").unwrap(),
        scopes: Scopes::ALL,
        confirmation: Confirmation::default(),
        key_expires_at: None,
    };
    Family::begin(new, NOW)
}

fn place(n: u8) -> Digest {
    Digest([n; 32])
}

fn rotated(family: &Family, generation: u32, at: Timestamp) -> Family {
    match family.show(generation, place(1), at).unwrap() {
        Turn::Rotate(next) => *next,
        other @ (Turn::Again(..) | Turn::Reused(_)) => panic!("{other:?}"),
    }
}

#[test]
fn each_token_works_once() {
    let second = rotated(&family(), 1, NOW);
    assert_eq!(second.generation, 2);
    let third = rotated(&second, 2, NOW);
    assert!(
        matches!(third.show(1, place(1), NOW).unwrap(), Turn::Reused(_)),
        "two back is never a lost answer"
    );
    let ended = third.end(EndReason::Reused, NOW);
    assert_eq!(ended.show(3, place(1), NOW), Err(RefreshError::Ended(EndReason::Reused)));
}

#[test]
fn a_lost_answer_is_given_again_once_in_time_and_from_the_same_place() {
    let mut second = rotated(&family(), 1, NOW);
    second.replay.as_mut().unwrap().sealed = vec![7];
    let last = NOW.plus_micros(REPLAY_US - 1);
    let Turn::Again(after, answer) = second.show(1, place(1), last).unwrap() else { panic!() };
    assert_eq!((answer, after.generation), (vec![7], 2));
    assert!(matches!(after.show(1, place(1), last).unwrap(), Turn::Reused(_)), "twice");
    assert!(matches!(second.show(1, place(2), NOW).unwrap(), Turn::Reused(_)), "elsewhere");
    assert!(matches!(second.show(1, place(1), NOW.plus_micros(REPLAY_US)).unwrap(), Turn::Reused(_)), "late");
}

#[test]
fn a_family_ends_when_it_lies_idle_and_in_the_end_whatever_happens() {
    let idle = NOW.plus_micros(IDLE_US);
    assert!(family().show(1, place(1), idle.plus_micros(-1)).is_ok());
    assert_eq!(family().show(1, place(1), idle), Err(RefreshError::Expired));
    let mut used = family();
    let mut now = NOW;
    while now.plus_micros(IDLE_US - 1) < used.expires_at {
        now = now.plus_micros(IDLE_US - 1);
        used = rotated(&used, used.generation, now);
    }
    assert_eq!(used.expires_at, NOW.plus_micros(LIFETIME_US));
    assert_eq!(used.show(used.generation, place(1), used.expires_at), Err(RefreshError::Expired));
    let short = Family::begin(
        Beginning {
            id: used.id.clone(),
            key: used.key.clone(),
            workspace: used.workspace.clone(),
            scopes: used.scopes,
            confirmation: Confirmation::default(),
            key_expires_at: Some(NOW.plus_micros(5)),
        },
        NOW,
    );
    assert_eq!(short.expires_at, NOW.plus_micros(5), "never beyond the key");
}

#[test]
fn a_family_has_so_many_tokens_and_no_more() {
    let last = Family { generation: MAX_GENERATIONS, ..family() };
    assert_eq!(last.show(MAX_GENERATIONS, place(1), NOW), Err(RefreshError::UsedUp));
}

/// What one actor does next.
#[derive(Debug, Clone)]
enum Deed {
    /// Reads the family and decides, showing this one of the tokens that it has.
    Decide { actor: usize, which: prop::sample::Index },
    /// Commits what it decided; the answer arrives, or is lost.
    Commit { actor: usize, arrives: bool },
    /// The server dies before it commits what was decided.
    Die,
    /// Somebody copies all tokens of somebody else.
    Steal { from: usize, by: usize },
    /// Time goes by.
    Wait(u32),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        5 => (0..3_usize, any::<prop::sample::Index>()).prop_map(|(actor, which)| Deed::Decide { actor, which }),
        5 => (0..3_usize, any::<bool>()).prop_map(|(actor, arrives)| Deed::Commit { actor, arrives }),
        1 => Just(Deed::Die),
        1 => (0..3_usize, 0..3_usize).prop_map(|(from, by)| Deed::Steal { from, by }),
        2 => (0..15_u32).prop_map(Deed::Wait),
    ]
}

/// A store that compares versions, and three clients. A token is its number and the name it was given when it was made:
/// two successors of one token would have two names.
struct World {
    family: Family,
    /// The name of each generation's token, by which it would be found.
    names: Vec<u64>,
    made: u64,
    actors: [Actor; 3],
    now: Timestamp,
}

#[derive(Default)]
struct Actor {
    has: Vec<(u32, u64)>,
    decided: Option<(Turn, (u32, u64))>,
}

impl World {
    fn new() -> Self {
        let mut actors: [Actor; 3] = Default::default();
        actors[0].has.push((1, 0));
        Self { family: family(), names: vec![0], made: 0, actors, now: NOW }
    }

    fn decide(&mut self, actor: usize, which: prop::sample::Index) -> Result<(), TestCaseError> {
        let has = &self.actors[actor].has;
        if has.is_empty() {
            return Ok(());
        }
        let (generation, name) = *which.get(has);
        prop_assert_eq!(self.names[generation as usize - 1], name, "only tokens that were made are shown");
        let place = place(u8::try_from(actor).unwrap());
        if let Ok(turn) = self.family.show(generation, place, self.now) {
            self.actors[actor].decided = Some((turn, (generation, name)));
        }
        Ok(())
    }

    fn commit(&mut self, actor: usize, arrives: bool) -> Result<(), TestCaseError> {
        let Some((turn, shown)) = self.actors[actor].decided.take() else { return Ok(()) };
        let (next, answer) = match turn {
            Turn::Rotate(mut next) => {
                self.made += 1;
                let name = self.made;
                next.replay.as_mut().unwrap().sealed = name.to_be_bytes().to_vec();
                (next, Some(name))
            }
            Turn::Again(next, sealed) => (next, Some(u64::from_be_bytes(sealed.try_into().unwrap()))),
            Turn::Reused(next) => (next, None),
        };
        if next.version != self.family.version {
            return Ok(());
        }
        let was = std::mem::replace(&mut self.family, Family { version: next.version + 1, ..*next });
        if let Some(name) = answer {
            if self.family.generation as usize > self.names.len() {
                self.names.push(name);
            }
            prop_assert_eq!(self.names.len(), self.family.generation as usize);
            prop_assert_eq!(
                self.names[self.family.generation as usize - 1],
                name,
                "one successor, however often it is told"
            );
            if arrives {
                self.actors[actor].has.push((self.family.generation, name));
            }
        } else {
            prop_assert!(shown.0 < was.generation, "only a spent token ends a family");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn there_are_never_two_live_successors_and_reuse_always_ends_the_family(deeds in prop::collection::vec(deed(), 1..80)) {
        let mut world = World::new();
        for deed in deeds {
            let ended = world.family.ended.is_some();
            match deed {
                Deed::Decide { actor, which } => world.decide(actor, which)?,
                Deed::Commit { actor, arrives } => world.commit(actor, arrives)?,
                Deed::Die => world.actors.iter_mut().for_each(|actor| actor.decided = None),
                Deed::Steal { from, by } => {
                    let loot = world.actors[from].has.clone();
                    world.actors[by].has.extend(loot);
                }
                Deed::Wait(secs) => world.now = world.now.plus_micros(i64::from(secs) * MICROS_PER_SEC),
            }
            // Of all tokens that anybody has, the store takes one at most; and none of an ended family, for ever.
            let tokens = world.actors.iter().flat_map(|a| a.has.iter().copied());
            let live: std::collections::HashSet<_> = tokens
                .filter(|(g, _)| matches!(world.family.show(*g, place(9), world.now), Ok(Turn::Rotate(_))))
                .collect();
            prop_assert!(live.len() <= 1);
            prop_assert!(!ended || (world.family.ended.is_some() && live.is_empty()));
        }
        // Whoever shows a spent token from anywhere else now ends it.
        if world.family.ended.is_none() && world.family.generation > 1 && world.family.is_live(world.now) {
            let turn = world.family.show(world.family.generation - 1, place(9), world.now).unwrap();
            prop_assert!(matches!(turn, Turn::Reused(_)));
        }
    }
}
