//! The chart, rendered by the real Helm, is what `seaway install` prints for the same values, object
//! by object; and what the one refuses, the other does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use seaway_deploy::{Values, manifest};
use serde_json::Value;

fn helm() -> Command {
    let named = std::env::var_os("SEAWAY_HELM").map(PathBuf::from);
    let mut command = Command::new(named.expect(
        "SEAWAY_HELM names the Helm to test with: run `cargo xtask test`, which fetches one to \
         target/tools/helm-*/helm",
    ));
    command.env("HELM_CACHE_HOME", std::env::temp_dir());
    command
}

fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/chart")
}

/// `helm template` with a file of values and more by `--set`.
fn template(values: &str, more: &[&str]) -> Output {
    use std::io::Write;
    let mut command = helm();
    command.args(["template", "seaway"]).arg(chart());
    command.args(["--namespace", "elsewhere", "--values", "-"]);
    command.args(more);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().expect("started");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(values.as_bytes()).expect("written");
    drop(input);
    child.wait_with_output().expect("ended")
}

/// The objects of a text, by kind, namespace and name.
fn objects(text: &str) -> BTreeMap<[String; 3], Value> {
    let documents = text.split("\n---\n");
    let objects = documents.filter_map(|document| {
        let document = document.trim_start_matches("---\n");
        let object: Option<Value> = serde_saphyr::from_str(document).expect("YAML");
        object.filter(|object| !object.is_null())
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let keyed = objects.map(|object| {
        let metadata = &object["metadata"];
        let key = [&object["kind"], &metadata["namespace"], &metadata["name"]].map(text);
        (key, object)
    });
    let all: Vec<_> = keyed.collect();
    let count = all.len();
    let by_key: BTreeMap<_, _> = all.into_iter().collect();
    assert_eq!(by_key.len(), count, "objects of one name");
    by_key
}

fn chosen(yaml: &str, assignments: &[&str]) -> Result<Values, String> {
    let mut values = Values::default();
    let words = |error: seaway_deploy::ValueError| error.to_string();
    values.merge_yaml(yaml).map_err(words)?;
    for assignment in assignments {
        values.set(assignment).map_err(words)?;
    }
    values.check_together().map_err(words)?;
    Ok(values)
}

/// Files of values, each with further assignments.
const GOOD: &[(&str, &[&str])] = &[
    ("{}", &[]),
    (
        "transport: vxlan\nvxlan: {vni: 16777215, port: 8472, underlay: ipv6}\n",
        &[],
    ),
    (
        "{}",
        &[
            "wiring=bridge",
            "transport=l2",
            "mtu=1400",
            "masquerade=false",
        ],
    ),
    ("{}", &["vxlan.enabled=false", "transport=direct"]),
    (
        "keepSourceTo: [192.0.2.0/24, 'fd00::/8']\nlogLevel: info,seaway_agent=debug\n",
        &[],
    ),
    (
        "{}",
        &[
            "serviceCidrs={10.96.0.0/12,fd00:10:96::/108}",
            "nodePortAddresses={10.0.0.0/8}",
        ],
    ),
    ("{}", &["kubeProxyReplacement=false", "metrics.bind=off"]),
    (
        "dns: {enabled: true, upstream: [192.0.2.53, '[2001:db8::53]:5353']}\n",
        &[],
    ),
    ("{}", &["dns.enabled=true", "dns.upstream={none}"]),
    (
        "clusterCidrs: ['10.244.0.0/16=24', 'fd00:10:244::/48=64']\ncontroller: {replicas: 3}\n",
        &[],
    ),
    (
        "apiServers: ['https://192.0.2.1:6443', 'https://[2001:db8::1]:6443']\n",
        &[],
    ),
    (
        "image: {repository: registry.example:5000/net/seaway, tag: 1.2.3-rc.1, pullPolicy: Always}\n\
      imagePullSecrets: [{name: registry}]\n",
        &[],
    ),
    (
        "agent:\n  resources: {limits: {memory: 200Mi}, requests: {cpu: 0.5}}\n  tolerations: []\n  \
      nodeSelector: {kubernetes.io/os: null, a: b}\n  maxUnavailable: 10%\n",
        &[],
    ),
    (
        "controller:\n  resources: {}\n  tolerations: [{key: \"a: b\", operator: Exists, tolerationSeconds: 5}]\n  \
      nodeSelector: {\"node-role.kubernetes.io/control-plane\": \"\"}\n",
        &[],
    ),
    (
        "cniBinDir: /var/lib/rancher/k3s/data/cni\ncniConfDir: /var/lib/rancher/k3s/agent/etc/cni/net.d\n\
      runDir: /run/other\nnetnsDir: /var/run/docker/netns\n",
        &[],
    ),
    ("uplink: {name: eth1}\n", &[]),
    (
        "uplink: {match: 192.0.2.0/24}\n",
        &[
            "externalIPs=true",
            "masqueradeAll=true",
            "nodeEndpoints=true",
        ],
    ),
    ("mtu: null\n", &["agent.maxUnavailable=3"]),
];

#[test]
fn helm_renders_what_install_prints() {
    let mut seen = std::collections::BTreeSet::new();
    for (yaml, assignments) in GOOD {
        let values = chosen(yaml, assignments).expect(yaml);
        let ours = objects(&manifest(&values));
        let sets = assignments.iter().flat_map(|one| ["--set", one]);
        let output = template(yaml, &sets.collect::<Vec<_>>());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{yaml} {assignments:?}: {errors}");
        let theirs = objects(&String::from_utf8(output.stdout).expect("text"));
        let keys =
            |objects: &BTreeMap<[String; 3], Value>| objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&ours), keys(&theirs), "{yaml} {assignments:?}");
        for (key, object) in &ours {
            assert_eq!(object, &theirs[key], "{yaml} {assignments:?}: {key:?}");
        }
        seen.insert(manifest(&values));
    }
    assert_eq!(seen.len(), GOOD.len(), "manifests");
}

#[test]
fn helm_refuses_what_install_refuses() {
    for (yaml, assignments) in [
        ("transprt: vxlan\n", &[][..]),
        ("vxlan: {vmi: 3}\n", &[]),
        ("{}", &["transport=VXLAN"]),
        ("{}", &["serviceBackend=ebpf"]),
        ("{}", &["vxlan.vni=0"]),
        ("{}", &["vxlan.vni=16777216"]),
        ("{}", &["mtu=100"]),
        ("masquerade: 1\n", &[]),
        ("imagePullSecrets: null\n", &[]),
        ("{}", &["serviceCidrs={10.96.0.0}"]),
        ("{}", &["clusterCidrs={10.244.0.0/16}"]),
        ("{}", &["runDir=run"]),
        ("{}", &["agent.maxUnavailable=0"]),
        ("agent: {tolerations: {a: b}}\n", &[]),
        ("{}", &["vxlan.enabled=false", "transport=vxlan"]),
        ("{}", &["kubeProxyReplacement=false", "dns.enabled=true"]),
        ("{}", &["masquerade=false", "keepSourceTo={192.0.2.0/24}"]),
        ("{}", &["dns.upstream={192.0.2.53}"]),
        ("uplink: {name: a, match: 192.0.2.0/24}\n", &[]),
    ] {
        chosen(yaml, assignments).expect_err(yaml);
        let sets = assignments.iter().flat_map(|one| ["--set", one]);
        let output = template(yaml, &sets.collect::<Vec<_>>());
        assert!(!output.status.success(), "{yaml} {assignments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        let key = match assignments.last() {
            Some(last) => last.split(['=', '.']).next().unwrap_or_default(),
            None => yaml.split(':').next().unwrap_or_default(),
        };
        assert!(said.contains(key), "{yaml} {assignments:?}: {said}");
    }
}

#[test]
fn the_namespace_is_left_to_helm_where_the_release_is_in_it() {
    let of = |namespace: &str| {
        let mut command = helm();
        command.args(["template", "seaway", "--namespace", namespace]);
        let output = command.arg(chart()).output().expect("started");
        let text = String::from_utf8(output.stdout).expect("text");
        objects(&text).keys().any(|key| key[0] == "Namespace")
    };
    assert_eq!((of("default"), of("seaway-system")), (true, false));
}

#[test]
fn helm_finds_nothing_wrong_with_the_chart() {
    let output = helm().args(["lint", "--strict"]).arg(chart()).output();
    let output = output.expect("started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(
        !said.contains("[WARNING]") && !said.contains("[ERROR]"),
        "{said}"
    );
}
