//! OAuth servers that are libraries for Python, and glewlwyd, each behind a door that notes what keyfob asked.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Missing, on_path, python};

/// Pins the packages by version and hash.
const REQUIREMENTS: &str = include_str!("../../../real/servers/requirements.txt");

/// The programs.
const FILES: [(&str, &str); 6] = [
    ("stage.py", include_str!("../../../real/servers/stage.py")),
    ("pages.py", include_str!("../../../real/servers/pages.py")),
    ("authlib_flask.py", include_str!("../../../real/servers/authlib_flask.py")),
    ("django_allauth.py", include_str!("../../../real/servers/django_allauth.py")),
    ("django_oauth_toolkit.py", include_str!("../../../real/servers/django_oauth_toolkit.py")),
    ("glewlwyd.py", include_str!("../../../real/servers/glewlwyd.py")),
];

/// A server with a person, `ada`, and a client, `keyfob`. It ends when this is dropped.
pub struct OauthServer {
    child: Child,
    control: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    ready: Value,
    _folder: TempDir,
}

impl OauthServer {
    /// Starts the server of this module.
    pub fn start(module: &str) -> Result<Self, Missing> {
        if module == "glewlwyd" && on_path("glewlwyd").is_none() {
            return Err(Missing::new("glewlwyd", "not found"));
        }
        let fetched = python::with_packages("servers-python", REQUIREMENTS, &FILES);
        let (program, files) = fetched.map_err(|why| Missing::new("OAuth servers for Python", why))?;
        let folder = TempDir::with_prefix("keyfob-server-").expect("a temporary folder");
        let mut child = Command::new(program)
            .arg(files.join("stage.py"))
            .arg(module)
            .arg(folder.path())
            .env("PYTHONPATH", files.join("packages"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|why| Missing::new("python3", why))?;
        let control = (child.stdin.take().expect("stdin"), BufReader::new(child.stdout.take().expect("stdout")));
        let mut server = Self { child, control: RefCell::new(control), ready: Value::Null, _folder: folder };
        server.ready = server.answer();
        Ok(server)
    }

    /// Its name and version.
    pub fn title(&self) -> &str {
        self.ready["title"].as_str().expect("a title")
    }

    /// Where it is.
    pub fn origin(&self) -> &str {
        self.ready["origin"].as_str().expect("an origin")
    }

    /// What a profile of keyfob's says of it, as TOML.
    pub fn profile(&self) -> String {
        let settings = self.ready["profile"].as_object().expect("a profile");
        let lines: Vec<String> = settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        lines.concat()
    }

    /// Has the person or the administrator do something, or asks what was asked: one line for each request since the last
    /// time. What there is stands in `stage.py`.
    pub fn tell(&self, what: &str, value: &Value) -> Value {
        let line = if value.is_null() { json!([what]) } else { json!([what, value]) };
        writeln!(self.control.borrow_mut().0, "{line}").expect("telling a server");
        self.answer()
    }

    fn answer(&self) -> Value {
        let mut line = String::new();
        self.control.borrow_mut().1.read_line(&mut line).expect("reading a server's answer");
        serde_json::from_str(&line).expect("an answer; its complaint stands above")
    }
}

impl Drop for OauthServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
