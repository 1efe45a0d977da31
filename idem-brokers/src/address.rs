//! A broker's address, which may contain a password.

use std::fmt;

/// An address whose `Debug` output leaves out the login.
#[derive(Clone)]
pub(crate) struct Address(String);

impl Address {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        // An unencoded password may contain `@`, so the last one counts. A query may contain a
        // password, too.
        let place = rest
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .split('?')
            .next()
            .unwrap_or_default();
        write!(f, "{scheme}://{place}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_login() {
        for (address, shown) in [
            ("nats://127.0.0.1", "nats://127.0.0.1"),
            (
                "amqp://shop:hunter2@mq:5672/orders",
                "amqp://mq:5672/orders",
            ),
            (
                "redis://:hunter2@cache/0?password=hunter2",
                "redis://cache/0",
            ),
            ("amqp://shop:hun@ter2/@mq", "amqp://mq"),
            ("shop:hunter2@mq", "://mq"),
        ] {
            assert_eq!(format!("{:?}", Address::new(address)), shown);
        }
    }
}
