//! JSON from outside, read for its members and for nothing below them.
//!
//! A mebibyte of `{"":0},{"":0},…` would take ninety to hold as it is. All that OAuth, OpenID Connect and JWTs say stands
//! in the members of one object and in lists of texts, so the rest is checked for being JSON and let go, however deep.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Most entries of a list that are looked at.
const LONGEST: usize = 1000;

/// The members of a JSON object: of two with one name the last. What they hold is a text, a number, a truth value, null,
/// a list of these, or an empty object that stands for any. `None` if `bytes` are something else.
pub fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let Members(members) = serde_json::from_slice(bytes).ok()?;
    Some(members)
}

struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, Shallow(value))) = map.next_entry::<String, Shallow<1>>()? {
                    members.insert(name, value);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Object)
    }
}

/// A value of which so many levels of lists are kept.
struct Shallow<const LEVELS: usize>(Value);

impl<'de, const LEVELS: usize> Deserialize<'de> for Shallow<LEVELS> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Anything::<LEVELS>).map(Self)
    }
}

struct Anything<const LEVELS: usize>;

impl<'de, const LEVELS: usize> Visitor<'de> for Anything<LEVELS> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        if LEVELS > 0 {
            while kept.len() < LONGEST {
                let Some(Shallow(value)) = list.next_element::<Shallow<0>>()? else { return Ok(kept.into()) };
                kept.push(value);
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Map::new().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Option<Value> {
        object(text.as_bytes()).map(Value::Object)
    }

    #[test]
    fn members_and_lists_are_kept_and_nothing_below() {
        assert_eq!(
            read(r#"{"t":"x","n":-1.5,"b":true,"z":null,"l":["a",2,[3],{"c":4}],"o":{"p":{"q":1}}}"#),
            Some(json!({"t": "x", "n": -1.5, "b": true, "z": null, "l": ["a", 2, [], {}], "o": {}}))
        );
        assert_eq!(read(r#"{"a":1,"a":2}"#), Some(json!({"a": 2})), "of two the last");
        let long = format!(r#"{{"l":[{}0]}}"#, "0,".repeat(5000));
        assert_eq!(read(&long).unwrap()["l"].as_array().unwrap().len(), LONGEST);
    }

    #[test]
    fn any_depth_is_read_without_going_into_it() {
        let deep = |n: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(n), "]".repeat(n));
        assert_eq!(read(&deep(500_000)), Some(json!({"a": [[]]})));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(read(&objects), Some(json!({"a": {}})));
    }

    #[test]
    fn anything_else_is_nothing() {
        for text in
            ["", "null", "[]", "7", "\"x\"", "{", "{}x", "{\"a\":01}", "{\"a\":[}", "{\"a\":NaN}", "{\"a\":1e999}"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), None);
    }
}
