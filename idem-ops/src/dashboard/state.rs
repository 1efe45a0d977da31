//! The state that all pages share.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::OriginalUri;
use axum::http::request::Parts;

use super::session::Sessions;
use crate::auth::Auth;
use crate::service::Service;

/// The state that all pages share.
#[derive(Clone)]
pub(super) struct Dashboard(Arc<Shared>);

pub(super) struct Shared {
    pub service: Service,
    pub auth: Auth,
    pub sessions: Sessions,
    /// Whether the dashboard's prefix was logged.
    prefix_logged: AtomicBool,
}

impl Dashboard {
    pub(super) fn new(service: Service, auth: Auth) -> Self {
        Self(Arc::new(Shared {
            service,
            auth,
            sessions: Sessions::default(),
            prefix_logged: AtomicBool::new(false),
        }))
    }

    /// Logs once under which prefix the dashboard is nested: the links in alerts need it, and are
    /// configured elsewhere.
    pub(super) fn log_prefix(&self, parts: &Parts) {
        let original = parts
            .extensions
            .get::<OriginalUri>()
            .map(|uri| uri.path())
            .unwrap_or_default();
        let prefix = original.strip_suffix(parts.uri.path()).unwrap_or_default();
        if !prefix.is_empty() && !self.prefix_logged.swap(true, Ordering::Relaxed) {
            tracing::info!(
                prefix,
                "the dashboard is nested: the address given to `Monitor::dashboard` needs this prefix"
            );
        }
    }
}

impl Deref for Dashboard {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
