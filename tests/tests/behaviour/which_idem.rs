//! Which Idem a call belongs to, and what it is refused with where there is none, or a closed one,
//! or two of a name.

use idem_runtime::testing::temporary;
use idem_runtime::{Error, Filter, Idem, attempt, idempotent};

use crate::common::{Body, soon};

#[idempotent(name = "which.run", key = "id", skip(body))]
async fn run(id: u32, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[idempotent(name = "which.run_now", key = "id", skip(body))]
fn run_now(id: u32, body: &Body) -> Result<u32, Error> {
    Ok(body.start())
}

#[tokio::test]
async fn without_one_nothing_runs() {
    let body = Body::open();
    for error in [
        run(1, &body).await.unwrap_err(),
        run_now(1, &body).unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::NotInstalled { handler } if handler.starts_with("which.run")),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("install"),
            "it says what to do: {error}"
        );
    }
    assert_eq!(body.starts(), 0);
}

#[tokio::test]
async fn scopes_do_not_see_each_other() {
    let (one, two, body) = (temporary().unwrap(), temporary().unwrap(), Body::open());
    let (a, b) =
        soon(async { tokio::join!(one.scope(run(1, &body)), two.scope(run(1, &body))) }).await;
    assert_ne!(a.unwrap(), b.unwrap());
    assert_eq!(body.starts(), 2);
}

#[tokio::test]
async fn the_innermost_scope_counts() {
    let (one, two, body) = (temporary().unwrap(), temporary().unwrap(), Body::open());
    one.scope(async {
        assert_eq!(run(1, &body).await.unwrap(), 1);
        assert_eq!(two.scope(run(1, &body)).await.unwrap(), 2);
        assert_eq!(two.sync_scope(|| run_now(1, &body)).unwrap(), 3);
        assert_eq!(run_now(1, &body).unwrap(), 4);
        assert_eq!(run(1, &body).await.unwrap(), 1);
    })
    .await;
    assert!(
        matches!(run(1, &body).await, Err(Error::NotInstalled { .. })),
        "a scope ends"
    );
}

#[tokio::test]
async fn a_scope_is_not_inherited_by_a_spawned_task() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        let task = tokio::spawn(async move { run(1, &body).await });
        assert!(matches!(
            soon(task).await.unwrap(),
            Err(Error::NotInstalled { .. })
        ));
    })
    .await;
}

struct Service {
    idem: Idem,
}

impl Service {
    #[idempotent(name = "which.explicit", key = "id", runtime = self.idem, retries = 0, skip(body))]
    async fn explicit(&self, id: u32, body: &Body) -> Result<u32, Error> {
        Ok(body.start())
    }
}

#[tokio::test]
async fn an_explicit_one_wins_over_the_scope() {
    let (one, two, body) = (temporary().unwrap(), temporary().unwrap(), Body::open());
    let service = Service {
        idem: Idem::clone(&one),
    };
    assert_eq!(service.explicit(1, &body).await.unwrap(), 1);
    two.scope(async {
        assert_eq!(
            service.explicit(1, &body).await.unwrap(),
            1,
            "a replay of the explicit one's"
        );
    })
    .await;
}

mod first {
    use idem_runtime::{Error, idempotent};

    #[idempotent(name = "which.taken", key = "id")]
    pub(super) async fn run(id: u32) -> Result<u32, Error> {
        Ok(1)
    }
}

mod second {
    use idem_runtime::{Error, idempotent};

    #[idempotent(name = "which.taken", key = "id")]
    pub(super) async fn run(id: u32) -> Result<u32, Error> {
        Ok(2)
    }
}

#[tokio::test]
async fn two_functions_of_one_name_are_found_and_both_places_named() {
    let idem = temporary().unwrap();
    idem.scope(async {
        assert_eq!(first::run(1).await.unwrap(), 1);
        for id in [1, 2] {
            let error = second::run(id).await.unwrap_err();
            let Error::NameTaken {
                handler,
                first,
                second,
            } = &error
            else {
                panic!("{error:?}")
            };
            assert_eq!(handler, "which.taken");
            assert!(
                first.contains("which_idem.rs:")
                    && second.contains("which_idem.rs:")
                    && first != second
            );
            assert!(
                error.to_string().contains(first) && error.to_string().contains(second),
                "{error}"
            );
        }
        assert_eq!(first::run(1).await.unwrap(), 1, "the first one goes on");
    })
    .await;
}

#[idempotent(name = "which.attempt", key = "tenant, id", retries = 4, skip(body))]
async fn attempts(
    tenant: &str,
    id: u32,
    body: &Body,
) -> Result<(u32, u32, String, String, u64), Error> {
    body.start();
    let outer = attempt().unwrap();
    run(id, body).await?;
    assert_eq!(
        attempt(),
        Some(outer.clone()),
        "another handler's attempt is its own"
    );
    Ok((
        outer.number,
        outer.of,
        outer.handler.to_string(),
        outer.key.to_string(),
        outer.token,
    ))
}

#[tokio::test]
async fn a_body_can_ask_for_its_attempt_and_nobody_else_can() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    assert_eq!(attempt(), None);
    idem.scope(async {
        assert_eq!(attempt(), None);
        let (number, of, handler, key, token) = attempts("t,1", 1, &body).await.unwrap();
        assert_eq!((number, of, handler.as_str()), (1, 5, "which.attempt"));
        assert_eq!(key, "t\\,1,1");
        let (.., later) = attempts("t", 2, &body).await.unwrap();
        assert!(later > token, "tokens grow from message to message");
        assert_eq!(attempt(), None);
    })
    .await;
    assert!(
        idem.dead_letters()
            .list(&Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn handlers_can_be_spawned_and_boxed() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let (idem, body) = (temporary().unwrap(), Body::open());
    let service = Service {
        idem: Idem::clone(&idem),
    };
    idem.scope(async {
        is_send(run(1, &body)).await.unwrap();
        is_send(attempts("t", 2, &body)).await.unwrap();
        is_send(service.explicit(3, &body)).await.unwrap();
        is_send(first::run(4)).await.unwrap();
    })
    .await;
}
