//! Who makes a request: bearer tokens from a file or of service accounts, and who they may act as.
//!
//! Tokens of the file are kept and compared only as keyed hashes, so neither timing nor a log can give
//! one away. What somebody may do is decided in `rbac`.

mod accounts;
mod impersonate;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::error::ServerError;
use crate::status::ApiError;
use crate::store::Store;

pub(crate) use accounts::{AUDIENCE, Bound, Issuer, Wish};
pub(crate) use impersonate::impersonated;

/// Everybody who has shown who they are.
const AUTHENTICATED: &str = "system:authenticated";
const MASTERS: &str = "system:masters";

/// Somebody who makes requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Whether they may do everything.
    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }

    /// A service account.
    fn account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                AUTHENTICATED.to_owned(),
            ],
            extra: BTreeMap::new(),
        }
    }
}

/// The users by the hash of their token, and the issuer of service accounts' tokens.
pub(crate) struct Tokens {
    hashers: [RandomState; 2],
    users: HashMap<[u64; 2], Arc<User>>,
    pub(crate) issuer: Issuer,
}

impl Tokens {
    /// Reads a file of `token,user,uid,"group1,group2"` lines.
    pub(crate) fn load(path: &Path) -> Result<Self, ServerError> {
        let text = std::fs::read_to_string(path).map_err(|source| ServerError::Read {
            what: "the token file",
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|problem| ServerError::Content {
            what: "the token file",
            path: path.to_owned(),
            problem,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Self {
            hashers: [RandomState::new(), RandomState::new()],
            users: HashMap::new(),
            issuer: Issuer::new()?,
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (token, user) = entry(line)
                .ok_or_else(|| format!("line {} is not token,user,uid,\"groups\"", number + 1))?;
            let hash = tokens.hash(token);
            tokens.users.insert(hash, Arc::new(user));
        }
        if tokens.users.is_empty() {
            return Err("it holds no token, so nobody could use the server".to_owned());
        }
        Ok(tokens)
    }

    fn hash(&self, token: &str) -> [u64; 2] {
        [&self.hashers[0], &self.hashers[1]].map(|hasher| hasher.hash_one(token))
    }

    /// The user whose token the request carries.
    pub(crate) fn user(&self, headers: &HeaderMap, store: &Store) -> Result<Arc<User>, ApiError> {
        headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| self.of(token.trim(), store))
            .ok_or_else(|| ApiError::new(401, "Unauthorized", "Unauthorized"))
    }

    /// The user whom a token for this server belongs to.
    fn of(&self, token: &str, store: &Store) -> Option<Arc<User>> {
        self.named(token).or_else(|| {
            let (user, audiences) = self.issuer.user(token, store)?;
            let ours = audiences.iter().any(|audience| audience == AUDIENCE);
            ours.then(|| Arc::new(user))
        })
    }

    /// The user of a token of the file.
    pub(crate) fn named(&self, token: &str) -> Option<Arc<User>> {
        self.users.get(&self.hash(token)).cloned()
    }
}

/// A line of the file; the uid and the groups may be missing.
fn entry(line: &str) -> Option<(&str, User)> {
    let (token, rest) = line.split_once(',')?;
    let (name, rest) = rest.split_once(',').unwrap_or((rest, ""));
    let (uid, groups) = rest.split_once(',').unwrap_or((rest, ""));
    let plain = |text: &str| text.trim().trim_matches('"').to_owned();
    let name = plain(name);
    if token.is_empty() || name.is_empty() {
        return None;
    }
    let groups = plain(groups);
    let groups = groups.split(',').map(str::trim).map(str::to_owned);
    let mut groups: Vec<String> = groups.filter(|group| !group.is_empty()).collect();
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    let user = User {
        name,
        uid: plain(uid),
        groups,
        extra: BTreeMap::new(),
    };
    Some((token, user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    #[test]
    fn a_token_names_its_user_and_nothing_else_does() {
        let text = "# tokens\ns3cret,admin,1,\"system:masters,b\"\nother,\"jane\"\n";
        let tokens = Tokens::parse(text).unwrap();
        let store = Store::new(&Limits::default(), 1);
        let ask = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            tokens.user(&headers, &store)
        };
        let admin = ask("Bearer s3cret").unwrap();
        assert_eq!((admin.name.as_str(), admin.uid.as_str()), ("admin", "1"));
        assert_eq!(
            admin.groups,
            ["system:masters", "b", "system:authenticated"]
        );
        assert!(admin.is_master());
        let jane = ask("bearer other").unwrap();
        assert_eq!((jane.name.as_str(), jane.is_master()), ("jane", false));
        assert_eq!(jane.groups, ["system:authenticated"]);
        for wrong in ["Bearer s3cre", "Bearer ", "Basic s3cret", "s3cret"] {
            assert_eq!(ask(wrong).unwrap_err().code, 401, "{wrong}");
        }
        assert_eq!(
            tokens.user(&HeaderMap::new(), &store).unwrap_err().code,
            401
        );
    }

    #[test]
    fn a_file_without_tokens_is_refused() {
        assert!(Tokens::parse("# none\n").is_err());
        assert!(Tokens::parse("token-without-user\n").is_err());
    }
}
