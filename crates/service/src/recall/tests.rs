use std::time::Duration;

use claviger_domain::{recall::Facts, token::KeyClass};
use claviger_testkit::ManualClock;

use super::*;

const MEMORY: u64 = 1 << 20;

struct Room {
    clock: ManualClock,
    recall: Recall,
}

impl Room {
    fn new() -> Self {
        Self::of(MEMORY)
    }

    fn of(memory: u64) -> Self {
        let clock = ManualClock::default();
        Self { recall: Recall::new(memory, Arc::new(clock.clone())), clock }
    }

    fn lead(&self, asking: &Asking) -> Lead {
        match self.recall.ask(asking) {
            Asked::Lead(lead) => lead,
            Asked::Hit(_) | Asked::Follow(_) => panic!("somebody else was there before"),
        }
    }

    fn follow(&self, asking: &Asking) -> Follow {
        match self.recall.ask(asking) {
            Asked::Follow(follow) => follow,
            Asked::Hit(_) | Asked::Lead(_) => panic!("nobody makes the answer"),
        }
    }

    fn hit(&self, asking: &Asking) -> Option<Arc<Answer>> {
        match self.recall.ask(asking) {
            Asked::Hit(answer) => Some(answer),
            Asked::Lead(_) | Asked::Follow(_) => None,
        }
    }

    /// Asks and answers with so many bytes.
    fn fill(&self, asking: &Asking, bytes: usize) {
        answer(self.lead(asking), &vec![b'x'; bytes]);
    }
}

fn answer(lead: Lead, body: &[u8]) {
    let mut recording =
        Recording::begin(lead, vec![("content-type".to_owned(), Bytes::from_static(b"text/x"))]);
    for piece in body.chunks(4_096) {
        recording.take(piece);
    }
    recording.keep(kept());
}

fn kept() -> Kept {
    let call = RequestId::parse("req_0123456789abcdefghijklmn").unwrap();
    Kept { call, model: "m".to_owned(), cost: PicoUsd::ZERO }
}

fn asking(workspace: &str, n: u64) -> Asking {
    let workspace = WorkspaceId::parse(workspace).unwrap();
    let mut body = [0; 32];
    body[..8].copy_from_slice(&n.to_be_bytes());
    let question = Question::of(Facts {
        workspace: &workspace,
        class: KeyClass::Live,
        credential: None,
        target: "/v1/messages",
        betas: Vec::new(),
        headers: Vec::new(),
        body,
    });
    Asking { question, workspace, ttl: CacheTtl::from_secs(60).unwrap(), max_age_secs: None }
}

#[test]
fn an_answer_is_given_until_its_time_is_up_on_either_side() {
    let room = Room::new();
    let asks = asking("ws_a", 1);
    answer(room.lead(&asks), b"words");
    let hit = room.hit(&asks).unwrap();
    assert_eq!((&hit.body[..], hit.model.as_str()), (&b"words"[..], "m"));
    room.clock.advance(Duration::from_secs(20));
    let impatient = Asking { ttl: CacheTtl::from_secs(20).unwrap(), ..asks.clone() };
    assert!(room.hit(&impatient).is_none(), "a key with a shorter time is not given it");
    assert!(room.hit(&Asking { max_age_secs: Some(20), ..asks.clone() }).is_none());
    assert_eq!(
        room.hit(&Asking { max_age_secs: Some(21), ..asks.clone() }).unwrap().age_secs(&room.clock),
        20
    );
    room.clock.advance(Duration::from_micros(39_999_999));
    assert!(room.hit(&asks).is_some());
    room.clock.advance(Duration::from_micros(1));
    let patient = Asking { ttl: CacheTtl::from_secs(3_600).unwrap(), ..asks };
    assert!(room.hit(&patient).is_none(), "nor a key with a longer one than that of the key that made it");
    assert_eq!(room.recall.stats().answers, 0);
}

#[test]
fn setting_the_wall_clock_back_keeps_no_answer_longer() {
    let room = Room::new();
    let asks = asking("ws_a", 1);
    answer(room.lead(&asks), b"words");
    room.clock.advance(Duration::from_secs(61));
    room.clock.set_wall(claviger_domain::clock::Timestamp::from_secs(0));
    assert!(room.hit(&asks).is_none());
}

#[test]
fn what_is_too_old_for_everybody_is_swept_away() {
    let room = Room::new();
    answer(room.lead(&asking("ws_a", 1)), b"old");
    room.clock.advance(Duration::from_secs(50));
    answer(room.lead(&asking("ws_a", 2)), b"new");
    room.clock.advance(Duration::from_secs(10));
    room.recall.sweep();
    assert_eq!(room.recall.stats().answers, 1);
}

#[test]
fn workspaces_never_meet() {
    let room = Room::new();
    answer(room.lead(&asking("ws_a", 1)), b"words");
    assert!(room.hit(&asking("ws_b", 1)).is_none());
    // Not even if two of their questions had one digest.
    let forged = Asking { workspace: WorkspaceId::parse("ws_b").unwrap(), ..asking("ws_a", 1) };
    assert!(room.hit(&forged).is_none());
    assert!(room.hit(&asking("ws_a", 1)).is_some());
}

#[tokio::test]
async fn those_who_ask_meanwhile_are_given_the_one_answer() {
    let room = Room::new();
    let asks = asking("ws_a", 1);
    let lead = room.lead(&asks);
    let followers: Vec<Follow> = (0..100).map(|_| room.follow(&asks)).collect();
    assert_eq!(room.recall.stats().flights, 1);
    answer(lead, b"words");
    for follower in followers {
        match follower.ended().await {
            Ended::Kept(answer) => assert_eq!(&answer.body[..], b"words"),
            Ended::Unkept | Ended::Gone => panic!("the answer was there"),
        }
    }
    assert_eq!(room.recall.stats().flights, 0);
    assert!(room.hit(&asks).is_some());
}

#[tokio::test]
async fn when_the_leader_dies_the_next_in_line_leads_and_when_its_answer_is_not_kept_all_go() {
    let room = Room::new();
    let asks = asking("ws_a", 1);
    for began in [false, true] {
        let lead = room.lead(&asks);
        let follower = room.follow(&asks);
        if began {
            let mut recording = Recording::begin(lead, Vec::new());
            recording.take(b"half an ans");
            drop(recording);
        } else {
            drop(lead);
        }
        assert!(matches!(follower.ended().await, Ended::Gone));
        assert_eq!(room.recall.stats().flights, 0);
    }
    let lead = room.lead(&asks);
    let follower = room.follow(&asks);
    lead.unkept();
    assert!(matches!(follower.ended().await, Ended::Unkept));
    let recording = Recording::begin(room.lead(&asks), Vec::new());
    let follower = room.follow(&asks);
    recording.unkept();
    assert!(matches!(follower.ended().await, Ended::Unkept));
    assert!(room.hit(&asks).is_none());
}

#[tokio::test]
async fn an_answer_that_is_too_large_lets_those_who_wait_go_at_once() {
    let room = Room::new();
    let asks = asking("ws_a", 1);
    let mut recording = Recording::begin(room.lead(&asks), Vec::new());
    let follower = room.follow(&asks);
    let largest = room.recall.0.keeping.largest();
    recording.take(&vec![0; largest + 1]);
    assert!(matches!(follower.ended().await, Ended::Unkept));
    recording.take(b"more");
    recording.keep(kept());
    assert!(room.hit(&asks).is_none());
    assert_eq!(room.recall.0.recording.load(Ordering::Relaxed), 0);
}

#[test]
fn memory_is_bounded_with_answers_on_their_way() {
    let room = Room::new();
    for n in 0..2_000 {
        room.fill(&asking("ws_a", n), 3_000);
        let stats = room.recall.stats();
        assert!(stats.bytes <= MEMORY, "{stats:?}");
    }
    let stats = room.recall.stats();
    assert!(stats.evictions > 1_000 && stats.answers > 50, "{stats:?}");
    assert_eq!(stats.most_bytes, MEMORY);
    // A quarter is for those on their way; who finds no room there is not kept.
    let open: Vec<Recording> = (0..100_u64)
        .map(|n| {
            let mut recording = Recording::begin(room.lead(&asking("ws_b", n)), Vec::new());
            recording.take(&[0; 20_000]);
            recording
        })
        .collect();
    let taken = room.recall.0.recording.load(Ordering::Relaxed) as u64;
    assert!((MEMORY / 8..=MEMORY / 4).contains(&taken), "{taken}");
    drop(open);
    assert_eq!(room.recall.0.recording.load(Ordering::Relaxed), 0);
}

#[test]
fn a_flood_of_questions_that_are_asked_once_leaves_what_is_asked_often() {
    let room = Room::new();
    let often = asking("ws_a", 1_000_000);
    room.fill(&often, 1_000);
    for n in 0..3_000 {
        assert!(room.hit(&often).is_some(), "{n}");
        room.fill(&asking("ws_a", n), 3_000);
    }
}

#[test]
fn a_flush_takes_what_is_kept_and_what_is_being_made() {
    let room = Room::new();
    let (one, two) = (asking("ws_a", 1), asking("ws_b", 2));
    room.fill(&one, 10);
    room.fill(&two, 20);
    let under_way = room.lead(&asking("ws_a", 3));
    let ids = |shares: &[Share]| -> Vec<String> { shares.iter().map(|s| s.workspace.to_string()).collect() };
    assert_eq!(ids(&room.recall.shares()), ["ws_a", "ws_b"]);
    let gone = room.recall.flush(Some(&one.workspace));
    assert_eq!((ids(&gone), gone[0].answers), (vec!["ws_a".to_owned()], 1));
    assert!(room.hit(&one).is_none() && room.hit(&two).is_some());
    answer(under_way, b"made before, kept after");
    assert!(room.hit(&asking("ws_a", 3)).is_none());
    assert_eq!(room.recall.flush(None).len(), 1);
    assert_eq!(room.recall.stats().answers, 0);
    assert_eq!(room.recall.stats().bytes, 0);
}

#[test]
fn an_answer_made_anew_takes_the_place_of_the_old_one() {
    let room = Room::new();
    let asks = asking("ws_a", 1);
    answer(room.lead(&asks), b"old");
    answer(room.recall.anew(&asks), b"new");
    assert_eq!(&room.hit(&asks).unwrap().body[..], b"new");
    assert_eq!(room.recall.stats().answers, 1);
}

#[test]
fn pieces_say_when_they_came() {
    let room = Room::new();
    let asks = asking("ws_a", 1);
    let mut recording = Recording::begin(room.lead(&asks), Vec::new());
    recording.take(b"ab");
    room.clock.advance(Duration::from_millis(250));
    recording.take(b"c");
    recording.keep(kept());
    let pieces = room.hit(&asks).unwrap().pieces.clone();
    assert_eq!(*pieces, [Piece { end: 2, at_ms: 0 }, Piece { end: 3, at_ms: 250 }]);
}

#[test]
fn no_memory_is_no_cache() {
    assert!(!Room::of(0).recall.is_on() && Room::new().recall.is_on());
}
