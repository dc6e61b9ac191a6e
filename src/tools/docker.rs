//! `keyfob setup docker`: a rule in `[hosts]`, the registry in `credHelpers` of docker's `config.json`, and the link
//! `docker-credential-keyfob`. Never `credsStore`, because docker would then ask keyfob to store passwords.

use super::Tool;
use super::findings::Findings;
use super::hosted::{Entry, Hosted, folder_of, text};
use crate::config::{File, HostPattern};
use crate::failure::Failure;
use anyhow::Result;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// docker.
pub(super) const TOOL: Tool = Tool {
    name: DOCKER.name,
    alias: None,
    about: "Have docker ask keyfob for a registry's token",
    define: |command| DOCKER.define(command, HELP),
    connect: |matches| DOCKER.connect(matches),
    disconnect: |matches| DOCKER.disconnect(matches),
    discover: |machine, found| DOCKER.discover(machine, found),
    check,
};

const HELP: &str = "\
podman, skopeo and buildah read the same file.

Examples:
  keyfob setup docker --profile gh ghcr.io
  keyfob setup docker --profile gcp --bin ~/bin europe-docker.pkg.dev
  keyfob setup docker --undo ghcr.io";

const DOCKER: Hosted = Hosted {
    name: "docker",
    by: "setup docker",
    title: "docker",
    caller: Some("docker"),
    link: Some(("docker-credential-keyfob", None)),
    file: || Ok(folder_of("DOCKER_CONFIG", ".docker")?.join("config.json")),
    shared: false,
    with,
    without,
    runs: |text, host| {
        let file: Value = serde_json::from_str(text).ok()?;
        Some(format!("docker-credential-{}", file.get(HELPERS)?.get(registry(host))?.as_str()?))
    },
    asks: |host, _| (["docker", "get"].map(str::to_owned).to_vec(), registry(host), "\"Secret\":"),
};

const HELPERS: &str = "credHelpers";
const STORE: &str = "credsStore";

/// What docker really runs.
fn check(findings: &mut Findings, file: &File, only: Option<&str>) {
    DOCKER.check(findings, file, only);
    let Ok(path) = (DOCKER.file)() else { return };
    let config = text(&path).ok().flatten().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    if config.is_some_and(|config| config.get(STORE).and_then(Value::as_str) == Some("keyfob")) {
        let what = "it asks keyfob for every registry, and `docker login` can keep no passwords";
        findings.warn("docker", what, format!("remove {STORE:?} from {}", path.display()));
    }
}

/// A registry's name in docker.
fn registry(host: &HostPattern) -> String {
    let url = host.canonical();
    url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).split('/').next().unwrap_or_default().to_owned()
}

/// Adds the registry, and leaves the rest of the text as it is.
fn with(text: &str, entry: &Entry<'_>) -> Result<String> {
    let text = if text.trim().is_empty() { "{}\n" } else { text };
    let top = members(text)?;
    let line = format!("{:?}: \"keyfob\"", registry(entry.host));
    match top.get(HELPERS) {
        Some(helpers) => {
            let start = offset(text, helpers.get());
            let inserted = inserted(helpers.get(), &line, "\t\t", "\t")?;
            Ok(format!("{}{inserted}{}", &text[..start], &text[start + helpers.get().len()..]))
        }
        None => inserted(text, &format!("{HELPERS:?}: {{\n\t\t{line}\n\t}}"), "\t", ""),
    }
}

/// Adds a member at the beginning of an object.
fn inserted(object: &str, member: &str, indent: &str, end: &str) -> Result<String> {
    let brace = object.find('{').map_or(0, |at| at + 1);
    let rest = &object[brace..];
    let (comma, rest) = if members(object)?.is_empty() {
        ("", format!("\n{end}{}", rest.trim_start()))
    } else {
        (",", rest.to_owned())
    };
    Ok(format!("{}\n{indent}{member}{comma}{rest}", &object[..brace]))
}

/// Removes the registry, and `credHelpers` if it is then empty.
fn without(text: &str, host: &HostPattern) -> String {
    let removed = || {
        let top = members(text).ok()?;
        let helpers = *top.get(HELPERS)?;
        let inner = members(helpers.get()).ok()?;
        let registry = registry(host);
        let value = *inner.get(registry.as_str())?;
        let (name, value) = if inner.len() == 1 { (HELPERS, helpers.get()) } else { (registry.as_str(), value.get()) };
        let end = offset(text, value) + value.len();
        let start = text[..end - value.len()].rfind(&format!("{name:?}"))?;
        let (before, after) = (text[..start].trim_end(), &text[end..]);
        Some(match after.trim_start().strip_prefix(',') {
            Some(_) => format!("{before}{}", &after[after.find(',')? + 1..]),
            None => format!("{}{after}", before.strip_suffix(',').unwrap_or(before)),
        })
    };
    removed().unwrap_or_else(|| text.to_owned())
}

/// The members of an object, with their original text.
fn members(object: &str) -> Result<BTreeMap<String, &RawValue>, Failure> {
    serde_json::from_str(object).map_err(|e| Failure::usage(format!("docker's config.json cannot be read: {e}")))
}

/// The position of a part of a text within it.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_comes_and_goes_and_the_rest_stays_as_it_is_written() {
        let host = HostPattern::parse("https://ghcr.io").unwrap();
        let entry = Entry { host: &host, profile: "gh", own: "/x/keyfob", registry: None };
        for (before, after) in [
            ("", "{\n\t\"credHelpers\": {\n\t\t\"ghcr.io\": \"keyfob\"\n\t}\n}\n"),
            (
                "{\n\t\"auths\": {\"a\": {\"auth\": \"x\"}}\n}",
                "{\n\t\"credHelpers\": {\n\t\t\"ghcr.io\": \"keyfob\"\n\t},\n\t\"auths\": {\"a\": {\"auth\": \"x\"}}\n}",
            ),
            (
                "{ \"credHelpers\" : {\"gcr.io\":\"gcr\"} , \"x\":1}",
                "{ \"credHelpers\" : {\n\t\t\"ghcr.io\": \"keyfob\",\"gcr.io\":\"gcr\"} , \"x\":1}",
            ),
            ("{\"credHelpers\": { }}", "{\"credHelpers\": {\n\t\t\"ghcr.io\": \"keyfob\"\n\t}}"),
        ] {
            let with = with(before, &entry).unwrap();
            assert_eq!(with, after);
            assert_eq!((DOCKER.runs)(&with, &host).as_deref(), Some("docker-credential-keyfob"));
            let left: Value = serde_json::from_str(&without(&with, &host)).unwrap();
            let was: Value = serde_json::from_str(if before.is_empty() { "{}" } else { before }).unwrap();
            let was = if was == serde_json::json!({"credHelpers": {}}) { serde_json::json!({}) } else { was };
            assert_eq!(left, was, "{with}");
        }
        assert!(with("[]", &entry).is_err());
        assert_eq!(without("nonsense", &host), "nonsense");
    }
}
