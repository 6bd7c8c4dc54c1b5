//! The files in `deploy/host` that make others leave Seaway's links alone name all links that there
//! can be.

use seaway_model::{
    AttachmentId, ContainerId, IfName, bridge_name, host_link_name, shaper_name, vxlan_name,
};

const FILES: [&str; 4] = [
    include_str!("../../../deploy/host/seaway-networkmanager.conf"),
    include_str!("../../../deploy/host/05-seaway.network"),
    include_str!("../../../deploy/host/05-seaway.link"),
    include_str!("../../../deploy/host/80-seaway.rules"),
];

/// The patterns of names in the lines that say something.
fn patterns(file: &str) -> Vec<&str> {
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(|line| line.split(['=', ':', ';', ' ', '|', '"', ',']));
    words.filter(|word| word.ends_with(['*', '?'])).collect()
}

/// Whether a pattern matches: `?` is one letter, a `*` at the end is the rest.
fn matches(pattern: &str, name: &str) -> bool {
    let (beginning, open) = match pattern.strip_suffix('*') {
        Some(beginning) => (beginning, true),
        None => (pattern, false),
    };
    let fits = |(p, n): (char, char)| p == '?' || p == n;
    let long_enough = name.len() == beginning.len() || open && name.len() > beginning.len();
    long_enough && beginning.chars().zip(name.chars()).all(fits)
}

fn is_named(file: &str, link: &str) -> bool {
    let patterns = patterns(file);
    patterns.iter().any(|pattern| matches(pattern, link))
}

#[test]
fn every_link_of_ours_is_named_in_every_file() {
    let id = AttachmentId {
        container: ContainerId::new("c1").expect("valid"),
        interface: IfName::new("eth0").expect("valid"),
    };
    let links = [
        host_link_name(&id),
        shaper_name(&id),
        bridge_name(),
        vxlan_name(),
    ];
    for file in FILES {
        for link in &links {
            assert!(is_named(file, link.as_str()), "{link}: {file}");
        }
    }
}

#[test]
fn nobody_elses_links_are_named() {
    for file in FILES {
        for other in [
            "eth0",
            "ens3",
            "docker0",
            "cni0",
            "br-lan",
            "wlan0",
            "lo",
            "veth1",
            "sea0",
            "seattle-lan",
            "shp1",
            "seafloor",
        ] {
            assert!(!is_named(file, other), "{other}: {file}");
        }
    }
}

#[test]
fn each_file_says_that_they_are_not_to_be_managed() {
    let words = [
        "unmanaged-devices",
        "Unmanaged=yes",
        "MACAddressPolicy=none",
        "NM_UNMANAGED",
    ];
    for (file, word) in FILES.iter().zip(words) {
        assert!(file.contains(word), "{file}");
    }
}
