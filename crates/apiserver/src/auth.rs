//! Who makes a request: bearer tokens from a file.
//!
//! There is no authorisation: who has a token may do everything. Tokens are kept and compared only
//! as keyed hashes, so neither timing nor a log can give one away.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::error::ServerError;
use crate::status::ApiError;

/// The users by the hash of their token.
pub(crate) struct Tokens {
    hashers: [RandomState; 2],
    users: HashMap<[u64; 2], String>,
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
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut parts = line.split(',');
            match (parts.next(), parts.next()) {
                (Some(token), Some(user)) if !token.is_empty() && !user.is_empty() => {
                    let hash = tokens.hash(token);
                    tokens.users.insert(hash, user.trim_matches('"').to_owned());
                }
                _ => {
                    return Err(format!(
                        "line {} is not token,user,uid,\"groups\"",
                        number + 1
                    ));
                }
            }
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
    pub(crate) fn user(&self, headers: &HeaderMap) -> Result<&str, ApiError> {
        headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| self.users.get(&self.hash(token.trim())))
            .map(String::as_str)
            .ok_or_else(|| ApiError::new(401, "Unauthorized", "Unauthorized"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_user_and_nothing_else_does() {
        let tokens = Tokens::parse("# tokens\ns3cret,admin,1,\"system:masters\"\n").unwrap();
        let ask = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            tokens.user(&headers).map(str::to_owned)
        };
        assert_eq!(ask("Bearer s3cret").unwrap(), "admin");
        assert_eq!(ask("bearer s3cret").unwrap(), "admin");
        for wrong in ["Bearer s3cre", "Bearer ", "Basic s3cret", "s3cret"] {
            assert_eq!(ask(wrong).unwrap_err().code, 401, "{wrong}");
        }
        assert_eq!(tokens.user(&HeaderMap::new()).unwrap_err().code, 401);
    }

    #[test]
    fn a_file_without_tokens_is_refused() {
        assert!(Tokens::parse("# none\n").is_err());
        assert!(Tokens::parse("token-without-user\n").is_err());
    }
}
