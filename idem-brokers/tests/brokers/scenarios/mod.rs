//! Each cause of duplicates, for any broker.

pub(crate) mod causes;
mod consumers;
mod failures;
mod origin;
mod outages;
mod pauses;
mod producers;

use std::sync::Arc;

use idem_test_support::servers::{Needs, Server, trial};
use libtest_mimic::Trial;

use crate::broker::Broker;
use crate::storm;

/// Returns the scenarios of one broker.
pub(crate) fn all<B: Broker>() -> Vec<Trial> {
    let mut tests = vec![
        named::<B, _>(
            "resent_by_the_producer",
            Needs::Any,
            causes::resent_by_the_producer::<B>,
        ),
        named::<B, _>(
            "consumer_killed_in_the_body",
            Needs::Any,
            causes::consumer_killed_in_the_body::<B>,
        ),
        named::<B, _>(
            "consumer_killed_between_body_and_ack",
            Needs::Any,
            causes::consumer_killed_before_the_ack::<B>,
        ),
        named::<B, _>(
            "network_cut_in_the_middle",
            Needs::Own,
            causes::network_cut_in_the_middle::<B>,
        ),
        named::<B, _>(
            "handler_fails_n_times_redelivered",
            Needs::Any,
            failures::fails_redelivered::<B>,
        ),
        named::<B, _>(
            "handler_fails_n_times_inline",
            Needs::Any,
            failures::fails_inline::<B>,
        ),
        named::<B, _>(
            "undecodable_is_one_letter_and_acked",
            Needs::Any,
            failures::undecodable::<B>,
        ),
        named::<B, _>(
            "key_reused_is_one_letter_and_acked",
            Needs::Any,
            failures::key_reused::<B>,
        ),
        named::<B, _>(
            "two_consumers_in_one_group",
            Needs::Any,
            consumers::two_in_one_group::<B>,
        ),
        named::<B, _>(
            "shutdown_finishes_or_gives_back",
            Needs::Any,
            consumers::shutdown::<B>,
        ),
        named::<B, _>("order_per_key", Needs::Any, consumers::order_per_key::<B>),
        named::<B, _>(
            "producer_killed_with_an_outbox",
            Needs::Any,
            producers::killed_with_an_outbox::<B>,
        ),
        named::<B, _>(
            "origin_tells_a_redelivery",
            Needs::Any,
            origin::tells_a_redelivery::<B>,
        ),
        named::<B, _>(
            "one_of_two_handlers_is_paused",
            Needs::Any,
            pauses::one_of_two_handlers::<B>,
        ),
        named::<B, _>("storm", Needs::Own, storm::storm::<B>),
    ];
    tests.extend(outages::all::<B>());
    if B::MAKES {
        tests.push(named::<B, _>(
            "first_start_logs_no_error",
            Needs::Any,
            consumers::first_start::<B>,
        ));
    }
    if B::OUTLIVES {
        tests.push(named::<B, _>(
            "broker_killed_and_restarted",
            Needs::Own,
            causes::broker_killed_and_restarted::<B>,
        ));
    }
    if B::REWINDS {
        tests.push(named::<B, _>(
            "offsets_rewound",
            Needs::Any,
            causes::offsets_rewound::<B>,
        ));
    }
    tests
}

pub(crate) fn named<B: Broker, T>(
    name: &str,
    needs: Needs,
    test: impl FnOnce(Arc<Server>) -> T + Send + 'static,
) -> Trial
where
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    trial(format!("{}::{name}", B::NAME), B::KIND, needs, test)
}
