//! Who is told, when, of what.

use std::time::Duration;

use idem_ops::alert::NoticeKind;
use idem_ops::monitor::{AlertState, Monitor, Policy, Route};
use idem_runtime::testing::ManualClock;
use idem_runtime::{Filter, Origin, Verdict, dead_letters::Reason};

use crate::common::within;
use crate::{counts, die, idem, pager, place};

const PERIOD: Duration = Duration::from_secs(600);

fn policy() -> Policy {
    Policy::default().digest_every(PERIOD).new_groups_at_once(1)
}

#[tokio::test]
async fn the_first_letter_and_new_groups_are_sent_at_once_and_the_rest_in_digests() {
    let clock = ManualClock::default();
    let (idem, (pager, mut told)) = (idem(&clock), pager("pager"));
    let watch = Monitor::new(&idem, "orders")
        .policy(policy())
        .channel(pager)
        .start()
        .unwrap();

    die(&idem, 0..1, "card 1 declined").await;
    let first = within(told.recv()).await.unwrap().unwrap();
    assert_eq!(
        (first.kind, first.service.as_str(), first.open),
        (NoticeKind::NewGroup, "orders", 1)
    );
    assert_eq!(counts(&first), [("card … declined", 1)]);
    assert_eq!(first.groups[0].newest[0].key, "A-0");

    // Of the same group: they wait, and go along with a group that is new.
    die(&idem, 1..4, "card 7 declined").await;
    die(&idem, 4..5, "no stock").await;
    let second = within(told.recv()).await.unwrap().unwrap();
    assert_eq!(second.kind, NoticeKind::NewGroup);
    assert_eq!(counts(&second), [("card … declined", 3), ("no stock", 1)]);

    // One more new group in this period is one too many: it waits for the digest.
    die(&idem, 5..6, "another").await;
    die(&idem, 6..26, "no stock").await;
    clock.asleep(3).await;
    clock.advance(PERIOD);
    let digest = within(told.recv()).await.unwrap().unwrap();
    assert_eq!(counts(&digest), [("another", 1), ("no stock", 20)]);
    assert_eq!((digest.open, digest.groups[0].newest.len()), (26, 5));
    // Newest first.
    assert_eq!(
        digest.groups[0]
            .newest
            .first()
            .map(|brief| brief.key.starts_with("A-")),
        Some(true)
    );

    watch.stop().await;
    assert!(told.try_recv().is_err(), "people were told more than once");
    assert_eq!(AlertState::of(&idem).await.unwrap().untold, 0);
}

#[tokio::test]
async fn the_first_notice_of_many_letters_says_how_many_there_are_by_now() {
    let clock = ManualClock::default();
    let (idem, (pager, mut told)) = (idem(&clock), pager("pager"));
    let watch = Monitor::new(&idem, "orders")
        .policy(policy())
        .channel(pager)
        .start()
        .unwrap();
    // What is there at the start is told at once.
    clock.asleep(3).await;
    // One after the other: the second dies once the first is known.
    for number in 0..50 {
        die(&idem, number..number + 1, "the database is away").await;
    }
    let first = within(told.recv()).await.unwrap().unwrap();
    assert_eq!(first.kind, NoticeKind::NewGroup);
    assert!(first.groups[0].count > 1, "{first:?}");
    assert_eq!(first.open, first.groups[0].count);
    watch.stop().await;
}

/// Errors that are all different would each be a reason to tell people at once.
#[tokio::test]
async fn a_flood_of_different_errors_makes_as_many_notices_as_the_policy_allows() {
    const AT_ONCE: u32 = 3;
    let clock = ManualClock::default();
    let (idem, (pager, mut told)) = (idem(&clock), pager("pager"));
    let policy = Policy::default()
        .digest_every(PERIOD)
        .new_groups_at_once(AT_ONCE);
    let watch = Monitor::new(&idem, "orders")
        .policy(policy)
        .channel(pager)
        .start()
        .unwrap();
    // Words, for numbers are blanked.
    let word = |number: u32| {
        "abcdefghij".repeat(2)[(number % 10) as usize..][..(2 + number / 10 % 9) as usize]
            .to_owned()
    };
    let (mut notices, mut letters) = (0, 0);
    for number in 0..60 {
        die(&idem, number..number + 1, &word(number)).await;
        // Time enough for another notice, were one allowed.
        clock.asleep(3).await;
        clock.advance(PERIOD / 100);
    }
    // The first, and as many new groups as one period has; the rest waits.
    while let Ok(notice) = told.try_recv() {
        letters += notice
            .unwrap()
            .groups
            .iter()
            .map(|group| group.count)
            .sum::<u64>();
        notices += 1;
    }
    assert_eq!(notices, 1 + AT_ONCE, "{letters} letters");
    clock.asleep(3).await;
    clock.advance(PERIOD);
    let digest = within(told.recv()).await.unwrap().unwrap();
    assert_eq!(
        letters + digest.groups.iter().map(|group| group.count).sum::<u64>(),
        60
    );
    watch.stop().await;
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn letters_written_without_a_monitor_are_sent_once() {
    let clock = ManualClock::default();
    let idem = idem(&clock);
    die(&idem, 0..3, "no stock").await;
    let letters = idem.dead_letters();
    let closed = letters.list(&Filter::default()).await.unwrap().remove(0);
    letters.discard(&closed.id, "a test").await.unwrap();
    for expected in [Some(3), None] {
        let (pager, mut told) = pager("pager");
        let watch = Monitor::new(&idem, "orders")
            .policy(policy())
            .channel(pager)
            .start()
            .unwrap();
        if let Some(count) = expected {
            let notice = within(told.recv()).await.unwrap().unwrap();
            assert_eq!(
                (counts(&notice), notice.open),
                (vec![("no stock", count)], 2)
            );
        } else {
            clock.advance(PERIOD);
            clock.asleep(3).await;
        }
        watch.stop().await;
        assert!(told.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_letter_that_stays_open_is_escalated_once() {
    let clock = ManualClock::default();
    let (idem, (pager, mut told), (boss, mut escalated)) =
        (idem(&clock), pager("pager"), pager("boss"));
    let policy = policy().escalate_after(PERIOD * 6);
    let monitor = Monitor::new(&idem, "orders")
        .policy(policy)
        .channel(pager)
        .escalation_channel(boss);
    let watch = monitor.start().unwrap();
    die(&idem, 0..3, "no stock").await;
    within(told.recv()).await.unwrap().unwrap();
    while AlertState::of(&idem).await.unwrap().untold > 0 {
        clock.advance(PERIOD);
        within(told.recv()).await.unwrap().unwrap();
    }
    let letters = idem.dead_letters();
    let closed = letters.list(&Filter::default()).await.unwrap().remove(0);
    letters.redrive(&closed.id).await.unwrap();
    clock.advance(PERIOD * 7);
    let late = within(escalated.recv()).await.unwrap().unwrap();
    assert_eq!(
        (late.kind, counts(&late)),
        (NoticeKind::Escalation, vec![("no stock", 2)])
    );
    clock.advance(PERIOD * 7);
    clock.asleep(4).await;
    watch.stop().await;
    assert!(escalated.try_recv().is_err() && told.try_recv().is_err());
}

#[tokio::test]
async fn two_channels_of_one_name_are_refused() {
    let idem = idem(&ManualClock::default());
    let monitor = Monitor::new(&idem, "orders")
        .channel(pager("pager").0)
        .escalation_channel(pager("pager").0);
    let error = monitor.start().err().unwrap();
    assert_eq!(
        error.to_string(),
        "two alert channels are named `pager`: give each a name of its own"
    );
}

/// As a consumer does with a message whose key another message has.
async fn reuse(idem: &idem_runtime::Idem, order_no: &str, content: &str) {
    let (order_no, origin) = (order_no.to_owned(), Origin::new("rabbitmq", "orders"));
    let verdict = idem
        .deliver(origin.clone(), place(order_no, content.to_owned()))
        .await
        .verdict;
    let Verdict::Refused(refusal) = verdict else {
        panic!("{verdict:?}")
    };
    idem.bury_refused(&refusal, "m-7", content.as_bytes(), origin)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_reused_key_of_a_finished_order_makes_no_notice_at_once() {
    let clock = ManualClock::default();
    let (idem, (pager, mut told), (boss, mut escalated)) =
        (idem(&clock), pager("pager"), pager("boss"));
    let policy = policy().escalate_after(PERIOD * 6);
    let monitor = Monitor::new(&idem, "orders")
        .policy(policy)
        .channel(pager)
        .escalation_channel(boss);
    let watch = monitor.start().unwrap();
    // Done, and somebody sends its number with another content, after a long silence.
    idem.scope(place("A-0".into(), String::new()))
        .await
        .unwrap();
    reuse(&idem, "A-0", "another order").await;
    for _ in 0..3 {
        clock.asleep(4).await;
        clock.advance(PERIOD / 10);
    }
    clock.asleep(4).await;
    assert!(told.try_recv().is_err(), "it is not urgent");
    clock.advance(PERIOD);
    let digest = within(told.recv()).await.unwrap().unwrap();
    assert_eq!((digest.kind, digest.groups.len()), (NoticeKind::Digest, 1));
    let brief = &digest.groups[0].newest[0];
    assert_eq!((&*brief.key, brief.reason), ("A-0", Reason::KeyReused));
    let text = digest.text();
    assert!(
        text.contains("A-0: key reused, died") && text.contains("done since"),
        "{text}"
    );
    assert!(!text.contains("decode"), "{text}");

    // That of a letter is told at once: the order waits for somebody.
    die(&idem, 1..2, "no stock").await;
    assert_eq!(
        counts(&within(told.recv()).await.unwrap().unwrap()),
        [("no stock", 1)]
    );
    clock.advance(PERIOD * 2);
    clock.asleep(4).await;
    reuse(&idem, "A-1", "another order").await;
    let notice = within(told.recv()).await.unwrap().unwrap();
    assert_eq!(
        (notice.kind, notice.groups[0].newest[0].reason),
        (NoticeKind::NewGroup, Reason::KeyReused)
    );

    // Nor is anybody else told when it stays open.
    clock.advance(PERIOD * 7);
    let late = within(escalated.recv()).await.unwrap().unwrap();
    let mut keys: Vec<_> = late
        .groups
        .iter()
        .flat_map(|group| &group.newest)
        .map(|brief| brief.key.as_str())
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, ["A-1", "A-1"]);
    watch.stop().await;
}

#[tokio::test]
async fn each_channel_gets_the_groups_of_its_route_and_none_is_lost() {
    let clock = ManualClock::default();
    let idem = idem(&clock);
    let [
        (database, mut databases),
        (other, mut others),
        (all, mut alls),
    ] = ["database", "other", "all"].map(pager);
    let watch = Monitor::new(&idem, "orders")
        .policy(policy().new_groups_at_once(9))
        .channel_for(
            Route::matching().error("refused").error("deadlock"),
            database,
        )
        .channel_for(Route::Rest, other)
        .channel(all)
        .start()
        .unwrap();
    die(&idem, 0..1, "connection refused").await;
    let told = within(databases.recv()).await.unwrap().unwrap();
    assert_eq!(counts(&told), [("connection refused", 1)]);
    let told = within(alls.recv()).await.unwrap().unwrap();
    assert_eq!(counts(&told), [("connection refused", 1)]);
    die(&idem, 1..2, "no stock").await;
    // The first that it is told of: what the other route takes was not for it.
    let told = within(others.recv()).await.unwrap().unwrap();
    assert_eq!(counts(&told), [("no stock", 1)]);
    let told = within(alls.recv()).await.unwrap().unwrap();
    assert_eq!(counts(&told), [("no stock", 1)]);
    watch.stop().await;
    assert!(databases.recv().await.is_none(), "nothing else was for it");
}

#[tokio::test]
async fn a_group_that_no_route_takes_goes_to_every_channel() {
    let clock = ManualClock::default();
    let idem = idem(&clock);
    let [(one, mut ones), (two, mut twos)] = ["one", "two"].map(pager);
    let watch = Monitor::new(&idem, "orders")
        .policy(policy())
        .channel_for(Route::matching().handler("another"), one)
        .channel_for(
            Route::matching().handler("monitor.place").error("refused"),
            two,
        )
        .start()
        .unwrap();
    die(&idem, 0..1, "no stock").await;
    for told in [&mut ones, &mut twos] {
        let notice = within(told.recv()).await.unwrap().unwrap();
        assert_eq!(counts(&notice), [("no stock", 1)]);
    }
    watch.stop().await;
}
