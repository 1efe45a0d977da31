//! The body of our own.

use serde_json::{Value, json};

use crate::alert::Notice;

pub(super) fn body(notice: &Notice) -> Value {
    json!({ "version": 1, "subject": notice.subject(), "text": notice.text(), "notice": notice })
}
