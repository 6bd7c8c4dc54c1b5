//! What a Pod gets that its author left out.

use serde_json::{Value, json};

use crate::kinds::read;

/// A Pod: its spec, and what admission adds upstream.
pub(super) fn pod(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec") else {
        return;
    };
    common(spec);
    read::default(spec, "enableServiceLinks", true);
    read::default(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    read::default(spec, "serviceAccount", account);
    let host = read::flag(spec, "hostNetwork");
    each_container(spec, |container| {
        requests_from_limits(container);
        if host {
            for port in read::list_mut(container, "ports") {
                let number = read::int(port, "containerPort").unwrap_or_default();
                read::default_number(port, "hostPort", number);
            }
        }
    });
}

/// The template of a Deployment or a ReplicaSet.
pub(in crate::kinds) fn template(owner: &mut Value) {
    let template = owner
        .get_mut("spec")
        .and_then(|spec| spec.get_mut("template"));
    if let Some(spec) = template.and_then(|template| template.get_mut("spec")) {
        common(spec);
    }
}

fn common(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    read::default(spec, "restartPolicy", "Always");
    read::default(spec, "dnsPolicy", "ClusterFirst");
    read::default(spec, "terminationGracePeriodSeconds", 30);
    read::default(spec, "schedulerName", "default-scheduler");
    read::default(spec, "securityContext", json!({}));
    same_account(spec);
    each_container(spec, container);
    for entry in read::list_mut(spec, "volumes") {
        volume(entry);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; each fills the other.
fn same_account(spec: &mut Value) {
    let (new, old) = (
        read::text(spec, "serviceAccountName"),
        read::text(spec, "serviceAccount"),
    );
    let account = if new.is_empty() { old } else { new }.to_owned();
    if !account.is_empty() {
        read::put(spec, "serviceAccountName", account.clone());
        read::put(spec, "serviceAccount", account);
    }
}

fn each_container(spec: &mut Value, mut change: impl FnMut(&mut Value)) {
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        read::list_mut(spec, field).iter_mut().for_each(&mut change);
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(read::text(container, "image"));
    read::default(container, "imagePullPolicy", policy);
    read::default(container, "terminationMessagePath", "/dev/termination-log");
    read::default(container, "terminationMessagePolicy", "File");
    read::default(container, "resources", json!({}));
    for port in read::list_mut(container, "ports") {
        read::default(port, "protocol", "TCP");
    }
    for variable in read::list_mut(container, "env") {
        if let Some(source) = variable
            .get_mut("valueFrom")
            .and_then(|source| source.get_mut("fieldRef"))
        {
            read::default(source, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = container.get_mut(name) {
            probe(found);
        }
    }
    for name in ["postStart", "preStop"] {
        let hook = container
            .get_mut("lifecycle")
            .and_then(|hooks| hooks.get_mut(name));
        if let Some(hook) = hook {
            http(hook);
        }
    }
}

/// Images that may move under their name are pulled each time.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let moves = !name.contains('@')
        && name
            .split_once(':')
            .is_none_or(|(_, tag)| tag == "latest" || tag.is_empty());
    if moves { "Always" } else { "IfNotPresent" }
}

fn probe(probe: &mut Value) {
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        read::default_number(probe, field, value);
    }
    http(probe);
    if let Some(grpc) = probe.get_mut("grpc") {
        read::default(grpc, "service", "");
    }
}

fn http(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet") {
        read::default(get, "path", "/");
        read::default(get, "scheme", "HTTP");
    }
}

fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container["resources"]["limits"].as_object().cloned() else {
        return;
    };
    let Some(resources) = container.get_mut("resources") else {
        return;
    };
    if let Some(requests) = read::child(resources, "requests") {
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    }
}

fn volume(volume: &mut Value) {
    let Some(fields) = volume.as_object_mut() else {
        return;
    };
    if fields.keys().all(|key| key == "name") {
        fields.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            read::default(source, "defaultMode", 0o644);
            field_versions(source);
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        read::default(path, "type", "");
    }
    let Some(projected) = volume.get_mut("projected") else {
        return;
    };
    for source in read::list_mut(projected, "sources") {
        if let Some(token) = source.get_mut("serviceAccountToken") {
            read::default_number(token, "expirationSeconds", 3600);
        }
        if let Some(fields) = source.get_mut("downwardAPI") {
            field_versions(fields);
        }
    }
}

fn field_versions(source: &mut Value) {
    for item in read::list_mut(source, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            read::default(field, "apiVersion", "v1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_pod_gets_what_kubernetes_gives_it() {
        let mut given = json!({"spec": {"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}],
            "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "c"}}]}});
        pod(&mut given);
        assert_eq!(
            given["spec"],
            json!({
                "containers": [{
                    "name": "a", "image": "x", "imagePullPolicy": "Always", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                }],
                "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always",
                "schedulerName": "default-scheduler", "securityContext": {}, "serviceAccount": "default",
                "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c", "defaultMode": 420}}],
            })
        );
        let once = given.clone();
        pod(&mut given);
        assert_eq!(given, once);
    }

    #[test]
    fn images_are_pulled_by_their_tag() {
        let cases = [
            ("a", "Always"),
            ("a:latest", "Always"),
            ("a:1", "IfNotPresent"),
            ("h:5000/a", "Always"),
            ("h:5000/a:1", "IfNotPresent"),
            ("a@sha256:0", "IfNotPresent"),
        ];
        for (image, expected) in cases {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }

    #[test]
    fn probes_limits_and_host_ports_are_filled_in() {
        let mut given = json!({"spec": {"hostNetwork": true, "containers": [{
            "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
            "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5},
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        }]}});
        pod(&mut given);
        let container = &given["spec"]["containers"][0];
        assert_eq!(container["ports"][0]["hostPort"], 80);
        assert_eq!(
            container["resources"]["requests"],
            json!({"cpu": "500m", "memory": "1Gi"})
        );
        assert_eq!(
            container["livenessProbe"],
            json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1, "periodSeconds": 5, "successThreshold": 1, "failureThreshold": 3})
        );
        assert_eq!(
            container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"],
            "v1"
        );
    }

    #[test]
    fn a_template_names_no_account_and_no_links() {
        let mut owner = json!({"spec": {"template": {"spec": {"containers": []}}}});
        template(&mut owner);
        let spec = &owner["spec"]["template"]["spec"];
        assert_eq!(spec["restartPolicy"], "Always");
        assert_eq!(
            (
                spec.get("serviceAccountName"),
                spec.get("enableServiceLinks")
            ),
            (None, None)
        );
    }
}
