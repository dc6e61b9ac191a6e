//! az's output: `-o json|tsv|none`, and `--query` in JMESPath.

use crate::callers::json_line;
use crate::failure::{Exit, Failure};
use jmespath::ast::Ast;
use jmespath::{Expression, Rcvar, Variable};
use serde::Serialize;
use std::fmt::{Display, Write};

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One line of JSON with sorted keys.
    Json,
    /// Values separated by tabs, not quoted.
    Tsv,
    /// No output.
    None,
}

/// How to print an answer.
#[derive(Debug)]
pub(super) struct Output {
    format: Format,
    query: Option<Expression<'static>>,
}

impl Output {
    /// From the values of `--output` and `--query`. The error is in az's words.
    pub(super) fn new(format: Option<&str>, query: Option<&str>) -> Result<Self, String> {
        let format = match format.unwrap_or("json") {
            "json" | "jsonc" => Format::Json,
            "tsv" => Format::Tsv,
            "none" => Format::None,
            other => return Err(format!("argument --output: keyfob's az answers json, tsv and none, not {other:?}")),
        };
        let query = query.map(|query| {
            jmespath::compile(query).map_err(|e| format!("argument --query: {query:?} is not JMESPath: {}", e.reason))
        });
        Ok(Self { format, query: query.transpose()? })
    }

    /// The text for stdout; empty if the query finds nothing.
    pub(super) fn text(&self, answer: &impl Serialize) -> Result<String, Failure> {
        let failed = |error: &dyn Display| Failure::new(Exit::Failed, error.to_string());
        if self.format == Format::None {
            return Ok(String::new());
        }
        if self.query.is_none() && self.format == Format::Json {
            return Ok(json_line(answer));
        }
        let mut found = Rcvar::new(Variable::from_serializable(answer).map_err(|e| failed(&e))?);
        let mut order = None;
        if let Some(query) = &self.query {
            found = query.search(found).map_err(|e| failed(&e))?;
            order = columns(query.as_ast());
            if found.is_null() {
                return Ok(String::new());
            }
        }
        match self.format {
            Format::Tsv => Ok(tsv(&found, order.as_deref())),
            _ => Ok(json_line(&*found)),
        }
    }
}

/// The columns of a query such as `{token:accessToken,type:tokenType}`, in their order.
fn columns(query: &Ast) -> Option<Vec<&str>> {
    match query {
        Ast::MultiHash { elements, .. } => Some(elements.iter().map(|pair| pair.key.as_str()).collect()),
        Ast::Projection { rhs, .. } | Ast::Subexpr { rhs, .. } => columns(rhs),
        _ => None,
    }
}

/// One line per element of a list, or one line for anything else.
fn tsv(answer: &Variable, columns: Option<&[&str]>) -> String {
    let rows = answer.as_array().map_or_else(|| vec![answer], |rows| rows.iter().map(|row| &**row).collect());
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = match row {
            Variable::Object(object) => match columns {
                Some(columns) => columns.iter().filter_map(|key| object.get(*key)).map(|cell| written(cell)).collect(),
                None => object.values().map(|cell| written(cell)).collect(),
            },
            Variable::Array(cells) => cells.iter().map(|cell| written(cell)).collect(),
            Variable::Bool(value) => vec![value.to_string()],
            single => vec![written(single)],
        };
        let _ = writeln!(text, "{}", cells.join("\t"));
    }
    text
}

/// A cell as Python prints it, because az is written in Python.
fn written(cell: &Variable) -> String {
    match cell {
        Variable::Null => "None".to_owned(),
        Variable::Bool(value) => if *value { "True" } else { "False" }.to_owned(),
        Variable::String(text) => text.clone(),
        Variable::Array(cells) => cells.len().to_string(),
        Variable::Object(_) | Variable::Expref(_) => String::new(),
        Variable::Number(number) => number.to_string(),
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "takes what json! makes")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn printed(format: &str, query: Option<&str>, answer: Value) -> String {
        Output::new(Some(format), query).unwrap().text(&answer).unwrap()
    }

    #[test]
    fn queries_that_callers_send() {
        let answer =
            || json!({"accessToken": "t", "expiresOn": "2026-11-22 22:30:56.000000", "expires_on": 7, "tenant": null});
        for (format, query, text) in [
            ("json", "accessToken", "\"t\"\n"),
            ("tsv", "accessToken", "t\n"),
            ("tsv", "expires_on", "7\n"),
            ("json", "{accessToken:accessToken}", "{\"accessToken\":\"t\"}\n"),
            ("tsv", "expiresOn", "2026-11-22 22:30:56.000000\n"),
            ("tsv", "[accessToken, expires_on]", "t\n7\n"),
            ("tsv", "{b:expires_on, a:accessToken}", "7\tt\n"),
            ("json", "{b:expires_on, a:accessToken}", "{\"a\":\"t\",\"b\":7}\n"),
            ("json", "nothing", ""),
            ("tsv", "nothing", ""),
            ("none", "accessToken", ""),
        ] {
            assert_eq!(printed(format, Some(query), answer()), text, "{format} {query}");
        }
        assert_eq!(printed("tsv", None, answer()), "t\t2026-11-22 22:30:56.000000\t7\tNone\n");
    }

    #[test]
    fn lists_and_truths_are_written_as_az_writes_them() {
        let list = || json!([{"id": "s", "isDefault": true, "user": {"name": "u"}}, {"id": "r", "isDefault": false, "user": {}}]);
        assert_eq!(printed("tsv", None, list()), "s\tTrue\t\nr\tFalse\t\n");
        assert_eq!(printed("tsv", Some("[?isDefault].id"), list()), "s\n");
        assert_eq!(printed("tsv", Some("[].{name:user.name, id:id}"), list()), "u\ts\nNone\tr\n");
        assert_eq!(printed("tsv", Some("[0].isDefault"), list()), "true\n");
        assert_eq!(printed("tsv", None, json!([])), "");
        assert_eq!(printed("json", Some("length(@)"), list()), "2\n");
    }

    #[test]
    fn what_cannot_be_printed_is_refused() {
        let refused = |format, query| Output::new(Some(format), query).unwrap_err();
        assert_eq!(refused("table", None), "argument --output: keyfob's az answers json, tsv and none, not \"table\"");
        let query = refused("json", Some("[?"));
        assert!(query.starts_with("argument --query: \"[?\" is not JMESPath: "), "{query}");
    }
}
