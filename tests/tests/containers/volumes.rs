//! Volumes, and links in them that try to lead elsewhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use seaway_testkit::isolate;
use serde_json::{Value, json};

use crate::harness::{good, run, script, start, with};

/// A folder in the test's own `/run`, which goes with the test.
fn folder(name: &str) -> PathBuf {
    let path = Path::new("/run").join(name);
    fs::create_dir(&path).expect("makes");
    path
}

fn mounted(text: &str, mounts: Value) -> Value {
    with(script(text), "mounts", mounts)
}

#[test]
fn volumes_are_writable_or_not_and_files_can_be_mounted() {
    isolate();
    let (data, config) = (folder("data"), folder("config"));
    fs::write(config.join("hosts"), "10.9.8.7 a-host\n").expect("writes");
    let spec = mounted(
        "cat /etc/hosts && echo written > /data/new && ! touch /etc/config/x && ! echo x > /etc/hosts",
        json!([
            { "source": data, "target": "/data" },
            { "source": config, "target": "/etc/config", "read_only": true },
            { "source": config.join("hosts"), "target": "/etc/hosts", "read_only": true },
        ]),
    );
    let spec = with(spec, "read_only_root", json!(true));
    assert_eq!(good(&spec), "10.9.8.7 a-host");
    let written = fs::read_to_string(data.join("new")).expect("is there");
    assert_eq!(written, "written\n");
}

#[test]
fn programs_on_volumes_gain_nothing() {
    isolate();
    let data = folder("data");
    let spec = mounted(
        "mknod /data/x c 1 3; cp $(command -v id) /data/id && chown 0:0 /data/id && chmod 4755 /data/id",
        json!([{ "source": data, "target": "/data" }]),
    );
    run(&spec);
    assert!(!data.join("x").exists());
    let spec = json!({
        "argv": ["/data/id", "-u"],
        "user": 1000,
        "mounts": [{ "source": data, "target": "/data" }],
    });
    assert_eq!(good(&spec), "1000");
}

#[test]
fn links_in_volumes_lead_nowhere_else() {
    isolate();
    let (data, secret) = (folder("data"), folder("secret"));
    fs::write(secret.join("key"), "secret").expect("writes");
    fs::create_dir(data.join("inside")).expect("makes");
    fs::write(data.join("inside/key"), "mine").expect("writes");
    for (link, target) in [
        ("absolute", "/run/secret"),
        ("relative", "../../../../run/secret"),
        ("fine", "/inside"),
    ] {
        symlink(target, data.join(link)).expect("makes");
    }
    let below = |path: &str| {
        let mount = json!([{ "source": data, "sub_path": path, "target": "/below" }]);
        start(&mounted("cat /below/key", mount)).map(|container| container.end().stdout)
    };
    assert_eq!(below("fine").expect("starts"), "mine");
    for escape in ["absolute", "relative", "../secret"] {
        let reason = below(escape).expect_err("there is no such thing in the volume");
        assert!(reason.contains("subPath"), "{reason}");
    }
    // A place to mount at that is behind a link is found inside the container.
    symlink("/srv", data.join("elsewhere")).expect("makes");
    let mounts = json!([
        { "source": data, "target": "/data" },
        { "source": data.join("inside"), "target": "/data/elsewhere/deep" },
    ]);
    assert_eq!(good(&mounted("cat /srv/deep/key", mounts)), "mine");
    assert!(!Path::new("/srv/deep").exists());
}
