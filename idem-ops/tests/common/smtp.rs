//! Mail channels through the tests' server.

use idem_ops::Secret;
use idem_ops::alert::{Email, EmailBuilder};
pub(crate) use idem_test_support::smtp::{Mode, Mood, PASSWORD, SmtpServer, USER};

/// How mails go through a server.
pub(crate) trait Through {
    /// A channel that only lacks whom it goes to.
    fn email(&self) -> EmailBuilder;
}

impl Through for SmtpServer {
    fn email(&self) -> EmailBuilder {
        let url = self.url();
        let from = "idem <alerts@shop.example.com>";
        if self.mode() == Mode::Plain {
            return Email::smtp(url).from(from);
        }
        let url = url.replacen("://", &format!("://{}@", USER.replace('@', "%40")), 1);
        Email::smtp(url)
            .password(Secret::new(PASSWORD))
            .root_certificate(self.root())
            .from(from)
    }
}
