//! What a request carries: query, accepted media types, body.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use serde_json::Value;
use tokio::time::timeout;

use crate::config::Limits;
use crate::protobuf;
use crate::status::ApiError;

/// The parameters of a query.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// A parameter, if it is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may be given more than once, in their order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let given = self.0.iter().filter(move |(key, _)| key == name);
        given.map(|(_, value)| value.as_str())
    }

    /// A parameter that is true or false: as in Kubernetes everything but these two words is true.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        let given = self.0.iter().find(|(key, _)| key == name);
        given.map(|(_, value)| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// A parameter that is a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.get(name)
            .map(|value| {
                value.parse().map_err(|_| {
                    ApiError::bad_request(format!("query parameter {name}={value}: not a number"))
                })
            })
            .transpose()
    }
}

/// How objects are to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    Table,
    Metadata,
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn parameter<'a>(range: &'a str, name: &str) -> Option<&'a str> {
    range.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn media(range: &str) -> &str {
    range.split(';').next().unwrap_or("").trim()
}

fn takes_json(range: &str) -> bool {
    matches!(media(range), "application/json" | "*/*" | "application/*")
}

/// The first shape that the client takes and the server can give.
pub(crate) fn shape(headers: &HeaderMap) -> Result<Shape, ApiError> {
    let Some(accept) = header(headers, &ACCEPT) else {
        return Ok(Shape::Object);
    };
    accept
        .split(',')
        .filter(|range| takes_json(range))
        .find_map(|range| {
            let meta =
                parameter(range, "g") == Some("meta.k8s.io") && parameter(range, "v") == Some("v1");
            match parameter(range, "as") {
                None => Some(Shape::Object),
                Some("Table") if meta => Some(Shape::Table),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") if meta => {
                    Some(Shape::Metadata)
                }
                Some(_) => None,
            }
        })
        .ok_or_else(|| {
            ApiError::new(
                406,
                "NotAcceptable",
                "only the following media types are accepted: application/json",
            )
        })
}

/// Whether the client takes aggregated discovery.
pub(crate) fn accepts_discovery(headers: &HeaderMap) -> bool {
    header(headers, &ACCEPT).is_some_and(|accept| {
        accept.split(',').any(|range| {
            media(range) == "application/json"
                && parameter(range, "g") == Some("apidiscovery.k8s.io")
                && parameter(range, "v") == Some("v2")
                && parameter(range, "as") == Some("APIGroupDiscoveryList")
        })
    })
}

/// Whether the client takes a media type in so many words.
pub(crate) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    header(headers, &ACCEPT)
        .is_some_and(|accept| accept.split(',').any(|range| media(range) == wanted))
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentType {
    Json,
    Yaml,
    Protobuf,
    JsonPatch,
    MergePatch,
    StrategicPatch,
    Apply,
    Other,
}

/// What the request says that its body is.
pub(crate) fn content_type(headers: &HeaderMap) -> ContentType {
    match header(headers, &CONTENT_TYPE).map(media) {
        None | Some("" | "application/json") => ContentType::Json,
        Some("application/yaml") => ContentType::Yaml,
        Some("application/vnd.kubernetes.protobuf") => ContentType::Protobuf,
        Some("application/json-patch+json") => ContentType::JsonPatch,
        Some("application/merge-patch+json") => ContentType::MergePatch,
        Some("application/strategic-merge-patch+json") => ContentType::StrategicPatch,
        Some("application/apply-patch+yaml") => ContentType::Apply,
        Some(_) => ContentType::Other,
    }
}

/// Reads a body, as far as it is not too large or too slow.
///
/// Of a body that is too large the rest is read and dropped up to a bound, so that the client sees
/// the answer rather than a broken connection.
pub(crate) async fn read_body(body: Incoming, limits: &Limits) -> Result<Bytes, ApiError> {
    timeout(limits.body_timeout, collect(body, limits.body_bytes))
        .await
        .unwrap_or_else(|_| {
            Err(ApiError::new(
                408,
                "Timeout",
                "the request body did not arrive in time",
            ))
        })
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, ApiError> {
    let (mut kept, mut seen) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| ApiError::bad_request(format!("cannot read the body: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen += data.len();
        if seen <= limit {
            kept.extend_from_slice(&data);
        } else {
            kept = BytesMut::new();
        }
        if seen > 16 * limit {
            break;
        }
    }
    if seen > limit {
        return Err(ApiError::too_large(format!(
            "Request entity too large: limit is {limit}"
        )));
    }
    Ok(kept.freeze())
}

/// Reads an object from a JSON, YAML or protobuf body.
pub(crate) fn decode_object(content: ContentType, body: &[u8]) -> Result<Value, ApiError> {
    let value: Value = match content {
        ContentType::Json => serde_json::from_slice(body).map_err(|error| {
            ApiError::bad_request(format!("the body is not valid JSON: {error}"))
        })?,
        ContentType::Yaml => serde_saphyr::from_slice(body).map_err(|error| {
            ApiError::bad_request(format!("the body is not valid YAML: {error}"))
        })?,
        ContentType::Protobuf => protobuf::decode(body).map_err(|error| {
            ApiError::bad_request(format!("the body is not valid protobuf: {error}"))
        })?,
        _ => {
            return Err(unsupported(&[
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
            ]));
        }
    };
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiError::bad_request("the body is not an object"))
    }
}

/// The refusal of a body of the wrong type.
pub(crate) fn unsupported(accepted: &[&str]) -> ApiError {
    ApiError::new(
        415,
        "UnsupportedMediaType",
        format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> Result<Shape, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        shape(&headers).map_err(|error| error.code)
    }

    #[test]
    fn flags_are_true_unless_they_say_otherwise() {
        let query = Query::parse("watch&a=1&b=yes&c=False&d=0");
        let flags = ["watch", "a", "b", "c", "d", "e"].map(|name| query.flag(name));
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(flags, [yes, yes, yes, no, no, None]);
    }

    #[test]
    fn the_first_shape_that_can_be_given_is_given() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(accept(table), Ok(Shape::Table));
        assert_eq!(
            accept("application/vnd.kubernetes.protobuf,*/*"),
            Ok(Shape::Object)
        );
        assert_eq!(accept("application/vnd.kubernetes.protobuf"), Err(406));
        let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json";
        assert_eq!(accept(old), Ok(Shape::Object));
    }

    #[test]
    fn broken_bodies_are_refused_without_a_panic() {
        for body in [
            &b""[..],
            b"{",
            b"[]",
            b"\xff\xfe",
            b"null",
            b"{\"a\":1e999}",
        ] {
            for content in [ContentType::Json, ContentType::Yaml] {
                let outcome = decode_object(content, body);
                assert!(outcome.is_err() || outcome.unwrap().is_object(), "{body:?}");
            }
        }
        let deep = "[".repeat(100_000);
        assert_eq!(
            decode_object(ContentType::Json, deep.as_bytes())
                .unwrap_err()
                .code,
            400
        );
        assert_eq!(
            decode_object(ContentType::Yaml, deep.as_bytes())
                .unwrap_err()
                .code,
            400
        );
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n\
                    c: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n\
                    e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\n\
                    g: [*f,*f,*f,*f,*f,*f,*f,*f]\n";
        assert_eq!(
            decode_object(ContentType::Yaml, bomb.as_bytes())
                .unwrap_err()
                .code,
            400
        );
    }
}
