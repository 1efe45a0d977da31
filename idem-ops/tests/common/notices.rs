//! Notices to send.

use idem_ops::alert::{Brief, Group, Notice, NoticeKind};
use idem_runtime::{DeadLetterId, clock::Timestamp, dead_letters::Reason};
use uuid::ContextV7;

pub(crate) fn time() -> Timestamp {
    "2026-03-04T05:06:07Z".parse().unwrap()
}

/// One letter in one group.
pub(crate) fn with(service: &str, handler: &str, key: &str, error: &str) -> Notice {
    let mut notice = Notice::new(NoticeKind::NewGroup, service, time());
    notice.groups = vec![group(handler, key, error)];
    notice.open = 1;
    notice.dashboard = Some("https://ops.example.com/idem/".parse().unwrap());
    notice
}

pub(crate) fn card_declined() -> Notice {
    with("orders", "orders.place", "A-1001", "card declined")
}

pub(crate) fn group(handler: &str, key: &str, error: &str) -> Group {
    let mut group = Group::new(handler, error, 1, time());
    group.newest = vec![brief(key, error)];
    group
}

pub(crate) fn brief(key: &str, error: &str) -> Brief {
    let id = DeadLetterId::new(time(), &ContextV7::new());
    let mut brief = Brief::new(id, key, Reason::BudgetSpent, 4, time());
    brief.error = Some(error.to_owned());
    brief
}

/// More than any channel has room for.
pub(crate) fn huge(key: &str, error: &str) -> Notice {
    let mut notice = Notice::new(NoticeKind::Digest, "orders", time());
    notice.dashboard = Some("https://ops.example.com/?a=1&b=2".parse().unwrap());
    notice.groups = (0..60)
        .map(|number| {
            let mut group = Group::new(format!("orders.place{number}"), error, 10_000, time());
            group.newest = (0..5)
                .map(|_| brief(&key.repeat(50), &error.repeat(200)))
                .collect();
            group
        })
        .collect();
    notice.open = 600_000;
    notice
}
