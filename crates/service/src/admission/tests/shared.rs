//! Limits that the keys of an owner and of a workspace share.

use claviger_domain::limit::{LimitSubject, Limits};

use super::*;

struct Team {
    house: House,
    lives: Vec<Arc<LiveGrant>>,
}

impl Team {
    /// Two keys of one owner in one workspace.
    async fn new(owner: LimitsPatch, workspace: LimitsPatch) -> Self {
        let house = House::new().await;
        let tenants = &house.services.tenants;
        let caller = Caller::system();
        let first = tenants.workspaces().await.unwrap().remove(0);
        let whose = tenants.owners().await.unwrap().remove(0);
        tenants.update_workspace(first.id.as_str(), (None, workspace), None, &caller).await.unwrap();
        tenants.update_owner(whose.id.as_str(), (None, owner), None, &caller).await.unwrap();
        let mut team = Self { house, lives: Vec::new() };
        for name in ["a", "b"] {
            team.key(name).await;
        }
        team
    }

    async fn key(&mut self, name: &str) {
        let limits = LimitsPatch { rpm: Some(None), rpd: Some(None), ..LimitsPatch::default() };
        let new = NewKey { name: name.to_owned(), limits, ..NewKey::default() };
        let (_, token, _) = self.house.services.keys.create(new, &Caller::system()).await.unwrap();
        self.lives.push(self.house.services.grants.verify(&token).await.unwrap());
    }

    fn admit(&self, key: usize) -> Result<Admitted, Exceeded> {
        self.house.services.admission.admit(&self.lives[key], Bucket::Work, self.house.clock.now())
    }
}

fn concurrency(n: u64) -> LimitsPatch {
    LimitsPatch { concurrency: Some(Some(n)), ..LimitsPatch::default() }
}

#[tokio::test]
async fn places_are_of_the_key_its_owner_and_its_workspace_or_of_none() {
    let team = Team::new(concurrency(2), concurrency(3)).await;
    let (a, b) = (team.admit(0).unwrap(), team.admit(1).unwrap());
    let refused = team.admit(0).unwrap_err();
    assert_eq!((refused.headroom.subject, refused.headroom.limit), (LimitSubject::Owner, 2));
    let in_flight = |team: &Team| {
        (
            team.lives[0].runtime.in_flight(),
            team.lives[0].owner_in_flight(),
            team.lives[0].workspace_in_flight(),
        )
    };
    assert_eq!(in_flight(&team), (1, 2, 2), "a refusal takes no place anywhere");
    drop((a, b));
    assert_eq!(in_flight(&team), (0, 0, 0));
}

#[tokio::test]
async fn requests_of_all_keys_count_together_and_the_limit_that_binds_is_named() {
    let per_day = |n| LimitsPatch { rpd: Some(Some(n)), ..LimitsPatch::default() };
    let team = Team::new(per_day(5), per_day(3)).await;
    for key in [0, 1, 0] {
        drop(team.admit(key).unwrap());
    }
    let refused = team.admit(1).unwrap_err().headroom;
    assert_eq!((refused.subject, refused.kind), (LimitSubject::Workspace, LimitKind::RequestsPerDay));
    let of_owner = team.lives[1].counters(team.house.clock.now());
    let left =
        of_owner.iter().find(|c| c.headroom.subject == LimitSubject::Owner).unwrap().headroom.remaining;
    assert_eq!(left, 2, "the refused one took nothing there");
}

#[tokio::test]
async fn a_limit_that_is_changed_holds_at_once_for_keys_that_are_known() {
    let mut team = Team::new(LimitsPatch::default(), LimitsPatch::default()).await;
    let _one = team.admit(0).unwrap();
    let owner = team.lives[0].grant.key.owner.clone();
    let tenants = &team.house.services.tenants;
    let changed = tenants.update_owner(owner.as_str(), (None, concurrency(1)), None, &Caller::system()).await;
    assert_eq!(changed.unwrap().limits, Limits { concurrency: Some(1), ..Limits::NONE });
    let again = team.house.services.grants.by_id(&team.lives[1].grant.key.id).await.unwrap();
    team.lives.push(again);
    let refused = team.admit(2).unwrap_err().headroom;
    assert_eq!(refused.subject, LimitSubject::Owner, "calls that began before the limit was set count");
}

#[tokio::test]
async fn a_limit_of_nothing_or_beyond_all_bounds_is_no_limit() {
    let house = House::new().await;
    let tenants = &house.services.tenants;
    for (limits, field) in [
        (LimitsPatch { itpd: Some(Some(0)), ..LimitsPatch::default() }, "itpd"),
        (LimitsPatch { rps: Some(Some(1 << 33)), ..LimitsPatch::default() }, "rps"),
        (LimitsPatch { tpd: Some(Some(1 << 41)), ..LimitsPatch::default() }, "tpd"),
    ] {
        let refused = tenants.create_owner("x", None, limits, &Caller::system()).await.unwrap_err();
        assert!(refused.to_string().contains(field), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_of_the_workspace_gets_it_when_another_key_leaves() {
    let team = Team::new(LimitsPatch::default(), concurrency(1)).await;
    let admission = team.house.services.admission.clone();
    let first = team.admit(0).unwrap();
    let mut second = Box::pin(admission.admit_wait(&team.lives[1], Bucket::Work));
    let mut third = Box::pin(admission.admit_wait(&team.lives[0], Bucket::Work));
    assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
    drop(first);
    assert!(team.admit(0).is_err(), "nobody overtakes those who wait");
    let second = (&mut second).now_or_never().unwrap().unwrap();
    drop(second);
    drop((&mut third).now_or_never().unwrap().unwrap());
    assert_eq!(team.lives[0].workspace_in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_lacks_two_places_waits_for_one_after_the_other() {
    let team = Team::new(concurrency(1), concurrency(1)).await;
    let admission = team.house.services.admission.clone();
    let first = team.admit(0).unwrap();
    let mut second = Box::pin(admission.admit_wait(&team.lives[1], Bucket::Work));
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    let second = (&mut second).now_or_never().unwrap().unwrap();
    let begun = Instant::now();
    let refused = admission.admit_wait(&team.lives[0], Bucket::Work).await.unwrap_err();
    assert_eq!((refused.headroom.kind, begun.elapsed()), (LimitKind::Concurrency, WAIT));
    drop(second);
}

/// Looking at limits counts nothing, and shows those of a key that was not used yet.
#[tokio::test]
async fn looking_at_limits_changes_none() {
    let mut team = Team::new(concurrency(2), LimitsPatch::default()).await;
    let grants = team.house.services.grants.clone();
    let (now, id) = (team.house.clock.now(), team.lives[0].grant.key.id.clone());
    let before = grants.look_at(&id).await.unwrap().counters(now);
    assert_eq!(grants.look_at(&id).await.unwrap().counters(now), before);
    assert!(before.iter().any(|c| c.headroom.subject == LimitSubject::Owner && c.headroom.remaining == 2));

    let limits = LimitsPatch { itpm: Some(Some(9)), ..LimitsPatch::default() };
    let new = NewKey { name: "unused".to_owned(), limits, ..NewKey::default() };
    let (unused, _, _) = team.house.services.keys.create(new, &Caller::system()).await.unwrap();
    let seen = grants.look_at(&unused.id).await.unwrap();
    let kinds: Vec<LimitKind> = seen.counters(now).iter().map(|c| c.headroom.kind).collect();
    assert!(kinds.contains(&LimitKind::InputTokensPerMinute), "{kinds:?}");
    assert!(grants.held(&unused.id).is_none(), "it takes no place in the table");
    team.lives.clear();
}
