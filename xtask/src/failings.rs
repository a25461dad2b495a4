//! `cargo xtask failings`: what users of other gateways complain of about money and limits, each with the tests that
//! would fail if it were so here. A test that is not there fails the list.

use std::fs;
use std::process::ExitCode;

use anyhow::Context;

use crate::args::Arguments;
use crate::output;
use crate::steps::Outcome;
use crate::workspace::Workspace;

/// One of the complaints.
struct Failing {
    number: u8,
    complaint: &'static str,
    tests: &'static [Test],
    /// What of it nothing here answers yet.
    open: Option<&'static str>,
}

/// A file, and the name of a test in it.
type Test = (&'static str, &'static str);

const RACE: Test = ("crates/server/tests/it/race.rs", "sqlite");
const RACE_ON_POSTGRES: Test = ("crates/server/tests/it/race.rs", "postgres");
const RACE_WITH_KILLS: Test = ("crates/server/tests/it/race.rs", "killed_sqlite");
const REFUSED_BEFORE: Test =
    ("crates/gateway/tests/way/budgets.rs", "a_call_that_could_pass_a_hard_budget_is_refused_and_never_sent");
const ALL_OR_NONE: Test =
    ("crates/domain/src/budget/book/tests.rs", "a_call_holds_back_from_all_its_budgets_or_from_none");
const NO_ORDER_PASSES: Test =
    ("crates/domain/src/budget/book/tests.rs", "no_order_of_calls_passes_a_ceiling");
const NO_BOUND: Test =
    ("crates/gateway/tests/way/budgets.rs", "what_has_no_bound_is_refused_under_a_hard_budget_and_named");
const FAIL_CLOSED: Test =
    ("crates/gateway/tests/way/budgets.rs", "a_call_whose_reservation_cannot_be_kept_is_never_sent");
const KEY_BUDGET: Test = (
    "crates/server/tests/it/budgets.rs",
    "a_budget_made_with_a_key_is_kept_holds_to_its_amount_and_can_be_taken_away",
);
const ORACLE: Test = ("tests/wire/test_accounts.py", "test_json_and_streams_cost_what_the_oracle_says");
const UNTOLD_USAGE: Test =
    ("crates/gateway/tests/way/broken_answers.rs", "a_message_that_never_tells_its_usage_is_not_free");
const SHAPES: Test =
    ("tests/wire/test_shapes.py", "test_every_shape_of_an_answer_costs_what_the_oracle_says");
const BURSTS: Test =
    ("crates/service/src/admission/tests/tokens.rs", "limits_are_not_passed_by_concurrent_bursts");
const HELD_TOKENS: Test = (
    "crates/server/tests/it/limits.rs",
    "tokens_are_held_before_a_call_counted_by_what_it_took_and_told_in_headers",
);
const LIMITS_OF_NODES: Test = (
    "crates/server/tests/it/two_nodes.rs",
    "limits_on_requests_and_tokens_hold_on_each_node_and_for_both_at_twice_their_size",
);
const SEVERAL_NODES: Option<&str> = Some(
    "several nodes: limits on requests and tokens are a node's own, and hold for n nodes at n times their size, as the \
     documentation says",
);

/// The list, by the numbers that the tests name.
const FAILINGS: [Failing; 25] = [
    Failing {
        number: 1,
        complaint: "a key with a budget spends many times as much",
        tests: &[RACE, RACE_ON_POSTGRES, RACE_WITH_KILLS, REFUSED_BEFORE],
        open: None,
    },
    Failing {
        number: 2,
        complaint: "a budget is bypassed",
        tests: &[
            REFUSED_BEFORE,
            ("tests/money/test_strict.py", "test_a_strict_budget_holds_back_at_least_what_a_call_costs"),
        ],
        open: None,
    },
    Failing {
        number: 3,
        complaint: "one subject's budget hides another's",
        tests: &[
            ALL_OR_NONE,
            ("crates/domain/src/budget/book/tests.rs", "a_child_counts_against_its_parents_budget"),
        ],
        open: None,
    },
    Failing {
        number: 4,
        complaint: "parallel requests pass a budget together",
        tests: &[RACE, RACE_ON_POSTGRES, NO_ORDER_PASSES],
        open: None,
    },
    Failing {
        number: 5,
        complaint: "reservations leak, and callers are refused with money left",
        tests: &[
            RACE,
            (
                "crates/service/src/budgets/tests.rs",
                "what_was_dropped_is_given_back_and_what_was_settled_is_not",
            ),
            (
                "crates/service/src/admission/tests/tokens.rs",
                "what_was_held_is_given_back_however_a_call_ends",
            ),
        ],
        open: None,
    },
    Failing {
        number: 6,
        complaint: "a reservation that fails lets the call pass",
        tests: &[FAIL_CLOSED],
        open: None,
    },
    Failing {
        number: 7,
        complaint: "what was spent before goes on blocking after the reset",
        tests: &[
            (
                "crates/gateway/tests/way/budgets.rs",
                "what_was_spent_refuses_nobody_once_the_next_period_has_begun",
            ),
            ("crates/domain/src/budget/book/tests.rs", "a_call_belongs_to_the_period_in_which_it_was_made"),
            (
                "crates/domain/src/budget/window.rs",
                "days_weeks_and_months_begin_where_the_clocks_of_the_zone_say",
            ),
            (
                "crates/service/src/budgets/tests.rs",
                "a_changed_limit_holds_at_once_and_another_zone_begins_a_new_budget",
            ),
        ],
        open: None,
    },
    Failing {
        number: 8,
        complaint: "routes that are passed through are not counted",
        tests: &[
            NO_BOUND,
            ("tests/wire/test_tenants.py", "test_routes_that_cannot_be_scoped_are_refused"),
            ("tests/wire/test_accounts.py", "test_batches_are_billed_once_to_the_key_that_made_them"),
        ],
        open: None,
    },
    Failing {
        number: 9,
        complaint: "a key's budget is skipped, not kept, in force early, not to be removed",
        tests: &[KEY_BUDGET, NO_BOUND],
        open: None,
    },
    Failing {
        number: 10,
        complaint: "replicas count each for themselves",
        tests: &[
            ("crates/server/tests/it/race.rs", "replicas_do_not_pass_a_ceiling_together"),
            ("crates/server/tests/it/race.rs", "a_dead_nodes_block_is_charged_and_freed"),
            (
                "crates/domain/src/budget/blocks/tests.rs",
                "nodes_together_never_pass_a_ceiling_and_nothing_leaks",
            ),
            (
                "crates/server/tests/it/two_nodes.rs",
                "two_nodes_together_pass_an_expected_budget_by_no_more_than_the_bound_that_is_printed",
            ),
            (
                "crates/server/tests/it/two_nodes.rs",
                "a_share_of_a_budget_that_only_both_nodes_together_have_reached_is_told_once",
            ),
            LIMITS_OF_NODES,
        ],
        open: SEVERAL_NODES,
    },
    Failing {
        number: 11,
        complaint: "limits act when the stream is over; what is left does not fall before",
        tests: &[
            (
                "crates/service/src/admission/tests/tokens.rs",
                "what_is_left_falls_when_a_call_begins_and_is_exact_when_it_ends",
            ),
            (
                "crates/gateway/tests/way/budgets.rs",
                "a_stream_is_ended_with_an_event_when_nothing_is_left_of_an_expected_budget",
            ),
        ],
        open: None,
    },
    Failing {
        number: 12,
        complaint: "a cap limits what can be begun; what has no price is free",
        tests: &[
            REFUSED_BEFORE,
            ALL_OR_NONE,
            ("crates/claude-wire/src/price/tests.rs", "an_unknown_model_costs_the_dearest_row_and_says_so"),
            UNTOLD_USAGE,
        ],
        open: None,
    },
    Failing {
        number: 13,
        complaint: "an administrator's key makes calls outside every budget",
        tests: &[
            ("crates/server/tests/it/direct_use.rs", "the_admin_key_serves_nobody"),
            ("tests/wire/test_exchanges.py", "test_administration_of_the_provider_is_never_forwarded"),
        ],
        open: None,
    },
    Failing {
        number: 14,
        complaint: "near enough only with another store, and set to fail closed",
        tests: &[RACE, RACE_ON_POSTGRES, FAIL_CLOSED],
        open: None,
    },
    Failing {
        number: 15,
        complaint: "a limit that no call can ever meet",
        tests: &[
            (
                "crates/service/src/admission/tests/tokens.rs",
                "a_call_that_may_take_more_than_there_is_runs_by_itself",
            ),
            ("crates/domain/src/limit/window.rs", "a_limit_of_zero_is_never_admitted_by_waiting"),
        ],
        open: None,
    },
    Failing {
        number: 16,
        complaint: "streams are billed wrongly, or not at all",
        tests: &[
            ORACLE,
            SHAPES,
            RACE,
            UNTOLD_USAGE,
            ("crates/claude-wire/src/sse/tests.rs", "usage_is_merged_over_the_stream"),
        ],
        open: None,
    },
    Failing {
        number: 17,
        complaint: "a stream that its client leaves is billed nothing, or cannot be cancelled",
        tests: &[
            ("crates/server/tests/it/streams/ending.rs", "a_client_that_leaves_cancels_the_call"),
            (
                "crates/server/tests/it/streams/ending.rs",
                "a_client_that_leaves_lets_the_call_drain_when_its_key_says_so",
            ),
        ],
        open: None,
    },
    Failing {
        number: 18,
        complaint: "the prompt's tokens are lost with the stream; calls that were given up are not billed",
        tests: &[
            (
                "crates/gateway/tests/way/broken_answers.rs",
                "a_stream_that_breaks_before_it_told_its_usage_is_billed_for_its_input",
            ),
            (
                "crates/gateway/tests/way/broken_answers.rs",
                "a_call_lost_on_a_kept_connection_is_charged_before_it_is_sent_again",
            ),
            ("crates/claude-wire/src/sse/tests.rs", "a_cut_stream_costs_what_was_sent"),
        ],
        open: None,
    },
    Failing {
        number: 19,
        complaint: "cached tokens are counted twice in streams; streams escape limits",
        tests: &[
            (
                "crates/server/tests/it/limits.rs",
                "streams_count_as_whole_answers_do_and_cache_reads_do_not_count",
            ),
            SHAPES,
            ("crates/claude-wire/src/usage/tests.rs", "the_split_always_sums_to_the_last_total"),
        ],
        open: None,
    },
    Failing {
        number: 20,
        complaint: "cache reads and writes are priced wrongly",
        tests: &[
            ORACLE,
            SHAPES,
            ("crates/claude-wire/src/price/tests.rs", "every_class_has_its_own_rate"),
            ("crates/claude-wire/src/price/tests.rs", "integer_cost_equals_rational_arithmetic"),
            ("crates/claude-wire/src/usage/tests.rs", "growth_beyond_the_split_counts_at_five_minutes"),
            ("crates/claude-wire/src/usage/tests.rs", "absent_and_null_keep_the_earlier_number"),
        ],
        open: None,
    },
    Failing {
        number: 21,
        complaint: "a token limit is judged by what one process remembers",
        tests: &[
            BURSTS,
            (
                "crates/server/tests/it/limits.rs",
                "a_days_tokens_go_on_after_a_restart_for_the_key_and_its_workspace",
            ),
            LIMITS_OF_NODES,
        ],
        open: SEVERAL_NODES,
    },
    Failing {
        number: 22,
        complaint: "many times the limit's tokens pass it",
        tests: &[BURSTS, HELD_TOKENS],
        open: None,
    },
    Failing {
        number: 23,
        complaint: "token limits of teams are not kept, or not told",
        tests: &[
            BURSTS,
            HELD_TOKENS,
            (
                "crates/service/src/admission/tests/tokens.rs",
                "tokens_of_all_keys_of_a_workspace_count_together",
            ),
            (
                "crates/server/tests/it/limits.rs",
                "a_spent_token_limit_is_named_with_when_it_frees_and_takes_no_request",
            ),
        ],
        open: None,
    },
    Failing {
        number: 24,
        complaint: "the limiter holds a lock of the database; its counters are evicted",
        tests: &[
            ("crates/server/tests/it/limits.rs", "total_uses_are_counted_over_restarts"),
            ("crates/server/tests/it/outage.rs", "a_locked_store_loses_nothing"),
            (
                "crates/server/tests/it/outage.rs",
                "without_postgresql_known_keys_go_on_within_the_bound_and_nothing_is_lost",
            ),
        ],
        open: None,
    },
    Failing {
        number: 25,
        complaint: "what is left goes wrong when more is asked for than there is",
        tests: &[(
            "crates/service/src/admission/tests/tokens.rs",
            "a_call_that_may_take_more_than_there_is_runs_by_itself",
        )],
        open: None,
    },
];

pub fn run(workspace: &Workspace, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.finish()?;
    for failing in &FAILINGS {
        output::line(&format!("3.{} {}", failing.number, failing.complaint));
        for (file, test) in failing.tests {
            output::line(&format!("      {file}::{test}"));
        }
        if let Some(open) = failing.open {
            output::line(&format!("      open: {open}"));
        }
    }
    Ok(if step(workspace)? == Outcome::Passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether every test of the list is there.
pub fn step(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let mut missing = 0;
    for (file, test) in FAILINGS.iter().flat_map(|failing| failing.tests) {
        let text = fs::read_to_string(workspace.root().join(file)).with_context(|| (*file).to_owned())?;
        if !holds(&text, test) {
            output::problem(&format!("{file}: no test `{test}`"));
            missing += 1;
        }
    }
    Ok(if missing == 0 { Outcome::Passed } else { Outcome::Failed(format!("{missing} tests are not there")) })
}

/// Whether a file has a function of this name.
fn holds(text: &str, test: &str) -> bool {
    ["fn ", "def "].iter().any(|word| {
        let head = format!("{word}{test}");
        text.match_indices(&head).any(|(at, _)| text[at + head.len()..].starts_with('('))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_found_by_its_whole_name() {
        for (text, found) in [
            ("#[test]\nfn a_b() {}", true),
            ("    async fn a_b(x: u8) {}", true),
            ("def a_b(parts):", true),
            ("fn a_bc() {}", false),
            ("// a_b()", false),
        ] {
            assert_eq!(holds(text, "a_b"), found, "{text}");
        }
    }

    #[test]
    fn every_number_is_there_once_and_has_tests_or_says_why_not() {
        let numbers: Vec<u8> = FAILINGS.iter().map(|failing| failing.number).collect();
        assert_eq!(numbers, (1..=25).collect::<Vec<_>>());
        assert!(FAILINGS.iter().all(|failing| !failing.tests.is_empty() || failing.open.is_some()));
    }
}
