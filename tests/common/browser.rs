//! A minimal browser for sign-ins: it follows redirects, and posts the form on a page.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Caller, wait_until};

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Page {
    pub fn location(&self) -> Option<&str> {
        self.header("location")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The target and the encoded fields of the only form on the page.
    fn form(&self) -> Option<(String, String)> {
        let value = |text: &str, name: &str| {
            let rest = text.split(&format!("{name}=\"")).nth(1)?;
            Some(rest.split('"').next()?.replace("&quot;", "\"").replace("&amp;", "&"))
        };
        let action = value(&self.body, "action")?;
        let inputs = self.body.split("<input ").skip(1);
        let fields = inputs.filter_map(|input| Some((value(input, "name")?, value(input, "value")?)));
        let mut form = form_urlencoded::Serializer::new(String::new());
        Some((action, form.extend_pairs(fields).finish()))
    }
}

/// The port in an address on this machine.
pub fn port(address: &str) -> u16 {
    let authority = address.split("//").nth(1).unwrap().split(['/', '?']).next().unwrap();
    authority.rsplit(':').next().unwrap().parse().unwrap()
}

/// Sends these bytes to a port of this machine. Returns everything that comes back until the other side closes.
pub fn raw(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8(answer).unwrap(),
    }
}

/// Sends one request as a browser does.
pub fn request(method: &str, address: &str, form: Option<&str>) -> Page {
    let rest = address.strip_prefix("http://").unwrap_or_else(|| panic!("{address}"));
    let (host, target) = rest.find(['/', '?']).map_or((rest, "/".to_owned()), |at| {
        let target = &rest[at..];
        (&rest[..at], if target.starts_with('?') { format!("/{target}") } else { target.to_owned() })
    });
    let body = form.unwrap_or_default();
    let kind = form.map_or("", |_| "Content-Type: application/x-www-form-urlencoded\r\n");
    let text = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{kind}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    page(&raw(port(address), text.as_bytes()))
}

/// Parses a response.
pub fn page(answer: &str) -> Page {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Page { status, head: head.to_owned(), body: body.to_owned() }
}

pub fn get(address: &str) -> Page {
    request("GET", address, None)
}

/// Opens an address and follows redirects and forms. Returns the last page.
pub fn browse(address: &str) -> Page {
    let mut page = get(address);
    loop {
        page = match (page.location().map(str::to_owned), page.form()) {
            (Some(to), _) => get(&to),
            (None, Some((action, fields))) => request("POST", &action, Some(&fields)),
            (None, None) => return page,
        };
    }
}

/// The local address in a prompt.
pub fn address(prompt: &str) -> Option<String> {
    let mut lines = prompt.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines
        .find_map(|line| line.trim_end().strip_prefix("    Open        http://127.0.0.1:"))
        .map(|rest| format!("http://127.0.0.1:{rest}"))
}

impl Caller {
    /// Waits until the caller has shown an address on this machine, and returns it.
    pub fn address(&self) -> String {
        let shown = || address(&self.stderr());
        wait_until(&format!("an address on the stderr of {}", self.pid()), || shown().is_some());
        shown().unwrap()
    }
}

/// A program that opens addresses: it records each one on a line, with its number of arguments and its folder.
pub struct Opener {
    pub program: PathBuf,
    notes: PathBuf,
}

impl Opener {
    /// Makes the program in this folder; it exits with `code`.
    pub fn new(folder: &Path, name: &str, code: i32) -> Self {
        let (program, notes) = (folder.join(name), folder.join(format!("{name}.notes")));
        let script = format!(
            "#!/bin/sh\nprintf '%s %s %s\\n' \"$#\" \"$1\" \"$(pwd)\" >>'{0}.part'\n\
             readlink /proc/self/fd/0 /proc/self/fd/2 >>'{0}.part'\ncp '{0}.part' '{0}.new' && mv '{0}.new' '{0}'\nexit {code}\n",
            notes.display()
        );
        // Written by another process, because a file that this process has had open for writing may be busy when it is
        // run.
        let mut tee = std::process::Command::new("sh");
        tee.args(["-c", "printf %s \"$1\" >\"$2\" && chmod 700 \"$2\"", "sh", &script]).arg(&program);
        assert!(tee.status().unwrap().success());
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o700);
        Self { program, notes }
    }

    /// The lines recorded so far.
    pub fn notes(&self) -> String {
        fs::read_to_string(&self.notes).unwrap_or_default()
    }
}
