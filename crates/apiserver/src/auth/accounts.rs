//! Tokens of service accounts: made on request, signed with a key that lives as long as the server, and
//! good only while the account, and the Pod, Secret or Node that they are bound to, exist.

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::User;
use crate::kinds::{self, Kind, read};
use crate::store::{Key, Store};

/// The audience of tokens for this server, and who issues them.
pub(crate) const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";
/// A token that is longer is none of ours.
const MAX_LENGTH: usize = 16 << 10;
/// Like other programs' tokens, ours say how they are signed.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Makes and checks tokens.
pub(crate) struct Issuer(hmac::Key);

/// What a token is bound to besides its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    /// `Pod`, `Secret` or `Node`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// A token that is to be made.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) account: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) audiences: &'a [String],
    pub(crate) bound: Option<&'a Bound>,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

impl Bound {
    /// The kind of what tokens may be bound to.
    pub(crate) fn kind(name: &str) -> Option<(&'static str, &'static Kind)> {
        let (name, plural) = match name {
            "Pod" => ("Pod", "pods"),
            "Secret" => ("Secret", "secrets"),
            "Node" => ("Node", "nodes"),
            _ => return None,
        };
        Some((name, kinds::find("", "v1", plural)?))
    }

    /// Under which claim its name and uid stand.
    fn claim(&self) -> &'static str {
        match self.kind {
            "Pod" => "pod",
            "Secret" => "secret",
            _ => "node",
        }
    }
}

impl Issuer {
    /// One with a new key.
    pub(super) fn new() -> Result<Self, String> {
        hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())
            .map(Self)
            .map_err(|_| "no random key for service accounts' tokens could be made".to_owned())
    }

    /// Makes a token.
    pub(crate) fn token(&self, wish: &Wish<'_>) -> String {
        let mut about = json!({
            "namespace": wish.namespace,
            "serviceaccount": {"name": wish.account, "uid": wish.uid},
        });
        if let Some(bound) = wish.bound {
            about[bound.claim()] = json!({"name": bound.name, "uid": bound.uid});
        }
        let claims = json!({
            "iss": AUDIENCE,
            "sub": format!("system:serviceaccount:{}:{}", wish.namespace, wish.account),
            "aud": wish.audiences,
            "iat": wish.from.as_second(),
            "nbf": wish.from.as_second(),
            "exp": wish.until.as_second(),
            "jti": Uuid::new_v4().to_string(),
            "kubernetes.io": about,
        });
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let claims = encode(claims.to_string().as_bytes());
        let signed = format!("{}.{claims}", encode(HEADER.as_bytes()));
        let tag = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}.{}", encode(tag.as_ref()))
    }

    /// Whom a token belongs to and which audiences it is for, if it is good now.
    pub(crate) fn user(&self, token: &str, store: &Store) -> Option<(User, Vec<String>)> {
        let claims = self.claims(token)?;
        let now = Timestamp::now().as_second();
        let time = |name: &str| read::int(&claims, name);
        if now >= time("exp")? || now < time("nbf")? {
            return None;
        }
        let about = claims.get("kubernetes.io")?;
        let (namespace, account) = (read::text(about, "namespace"), &about["serviceaccount"]);
        let name = read::text(account, "name");
        let lives = |kind: &'static Kind, namespace: &str, named: &Value| {
            let object = store.get(kind, &Key::new(namespace, read::text(named, "name")));
            object.is_some_and(|object| *object.uid == *read::text(named, "uid"))
        };
        let accounts = kinds::find("", "v1", "serviceaccounts")?;
        if !lives(accounts, namespace, account) {
            return None;
        }
        let mut user = User::account(namespace, name, read::text(account, "uid"));
        let mut note = |key: &str, value: &str| {
            let key = format!("authentication.kubernetes.io/{key}");
            user.extra.insert(key, vec![value.to_owned()]);
        };
        note(
            "credential-id",
            &format!("JTI={}", read::text(&claims, "jti")),
        );
        for (claim, kind) in [("pod", "Pod"), ("secret", "Secret"), ("node", "Node")] {
            let Some(named) = about.get(claim) else {
                continue;
            };
            let (_, kind) = Bound::kind(kind)?;
            let place = if kind.namespaced { namespace } else { "" };
            if !lives(kind, place, named) {
                return None;
            }
            if claim != "secret" {
                note(&format!("{claim}-name"), read::text(named, "name"));
                note(&format!("{claim}-uid"), read::text(named, "uid"));
            }
        }
        Some((
            user,
            read::texts(&claims, "aud")
                .into_iter()
                .map(str::to_owned)
                .collect(),
        ))
    }

    /// What a token says, if this server has signed it.
    fn claims(&self, token: &str) -> Option<Value> {
        if token.len() > MAX_LENGTH {
            return None;
        }
        let (signed, tag) = token.rsplit_once('.')?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        hmac::verify(&self.0, signed.as_bytes(), &decode(tag)?).ok()?;
        let (_, claims) = signed.split_once('.')?;
        serde_json::from_slice(&decode(claims)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, ToSpan as _};

    use super::*;
    use crate::config::Limits;
    use crate::store::Change;

    fn made(store: &Store, plural: &str, name: &str) -> String {
        let kind = kinds::find("", "v1", plural).unwrap();
        let uid = Uuid::new_v4().to_string();
        let value = json!({"metadata": {"name": name, "namespace": "n", "uid": uid}});
        let now = Timestamp::now();
        store
            .commit(kind, value, Change::Create, now, false)
            .unwrap();
        uid
    }

    fn removed(store: &Store, plural: &str, name: &str) {
        let kind = kinds::find("", "v1", plural).unwrap();
        let object = store.get(kind, &Key::new("n", name)).unwrap();
        let change = Change::Remove(object.revision);
        let now = Timestamp::now();
        store
            .commit(kind, object.value(), change, now, false)
            .unwrap();
    }

    #[test]
    fn a_token_is_good_while_all_that_it_names_exists() {
        let store = Store::new(&Limits::default(), 1);
        let namespaces = kinds::find("", "v1", "namespaces").unwrap();
        let namespace = json!({"metadata": {"name": "n", "uid": "u"}});
        let now = Timestamp::now();
        store
            .commit(namespaces, namespace, Change::Create, now, false)
            .unwrap();
        let uid = made(&store, "serviceaccounts", "s");
        let bound = Bound {
            kind: "Pod",
            name: "p".to_owned(),
            uid: made(&store, "pods", "p"),
        };
        let issuer = Issuer::new().unwrap();
        let audiences = [AUDIENCE.to_owned()];
        let wish = |uid, bound, from: Timestamp| Wish {
            namespace: "n",
            account: "s",
            uid,
            audiences: &audiences,
            bound,
            from,
            until: from + SignedDuration::from_mins(10),
        };
        let (loose, tied) = (
            issuer.token(&wish(&uid, None, now)),
            issuer.token(&wish(&uid, Some(&bound), now)),
        );
        let (user, for_whom) = issuer.user(&tied, &store).unwrap();
        assert_eq!(user.name, "system:serviceaccount:n:s");
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(for_whom, audiences);
        for bad in [
            Issuer::new().unwrap().token(&wish(&uid, None, now)),
            issuer.token(&wish("other", None, now)),
            issuer.token(&wish(&uid, None, now - 11.minutes())),
            issuer.token(&wish(&uid, None, now + 2.minutes())),
            format!("{loose}x"),
            loose.replace('.', ""),
            String::new(),
        ] {
            assert!(issuer.user(&bad, &store).is_none(), "{bad}");
        }
        removed(&store, "pods", "p");
        assert!(issuer.user(&tied, &store).is_none());
        assert!(issuer.user(&loose, &store).is_some());
        removed(&store, "serviceaccounts", "s");
        assert!(issuer.user(&loose, &store).is_none());
    }
}
