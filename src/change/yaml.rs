//! Changes a YAML document in place: unchanged parts keep their bytes, with comments, order and style.
//!
//! The parser says where each value is. A change inserts, removes or replaces one piece of text; then the text is
//! parsed again and must have exactly the wanted value. A value that cannot be changed in this way, e.g. because an
//! alias elsewhere repeats it, is refused.
//!
//! Paths are JSON pointers (RFC 6901) such as `/users/0/user/exec`.

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle};
use serde_json::json;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::ops::Range;

/// How many values aliases may repeat in total; a document with more is an attack.
const MOST_REPEATED: usize = 10_000;
/// How deeply values may be nested, for the same reason.
const DEEPEST: usize = 100;

/// The first document of a YAML text.
#[derive(Clone, Debug)]
pub struct Yaml {
    /// The text without the byte order mark.
    text: String,
    byte_order_mark: bool,
    root: Node,
    value: Value,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The line, counted from 1.
    pub line: usize,
    /// The reason.
    pub why: String,
}

/// A value and its position.
#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    /// The position in the text. A collection in block style ends with its last value.
    span: Range<usize>,
    line: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Scalar(Value),
    Map(Vec<Entry>, StructureStyle),
    List(Vec<Entry>, StructureStyle),
    Alias(usize),
}

/// A key with its value, or an item of a list.
#[derive(Clone, Debug)]
struct Entry {
    key: Option<Node>,
    value: Node,
}

use Kind::{Alias, List, Scalar};
use StructureStyle::{Block, Flow};

/// A range of the text, and its replacement.
type Edit = (Range<usize>, String);

impl Yaml {
    /// Parses a text; an empty one is null.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let byte_order_mark = text.starts_with('\u{feff}');
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader { text, depth: 0, events: Parser::new_from_str(text), anchors: HashMap::new() };
        let root = reader.document()?;
        let value = root.value(&mut Aliases { anchors: reader.anchors, left: MOST_REPEATED, depth: 0 })?;
        Ok(Self { text: text.to_owned(), byte_order_mark, root, value })
    }

    /// The document's value, with aliases and merge keys resolved.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The text after the changes.
    pub fn text(&self) -> String {
        let mark = if self.byte_order_mark { "\u{feff}" } else { "" };
        format!("{mark}{}", self.text)
    }

    /// The line of a value, or of the nearest existing value above it.
    pub fn line(&self, path: &str) -> usize {
        self.nearest(path).0.line
    }

    /// Sets a key to a value. The key is added if it does not exist.
    pub fn set(&mut self, path: &str, value: &Value) -> Result<(), Wrong> {
        let (above, key) = path.rsplit_once('/').unwrap_or_default();
        let node = self.node(above)?;
        let Some(entry) = node.entry(key) else { return self.add(above, Some(key), value) };
        let edit = self.replacement(node.style(), entry, value);
        self.apply(path, above, edit, |parent| parent[key] = value.clone())
    }

    /// Appends an item to a list. The list is added if it does not exist.
    pub fn push(&mut self, path: &str, value: &Value) -> Result<(), Wrong> {
        if self.value.pointer(path).is_some() {
            return self.add(path, None, value);
        }
        self.set(path, &Value::Array(vec![value.clone()]))
    }

    /// Removes a key or an item, if it exists. Removing the last one leaves an empty map or list.
    pub fn remove(&mut self, path: &str) -> Result<(), Wrong> {
        if self.value.pointer(path).is_none() {
            return Ok(());
        }
        let (above, step) = path.rsplit_once('/').unwrap_or_default();
        let node = self.node(above)?;
        if node.entries().len() == 1 && !above.is_empty() {
            return self.set(above, &node.emptied());
        }
        let edit = self.removal(node, step);
        self.apply(path, above, edit, |parent| match parent {
            Value::Array(items) => drop(step.parse().map(|index: usize| items.remove(index))),
            parent => drop(parent.as_object_mut().and_then(|map| map.remove(step))),
        })
    }

    /// The last existing node on a path, and whether it is the path's end. Aliases are not followed.
    fn nearest(&self, path: &str) -> (&Node, bool) {
        let mut node = &self.root;
        for step in path.split('/').skip(1) {
            let Some(entry) = node.entry(step) else { return (node, false) };
            node = &entry.value;
        }
        (node, true)
    }

    fn node(&self, path: &str) -> Result<&Node, Wrong> {
        let (node, found) = self.nearest(path);
        if found { Ok(node) } else { Err(self.unchangeable(path)) }
    }

    fn unchangeable(&self, path: &str) -> Wrong {
        let name = path.trim_start_matches('/').replace('/', ".");
        let why = format!("{name} cannot be changed in place: an anchor, an alias or a rare notation is in the way");
        Wrong { line: self.line(path), why }
    }

    /// Edits the text, and checks that its value is then what `change` makes of the value at `above`.
    fn apply(
        &mut self,
        path: &str,
        above: &str,
        edit: Option<Edit>,
        change: impl FnOnce(&mut Value),
    ) -> Result<(), Wrong> {
        let mut expected = self.value.clone();
        let (Some((range, new)), Some(parent)) = (edit, expected.pointer_mut(above)) else {
            return Err(self.unchangeable(path));
        };
        change(parent);
        let mut text = self.text.clone();
        text.replace_range(range, &new);
        match Self::parse(&text) {
            Ok(after) if after.value == expected => {
                *self = Self { byte_order_mark: self.byte_order_mark, ..after };
                Ok(())
            }
            _ => Err(self.unchangeable(path)),
        }
    }

    /// Adds a key to the map at a path, or an item to the list.
    fn add(&mut self, path: &str, key: Option<&str>, value: &Value) -> Result<(), Wrong> {
        let node = self.node(path)?;
        if matches!(&node.kind, Alias(_) | Scalar(Value::String(_) | Value::Bool(_))) {
            return Err(self.unchangeable(path));
        }
        let alone = || match key {
            Some(key) => json!({ key: value }),
            None => Value::Array(vec![value.clone()]),
        };
        let (at, new) = match (node.entries(), node.style()) {
            ([.., last], Flow) => (last.value.span.end, format!(", {}", flow(key, value))),
            ([first, .., last] | [first @ last], _) => {
                let column = self.column(self.start(first, Block));
                let at = self.after(last.value.span.end);
                (at, self.lines(at, &format!("{:column$}{}", "", block(key, value, column))))
            }
            ([], _) if !path.is_empty() => return self.set(path, &alone()),
            ([], Flow) => (node.span.start + 1, flow(key, value)),
            ([], Block) => (self.text.len(), self.lines(self.text.len(), &block(key, value, 0))),
        };
        self.apply(path, path, Some((at..at, new)), |parent| match (parent, key) {
            (Value::Array(items), None) => items.push(value.clone()),
            (Value::Object(map), Some(key)) => drop(map.insert(key.to_owned(), value.clone())),
            (parent, _) => *parent = alone(),
        })
    }

    /// The edit that replaces the value of a key.
    fn replacement(&self, style: StructureStyle, entry: &Entry, value: &Value) -> Option<Edit> {
        let key = entry.key.as_ref()?;
        let colon = self.text[key.span.end..].find(':').map(|at| key.span.end + at + 1)?;
        let end = entry.value.span.end.max(colon);
        let there = &entry.value.span;
        let gap = &self.text[colon..there.start.max(colon)];
        if style == Flow && !there.is_empty() && gap.trim().is_empty() {
            let is_quoted = self.text[there.clone()].starts_with(['"', '\'']);
            let plain = value.as_str().filter(|_| !is_quoted).map(word);
            return Some((there.clone(), plain.unwrap_or_else(|| value.to_string())));
        }
        let mut new = match style {
            Flow => format!(" {value}"),
            Block => self.with_line_ends(&value_of_key(value, self.column(key.span.start))),
        };
        if self.text[..end].ends_with('\n') {
            new.push_str(self.line_end());
        }
        Some((colon..end, new))
    }

    /// The edit that removes one of several entries.
    fn removal(&self, node: &Node, step: &str) -> Option<Edit> {
        let (entries, style) = (node.entries(), node.style());
        let index = entries.iter().rposition(|entry| std::ptr::eq(entry, node.entry(step).unwrap_or(entry)))?;
        let (start, end) = (self.start(&entries[index], style), entries[index].value.span.end);
        let next = entries.get(index + 1).map(|next| self.start(next, style));
        let range = match style {
            Flow if index > 0 => entries[index - 1].value.span.end..end,
            Flow => start..next?,
            // The first key of a list item follows the dash, which must stay.
            Block if !self.text[start - self.column(start)..start].trim().is_empty() => start..next?,
            Block => start - self.column(start)..self.after(end),
        };
        Some((range, String::new()))
    }

    /// Where an entry begins: at its key, or at its dash for a list in block style.
    fn start(&self, entry: &Entry, style: StructureStyle) -> usize {
        match &entry.key {
            Some(key) => key.span.start,
            None if style == Flow => entry.value.span.start,
            None => {
                let before = &self.text[..entry.value.span.start];
                ["- ", "-\n", "-\r\n", "-\t"].iter().filter_map(|dash| before.rfind(dash)).max().unwrap_or_default()
            }
        }
    }

    /// The position within the line, in bytes.
    fn column(&self, at: usize) -> usize {
        at - self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// The start of the next line, or the end of the text.
    fn after(&self, at: usize) -> usize {
        if self.text[..at].ends_with('\n') {
            return at;
        }
        self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline + 1)
    }

    fn line_end(&self) -> &'static str {
        let first = self.text.find('\n').filter(|newline| self.text[..*newline].ends_with('\r'));
        if first.is_some() { "\r\n" } else { "\n" }
    }

    fn with_line_ends(&self, text: &str) -> String {
        text.replace('\n', self.line_end())
    }

    /// Whole lines to insert at the start of a line, or at the end of a text without a final line break.
    fn lines(&self, at: usize, lines: &str) -> String {
        let (lines, end) = (self.with_line_ends(lines), self.line_end());
        if at == 0 || self.text[..at].ends_with('\n') { lines + end } else { end.to_owned() + &lines }
    }
}

impl Node {
    fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries, _) | List(entries, _) => entries,
            _ => &[],
        }
    }

    fn style(&self) -> StructureStyle {
        match self.kind {
            Kind::Map(_, style) | List(_, style) => style,
            _ => Block,
        }
    }

    /// The entry with this key or index. Of two equal keys the later one counts, as in kubectl.
    fn entry(&self, step: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries, _) => entries.iter().rfind(
                |entry| matches!(&entry.key, Some(Self { kind: Scalar(Value::String(key)), .. }) if key == step),
            ),
            List(entries, _) => entries.get(step.parse::<usize>().ok()?),
            _ => None,
        }
    }

    fn emptied(&self) -> Value {
        if matches!(self.kind, List(..)) { Value::Array(Vec::new()) } else { Value::Object(Map::new()) }
    }

    /// The node's value.
    fn value(&self, aliases: &mut Aliases) -> Result<Value, Wrong> {
        Ok(match &self.kind {
            Scalar(value) => value.clone(),
            List(items, _) => items.iter().map(|item| item.value.value(aliases)).collect::<Result<_, _>>()?,
            Kind::Map(entries, _) => {
                let (mut map, mut merged) = (Map::new(), Map::new());
                for Entry { key, value } in entries {
                    let name = key.as_ref().map(|key| key.value(aliases)).transpose()?.unwrap_or_default();
                    match (name.as_str(), value.value(aliases)?) {
                        (Some("<<"), Value::Object(others)) => merged.extend(others),
                        (Some("<<"), Value::Array(all)) => {
                            let maps = all.into_iter().rev().filter_map(|one| one.as_object().cloned());
                            merged.extend(maps.flatten());
                        }
                        (name, value) => drop(map.insert(name.unwrap_or_default().to_owned(), value)),
                    }
                }
                merged.extend(map);
                Value::Object(merged)
            }
            Alias(id) => {
                let target = aliases.anchors.get(id).cloned();
                let left = target.as_ref().and_then(|target| aliases.left.checked_sub(target.size()));
                let (Some(target), Some(left), true) = (target, left, aliases.depth < DEEPEST) else {
                    return Err(Wrong { line: self.line, why: "its aliases repeat too much".to_owned() });
                };
                (aliases.left, aliases.depth) = (left, aliases.depth + 1);
                let value = target.value(aliases)?;
                aliases.depth -= 1;
                value
            }
        })
    }

    /// The number of values in the node, without following aliases.
    fn size(&self) -> usize {
        1 + self.entries().iter().map(|entry| 1 + entry.value.size()).sum::<usize>()
    }
}

/// The targets of aliases, and how much they may still repeat.
struct Aliases {
    anchors: HashMap<usize, Node>,
    left: usize,
    depth: usize,
}

/// Builds nodes from the parser's events.
struct Reader<'t> {
    text: &'t str,
    depth: usize,
    events: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Node>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Wrong> {
        let next = self.events.next().unwrap_or(Ok((Event::StreamEnd, Span::default())));
        next.map_err(|e| Wrong { line: e.marker().line(), why: format!("it is not YAML: {}", e.info()) })
    }

    /// Reads the first document; null if there is none.
    fn document(&mut self) -> Result<Node, Wrong> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd | Event::DocumentEnd => {
                    return Ok(Node { kind: Scalar(Value::Null), span: 0..0, line: 1 });
                }
                event => return self.node(event, &span),
            }
        }
    }

    /// Reads the node that begins with `event`. Fails if it is nested too deeply, or refers to itself.
    fn node(&mut self, event: Event<'t>, at: &Span) -> Result<Node, Wrong> {
        let mut span = at.byte_range().unwrap_or_default();
        let line = at.start.line();
        let wrong = |why: &str| Err(Wrong { line, why: why.to_owned() });
        self.depth += 1;
        if self.depth > DEEPEST {
            return wrong("it is nested too deeply");
        }
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
                    span.end = self.end_of_lines(span.end);
                }
                (Scalar(scalar(&text, style == ScalarStyle::Plain && tag.is_none())), anchor)
            }
            // An anchor is known only when its value has ended.
            Event::Alias(id) if !self.anchors.contains_key(&id) => {
                return wrong("an alias stands within its own anchor");
            }
            Event::Alias(id) => (Alias(id), 0),
            Event::SequenceStart(style, anchor, _) => {
                let items = self.entries(&Event::SequenceEnd, style, &mut span)?;
                (List(items, style), anchor)
            }
            Event::MappingStart(style, anchor, _) => {
                let entries = self.entries(&Event::MappingEnd, style, &mut span)?;
                (Kind::Map(entries, style), anchor)
            }
            _ => return wrong("it is not YAML"),
        };
        self.depth -= 1;
        let node = Node { kind, span, line };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Reads entries until `last`, the event that ends the collection.
    fn entries(
        &mut self,
        last: &Event<'t>,
        style: StructureStyle,
        span: &mut Range<usize>,
    ) -> Result<Vec<Entry>, Wrong> {
        let mut entries = Vec::new();
        loop {
            let (mut event, mut at) = self.next()?;
            if event == *last {
                let end = entries.last().filter(|_| style == Block).map(|entry: &Entry| entry.value.span.end);
                span.end = end.unwrap_or(at.byte_range().unwrap_or_default().end);
                return Ok(entries);
            }
            let mut key = None;
            if *last == Event::MappingEnd {
                key = Some(self.node(event, &at)?);
                (event, at) = self.next()?;
            }
            let mut value = self.node(event, &at)?;
            if let Some(key) = key.as_ref().filter(|_| value.span.is_empty()) {
                value.span = self.behind_colon(key);
            }
            entries.push(Entry { key, value });
        }
    }

    /// The end of a block scalar, because the parser reports the beginning of the next token.
    fn end_of_lines(&self, next: usize) -> usize {
        let block = self.text[..next].trim_end();
        self.text[block.len()..].find('\n').map_or(self.text.len(), |newline| block.len() + newline + 1)
    }

    /// Where the value of a key without a value would be.
    fn behind_colon(&self, key: &Node) -> Range<usize> {
        let rest = &self.text[key.span.end..];
        let behind = rest.trim_start().strip_prefix(':').unwrap_or(rest);
        let at = key.span.end + rest.len() - behind.len() + usize::from(behind.starts_with(' '));
        at..at
    }
}

/// The value of a scalar. Numbers stay strings, because nothing that is used here is a number.
fn scalar(text: &str, plain: bool) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
        "true" | "True" | "TRUE" if plain => Value::Bool(true),
        "false" | "False" | "FALSE" if plain => Value::Bool(false),
        text => Value::from(text),
    }
}

/// An entry in flow style, written as JSON.
fn flow(key: Option<&str>, value: &Value) -> String {
    key.map_or_else(|| value.to_string(), |key| format!("{}: {value}", Value::from(key)))
}

/// An entry in block style whose key is in this column. The first line's indentation is already there.
fn block(key: Option<&str>, value: &Value, column: usize) -> String {
    match key {
        Some(key) => format!("{}:{}", word(key), value_of_key(value, column)),
        None => format!("- {}", lines(value, column + 2)),
    }
}

/// The text after a key's colon in block style, for a key in this column.
fn value_of_key(value: &Value, column: usize) -> String {
    match value {
        Value::Object(map) if !map.is_empty() => format!("\n{:1$}{2}", "", column + 2, lines(value, column + 2)),
        // As kubectl writes lists: dashes are below the key.
        Value::Array(items) if !items.is_empty() => format!("\n{:column$}{}", "", lines(value, column)),
        value => format!(" {}", lines(value, column)),
    }
}

/// A value in block style in this column. The first line's indentation is already there.
fn lines(value: &Value, column: usize) -> String {
    let entries: Vec<String> = match value {
        Value::Object(map) if !map.is_empty() => map.iter().map(|(k, v)| block(Some(k), v, column)).collect(),
        Value::Array(items) if !items.is_empty() => items.iter().map(|item| block(None, item, column)).collect(),
        Value::String(text) => return word(text),
        value => return value.to_string(),
    };
    entries.join(&format!("\n{:column$}", ""))
}

/// A string, unquoted if every YAML parser reads it as a string, otherwise in double quotes.
fn word(text: &str) -> String {
    const OTHERS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let start = text.strip_prefix("--").unwrap_or(text);
    let plain = start.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@%+=".contains(c))
        && !text.ends_with(':')
        && !OTHERS.iter().any(|other| text.eq_ignore_ascii_case(other));
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn exec() -> Value {
        json!({"command": "/usr/bin/keyfob", "args": ["kubernetes", "--profile", "a, \"b\""], "env": null})
    }

    fn changed(text: &str, change: impl FnOnce(&mut Yaml) -> Result<(), Wrong>) -> String {
        let mut yaml = Yaml::parse(text).unwrap();
        change(&mut yaml).unwrap_or_else(|wrong| panic!("{text}\n{wrong:?}"));
        yaml.text()
    }

    const EXEC: &str = "/users/0/user/exec";

    #[test]
    fn a_key_is_set_in_the_style_around_it() {
        for (before, after) in [
            (
                "# mine\nusers:\n- name: a   # first\n  user:\n    token: x  # old\n# end\n",
                "# mine\nusers:\n- name: a   # first\n  user:\n    token: x  # old\n    exec:\n      args:\n      - kubernetes\n      \
                 - --profile\n      - \"a, \\\"b\\\"\"\n      command: /usr/bin/keyfob\n      env: null\n# end\n",
            ),
            (
                "users:\n  - user: {}\n    name: a",
                "users:\n  - user:\n      exec:\n        args:\n        - kubernetes\n        - --profile\n        - \"a, \\\"b\\\"\"\n        \
                 command: /usr/bin/keyfob\n        env: null\n    name: a",
            ),
            (
                "users:\r\n- user:\r\n  name: a\r\n",
                "users:\r\n- user:\r\n    exec:\r\n      args:\r\n      - kubernetes\r\n      - --profile\r\n      \
                 - \"a, \\\"b\\\"\"\r\n      command: /usr/bin/keyfob\r\n      env: null\r\n  name: a\r\n",
            ),
            (
                "{\"users\":[{\"user\":{\"token\":\"x\"}}]}",
                "{\"users\":[{\"user\":{\"token\":\"x\", \"exec\": {\"args\":[\"kubernetes\",\"--profile\",\"a, \\\"b\\\"\"],\
                 \"command\":\"/usr/bin/keyfob\",\"env\":null}}}]}",
            ),
            (
                "users: [{user: {exec: {command: gke}}, name: a}] # mine\n",
                "users: [{user: {exec: {\"args\":[\"kubernetes\",\"--profile\",\"a, \\\"b\\\"\"],\"command\":\"/usr/bin/keyfob\",\
                 \"env\":null}}, name: a}] # mine\n",
            ),
            (
                "users:\n- user:\n    exec:\n      command: gke\n      installHint: |2\n\n        hello\n\n        bye\n    as: b\n",
                "users:\n- user:\n    exec:\n      args:\n      - kubernetes\n      - --profile\n      - \"a, \\\"b\\\"\"\n      \
                 command: /usr/bin/keyfob\n      env: null\n    as: b\n",
            ),
        ] {
            assert_eq!(changed(before, |yaml| yaml.set(EXEC, &exec())), after);
        }
    }

    #[test]
    fn a_word_gives_way_to_another_and_the_comment_beside_it_stays() {
        let path = "/contexts/0/context/user";
        for (before, after) in [
            ("contexts:\n- context:\n    user: old  # work\n", "contexts:\n- context:\n    user: new  # work\n"),
            (
                "contexts:\n- context: {user: \"old\", cluster: c} # w\n",
                "contexts:\n- context: {user: \"new\", cluster: c} # w\n",
            ),
            (
                "contexts:\n- context:\n    user: &u 'old'\n    cluster: c\n",
                "contexts:\n- context:\n    user: new\n    cluster: c\n",
            ),
            (
                "contexts:\n- context:\n    user:\n    cluster: c\n",
                "contexts:\n- context:\n    user: new\n    cluster: c\n",
            ),
        ] {
            assert_eq!(changed(before, |yaml| yaml.set(path, &json!("new"))), after);
        }
    }

    #[test]
    fn an_item_comes_last_and_goes_again() {
        let item = json!({"name": "lab", "user": {"exec": {"command": "on", "args": ["1", "--x", "~"]}}});
        let lines = |indent: &str| {
            let lines = "- name: lab\n  user:\n    exec:\n      args:\n      - \"1\"\n      - --x\n      - \"~\"\n      command: \"on\"";
            lines.lines().flat_map(|line| [indent, line, "\n"]).collect::<String>()
        };
        for (before, after) in [
            (
                "users:\n- name: a\n  user: {} # mine\n# end\ncontexts: []\n",
                format!("users:\n- name: a\n  user: {{}} # mine\n{}# end\ncontexts: []\n", lines("")),
            ),
            (
                "users:\n  -\n    name: a\n  - &b\n    name: b\n",
                format!("users:\n  -\n    name: a\n  - &b\n    name: b\n{}", lines("  ")),
            ),
            (
                "---\nusers:\n- name: a\n---\nusers: []\n",
                format!("---\nusers:\n- name: a\n{}---\nusers: []\n", lines("")),
            ),
            ("\u{feff}users:\n- name: a", format!("\u{feff}users:\n- name: a\n{}", lines("").trim_end())),
        ] {
            let with = changed(before, |yaml| yaml.push("/users", &item));
            assert_eq!(with, after);
            let last = Yaml::parse(&with).unwrap().value()["users"].as_array().unwrap().len() - 1;
            let without = changed(&with, |yaml| yaml.remove(&format!("/users/{last}")));
            assert_eq!(without.trim_end(), before.trim_end());
        }
        for (before, after) in [
            ("", format!("users:\n{}", lines(""))),
            ("# mine\nkind: Config", format!("# mine\nkind: Config\nusers:\n{}", lines("").trim_end())),
            ("users: null # none\nkind: Config\n", format!("users:\n{} # none\nkind: Config\n", lines("").trim_end())),
            ("users:\nkind: Config\n", format!("users:\n{}kind: Config\n", lines(""))),
            ("users: []\nkind: Config\n", format!("users:\n{}kind: Config\n", lines(""))),
            ("{}", format!("{{\"users\": [{item}]}}")),
            ("{\n \"users\": [ ]\n}\n", format!("{{\n \"users\": [{item}]\n}}\n")),
        ] {
            let with = changed(before, |yaml| yaml.push("/users", &item));
            assert_eq!(with, after);
            let without = changed(&with, |yaml| yaml.remove("/users/0"));
            assert_eq!(Yaml::parse(&without).unwrap().value()["users"], json!([]));
        }
    }

    #[test]
    fn what_is_taken_out_leaves_the_rest_as_it_stands() {
        for (before, path, after) in [
            ("a: 1\nb: # x\n  c: |\n    t\n\n# end\nd: 2\n", "/b", "a: 1\n\n# end\nd: 2\n"),
            ("- a: 1\n  b: 2\n", "/0/a", "- b: 2\n"),
            ("- a: 1\n  b: 2\n", "/0/b", "- a: 1\n"),
            ("x:\n  a: 1\n", "/x/a", "x: {}\n"),
            ("{\n  \"a\": [1, 2],\n  \"b\": 2\n}\n", "/b", "{\n  \"a\": [1, 2]\n}\n"),
            ("{\n  \"a\": [1, 2],\n  \"b\": 2\n}\n", "/a/0", "{\n  \"a\": [2],\n  \"b\": 2\n}\n"),
            ("a: {b: , c: 1,}\n", "/a/c", "a: {b: ,}\n"),
            ("a: 1\n", "/z", "a: 1\n"),
        ] {
            assert_eq!(changed(before, |yaml| yaml.remove(path)), after);
        }
    }

    #[test]
    fn what_an_alias_repeats_is_read_and_not_changed_through_it() {
        let text = "base: &base {token: t, x: 1}\nusers:\n- user: &u\n    <<: *base\n    x: 2\n- user: *u\n- user:\n    <<: [*base, {y: 3}]\n";
        let yaml = Yaml::parse(text).unwrap();
        let user = |index: usize| &yaml.value()["users"][index]["user"];
        assert_eq!(
            (user(0), user(1), user(2)),
            (&json!({"token": "t", "x": "2"}), user(0), &json!({"token": "t", "x": "1", "y": "3"}))
        );
        for path in [EXEC, "/users/1/user/exec"] {
            let mut tried = yaml.clone();
            let wrong = tried.set(path, &exec()).unwrap_err();
            assert!(wrong.why.contains("cannot be changed in place"), "{wrong:?}");
            assert_eq!(tried.text(), text);
        }
        assert!(yaml.clone().set("/users/2/user/exec", &exec()).is_ok());
    }

    #[test]
    fn what_is_no_yaml_is_named_by_its_line() {
        for (text, line, why) in [
            ("users:\n- a\n  b: c\n d: e\n", 3, "it is not YAML: "),
            ("a: 1\nb: [1\n", 2, "it is not YAML: "),
            ("a: *b\n", 1, "it is not YAML: "),
            ("a: &a [*a]\n", 1, "an alias stands within its own anchor"),
        ] {
            let wrong = Yaml::parse(text).unwrap_err();
            assert!(wrong.why.starts_with(why), "{text} {wrong:?}");
            assert_eq!(wrong.line, line, "{text} {wrong:?}");
        }
        let laughs = (1..12).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
            let last = format!("*a{}, ", n - 1).repeat(9);
            format!("{text}a{n}: &a{n} [{last}]\n")
        });
        assert_eq!(Yaml::parse(&laughs).unwrap_err().why, "its aliases repeat too much");
        assert_eq!(Yaml::parse(&"[".repeat(100_000)).unwrap_err().why, "it is not YAML: recursion limit exceeded");
        assert_eq!(Yaml::parse(&("[".repeat(200) + &"]".repeat(200))).unwrap_err().why, "it is nested too deeply");
        assert_eq!(Yaml::parse(&"- ".repeat(100_000)).unwrap_err().why, "it is nested too deeply");
        let chain = (1..5000).fold("a0: &a0 [x]\n".to_owned(), |text, n| format!("{text}a{n}: &a{n} [*a{}]\n", n - 1));
        assert_eq!(Yaml::parse(&chain).unwrap_err().why, "its aliases repeat too much");
    }

    proptest! {
        /// Any text is either read or refused, and a changed text has the wanted value.
        #[test]
        fn anything_is_read_or_refused(text in "([a-c]: |- |\\[|\\]|\\{|\\}|, |&x |\\*x|\n|  |#|\"|'|\\|\n|é){0,24}") {
            if let Ok(mut yaml) = Yaml::parse(&text) {
                let _ = yaml.push("/a", &exec());
                let _ = yaml.set("/b/c", &exec());
                let _ = yaml.remove("/a/0");
                let _ = yaml.remove("/c");
            }
        }
    }
}
