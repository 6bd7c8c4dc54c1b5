//! What was taken and what was not: for people in a terminal, for programs, and in the archive.

use std::path::Path;

use serde::Serialize;

use super::archive::Entry;
use crate::table::{self, Tone};

/// What could not be taken, or was not to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Left {
    pub(super) what: String,
    pub(super) why: String,
}

/// An archive that was made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report<'a> {
    pub(super) file: &'a Path,
    pub(super) bytes: u64,
    pub(super) entries: &'a [Entry],
    pub(super) left: &'a [Left],
}

impl Report<'_> {
    /// One line a file; tables and logs, of which there are many, in one line each.
    pub(super) fn text(&self) -> String {
        let row = |(name, files, items, bytes): (String, usize, usize, u64)| {
            let cells = vec![name, files.to_string(), items.to_string(), size(bytes)];
            (cells, Tone::Plain)
        };
        let header = ["TAKEN", "FILES", "ITEMS", "SIZE"];
        let mut text = table::rows(&header, groups(self.entries).into_iter().map(row)).to_string();
        for left in self.left {
            let line = format!("\nnot taken: {}: {}", left.what, left.why);
            text.push_str(&line);
        }
        let (file, bytes) = (self.file.display(), size(self.bytes));
        text + &format!("\n{file}: {bytes}; look into it before you give it away")
    }
}

/// Files in folders of files of one sort are one.
fn groups(entries: &[Entry]) -> Vec<(String, usize, usize, u64)> {
    let mut groups: Vec<(String, usize, usize, u64)> = Vec::new();
    for entry in entries {
        let name = ["logs/", "node/tables/"]
            .into_iter()
            .find(|folder| entry.file.starts_with(folder))
            .unwrap_or(&entry.file);
        match groups.iter_mut().find(|group| group.0 == name) {
            Some((_, files, items, bytes)) => {
                *files += 1;
                *items += entry.items;
                *bytes += entry.bytes;
            }
            None => groups.push((name.to_owned(), 1, entry.items, entry.bytes)),
        }
    }
    groups
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

/// What is written for whoever opens the archive.
pub(super) fn readme(version: &str, entries: &[Entry], left: &[Left]) -> String {
    let mut text = format!(
        "A support archive of Seaway, made by seaway {version}.\n\n\
         Each file of objects (.jsonl) has one object a line, with the fields alone that matter to the\n\
         network. Never asked for: Secrets, and ConfigMaps other than seaway-config. Never taken: the\n\
         environment, arguments, images and volumes of Pods other than Seaway's own; annotations other than\n\
         a few known ones; the kubeconfig, tokens and keys. In what was taken, text that looks like a token,\n\
         a password or a PEM block is replaced by {}.\n\
         Taken, and to be thought about before this is given away: names, labels and addresses of Pods,\n\
         Services, Nodes and Namespaces, and the logs of Seaway's own Pods.\n\n",
        super::redact::REDACTED
    );
    for entry in entries {
        let line = format!("{}  {} ({} bytes)\n", entry.file, entry.about, entry.bytes);
        text.push_str(&line);
    }
    text.push_str(match left.is_empty() {
        true => "\nNothing was left out.\n",
        false => "\nNot taken:\n",
    });
    for Left { what, why } in left {
        text.push_str(&format!("{what}: {why}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(file: &str, bytes: u64) -> Entry {
        Entry {
            file: file.to_owned(),
            about: "words".to_owned(),
            items: 1,
            bytes,
        }
    }

    #[test]
    fn many_files_of_one_sort_are_one_line() {
        let entries = [
            entry("logs/a/b.log", 1024),
            entry("x", 5),
            entry("logs/c/b.log", 1024),
        ];
        let left = [Left {
            what: "cluster/pods.jsonl".to_owned(),
            why: "forbidden (403)".to_owned(),
        }];
        let report = Report {
            file: Path::new("/tmp/a.tar.gz"),
            bytes: 3 << 20,
            entries: &entries,
            left: &left,
        };
        let text = report.text();
        assert_eq!(text.matches("logs/").count(), 1, "{text}");
        assert!(
            text.contains("2 KiB") && text.contains("5 B") && text.contains("3 MiB"),
            "{text}"
        );
        assert!(
            text.contains("not taken: cluster/pods.jsonl: forbidden (403)"),
            "{text}"
        );
        let readme = readme("1", &entries, &left);
        assert!(
            readme.contains("logs/c/b.log  words (1024 bytes)\n"),
            "{readme}"
        );
        assert!(
            readme.ends_with("cluster/pods.jsonl: forbidden (403)\n"),
            "{readme}"
        );
    }
}
