//! Results against goldens in every version, and round trips by property.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn sample() -> CniResult {
    let pod = Interface {
        name: "eth0".to_owned(),
        mac: Some("96:a9:b4:42:d9:ca".to_owned()),
        mtu: Some(1450),
        sandbox: Some("/run/netns/x".to_owned()),
        ..Interface::default()
    };
    let host = Interface {
        name: "sea3mxxdt527zxi".to_owned(),
        mac: Some("1a:8b:c5:0b:e2:79".to_owned()),
        mtu: Some(1450),
        ..Interface::default()
    };
    let ip = |address: &str, gateway: &str| IpConfig {
        address: net(address),
        gateway: gateway.parse().ok(),
        interface: Some(1),
        others: Map::new(),
    };
    let mut limited = Route::to(net("fd00::/8"), None);
    limited.mtu = Some(1280);
    limited.table = Some(100);
    CniResult {
        interfaces: vec![host, pod],
        ips: vec![
            ip("10.244.1.2/32", "169.254.1.1"),
            ip("fd00:10:244:1::2/128", "fe80::1"),
        ],
        routes: vec![
            Route::to(net("0.0.0.0/0"), "169.254.1.1".parse().ok()),
            limited,
        ],
        dns: Dns {
            nameservers: vec!["10.96.0.10".to_owned()],
            search: vec!["cluster.local".to_owned()],
            ..Dns::default()
        },
        others: Map::new(),
    }
}

const GOLDEN_OLD_IPS: &str = r#"[
    {"version": "4", "address": "10.244.1.2/32", "gateway": "169.254.1.1", "interface": 1},
    {"version": "6", "address": "fd00:10:244:1::2/128", "gateway": "fe80::1", "interface": 1}]"#;
const GOLDEN_NEW_IPS: &str = r#"[
    {"address": "10.244.1.2/32", "gateway": "169.254.1.1", "interface": 1},
    {"address": "fd00:10:244:1::2/128", "gateway": "fe80::1", "interface": 1}]"#;
const GOLDEN_OLD_INTERFACES: &str = r#"[
    {"name": "sea3mxxdt527zxi", "mac": "1a:8b:c5:0b:e2:79"},
    {"name": "eth0", "mac": "96:a9:b4:42:d9:ca", "sandbox": "/run/netns/x"}]"#;
const GOLDEN_NEW_INTERFACES: &str = r#"[
    {"name": "sea3mxxdt527zxi", "mac": "1a:8b:c5:0b:e2:79", "mtu": 1450},
    {"name": "eth0", "mac": "96:a9:b4:42:d9:ca", "mtu": 1450, "sandbox": "/run/netns/x"}]"#;
const GOLDEN_OLD_ROUTES: &str = r#"[
    {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "fd00::/8"}]"#;
const GOLDEN_NEW_ROUTES: &str = r#"[
    {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "fd00::/8", "mtu": 1280, "table": 100}]"#;

fn golden(version: CniVersion) -> Value {
    let text = |old, new, since| if version < since { old } else { new };
    let interfaces = text(
        GOLDEN_OLD_INTERFACES,
        GOLDEN_NEW_INTERFACES,
        CniVersion::V1_1_0,
    );
    let ips = text(GOLDEN_OLD_IPS, GOLDEN_NEW_IPS, CniVersion::V1_0_0);
    let routes = text(GOLDEN_OLD_ROUTES, GOLDEN_NEW_ROUTES, CniVersion::V1_1_0);
    let dns = r#"{"nameservers": ["10.96.0.10"], "search": ["cluster.local"]}"#;
    let whole = format!(
        r#"{{"cniVersion": "{version}", "interfaces": {interfaces}, "ips": {ips},
            "routes": {routes}, "dns": {dns}}}"#
    );
    serde_json::from_str(&whole).expect("the golden is JSON")
}

#[test]
fn k4_results_in_every_version() {
    for version in CniVersion::ALL {
        assert_eq!(sample().to_json(version), golden(version), "{version}");
    }
}

#[test]
fn prev_results_of_every_version_are_read() {
    for version in CniVersion::ALL {
        let read = CniResult::read(&golden(version)).expect("valid");
        for written in CniVersion::ALL.into_iter().filter(|v| *v <= version) {
            assert_eq!(
                read.to_json(written),
                golden(written),
                "{version} as {written}"
            );
        }
    }
}

#[test]
fn k4_what_chained_plugins_put_is_passed_through() {
    let prev = json!({
        "cniVersion": "1.1.0",
        "vendor": {"x": [1, null]},
        "interfaces": [{
            "name": "vhost0", "socketPath": "/run/vhost.sock", "pciID": "0000:00:1f.6",
            "metadata": {"queue": "3"}
        }],
        "ips": [{"address": "10.0.0.7/24", "label": "blue"}],
        "routes": [{
            "dst": "10.0.0.0/8", "gw": "10.0.0.1", "mtu": 1400, "advmss": 1360, "priority": 50,
            "table": 7, "scope": 253, "onlink": true
        }],
        "dns": {"domain": "d", "options": ["ndots:5"]}
    });
    let result = CniResult::read(&prev).expect("valid");
    assert_eq!(result.to_json(CniVersion::V1_1_0), prev);
    let old = result.to_json(CniVersion::V1_0_0);
    assert_eq!(
        old["interfaces"],
        json!([{"name": "vhost0", "metadata": {"queue": "3"}}])
    );
    assert_eq!(
        old["routes"],
        json!([{"dst": "10.0.0.0/8", "gw": "10.0.0.1", "onlink": true}])
    );
}

#[test]
fn the_least_result_is_only_a_version() {
    let least = json!({"cniVersion": "1.0.0"});
    assert_eq!(CniResult::default().to_json(CniVersion::V1_0_0), least);
    let sparse = json!({"interfaces": null, "ips": [], "dns": {}, "routes": null});
    let result = CniResult::read(&sparse).expect("valid");
    assert_eq!(result, CniResult::default());
}

#[test]
fn k2_bad_prev_results_name_the_field() {
    for (value, code, named) in [
        (json!([]), 7, "prevResult "),
        (
            json!({"ips": [{"address": "10.0.0.1"}]}),
            7,
            "prevResult.ips[0].address",
        ),
        (json!({"ips": [{}]}), 7, "prevResult.ips[0].address"),
        (
            json!({"ips": [{"address": "::/0", "interface": -1}]}),
            7,
            "prevResult.ips[0].interface",
        ),
        (
            json!({"interfaces": [{"name": "a"}, {}]}),
            7,
            "prevResult.interfaces[1].name",
        ),
        (
            json!({"routes": [{"dst": "::/0", "gw": "x"}]}),
            7,
            "prevResult.routes[0].gw",
        ),
        (json!({"dns": {"search": "x"}}), 7, "prevResult.dns.search"),
        (json!({"cniVersion": "0.2.0"}), 1, "prevResult: cniVersion"),
    ] {
        let error = CniResult::read(&value).expect_err(named);
        assert_eq!(error.code, code, "{error}");
        assert!(error.msg.contains(named), "{error}");
    }
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>()
}

fn nets() -> impl Strategy<Value = IpNet> {
    (addresses(), 0u8..=128).prop_map(|(ip, prefix)| {
        let most = Family::of(ip).host_prefix();
        IpNet::new(ip, prefix.min(most)).expect("not longer than the address")
    })
}

fn others() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![
        any::<i32>().prop_map(Value::from),
        "[a-z]*".prop_map(Value::from)
    ];
    vec(("x-[a-z]{1,4}", value), 0..3).prop_map(|pairs| pairs.into_iter().collect())
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of("[ -~]{1,12}")
}

fn interfaces(v: CniVersion) -> impl Strategy<Value = Interface> {
    let new = v >= CniVersion::V1_1_0;
    let fields = (
        "[a-z0-9]{1,15}",
        text(),
        option::of(any::<u32>()),
        text(),
        text(),
        text(),
        others(),
    );
    fields.prop_map(
        move |(name, mac, mtu, sandbox, socket_path, pci_id, others)| Interface {
            name,
            mac,
            mtu: mtu.filter(|_| new),
            sandbox,
            socket_path: socket_path.filter(|_| new),
            pci_id: pci_id.filter(|_| new),
            others,
        },
    )
}

fn ips() -> impl Strategy<Value = IpConfig> {
    let fields = (
        nets(),
        option::of(addresses()),
        option::of(any::<u32>()),
        others(),
    );
    fields.prop_map(|(address, gateway, interface, others)| IpConfig {
        address,
        gateway,
        interface,
        others,
    })
}

fn routes(v: CniVersion) -> impl Strategy<Value = Route> {
    let new = v >= CniVersion::V1_1_0;
    let numbers = [(); 5].map(|()| option::of(any::<u32>()));
    (nets(), option::of(addresses()), numbers, others()).prop_map(move |(dst, gw, n, others)| {
        let [mtu, advmss, priority, table, scope] = n.map(|n| n.filter(|_| new));
        Route {
            dst,
            gw,
            mtu,
            advmss,
            priority,
            table,
            scope,
            others,
        }
    })
}

fn dns() -> impl Strategy<Value = Dns> {
    let list = || vec("[ -~]{0,8}", 0..3);
    (list(), text(), list(), list()).prop_map(|(nameservers, domain, search, options)| Dns {
        nameservers,
        domain,
        search,
        options,
    })
}

fn results(v: CniVersion) -> impl Strategy<Value = CniResult> {
    let fields = (
        vec(interfaces(v), 0..3),
        vec(ips(), 0..3),
        vec(routes(v), 0..3),
        dns(),
        others(),
    );
    fields.prop_map(|(interfaces, ips, routes, dns, others)| CniResult {
        interfaces,
        ips,
        routes,
        dns,
        others,
    })
}

fn versioned() -> impl Strategy<Value = (CniVersion, CniResult)> {
    prop::sample::select(CniVersion::ALL.as_slice())
        .prop_flat_map(|version| (Just(version), results(version)))
}

proptest! {
    #[test]
    fn results_survive_every_version_that_has_their_fields((version, result) in versioned()) {
        let written = result.to_json(version);
        prop_assert_eq!(CniResult::read(&written).expect("our own"), result.clone());
        let text = written.to_string();
        let again: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(CniResult::read(&again).expect("our own"), result);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
        if let Ok(value) = serde_json::from_slice(&bytes) {
            let _ = CniResult::read(&value);
        }
    }
}
