//! A running service, asked over the network.

use std::path::Path;
use std::time::Duration;

use idem_ops::Secret;
use idem_ops::internals::{files, is_loopback as is_loopback_host};
use reqwest::{Certificate, Client};
use url::Url;

use super::client::{Target, Transport, innermost, no_client};
use crate::args::Place;
use crate::problem::Problem;

/// The most bytes of certificate authorities: a system's own take some hundred KiB.
const CERTIFICATES: u64 = 16 << 20;

/// Checks the address, the token and the authorities before anything is sent.
///
/// # Errors
/// Exit code 2 when one of them cannot be used, 1 when the system has no authorities.
pub(crate) fn target(url: Url, place: &Place) -> Result<Target, Problem> {
    let base = checked(url, place.plain_http)?;
    let token = match &place.token_file {
        Some(file) => Secret::from_file(file),
        None => Secret::from_env("IDEM_TOKEN"),
    };
    let token = token.map_err(|error| {
        Problem::usage(format!(
            "a service wants a token ({error}): set IDEM_TOKEN, or give `--token-file`"
        ))
    })?;
    let timeout = Duration::from_secs(place.timeout);
    let authorities = place.ca_file.as_deref().map(authorities).transpose()?;
    let mut client = Client::builder()
        // A token goes where it was sent, and nowhere else.
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(timeout.min(Duration::from_secs(10)))
        .timeout(timeout)
        .user_agent(concat!("idem/", env!("CARGO_PKG_VERSION")));
    client = if base.scheme() == "https" {
        client.tls_certs_merge(authorities.unwrap_or_default())
    } else {
        // A machine without any authority can still talk to its own loopback.
        client.tls_certs_only([])
    };
    if is_loopback(&base) {
        client = client.no_proxy();
    }
    let client = client.build().map_err(|error| no_client(&error))?;
    Ok(Target::new(
        client,
        base.into(),
        Transport::Network { token, timeout },
    ))
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, Problem> {
    let found = files::read(file, CERTIFICATES)
        .map_err(|error| error.to_string())
        .and_then(|pem| Certificate::from_pem_bundle(&pem).map_err(|error| innermost(&error)))
        .and_then(|found| match found.as_slice() {
            [] => Err("no `BEGIN CERTIFICATE`".to_owned()),
            _ => Ok(found),
        });
    found.map_err(|reason| {
        Problem::usage(format!(
            "`{}` cannot be used ({reason}): PEM with `BEGIN CERTIFICATE` is expected",
            file.display()
        ))
    })
}

/// Returns the address that paths are put behind.
fn checked(mut url: Url, plain_http: bool) -> Result<Url, Problem> {
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) || plain_http => {}
        "http" => {
            return Err(Problem::usage(
                "`http` shows the token to every machine on the way: use `https`, or `--plain-http` where the way is safe",
            ));
        }
        _ => return Err(Problem::usage("the address is not `http` or `https`")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Problem::usage(
            "the address holds a user or a password: only the token is used",
        ));
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    url.host().is_some_and(|host| is_loopback_host(&host))
}
