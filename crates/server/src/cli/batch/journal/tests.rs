use std::{fs, future::Future, io::Write};

use futures_util::future::join_all;
use proptest::prelude::*;

use super::{
    super::{
        files::Files,
        record::{Ended, Record},
    },
    *,
};

fn line(custom_id: &str, text: &str) -> Vec<u8> {
    let result = format!(r#"{{"type":"succeeded","message":{{"text":"{text}"}}}}"#);
    Record { custom_id, request: "00", result, cost: 7, how: json!({}) }.line()
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn answers_are_there_in_the_next_life_and_the_run_keeps_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (journal, held) = Journal::open(&path, "first", 4).unwrap();
    assert_eq!((held.run.as_str(), held.life, held.answers.len()), ("first", 1, 0));
    let wrote = [line("a", "one"), line("b", "two")];
    let places: Vec<Place> = now(async {
        join_all(wrote.iter().map(|line| journal.append(line.clone())))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect()
    });
    assert_eq!(places.iter().map(|p| p.read(journal.file()).unwrap()).collect::<Vec<_>>(), wrote);
    drop(journal);
    let (journal, held) = Journal::open(&path, "second", 4).unwrap();
    assert_eq!((held.run.as_str(), held.life, held.unreadable), ("first", 2, 0));
    let known = &held.answers["b"];
    assert_eq!((known.0.ended, known.0.cost, known.1), (Ended::Succeeded, 7, places[1]));
    let more = now(journal.append_all(&[line("c", "three"), line("a", "four")])).unwrap();
    assert_eq!(more[1].read(journal.file()).unwrap(), line("a", "four"));
    drop(journal);
    let (journal, held) = Journal::open(&path, "third", 4).unwrap();
    // Of two answers to one request the later one counts.
    assert_eq!((held.life, held.answers["a"].1), (3, more[1]));
    journal.remove().unwrap();
    assert!(!path.exists());
}

#[test]
fn nobody_else_writes_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path, "a", 1).unwrap();
    assert!(matches!(Journal::open(&path, "b", 1), Err(JournalError::Busy(_))));
    drop(journal);
    assert_eq!(Journal::open(&path, "b", 1).unwrap().1.run, "a");
}

#[test]
fn files_of_something_else_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    for text in ["notes\n", "{}\n", "{\"life\":1}\n"] {
        fs::write(&path, text).unwrap();
        assert!(matches!(Journal::open(&path, "a", 1), Err(JournalError::Foreign(_))), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::write(&path, "{\"claviger_batch\":{\"version\":2,\"run\":\"x\"}}\n").unwrap();
    assert!(matches!(Journal::open(&path, "a", 1), Err(JournalError::Newer(_))));
    let output = folder.path().join("out.jsonl");
    for text in ["notes\n".to_owned(), format!("{}x", String::from_utf8(line("a", "")).unwrap())] {
        fs::write(&output, &text).unwrap();
        assert!(matches!(Files::open(&output, "a", 1), Err(JournalError::Foreign(_))), "{text}");
        assert_eq!(fs::read_to_string(&output).unwrap(), text);
        assert!(!folder.path().join("out.jsonl.journal").exists());
    }
}

#[test]
fn a_line_that_says_nothing_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    drop(Journal::open(&path, "a", 1).unwrap());
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"\0\0\0\0\n{\"portion\":{\"over\":{\"number\":9}}}\n").unwrap();
    file.write_all(&line("a", "one")).unwrap();
    let (held, whole) = read(&path, &File::open(&path).unwrap()).unwrap();
    assert_eq!(held.unreadable, 2);
    assert!(held.answers.contains_key("a"));
    assert_eq!(whole, fs::metadata(&path).unwrap().len());
}

#[test]
fn portions_are_known_as_far_as_they_came() {
    let mut known = Portions::default();
    let portion = |number| Portion {
        number,
        requests: vec![("a".to_owned(), "00".to_owned())],
        begun: claviger_domain::clock::Timestamp::parse_rfc3339("2026-11-22T12:00:00Z").unwrap(),
        state: State::Sent,
    };
    assert_eq!(known.next(), 1);
    known.learn(portions::sending(&portion(1))).unwrap();
    known.learn(portions::sending(&portion(2))).unwrap();
    assert_eq!(known.open().cloned().collect::<Vec<_>>(), [portion(1), portion(2)]);
    known.learn(portions::created(1, "msgbatch_a", true)).unwrap();
    assert!(known.knows("msgbatch_a") && !known.knows("msgbatch_b"));
    known.learn(portions::strange(1, "msgbatch_a")).unwrap();
    assert_eq!(known.open().next(), Some(&portion(1)));
    assert!(known.knows("msgbatch_a"));
    known.learn(portions::over(2)).unwrap();
    assert_eq!((known.open().count(), known.next()), (1, 3));
    assert_eq!(known.learn(portions::over(7)), None);
}

#[test]
fn the_output_has_the_order_that_is_asked_for_and_takes_the_journal_s_place() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.jsonl");
    fs::write(&output, line("old", "0")).unwrap();
    let (files, found) = Files::open(&output, "run", 4).unwrap();
    let old = found.output["old"].1;
    let places = now(files.journal().append_all(&[line("b", "2"), line("a", "1")])).unwrap();
    files.finish(&[places[1], old, places[0]]).unwrap();
    let text = fs::read_to_string(&output).unwrap();
    let ids: Vec<String> = text.lines().map(|l| Known::read(l.as_bytes()).unwrap().custom_id).collect();
    assert_eq!(ids, ["a", "old", "b"]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["out.jsonl"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Wherever the file breaks off, every line before that is there, and what is appended then can be read.
    #[test]
    fn a_torn_end_costs_the_torn_line_only(cut in 0.0_f64..1.0) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (journal, _) = Journal::open(&path, "run", 4).unwrap();
        let before = fs::metadata(&path).unwrap().len();
        let lines: Vec<Vec<u8>> = (0..5).map(|n| line(&format!("id-{n}"), "text")).collect();
        now(journal.append_all(&lines)).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let room = whole.len() as u64 - before;
        let end = before + (room as f64 * cut) as u64;
        // Another file: the writer may hold the first one's lock for a moment longer.
        let path = folder.path().join("copy");
        fs::write(&path, &whole[..usize::try_from(end).unwrap()]).unwrap();
        let there = whole[..usize::try_from(end).unwrap()].iter().filter(|b| **b == b'\n').count() - 2;
        let (journal, held) = Journal::open(&path, "other", 4).unwrap();
        prop_assert_eq!((held.run.as_str(), held.answers.len(), held.unreadable), ("run", there, 0));
        now(journal.append(line("new", "text"))).unwrap();
        let (held, _) = read(&path, journal.file()).unwrap();
        prop_assert_eq!((held.answers.len(), held.unreadable), (there + 1, 0));
    }
}
