//! Files of an archive, and the archive made of them: the same bytes for the same files, whatever
//! order they came in and whatever the machine thinks of their owners and times.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use tar::{EntryType, Header};

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Folder { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
}

/// Files and folders by their paths, which are relative and hold no trailing slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// Adds a folder, and those that it is in.
    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node::Folder { mode });
    }

    /// Adds a file, and the folders that it is in.
    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node::File { mode, bytes });
    }

    fn parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            let parent = self.0.entry(path[..end].to_owned());
            parent.or_insert(Node::Folder { mode: 0o755 });
        }
    }

    /// The archive: sorted, owned by root, of one time (seconds since 1970).
    pub(super) fn archive(&self, time: u64) -> Result<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, node) in &self.0 {
            let added = match node {
                Node::Folder { mode } => {
                    let mut header = header(EntryType::Directory, *mode, 0, time);
                    builder.append_data(&mut header, format!("{path}/"), std::io::empty())
                }
                Node::File { mode, bytes } => {
                    let mut header = header(EntryType::Regular, *mode, bytes.len(), time);
                    builder.append_data(&mut header, path, bytes.as_slice())
                }
            };
            added.with_context(|| format!("putting {path} into an archive"))?;
        }
        builder.into_inner().context("ending an archive")
    }
}

fn header(kind: EntryType, mode: u32, size: usize, time: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Checks that a path from elsewhere can be one of a tree.
pub(super) fn relative(path: &str) -> Result<&str> {
    let relative = path.trim_start_matches('/');
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    ensure!(relative.split('/').all(plain), "{path:?} is no plain path");
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let mut one = Tree::default();
        one.file("usr/bin/b", 0o755, b"b".to_vec());
        one.folder("tmp", 0o1777);
        one.file("usr/bin/a", 0o644, b"a".to_vec());
        let mut two = Tree::default();
        two.file("usr/bin/a", 0o644, b"a".to_vec());
        two.file("usr/bin/b", 0o755, b"b".to_vec());
        two.folder("tmp", 0o1777);
        let archive = one.archive(7).expect("it fits");
        assert_eq!(archive, two.archive(7).expect("it fits"));
        assert_ne!(archive, two.archive(8).expect("it fits"));

        let mut read = tar::Archive::new(archive.as_slice());
        let entries = read.entries().expect("an archive").map(|entry| {
            let entry = entry.expect("an entry");
            let header = entry.header();
            let path = entry.path().expect("a path").display().to_string();
            let owner = (header.uid().expect("uid"), header.gid().expect("gid"));
            assert_eq!((owner, header.mtime().expect("time")), ((0, 0), 7));
            (path, header.mode().expect("mode"))
        });
        let expected = [
            ("tmp/", 0o1777),
            ("usr/", 0o755),
            ("usr/bin/", 0o755),
            ("usr/bin/a", 0o644),
            ("usr/bin/b", 0o755),
        ];
        let expected = expected.map(|(path, mode)| (path.to_owned(), mode));
        assert_eq!(entries.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_folder_of_its_own_mode_keeps_it() {
        let mut tree = Tree::default();
        tree.folder("tmp", 0o1777);
        tree.file("tmp/x", 0o644, Vec::new());
        assert_eq!(tree.0["tmp"], Node::Folder { mode: 0o1777 });
    }

    #[test]
    fn only_plain_paths_are_taken() {
        assert_eq!(relative("/lib64/ld.so").expect("plain"), "lib64/ld.so");
        for path in ["", "/", "/lib/../etc", "a//b", "./a"] {
            assert!(relative(path).is_err(), "{path:?}");
        }
    }
}
