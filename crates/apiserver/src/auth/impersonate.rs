//! Acting as somebody else: the headers `Impersonate-User`, `-Group`, `-Uid` and `-Extra-…`, for those
//! who have the verb `impersonate` on each of what they name.

use std::sync::Arc;

use hyper::HeaderMap;

use super::{AUTHENTICATED, User};
use crate::rbac::{Ask, Rbac, Thing};
use crate::status::ApiError;
use crate::store::Store;

const PREFIX: &str = "impersonate-";
const EXTRA: &str = "impersonate-extra-";
const REVIEWS: &str = "authentication.k8s.io";
/// Who is not known.
const ANONYMOUS: &str = "system:anonymous";

/// Whom a request is made as: the user, or somebody whom the user may impersonate.
pub(crate) fn impersonated(
    user: &Arc<User>,
    headers: &HeaderMap,
    rbac: &Rbac,
    store: &Store,
) -> Result<Arc<User>, ApiError> {
    let Some(wanted) = wanted(headers)? else {
        return Ok(Arc::clone(user));
    };
    for (group, resource, part, namespace, name) in asked(&wanted) {
        let thing = Thing {
            group,
            resource,
            part,
            namespace,
            name,
        };
        rbac.authorise(store, user, &Ask::on("impersonate", thing))?;
    }
    Ok(Arc::new(completed(wanted)))
}

/// The namespace and the name of a service account.
fn account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// Whom the headers name, if anybody.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, ApiError> {
    let mut user = User::default();
    let mut is_named = false;
    for (name, value) in headers {
        let Some(what) = name.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        is_named = true;
        let text = value
            .to_str()
            .map_err(|_| ApiError::bad_request(format!("header {name}: the value is no text")))?;
        match what {
            "user" => user.name = text.to_owned(),
            "uid" => user.uid = text.to_owned(),
            "group" => user.groups.push(text.to_owned()),
            _ => {
                if let Some(key) = name.as_str().strip_prefix(EXTRA) {
                    let values = user.extra.entry(unescaped(key)).or_default();
                    values.push(text.to_owned());
                }
            }
        }
    }
    if is_named && user.name.is_empty() {
        let message = "requested impersonation without a user: give the header Impersonate-User";
        return Err(ApiError::bad_request(message));
    }
    Ok(is_named.then_some(user))
}

/// Header names have percent signs for what they cannot hold.
fn unescaped(key: &str) -> String {
    let pairs = format!("k={}", key.replace('+', "%2B").replace('&', "%26"));
    let mut parsed = form_urlencoded::parse(pairs.as_bytes());
    parsed
        .next()
        .map_or(String::new(), |(_, text)| text.into_owned())
}

/// What the user must be allowed to impersonate: group, resource, part, namespace, name.
fn asked(wanted: &User) -> Vec<(&str, &str, &str, &str, &str)> {
    let mut all = vec![match account(&wanted.name) {
        Some((namespace, name)) => ("", "serviceaccounts", "", namespace, name),
        None => ("", "users", "", "", wanted.name.as_str()),
    }];
    let groups = wanted.groups.iter();
    all.extend(groups.map(|group| ("", "groups", "", "", group.as_str())));
    if !wanted.uid.is_empty() {
        all.push((REVIEWS, "uids", "", "", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        let values = values.iter();
        all.extend(values.map(|value| (REVIEWS, "userextras", key.as_str(), "", value.as_str())));
    }
    all
}

/// With the groups that go without saying.
fn completed(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, name)) = account(&user.name)
    {
        user.groups = User::account(namespace, name, "").groups;
    }
    let known = user.groups.iter().any(|group| group == AUTHENTICATED);
    if !known && user.name != ANONYMOUS {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    if user.name == ANONYMOUS && user.groups.is_empty() {
        user.groups.push("system:unauthenticated".to_owned());
    }
    user
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn headers_name_whom_a_request_is_made_as() {
        let mut headers = HeaderMap::new();
        assert_eq!(wanted(&headers).unwrap(), None);
        headers.append("Impersonate-Group", "g".parse().unwrap());
        assert_eq!(wanted(&headers).unwrap_err().code, 400);
        headers.append("Impersonate-Group", "h".parse().unwrap());
        headers.append("Impersonate-Extra-a%2Fb", "x".parse().unwrap());
        headers.append("Impersonate-User", "u".parse().unwrap());
        let user = wanted(&headers).unwrap().unwrap();
        assert_eq!(user.groups, ["g", "h"]);
        assert_eq!(
            user.extra,
            BTreeMap::from([("a/b".into(), vec!["x".into()])])
        );
        let asked: Vec<String> = asked(&user)
            .iter()
            .map(|(_, resource, part, _, name)| format!("{resource}/{part}:{name}"))
            .collect();
        assert_eq!(
            asked,
            ["users/:u", "groups/:g", "groups/:h", "userextras/a/b:x"]
        );
        assert_eq!(completed(user).groups, ["g", "h", AUTHENTICATED]);
        let account = User {
            name: "system:serviceaccount:n:s".to_owned(),
            ..User::default()
        };
        assert_eq!(completed(account).groups.len(), 3);
    }
}
