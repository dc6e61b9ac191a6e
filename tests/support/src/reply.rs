//! Scripted answers: everything a server, a proxy or the network between can do to a client.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Answer, Body};

/// What an endpoint does with one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// What the provider would do anyway.
    Real,
    /// Do it (spend the code, rotate the refresh token), then hang up: the answer got lost.
    RealThenDrop,
    /// Do it, then take this long to answer.
    RealThenWait(Duration),
    /// Hang up without an answer.
    Drop,
    /// Exactly this answer.
    Answer(Answer),
    /// Exactly these bytes, HTTP or not, then hang up.
    Wire(Vec<u8>),
    /// Wait first.
    After(Duration, Box<Reply>),
}

impl Reply {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, value: &Value) -> Self {
        Self::body(status, "application/json", value.to_string())
    }

    /// An OAuth error with status 400.
    #[must_use]
    pub fn error(code: &str) -> Self {
        Self::json(400, &json!({ "error": code }))
    }

    /// A page for people, as captive portals and proxies send it.
    #[must_use]
    pub fn html(status: u16, text: &str) -> Self {
        Self::body(status, "text/html; charset=utf-8", format!("<!doctype html><title>{text}</title><h1>{text}</h1>"))
    }

    /// Any body.
    #[must_use]
    pub fn body(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Answer(Answer::new(status, content_type, body))
    }

    /// A status and nothing else.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self::Answer(Answer { status, headers: Vec::new(), body: Body::Bytes(Vec::new()) })
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::empty(status).header("Location", location)
    }

    /// A body that never ends.
    #[must_use]
    pub fn endless(status: u16) -> Self {
        let headers = vec![("Content-Type".into(), "application/json".into())];
        Self::Answer(Answer { status, headers, body: Body::Endless })
    }

    /// A JSON body of these bytes so many times, which nobody has to hold.
    #[must_use]
    pub fn repeated(status: u16, bytes: impl Into<Vec<u8>>, times: usize) -> Self {
        let headers = vec![("Content-Type".into(), "application/json".into())];
        Self::Answer(Answer { status, headers, body: Body::Repeated(bytes.into(), times) })
    }

    /// The same with one more header; only an answer has headers.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        match self {
            Self::Answer(answer) => Self::Answer(answer.header(name, value)),
            Self::After(time, reply) => Self::After(time, Box::new(reply.header(name, value))),
            other => panic!("{other:?} has no headers"),
        }
    }

    /// The same, its body sent a byte at a time with a pause before each; only an answer has a body.
    #[must_use]
    pub fn trickled(self, pause: Duration) -> Self {
        match self {
            Self::Answer(Answer { status, headers, body: Body::Bytes(bytes) }) => {
                Self::Answer(Answer { status, headers, body: Body::Trickled(bytes, pause) })
            }
            Self::After(time, reply) => Self::After(time, Box::new(reply.trickled(pause))),
            other => panic!("{other:?} has no body to trickle"),
        }
    }

    /// The same after a while. The provider's own logic runs after it, too.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self::After(time, Box::new(self))
    }
}
