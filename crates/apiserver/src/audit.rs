//! The audit trail: who asked for what, a line of JSON for each request for objects, in the words that
//! rules of RBAC are written in. So what a program may do can be held against what it does.
//!
//! The file is appended to; what was in it stays. A line is written as a whole and before the answer
//! is sent. Discovery, health and version are open to everybody and not told of.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Method;
use serde_json::json;
use tracing::warn;

use crate::error::ServerError;
use crate::http::{Query, Target};

/// Where requests are told of.
pub(crate) struct Audit {
    path: PathBuf,
    file: File,
    failed: AtomicBool,
}

/// A request for objects.
pub(crate) struct Entry {
    user: String,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: String,
    namespace: String,
    name: String,
}

impl Audit {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Audit, ServerError> {
        let mut options = OpenOptions::new();
        let opened = options.create(true).append(true).mode(0o600).open(path);
        let file = opened.map_err(|source| ServerError::Read {
            what: "the audit log",
            path: path.to_owned(),
            source,
        })?;
        Ok(Audit {
            path: path.to_owned(),
            file,
            failed: AtomicBool::new(false),
        })
    }

    /// Tells of a request and what became of it.
    pub(crate) fn tell(&self, entry: &Entry, code: u16) {
        let line = entry.line(code);
        // Appending a line is one write, so lines of requests at once do not mix.
        let written = (&self.file).write_all(line.as_bytes());
        if let Err(error) = written
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            warn!(path = %self.path.display(), %error, "the audit log has gaps from here on");
        }
    }
}

impl Entry {
    /// What a user asks for.
    pub(crate) fn new(user: &str, method: &Method, target: &Target, query: &Query) -> Entry {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Entry {
            user: user.to_owned(),
            verb: verb(method, target, query),
            group: target.kind.group,
            resource: target.kind.plural,
            subresource: text(&target.subresource),
            namespace: text(&target.namespace),
            name: text(&target.name),
        }
    }

    fn line(&self, code: u16) -> String {
        let line = json!({
            "user": self.user,
            "verb": self.verb,
            "group": self.group,
            "resource": self.resource,
            "subresource": self.subresource,
            "namespace": self.namespace,
            "name": self.name,
            "code": code,
        });
        format!("{line}\n")
    }
}

/// Whether it asks for changes: parts of objects are not watched, whatever the query says.
pub(crate) fn is_watch(target: &Target, query: &Query) -> bool {
    target.subresource.is_none() && query.flag("watch") == Some(true)
}

/// The verb, as RBAC names it.
pub(crate) fn verb(method: &Method, target: &Target, query: &Query) -> &'static str {
    match (method.as_str(), target.name.is_some()) {
        ("GET", _) if is_watch(target, query) => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Route, route};
    use crate::kinds::Registry;

    #[test]
    fn requests_are_told_in_the_words_of_rbac() {
        let lines: Vec<String> = [
            ("GET", "/api/v1/pods", "watch=1"),
            ("GET", "/api/v1/pods", "watch=0"),
            ("GET", "/api/v1/namespaces/n/pods/p", ""),
            ("GET", "/api/v1/namespaces/n/pods/p", "watch"),
            ("GET", "/api/v1/namespaces/n/pods/p/exec", "watch=1"),
            ("POST", "/apis/events.k8s.io/v1/namespaces/n/events", ""),
            ("PUT", "/api/v1/nodes/x", ""),
            ("PATCH", "/api/v1/nodes/x/status", ""),
            ("DELETE", "/api/v1/nodes/x", ""),
            ("DELETE", "/api/v1/nodes", ""),
        ]
        .into_iter()
        .map(|(method, path, query)| {
            let Route::Resource(target) = route(&Registry::default().served(), path) else {
                panic!("{path}");
            };
            let method = method.parse().unwrap();
            let entry = Entry::new("u", &method, &target, &Query::parse(query));
            format!(
                "{} {}/{}/{} {}/{}",
                entry.verb,
                entry.group,
                entry.resource,
                entry.subresource,
                entry.namespace,
                entry.name
            )
        })
        .collect();
        assert_eq!(
            lines,
            [
                "watch /pods/ /",
                "list /pods/ /",
                "get /pods/ n/p",
                "watch /pods/ n/p",
                "get /pods/exec n/p",
                "create events.k8s.io/events/ n/",
                "update /nodes/ /x",
                "patch /nodes/status /x",
                "delete /nodes/ /x",
                "deletecollection /nodes/ /",
            ]
        );
    }

    #[test]
    fn lines_are_appended_and_readable() {
        let path = std::env::temp_dir().join(format!("seaway-audit-{}", std::process::id()));
        let Route::Resource(target) = route(&Registry::default().served(), "/api/v1/nodes/x")
        else {
            panic!("no route");
        };
        for code in [200, 404] {
            let audit = Audit::open(&path).unwrap();
            let entry = Entry::new("u", &Method::GET, &target, &Query::parse(""));
            audit.tell(&entry, code);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let codes: Vec<i64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["code"].as_i64().unwrap())
            .collect();
        assert_eq!(codes, [200, 404]);
    }
}
