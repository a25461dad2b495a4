use proptest::prelude::*;

use super::*;

const POLICY: HealthPolicy = HealthPolicy {
    refusals: 3,
    failures: 5,
    refused_for: Duration::from_secs(60),
    failed_for: Duration::from_secs(5),
    limited_for: Duration::from_secs(1),
    at_most: Duration::from_secs(900),
    trial: Duration::from_secs(30),
};

fn at(secs: u64) -> BootInstant {
    BootInstant::from_micros(secs * 1_000_000)
}

fn after(signals: &[Signal], now: BootInstant) -> Circuit {
    signals.iter().fold(Circuit::default(), |circuit, signal| circuit.step(*signal, now, &POLICY))
}

fn open_until(circuit: Circuit) -> (Cause, u64) {
    let Circuit::Open { cause, until_ms, .. } = circuit else { panic!("{circuit:?}") };
    (cause, until_ms / 1_000)
}

const LIMITED: Signal = Signal::Limited { retry_after: None };

#[test]
fn three_refusals_in_a_row_open_and_a_success_between_starts_over() {
    let almost = [Signal::Refused, Signal::Refused, Signal::Success, Signal::Refused, Signal::Refused];
    assert_eq!(after(&almost, at(0)).availability(at(0)), Availability::Ready);
    assert_eq!(open_until(after(&[Signal::Refused; 3], at(100))), (Cause::Refused, 160));
}

#[test]
fn five_failures_in_a_row_open() {
    assert_eq!(after(&[Signal::Failed; 4], at(0)).availability(at(0)), Availability::Ready);
    assert_eq!(open_until(after(&[Signal::Failed; 5], at(100))), (Cause::Failed, 105));
}

#[test]
fn a_limit_opens_at_once_for_as_long_as_was_asked() {
    assert_eq!(open_until(after(&[LIMITED], at(100))), (Cause::Limited, 101));
    let asked = |secs| Signal::Limited { retry_after: Some(Duration::from_secs(secs)) };
    assert_eq!(open_until(after(&[asked(30)], at(100))), (Cause::Limited, 130));
    assert_eq!(open_until(after(&[asked(30), asked(5)], at(100))), (Cause::Limited, 130));
    assert_eq!(open_until(after(&[asked(86_400)], at(100))), (Cause::Limited, 1_000));
}

#[test]
fn a_limit_never_shortens_a_refusal() {
    let mut signals = vec![Signal::Refused; 3];
    signals.push(LIMITED);
    assert_eq!(open_until(after(&signals, at(100))), (Cause::Refused, 160));
}

#[test]
fn half_open_lets_one_through_and_its_success_closes() {
    let open = after(&[Signal::Failed; 5], at(0));
    assert!(!open.admit(at(4), &POLICY).1);
    let (trial, admitted) = open.admit(at(5), &POLICY);
    assert!(admitted);
    assert!(!trial.admit(at(6), &POLICY).1, "a second one beside the trial");
    assert!(trial.admit(at(35), &POLICY).1, "the trial never reported");
    assert_eq!(trial.step(Signal::Success, at(7), &POLICY), Circuit::default());
}

#[test]
fn each_failed_trial_doubles_the_time_up_to_the_longest() {
    let mut circuit = after(&[Signal::Failed; 5], at(0));
    let mut times = Vec::new();
    for _ in 0..10 {
        let Circuit::Open { until_ms, .. } = circuit else { panic!("{circuit:?}") };
        let now = BootInstant::from_micros(until_ms * 1_000);
        circuit = circuit.admit(now, &POLICY).0.step(Signal::Failed, now, &POLICY);
        times.push(open_until(circuit).1 - until_ms / 1_000);
    }
    assert_eq!(times, [10, 20, 40, 80, 160, 320, 640, 900, 900, 900]);
}

#[test]
fn late_reports_do_not_move_an_open_circuit() {
    let open = after(&[Signal::Failed; 5], at(0));
    for late in [Signal::Success, Signal::Failed, Signal::Refused] {
        assert_eq!(open.step(late, at(1), &POLICY), open);
    }
}

#[test]
fn statuses_speak_of_the_credential_only_where_it_is_to_blame() {
    use http::StatusCode;
    for (status, signal) in [
        (200, Signal::Success),
        (400, Signal::Success),
        (404, Signal::Success),
        (401, Signal::Refused),
        (403, Signal::Refused),
        (429, LIMITED),
        (500, Signal::Failed),
        (529, Signal::Failed),
    ] {
        assert_eq!(Signal::of_status(StatusCode::from_u16(status).expect("status"), None), signal);
    }
}

#[test]
fn a_missing_answer_counts_unless_the_cause_is_ours() {
    let late = crate::UpstreamError::HeadTimeout(Duration::from_secs(600));
    assert_eq!(Signal::of_failure(&late), Some(Signal::Failed));
    let full = crate::UpstreamError::PoolFull { open: 1, waiting: 1 };
    assert_eq!(Signal::of_failure(&full), None);
}

#[test]
fn exactly_one_of_many_threads_gets_the_trial() {
    let cell = HealthCell::default();
    for _ in 0..5 {
        cell.report(Signal::Failed, at(0), &POLICY);
    }
    let admitted = std::thread::scope(|scope| {
        let ask = || cell.admit(at(10), &POLICY);
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().filter_map(|t| t.join().ok()).filter(|a| *a).count()
    });
    assert_eq!(admitted, 1);
}

#[test]
fn the_board_keeps_one_cell_per_credential_until_told_to_forget() {
    let board = HealthBoard::default();
    let (up, a, b) =
        (UpstreamId::parse("up_1"), CredentialId::parse("cred_a"), CredentialId::parse("cred_b"));
    let (up, a, b) = (up.expect("id"), a.expect("id"), b.expect("id"));
    board.cell(&up, &a).report(LIMITED, at(1), &POLICY);
    assert!(matches!(board.cell(&up, &a).availability(at(1)), Availability::Until { .. }));
    assert_eq!(board.cell(&up, &b).availability(at(1)), Availability::Ready);
    board.retain(|_, credential| *credential == b);
    assert_eq!(board.snapshot().len(), 1);
}

fn any_signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        Just(Signal::Success),
        Just(Signal::Refused),
        Just(Signal::Failed),
        proptest::option::of(0_u64..10_000_000)
            .prop_map(|s| Signal::Limited { retry_after: s.map(Duration::from_secs) }),
    ]
}

proptest! {
    #[test]
    fn packing_loses_nothing_and_no_circuit_stays_open_beyond_the_longest(
        steps in proptest::collection::vec((any_signal(), 0_u64..2_000, any::<bool>()), 0..60),
    ) {
        let mut circuit = Circuit::default();
        let mut now = 0;
        for (signal, pause, ask) in steps {
            now += pause;
            circuit = if ask { circuit.admit(at(now), &POLICY).0 } else { circuit.step(signal, at(now), &POLICY) };
            prop_assert_eq!(Circuit::unpack(circuit.pack()), circuit);
            if let Availability::Until { at: until, .. } = circuit.availability(at(now)) {
                prop_assert!(until.micros_since(at(now)) <= POLICY.at_most.as_micros() as u64);
            }
        }
    }
}
