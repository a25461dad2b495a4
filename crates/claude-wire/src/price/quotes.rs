//! Rates that are quoted are those that calls are charged at.

use proptest::prelude::*;

use super::*;

/// 2026-11-22T00:00:00Z
const NOW: i64 = 1_795_305_600_000_000;

proptest! {
    #[test]
    fn tokens_times_rates_is_what_a_call_costs(
        model in prop::sample::select(PriceTable::builtin().rows().iter().map(|r| r.id.to_string()).chain(["unknown".into()]).collect::<Vec<_>>()),
        tokens in prop::array::uniform5(0_u64..200_000),
        speed in prop::sample::select(vec![Speed::Standard, Speed::Fast, Speed::Other]),
        us in any::<bool>(),
        batch in any::<bool>(),
        days_ago in 0_i64..400,
    ) {
        let table = PriceTable::builtin();
        let [input, cache_write_5m, cache_write_1h, cache_read, output] = tokens;
        let counts = TokenCounts { input, cache_write_5m, cache_write_1h, cache_read, output };
        let usage = Usage { counts, speed, inference_geo: us.then(|| "us".into()), ..Usage::default() };
        let at = NOW - days_ago * MICROS_PER_DAY;
        let kind = if batch { CallKind::Batch } else { CallKind::Single };
        let cost = table.cost(&model, &usage, kind, at);
        let quote = table.quote(&model, counts.prompt(), (speed, us), at).unwrap();
        let r = quote.rates;
        let pairs = [(r.input, input), (r.cache_write_5m, cache_write_5m), (r.cache_write_1h, cache_write_1h),
            (r.cache_read, cache_read), (r.output, output)];
        let sum: i128 = pairs.iter().map(|(rate, tokens)| rate * i128::from(*tokens)).sum();
        prop_assert_eq!(if batch { sum / 2 } else { sum }, cost.pico);
        prop_assert_eq!((quote.priced_as, quote.assumed), (cost.priced_as, cost.unknown_model));
    }
}

#[test]
fn a_quote_says_from_when_it_holds() {
    let table = PriceTable::builtin();
    let quote = |at| table.quote("claude-sonnet-5-5", 1, (Speed::Standard, false), at).unwrap();
    let october_7 = 1_791_331_200_000_000;
    assert_eq!((quote(october_7).from_micros, quote(october_7).rates.cache_read), (Some(october_7), 100_000));
    assert_eq!(quote(october_7 - 1).rates.cache_read, 200_000);
}
