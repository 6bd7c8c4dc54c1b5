//! What to try next, ready to be pasted.

use super::{Lab, NAME};
use crate::command;

/// Commands on the lab that is up, and what each shows.
pub(super) fn text(lab: &Lab) -> String {
    let [programs, kubectl] =
        [&lab.seaway, &lab.kubectl].map(|path| path.parent().unwrap_or(path).display());
    let mut text = format!(
        "\nThe lab \"{NAME}\" stays up, and a client in it goes on asking. To look around, first:\n\
         \x20 export PATH={programs}:{kubectl}:$PATH KUBECONFIG=/run/seaway-lab/{NAME}/kubeconfig SEAWAY_LAB={NAME}\n\
         then, for example:\n"
    );
    let steps = steps(node_address(lab).as_deref(), command::in_path("curl"));
    let width = steps.iter().map(|(step, _)| step.len()).max().unwrap_or(0);
    for (step, why) in &steps {
        text.push_str(&format!("  {step:width$}  # {why}\n"));
    }
    text
}

fn steps(node: Option<&str>, has_curl: bool) -> Vec<(String, &'static str)> {
    let step = |step: &str, why| (step.to_owned(), why);
    let get = match has_curl {
        true => "curl -s",
        false => "seaway tool fetch",
    };
    let mut steps = vec![
        step("kubectl get services,pods -o wide", "what runs"),
        step(
            "kubectl logs deployment/client --tail=3",
            "how the client fares",
        ),
        step(
            "kubectl scale deployment/web --replicas=5",
            "more Pods, same name",
        ),
        step(
            "kubectl rollout restart deployment/web",
            "new Pods, and no request fails",
        ),
    ];
    if let Some(node) = node {
        steps.push((
            format!("seaway lab exec outside -- {get} http://{node}:30080/"),
            "from beyond the cluster, by any node",
        ));
    }
    steps.extend([
        step(
            "seaway lab shell pod-1-1 -- seaway tool lookup web",
            "what the name means inside",
        ),
        step(
            "seaway lab shell pod-1-1 -- seaway tool fetch http://web/",
            "and who answers",
        ),
        step(
            "seaway lab exec node1 -- seaway trace pod-1-1 svc/web:80",
            "where its packets go, and why",
        ),
        step("seaway lab check", "every path, tried again"),
        step("seaway lab down", "nothing is left"),
    ]);
    steps
}

/// The first node's address as URLs have it.
fn node_address(lab: &Lab) -> Option<String> {
    let path = "jsonpath={.status.addresses[0].address}";
    let address = command::output(&mut lab.kubectl(&["get", "node", "node1", "-o", path])).ok()?;
    let address = address.trim();
    match (address.is_empty(), address.contains(':')) {
        (true, _) => None,
        (false, true) => Some(format!("[{address}]")),
        (false, false) => Some(address.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_from_outside_is_by_what_the_machine_has() {
        let text = |node, has_curl| {
            let steps = steps(node, has_curl).into_iter();
            steps.map(|(step, _)| step).collect::<Vec<_>>().join("\n")
        };
        assert!(text(Some("172.18.0.1"), true).contains("curl -s http://172.18.0.1:30080/"));
        assert!(text(Some("[fd00::1]"), false).contains("tool fetch http://[fd00::1]:30080/"));
        assert!(!text(None, true).contains("outside"));
    }
}
