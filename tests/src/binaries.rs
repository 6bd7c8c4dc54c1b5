//! Where the binaries under test are.

use std::path::PathBuf;

/// Which build of the binaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Build {
    /// This one.
    #[default]
    This,
    /// One that writes all that outlives a process in the next form (feature `next-format`).
    Next,
}

impl Build {
    /// The path of a binary of this build.
    ///
    /// # Panics
    ///
    /// If it is not there: a test that cannot run fails.
    pub fn binary(self, name: &str) -> PathBuf {
        match self {
            Build::This => binary(name),
            Build::Next => {
                let folder = std::env::var_os("SEAWAY_NEXT_BIN_DIR").expect(
                    "SEAWAY_NEXT_BIN_DIR names the folder of binaries that were built with \
                     --features next-format: run `cargo xtask test`",
                );
                let path = PathBuf::from(folder).join(name);
                assert!(path.exists(), "{} is not built", path.display());
                path
            }
        }
    }
}

/// The path of a binary: in `SEAWAY_BIN_DIR` if set (as `cargo xtask test` does, for the static
/// ones), or else among those of the same build as the test.
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("SEAWAY_BIN_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let test = std::env::current_exe().expect("a test knows its path");
            test.ancestors()
                .nth(2)
                .expect("target/<profile>/deps/<test>")
                .to_owned()
        });
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo xtask test`",
        path.display()
    );
    path
}

/// The Helm that tests use.
///
/// # Panics
///
/// If nobody named it: a test that cannot run fails.
pub fn helm() -> PathBuf {
    let named = std::env::var_os("SEAWAY_HELM");
    named.map(PathBuf::from).expect(
        "SEAWAY_HELM names the Helm to test with: run `cargo xtask test`, which fetches one to \
         target/tools/helm-*/helm",
    )
}

/// The kubectl that tests use.
///
/// # Panics
///
/// If nobody named it: a test that cannot run fails.
pub fn kubectl() -> PathBuf {
    let named = std::env::var_os("SEAWAY_KUBECTL");
    named.map(PathBuf::from).expect(
        "SEAWAY_KUBECTL names the kubectl to test with: run `cargo xtask test`, or \
         `cargo xtask setup` and set it to target/tools/*/kubectl",
    )
}
