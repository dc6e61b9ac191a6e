//! JSON objects from other programs, read one member at a time.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// The most entries of a list that are read.
pub(super) const LONGEST: usize = 1000;

/// The members of a JSON object, each kept as its text. Only members that are used are parsed, so a deeply nested or
/// invalid member does no harm to others. If a name occurs twice, the last one counts.
#[derive(Clone, Default)]
pub struct Members(BTreeMap<String, Box<RawValue>>);

/// Equal if the texts are.
impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.0 == b.0 && a.1.get() == b.1.get())
    }
}

/// Shows only the names, because a value may be a token.
impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Members {
    /// Parses an object, with or without a byte order mark. The error says what the bytes are instead.
    pub fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        // A UTF-16 byte order mark, or a zero byte next to an ASCII character.
        if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..]) {
            return Err("UTF-16, and JSON is UTF-8");
        }
        // Invalid UTF-8 spoils only the string that contains it.
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
        serde_json::from_str(&text).map(Self).map_err(|_| "not a JSON object")
    }

    /// The member of this name, if it exists and has this type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// The member of this name, if it is a string and not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).filter(|text: &String| !text.is_empty())
    }

    /// The entries of a list that have this type, of the first thousand entries; `None` if the member is not a list.
    pub fn list<T: DeserializeOwned>(&self, name: &str) -> Option<Vec<T>> {
        let entries: Vec<&RawValue> = serde_json::from_str(self.0.get(name)?.get()).ok()?;
        Some(entries.iter().take(LONGEST).filter_map(|entry| serde_json::from_str(entry.get()).ok()).collect())
    }

    /// The members of the object of this name; empty if it is not an object.
    #[must_use]
    pub fn object(&self, name: &str) -> Self {
        self.0.get(name).and_then(|text| Self::read(text.get().as_bytes()).ok()).unwrap_or_default()
    }

    /// A number, written as a number or as a string.
    pub fn number(&self, name: &str) -> Option<f64> {
        let number = self.get(name).or_else(|| self.text(name)?.trim().parse().ok());
        number.filter(|number| f64::is_finite(*number))
    }

    /// Whether there is a member of this name that is not null.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value.get() != "null")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Members {
        Members::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_member_that_cannot_be_read_costs_no_other() {
        let members = read(r#"{"a":"\ud800","b":1e999,"c":{"d":["e"]},"f":"g","h":null,"i":["j",7,"\ud800","k"]}"#);
        assert_eq!((members.text("a"), members.number("b"), members.text("c")), (None, None, None));
        assert_eq!(members.text("f").as_deref(), Some("g"));
        assert_eq!(members.list::<String>("i").unwrap(), ["j", "k"]);
        assert_eq!(members.list::<u32>("i").unwrap(), [7]);
        assert_eq!(members.list::<String>("f"), None);
        assert_eq!(members.object("c").list::<String>("d").unwrap(), ["e"]);
        assert!(members.object("f").0.is_empty());
        assert_eq!(["a", "h", "z"].map(|name| members.has(name)), [true, false, false]);
    }

    #[test]
    fn numbers_are_numbers_also_as_texts() {
        let members = read(r#"{"a":7,"b":" 7.5 ","c":"x","d":"NaN","e":[7],"f":-1}"#);
        let numbers = ["a", "b", "c", "d", "e", "f"].map(|name| members.number(name));
        assert_eq!(numbers, [Some(7.0), Some(7.5), None, None, None, Some(-1.0)]);
    }

    #[test]
    fn of_two_with_one_name_the_last_counts() {
        assert_eq!(read(r#"{"a":"x","a":"y"}"#).text("a").as_deref(), Some("y"));
    }

    #[test]
    fn any_depth_and_any_length_is_read_without_going_into_it() {
        for (open, close, list) in [("[", "]", Some(Vec::new())), ("{\"x\":", "}", None)] {
            let deep = format!(r#"{{"a":{}1{},"b":"c"}}"#, open.repeat(300_000), close.repeat(300_000));
            let members = read(&deep);
            assert_eq!((members.text("a"), members.text("b").as_deref()), (None, Some("c")));
            assert_eq!(members.list::<String>("a"), list);
        }
        let long = format!(r#"{{"l":[{}0]}}"#, "0,".repeat(5000));
        assert_eq!(read(&long).list::<u8>("l").unwrap().len(), LONGEST);
    }

    #[test]
    fn what_is_no_object_of_utf_8_is_said_to_be_something_else() {
        for text in ["", "null", "[]", "7", "\"x\"", "{", "{}x", "{\"a\":01}", "{\"a\":[}", "{\"a\":NaN}"] {
            assert_eq!(Members::read(text.as_bytes()).err(), Some("not a JSON object"), "{text}");
        }
        for bytes in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}", b"{\0}\0"] {
            assert_eq!(Members::read(bytes).err(), Some("UTF-16, and JSON is UTF-8"));
        }
        assert_eq!(read("\u{feff}{\"a\":\"b\"}").text("a").as_deref(), Some("b"));
        let spoilt = Members::read(b"{\"a\":\"\xff\",\"b\":\"c\"}").unwrap();
        assert_eq!((spoilt.text("a").as_deref(), spoilt.text("b").as_deref()), (Some("\u{fffd}"), Some("c")));
    }
}
