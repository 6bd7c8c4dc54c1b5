//! What Services get, one test a rule.

use serde_json::json;

use super::*;
use crate::kinds;

fn services(ranges: &[&str]) -> Services {
    let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
    Services::new(&ranges, 30000..=30003).unwrap()
}

fn dual() -> Services {
    services(&["10.96.0.0/16", "fd00::/112"])
}

fn kind() -> &'static Kind {
    kinds::find("", "v1", "services").unwrap()
}

fn service(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "namespace": "n", "name": name }, "spec": spec })
}

/// Stores a Service, as far as the pools are concerned.
fn store(services: &Services, mut value: Value) -> Result<Value, String> {
    let claim = services
        .claim(kind(), &mut value, None)
        .map_err(|error| error.message)?;
    claim.keep();
    Ok(value["spec"].take())
}

fn update(services: &Services, old: &Value, new: Value) -> Result<Value, String> {
    let (old, mut new) = (service("a", old.clone()), service("a", new));
    carry_over(kind(), &mut new, &old);
    let claim = services
        .claim(kind(), &mut new, Some(&old))
        .map_err(|error| error.message)?;
    claim.keep();
    Ok(new["spec"].take())
}

fn count(spec: &Value) -> usize {
    spec["clusterIPs"].as_array().unwrap().len()
}

#[test]
fn one_address_of_the_first_family_is_the_default() {
    let spec = store(&dual(), service("a", json!({ "selector": { "a": "b" } }))).unwrap();
    assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
    assert_eq!(spec["ipFamilyPolicy"], "SingleStack");
    assert_eq!(spec["clusterIP"], spec["clusterIPs"][0]);
    let six = services(&["fd00::/112", "10.96.0.0/16"]);
    let spec = store(&six, service("a", json!({}))).unwrap();
    assert_eq!(spec["ipFamilies"], json!(["IPv6"]));
}

#[test]
fn dual_stack_where_it_is_wanted_and_possible() {
    let prefer = json!({ "ipFamilyPolicy": "PreferDualStack" });
    let require = json!({ "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"] });
    let spec = store(&dual(), service("a", prefer.clone())).unwrap();
    assert_eq!(spec["ipFamilies"], json!(["IPv4", "IPv6"]));
    let spec = store(&dual(), service("a", require.clone())).unwrap();
    assert_eq!(spec["ipFamilies"], json!(["IPv6", "IPv4"]));
    let single = services(&["10.96.0.0/16"]);
    assert_eq!(count(&store(&single, service("a", prefer)).unwrap()), 1);
    let refusal = store(&single, service("a", require)).unwrap_err();
    assert!(
        refusal.contains("not configured on this cluster"),
        "{refusal}"
    );
}

#[test]
fn chosen_addresses_are_checked() {
    let services = dual();
    let ask = |name: &str, ip: &str| store(&services, service(name, json!({ "clusterIP": ip })));
    assert_eq!(
        ask("a", "10.96.0.10").unwrap()["clusterIPs"],
        json!(["10.96.0.10"])
    );
    assert!(
        ask("b", "10.96.0.10")
            .unwrap_err()
            .contains("already allocated")
    );
    assert!(
        ask("b", "10.97.0.1")
            .unwrap_err()
            .contains("not in the valid range")
    );
    assert!(
        ask("b", "10.96.0.0")
            .unwrap_err()
            .contains("not in the valid range")
    );
    assert!(
        ask("b", "x")
            .unwrap_err()
            .contains("must be a valid IP address")
    );
    assert_eq!(ask("b", "fd00::9").unwrap()["ipFamilies"], json!(["IPv6"]));
}

#[test]
fn headless_and_external_services_have_no_address() {
    let services = dual();
    let spec = store(&services, service("a", json!({ "clusterIP": "None" }))).unwrap();
    assert_eq!(spec["clusterIPs"], json!(["None"]));
    assert_eq!(spec["ipFamilies"], json!(["IPv4", "IPv6"]));
    let named = json!({ "clusterIP": "None", "selector": { "a": "b" } });
    let spec = store(&services, service("b", named)).unwrap();
    assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
    let external = json!({ "type": "ExternalName", "externalName": "x.y" });
    let spec = store(&services, service("c", external)).unwrap();
    assert!(spec.get("clusterIP").is_none());
}

#[test]
fn an_address_is_for_life_but_its_service_can_lose_it() {
    let services = dual();
    let old = store(&services, service("a", json!({}))).unwrap();
    let kept = update(&services, &old, json!({})).unwrap();
    assert_eq!(kept["clusterIP"], old["clusterIP"]);
    let changed = update(&services, &old, json!({ "clusterIP": "10.96.0.99" }));
    assert!(changed.unwrap_err().contains("may not change once set"));
    let external = json!({ "type": "ExternalName", "externalName": "x.y" });
    update(&services, &old, external).unwrap();
    let freed = json!({ "clusterIP": old["clusterIP"] });
    assert!(store(&services, service("b", freed)).is_ok());
}

#[test]
fn a_second_family_comes_and_goes() {
    let services = dual();
    let old = store(&services, service("a", json!({}))).unwrap();
    let both = update(
        &services,
        &old,
        json!({ "ipFamilyPolicy": "PreferDualStack" }),
    )
    .unwrap();
    assert_eq!(both["clusterIPs"][0], old["clusterIP"]);
    assert_eq!(count(&both), 2);
    let mut one = both.clone();
    one["ipFamilyPolicy"] = "SingleStack".into();
    let one = update(&services, &both, one).unwrap();
    assert_eq!(one["clusterIPs"], old["clusterIPs"]);
    let freed = json!({ "clusterIP": both["clusterIPs"][1] });
    assert!(store(&services, service("b", freed)).is_ok());
}

#[test]
fn what_is_claimed_is_given_back_unless_it_is_kept() {
    let services = services(&["10.96.0.0/30"]);
    for _ in 0..5 {
        let mut value = service("a", json!({}));
        drop(services.claim(kind(), &mut value, None).unwrap());
    }
    // .1 is kept for Service kubernetes, so .2 is the only one.
    let spec = store(&services, service("a", json!({}))).unwrap();
    assert_eq!(spec["clusterIP"], "10.96.0.2");
    let refusal = store(&services, service("b", json!({}))).unwrap_err();
    assert!(refusal.contains("range is full"), "{refusal}");
    services.release(kind(), &service("a", spec));
    assert!(store(&services, service("b", json!({}))).is_ok());
}

#[test]
fn node_ports_are_given_shared_checked_and_freed() {
    let services = dual();
    let ports = json!({ "type": "NodePort", "ports": [
        { "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }, { "port": 80 },
    ] });
    let spec = store(&services, service("a", ports)).unwrap();
    assert_eq!(spec["ports"][0]["nodePort"], spec["ports"][1]["nodePort"]);
    assert_ne!(spec["ports"][0]["nodePort"], spec["ports"][2]["nodePort"]);
    let ask = |port: u64| {
        let spec = json!({ "type": "NodePort", "ports": [{ "port": 1, "nodePort": port }] });
        store(&services, service("b", spec))
    };
    let taken = spec["ports"][2]["nodePort"].as_u64().unwrap();
    assert!(
        ask(taken)
            .unwrap_err()
            .contains("provided port is already allocated")
    );
    assert!(ask(80).unwrap_err().contains("30000-30003"));
    let plain = json!({ "type": "ClusterIP", "ports": spec["ports"] });
    let plain = update(&services, &spec, plain).unwrap();
    assert!(plain["ports"][2].get("nodePort").is_none());
    assert!(ask(taken).is_ok());
}

#[test]
fn an_update_keeps_the_node_ports_that_it_leaves_out() {
    let services = dual();
    let wanted = json!({ "type": "NodePort", "ports": [{ "port": 80, "protocol": "TCP" }] });
    let old = store(&services, service("a", wanted.clone())).unwrap();
    let new = update(&services, &old, wanted).unwrap();
    assert_eq!(new["ports"], old["ports"]);
}

#[test]
fn local_load_balancing_has_a_health_check_port() {
    let services = dual();
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{ "port": 80 }],
    });
    let spec = store(&services, service("a", spec)).unwrap();
    assert!(spec["healthCheckNodePort"].as_u64().unwrap() >= 30000);
    assert_ne!(spec["healthCheckNodePort"], spec["ports"][0]["nodePort"]);
}

#[test]
fn contradicting_ranges_are_refused() {
    let ranges = |list: &[&str]| {
        let ranges: Vec<IpNet> = list.iter().map(|range| range.parse().unwrap()).collect();
        Services::new(&ranges, 30000..=32767).map(|_| ())
    };
    assert!(ranges(&[]).is_err());
    assert!(ranges(&["10.96.0.0/16", "10.97.0.0/16"]).is_err());
    assert!(ranges(&["fd00::/112"]).is_ok());
}

fn range(name: &str, cidrs: &[&str]) -> Value {
    json!({ "metadata": { "name": name, "uid": name }, "spec": { "cidrs": cidrs } })
}

#[test]
fn a_full_range_is_followed_by_the_next_until_something_is_given_back() {
    let services = services(&["10.96.0.0/30"]);
    let first = store(&services, service("a", json!({}))).unwrap();
    services.open_range(&range("more", &["10.97.0.0/30", "fd00::/112"]));
    let second = store(&services, service("b", json!({}))).unwrap();
    assert_eq!(second["clusterIP"], "10.97.0.1");
    assert_eq!(second["ipFamilies"], json!(["IPv4"]), "one family still");
    services.release(kind(), &service("a", first.clone()));
    let third = store(&services, service("c", json!({}))).unwrap();
    assert_eq!(third["clusterIP"], first["clusterIP"]);
}

#[test]
fn a_closed_range_gives_nothing_and_goes_when_nobody_needs_it() {
    let services = services(&["10.96.0.0/30"]);
    services.open_range(&range("more", &["10.97.0.0/29"]));
    let chosen = |name: &str, ip: &str| store(&services, service(name, json!({ "clusterIP": ip })));
    let held = chosen("a", "10.97.0.2").unwrap();
    services.close_range(&range("more", &[]));
    let refusal = chosen("b", "10.97.0.3").unwrap_err();
    assert!(refusal.contains("valid IPs is 10.96.0.0/30"), "{refusal}");
    assert!(!services.closed_ranges()["more"]);
    services.open_range(&range("other", &["10.97.0.0/30"]));
    assert!(services.closed_ranges()["more"], "another has it");
    services.drop_range(&range("other", &[]));
    assert!(!services.closed_ranges()["more"]);
    services.release(kind(), &service("a", held));
    assert!(services.closed_ranges()["more"]);
    services.drop_range(&range("more", &[]));
    assert!(services.closed_ranges().is_empty());
}

#[test]
fn an_address_by_hand_is_kept_from_services() {
    let services = services(&["10.96.0.0/30"]);
    let addresses = kinds::find("networking.k8s.io", "v1", "ipaddresses").unwrap();
    let mut by_hand = json!({ "metadata": { "name": "10.96.0.2", "uid": "1" } });
    let claim = services.claim(addresses, &mut by_hand, None).unwrap();
    claim.keep();
    assert!(store(&services, service("a", json!({}))).is_err());
    assert_eq!(services.holder("10.96.0.2".parse().unwrap()), None);
    services.release(addresses, &by_hand);
    let spec = store(&services, service("a", json!({}))).unwrap();
    assert_eq!(spec["clusterIP"], "10.96.0.2");
    let error = services.claim(addresses, &mut by_hand, None).unwrap_err();
    assert_eq!(error.reason, "AlreadyExists");
    let holder = services.holder("10.96.0.2".parse().unwrap());
    assert_eq!(holder, Some(("n".to_owned(), "a".to_owned())));
}
