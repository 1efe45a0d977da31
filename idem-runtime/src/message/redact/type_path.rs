//! Follows a path into a value by the names that its type's `Serialize` gives, those of the fields
//! that it leaves out included.

use std::any::type_name;
use std::fmt;

use serde::Serialize;
use serde::ser::{
    Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, Serializer,
};
use smallvec::SmallVec;

use super::names::letters;
use super::step;

/// Names that are less alike than this are not suggested.
const NEAR: f64 = 0.7;

/// What following a path came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// It leads to a part that the type has.
    Found,
    /// What it leads through is absent, another variant, or of a kind that names no fields.
    Absent,
    /// It leads to a struct that has no such field.
    NoSuchField {
        of: &'static str,
        name: String,
        like: Option<&'static str>,
    },
}

/// Follows a path into a value.
pub(super) fn follow<T: Serialize + ?Sized>(path: &str, value: &T) -> Seen {
    // What cannot be followed counts as absent.
    value.serialize(Look(path)).unwrap_or(Seen::Absent)
}

/// Follows what is left of a path.
#[derive(Clone, Copy)]
struct Look<'p>(&'p str);

/// Follows it into each element: what one of them shows holds.
struct Each<'p> {
    look: Look<'p>,
    seen: Seen,
}

impl Each<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        if !matches!(self.seen, Seen::Found) {
            match value.serialize(self.look)? {
                Seen::Absent => {}
                seen => self.seen = seen,
            }
        }
        Ok(())
    }
}

/// Follows it into the field that it names.
struct Fields<'p> {
    of: &'static str,
    /// Nothing where it leads to another variant.
    path: Option<&'p str>,
    seen: Option<Seen>,
    names: SmallVec<[&'static str; 16]>,
}

impl<'p> Fields<'p> {
    fn new(of: &'static str, path: Option<&'p str>) -> Self {
        Self {
            of,
            path,
            seen: None,
            names: SmallVec::new(),
        }
    }

    fn field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        let Some((wanted, rest)) = self.path.map(step) else {
            return Ok(());
        };
        // The first field of an enum that is written as a struct is its tag.
        if self.names.is_empty() && is_tag(type_name::<T>()) && wanted != name {
            self.seen = Some(Seen::Absent);
        }
        self.names.push(name);
        if wanted == name {
            self.seen = Some(match rest {
                None => Seen::Found,
                Some(rest) => value.serialize(Look(rest))?,
            });
        }
        Ok(())
    }

    fn skipped(&mut self, name: &'static str) {
        self.names.push(name);
        if self.path.is_some_and(|path| step(path).0 == name) {
            self.seen = Some(if self.path == Some(name) {
                Seen::Found
            } else {
                Seen::Absent
            });
        }
    }

    fn end(self) -> Seen {
        let Some(path) = self.path else {
            return Seen::Absent;
        };
        self.seen.unwrap_or_else(|| {
            let name = step(path).0;
            let likeness = |field: &str| {
                strsim::normalized_damerau_levenshtein(&letters(name), &letters(field))
            };
            let like = self
                .names
                .iter()
                .copied()
                .max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
            let like = like.filter(|field| likeness(field) >= NEAR);
            Seen::NoSuchField {
                of: self.of,
                name: name.to_owned(),
                like,
            }
        })
    }
}

/// serde writes an enum's tag as a literal, or as a type of its own.
fn is_tag(type_name: &str) -> bool {
    type_name == "str" || type_name.contains("AdjacentlyTagged")
}

macro_rules! absent {
    ($($method:ident($($of:ty),*);)*) => {
        $(fn $method(self, $(_: $of),*) -> Result<Seen, fmt::Error> {
            Ok(Seen::Absent)
        })*
    };
}

impl<'p> Serializer for Look<'p> {
    type Ok = Seen;
    type Error = fmt::Error;
    type SerializeSeq = Each<'p>;
    type SerializeTuple = Each<'p>;
    type SerializeTupleStruct = Each<'p>;
    type SerializeTupleVariant = Impossible<Seen, fmt::Error>;
    type SerializeMap = Keys;
    type SerializeStruct = Fields<'p>;
    type SerializeStructVariant = Fields<'p>;

    absent! {
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_i128(i128); serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64);
        serialize_u128(u128); serialize_f32(f32); serialize_f64(f64); serialize_char(char); serialize_str(&str);
        serialize_bytes(&[u8]); serialize_none(); serialize_unit(); serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Seen, fmt::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Seen, fmt::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Seen, fmt::Error> {
        match step(self.0) {
            (name, None) if name == variant => Ok(Seen::Found),
            (name, Some(rest)) if name == variant => value.serialize(Look(rest)),
            _ => Ok(Seen::Absent),
        }
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Each<'p>, fmt::Error> {
        Ok(Each {
            look: self,
            seen: Seen::Absent,
        })
    }

    fn serialize_tuple(self, _: usize) -> Result<Each<'p>, fmt::Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Each<'p>, fmt::Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<Seen, fmt::Error>, fmt::Error> {
        // What cannot be followed is taken for absent.
        Err(fmt::Error)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Keys, fmt::Error> {
        Ok(Keys)
    }

    fn serialize_struct(self, of: &'static str, _: usize) -> Result<Fields<'p>, fmt::Error> {
        Ok(Fields::new(of, Some(self.0)))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields<'p>, fmt::Error> {
        let (name, rest) = step(self.0);
        Ok(Fields::new(variant, rest.filter(|_| name == variant)))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<Seen, fmt::Error> {
        Ok(Seen::Absent)
    }
}

/// A map's keys are data, and no names of a type.
struct Keys;

impl SerializeMap for Keys {
    type Ok = Seen;
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), fmt::Error> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), fmt::Error> {
        Ok(())
    }

    fn end(self) -> Result<Seen, fmt::Error> {
        Ok(Seen::Absent)
    }
}

macro_rules! each {
    ($($trait:ident: $method:ident;)*) => {
        $(impl $trait for Each<'_> {
            type Ok = Seen;
            type Error = fmt::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
                self.element(value)
            }

            fn end(self) -> Result<Seen, fmt::Error> {
                Ok(self.seen)
            }
        })*
    };
}

each! { SerializeSeq: serialize_element; SerializeTuple: serialize_element; SerializeTupleStruct: serialize_field; }

macro_rules! fields {
    ($($trait:ident;)*) => {
        $(impl $trait for Fields<'_> {
            type Ok = Seen;
            type Error = fmt::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), fmt::Error> {
                self.field(name, value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), fmt::Error> {
                self.skipped(name);
                Ok(())
            }

            fn end(self) -> Result<Seen, fmt::Error> {
                Ok(Fields::end(self))
            }
        })*
    };
}

fields! { SerializeStruct; SerializeStructVariant; }

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn seen(path: &str, value: &impl Serialize) -> Seen {
        follow(path, value)
    }

    fn misspelt(of: &'static str, name: &str, like: &'static str) -> Seen {
        Seen::NoSuchField {
            of,
            name: name.to_owned(),
            like: Some(like),
        }
    }

    #[derive(Serialize)]
    struct Order {
        card_no: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        coupon: Option<&'static str>,
        buyer: Option<Buyer>,
        lines: Vec<Buyer>,
        pay: Pay,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Buyer {
        phone_no: &'static str,
    }

    #[derive(Serialize)]
    enum Pay {
        Card { number: &'static str },
        Bank(Buyer),
        Cash,
    }

    fn order(pay: Pay) -> Order {
        Order {
            card_no: None,
            coupon: None,
            buyer: None,
            lines: Vec::new(),
            pay,
        }
    }

    #[test]
    fn what_is_absent_is_found_where_the_type_has_it_and_is_never_misspelt() {
        let order = order(Pay::Cash);
        for path in ["card_no", "coupon", "buyer", "lines", "pay"] {
            assert_eq!(seen(path, &order), Seen::Found, "{path}");
        }
        for path in [
            "buyer.phone",
            "lines.phone",
            "coupon.code",
            "card_no.first",
            "pay.Card.numbr",
            "pay.crad",
        ] {
            assert_eq!(seen(path, &order), Seen::Absent, "{path}");
        }
    }

    #[test]
    fn a_name_that_the_type_has_not_is_misspelt_at_first_sight() {
        let buyer = || Buyer { phone_no: "1" };
        let mut order = order(Pay::Card { number: "1" });
        (order.buyer, order.lines) = (Some(buyer()), vec![buyer()]);
        assert_eq!(
            seen("cardno", &order),
            misspelt("Order", "cardno", "card_no")
        );
        assert_eq!(seen("coupn", &order), misspelt("Order", "coupn", "coupon"));
        assert_eq!(
            seen("buyer.phone_no", &order),
            misspelt("Buyer", "phone_no", "phoneNo")
        );
        assert_eq!(
            seen("lines.phone", &order),
            misspelt("Buyer", "phone", "phoneNo")
        );
        assert_eq!(
            seen("pay.Card.numbr", &order),
            misspelt("Card", "numbr", "number")
        );
        assert_eq!(seen("pay.Card.number", &order), Seen::Found);
        order.pay = Pay::Bank(buyer());
        assert_eq!(seen("pay.Bank.phoneNo", &order), Seen::Found);
        let other = Seen::NoSuchField {
            of: "Order",
            name: "iban".to_owned(),
            like: None,
        };
        assert_eq!(seen("iban", &order), other);
    }

    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Card { card_no: u8 },
        Gift(Gift),
    }

    #[derive(Serialize)]
    #[serde(tag = "kind", content = "of")]
    enum Beside {
        Card { card_no: u8 },
        Cash,
    }

    #[derive(Serialize)]
    #[serde(untagged)]
    enum Untagged {
        Card { card_no: u8 },
        Iban { iban: u8 },
    }

    #[derive(Serialize)]
    struct Gift {
        card_code: u8,
    }

    #[derive(Serialize)]
    struct Flat {
        #[serde(flatten)]
        gift: Gift,
    }

    #[test]
    fn another_variant_is_never_taken_for_a_misspelt_path() {
        assert_eq!(seen("card_no", &Tagged::Card { card_no: 1 }), Seen::Found);
        assert_eq!(
            seen("card_no", &Tagged::Gift(Gift { card_code: 1 })),
            Seen::Absent
        );
        assert_eq!(
            seen("of.card_no", &Beside::Card { card_no: 1 }),
            Seen::Found
        );
        assert_eq!(seen("of.card_no", &Beside::Cash), Seen::Absent);
        assert_eq!(seen("card_no", &Untagged::Card { card_no: 1 }), Seen::Found);
        let other = Seen::NoSuchField {
            of: "Untagged",
            name: "card_no".to_owned(),
            like: None,
        };
        assert_eq!(
            seen("card_no", &Untagged::Iban { iban: 1 }),
            other,
            "told of, and not as a warning"
        );
        assert_eq!(
            seen(
                "card_no",
                &Flat {
                    gift: Gift { card_code: 1 }
                }
            ),
            Seen::Absent
        );
        assert_eq!(
            seen("card_no", &BTreeMap::from([("cardno", 1)])),
            Seen::Absent
        );
    }

    #[test]
    fn one_element_that_has_it_is_enough() {
        let mixed = [Untagged::Iban { iban: 1 }, Untagged::Card { card_no: 1 }];
        assert_eq!(seen("card_no", &mixed), Seen::Found);
    }
}
