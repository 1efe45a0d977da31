//! `idem accept-loss`: lets the services of a ledger on Redis go on without what the server lost.

use idem_ops::service::Service;
use serde_json::json;

use super::args::{AcceptLoss, Place};
use super::format::line;
use super::out::Out;
use super::problem::Problem;
use super::prompt;
use super::target::{LedgerUrl, Location, Server};

pub(crate) async fn run(
    AcceptLoss { reason, yes }: AcceptLoss,
    at: Location,
    place: &Place,
    out: Out,
) -> Result<(), Problem> {
    let server = match &at {
        Location::Shared(url) => Some((url.clone(), url.server(&place.schema)?)),
        _ => None,
    };
    let Some((url, Server::Redis(redis))) = server else {
        return Err(Problem::usage(
            "only a ledger on Redis can lose what it acknowledged and go on: give `--ledger redis://…`",
        ));
    };
    let health = redis.health().await.map_err(|error| url.problem(&error))?;
    let Some(lost) = health.lost else {
        return out.answer(
            &json!({ "ledger": url.to_string(), "lost": null, "accepted": false }),
            |_| {
                format!(
                    "`{}` has lost nothing that its processes know of: nothing was changed",
                    line(&url.to_string())
                )
            },
        );
    };
    let question = format!(
        "The ledger at {url} lost what it had acknowledged: {lost}. If you go on, messages whose records are gone run \
         again when they are delivered again, and letters that are gone do not come back. This cannot be undone. Go on?"
    );
    let why = prompt::why(reason, "do services go on without what is gone")?;
    prompt::confirm(&question, yes)?;
    let accepted = redis.accept_loss().await;
    let accepted = accepted.map_err(|error| url.problem(&error))?;
    if accepted {
        remember(&url, place, &lost, &why).await?;
    }
    out.answer(
        &json!({ "ledger": url.to_string(), "lost": lost, "accepted": accepted }),
        |_| {
            format!(
                "the services of `{}` go on without what is gone. Compare the business's own data with the brokers: what \
                 was handled and is delivered again runs again",
                line(&url.to_string())
            )
        },
    )
}

/// Writes into the audit log who agreed, and why.
async fn remember(url: &LedgerUrl, place: &Place, lost: &str, why: &str) -> Result<(), Problem> {
    let idem = url.open(&place.schema).await?;
    let who = prompt::whoami(place.by.clone()).unwrap_or_else(|| "somebody".to_owned());
    let service = Service::read_only(idem.clone());
    let written = service.by(who).accepted_loss(lost, why).await;
    let closed = idem.close().await;
    written.map_err(|error| {
        Problem::failed(format!(
            "services go on, but the audit log does not say who agreed: {error}"
        ))
    })?;
    closed.map_err(|error| Problem::failed(format!("{error:#}")))
}
