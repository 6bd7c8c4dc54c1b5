//! Where the binaries under test are.

use std::path::PathBuf;

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
