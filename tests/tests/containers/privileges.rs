//! Who a container's program is and what it may do.

use seaway_testkit::isolate;
use serde_json::{Value, json};

use crate::harness::{good, script, start, with};

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW,
/// SYS_CHROOT, AUDIT_WRITE, SETFCAP.
const DEFAULT: u64 = 0xa004_25fb;
const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;

/// Inheritable, permitted, effective, bounding, ambient; and whether privileges can be gained.
fn status(spec: Value) -> ([u64; 5], String) {
    let text = good(&spec);
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect("is there").trim().to_owned()
    };
    let set = |name| u64::from_str_radix(&field(name), 16).expect("bits");
    let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(set);
    (sets, field("NoNewPrivs:"))
}

fn show() -> Value {
    json!({ "argv": ["cat", "/proc/self/status"] })
}

#[test]
fn root_has_the_default_capabilities_and_can_gain_none() {
    isolate();
    let (sets, no_new) = status(show());
    assert_eq!(sets, [0, DEFAULT, DEFAULT, DEFAULT, 0]);
    assert_eq!(no_new, "1");
}

#[test]
fn capabilities_are_added_and_dropped() {
    isolate();
    let some = with(show(), "drop_capabilities", json!(["ALL"]));
    let some = with(
        some,
        "add_capabilities",
        json!(["NET_BIND_SERVICE", "NET_ADMIN"]),
    );
    let expected = NET_BIND_SERVICE | NET_ADMIN;
    assert_eq!(status(some).0, [0, expected, expected, expected, 0]);
    let none = with(show(), "drop_capabilities", json!(["ALL"]));
    assert_eq!(status(none).0, [0; 5]);
}

#[test]
fn another_user_has_no_capabilities_and_its_groups() {
    isolate();
    let user = with(show(), "user", json!(1000));
    assert_eq!(status(user).0, [0, 0, 0, DEFAULT, 0]);
    let id = script("id -u; id -g; id -G; touch /tmp/x && stat -c %u:%g /tmp/x; touch /x");
    let id = with(id, "user", json!(1000));
    let id = with(id, "group", json!(2000));
    let id = with(id, "supplementary_groups", json!([3000, 3001]));
    let started = start(&id).expect("starts").end();
    assert_eq!(started.stdout, "1000\n2000\n2000 3000 3001\n1000:2000\n");
    assert!(!started.status.success(), "the root is root's");
}

#[test]
fn what_reaches_beyond_a_pod_is_refused_before_anything_starts() {
    isolate();
    for name in ["SYS_ADMIN", "SYS_PTRACE", "MKNOD", "ALL"] {
        let spec = with(show(), "add_capabilities", json!([name]));
        let reason = start(&spec).err().expect("is refused");
        assert!(
            reason.contains(name) && reason.contains("at risk"),
            "{reason}"
        );
    }
    let over = json!([{ "source": "/usr", "target": "/proc/sys" }]);
    let reason = start(&with(show(), "mounts", over))
        .err()
        .expect("is refused");
    assert!(reason.contains("isolates"), "{reason}");
}

#[test]
fn one_more_command_is_confined_as_the_program_is() {
    isolate();
    let container = start(&with(
        script("echo mine > /tmp/x; exec sleep 1000"),
        "user",
        json!(1000),
    ))
    .expect("starts");
    let like = |text| with(script(text), "user", json!(1000));
    let ran = container.enter(&like(
        "cat /tmp/x; id -u; grep -E 'CapEff|NoNewPrivs' /proc/self/status; ls /etc/shadow; exit 9",
    ));
    assert_eq!(
        ran.stdout, "mine\n1000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n",
        "{ran:?}"
    );
    assert_eq!(ran.status.code(), Some(9));
    assert!(ran.stderr.contains("No such file"), "{ran:?}");
    let missing = container.enter(&json!({ "argv": ["no-such-program"] }));
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
    assert!(missing.stderr.contains("not found in $PATH"), "{missing:?}");
    let other = container.enter_as_child_of(std::process::id(), &like("true"));
    assert!(
        !other.status.success(),
        "this is not the container that was meant"
    );
}
