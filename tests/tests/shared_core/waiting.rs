//! Calls that wait for a record hear of its change, from whichever process.

use futures_util::future::poll_immediate;
use idem_runtime::ledger::Ledger;
use idem_runtime::protocol::Reply;

use crate::common::{Server, complete, id};

#[tokio::test]
async fn a_change_wakes_those_who_wait_in_every_process() {
    let server = Server::start();
    let (member, other) = (server.member("P"), server.member("Q"));
    let grant = member.start("A", 1).await;
    let mut waits = Vec::new();
    for on in [&member, &other] {
        // The hint of the claim may come first.
        let wait = loop {
            let mut wait = on.ledger.changed(&id("A")).unwrap();
            if poll_immediate(&mut wait).await.is_none() {
                break wait;
            }
        };
        waits.push(wait);
    }
    assert_eq!(
        member.step("A", complete(grant.token)).await,
        Reply::Recorded
    );
    for wait in waits {
        server.until(wait).await;
    }
}

/// Without a hint, the poll finds it.
#[tokio::test]
async fn a_process_that_dies_wakes_those_who_wait_for_its_claims() {
    let server = Server::start();
    let (member, other) = (server.member("P"), server.member("Q"));
    member.start("A", 1).await;
    drop(member);
    let claimed = async {
        loop {
            // A hint may come without a change.
            other.ledger.changed(&id("A")).unwrap().await;
            match other.step("A", other.claim(1)).await {
                Reply::Run(grant) => break grant,
                reply => assert!(matches!(reply, Reply::Busy { .. }), "{reply:?}"),
            }
        }
    };
    assert_eq!(server.until(claimed).await.number, 2);
}
