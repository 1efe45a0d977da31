//! Redrive rules: letters are redriven every so often and a few times, by one replica, under the
//! rule's name.

use std::time::Duration;

use idem_ops::service::{
    AuditAction, AuditEntry, Outcome, PageQuery, RedriveRule, Service, ServiceError,
};
use idem_runtime::clock::Timestamp;
use idem_runtime::{Filter, Idem, LetterState};
use serde_json::{Value, json};

use crate::{Order, Shared, Stock, die, open, place};

const STEP: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(120);

fn rule(fields: &Value) -> RedriveRule {
    let mut rule = json!({
        "name": "bank", "error": "connection refused", "every": "2m", "times": 2,
    });
    for (name, value) in fields.as_object().unwrap() {
        rule[name] = value.clone();
    }
    serde_json::from_value(rule).unwrap()
}

async fn set(service: &Service, fields: &Value) {
    let ann = service.by("ann");
    ann.set_rule(rule(fields), "their new server")
        .await
        .unwrap();
}

/// A replica whose handler fails for good.
fn failing(shared: &Shared) -> (Idem, Service) {
    let idem = shared.process();
    idem.register_handler("replicas.place", |order: Order| {
        place(order, "connection refused".to_owned(), Stock::new(0))
    });
    let service = Service::new(idem.clone());
    (idem, service)
}

/// What rules did, oldest first.
async fn by_rules(service: &Service) -> Vec<AuditEntry> {
    let page = service.audit(&PageQuery::default()).await.unwrap();
    let by_rule = |entry: &AuditEntry| entry.who.starts_with("rule ");
    let mut entries: Vec<_> = page.entries.into_iter().filter(by_rule).collect();
    entries.reverse();
    entries
}

fn of_key<'e>(entries: &'e [AuditEntry], key: &str) -> Vec<&'e AuditEntry> {
    let of_key = |entry: &&AuditEntry| entry.key.as_deref() == Some(key);
    entries.iter().filter(of_key).collect()
}

/// Waits until rules have ended this many actions on a key.
async fn ended(shared: &Shared, service: &Service, key: &str, count: usize) -> Vec<AuditEntry> {
    let look = async || by_rules(service).await;
    shared
        .until(STEP, look, |entries| {
            let ended = of_key(entries, key);
            ended
                .iter()
                .filter(|entry| entry.outcome != Outcome::Begun)
                .count()
                >= count
        })
        .await
}

#[tokio::test]
async fn a_letter_is_redriven_as_often_as_the_rule_says_and_by_one_replica() {
    let shared = Shared::new();
    let ((one, service), (_other, other)) = (failing(&shared), failing(&shared));
    set(&other, &json!({})).await;
    let died = shared.clock_now();
    die(&one, 0..1, "connection refused").await;
    die(&one, 1..2, "card declined").await;
    ended(&shared, &service, "A-000", 2).await;
    // A younger letter shows that the rule goes on, and that the older one is left alone.
    die(&one, 2..3, "connection refused").await;
    let entries = ended(&shared, &service, "A-002", 2).await;

    let tries = of_key(&entries, "A-000");
    assert_eq!(tries.len(), 2, "{tries:?}");
    assert!(of_key(&entries, "A-001").is_empty(), "{entries:?}");
    let mut last: Timestamp = died;
    for (entry, why) in tries.iter().zip(["try 1 of 2", "try 2 of 2"]) {
        assert_eq!((entry.what, &*entry.who), (AuditAction::Run, "rule bank"));
        assert_eq!(entry.why.as_deref(), Some(why));
        assert!(matches!(&entry.outcome, Outcome::Failed(error) if error.contains("refused")));
        assert!(
            entry.at.duration_since(last) >= EVERY.try_into().unwrap(),
            "{entries:?}"
        );
        last = entry.at;
    }
    let all = Filter::default().key("A-000").any_state();
    let letters = one.dead_letters().list(&all).await.unwrap();
    let states: Vec<_> = letters.iter().map(|letter| letter.state).collect();
    let (open, redriven) = (LetterState::Open, LetterState::Redriven);
    assert_eq!(states, [open, redriven, redriven]);
}

#[tokio::test]
async fn no_more_letters_are_redriven_in_an_hour_than_the_rule_says() {
    let shared = Shared::new();
    let (idem, stock) = (shared.process(), Stock::new(100));
    stock.runs_on(&idem);
    let service = Service::new(idem.clone());
    die(&idem, 0..5, "connection refused").await;
    set(
        &service,
        &json!({ "at_most": 2, "handler": "replicas.place" }),
    )
    .await;
    let step = Duration::from_secs(20);
    let look = async || open(&idem).await.len();
    shared.until(step, look, |open| *open == 0).await;
    let at: Vec<_> = by_rules(&service)
        .await
        .iter()
        .map(|entry| entry.at)
        .collect();
    let hour = Duration::from_secs(3600 - 30).try_into().unwrap();
    assert_eq!(at.len(), 5);
    assert!(
        at[2].duration_since(at[0]) >= hour && at[4].duration_since(at[2]) >= hour,
        "{at:?}"
    );
}

#[tokio::test]
async fn a_rule_that_is_over_or_removed_redrives_nothing() {
    let shared = Shared::new();
    let (idem, service) = failing(&shared);
    let until = shared.clock_now() + Duration::from_secs(60);
    set(&service, &json!({ "name": "over", "until": until })).await;
    set(&service, &json!({ "name": "removed" })).await;
    set(&service, &json!({ "name": "old", "max_age": "1m" })).await;
    service
        .by("ann")
        .remove_rule("removed", "it is mended")
        .await
        .unwrap();
    let error = service.by("ann").remove_rule("removed", "again").await;
    assert!(
        matches!(error, Err(ServiceError::NoSuchRule(_))),
        "{error:?}"
    );
    die(&idem, 0..1, "connection refused").await;
    set(
        &service,
        &json!({ "name": "other", "error": "card declined" }),
    )
    .await;
    die(&idem, 1..2, "card declined").await;
    let entries = ended(&shared, &service, "A-001", 1).await;
    assert!(of_key(&entries, "A-000").is_empty(), "{entries:?}");
    let page = service.audit(&PageQuery::default()).await.unwrap();
    let removed = page
        .entries
        .iter()
        .find(|entry| entry.what == AuditAction::RemoveRule);
    assert_eq!(
        removed.unwrap().why.as_deref(),
        Some("removed: it is mended")
    );
}

#[tokio::test]
async fn a_rule_with_wrong_fields_is_refused() {
    let shared = Shared::new();
    let (_idem, service) = failing(&shared);
    for (fields, field) in [
        (json!({ "name": "a b" }), "name"),
        (json!({ "error": " " }), "error"),
        (json!({ "every": "59s" }), "every"),
        (json!({ "times": 0 }), "times"),
        (json!({ "at_most": 0 }), "at_most"),
        (json!({ "action": "discard" }), "action"),
    ] {
        let refused = service
            .by("ann")
            .set_rule(rule(&fields), "x")
            .await
            .unwrap_err();
        assert!(
            matches!(&refused, ServiceError::Invalid { field: of, .. } if *of == field),
            "{refused}"
        );
    }
    assert!(service.rules().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_configuration_sets_its_rules_and_removes_those_that_it_no_longer_has() {
    let shared = Shared::new();
    let (idem, service) = failing(&shared);
    set(&service, &json!({ "name": "of-ann" })).await;
    let config = |rules: &str| {
        let text = format!("service = \"orders\"\nchannel = []\n{rules}");
        text.parse::<idem_ops::Config>()
    };
    let one = "[[redrive]]\nname = \"one\"\nhandler = \"h\"\nevery = \"1h\"\ntimes = 3\n";
    let two = one.replace("\"one\"", "\"two\"");
    let names = async || {
        let rules = service.rules().await.unwrap().into_iter();
        rules.map(|set| set.rule.name).collect::<Vec<_>>()
    };
    config(&format!("{one}{two}"))
        .unwrap()
        .set_rules(&idem)
        .await
        .unwrap();
    assert_eq!(names().await, ["of-ann", "one", "two"]);
    config(&two).unwrap().set_rules(&idem).await.unwrap();
    assert_eq!(names().await, ["of-ann", "two"]);
    let wrong = config(&two.replace("times = 3", "times = 0"))
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("line 3") && wrong.contains("`times`"),
        "{wrong}"
    );
}
