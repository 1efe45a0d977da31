//! Queries.

use idem_ops::service::{
    EventKind, GroupPage, KeyState, LetterPage, LetterView, PageQuery, Service, Stats, Timeline,
};
use idem_runtime::{Idem, Origin, idempotent};
use serde::Deserialize;
use serde_json::json;

use crate::place::{OrderError, Place, send_mail};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_listed_by_page_and_one_is_shown_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    place.bad_orders(5).await;
    assert!(
        place
            .idem
            .scope(send_mail("bob@example.org".into()))
            .await
            .is_err()
    );

    let first: LetterPage = place
        .get("/api/v1/letters?handler=orders.place&limit=2")
        .await
        .json();
    assert_eq!(
        (first.letters.len(), first.total, first.complete),
        (2, 5, true)
    );
    let mut keys: Vec<_> = first.letters.iter().map(|line| line.key.clone()).collect();
    let mut next = first.next;
    while let Some(after) = next {
        let page: LetterPage = place
            .get(&format!(
                "/api/v1/letters?handler=orders.place&limit=2&after={after}"
            ))
            .await
            .json();
        keys.extend(page.letters.iter().map(|line| line.key.clone()));
        next = page.next;
    }
    let mut sorted = keys.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((keys.len(), sorted.len()), (5, 5), "{keys:?}");

    let line = &first.letters[0];
    assert!(line.can_run && line.why_not.is_none());
    let shown = place.get(&format!("/api/v1/letters/{}", line.id)).await;
    let view: LetterView = shown.json();
    assert_eq!(view.letter.payload.to_value().unwrap()["order"]["qty"], 11);
    assert_eq!(view.kind, line.kind);
    place
        .get("/api/v1/letters/019a0000-0000-7000-8000-000000000000")
        .await
        .problem(404, "no_such_letter");

    let mails: LetterPage = place.get("/api/v1/letters?handler=mails.send").await.json();
    let mail = &mails.letters[0];
    assert!(!mail.can_run);
    assert!(
        mail.why_not
            .as_ref()
            .unwrap()
            .contains("`mails.send` is not registered"),
        "{mail:?}"
    );
    let path = format!("/api/v1/letters/{}/redrive", mail.id);
    place
        .post(&path, json!({ "run": true, "why": "try" }))
        .await
        .problem(409, "cannot_run");
}

#[idempotent(name = "mails.deliver", was = "mails.send", key = "to", retries = 0)]
async fn deliver_mail(to: String) -> Result<(), OrderError> {
    Err(OrderError::OutOfStock(to, 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_of_an_earlier_handler_name_are_found_under_the_current_one() {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    assert!(
        idem.scope(send_mail("bob@example.org".into()))
            .await
            .is_err()
    );
    idem.close().await.unwrap();
    let place = Place::open(folder.path()).await;
    assert!(
        place
            .idem
            .scope(deliver_mail("ann@example.org".into()))
            .await
            .is_err()
    );
    for (handler, expected) in [("mails.deliver", 2), ("mails.send", 1), ("mails.others", 0)] {
        let page: LetterPage = place
            .get(&format!("/api/v1/letters?handler={handler}"))
            .await
            .json();
        assert_eq!(
            (page.letters.len(), page.total),
            (expected, expected as u64),
            "{handler}"
        );
    }
    let story: Timeline = place
        .get("/api/v1/explain?handler=mails.deliver&key=bob@example.org")
        .await
        .json();
    assert_eq!(
        story
            .letters
            .iter()
            .map(|line| &*line.handler)
            .collect::<Vec<_>>(),
        ["mails.send"]
    );
    assert!(
        matches!(story.now, KeyState::Dead { .. }),
        "{:?}",
        story.now
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_follow_actions_here_and_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    place.bad_orders(7).await;
    assert!(
        place
            .idem
            .scope(send_mail("bob@example.org".into()))
            .await
            .is_err()
    );
    let page: GroupPage = place.get("/api/v1/groups").await.json();
    assert_eq!((page.total, page.open, page.complete), (2, 8, true));
    let group = &page.groups[0];
    assert_eq!(
        (group.handler.as_str(), group.count, group.newest.len()),
        ("orders.place", 7, 5)
    );
    assert_eq!(group.error, "order …: … pieces are not in stock");
    assert!(group.can_run && !page.groups[1].can_run);

    let path = format!("/api/v1/letters/{}/discard", group.newest[0]);
    assert_eq!(
        place.post(&path, json!({ "why": "a test" })).await.status,
        200
    );
    let page: GroupPage = place
        .get("/api/v1/groups?handler=orders.place")
        .await
        .json();
    assert_eq!((page.total, page.open), (1, 6));

    // An action without this service changes the ledger's own count, so the index is scanned
    // again.
    place
        .idem
        .dead_letters()
        .discard(&page.groups[0].newest[0], "elsewhere")
        .await
        .unwrap();
    let begun = std::time::Instant::now();
    loop {
        let page: GroupPage = place
            .get("/api/v1/groups?handler=orders.place")
            .await
            .json();
        if page.open == 5 {
            break;
        }
        assert!(begun.elapsed() < crate::common::DEADLINE, "{page:?}");
        tokio::task::yield_now().await;
    }
    let page: LetterPage = place
        .get("/api/v1/letters?handler=orders.place")
        .await
        .json();
    assert_eq!(page.letters.len(), 5);
    let page: LetterPage = place.get("/api/v1/letters?state=discarded").await.json();
    assert_eq!(page.letters.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_has_the_attempts_and_actions_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    let story: Timeline = place
        .get("/api/v1/explain?handler=orders.place&key=A-1")
        .await
        .json();
    assert_eq!((story.now, story.events.len()), (KeyState::Absent, 0));

    assert!(place.order("A-1", 11).await.is_err());
    let id = place.letter_of("A-1").await;
    let payload = json!({ "order": { "order_no": "A-1", "qty": 2 } });
    let edit = json!({ "payload": payload, "why": "a typo" });
    assert_eq!(
        place
            .post(&format!("/api/v1/letters/{id}/edit"), edit)
            .await
            .status,
        200
    );
    let run = json!({ "run": true, "why": "mended" });
    assert_eq!(
        place
            .post(&format!("/api/v1/letters/{id}/redrive"), run)
            .await
            .status,
        200
    );

    let story: Timeline = place
        .get("/api/v1/explain?handler=orders.place&key=A-1")
        .await
        .json();
    let KeyState::Done {
        attempts: 1,
        result: Some(result),
        ..
    } = &story.now
    else {
        panic!("{story:?}")
    };
    assert_eq!(result.as_str(), "200");
    let told: Vec<_> = story
        .events
        .iter()
        .map(|event| match &event.what {
            EventKind::Came => "came",
            EventKind::Started { attempt: 1 } => "started",
            EventKind::Ended {
                error: Some(_),
                reported: true,
                ..
            } => "ended",
            EventKind::Died { .. } => "died",
            EventKind::Edited {
                who: Some(who),
                why: Some(_),
            } if who == "ann" => "edited",
            EventKind::Redriven { who: Some(who), .. } if who == "ann" => "redriven",
            EventKind::Done { attempts: 1 } => "done",
            _ => "other",
        })
        .collect();
    assert_eq!(
        told,
        [
            "came", "started", "ended", "died", "edited", "redriven", "done"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_come_from_the_recorder_that_the_service_installs() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    assert_eq!(place.order("A-1", 1).await.unwrap(), 100);
    assert_eq!(place.order("A-1", 1).await.unwrap(), 100);
    assert!(place.order("A-2", 11).await.is_err());
    let stats: Stats = place.get("/api/v1/stats?minutes=5").await.json();
    assert_eq!((stats.open, stats.groups, &stats.no_figures), (1, 1, &None));
    assert!(stats.ledger_bytes.unwrap() > 0);
    // Other tests of this process count calls too.
    let count = |outcome: &str| {
        let of = stats
            .calls
            .iter()
            .find(|count| count.handler == "orders.place" && count.outcome == outcome);
        of.map_or(0, |count| count.count)
    };
    assert!(
        count("done") >= 1 && count("replayed") >= 1,
        "{:?}",
        stats.calls
    );
    assert!(
        stats.body.count >= 2 && stats.commit.count >= 2 && stats.commit.p50 <= stats.commit.max
    );
    assert_eq!(stats.minutes.last().unwrap().open, 1);
    let text = place.get("/metrics").await.text;
    assert!(
        text.contains("idem_calls_total{handler=\"orders.place\",outcome=\"replayed\"}"),
        "{text}"
    );
    assert!(text.contains("# HELP idem_commit_seconds"), "{text}");
    // Buckets can be summed over processes.
    assert!(
        text.contains("idem_commit_seconds_bucket{le=\"0.001\"}"),
        "{text}"
    );
    assert!(
        text.contains("idem_body_seconds_bucket{handler=\"orders.place\",le=\"+Inf\"}"),
        "{text}"
    );
}

#[idempotent(name = "orders.charge", key = "order_no", retries = 0, redact(card_no))]
async fn charge(order_no: String, card_no: String) -> Result<usize, OrderError> {
    if card_no.len() == 16 {
        Ok(card_no.len())
    } else {
        Err(OrderError::OutOfStock(order_no, 0))
    }
}

#[derive(Deserialize)]
struct Charge {
    order_no: String,
    card_no: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redacted_parts_have_to_be_filled_in_first() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    place
        .idem
        .register_handler("orders.charge", |Charge { order_no, card_no }: Charge| {
            charge(order_no, card_no)
        });
    assert!(
        place
            .idem
            .scope(charge("A-1".to_owned(), "4111".to_owned()))
            .await
            .is_err()
    );
    let id = place.letter_of("A-1").await;
    let whole = json!({ "order_no": "A-1", "card_no": "4111111111111111" });
    let edit = json!({ "payload": whole.clone(), "why": "x" });
    let view: LetterView = place
        .post(&format!("/api/v1/letters/{id}/edit"), edit)
        .await
        .json();
    assert_eq!(
        (view.redacted, view.can_run),
        (vec!["card_no".to_owned()], false)
    );
    assert!(view.why_not.unwrap().contains("`card_no`"));
    assert_eq!(
        view.letter.payload.to_value().unwrap()["card_no"],
        idem_runtime::dead_letters::REDACTED
    );
    let redrive = format!("/api/v1/letters/{id}/redrive");
    place
        .post(&redrive, json!({ "run": true, "why": "x" }))
        .await
        .problem(409, "cannot_run");
    place
        .post(&redrive, json!({ "payload": whole.clone(), "why": "x" }))
        .await
        .problem(400, "invalid");
    let ran = place
        .post(
            &redrive,
            json!({ "run": true, "payload": whole, "why": "asked" }),
        )
        .await;
    assert_eq!(
        (ran.status, ran.text.contains("41111")),
        (200, false),
        "{}",
        ran.text
    );
    assert_eq!(
        place
            .idem
            .scope(charge("A-1".to_owned(), String::new()))
            .await
            .unwrap(),
        16
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redacted_value_is_in_no_answer_whatever_is_wrong_with_it() {
    const CARD: &str = "4111-7777-8888-9999";
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    place
        .idem
        .register_handler("orders.charge", |Charge { order_no, card_no }: Charge| {
            charge(order_no, card_no)
        });
    assert!(
        place
            .idem
            .scope(charge("A-1".to_owned(), CARD.to_owned()))
            .await
            .is_err()
    );
    let (dead, origin) = (
        place.letter_of("A-1").await,
        Origin::new("rabbitmq", "orders"),
    );
    let bytes = format!(r#"{{"order_no":"A-2","cardNo":"{CARD}"}}"#);
    let buried = place
        .idem
        .bury(
            "orders.charge",
            "m-2",
            bytes.as_bytes(),
            origin,
            "missing field",
        )
        .await
        .unwrap();
    let mut said = Vec::new();
    for id in [dead, buried] {
        // Its type is wrong, or its place, or the request's.
        for payload in [
            json!({ "order_no": "A-1", "card_no": [CARD] }),
            json!({ "card_no": CARD, "order_no": 1 }),
        ] {
            let redrive = json!({ "run": true, "payload": payload, "why": "x" });
            said.push(
                place
                    .post(&format!("/api/v1/letters/{id}/redrive"), redrive)
                    .await,
            );
            let edit = json!({ "payload": payload, "why": "x" });
            said.push(
                place
                    .post(&format!("/api/v1/letters/{id}/edit"), edit)
                    .await,
            );
        }
        said.push(
            place
                .post(
                    &format!("/api/v1/letters/{id}/redrive"),
                    json!({ "run": CARD, "why": "x" }),
                )
                .await,
        );
        said.push(
            place
                .post(
                    &format!("/api/v1/letters/{id}/redrive"),
                    json!({ "why": "x", CARD: 1 }),
                )
                .await,
        );
        said.push(place.get(&format!("/api/v1/letters/{id}")).await);
    }
    for path in [
        "letters",
        "groups",
        "audit",
        "explain?handler=orders.charge&key=A-1",
        "alerts",
    ] {
        said.push(place.get(&format!("/api/v1/{path}")).await);
    }
    assert_eq!(
        said.iter().filter(|answer| answer.status == 422).count(),
        4,
        "what does not fit does not run"
    );
    for answer in said {
        assert!(
            !answer.text.contains("4111-7777"),
            "{} {}",
            answer.status,
            answer.text
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_answers_without_http_and_releases_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::new(Idem::open(folder.path()).unwrap());
    assert!(
        service
            .audit(&PageQuery::default())
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    assert!(service.health().await.up);
    service.idem().close().await.unwrap();
    drop(service);
    assert!(Idem::open(folder.path()).is_ok());
}
