//! The dead letters of a running consumer's source.

use std::fmt::Display;
use std::sync::Arc;

use idem_runtime::Idem;
use idem_runtime::dead_letters::ConsumerRegistration;
use serde::Serialize;

use super::processor::{Decoder, decoded};
use crate::delivery::Source;
use crate::republish::again;

/// Registers how letters of the source are run by the handler, and published to the source.
pub(super) fn register<S: Source, T, F, R, E>(
    idem: &Idem,
    source: &Arc<S>,
    name: &str,
    decode: Decoder<T>,
    call: Arc<impl Fn(T) -> F + Send + Sync + 'static>,
) -> ConsumerRegistration
where
    T: Send + 'static,
    F: Future<Output = Result<R, E>> + Send + 'static,
    R: Serialize,
    E: Display,
{
    let run = move |bytes: &[u8]| {
        // The handler's own code before its future is part of the call, too.
        decoded(&decode, bytes).map(|message| {
            let call = Arc::clone(&call);
            async move { call(message).await }
        })
    };
    let registration = idem.register_consumer(source.places(), name, run);
    let Some(publisher) = source.publisher() else {
        return registration;
    };
    let source = Arc::clone(source);
    registration.publisher(move |letter| {
        let to = letter
            .origin
            .as_ref()
            .map(|origin| source.destination(origin));
        let message = again(letter, &to.unwrap_or_default());
        let publisher = Arc::clone(&publisher);
        async move { publisher.publish(message).await }
    })
}
