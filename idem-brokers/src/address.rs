//! A broker's address, which may hold a password.

use std::fmt;

/// An address whose `Debug` shows where it leads to, and not who logs in.
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
        // The last `@`: a password that was not encoded may hold one. A query may hold a password
        // too.
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
    fn nothing_of_a_login_is_shown() {
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
