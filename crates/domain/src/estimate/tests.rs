use super::*;
use proptest::prelude::*;

const TERMS: Terms =
    Terms { input_pico: 5_000_000, output_pico: 25_000_000, max_output: 4_096, worst: PicoUsd::MAX };

fn text(bytes: u64) -> Content {
    Content { units: [bytes, 0, 0, 0, 0, 0] }
}

#[test]
fn without_history_the_worst_case_is_held_back_and_little_must_be_left() {
    let ask = Estimator::default().ask(&text(4_000), &TERMS);
    assert_eq!((ask.likely, ask.worst), (TERMS.worst, TERMS.worst));
    assert!(ask.least > PicoUsd::ZERO && ask.least.as_pico() < 1_000 * 5_000_000);
}

#[test]
fn a_key_is_held_to_what_its_calls_have_cost() {
    let mut known = Estimator::default();
    for _ in 0..60 {
        known.learn_input(&text(4_000), 1_000, 5_000_000_000, &TERMS);
        known.learn_output(200 * 25_000_000, &TERMS);
    }
    let ask = known.ask(&text(8_000), &TERMS);
    let true_cost = 2_000 * 5_000_000 + 200 * 25_000_000;
    assert!(ask.likely.as_pico() >= true_cost, "{ask:?}");
    assert!(ask.likely.as_pico() < true_cost * 13 / 10, "{ask:?}");
    assert!(ask.least.as_pico() <= true_cost && ask.least.as_pico() > true_cost * 7 / 10, "{ask:?}");
    let few = Terms { max_output: 20, ..TERMS };
    assert!(known.ask(&text(8_000), &few).likely.as_pico() < 2_000 * 5_000_000 * 13 / 10 + 21 * 25_000_000);
}

#[test]
fn each_class_learns_what_it_takes() {
    let mut known = Estimator::default();
    let wide = Content { units: [100, 9_000, 0, 0, 0, 0] };
    for _ in 0..40 {
        known.learn_tokens(&text(10_000), 2_500);
        known.learn_tokens(&wide, 5_000);
    }
    assert!((known.tokens(&text(10_000)) - 2_500.0).abs() < 100.0);
    assert!((known.tokens(&wide) - 5_000.0).abs() < 200.0);
}

#[test]
fn it_is_kept_and_found_again() {
    let mut known = Estimator::default();
    known.learn_input(&text(4_000), 900, 4_500_000_000, &TERMS);
    known.learn_output(1_000_000_000, &TERMS);
    let kept = serde_json::to_string(&known).unwrap();
    assert_eq!(serde_json::from_str::<Estimator>(&kept).unwrap(), known);
    assert!(kept.len() < 200, "{kept}");
}

proptest! {
    /// Whatever was learned, the three stand in their order and none is negative.
    #[test]
    fn the_least_is_no_more_than_the_likely_and_that_no_more_than_the_most(
        learned in prop::collection::vec((any::<[u32; CLASSES]>(), any::<u32>(), 0_i64..i64::MAX), 0..80),
        units in any::<[u32; CLASSES]>(),
        worst in 0_i64..9_000_000_000_000,
        max_output in any::<u64>(),
    ) {
        let mut known = Estimator::default();
        for (units, tokens, billed) in learned {
            let content = Content { units: units.map(u64::from) };
            known.learn_input(&content, tokens.into(), billed.into(), &TERMS);
            known.learn_output(billed.into(), &TERMS);
        }
        let terms = Terms { worst: PicoUsd::saturating(worst.into()), max_output, ..TERMS };
        let ask = known.ask(&Content { units: units.map(u64::from) }, &terms);
        prop_assert!(PicoUsd::ZERO <= ask.least && ask.least <= ask.likely && ask.likely <= ask.worst);
    }
}
