//! The client's side as middlewares of `reqwest-middleware`.

use http::{Extensions, HeaderValue, Method, StatusCode};
use reqwest_middleware::reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};

use super::issued::issued;
use super::retry::{Repeatable, may_repeat};
use super::{IdempotencyKeys, IssueError, IssuedKeys, Retries};
use crate::headers::KEY;
use crate::key::IdempotencyKey;

/// The key of a request, for what sends it again: that may stand outside, and would get a new one
/// each time.
#[derive(Debug, Clone)]
struct KeptKey(HeaderValue);

#[async_trait::async_trait]
impl Middleware for IdempotencyKeys {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        if !self.is_missing(request.method(), request.headers()) {
            return next.run(request, extensions).await;
        }
        let key = match (extensions.get::<IdempotencyKey>(), extensions.get()) {
            (Some(given), _) => given.to_header(),
            (None, Some(KeptKey(key))) => key.clone(),
            (None, None) => self.key().to_header(),
        };
        send(request, key, extensions, next).await
    }
}

#[async_trait::async_trait]
impl Middleware for IssuedKeys {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        if !self.is_missing(request.method(), request.headers()) {
            return next.run(request, extensions).await;
        }
        let key = match extensions.get() {
            Some(KeptKey(key)) => key.clone(),
            None => {
                let mut url = request.url().clone();
                url.set_path(self.path.path());
                url.set_query(self.path.query());
                let mut ask = Request::new(Method::POST, url);
                *ask.headers_mut() = self.credentials_of(request.headers());
                let mut asked = Extensions::new();
                asked.insert(Repeatable);
                let answer = next.clone().run(ask, &mut asked).await?;
                let key = issued(answer.status(), answer.headers());
                key.map_err(|error: IssueError<Error>| Error::middleware(error))?
            }
        };
        send(request, key, extensions, next).await
    }
}

/// Sends a request under a key.
async fn send(
    mut request: Request,
    key: HeaderValue,
    extensions: &mut Extensions,
    next: Next<'_>,
) -> Result<Response> {
    request.headers_mut().insert(KEY, key.clone());
    extensions.insert(KeptKey(key));
    let result = next.run(request, extensions).await;
    if result.as_ref().is_ok_and(|it| is_last(it.status())) {
        // The next request with these extensions is another one.
        extensions.remove::<KeptKey>();
    }
    result
}

/// Returns whether an answer ends a request: nothing sends it again.
fn is_last(status: StatusCode) -> bool {
    !status.is_server_error() && !matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

#[async_trait::async_trait]
impl Middleware for Retries {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let mut retries = self.clone();
        let may_repeat = may_repeat(request.method(), request.headers())
            || extensions.get::<Repeatable>().is_some();
        loop {
            // A stream cannot be sent a second time.
            let Some(copy) = request.try_clone() else {
                return next.run(request, extensions).await;
            };
            let result = next.clone().run(copy, extensions).await;
            let answer = match &result {
                Ok(answer) => Some((answer.status(), answer.headers())),
                Err(Error::Reqwest(error)) if !error.is_builder() && !error.is_redirect() => None,
                Err(_) => return result,
            };
            match retries.next(may_repeat, answer) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return result,
            }
        }
    }
}
