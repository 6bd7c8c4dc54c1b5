//! What a container sees of the machine, and what it cannot do to it.

use seaway_testkit::isolate;
use seaway_tests::binary;
use serde_json::json;

use crate::harness::{good, run, script, start, with};

/// Runs each attempt in one container; every one has to fail, and not for want of its program.
fn all_fail(attempts: &[&str]) {
    let lines = attempts.iter().enumerate().map(|(n, attempt)| {
        let program = attempt.split(' ').next().expect("a word");
        format!(
            "if ! command -v {program} >/dev/null || ( {attempt} ) 2>/dev/null >/dev/null; then echo {n}; fi\n"
        )
    });
    let worked = good(&script(&lines.collect::<String>()));
    let worked: Vec<_> = worked
        .lines()
        .map(|n| attempts[n.parse::<usize>().expect("a number")])
        .collect();
    assert!(
        worked.is_empty(),
        "these should not have worked: {worked:#?}"
    );
}

#[test]
fn nothing_of_the_machine_but_its_programs_is_there() {
    isolate();
    all_fail(&[
        "ls /etc/shadow",
        "ls /etc/gshadow",
        "ls /etc/ssh",
        "ls /etc/ssl/private",
        "ls /boot",
        "ls /.dockerenv",
        "cat /run/*",
        "cat /home/*",
        "cat /root/* /root/.[a-z]*",
        "find / -xdev -type s | grep .",
        "find /run /var /tmp /home /root /srv /opt /mnt -mindepth 2 | grep .",
        "ls /dev/sda /dev/vda /dev/mem /dev/kmsg /dev/fuse /dev/net/tun",
        "env | grep SECRET_OF_THE_HOST",
        "ls /proc/self/fd | grep -v -x -e 0 -e 1 -e 2 -e 3",
    ]);
}

#[test]
fn only_its_own_processes_are_there() {
    isolate();
    let seen = good(&script(
        "echo $$; for p in /proc/[0-9]*; do echo ${p#/proc/}; done",
    ));
    assert_eq!(seen, "1\n1");
    let table = good(&script(
        "cat /proc/sys/kernel/pid_max >/dev/null && ipcs -m | grep -c 0x || true",
    ));
    assert_eq!(table, "0", "no shared memory of the machine");
}

#[test]
fn the_kernel_cannot_be_changed_or_read() {
    isolate();
    all_fail(&[
        "echo 1 > /proc/sys/kernel/panic",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo h > /proc/sysrq-trigger",
        "echo x > /proc/irq/default_smp_affinity",
        "head -c 1 /proc/kcore | grep -c .",
        "head -c 1 /proc/keys | grep -c .",
        "head -c 1 /proc/timer_list | grep -c .",
        "ls /sys/firmware/* /proc/acpi/* /proc/scsi/*",
        "echo x > /sys/power/state",
        "touch /sys/x /proc/x",
        "chroot / mount -t proc proc /proc",
    ]);
}

#[test]
fn mounts_and_devices_cannot_be_made_or_changed() {
    isolate();
    all_fail(&[
        "mount -t tmpfs tmpfs /mnt",
        "mount --bind / /mnt",
        "mount -o remount,bind,rw /usr",
        "mount -o remount,bind,rw /proc/sys",
        "umount /proc/sys",
        "umount -l /proc/kcore",
        "mknod /tmp/x c 1 3",
        "mknod /dev/x b 8 0",
        "chmod 600 /dev/null",
        "chown 1:1 /dev/zero",
        "touch /usr/x /bin/x /lib/x",
        "touch /etc/ld.so.cache",
        "unshare --mount true",
        "unshare --net true",
        "nsenter --target 1 --net true",
    ]);
}

#[test]
fn the_executable_that_leads_into_containers_cannot_be_overwritten() {
    isolate();
    let before = std::fs::read(binary("seaway")).expect("reads");
    all_fail(&[
        "echo x >> /seaway/bin/seaway",
        "rm /seaway/bin/seaway",
        "mv /seaway/bin/seaway /tmp/x",
        "chmod 777 /seaway/bin/seaway",
    ]);
    // The program is the very executable that became it: it is asked to show how it can be reached.
    let itself = json!({ "argv": ["/proc/self/exe", "tool", "pause"] });
    let container = start(&itself).expect("starts");
    let through_itself = container.enter(&script("echo x >> /proc/1/exe"));
    assert!(!through_itself.status.success(), "{through_itself:?}");
    let late = script("exec 9</proc/1/exe; kill -9 1; echo x >> /proc/self/fd/9");
    assert!(!container.enter(&late).status.success());
    drop(container);
    let after = std::fs::read(binary("seaway")).expect("reads");
    assert!(before == after, "the executable has been changed");
}

#[test]
fn what_programs_need_is_there() {
    isolate();
    let all = "set -e
        test $(id -un) = root
        echo x > /tmp/x; echo x > /x; echo x > /dev/shm/x; echo x > /dev/null
        head -c 8 /dev/urandom | grep -c ^ > /dev/null
        test -c /dev/tty; test -e /dev/ptmx; test -e /dev/fd/0
        test \"$(stat -c %a /tmp)\" = 1777
        test \"$HOME\" = /root; test -n \"$HOSTNAME\"
        grep -q localhost /etc/hosts
        grep -q ^PRETTY_NAME /etc/os-release
        test \"$(umask)\" = 0022
        test -d /sys/class/net/lo
        chown 1000:1000 /tmp/x
        seaway tool serve --help
        test \"$(pwd)\" = /";
    good(&script(all));
    let place = with(script("pwd; echo $A"), "workdir", json!("/srv/deep/down"));
    let place = with(place, "env", json!([["A", "1"], ["A", "2"]]));
    assert_eq!(good(&place), "/srv/deep/down\n2");
}

#[test]
fn what_fills_its_root_fills_no_disk() {
    isolate();
    let fill = "for d in / /tmp /dev/shm /dev; do dd if=/dev/zero of=$d/fill bs=1M count=200 && exit 1; done; exit 0";
    assert!(run(&script(fill)).status.success());
}

#[test]
fn a_read_only_root_is_read_only() {
    isolate();
    let spec = with(
        script("touch /x || touch /tmp/x || touch /etc/x || touch /var/tmp/x || echo > /etc/hosts"),
        "read_only_root",
        json!(true),
    );
    assert!(!run(&spec).status.success());
}
