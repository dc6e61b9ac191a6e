//! The LFS side of a git server: the batch API, the basic transfer and the locking API, as git-lfs asks for them.
//! <https://github.com/git-lfs/git-lfs/tree/main/docs/api>

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::http::{Answer, Incoming};

/// Below a repository's address.
pub(crate) const PLACE: &str = ".git/info/lfs/";

const TYPE: &str = "application/vnd.git-lfs+json";

/// What a server keeps besides its repositories.
#[derive(Debug, Default)]
pub(crate) struct Lfs {
    objects: BTreeMap<String, Vec<u8>>,
    locks: BTreeMap<String, Value>,
}

impl Lfs {
    /// Answers a request for `place`, below `base`, the address of the repository's LFS. Whose request it is was asked before.
    pub(crate) fn answer(&mut self, incoming: &Incoming, base: &str, place: &str) -> Answer {
        let said: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
        let parts: Vec<&str> = place.split('/').collect();
        let (status, answer) = match (incoming.method.as_str(), &parts[..]) {
            ("POST", ["objects", "batch"]) => (200, self.batch(&said, base)),
            ("PUT", ["objects", oid]) => {
                self.objects.insert((*oid).to_owned(), incoming.body.clone());
                (200, json!({}))
            }
            ("GET", ["objects", oid]) => match self.objects.get(*oid) {
                Some(object) => return Answer::new(200, "application/octet-stream", object.clone()),
                None => (404, json!({"message": "there is no such object"})),
            },
            ("POST", ["locks", "verify"]) => {
                (200, json!({"ours": self.locks.values().collect::<Vec<_>>(), "theirs": []}))
            }
            ("POST", ["locks"]) => (201, json!({"lock": self.lock(&said["path"])})),
            ("GET", ["locks"]) => (200, json!({"locks": self.locks.values().collect::<Vec<_>>()})),
            ("POST", ["locks", id, "unlock"]) => (200, json!({"lock": self.locks.remove(*id)})),
            _ => (404, json!({"message": "there is no such thing"})),
        };
        Answer::new(status, TYPE, answer.to_string())
    }

    fn batch(&self, said: &Value, base: &str) -> Value {
        let operation = said["operation"].as_str().unwrap_or_default();
        let objects = said["objects"].as_array().into_iter().flatten().map(|object| {
            let oid = object["oid"].as_str().unwrap_or_default();
            let mut answer = json!({"oid": oid, "size": object["size"]});
            if (operation == "upload") != self.objects.contains_key(oid) {
                answer["actions"] = json!({operation: {"href": format!("{base}objects/{oid}")}});
            }
            answer
        });
        json!({"transfer": "basic", "objects": objects.collect::<Vec<_>>()})
    }

    fn lock(&mut self, path: &Value) -> Value {
        let id = (self.locks.len() + 1).to_string();
        let lock = json!({"id": id, "path": path, "locked_at": "2026-01-01T00:00:00Z", "owner": {"name": "ada"}});
        self.locks.insert(id, lock.clone());
        lock
    }
}
