//! A token in a file that somebody else renews: kubelet replaces a service account's long before the
//! old one expires.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hyper::header::HeaderValue;

/// The token, read again when the file is another one.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    stamp: Stamp,
    header: HeaderValue,
}

/// What differs when a file was written or replaced.
type Stamp = (u64, u64, i64, i64);

impl TokenFile {
    /// Reads the file for the first time.
    pub(super) fn open(path: PathBuf) -> io::Result<TokenFile> {
        let last = Mutex::new(read(&path, stamp(&path)?)?);
        Ok(TokenFile { path, last })
    }

    /// The header that says who asks. A file that cannot be read for a while changes nothing.
    pub(super) fn header(&self) -> HeaderValue {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(now) = stamp(&self.path)
            && now != last.stamp
        {
            match read(&self.path, now) {
                Ok(new) => *last = new,
                Err(error) => {
                    tracing::warn!(file = %self.path.display(), %error, "the old token is used");
                    last.stamp = now;
                }
            }
        }
        last.header.clone()
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = fs::metadata(path)?;
    Ok((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

fn read(path: &Path, stamp: Stamp) -> io::Result<Last> {
    let token = fs::read_to_string(path)?;
    let token = token.trim();
    if token.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    let header = HeaderValue::from_str(&format!("Bearer {token}"));
    let bad = |_| io::Error::new(io::ErrorKind::InvalidData, "it is no token");
    let mut header = header.map_err(bad)?;
    header.set_sensitive(true);
    Ok(Last { stamp, header })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(path: &Path, text: &str) {
        let beside = path.with_extension("new");
        fs::write(&beside, text).expect("written");
        fs::rename(beside, path).expect("renamed");
    }

    #[test]
    fn a_new_token_counts_at_once_and_a_bad_one_never() {
        let path = std::env::temp_dir().join(format!("seaway-token-{}", std::process::id()));
        assert!(TokenFile::open(path.clone()).is_err());
        fs::write(&path, "").expect("written");
        assert!(TokenFile::open(path.clone()).is_err());
        fs::write(&path, "first\n").expect("written");
        let token = TokenFile::open(path.clone()).expect("read");
        for (text, wanted) in [
            ("first", "Bearer first"),
            ("second", "Bearer second"),
            ("", "Bearer second"),
            ("a\nb", "Bearer second"),
            ("third", "Bearer third"),
        ] {
            replace(&path, text);
            assert_eq!(token.header(), wanted, "{text:?}");
        }
        fs::remove_file(&path).expect("removed");
        assert_eq!(token.header(), "Bearer third");
    }
}
