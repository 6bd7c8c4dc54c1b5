//! Reading bodies that Go clients write.

use proptest::prelude::*;

use super::*;

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    out.extend_from_slice(bytes);
    out
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &types), field(2, raw)].concat()
}

#[test]
fn a_secret_is_read() {
    let name = field(1, &[field(1, b"s"), field(3, b"n"), field(8, b"")].concat());
    let data = field(2, &[field(1, b"key"), field(2, &[0, 255])].concat());
    let raw = [name, data, field(3, b"Opaque")].concat();
    let read = decode(&body("v1", "Secret", &raw)).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": "s", "namespace": "n" },
        "data": { "key": "AP8=" },
    });
    assert_eq!(read, expected);
}

#[test]
fn a_review_is_read_with_what_else_is_known_of_a_user() {
    let values = field(2, &[field(1, b"v"), field(1, b"w")].concat());
    let extra = field(5, &[field(1, b"k"), values].concat());
    let spec = field(2, &[field(3, b"u"), field(4, b"g"), extra].concat());
    let kind = "SubjectAccessReview";
    let read = decode(&body("authorization.k8s.io/v1", kind, &spec)).unwrap();
    let expected = json!({"user": "u", "groups": ["g"], "extra": {"k": ["v", "w"]}});
    assert_eq!(read["spec"], expected);
}

#[test]
fn zeros_are_kept_only_where_they_mean_something() {
    let spec = field(2, &[1 << 3, 0]); // replicas: 0
    let read = decode(&body("apps/v1", "Deployment", &spec)).unwrap();
    assert_eq!(read["spec"], json!({ "replicas": 0 }));
    let spec = field(2, &[13 << 3, 0]); // publishNotReadyAddresses: false
    let read = decode(&body("v1", "Service", &spec)).unwrap();
    assert_eq!(read["spec"], json!({}));
}

#[test]
fn zeros_of_pointers_are_kept_wherever_they_stand() {
    let lease = field(2, &[2 << 3, 0]);
    let lease = decode(&body("coordination.k8s.io/v1", "Lease", &lease)).unwrap();
    assert_eq!(lease["spec"], json!({ "leaseDurationSeconds": 0 }));
    let scale = field(2, &[1 << 3, 0]); // replicas of a Scale, which is no pointer
    let scale = decode(&body("autoscaling/v1", "Scale", &scale)).unwrap();
    assert_eq!(scale["spec"], json!({}));
    let surge = field(2, &field(2, &[1 << 3, 0, 2 << 3, 0]));
    let spec = field(2, &field(4, &surge)); // strategy.rollingUpdate.maxSurge: 0
    let deployment = decode(&body("apps/v1", "Deployment", &spec)).unwrap();
    let update = &deployment["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(update, &json!({ "maxSurge": 0 }));
    let slice = field(3, &[3 << 3, 0]);
    let slice = decode(&body("discovery.k8s.io/v1", "EndpointSlice", &slice)).unwrap();
    assert_eq!(slice["ports"], json!([{ "port": 0 }]));
}

#[test]
fn what_json_shows_differently_is_read() {
    let endpoints = field(6, &field(1, &[1 << 3, 0x8a, 0x50]));
    let node = decode(&body("v1", "Node", &field(3, &endpoints))).unwrap();
    let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    assert_eq!(port, &json!(10250));
    let entry = field(7, &field(1, br#"{"f:data":{}}"#));
    let managed = [
        &[17 << 3 | 2 & 0x7f | 0x80, 1][..],
        &[entry.len() as u8],
        &entry,
    ]
    .concat();
    let map = decode(&body("v1", "ConfigMap", &field(1, &managed))).unwrap();
    let fields = &map["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(fields, &json!({ "f:data": {} }));
}

/// What `kubectl create` of version 1.37 sent, and what it shows of the same with
/// `--dry-run=client -o json`.
macro_rules! kubectl {
    ($($name:literal),* $(,)?) => {
        [$((
            $name,
            &include_bytes!(concat!("bodies/", $name, ".bin"))[..],
            include_str!(concat!("bodies/", $name, ".json")),
        )),*]
    };
}

#[test]
fn what_kubectl_creates_is_read_as_it_shows_it() {
    for (name, bytes, shown) in kubectl![
        "configmap",
        "deployment",
        "ingress",
        "namespace",
        "secret",
        "service-clusterip",
        "service-externalname",
        "service-headless",
        "service-loadbalancer",
        "service-nodeport",
        "serviceaccount",
    ] {
        let shown: Value = serde_json::from_str(shown).unwrap();
        assert_eq!(decode(bytes).unwrap(), shown, "{name}");
        for end in 0..bytes.len() {
            let _cut = decode(&bytes[..end]);
        }
    }
}

#[test]
fn ports_are_numbers_or_names() {
    let port = |target: &[u8]| {
        let port = [vec![3 << 3, 80], field(4, target)].concat();
        let spec = field(2, &field(1, &port));
        decode(&body("v1", "Service", &spec)).unwrap()["spec"]["ports"][0].clone()
    };
    let number = port(&[1 << 3, 0, 2 << 3, 90]);
    assert_eq!(number, json!({ "port": 80, "targetPort": 90 }));
    let named = port(&[&[1 << 3, 1][..], &field(3, b"http")].concat());
    assert_eq!(named, json!({ "port": 80, "targetPort": "http" }));
}

#[test]
fn what_is_not_an_object_is_refused() {
    assert_eq!(decode(b"{}").unwrap_err(), ProtobufError::Magic);
    let unknown = decode(&body("x/v1", "Gadget", b"")).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "it holds a x/v1, Kind=Gadget, which this server does not know"
    );
    let mut cut = body("v1", "Secret", &field(1, b"abc"));
    cut.pop();
    assert_eq!(decode(&cut).unwrap_err(), ProtobufError::Malformed);
}

proptest! {
    #[test]
    fn nothing_panics(raw in prop::collection::vec(any::<u8>(), 0..120)) {
        for kind in ["Pod", "Service", "Secret"] {
            let _outcome = decode(&body("v1", kind, &raw));
        }
        let _outcome = decode(&[MAGIC, &raw].concat());
    }
}
