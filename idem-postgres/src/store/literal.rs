//! The arguments of a function of the schema's: bound to a statement, or written out in it where several
//! statements go in one message.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Uuid;
use sqlx::{Encode, Postgres, Type};

use crate::time::Time;

/// The call of a function that is given columns of values.
pub(super) trait Call<'q>: Sized {
    /// Gives one more value.
    fn value<T>(self, value: T) -> Self
    where
        T: Literal + Encode<'q, Postgres> + Type<Postgres> + 'q;

    /// Gives one more column.
    fn column<T>(self, values: Vec<T>) -> Self
    where
        T: Literal + 'q,
        Vec<T>: Encode<'q, Postgres> + Type<Postgres>;
}

impl<'q> Call<'q> for Query<'q, Postgres, PgArguments> {
    fn value<T>(self, value: T) -> Self
    where
        T: Literal + Encode<'q, Postgres> + Type<Postgres> + 'q,
    {
        self.bind(value)
    }

    fn column<T>(self, values: Vec<T>) -> Self
    where
        T: Literal + 'q,
        Vec<T>: Encode<'q, Postgres> + Type<Postgres>,
    {
        self.bind(values)
    }
}

/// Arguments that are written out.
#[derive(Default)]
pub(super) struct Literals(pub(super) String);

impl Literals {
    /// Returns where the next argument is written.
    fn next(&mut self) -> &mut String {
        if !self.0.is_empty() {
            self.0.push_str(", ");
        }
        &mut self.0
    }
}

impl<'q> Call<'q> for Literals {
    fn value<T>(mut self, value: T) -> Self
    where
        T: Literal + Encode<'q, Postgres> + Type<Postgres> + 'q,
    {
        value.literal(self.next());
        self
    }

    fn column<T>(mut self, values: Vec<T>) -> Self
    where
        T: Literal + 'q,
        Vec<T>: Encode<'q, Postgres> + Type<Postgres>,
    {
        let sql = self.next();
        sql.push_str("ARRAY[");
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                sql.push_str(", ");
            }
            value.literal(sql);
        }
        sql.push_str("]::");
        sql.push_str(T::TYPE);
        sql.push_str("[]");
        self
    }
}

/// A value that can be written in SQL. Bytes and texts are in hexadecimal digits, which mean the same
/// whatever the session has set.
pub(super) trait Literal {
    /// The name of its type.
    const TYPE: &'static str;

    /// Writes it.
    fn literal(&self, sql: &mut String);
}

fn decoded(bytes: &[u8], sql: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    sql.push_str("decode('");
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            sql.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
    sql.push_str("', 'hex')");
}

/// Types whose values are written as they are displayed, between quotes or without.
macro_rules! displayed {
    ($($type:ty, $name:literal, $quote:literal;)*) => {
        $(impl Literal for $type {
            const TYPE: &'static str = $name;

            fn literal(&self, sql: &mut String) {
                *sql += &format!(concat!($quote, "{}", $quote), self);
            }
        })*
    };
}

displayed! {
    i32, "integer", "";
    i64, "bigint", "";
    bool, "boolean", "";
    Uuid, "uuid", "'";
}

/// Types whose values are written as bytes.
macro_rules! of_bytes {
    ($([$($generic:tt)*] $type:ty;)*) => {
        $(impl<$($generic)*> Literal for $type {
            const TYPE: &'static str = "bytea";

            fn literal(&self, sql: &mut String) {
                decoded(self.as_ref(), sql);
            }
        })*
    };
}

of_bytes! {
    [const LENGTH: usize] [u8; LENGTH];
    [] &[u8];
    [] Vec<u8>;
}

impl Literal for str {
    const TYPE: &'static str = "text";

    fn literal(&self, sql: &mut String) {
        sql.push_str("convert_from(");
        decoded(self.as_bytes(), sql);
        sql.push_str(", 'UTF8')");
    }
}

impl Literal for &str {
    const TYPE: &'static str = str::TYPE;

    fn literal(&self, sql: &mut String) {
        (**self).literal(sql);
    }
}

impl Literal for String {
    const TYPE: &'static str = str::TYPE;

    fn literal(&self, sql: &mut String) {
        self.as_str().literal(sql);
    }
}

impl Literal for Time {
    const TYPE: &'static str = "timestamptz";

    fn literal(&self, sql: &mut String) {
        *sql += &format!("timestamptz '{:.6}'", self.rounded());
    }
}

impl<T: Literal> Literal for Option<T> {
    const TYPE: &'static str = T::TYPE;

    fn literal(&self, sql: &mut String) {
        match self {
            Some(value) => value.literal(sql),
            None => sql.push_str("NULL"),
        }
    }
}
