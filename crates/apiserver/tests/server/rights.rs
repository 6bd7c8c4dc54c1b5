//! Who may do what: roles and bindings in force, reviews, tokens of service accounts, impersonation.

use serde_json::{Value, json};

use crate::harness::Server;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A request by the administrator, in somebody's place if one is named; the code and the answer.
async fn ask(server: &Server, user: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let headers = match user {
        "" => String::new(),
        user => format!("Impersonate-User: {user}\r\nImpersonate-Group: team\r\n"),
    };
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let (code, _, text) = server.ask(method, path, &headers, body.as_bytes()).await;
    (code, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// A request with a token; the code and the answer.
async fn bear(server: &Server, token: &str, path: &str) -> (u16, Value) {
    let (code, text) = server.ask_with(token, "GET", path).await;
    (code, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn put(server: &Server, path: &str, body: Value) {
    let (code, answer) = ask(server, "", "POST", path, &body).await;
    assert_eq!(code, 201, "{answer}");
}

fn role(kind: &str, name: &str, rules: Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"name": name}, "rules": rules,
    })
}

fn binding(kind: &str, name: &str, role: (&str, &str), subject: Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"name": name}, "subjects": [subject],
        "roleRef": {"kind": role.0, "name": role.1, "apiGroup": "rbac.authorization.k8s.io"},
    })
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name})
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[tokio::test]
async fn users_are_held_to_their_roles_from_one_request_to_the_next() {
    let server = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let (code, refused) = ask(&server, "jane", "GET", maps, &Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API group \
         \"\" in the namespace \"default\""
    );
    assert_eq!(refused["reason"], "Forbidden");
    assert_eq!(refused["details"], json!({"kind": "configmaps"}));
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    put(
        &server,
        &bindings,
        binding("RoleBinding", "b", ("Role", "maps"), user("jane")),
    )
    .await;
    let (_, refused) = ask(&server, "jane", "GET", maps, &Value::Null).await;
    let message = refused["message"].as_str().unwrap();
    let missing = "RBAC: role.rbac.authorization.k8s.io \"maps\" not found";
    assert!(message.ends_with(missing), "{message}");
    let rules = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "create"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"],
         "verbs": ["get", "watch"]},
    ]);
    let roles = format!("{RBAC}/namespaces/default/roles");
    put(&server, &roles, role("Role", "maps", rules)).await;
    for (method, path, expected) in [
        ("GET", maps.to_owned(), 200),
        ("POST", maps.to_owned(), 201),
        ("GET", format!("{maps}/a"), 200),
        ("GET", format!("{maps}/b"), 403),
        ("GET", format!("{maps}?watch=1&timeoutSeconds=1"), 403),
        (
            "GET",
            format!("{maps}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da"),
            200,
        ),
        ("DELETE", format!("{maps}/a"), 403),
        (
            "GET",
            "/api/v1/namespaces/kube-system/configmaps".to_owned(),
            403,
        ),
        ("GET", "/api/v1/configmaps".to_owned(), 403),
        ("GET", "/api/v1/namespaces/default".to_owned(), 403),
        ("GET", "/apis/apps/v1".to_owned(), 200),
        ("GET", "/metrics".to_owned(), 403),
    ] {
        let body = match method {
            "POST" => config_map("a"),
            _ => Value::Null,
        };
        let (code, answer) = ask(&server, "jane", method, &path, &body).await;
        assert_eq!(code, expected, "{method} {path}: {answer}");
    }
    let (code, _) = ask(
        &server,
        "",
        "DELETE",
        &format!("{bindings}/b"),
        &Value::Null,
    )
    .await;
    assert_eq!(code, 200);
    let (code, _) = ask(&server, "jane", "GET", maps, &Value::Null).await;
    assert_eq!(code, 403);
}

#[tokio::test]
async fn nobody_gives_away_what_they_do_not_have() {
    let server = Server::start().await;
    let admin = ("ClusterRole", "admin");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    put(
        &server,
        &bindings,
        binding("RoleBinding", "b", admin, user("jane")),
    )
    .await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let rules = |group: &str, resource: &str| json!([{"apiGroups": [group], "resources": [resource], "verbs": ["get"]}]);
    let pods = role("Role", "pods", rules("", "pods"));
    let (code, answer) = ask(&server, "jane", "POST", &roles, &pods).await;
    assert_eq!(code, 201, "{answer}");
    let nodes = role("Role", "nodes", rules("", "nodes"));
    let (code, refused) = ask(&server, "jane", "POST", &roles, &nodes).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "roles.rbac.authorization.k8s.io \"nodes\" is forbidden: user \"jane\" (groups=[\"team\" \
         \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}"
    );
    // Neither by a change, nor by a binding of what is there.
    let patch = json!([{"op": "replace", "path": "/rules", "value": rules("", "nodes")}]);
    let headers = "Impersonate-User: jane\r\nContent-Type: application/json-patch+json\r\n";
    let path = format!("{roles}/pods");
    let patch = patch.to_string();
    let patched = server.ask("PATCH", &path, headers, patch.as_bytes());
    assert_eq!(patched.await.0, 403);
    let everything = ("ClusterRole", "cluster-admin");
    let grab = binding("RoleBinding", "grab", everything, user("jane"));
    let (code, _) = ask(&server, "jane", "POST", &bindings, &grab).await;
    assert_eq!(code, 403);
    // Unless they may bind that very role.
    let may_bind = json!([{
        "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
        "verbs": ["bind"], "resourceNames": ["cluster-admin"],
    }]);
    put(&server, &roles, role("Role", "binder", may_bind)).await;
    let binder = binding("RoleBinding", "binder", ("Role", "binder"), user("jane"));
    put(&server, &bindings, binder).await;
    let (code, answer) = ask(&server, "jane", "POST", &bindings, &grab).await;
    assert_eq!(code, 201, "{answer}");
}

/// Streams of Pods are reached by GET, yet nobody gets them who may only read.
#[tokio::test]
async fn readers_run_no_commands_whatever_the_query_says() {
    let server = Server::start().await;
    let ns = |group: &str, plural: &str| format!("/{group}/namespaces/default/{plural}");
    let roles = ns("apis/rbac.authorization.k8s.io/v1", "roles");
    let bindings = ns("apis/rbac.authorization.k8s.io/v1", "rolebindings");
    let reader =
        json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]);
    put(&server, &roles, role("Role", "reader", reader)).await;
    let runner = json!([{"apiGroups": [""], "resources": ["pods/exec", "pods/attach"], "verbs": ["get", "create"]}]);
    put(&server, &roles, role("Role", "runner", runner)).await;
    for (name, who) in [("reader", "jane"), ("runner", "joe")] {
        put(
            &server,
            &bindings,
            binding("RoleBinding", name, ("Role", name), user(who)),
        )
        .await;
    }
    for part in ["exec", "attach"] {
        for query in ["command=sh", "command=sh&watch=1", "watch&command=sh"] {
            let path = format!("{}/p/{part}?stdout=1&{query}", ns("api/v1", "pods"));
            let (code, answer) = ask(&server, "jane", "GET", &path, &Value::Null).await;
            assert_eq!(code, 403, "{path}: {answer}");
            let (code, answer) = ask(&server, "joe", "GET", &path, &Value::Null).await;
            assert_ne!(code, 403, "{path}: {answer}");
        }
    }
}

/// Who could write Endpoints would lead a Service to Pods of other namespaces.
#[tokio::test]
async fn editors_write_no_endpoints() {
    let server = Server::start().await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    for name in ["edit", "admin"] {
        let one = binding("RoleBinding", name, ("ClusterRole", name), user(name));
        put(&server, &bindings, one).await;
        let path = "/api/v1/namespaces/default/endpoints";
        let made = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name}});
        assert_eq!(ask(&server, name, "POST", path, &made).await.0, 403);
        assert_eq!(ask(&server, name, "GET", path, &Value::Null).await.0, 200);
        let maps = "/api/v1/namespaces/default/configmaps";
        let (code, answer) = ask(&server, name, "POST", maps, &config_map(name)).await;
        assert_eq!(code, 201, "{answer}");
    }
}

#[tokio::test]
async fn roles_gather_the_rules_of_those_that_they_select() {
    let server = Server::start().await;
    let roles = format!("{RBAC}/clusterroles");
    let mut more = role(
        "ClusterRole",
        "gateways",
        json!([{"apiGroups": ["x.example"], "resources": ["gateways"], "verbs": ["get"]}]),
    );
    more["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    put(&server, &roles, more).await;
    // `view` is part of `edit`, and `edit` of `admin`.
    for name in ["view", "edit", "admin"] {
        let path = format!("{roles}/{name}");
        crate::harness::eventually("the rules are gathered", || async {
            let (_, role) = ask(&server, "", "GET", &path, &Value::Null).await;
            role["rules"].to_string().contains("gateways").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn tokens_of_service_accounts_are_good_for_their_accounts_only() {
    let server = Server::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}});
    put(&server, accounts, account).await;
    let path = format!("{accounts}/s/token");
    let request = |spec: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let (code, made) = ask(&server, "", "POST", &path, &request(json!({}))).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["expirationSeconds"], 3600);
    let token = made["status"]["token"].as_str().unwrap();
    let (code, refused) = bear(&server, token, "/api/v1/namespaces/default/pods").await;
    assert_eq!(code, 403);
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("User \"system:serviceaccount:default:s\" cannot list"));
    let subject = json!({"kind": "ServiceAccount", "name": "s", "namespace": "default"});
    let view = binding("RoleBinding", "v", ("ClusterRole", "view"), subject);
    put(
        &server,
        &format!("{RBAC}/namespaces/default/rolebindings"),
        view,
    )
    .await;
    let (code, _) = bear(&server, token, "/api/v1/namespaces/default/pods").await;
    assert_eq!(code, 200);

    let review = |token: &str, audiences: Value| {
        json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences},
        })
    };
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (_, known) = ask(&server, "", "POST", reviews, &review(token, json!([]))).await;
    assert_eq!(known["status"]["authenticated"], true, "{known}");
    assert_eq!(
        known["status"]["user"]["username"],
        "system:serviceaccount:default:s"
    );
    let (_, other) = ask(
        &server,
        "",
        "POST",
        reviews,
        &review(token, json!(["vault"])),
    )
    .await;
    assert_eq!(other["status"].get("authenticated"), None, "{other}");
    // A token for somebody else opens nothing here.
    let (_, made) = ask(
        &server,
        "",
        "POST",
        &path,
        &request(json!({"audiences": ["vault"]})),
    )
    .await;
    let foreign = made["status"]["token"].as_str().unwrap();
    assert_eq!(bear(&server, foreign, "/api").await.0, 401);
    let (_, vault) = ask(
        &server,
        "",
        "POST",
        reviews,
        &review(foreign, json!(["vault"])),
    )
    .await;
    assert_eq!(vault["status"]["audiences"], json!(["vault"]));

    let short = request(json!({"expirationSeconds": 5}));
    assert_eq!(ask(&server, "", "POST", &path, &short).await.0, 422);
    let bound = request(json!({"boundObjectRef": {"kind": "Pod", "name": "none"}}));
    assert_eq!(ask(&server, "", "POST", &path, &bound).await.0, 404);
    let gone = format!("{accounts}/s");
    assert_eq!(ask(&server, "", "DELETE", &gone, &Value::Null).await.0, 200);
    assert_eq!(bear(&server, token, "/api").await.0, 401);
    assert_eq!(bear(&server, "s3cret.x.y", "/api").await.0, 401);
}

#[tokio::test]
async fn reviews_say_who_somebody_is_and_what_they_may() {
    let server = Server::start().await;
    let access = "/apis/authorization.k8s.io/v1";
    let view = binding(
        "ClusterRoleBinding",
        "v",
        ("ClusterRole", "view"),
        user("jane"),
    );
    put(&server, &format!("{RBAC}/clusterrolebindings"), view).await;
    let of = |verb: &str, resource: &str| json!({"resourceAttributes": {"verb": verb, "resource": resource, "namespace": "default"}});
    let own = format!("{access}/selfsubjectaccessreviews");
    let review = |spec: Value| json!({"kind": "SelfSubjectAccessReview", "spec": spec});
    let (code, yes) = ask(&server, "jane", "POST", &own, &review(of("list", "pods"))).await;
    assert_eq!(code, 201, "{yes}");
    let reason =
        "RBAC: allowed by ClusterRoleBinding \"v\" of ClusterRole \"view\" to User \"jane\"";
    assert_eq!(yes["status"], json!({"allowed": true, "reason": reason}));
    let (_, no) = ask(
        &server,
        "jane",
        "POST",
        &own,
        &review(of("list", "secrets")),
    )
    .await;
    assert_eq!(no["status"], json!({"allowed": false}));
    let both = json!({
        "resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"verb": "get"},
    });
    assert_eq!(
        ask(&server, "jane", "POST", &own, &review(both)).await.0,
        422
    );

    let mut spec = of("list", "pods");
    spec["user"] = "jane".into();
    let others = format!("{access}/subjectaccessreviews");
    let body = json!({"kind": "SubjectAccessReview", "spec": spec});
    assert_eq!(ask(&server, "jane", "POST", &others, &body).await.0, 403);
    let (_, yes) = ask(&server, "", "POST", &others, &body).await;
    assert_eq!(yes["status"]["allowed"], true);
    let local =
        |namespace: &str| format!("{access}/namespaces/{namespace}/localsubjectaccessreviews");
    let body = json!({"kind": "LocalSubjectAccessReview", "spec": spec});
    assert_eq!(
        ask(&server, "", "POST", &local("default"), &body).await.0,
        201
    );
    assert_eq!(
        ask(&server, "", "POST", &local("other"), &body).await.0,
        422
    );

    let rules = json!({"kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}});
    let path = format!("{access}/selfsubjectrulesreviews");
    let (_, rules) = ask(&server, "jane", "POST", &path, &rules).await;
    let text = rules["status"].to_string();
    assert!(
        text.contains("endpointslices") && text.contains("/api/*"),
        "{text}"
    );
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (_, me) = ask(
        &server,
        "jane",
        "POST",
        who,
        &json!({"kind": "SelfSubjectReview"}),
    )
    .await;
    let expected = json!({"username": "jane", "groups": ["team", "system:authenticated"]});
    assert_eq!(me["status"]["userInfo"], expected);
    assert_eq!(ask(&server, "", "GET", who, &Value::Null).await.0, 405);

    // Who may view may not act as others.
    let headers = "Impersonate-User: jane\r\n";
    let (_, _, made) = server.ask("GET", "/api", headers, b"").await;
    assert!(made.contains("APIVersions"), "{made}");
    let token = server.plain_token();
    let (code, text) = server
        .ask_as(token, "Impersonate-User: admin\r\n", "GET", "/api")
        .await;
    assert_eq!(code, 403);
    let told = "users \\\"admin\\\" is forbidden: User \\\"plain\\\" cannot impersonate resource \
                \\\"users\\\" in API group \\\"\\\" at the cluster scope";
    assert!(text.contains(told), "{text}");
}
