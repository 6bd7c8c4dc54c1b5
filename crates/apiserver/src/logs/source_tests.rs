//! Reading log files: tails over rotated files, growth, rotation while following.

use std::io::Write as _;

use super::*;

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("seaway-logs-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn append(&self, name: &str, texts: &[&str]) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.0.join(name))
            .unwrap();
        for text in texts {
            writeln!(file, "2026-11-27T14:00:00Z stdout F {text}").unwrap();
        }
    }

    fn open(&self, tail: Option<u64>) -> Source {
        Source::open(&self.0, 0, tail, Format::new(None, false, None)).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

fn all(source: &mut Source) -> String {
    let mut text = Vec::new();
    while let Step::Data(bytes) = source.read() {
        text.extend_from_slice(&bytes);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn rotated_files_come_first() {
    let directory = Directory::new();
    directory.append("0.log.2", &["a"]);
    directory.append("0.log.1", &["b", "c"]);
    directory.append("0.log", &["d"]);
    directory.append("1.log", &["another run"]);
    assert_eq!(all(&mut directory.open(None)), "a\nb\nc\nd\n");
    assert_eq!(all(&mut directory.open(Some(2))), "c\nd\n");
    assert_eq!(all(&mut directory.open(Some(3))), "b\nc\nd\n");
    assert_eq!(all(&mut directory.open(Some(9))), "a\nb\nc\nd\n");
    assert_eq!(all(&mut directory.open(Some(0))), "");
}

#[test]
fn a_growing_file_is_followed_over_its_rotation() {
    let directory = Directory::new();
    directory.append("0.log", &["a"]);
    let mut source = directory.open(None);
    assert_eq!(all(&mut source), "a\n");
    directory.append("0.log", &["b"]);
    assert_eq!(all(&mut source), "b\n");
    directory.append("0.log", &["c"]);
    std::fs::rename(directory.0.join("0.log"), directory.0.join("0.log.1")).unwrap();
    directory.append("0.log", &["d"]);
    assert_eq!(all(&mut source), "c\nd\n");
}

#[test]
fn a_tail_longer_than_a_block_is_found() {
    let directory = Directory::new();
    let long = "x".repeat(1000);
    let texts: Vec<&str> = std::iter::repeat_n(long.as_str(), 200).collect();
    directory.append("0.log", &texts);
    assert_eq!(all(&mut directory.open(Some(150))).lines().count(), 150);
}
